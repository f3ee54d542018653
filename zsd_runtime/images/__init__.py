"""Images in files: TIFF (OME, ImageJ, Micro-Manager), PNG, NumPy and OME-Zarr of any size.

What is opened is read where it is sliced; what is created is written where it is assigned.
"""

from zsd_runtime.images.files import (
    create_image,
    image_files,
    images_in,
    is_image_name,
    open_image,
    read_image,
    stem,
    write_image,
)
from zsd_runtime.images.image import Channel, Description, Image, Voxel, as_dtype, check_array, check_shape, read_box

__all__ = [
    "Channel", "Description", "Image", "Voxel", "as_dtype", "check_array", "check_shape", "create_image", "image_files",
    "images_in", "is_image_name", "open_image", "read_box", "read_image", "stem", "write_image",
]  # fmt: skip
