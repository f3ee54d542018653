from dataclasses import replace

import numpy as np
import pytest
import tifffile

from zsd_runtime import InputError
from zsd_runtime.images import Image, Voxel, files, open_image, read_image, stem, write_image
from zsd_runtime.images.image import Format

RNG = np.random.default_rng(0)


def doubled(image):
    """The image on a grid twice as fine in Y and X, as a prediction would write it."""
    fine = np.kron(image.data, np.ones((2, 2))).astype(np.float32)
    return replace(image.resized(fine.shape, "float32"), data=fine)


def test_imagej_hyperstack_keeps_axes_calibration_and_info(tmp_path):
    data = RNG.integers(0, 1000, (3, 2, 20, 30)).astype(np.uint16)
    metadata = {"axes": "TCYX", "unit": "um", "finterval": 2.5, "Info": "cell 7"}
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, resolution=(10, 10), metadata=metadata)
    image = read_image(tmp_path / "a.tif")
    write_image(tmp_path / "b.tif", doubled(image))
    result = read_image(tmp_path / "b.tif")
    assert result.axes == "TCYX"
    assert result.data.shape == (3, 2, 40, 60)
    assert (result.voxel.y_um, result.voxel.x_um) == pytest.approx((0.05, 0.05))
    assert result.description.time_step_s == 2.5
    assert result.description.text == "cell 7"
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_array_equal(result.data[..., ::2, 1::2], data)


def test_ome_tiff_keeps_axes_calibration_and_channels(tmp_path):
    metadata = {
        "axes": "CYX", "PhysicalSizeX": 65, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 65, "PhysicalSizeYUnit": "nm",
        "Channel": {"Name": ["actin", "nuclei"]},
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", RNG.random((2, 9, 11), np.float32), ome=True, metadata=metadata)
    write_image(tmp_path / "b.tif", doubled(read_image(tmp_path / "a.ome.tif")))
    result = read_image(tmp_path / "b.tif")
    assert result.ome
    assert result.axes == "CYX"
    assert (result.voxel.y_um, result.voxel.x_um) == pytest.approx((0.0325, 0.0325))
    assert [c.name for c in result.description.channels] == ["actin", "nuclei"]


def test_z_spacing_is_kept(tmp_path):
    write_image(tmp_path / "z.tif", Image(np.zeros((4, 8, 8), np.float32), "ZYX", Voxel(0.3, 0.1, 0.1)))
    assert read_image(tmp_path / "z.tif").voxel.z_um == pytest.approx(0.3)


def test_compressed_tiff_and_png_are_read(tmp_path):
    data = RNG.integers(0, 255, (20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "lzw.tif", data, compression="lzw")
    import imageio.v3 as iio

    iio.imwrite(tmp_path / "a.png", data)
    for name in ("lzw.tif", "a.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name).data, data)


def test_the_user_can_name_the_axes_that_a_file_does_not(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 5, 16, 16), np.uint16))
    with pytest.raises(InputError, match="`axes`"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", "TZYX").axes == "TZYX"


def test_several_images_in_one_file_are_errors(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        for _ in range(2):
            tiff.write(np.zeros((2, 16, 16), np.uint16), photometric="minisblack")
    with pytest.raises(InputError, match="holds 2 images"):
        read_image(tmp_path / "a.ome.tif")


def _truncated(path):
    stack = RNG.integers(0, 1000, (6, 32, 32)).astype(np.uint16)
    tifffile.imwrite(path, stack, imagej=True)
    path.write_bytes(path.read_bytes()[:6000])


def _truncated_single(path):
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16))
    path.write_bytes(path.read_bytes()[:4000])


def _signed(path):
    """As ImageJ writes them: shifted, with the line that shifts them back."""
    calibration = {"cf": 0, "c0": -32768.0, "c1": 1.0, "vunit": "Gray Value"}
    tifffile.imwrite(path, np.full((9, 9), 32800, np.uint16), imagej=True, metadata=calibration)


BAD = {
    "missing.tif": (lambda path: None, "does not exist"),
    "folder.tif": (lambda path: path.mkdir(), "is a folder"),
    "text.tif": (lambda path: path.write_text("hello"), "not a readable TIFF"),
    "empty.tif": (lambda path: path.write_bytes(b""), "not a readable TIFF"),
    "text.png": (lambda path: path.write_text("hello"), "not a readable PNG"),
    "cut.tif": (_truncated, "cut off"),
    "cut2.tif": (_truncated_single, "cut off"),
    "rgb.tif": (lambda path: tifffile.imwrite(path, np.zeros((9, 9, 3), np.uint8), photometric="rgb"), "colour"),
    "signed.tif": (_signed, "signed 16-bit numbers, which are stored 32768 too high"),
    "bool.tif": (lambda path: tifffile.imwrite(path, np.zeros((9, 9), bool)), "truth values"),
    "complex.tif": (lambda path: tifffile.imwrite(path, np.zeros((9, 9), np.complex64)), "complex"),
    "nan.tif": (lambda path: tifffile.imwrite(path, np.full((9, 9), np.nan, np.float32)), "81 pixels that are NaN"),
    "inf.tif": (lambda path: tifffile.imwrite(path, np.full((9, 9), np.inf, np.float32)), "infinite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_errors(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as error:
        read_image(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize("axes", ["YX", "TYXX", "AYX", "TZC"])
def test_wrong_axes_are_errors(tmp_path, axes):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 9, 9), np.uint16), imagej=True)
    with pytest.raises(InputError, match="`axes`"):
        read_image(tmp_path / "a.tif", axes)


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_image(tmp_path / "file" / "a.tif", Image(np.zeros((4, 4), np.float32), "YX"))
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(InputError, match="left alone"):
        write_image(tmp_path / "a.tif", Image(np.zeros((4, 4), np.float32), "YX"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "file"]


def test_a_format_is_one_value(tmp_path, monkeypatch):
    """A reader of another format: nothing else knows of it."""
    npy = Format(
        "NumPy", (".npy",), lambda path: path.suffix == ".npy", lambda path, axes, series: Image(np.load(path), "YX")
    )
    monkeypatch.setattr(files, "FORMATS", (npy, *files.FORMATS))
    np.save(tmp_path / "a.npy", np.ones((5, 6), np.float32))
    assert open_image(tmp_path / "a.npy").data.shape == (5, 6)
    (tmp_path / "b.npy").write_text("hello")
    with pytest.raises(InputError, match="not a readable NumPy"):
        open_image(tmp_path / "b.npy")


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.TIFF", "a.png"])
def test_stem(tmp_path, name):
    assert stem(tmp_path / name) == "a"
