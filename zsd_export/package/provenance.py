"""What a run says of itself: what it was trained on, and what was measured of it."""

from dataclasses import replace
from importlib.metadata import version
from math import prod

from zsd_export.measure.halo import Halo
from zsd_export.measure.parity import LARGEST_DIFFERENCE
from zsd_optics.noise import NoiseModel
from zsd_runtime.camera import Camera
from zsd_runtime.errors import size_text
from zsd_runtime.image_statistics import statistics
from zsd_runtime.mismatch import noise_ratios
from zsd_runtime.sim.microscope import Sim
from zsd_train.run import Run


def trained_on(run: Run) -> dict[str, str]:
    """Lines on data, PSF, noise, training and versions, by name."""
    measured, config = run.measured, run.config
    noise = measured.noise
    sizes = [size_text(shape) for shape in measured.images]
    each = {size: sizes.count(size) for size in sizes}
    rows = {
        "Images": f"{', '.join(f'{n} of {size}' for size, n in each.items())} pixels, noisy alone; "
        f"sha256 {measured.data_sha256}",
        "Counts": _counts(run),
        "Pixel size": (f"{run.pixel_size_um * 1000:.4g} nm" if run.pixel_size_um else "not known")
        + (f", slices {run.z_step_um * 1000:.4g} nm apart" if run.z_step_um else ""),
        "PSF": f"{size_text(measured.psf_shape)} pixels of the deconvolved grid; sha256 {measured.psf_sha256}"
        if prod(measured.psf_shape) > 1
        else "none",
        "Noise": f"gain {noise.gain:.4g} counts per photo-electron, offset {noise.offset:.4g} counts, read noise "
        f"{noise.read_noise:.3g} counts" + f" ({noise.message})" * bool(noise.message) + _shared(noise),
        "Training": f"preset {config.preset}, {config.scheme.kind} pairs, seed {config.seed}",
        "Versions": ", ".join(f"{name} {text}" for name, text in {"zsd": version("zsd"), **measured.versions}.items()),
    }
    if run.sim:
        rows["Stripes"] = _stripes(run.sim)
    if name := channel(run):
        rows["Channel"] = name
    if measured.steps is not None:  # the training has ended
        rows["Training"] += f", {measured.steps} steps in {measured.seconds:g} s; step {measured.kept_step} kept"
    return rows


def camera(run: Run) -> Camera:
    """What the training images say of their camera."""
    measured, noise = run.measured, run.measured.noise
    known = Camera(
        offset=run.offset, scale=run.scale, gain=noise.gain, constant=noise.constant, floor=noise.floor,
        dtype=measured.dtype, lowest=measured.lowest, highest=measured.highest, correlated=noise.correlated,
    )  # fmt: skip
    found = statistics(run.sample)
    return replace(known, saturated=found.saturated, noise_ratios=noise_ratios(known, found))


def channel(run: Run) -> str | None:
    """Name of the channel that it was trained on, if a run knows it."""
    return getattr(run.measured, "channel", None) or None


def _stripes(sim: Sim) -> str:
    """The illumination that the raw frames were reconstructed by."""
    p = sim.parameters
    spacings = ", ".join(f"{pattern.spacing_nm:.1f}" for pattern in p.patterns)
    return (
        f"{p.directions} directions of {p.phases} frames, spacing {spacings} nm, raw pixels "
        f"{p.pixel_size_um * 1000:.4g} nm; reconstructed with w = {p.wiener:.3g}"
    )


def _shared(noise: NoiseModel) -> str:
    """By how much neighbouring pixels share noise."""
    along = " and ".join(f"{value:.2f} along {axis}" for axis, value in noise.next_pixel.items())
    return f"; correlated with the next pixel: {along}" if along else ""


def _counts(run: Run) -> str:
    measured = run.measured
    values = ""
    if measured.dtype and measured.lowest is not None and measured.highest is not None:
        values = f"{measured.dtype}, {measured.lowest:.6g} to {measured.highest:.6g}; "
    return f"{values}dark parts at {run.offset:.4g}, bright parts {run.scale:.4g} above them"


def scores(run: Run, halo: Halo, losses_db: dict[str, float]) -> dict[str, str]:
    """Lines on what was measured of a model, by name."""
    rows = {"Clean data": "none took part: compare with a truth by `zsd evaluate`"}
    error = run.measured.held_out_error
    if error is not None:
        rows["Held-out error"] = (
            f"{error:.4g}, mean squared, on tiles that were never trained on, in units of the normalised images; the "
            "targets are noisy: it does not fall to zero"
        )
    rows["ONNX Runtime and torch"] = f"agree to {LARGEST_DIFFERENCE:g} of the range (fp32)"
    if halo.error is not None:
        rows["Tiles"] = f"differ from the whole image by at most {halo.error:.1e} of the range (fp32)"
    if losses_db:
        rows["PSNR lost to its precision"] = ", ".join(f"{name} {loss:.2f} dB" for name, loss in losses_db.items())
    return rows
