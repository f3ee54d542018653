"""Transfer functions of SIM: theory against psfmodels, files of several kinds, H_SIM."""

import struct

import numpy as np
import psfmodels
import pytest
import tifffile

from zsd_optics.optics import Optics
from zsd_optics.sim.otf import read_transfer
from zsd_optics.sim.theory import axial_transfer, planar_transfer
from zsd_runtime.errors import InputError
from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.parameters import Pattern, SimParameters
from zsd_runtime.sim.transfer import Transfer


@pytest.mark.parametrize("na", [0.3, 0.6])
def test_theory_in_focus_is_that_of_psfmodels(na):
    pixel = 0.05
    psf = psfmodels.make_psf(
        [0.0], 1025, dxy=pixel, NA=na, wvl=0.525, ns=1.515, ni=1.515, ni0=1.515, ng=1.515, ng0=1.515
    )
    spectrum = np.fft.fft2(np.fft.ifftshift(psf[0])).real
    seen = spectrum[0, : 1025 // 2] / spectrum[0, 0]
    k = np.fft.fftfreq(1025, pixel)[: 1025 // 2]
    transfer = planar_transfer(Optics(na, 525), pixel)
    expected = transfer((np.zeros(1), k))
    inside = (k > 0.1 * transfer.cutoff) & (k < 0.95 * transfer.cutoff)
    # psfmodels integrates over the pixel, too; its PSF is cut off at 25 µm.
    np.testing.assert_allclose(seen[inside], expected[inside], atol=0.02)
    assert transfer.cutoff == pytest.approx(2 * na / 0.525, rel=0.03)  # where it is above 0.005


def test_orders_of_three_beams_are_alike_in_focus():
    transfer = axial_transfer(Optics(1.4, 525), 488, 200, (0.125, 0.0626))
    assert transfer.values.shape[0] == 3
    sums = transfer.values.sum(axis=1)
    np.testing.assert_allclose(sums, np.broadcast_to(sums[0], sums.shape), atol=1e-9)
    order_1 = transfer.values[1, :, 10]
    middle = len(order_1) // 2
    assert order_1.argmax() != middle  # two lobes
    np.testing.assert_allclose(order_1, order_1[::-1], atol=1e-9)
    assert transfer.axial_cutoff > 2


@pytest.mark.parametrize("depth", [None, 5])
def test_transfer_comes_back_from_its_file(depth, tmp_path):
    shape = (1, 33) if depth is None else (3, depth, 33)
    transfer = Transfer(np.random.default_rng(0).random(shape), (0.2,) if depth is None else (0.3, 0.2))
    transfer.save(tmp_path / "otf.tif")
    for back in (
        Transfer.load(tmp_path / "otf.tif"),
        read_transfer(tmp_path / "otf.tif", 0.06, None if depth is None else 0.1),
    ):
        np.testing.assert_allclose(back.values, transfer.values, rtol=1e-6)
        assert back.step == transfer.step


@pytest.mark.parametrize(
    ("depth", "z_step", "message"),
    [
        (None, 0.1, "is the OTF of planes, and the frames are volumes"),
        (5, None, "is the OTF of volumes, and the frames are planes"),
        (6, None, "is the OTF of volumes, and the frames are planes"),
    ],
)
def test_an_otf_of_zsd_for_another_kind_of_frames(depth, z_step, message, tmp_path):
    shape = (1, 33) if depth is None else (3, depth, 32)
    transfer = Transfer(np.random.default_rng(0).random(shape), (0.2,) if depth is None else (0.3, 0.2))
    transfer.save(tmp_path / "otf.tif")
    with pytest.raises(InputError, match=message) as error:
        read_transfer(tmp_path / "otf.tif", 0.06, z_step)
    assert "`na`" in str(error.value)


def test_files_that_are_no_transfer_of_zsd(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Transfer.load(tmp_path / "otf.tif")
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((8, 8), np.uint16))
    (tmp_path / "text.tif").write_text("otf")
    for name in ("image.tif", "text.tif"):
        with pytest.raises(InputError, match="no OTF that zsd wrote"):
            Transfer.load(tmp_path / name)


def table(slices: int = 1, radial: int = 33) -> np.ndarray:
    """(3 orders, kr, kz) as Priism has them: kz = 0 first; order 1 has two lobes."""
    kr = np.linspace(1, 0, radial)[:, None]
    kz = np.fft.fftfreq(slices) * slices
    centre, lobes = np.exp(-(kz**2)), np.exp(-((np.abs(kz) - 3) ** 2))
    return np.stack([kr * centre, 0.2 * kr * lobes, 0.6 * kr * centre]).astype(np.complex64)


def mrc(path, values, step, order="<"):
    """MRC of mode 4 (complex), without a MAP stamp, with an extended header."""
    orders, kr, kz = values.shape
    header = np.zeros(256, order + "i4")
    header[:4] = (kz, kr, orders, 4) if kz > 1 else (kr, 1, orders, 4)
    header[7:10] = 1
    header[23] = 128
    floats = header.view(order + "f4")
    floats[10:12] = step
    path.write_bytes(header.tobytes() + bytes(128) + values.astype(order + "c8").tobytes())


@pytest.mark.parametrize("order", ["<", ">"])
def test_mrc_of_planes(order, tmp_path):
    values = table()[:1]
    mrc(tmp_path / "otf.mrc", values, (0.25, 0.25), order)
    transfer = read_transfer(tmp_path / "otf.mrc", 0.06)
    np.testing.assert_allclose(transfer.values, values[:, :, 0].real, atol=1e-6)
    assert transfer.step == pytest.approx((0.25,))
    with pytest.raises(InputError, match="OTF of planes, and the frames are volumes"):
        read_transfer(tmp_path / "otf.mrc", 0.06, 0.125)


def test_mrc_of_volumes(tmp_path):
    values = table(16)
    mrc(tmp_path / "otf.dv", values, (0.5, 0.25))  # kz, kr
    transfer = read_transfer(tmp_path / "otf.dv", 0.06, 0.125)
    assert transfer.values.shape == (3, 17, 33)
    assert transfer.step == pytest.approx((0.5, 0.25))
    expected = np.fft.fftshift(values[0].real, axes=1).T
    np.testing.assert_allclose(transfer.values[0, :16], expected, atol=1e-6)
    # The file's strengths are those of an illumination: here all orders are alike in focus.
    sums = transfer.values[:, :16].sum(axis=1)
    np.testing.assert_allclose(sums[1:], sums[:1].repeat(2, 0), rtol=0.2)
    with pytest.raises(InputError, match="OTF of volumes, and the frames are planes"):
        read_transfer(tmp_path / "otf.dv", 0.06)


def test_tiff_of_cudasirecon(tmp_path):
    values = table(8)
    interleaved = np.stack([values.real, values.imag], axis=-1).reshape(3, 33, 16).astype(np.float32)
    tifffile.imwrite(tmp_path / "otf.tif", interleaved, photometric="minisblack")
    transfer = read_transfer(tmp_path / "otf.tif", 0.08, 0.125)
    assert transfer.values.shape == (3, 9, 33)
    assert transfer.step == pytest.approx((1 / (8 * 0.125), 1 / (2 * 32 * 0.08)))  # the file has none
    np.testing.assert_allclose(transfer.values[0, 4], values[0, :, 0].real, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.tif", "does not exist"),
        ("image.tif", "is no OTF"),
        ("text.tif", "not a readable TIFF"),
        ("text.mrc", "is not MRC"),
    ],
)
def test_files_that_are_no_otf(name, message, tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((8, 8), np.uint16))
    for text in ("text.tif", "text.mrc"):
        (tmp_path / text).write_bytes(struct.pack("<8i", *range(8)) * 40)
    with pytest.raises(InputError, match=message):
        read_transfer(tmp_path / name, 0.06)


def microscope(spacing_nm: float = 200.0, **more) -> Sim:
    patterns = tuple(
        Pattern(0.2 + d * np.pi / 3, spacing_nm, (0.3, 0.3 + 2.0944, 0.3 + 4.1888), (0.8,)) for d in range(3)
    )
    return Sim(SimParameters(patterns, 0.0626, **more), planar_transfer(Optics(1.4, 525), 0.0626))


def test_h_sim():
    sim = microscope()
    transfer = sim.transfer_function((128, 128))
    assert transfer[0, 0] == pytest.approx(1)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(128, 0.0313), np.fft.fftfreq(128, 0.0313)))
    assert transfer.min() >= -1e-12
    assert np.abs(transfer[k > sim.transfer.cutoff + 5.05]).max() < 1e-6
    assert transfer[(k > 5.5) & (k < 7)].mean() > 0.1  # widefield ends at 5.33
    psf = sim.psf((65, 65))
    assert psf.sum() == pytest.approx(1)
    assert np.unravel_index(psf.argmax(), psf.shape) == (32, 32)
    assert -0.1 < psf.min() / psf.max() < -0.005  # its lobes are kept
    np.testing.assert_allclose(psf, psf[::-1, ::-1], atol=1e-6)


def test_stripes_beyond_the_grid():
    with pytest.raises(InputError, match=r"cycles/µm and the grid of the result only"):
        microscope(85.0)


def test_a_notch_lowers_slow_frequencies_of_the_widefield_band_only():
    sim = microscope(notch=0.9)
    zero = (np.zeros(1), np.zeros(1))
    assert sim.kept(zero, 0) == pytest.approx(0.1)
    assert sim.kept(zero, 1) == pytest.approx(1)
    assert sim.transfer_function((64, 64))[0, 0] == pytest.approx(1)  # light is conserved
