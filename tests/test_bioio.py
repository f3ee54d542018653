"""Results as bioio reads them, and with it many programs: pixel sizes, channels, dimensions, values."""

import bioio_ome_tiff
import bioio_ome_zarr
import bioio_tifffile
import numpy as np
import pytest
import tifffile
from bioio import BioImage

from tests.command import zsd
from zsd_runtime.images import read_image

pytestmark = pytest.mark.filterwarnings("ignore")  # bioio's own, and of what it calls

UM = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
DEPTH = {"PhysicalSizeZ": 0.3, "PhysicalSizeZUnit": "µm"}
NAMES = ["GFP", "RFP"]
# Of an image: axes, shape, and what OME-TIFF says of it.
IMAGES = {
    "plane": ("YX", (33, 47), {}),
    "movie": ("TCYX", (3, 2, 33, 47), {"Channel": {"Name": NAMES}, "TimeIncrement": 2.5, "TimeIncrementUnit": "s"}),
    "volume": ("ZYX", (6, 33, 47), DEPTH),
    "volumes": ("TCZYX", (2, 2, 6, 33, 47), {"Channel": {"Name": NAMES}, **DEPTH}),
}
OME = {"tiff": ("tif", bioio_ome_tiff.Reader), "zarr": ("zarr", bioio_ome_zarr.Reader)}


def restored(folder, name, request, given="auto", **how):
    """Restore an image; the folder of its results."""
    axes, shape, metadata = IMAGES[name]
    counts = np.random.default_rng(0).poisson(30, shape).astype(np.uint16) + 100
    tifffile.imwrite(folder / f"{name}.tif", counts, metadata={"axes": axes, **UM, **metadata}, **how)
    package = request.getfixturevalue("volume_package" if "Z" in axes else "untrained_package")
    result = zsd("predict", package, folder / f"{name}.tif", "--out", folder / "out", "--format", given)
    assert result.returncode == 0, result.stderr
    return folder / "out"


@pytest.mark.parametrize("kind", OME)
@pytest.mark.parametrize("name", IMAGES)
def test_results_of_ome_tiff(name, kind, tmp_path, request):
    axes, shape, _ = IMAGES[name]
    suffix, reader = OME[kind]
    out = restored(tmp_path, name, request, kind, ome=True)
    full = dict(zip(axes, shape, strict=True))
    for output, factor in (("denoised", 1), ("deconvolved", 2)):
        path = out / f"{name}_{output}.{suffix}"
        image = BioImage(str(path), reader=reader)
        assert image.dims.order == "TCZYX"
        fine = {axis: n * (factor if axis in "YX" else 1) for axis, n in full.items()}
        assert image.shape == tuple(fine.get(axis, 1) for axis in "TCZYX")
        assert image.dtype == np.float32
        sizes = image.physical_pixel_sizes
        assert pytest.approx((0.1 / factor, 0.1 / factor)) == (sizes.Y, sizes.X)
        assert pytest.approx(0.3) == sizes.Z if "Z" in axes else sizes.Z in (None, 1)
        if "C" in axes:
            assert image.channel_names == NAMES
        np.testing.assert_array_equal(image.data.reshape(-1), read_image(path).data.reshape(-1))


def test_results_of_imagej_tiff(tmp_path, request):
    """The reader knows the pixel size, in ImageJ's unit, and no names or z step."""
    axes, shape, _ = IMAGES["volumes"]
    counts = np.random.default_rng(0).poisson(30, np.array(shape)[[0, 2, 1, 3, 4]]).astype(np.uint16) + 100
    metadata = {"axes": "TZCYX", "unit": "um", "spacing": 0.3}
    tifffile.imwrite(tmp_path / "cell.tif", counts, imagej=True, resolution=(8, 8), metadata=metadata)
    package = request.getfixturevalue("volume_package")
    assert zsd("predict", package, tmp_path / "cell.tif", "--out", tmp_path / "out").returncode == 0
    image = BioImage(str(tmp_path / "out" / "cell_deconvolved.tif"), reader=bioio_tifffile.Reader)
    assert (image.dims.order, image.shape, image.dtype) == (axes, (2, 2, 6, 66, 94), np.float32)
    assert (image.physical_pixel_sizes.Y, image.physical_pixel_sizes.X) == (0.0625, 0.0625)


def test_a_pyramid(tmp_path, untrained_package):
    """Each level has pixels twice as large as the one before."""
    counts = np.full((600, 700), 130, np.uint16)
    tifffile.imwrite(tmp_path / "cell.tif", counts, imagej=True, resolution=(8, 8), metadata={"unit": "um"})
    result = zsd("predict", untrained_package, tmp_path / "cell.tif", "--out", tmp_path / "out", "--format", "zarr")
    assert result.returncode == 0, result.stderr
    image = BioImage(str(tmp_path / "out" / "cell_deconvolved.zarr"), reader=bioio_ome_zarr.Reader)
    assert len(image.resolution_levels) > 1
    for level in image.resolution_levels:
        image.set_resolution_level(level)
        assert image.shape[-2:] == (1200 >> level, 1400 >> level)
        assert 0.0625 * 2**level == image.physical_pixel_sizes.X
