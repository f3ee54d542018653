"""From an optical transfer function in an MRC file to the PSF.

SIM software (Priism) writes MRC without the MAP stamp, in either byte order, with complex numbers; instead of the cell
size the header contains the frequency step of each axis, cycles/µm.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from zsd_optics.psf import prepare_psf
from zsd_runtime.errors import InputError, size_text

HEADER_BYTES = 1024
MODES = {2: ("float32", "f4"), 4: ("complex64", "c8")}
PIXEL_UM, Z_STEP_UM = (0.01, 1.0), (0.01, 5.0)  # credible ranges; other values in a header are ignored
LARGEST_PX = 255  # largest default size of a PSF


@dataclass(frozen=True)
class Otf:
    """A radial OTF.

    Parameters
    ----------
    values : ndarray
        (kr, kz), magnitude. Both axes start at frequency 0; kz continues with the negative frequencies, as in an FFT,
        and has one sample in 2D.
    voxel_um : tuple of float
        (pixel size,) or (z step, pixel size), µm, of an image with exactly these frequencies, according to the file,
        credible or not.
    """

    values: NDArray[np.float64]
    voxel_um: tuple[float, ...]


@dataclass(frozen=True)
class OtfFile:
    """What an MRC file holds: radial OTFs, one for each order of the illumination.

    Attributes
    ----------
    values : ndarray
        (orders, kr, kz), complex; kz has one sample in 2D.
    step : tuple of float
        (kr[, kz]) cycles/µm between two samples, according to the file, credible or not.
    """

    values: NDArray[np.complex128]
    step: tuple[float, ...]


def read_orders(path: Path) -> OtfFile:
    """Read the OTFs of all orders from an MRC file of (kr,), (orders, kr) or (orders, kr, kz).

    Raises
    ------
    InputError
        When the file is not MRC, is cut off, or its mode (number type) is unknown.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist", "give an OTF as MRC")
    content = path.read_bytes()
    header, order = _header(content, path)
    nx, ny, nz, mode = (int(n) for n in header[:4])
    if mode not in MODES:
        known = ", ".join(f"{number} ({name})" for number, (name, _) in MODES.items())
        raise InputError(f"{path} is MRC of mode {mode}; an OTF has mode {known}")
    dtype = np.dtype(order + MODES[mode][1])
    start = HEADER_BYTES + int(header[23])  # an extended header may come first
    if len(content) < start + nx * ny * nz * dtype.itemsize:
        raise InputError(
            f"{path} is cut off: {len(content)} bytes do not hold {nz}x{ny}x{nx} {dtype.name}", "copy it again"
        )
    values = np.frombuffer(content, dtype, nx * ny * nz, start).reshape(nz, ny, nx).astype(np.complex128)
    if not np.isfinite(values[0]).all() or not np.abs(values[0]).max() > 0:
        raise InputError(f"{path} holds no OTF: its order 0 is 0 everywhere, or not finite")
    dx, dy = (float(d) for d in header[10:12].view("f4") / np.maximum(header[7:9], 1))
    return OtfFile(values.transpose(0, 2, 1), (dx,)) if ny == 1 else OtfFile(values, (dy, dx))


def read_otf(path: Path) -> Otf:
    """Read order 0, that of widefield detection; errors as of `read_orders`."""
    found = read_orders(path)
    kr, kz = found.values.shape[1:]
    pixel = _inverse(2 * (kr - 1) * found.step[0])
    return Otf(np.abs(found.values[0]), (pixel,) if kz == 1 else (_inverse(kz * found.step[1]), pixel))


def psf_from_otf(
    otf: Otf,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    size: tuple[int, ...] | None = None,
    *,
    name: str = "the OTF",
) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Rotate the radial OTF around its axis and transform it to a PSF.

    Parameters
    ----------
    otf : Otf
        If its voxel size is not credible, it is assumed to end at the Nyquist frequency of the given one.
    pixel_size_um, z_step_um : float
        Of the PSF; default: that of the OTF.
    size : tuple of int
        (Y, X) or (Z, Y, X) of the array that is transformed, odd; default: as large as the sampling of the OTF allows,
        at most `LARGEST_PX` in Y and X.
    name : str
        Name of the OTF in error messages.

    Returns
    -------
    ndarray
        The PSF (Y, X) or (Z, Y, X), odd-sized, non-negative, sums to 1, cropped to where its energy is.
    tuple of float
        Its (pixel size,) or (z step, pixel size), µm.

    Raises
    ------
    InputError
        When neither the file nor the arguments give the sampling of the OTF, or the arguments do not fit its axes.
    """
    kr, kz = otf.values.shape
    axes = 2 if kz == 1 else 3
    if axes == 2 and z_step_um is not None:
        raise InputError(f"{name} is 2D and has no z step", f"leave out `z_step` {z_step_um:g}", option="z_step")
    if size is not None and (len(size) != axes or any(n % 2 == 0 for n in size)):
        raise InputError(f"size {size_text(size)} must be {axes} odd numbers: {name} is {axes}D", option="size")
    *own_z, own = otf.voxel_um
    pixel_size, own = _sampling(pixel_size_um, own, PIXEL_UM, "pixel_size", name)
    side = min(2 * kr - 1, LARGEST_PX)
    slices, y, x = (1, side, side) if size is None else (1, *size)[-3:]
    radial = np.hypot(np.fft.fftfreq(y, pixel_size)[:, None], np.fft.fftfreq(x, pixel_size)) * 2 * (kr - 1) * own
    axial = np.zeros(1)
    voxel_um: tuple[float, ...] = (pixel_size,)
    if own_z:
        z_step, own = _sampling(z_step_um, own_z[0], Z_STEP_UM, "z_step", name)
        slices = slices if size else kz - 1 + kz % 2
        axial, voxel_um = np.fft.fftfreq(slices, z_step) * kz * own + kz // 2, (z_step, pixel_size)
    samples = np.broadcast_arrays(radial, axial[:, None, None])
    turned = ndi.map_coordinates(np.fft.fftshift(otf.values, 1), samples, order=1)
    psf = np.fft.fftshift(np.fft.ifftn(turned).real)
    return prepare_psf(psf if axes == 3 else psf[0], voxel_um, voxel_um, name=name), voxel_um


def _sampling(
    given: float | None, own: float, credible: tuple[float, float], option: str, name: str
) -> tuple[float, float]:
    """The voxel size (µm) of the PSF, and that of an image with exactly the frequencies of the OTF."""
    if given is not None and not given > 0:
        raise InputError(f"`{option}` {given:g} must be above 0 µm", option=option)
    if credible[0] <= own <= credible[1]:
        return given or own, own
    if given is None:
        raise InputError(
            f"{name} does not say how it is sampled (its header gives {own:.3g} µm; {credible[0]:g} to "
            f"{credible[1]:g} would be credible)",
            f"give the `{option}` (µm) of the images that it was measured for",
            option=option,
        )
    return given, given


def _header(content: bytes, path: Path) -> tuple[NDArray[np.int32], str]:
    """The first 256 words in native byte order, and the byte order of the file: the one that makes sense of them."""
    for order in "<>":
        header = (
            np.frombuffer(content[:HEADER_BYTES], order + "i4") if len(content) >= HEADER_BYTES else np.zeros(24, "i4")
        )
        if header[:3].min() > 0 and header[:3].max() < 2**16 and 0 <= header[3] < 2**16 and header[23] >= 0:
            return header.astype("i4"), order
    raise InputError(f"{path} is not MRC: its first {HEADER_BYTES} bytes contain no valid size and mode")


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else np.inf
