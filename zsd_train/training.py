"""One linear training loop."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from zsd_optics.noise import NoiseModel, correlated_noise, estimate_noise, known_noise, planes
from zsd_optics.pictures import enlarged, middle, montage
from zsd_optics.psf import with_slices
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import cannot_write, written_whole
from zsd_runtime.tiling import EDGE, round_up
from zsd_train.config import TrainConfig, make_config
from zsd_train.distil import Taught, check_teacher, student
from zsd_train.flux import keep_flux
from zsd_train.frames import Frame, Shape
from zsd_train.losses import Reblur, WienerFilter, crop, data_term, hessian, total_variation
from zsd_train.networks.dual_stage import Restored, build
from zsd_train.networks.unet import upsampled
from zsd_train.pairs import Pairs, Sampler
from zsd_train.run import Run, config_to_resume, load_run, sha256, write_array, write_config
from zsd_train.state import Log, State, with_weights

DEFAULT_MINUTES = {2: 4.0, 3: 15.0}
WARM_UP_STEPS, WARM_UP = 100, 0.1  # in which the learning rate rises, and the share of the budget, if that is sooner
VALIDATIONS = {2: 40, 3: 20}  # in a budget
VALIDATING = 0.1  # share of a time budget that validations may take: slow machines make fewer
HELD_OUT = {2: 64, 3: 12}  # tiles at most: in 3D each costs as much as a step
SECONDS_BETWEEN_SAVES = 60.0
TURNED = 4  # validations in a row that are significantly worse than the best one end the training
# Raw pixels of the middle of the data: of the preview, and of what is kept with the run.
PREVIEW: dict[int, Shape] = {2: (256, 256), 3: (8, 192, 192)}
SAMPLE: dict[int, Shape] = {2: (512, 512), 3: (32, 256, 256)}
# In 3D a margin as wide as the PSF, which defocus makes wide, would be most of a patch; `Reblur` makes up for the rest.
LARGEST_MARGIN = (4, 4, 4)
Compared = tuple[Tensor, Tensor, Tensor]  # prediction, target, weight
LAYOUT = {"yx": torch.channels_last, "zyx": torch.channels_last_3d}


@dataclass(frozen=True)
class Progress:
    """How a training stands, after a validation and at least once a second."""

    step: int
    fraction: float
    seconds: float
    steps_per_second: float
    loss: float
    denoising: float
    deconvolution: float
    message: str = ""

    @property
    def seconds_left(self) -> float:
        """Estimated from the share of the budget that is spent."""
        return self.seconds * (1 - self.fraction) / max(self.fraction, 1e-6)


class Interrupted(Exception):
    """Ctrl-C came; the run was saved and can be resumed."""


def train(
    images: list[NDArray[np.generic]],
    psf: NDArray[np.float64],
    config: TrainConfig | None = None,
    out: str | Path = "run",
    *,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
    teacher: Run | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Train a dual-stage network on noisy images alone (ZS-DeconvNet, Qiao et al. 2024, eq. 2-9).

    Parameters
    ----------
    images : list of ndarray
        (Y, X), or volumes (Z, Y, X), also memory-mapped: camera counts, any real dtype, all of one kind of sample and
        one camera setting.
    psf : ndarray
        ([Z,] Y, X) on the deconvolved grid, odd-sized, sum 1: from `zsd_optics.psf`.
    config : TrainConfig
    out : path
        The run folder; must be new unless `resume`.
    pixel_size_um, z_step_um : float
        Of the raw grid, kept with the run.
    teacher : Run
        Learn what its network gives in place of recorrupted targets (`zsd_train.distil`); the camera and the
        normalisation are the teacher's.
    resume : bool
        Go on with an interrupted run of the same images; bit for bit the same as without interruption on the CPU
        (with a teacher, whose answers are not saved, only nearly).
    report : callable
        Told of `Progress`.

    Raises
    ------
    InputError
        When an image or the PSF cannot be trained with, or `out` cannot be written.
    Interrupted
        After Ctrl-C, once everything is saved.
    """
    out = Path(out)
    images = [np.asanyarray(image) for image in images]  # mapped files stay on the disk
    config = _for_images(config or make_config(), images, psf)
    hashes = {"data_sha256": sha256(images), "psf_sha256": sha256([psf.astype(np.float32)])}
    if teacher is not None:
        hashes["teacher_sha256"] = sha256([t.cpu().numpy() for t in teacher.network.state_dict().values()])
    if resume:
        config = config_to_resume(out, config, hashes)
    elif (out / "state.safetensors").exists():
        raise InputError(f"{out} already holds a run: choose another --out, or go on with it with --resume")
    if teacher is not None:
        check_teacher(teacher, config)

    # Data: what the camera does to light, and the range that the network sees.
    shown = planes(images)
    if teacher is None:
        noise = _noise(shown, config)
        offset, scale = noise.offset, _scale(shown, noise.offset)
    else:
        noise, offset, scale = NoiseModel(**teacher.measured["noise"]), teacher.offset, teacher.scale
    if config.scheme == "auto":
        config = config.model_copy(update={"scheme": _scheme(noise, config)})
    odd_even = config.scheme == "odd-even"
    patch, seen_psf = _patch(config, images, odd_even), with_slices(psf, 2) if odd_even else psf
    margin = _margin(
        seen_psf, config, max(config.network.size_multiple, teacher.config.network.size_multiple if teacher else 1)
    )

    torch.manual_seed(config.seed)
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)  # it announces its precision
    fabric = Fabric(accelerator=_accelerator(config), devices=1, precision=_precision(config))
    network = build(config.network, config.axes) if teacher is None else student(config.network, teacher.network)
    network = network.to(memory_format=LAYOUT[config.axes])  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, betas=(0.9, 0.99), fused=True)
    model, optimizer = fabric.setup(network, optimizer)
    model.mark_forward_method("denoised")
    device = fabric.device
    rng = np.random.default_rng(config.seed)
    frames = [Frame.of(image, config.holdout, rng) for image in images]
    drawn = Sampler(
        frames, noise, offset=offset, scale=scale, patch=patch,
        margin=margin, scheme="odd-even" if odd_even else config.recorruption, alpha=config.alpha, device=device,
    )  # fmt: skip
    sampler: Sampler | Taught = drawn
    if teacher is not None:
        sampler = Taught(drawn, fabric.setup(teacher.network.to(memory_format=LAYOUT[config.axes])))  # type: ignore[call-overload]
    held_out = sampler.held_out(config.seed, HELD_OUT[len(patch)])
    kernel = torch.tensor(seen_psf, dtype=torch.float32, device=device)
    reblur = Reblur(kernel, sampler.size, margin, config.network.grid_factor)
    sharpen = None
    if config.weakest and teacher is None:  # a teacher's answers are compared as they are, unblurred
        sharpen = WienerFilter(kernel, patch, config.network.grid_factor, config.weakest)
    where = torch.Generator().manual_seed(config.seed)
    grain = torch.Generator(device).manual_seed(config.seed + 1)
    state = State(network, optimizer, where, grain)

    sample = middle(images[0], SAMPLE[len(patch)], network.size_multiple).astype(np.float64)
    sizes = {"pixel_size_um": pixel_size_um, "z_step_um": z_step_um}
    measured = {
        "offset": offset, "scale": scale, "noise": asdict(noise), **hashes, "margin": list(margin),
        "images": [list(image.shape) for image in images], "psf_shape": list(psf.shape),
        "versions": {name: version(name) for name in ("torch", "numpy", "lightning-fabric")},
    } | {name: size for name, size in sizes.items() if size}  # fmt: skip
    with _writing(out):
        if resume:
            state.load(out)
        else:
            out.mkdir(parents=True, exist_ok=True)
            fine = pixel_size_um / config.network.grid_factor if pixel_size_um else None
            write_array(out / "psf.tif", psf, fine, z_step_um)
            write_array(out / "sample.tif", sample, pixel_size_um, z_step_um)
            write_config(out, config, measured)

    minutes = config.minutes or DEFAULT_MINUTES[len(patch)]
    validations = VALIDATIONS[len(patch)]
    started, saved, reported = time.monotonic() - state.seconds, time.monotonic(), 0.0
    stop_reason = ""
    if noise.correlated:
        warning = f"warning: {correlated_noise(noise.correlated)}"
        if odd_even:
            warning += "; trained on odd and even slices, whose noise differs"
        report(Progress(state.step, 0, 0, 0, math.nan, math.nan, math.nan, warning))
    loss = denoising = deconvolution = torch.tensor(math.nan)  # until the first step; a finished run makes none
    with _writing(out), _interruptible() as interrupted, Log(out, state.step) as log:
        while not stop_reason:
            seconds = time.monotonic() - started
            fraction = min(1.0, state.step / config.steps if config.steps else seconds / (60 * minutes))
            warmth = min(max((state.step + 1) / WARM_UP_STEPS, fraction / WARM_UP), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * warmth * (1 - fraction)

            if fraction < 1:
                pairs = sampler.draw(config.batch, where, grain)
                restored = model(pairs.noisy.contiguous(memory_format=LAYOUT[config.axes]))
                loss, denoising, deconvolution = losses(
                    restored, pairs, _gap(model, pairs, margin), reblur, sharpen, config
                )
                optimizer.zero_grad()
                fabric.backward(loss)
                fabric.clip_gradients(model, optimizer, max_norm=1.0)
                optimizer.step()
                state.step += 1
                state.average(config.ema_decay)

            state.seconds = time.monotonic() - started
            message = ""
            # Counted rather than compared with a share of the budget, which a resumed run may have changed.
            due = math.floor(fraction * validations) != state.validated
            ends = fraction >= 1 or interrupted.is_set()
            if due and (config.steps or ends or state.validating <= VALIDATING * state.seconds):
                state.validated = math.floor(fraction * validations)
                errors = _validate(state, held_out, reblur, config, fabric)
                message = state.judge(errors)
                log.write(state, group["lr"], loss, denoising, deconvolution)
                _write_preview(out, state, sample, offset, scale)
                if state.step > 1:  # the first one is of weights that have learnt nothing
                    state.validating += time.monotonic() - started - state.seconds
                if state.turned >= TURNED:
                    stop_reason = (
                        f"stopped at step {state.step}: the held-out error has turned; kept step {state.best_step}"
                    )
            if fraction >= 1:
                stop_reason = f"budget spent at step {state.step}; kept step {state.best_step}"
            if interrupted.is_set():
                stop_reason = f"interrupted at step {state.step}"
            if message or stop_reason or time.monotonic() - reported > 1:
                reported = time.monotonic()
                terms = {
                    "loss": float(loss.detach()),
                    "denoising": float(denoising.detach()),
                    "deconvolution": float(deconvolution.detach()),
                }
                speed = state.step / max(state.seconds, 1e-9)
                report(Progress(state.step, fraction, state.seconds, speed, message=stop_reason or message, **terms))
            if stop_reason and not interrupted.is_set() and state.lacked is None:
                state.lacked = keep_flux(network, state.best, frames, offset, scale)
            if stop_reason or time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                saved = time.monotonic()
                state.save(out)
    if interrupted.is_set():
        raise Interrupted(f"{stop_reason}, saved in {out}: go on with --resume")
    write_config(out, config, measured | {
        "steps": state.step, "kept_step": state.best_step, "seconds": round(state.seconds, 1),
        "light_lacked": state.lacked,
        "held_out_error": float(state.best_errors.mean()) if state.best_errors.numel() else math.nan,
        "stopped": stop_reason,
    })  # fmt: skip
    return load_run(out)


def losses(
    restored: Restored,
    pairs: Pairs,
    gap: Tensor | None,
    reblur: Reblur,
    sharpen: WienerFilter | None,
    config: TrainConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """(L, L_den, data terms of L_dec) of eq. 4-6; of eq. 8 and 9 where slices are compared that lie one `gap` apart."""
    squared = config.loss == "mse"

    def data_terms(compared: Compared, sharpen: WienerFilter | None = None) -> Tensor:
        prediction, target, weight = compared
        targets = [(1.0, target)]
        if gap is not None and config.gap_weight:
            targets.append((config.gap_weight, target + gap))
        terms = [
            share * data_term(prediction, target, squared=squared, weight=weight, filtered=sharpen)
            for share, target in targets
        ]
        return torch.stack(terms).sum()

    of_denoised, of_deconvolved = _compared(restored, pairs, reblur)
    denoising, deconvolution = data_terms(of_denoised), data_terms(of_deconvolved, sharpen)
    regularisation = config.hessian_weight * hessian(restored.deconvolved)
    if config.positivity_weight:
        regularisation = regularisation + config.positivity_weight * restored.deconvolved.clamp(max=0).square().mean()
    if config.tv_weight:
        regularisation = regularisation + config.tv_weight * total_variation(restored.deconvolved)
    if config.l1_weight:
        regularisation = regularisation + config.l1_weight * restored.deconvolved.abs().mean()
    mu = config.denoising_weight
    return mu * denoising + (1 - mu) * (deconvolution + regularisation), denoising, deconvolution


def _compared(restored: Restored, pairs: Pairs, reblur: Reblur) -> tuple[Compared, Compared]:
    """For each output: (prediction, target, weight), of what the losses compare."""
    denoised = crop(restored.denoised, reblur.margin)
    if pairs.taught is None:
        blurred = reblur(restored.deconvolved, pairs.orientation)
        return (denoised, pairs.target, pairs.weight), (blurred, pairs.target, pairs.weight)
    k, taught = reblur.grid_factor, pairs.taught
    fine = (*reblur.margin[:-2], *(k * m for m in reblur.margin[-2:]))
    return (
        (denoised, crop(taught.denoised, reblur.margin), pairs.weight),
        (crop(restored.deconvolved, fine), crop(taught.deconvolved, fine), upsampled(pairs.weight, k)),
    )


@torch.no_grad()
def _gap(model: Any, pairs: Pairs, margin: Shape) -> Tensor | None:
    """G of eq. 8: by how much the slices that are compared differ, as far as the first stage can tell today."""
    if pairs.whole is None or pairs.lead is None:
        return None
    whole = model.denoised(pairs.whole.contiguous(memory_format=torch.channels_last_3d)).float()
    return crop(pairs.lead[:, None, None, None, None] * (whole[:, :, ::2] - whole[:, :, 1::2]), margin)


@torch.no_grad()
def _validate(state: State, held_out: Pairs | None, reblur: Reblur, config: TrainConfig, fabric: Fabric) -> Tensor:
    """Held-out error of the averaged weights, one number a tile: µ·(denoising)² + (1 − µ)·(deconvolution)².

    The tiles' noise was never a target, so the expectation is the true error plus a constant, whatever was learnt.
    """
    if held_out is None:
        return torch.empty(0)
    network = with_weights(state.network, state.averaged)
    mu, tiles, batch = config.denoising_weight, [], 2 * config.batch
    for i in range(0, len(held_out.target), batch):
        part = held_out.part(slice(i, i + batch))
        with fabric.autocast():
            restored = network(part.noisy.contiguous(memory_format=LAYOUT[config.axes]))
        compared = _compared(Restored(restored.denoised.float(), restored.deconvolved.float()), part, reblur)
        for share, (image, target, weight) in zip((mu, 1 - mu), compared, strict=True):
            errors, weights = ((image - target).square() * weight).flatten(1), weight.flatten(1)
            tiles.append(share * errors.sum(1) / weights.sum(1))
    return (torch.cat(tiles[::2]) + torch.cat(tiles[1::2])).cpu()


@torch.no_grad()
def _write_preview(folder: Path, state: State, sample: NDArray[np.float64], offset: float, scale: float) -> None:
    """noisy | denoised | deconvolved of the middle of the sample, of volumes its middle slice, on the fine grid."""
    k = state.network.grid_factor
    view = middle(sample, PREVIEW[sample.ndim], state.network.size_multiple)
    device = next(iter(state.best.values())).device
    batch = torch.tensor((view[None, None] - offset) / scale, dtype=torch.float32, device=device)
    restored = (t[0, 0].float().cpu().numpy() for t in with_weights(state.network, state.best)(batch))
    noisy, denoised, deconvolved = (a if a.ndim == 2 else a[len(a) // 2] for a in (view, *restored))
    inside = (slice(EDGE * k, -EDGE * k),) * 2  # what the rim lacks is not the network's fault
    panels = [panel[inside] for panel in (enlarged(noisy, k), enlarged(denoised, k), deconvolved)]
    with written_whole(folder / "preview.png") as temporary:
        iio.imwrite(temporary, montage(panels), extension=".png")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event instead of tearing a step apart; a second one is Python's own."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def on_signal(_number: int, _frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error


def _for_images(config: TrainConfig, images: list[NDArray[Any]], psf: NDArray[np.float64]) -> TrainConfig:
    """The configuration for images of their number of axes, once they and the PSF are seen to be fit to train with."""
    if not images:
        raise InputError("no image to train on: give at least one")
    axes = {2: "yx", 3: "zyx"}.get(psf.ndim)
    if (
        axes is None
        or psf.shape[-1] != psf.shape[-2]
        or any(n % 2 == 0 for n in psf.shape)
        or abs(psf.sum() - 1) > 1e-3
    ):
        raise InputError(
            f"the PSF (shape {psf.shape}, sum {psf.sum():.3g}) must be square in Y and X, odd-sized and sum to 1: "
            "use zsd_optics.psf.prepare_psf"
        )
    config = config.for_axes(axes)  # type: ignore[arg-type]
    for image in images:
        size = size_text(image.shape)
        if image.ndim != psf.ndim:
            raise InputError(
                f"an image of shape {image.shape} is not {axes.upper()} as the PSF is: give planes with a 2D PSF, each "
                "by itself, or volumes with a 3D one"
            )
        if min(image.shape[-2:]) < config.patch:
            raise InputError(
                f"an image is {size}; training with patch = {config.patch} needs at least "
                f"{config.patch}x{config.patch}: give a larger image, or a smaller patch (32 at the least)"
            )
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise InputError("an image contains NaN or infinity: repair it or leave it out")
        if image.min() == image.max():
            raise InputError(f"an image is constant ({image.flat[0]:g}): there is nothing to learn from it")
        fine = [n * config.network.grid_factor for n in image.shape[-2:]]
        if min(fine) < psf.shape[-1] or (image.ndim == 3 and len(image) < psf.shape[0] // 2 + 1):
            raise InputError(
                f"the PSF ({size_text(psf.shape)}, fine pixels) is larger than the image ({size}): crop the PSF"
            )
    return config


def _scheme(noise: NoiseModel, config: TrainConfig) -> str:
    """Recorruption, unless the noise is not that of single pixels and there are slices to compare instead."""
    return "odd-even" if noise.correlated and config.axes == "zyx" else "recorrupt"


def _patch(config: TrainConfig, images: list[NDArray[Any]], odd_even: bool) -> Shape:
    """What the losses see: ([slices,] patch, patch)."""
    if config.axes == "yx":
        return (config.patch, config.patch)
    fewest = min(len(image) for image in images)
    needed = config.slices * (2 if odd_even else 1)
    if fewest < needed:
        what = "training on odd and even slices" if odd_even else "training"
        raise InputError(
            f"a volume has {fewest} slices; {what} with slices = {config.slices} needs at least {needed}: set slices = "
            f"{fewest * config.slices // needed} with --slices" + (", or use --scheme recorrupt" if odd_even else "")
        )
    return (config.slices, config.patch, config.patch)


def _margin(psf: NDArray[np.float64], config: TrainConfig, step: int) -> Shape:
    """Raw pixels around a patch: what the PSF reaches, rounded so that the whole is on the pooling grid of `step`."""
    radius = math.ceil(psf.shape[-1] // 2 / config.network.grid_factor)
    grid = max(1, step // 2)
    if psf.ndim == 2:
        return (round_up(radius, grid),) * 2
    z, y, x = LARGEST_MARGIN
    return (min(psf.shape[0] // 2, z), *(round_up(min(radius, most), grid) for most in (y, x)))


def _noise(frames: list[NDArray[np.float64]], config: TrainConfig) -> NoiseModel:
    if config.gain is not None and config.offset is not None and config.read_noise is not None:
        return known_noise(config.offset, config.gain, config.read_noise)
    noise = estimate_noise(frames)
    if config.offset is None:
        return noise
    return NoiseModel(**{**asdict(noise), "offset": config.offset})


def _scale(frames: list[NDArray[np.float64]], offset: float) -> float:
    """Counts above the offset that become 1: a bright but not the brightest part of the images."""
    bright = max(float(np.percentile(ndi.uniform_filter(frame, 5), 99.5)) for frame in frames)
    if bright <= offset:
        raise InputError(f"the offset {offset:g} is above the image's brightest parts ({bright:g}): give a lower one")
    return bright - offset


def _accelerator(config: TrainConfig) -> str:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device cuda: torch finds no CUDA GPU here: install its CUDA build and a driver, or train with --device cpu"
        )
    return "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"


def _precision(config: TrainConfig) -> Any:
    if config.precision != "auto":
        return {"fp32": "32-true", "bf16": "bf16-mixed"}[config.precision]
    if _accelerator(config) == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # emulated bf16 is slower than fp32
        fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16-mixed" if fast else "32-true"
