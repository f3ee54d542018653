"""TIFF, OME-TIFF, ImageJ hyperstacks and PNG: array, axes, pixel size and what else the file says; in and out."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole

# What ImageJ's and OME's words for units make in µm.
_UM = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
# Kept from ImageJ's description; ranges, labels and lookup tables would not fit new intensities.
_IMAGEJ_KEPT = ("Info", "finterval", "fps", "tunit", "loop")


@dataclass(frozen=True)
class Image:
    """An image as it came.

    data : ndarray, one axis a letter of `axes` ("TCZYX" or part of it, Y and X last) ·
    pixel_size_um : Y and X (µm), None if the file does not say · z_step_um · ome : written as OME-TIFF ·
    metadata : what tifffile takes back when writing.
    """

    data: NDArray[np.generic]
    axes: str
    pixel_size_um: tuple[float, float] | None = None
    z_step_um: float | None = None
    ome: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def planes(self, spatial: str) -> list[NDArray[np.generic]]:
        """The arrays over the `spatial` axes ("YX" or "ZYX"), in the order of the others."""
        first = len(self.axes) - len(spatial)
        return [self.data[index] for index in np.ndindex(self.data.shape[:first])]

    def map(
        self, spatial: str, function: Callable[[NDArray[np.generic]], tuple[NDArray[np.float32], ...]]
    ) -> list[Self]:
        """Apply `function` to every plane (or volume) by itself; one image for each of the arrays that it returns.

        Pixel sizes follow the size of the results.
        """
        if not self.axes.endswith(spatial):
            raise InputError(f"the image has axes {self.axes}; the model needs {spatial}")
        leading = self.data.shape[: len(self.axes) - len(spatial)]
        columns = list(zip(*(function(plane) for plane in self.planes(spatial)), strict=True))
        return [self._like(np.stack(column).reshape(leading + column[0].shape)) for column in columns]

    def _like(self, data: NDArray[np.float32]) -> Self:
        size = self.pixel_size_um
        if size is not None:
            size = (size[0] * self.data.shape[-2] / data.shape[-2], size[1] * self.data.shape[-1] / data.shape[-1])
        return replace(self, data=data, pixel_size_um=size)


def read_image(path: str | Path, axes: str | None = None) -> Image:
    """Read an image file.

    Parameters
    ----------
    path : path
        TIFF (also OME-TIFF and ImageJ hyperstacks) or PNG.
    axes : str
        Letters of "TCZYX" that overrule what the file says of its axes.

    Raises
    ------
    InputError
        When the file is missing, not an image, cut off, in colour, or holds values that are not real numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: give a TIFF or PNG file" if not path.exists() else f"{path} is a folder"
        )
    try:
        image = _read_png(path) if path.suffix.lower() == ".png" else _read_tiff(path)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # decoders fail in many ways on damaged files; all mean the same to the user
        raise InputError(f"{path} is not a readable TIFF or PNG ({error}): copy it again, or save it as TIFF") from None
    if axes is not None:
        image = replace(image, axes=_checked_axes(axes, image.data.shape, path))
    elif len(set(image.axes)) < len(image.axes):
        raise InputError(f"{path} does not name its axes, of shape {image.data.shape}: say what they are with --axes")
    elif "S" in image.axes:
        raise InputError(f"{path} is a colour image (RGB): split it into channels and give one of them")
    image = _yx_last(image, path)
    check_array(image.data, str(path))
    return image


def check_array(array: NDArray[np.generic], name: str) -> None:
    """Raise `InputError` unless `array` holds real, finite numbers."""
    if array.size == 0 or array.ndim < 2:
        raise InputError(f"{name} has shape {array.shape}: an image has at least one pixel in Y and in X")
    if array.dtype.kind not in "uif":
        kind = {"c": "complex numbers", "b": "truth values"}.get(array.dtype.kind, str(array.dtype))
        raise InputError(f"{name} holds {kind}; an image is integers or real numbers: convert it to 16-bit or float")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise InputError(f"{name} has {count} pixels that are NaN or infinite: repair them, for instance by a median")


