import numpy as np
import pytest

from tests.conftest import SHARED, needs_shared
from zsd_optics.optics import Optics, generate_psf
from zsd_optics.otf import psf_from_otf, read_otf
from zsd_optics.psf import fwhm_px
from zsd_runtime import InputError

MODES = {2: "f4", 4: "c8"}
OPTICS = Optics(1.1, 525, 1.33)


def radial_otf(psf):
    """(kr, kz) magnitude of a PSF (Y, X) or (Z, Y, X) along positive kx."""
    spectrum = np.abs(np.fft.fftn(np.fft.ifftshift(psf)))
    half = spectrum[..., 0, : psf.shape[-1] // 2 + 1]
    return half[:, None] if psf.ndim == 2 else half.T


def write_mrc(path, orders, steps, order="<", mode=4, extended=0):
    """Priism's header: sizes and mode, then from byte 40 the steps; no MAP stamp. `orders` (orders, kr, kz)."""
    data = np.asarray(orders)
    shape = data.shape[::-1] if data.shape[-1] > 1 else (data.shape[1], 1, data.shape[0])
    header = np.zeros(256, order + "i4")
    header[:4] = *shape, mode
    header[7:10] = 1
    header[23] = extended
    header[10 : 10 + len(steps)] = np.array(steps, order + "f4").view(order + "i4")
    path.write_bytes(header.tobytes() + bytes(extended) + data.astype(order + MODES.get(mode, "c8")).tobytes())
    return path


def steps_of(psf, voxel_um):
    """Frequency steps as the file has them: (kr,), or (kz, kr)."""
    return [1 / (n * size) for n, size in zip((*psf.shape[:-2], psf.shape[-1]), voxel_um, strict=True)]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extended", [0, 512])
def test_a_plane_comes_back(tmp_path, order, extended):
    psf = generate_psf(OPTICS, (129, 129), (0.05,))
    path = write_mrc(tmp_path / "otf.mrc", radial_otf(psf)[None], steps_of(psf, (0.05,)), order, extended=extended)
    result, voxel = psf_from_otf(read_otf(path), 0.05)
    assert voxel == (0.05,)
    assert fwhm_px(result) == pytest.approx(fwhm_px(psf), rel=0.01)
    cut = tuple(slice((n - m) // 2, (n + m) // 2) for n, m in zip(psf.shape, result.shape, strict=True))
    assert np.abs(result / result.max() - psf[cut] / psf.max()).max() < 0.01


@pytest.mark.parametrize("order", "<>")
def test_a_volume_comes_back_and_its_order_0_is_taken(tmp_path, order):
    voxel = (0.15, 0.05)
    psf = generate_psf(OPTICS, (61, 129, 129), voxel, "light-sheet", sheet_um=2.0)
    otf = radial_otf(psf)
    path = write_mrc(tmp_path / "otf.mrc", [otf, 0 * otf], steps_of(psf, voxel), order)
    result, _ = psf_from_otf(read_otf(path), *voxel[::-1])
    assert result.shape[0] % 2 == 1
    assert result.sum() == pytest.approx(1)
    assert fwhm_px(result) == pytest.approx(fwhm_px(psf), rel=0.02)


def test_another_pixel_size_is_the_same_psf(tmp_path):
    psf = generate_psf(OPTICS, (129, 129), (0.05,))
    path = write_mrc(tmp_path / "otf.mrc", radial_otf(psf)[None], steps_of(psf, (0.05,)), mode=2)
    fine, _ = psf_from_otf(read_otf(path), 0.025)
    assert fwhm_px(fine) * 0.025 == pytest.approx(fwhm_px(psf) * 0.05, rel=0.03)


@pytest.mark.parametrize("step", [0.0, 1.0, np.nan])
def test_a_header_that_is_not_credible_needs_the_pixel_size(tmp_path, step):
    psf = generate_psf(OPTICS, (129, 129), (0.05,))
    otf = read_otf(write_mrc(tmp_path / "otf.mrc", radial_otf(psf)[None], [step]))
    with pytest.raises(InputError, match="give the `pixel_size`"):
        psf_from_otf(otf)
    assert fwhm_px(psf_from_otf(otf, 0.05)[0]) == pytest.approx(fwhm_px(psf), rel=0.02)


def test_bad_files_are_refused(tmp_path):
    otf = np.ones((1, 33, 9))
    good = write_mrc(tmp_path / "good.mrc", otf, [0.1, 0.3])
    (tmp_path / "cut.mrc").write_bytes(good.read_bytes()[:-1])
    (tmp_path / "short.mrc").write_bytes(b"MAP")
    (tmp_path / "text.mrc").write_text("an OTF " * 400)
    write_mrc(tmp_path / "mode.mrc", otf, [0.1, 0.3], mode=6)
    write_mrc(tmp_path / "zero.mrc", 0 * otf, [0.1, 0.3])
    for name, message in {
        "none.mrc": "does not exist", "cut.mrc": "cut off", "short.mrc": "is not MRC", "text.mrc": "is not MRC",
        "mode.mrc": r"mode 6; an OTF has mode 2 \(float32\), 4 \(complex64\)", "zero.mrc": "holds no OTF",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_otf(tmp_path / name)
    with pytest.raises(InputError, match="must be 3 odd numbers"):
        psf_from_otf(read_otf(good), 0.1, 0.3, (33, 33))
    with pytest.raises(InputError, match="above 0"):
        psf_from_otf(read_otf(good), -0.1, 0.3)
    with pytest.raises(InputError, match="2D and has no z step"):
        psf_from_otf(read_otf(write_mrc(tmp_path / "flat.mrc", otf[..., :1], [0.1])), 0.1, 0.3)


@needs_shared("data/otf", "data/sim-2d-microtubules")
@pytest.mark.parametrize(
    ("name", "voxel_um", "fwhm_um"),
    [
        # Voxels: what 0.16 µm steps, and the camera's 62.6 nm pixels, leave in the header. FWHM: 0.51 λ/NA and
        # 0.88 λ/(n − √(n² − NA²)) of the NA at which the OTF ends (1.34 in n 1.406; 1.3), for the dyes' emissions.
        ("otf/3D-488-OTF-1.17NA-ang2-0.160step-20-25-3.mrc", (0.16, 0.0610), (0.47, 0.20)),
        ("otf/C2-0.175cc-SLM6.1-0.16step-560_cam2_step1_001_otf3d-ang0-12-12-1-1.45.mrc", (0.16, 0.0649), (0.5, 0.24)),
        ("sim-2d-microtubules/TIRF488_cam1_0_z30_OTF2d.mrc", (0.0626,), (0.206,)),
        ("sim-2d-microtubules/TIRF560_cam2_0_z21_OTF2d.mrc", (0.0626,), (0.235,)),
        ("sim-2d-microtubules/TIRF647_cam2_0_z21_OTF2d.mrc", (0.0626,), (0.27,)),
    ],
)
def test_measured_otfs_become_psfs_of_credible_width(name, voxel_um, fwhm_um):
    psf, voxel = psf_from_otf(read_otf(SHARED / "data" / name))
    assert voxel == pytest.approx(voxel_um, rel=2e-3)
    assert (fwhm_px(psf) * (*voxel, voxel[-1]))[: len(voxel)] == pytest.approx(fwhm_um, rel=0.2)
