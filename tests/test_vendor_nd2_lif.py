"""ND2 and LIF: what their metadata say."""

import numpy as np
import pytest

from tests import vendor_files as make
from tests.vendor_files import counts, nd2_frames
from zsd_runtime.errors import InputError
from zsd_runtime.images.files import open_image, read_image
from zsd_runtime.images.image import Voxel

pytest.importorskip("nd2")
pytest.importorskip("liffile")


def test_nd2_without_calibration(tmp_path):
    """nd2 says 1 µm then."""
    make.write_nd2(tmp_path / "a.nd2", counts(1, 16, 16, 1), [], pixel_um=None)
    assert open_image(tmp_path / "a.nd2").voxel == Voxel()


def test_nd2_whose_description_cannot_be_read(tmp_path):
    """nd2 0.12 fails for channels without a dye."""
    frames = counts(1, 16, 16, 2)
    make.write_nd2(tmp_path / "a.nd2", frames, [], probes=False)
    image = read_image(tmp_path / "a.nd2")
    np.testing.assert_array_equal(image.data, np.moveaxis(frames[0], -1, 0))
    if not image.description.channels:
        assert "no readable pixel size" in image.description.notices[0]


def test_frames_of_nd2_without_a_loop(tmp_path):
    array = counts(4, 1, 1, 16, 16)
    make.write_nd2(tmp_path / "a.nd2", nd2_frames(array), [])
    image = read_image(tmp_path / "a.nd2")
    assert image.axes == "TYX"
    np.testing.assert_array_equal(image.data, array[:, 0, 0])
    assert "does not say what its 4 frames are" in image.description.notices[0]
    make.write_nd2(tmp_path / "b.nd2", nd2_frames(array), [make.time_loop(3, 500.0)])
    image = read_image(tmp_path / "b.nd2")
    np.testing.assert_array_equal(image.data, array[:3, 0, 0])
    assert "holds 4 frames; the 3 that it describes are used" in image.description.notices[0]


@pytest.mark.parametrize(
    ("period", "measured", "step"), [(500.0, 0.0, 0.5), (0.0, 730.0, 0.73), (500.0, 510.0, 0.51), (0.0, 0.0, None)]
)
def test_frame_interval_of_nd2(tmp_path, period, measured, step):
    make.write_nd2(tmp_path / "a.nd2", counts(2, 16, 16, 1), [make.time_loop(2, period, measured)])
    assert open_image(tmp_path / "a.nd2").description.time_step_s == step


def test_lif_tiles_and_wavelengths_are_series(tmp_path):
    array = counts(3, 2, 16, 16)
    for axis, word in (("M", "tile"), ("λ", "wavelength")):
        make.write_lif(tmp_path / "a.lif", {"scan": (array, f"{axis}CYX", {}, [("", ""), ("", "")])})
        with pytest.raises(InputError, match=f"3 images: 0 'scan, {word} 0'"):
            open_image(tmp_path / "a.lif")
        np.testing.assert_array_equal(read_image(tmp_path / "a.lif", series=1).data, array[1])


@pytest.mark.parametrize("axes", ["CTZYX", "TZCYX", "ZCTYX", "TZYCX"])
def test_lif_stores_axes_in_any_order(tmp_path, axes):
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 12, "X": 16}
    array = counts(*(sizes[a] for a in axes))
    make.write_lif(tmp_path / "a.lif", {"scan": (array, axes, {}, [("", "")] * 3)})
    image = read_image(tmp_path / "a.lif")
    np.testing.assert_array_equal(image.data, array.transpose([axes.index(a) for a in image.axes]))
    assert image.axes[-3:] == "ZYX"


def test_a_lif_cut_after_its_header(tmp_path):
    array = counts(4, 16, 16)
    make.write_lif(tmp_path / "a.lif", {"scan": (array, "TYX", {}, [("", "")])}, cut=-100)
    with pytest.raises(InputError, match=r"is cut off: the pixels of 'scan' reach past its end"):
        open_image(tmp_path / "a.lif")