def write_image(path: Path, image: Image) -> None:
    """Write a TIFF that appears whole or not at all: OME-TIFF if `image.ome`, else an ImageJ hyperstack.

    ImageJ's kind of TIFF holds uint8, uint16 and float32.
    """
    y, x = image.pixel_size_um or (None, None)
    with written_whole(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if image.ome:
            units = {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
            sizes = {"PhysicalSizeY": y, "PhysicalSizeX": x, **units} if y else {}
            z = {"PhysicalSizeZ": image.z_step_um, "PhysicalSizeZUnit": "µm"} if image.z_step_um else {}
            metadata = {**image.metadata, "axes": image.axes, **sizes, **z}
            tifffile.imwrite(temporary, image.data, ome=True, photometric="minisblack", metadata=metadata)
            return
        order = "".join(a for a in "TZCYX" if a in image.axes)  # ImageJ's own order
        data = np.transpose(image.data, [image.axes.index(a) for a in order])
        metadata = {**image.metadata, "axes": order}
        if y:
            metadata["unit"] = "um"
        if image.z_step_um:
            metadata["spacing"] = image.z_step_um
        resolution = (1 / x, 1 / y) if x and y else None
        tifffile.imwrite(temporary, data, imagej=True, resolution=resolution, metadata=metadata)


def stem(path: Path) -> str:
    """File name without .tif, .ome.tif and the like."""
    name = path.name
    for suffix in (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".png"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _read_png(path: Path) -> Image:
    import imageio.v3 as iio

    data = np.asarray(iio.imread(path, plugin="pillow"))
    return Image(data, "YX" if data.ndim == 2 else "YXS")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs, which is all that it says of some damage: a stack cut off reads as fewer planes."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collect = logging.getLogger("tifffile"), Collect(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collect)
    try:
        yield messages
    finally:
        logger.removeHandler(collect)
        logger.propagate = propagate


def _read_tiff(path: Path) -> Image:
    with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise InputError(f"{path} holds no image")
        series = tiff.series[0]
        alike = sum(s.shape == series.shape and s.dtype == series.dtype for s in tiff.series)
        if alike > 1:
            raise InputError(f"{path} holds {alike} images (positions?) in one file: save each as a file of its own")
        page = series.keyframe
        pages = [p for p in series.pages if p is not None]
        for p in pages:  # of a multi-file OME-TIFF, in several files
            size = p.parent.filehandle.size
            end = max((o + n for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)), default=0)
            if end > size:
                raise InputError(f"{path} is cut off: it has {size} bytes and its pixels reach to {end}: copy it again")
        data = np.asarray(series.asarray())
        if any("invalid page offset" in c or "corrupted" in c for c in complaints):
            raise InputError(f"{path} is cut off or damaged: planes are missing: copy it again")
        # tifffile calls axes it has no name for I, Q or others: repeats of the same kind, as far as one can tell.
        axes = "".join(a if a in "TCZYXS" else "T" for a in series.axes)
        if tiff.ome_metadata:
            return _with_ome(Image(data, axes, ome=True), tiff.ome_metadata)
        return _with_resolution(Image(data, axes), page, tiff.imagej_metadata or {})


def _with_resolution(image: Image, page: Any, imagej: dict[str, Any]) -> Image:
    def per_pixel(tag: str) -> float | None:
        value = page.tags.get(tag)
        return value.value[1] / value.value[0] if value is not None and value.value[0] else None

    unit = str(imagej.get("unit", "")).lower()
    if not imagej and page.tags.get("ResolutionUnit") is not None and int(page.tags["ResolutionUnit"].value) == 3:
        unit = "cm"  # inches are what programs write that do not know the pixel size
    y, x = per_pixel("YResolution"), per_pixel("XResolution")
    size = (y * _UM[unit], x * _UM[unit]) if unit in _UM and y and x else None
    spacing = imagej.get("spacing")
    z = float(spacing) * _UM[unit] if spacing and unit in _UM else None
    return replace(image, pixel_size_um=size, z_step_um=z, metadata={k: imagej[k] for k in _IMAGEJ_KEPT if k in imagej})


def _with_ome(image: Image, xml: str) -> Image:
    # tifffile's own parser gives {'OME': {'Image': {'Pixels': {'PhysicalSizeX': …}}}}, lists where there are several.
    tree = tifffile.xml2dict(xml).get("OME", {})
    if "Image" not in tree:  # the description is in a companion file
        return image
    first = tree["Image"][0] if isinstance(tree["Image"], list) else tree["Image"]
    pixels = first["Pixels"]

    def um(axis: str) -> float | None:
        value = pixels.get(f"PhysicalSize{axis}")
        factor = _UM.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).lower())
        return float(value) * factor if value and factor else None

    y, x = um("Y"), um("X")
    channels = pixels.get("Channel")
    channels = channels if isinstance(channels, list) else [channels] if channels else []
    names = [c.get("Name") for c in channels]
    metadata: dict[str, Any] = {key: first[key] for key in ("Name", "Description") if isinstance(first.get(key), str)}
    if "C" in image.axes and names and all(names):
        metadata["Channel"] = {"Name": names}
    for key in ("TimeIncrement", "TimeIncrementUnit"):
        if key in pixels:
            metadata[key] = pixels[key]
    return replace(image, pixel_size_um=(y, x) if y and x else None, z_step_um=um("Z"), metadata=metadata)


def _checked_axes(axes: str, shape: tuple[int, ...], path: Path) -> str:
    axes = axes.upper()
    if set(axes) - set("TCZYX") or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise InputError(f"--axes {axes} must be different letters of TCZYX, Y and X among them")
    if len(axes) != len(shape):
        raise InputError(f"--axes {axes} names {len(axes)} axes; {path} has shape {shape}, {len(shape)} axes")
    return axes


def _yx_last(image: Image, path: Path) -> Image:
    """Bring Z, Y, X to the end, in that order; the rest keeps its own."""
    if not {"Y", "X"} <= set(image.axes):
        raise InputError(f"{path} has axes {image.axes}: an image has Y and X")
    order = [a for a in image.axes if a not in "ZYX"] + [a for a in "ZYX" if a in image.axes]
    data = np.transpose(image.data, [image.axes.index(a) for a in order])
    return replace(image, data=data, axes="".join(order))
