"""DV, MRC and IMS: orders, types, padding, units."""

import h5py
import mrcfile
import numpy as np
import pytest

from tests import vendor_files as make
from tests.vendor_files import counts
from zsd_runtime.errors import InputError
from zsd_runtime.images.files import open_image, read_image
from zsd_runtime.images.image import Voxel


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nesting", ["CTZ", "TZC", "TCZ"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_dv_orders(tmp_path, order, nesting, dtype):
    sizes = {"T": 2, "C": 3, "Z": 4}
    array = counts(*(sizes[a] for a in nesting), 12, 16, dtype=dtype)
    seconds = np.zeros(array.shape[:3])
    seconds += 7.5 * np.arange(2).reshape([2 if a == "T" else 1 for a in nesting])
    stage = np.zeros((24, 4))
    stage[:, 0] = seconds.reshape(-1)
    make.write_dv(tmp_path / "a.dv", array, nesting, order, (525, 600, 680), stage=stage)
    image = read_image(tmp_path / "a.dv")
    assert image.axes == "TCZYX"
    np.testing.assert_array_equal(image.data, array.transpose([nesting.index(a) for a in "TCZ"] + [3, 4]))
    assert image.voxel == Voxel(0.125, 0.08, 0.08)
    assert [c.emission_nm for c in image.description.channels] == [525, 600, 680]
    assert image.description.time_step_s == 7.5


def test_dv_written_by_sim_software_ends_in_mrc(tmp_path):
    array = counts(1, 1, 9, 16, 16)
    make.write_dv(tmp_path / "a.mrc", array, frames=0, channels=0)
    image = read_image(tmp_path / "a.mrc")
    assert (image.axes, image.voxel.x_um) == ("ZYX", 0.08)
    np.testing.assert_array_equal(image.data, array[0, 0])


def test_dv_of_an_otf_names_the_command(tmp_path):
    make.write_dv(tmp_path / "a.dv", np.ones((1, 1, 3, 8, 8), np.complex64))
    with pytest.raises(InputError, match=r"complex numbers.*from-otf"):
        open_image(tmp_path / "a.dv")


@pytest.mark.parametrize(("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
def test_mrc_types_and_sizes_in_angstrom(tmp_path, mode, dtype):
    array = counts(5, 12, 16, dtype="u1").astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        file.voxel_size = (650.0, 650.0, 3000.0)
        assert file.header.mode == mode
    image = read_image(tmp_path / "a.mrc")
    assert (image.axes, image.data.dtype) == ("ZYX", dtype)
    np.testing.assert_array_equal(image.data, array)
    assert image.voxel == Voxel(0.3, 0.065, 0.065)


@pytest.mark.parametrize(("shape", "how", "axes"), [
    ((12, 16), None, "YX"), ((5, 12, 16), "set_volume", "ZYX"), ((5, 12, 16), "set_image_stack", "TYX"),
    ((3, 5, 12, 16), None, "TZYX"), ((1, 12, 16), "set_volume", "YX"), ((3, 1, 12, 16), None, "TYX"),
])  # fmt: skip
def test_mrc_volumes_and_stacks(tmp_path, shape, how, axes):
    array = counts(*shape)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        if how:
            getattr(file, how)()
    image = read_image(tmp_path / "a.mrc")
    assert image.axes == axes
    np.testing.assert_array_equal(image.data, array.squeeze())
    assert image.voxel == Voxel()


@pytest.mark.parametrize(
    ("crs", "axes"), [((1, 2, 3), "ZYX"), ((2, 1, 3), "ZXY"), ((3, 1, 2), "YXZ"), ((0, 0, 0), "ZYX")]
)
def test_mrc_names_its_axes(tmp_path, crs, axes):
    array = counts(5, 12, 16)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        file.header.mapc, file.header.mapr, file.header.maps = crs
    image = read_image(tmp_path / "a.mrc")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.data, array.transpose([axes.index(a) for a in "ZYX"]))


def test_bytes_of_imod_are_unsigned(tmp_path):
    array = np.arange(192, dtype=np.uint8).reshape(12, 16) + 64
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array.view(np.int8))
    with (tmp_path / "a.mrc").open("r+b") as file:
        file.seek(152)
        file.write((1146047817).to_bytes(4, "little") + bytes(4))
    np.testing.assert_array_equal(read_image(tmp_path / "a.mrc").data, array)


@pytest.mark.parametrize(("at", "value", "message"), [
    (12, 101, "mode 101"), (0, -5, "header says"), (8, 10**6, "cut off"), (92, 10**6, "cut off"),
    (92, -8, "header says"),
])  # fmt: skip
def test_mrc_headers_that_cannot_be(tmp_path, at, value, message):
    make.write_dv(tmp_path / "a.dv", counts(1, 1, 2, 12, 16))
    with (tmp_path / "a.dv").open("r+b") as file:
        file.seek(at)
        file.write(value.to_bytes(4, "little", signed=True))
    with pytest.raises(InputError, match=message):
        open_image(tmp_path / "a.dv")


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [((1, 1, 5, 33, 70), (4, 32, 32)), ((2, 2, 1, 31, 1), (1, 16, 16)), ((1, 1, 8, 8, 8), (8, 8, 8))],
)
def test_the_padding_of_ims_is_cut(tmp_path, shape, chunk):
    array = counts(*shape)
    make.write_ims(tmp_path / "a.ims", array, chunk=chunk)
    image = read_image(tmp_path / "a.ims")
    np.testing.assert_array_equal(image.data, array.reshape(image.data.shape))
    assert (image.data > 0).all()


@pytest.mark.parametrize(("unit", "factor"), [("um", 1.0), ("µm", 1.0), ("nm", 1e-3), ("mm", 1e3)])
def test_units_of_ims(tmp_path, unit, factor):
    make.write_ims(tmp_path / "a.ims", counts(1, 1, 3, 8, 8), (0.3 / factor, 0.1 / factor, 0.1 / factor), unit=unit)
    voxel = open_image(tmp_path / "a.ims").voxel
    assert (voxel.z_um, voxel.y_um, voxel.x_um) == pytest.approx((0.3, 0.1, 0.1))


def test_other_hdf5_is_not_imaris(tmp_path):
    with h5py.File(tmp_path / "a.ims", "w") as file:
        file["x"] = np.zeros((8, 8))
    with pytest.raises(InputError, match="not of Imaris"):
        open_image(tmp_path / "a.ims")


def test_pixel_sizes_that_no_microscope_has_are_unknown(tmp_path):
    make.write_nd2(tmp_path / "a.nd2", counts(1, 16, 16, 1), [], pixel_um=10000.0)
    image = open_image(tmp_path / "a.nd2")
    assert image.voxel == Voxel()
    assert "10000 µm" in image.description.notices[0]
