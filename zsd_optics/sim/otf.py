"""The transfer functions of a SIM microscope from a file: MRC and DV of Priism, TIFF of cudasirecon, TIFF of zsd."""

import contextlib
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from zsd_optics.otf import OtfFile, read_orders
from zsd_runtime.errors import InputError
from zsd_runtime.sim.transfer import Transfer

Array = NDArray[np.float64]
CREDIBLE_STEP = (1e-3, 1.0)  # cycles/µm
REAL = 1e-3  # of the real parts: imaginary ones that are rounding
ALIKE_ABOVE = 0.02  # of the highest contrast in focus: where orders are compared


def read_transfer(path: Path, pixel_size_um: float, z_step_um: float | None = None) -> Transfer:
    """Read the OTFs of all orders.

    The orders in files of measured OTFs have the strengths that the illumination of that day had. Here each has that of
    full modulation, so that modulations of images are between 0 and 1.

    Parameters
    ----------
    path : path
        MRC or DV: (orders, kr, kz), complex; TIFF of the same, real and imaginary parts alternating.
    pixel_size_um, z_step_um : float
        Of the raw frames: what a file without steps is taken to be made for.

    Raises
    ------
    InputError
        When the file is not an OTF, or a plane's is given for a volume or the other way round.
    """
    if path.suffix.lower() in (".tif", ".tiff"):
        own = None
        with contextlib.suppress(InputError):  # a TIFF of cudasirecon
            own = Transfer.load(path)
        if own is not None:
            return _fitting(own, path, z_step_um)
        found = _interleaved(path)
    else:
        found = read_orders(path)
    orders = [_real(order) for order in found.values]
    kr, kz = orders[0].shape
    lateral = _step(found.step[0], 1 / (2 * (kr - 1) * pixel_size_um))
    if kz == 1:
        return _fitting(Transfer(np.stack(orders[:1])[:, :, 0] / orders[0][0, 0], (lateral,)), path, z_step_um)
    axial = _step(found.step[1], 1 / (kz * (z_step_um or 1.0)))
    tables = [np.fft.fftshift(order, axes=1).T for order in orders]
    if kz % 2 == 0:  # the highest frequency stands for both signs
        tables = [np.vstack([table, table[:1]]) for table in tables]
    return _fitting(Transfer(_of_full_modulation(tables), (axial, lateral)), path, z_step_um)


def _fitting(transfer: Transfer, path: Path, z_step_um: float | None) -> Transfer:
    axes = len(transfer.step) + 1
    if (axes == 3) != (z_step_um is not None):
        raise InputError(
            f"{path} is the OTF of {'volumes' if axes == 3 else 'planes'}, and the frames are "
            f"{'planes' if axes == 3 else 'volumes'}",
            "give the OTF of this acquisition, or describe the optics by `na` and `wavelength`",
            option=("otf", "na", "wavelength"),
        )
    return transfer


def _interleaved(path: Path) -> OtfFile:
    """TIFF of makeotf: (orders, kr, 2 · kz) float32; it has no steps."""
    try:
        values = tifffile.imread(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "give an OTF as MRC, DV or TIFF", option="otf") from None
    except Exception:
        raise InputError(f"{path} is not a readable TIFF", "give an OTF as MRC, DV or TIFF", option="otf") from None
    if values.ndim != 3 or values.shape[-1] % 2 or values.dtype.kind != "f" or len(values) > 5:
        raise InputError(
            f"{path} of shape {values.shape} is no OTF, which is (orders, kr, 2 kz)",
            "give an OTF as MRC, DV or TIFF", option="otf",
        )  # fmt: skip
    return OtfFile(values[..., 0::2].astype(np.float64) + 1j * values[..., 1::2], (0.0, 0.0))


def _real(order: NDArray[np.complex128]) -> Array:
    """The magnitude: where the stripes were at the bead is of no interest. What is real already keeps its sign."""
    if np.abs(order.imag).sum() < REAL * np.abs(order.real).sum():
        return order.real
    return np.abs(order)  # type: ignore[no-any-return]


def _of_full_modulation(tables: list[Array]) -> Array:
    """Orders (kz, kr) with the strengths of full modulation; order 0 is 1 at frequency 0.

    In the focal plane, where all beams are in phase, all orders then see the sample alike: their sums over kz are
    equal. Single values serve less well: those at the centre depend on how far around the bead light was summed.
    """
    sums = [np.abs(table.sum(axis=0)) for table in tables]
    seen = np.flatnonzero(sums[0] > ALIKE_ABOVE * sums[0].max())
    inner = seen[(seen > 0.2 * seen[-1]) & (seen < 0.8 * seen[-1])]
    inner = inner if inner.size else seen
    peak = tables[0].max()
    return np.stack(
        [table / peak * (sums[0][inner].sum() / s[inner].sum()) for table, s in zip(tables, sums, strict=True)]
    )


def _step(own: float, otherwise: float) -> float:
    return own if CREDIBLE_STEP[0] <= own <= CREDIBLE_STEP[1] else otherwise
