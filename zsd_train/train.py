"""One linear training loop; the run folder that it writes; resuming and loading one.

RUN/config.toml            the choices made, and what was measured on the data
RUN/weights.safetensors    the averaged weights that validated best
RUN/state.safetensors      everything else that resuming needs
RUN/sample.tif             the middle of the first image: export tests and measures the network on it
RUN/psf.tif metrics.csv preview.png tensorboard/
"""

import csv
import hashlib
import json
import logging
import math
import signal
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi
import tifffile
import tomli_w
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from zsd_runtime.errors import InputError
from zsd_runtime.files import cannot_write, written_whole
from zsd_runtime.images import Image, write_image
from zsd_runtime.tiling import round_up
from zsd_train.config import TrainConfig, make_config
from zsd_train.losses import OTF, crop, data_term, hessian, otf_of, reblurred, total_variation
from zsd_train.networks.dual_stage import DualStageUNet, Restored
from zsd_train.noise import NoiseModel, correlated_noise, estimate_noise, known_noise
from zsd_train.pairs import Pairs, Sampler, dihedral
from zsd_train.pictures import enlarged, middle, montage

DEFAULT_MINUTES = 4.0
WARM_UP_STEPS = 100  # in which the learning rate rises
VALIDATIONS = 40  # in a budget
SECONDS_BETWEEN_SAVES = 60.0
TURNED = 4  # validations in a row that are significantly worse than the best one end the training
PREVIEW_SIDE = 256  # raw pixels
SAMPLE_SIDE = 512  # raw pixels of the training data kept with the run


@dataclass(frozen=True)
class Run:
    """A training's result, as `load_run` reads it from its folder.

    network : with the kept weights, on the CPU, in fp32, evaluation mode · psf : (Y, X) on the deconvolved grid ·
    sample : (Y, X), counts, some of the training data · offset, scale : networks see ``(counts - offset) / scale`` ·
    pixel_size_um : of the raw grid, if known · measured : what was found out about the data and the training.
    """

    folder: Path
    config: TrainConfig
    network: DualStageUNet
    psf: NDArray[np.float64]
    sample: NDArray[np.float64]
    offset: float
    scale: float
    pixel_size_um: float | None
    measured: dict[str, Any]


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
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Train a dual-stage network on noisy images alone (ZS-DeconvNet 2D, Qiao et al. 2024, eq. 2-6).

    Parameters
    ----------
    images : list of ndarray
        (Y, X) camera counts, any real dtype, all of one kind of sample and one camera setting.
    psf : ndarray
        (Y, X) on the deconvolved grid, odd-sized, sum 1: from `zsd_train.psf`.
    config : TrainConfig
    out : path
        The run folder; must be new unless `resume`.
    pixel_size_um : float
        Of the raw grid, kept with the run.
    resume : bool
        Go on with an interrupted run of the same images; bit for bit the same as without interruption on the CPU.
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
    config = config or make_config()
    frames = [np.asarray(image).astype(np.float64) for image in images]
    _check(frames, psf, config)
    data_sha256, psf_sha256 = _sha256(frames), _sha256([psf.astype(np.float32)])
    if resume:
        config = _config_to_resume(out, config, {"data_sha256": data_sha256, "psf_sha256": psf_sha256})
    elif (out / "state.safetensors").exists():
        raise InputError(f"{out} already holds a run: choose another --out, or go on with it with --resume")

    # Data: what the camera does to light, and the range that the network sees.
    noise = _noise(frames, config)
    offset, scale = noise.offset, _scale(frames, noise.offset)
    upsample, step_px = config.network.upsample, 2**config.network.depth
    margin = round_up(math.ceil(psf.shape[0] // 2 / upsample), step_px // 2)

    torch.manual_seed(config.seed)
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)  # it announces its precision
    fabric = Fabric(accelerator=_accelerator(config), devices=1, precision=_precision(config))
    network = DualStageUNet(**config.network.model_dump())
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, betas=(0.9, 0.99), fused=True)
    model, optimizer = fabric.setup(network, optimizer)
    device = fabric.device
    sampler = Sampler(
        frames, noise, offset=offset, scale=scale, patch=config.patch, margin=margin, holdout=config.holdout,
        recorruption=config.recorruption, alpha=config.alpha, seed=config.seed, device=device,
    )  # fmt: skip
    held_out = sampler.held_out(config.seed)
    otfs = _otfs(psf, sampler.size * upsample, device)
    where = torch.Generator().manual_seed(config.seed)
    grain = torch.Generator(device).manual_seed(config.seed + 1)
    state = _State(network, optimizer, where, grain)

    sample = middle(frames[0], SAMPLE_SIDE, step_px)
    measured = {
        "offset": offset, "scale": scale, "noise": asdict(noise), "data_sha256": data_sha256, "psf_sha256": psf_sha256,
        "images": [list(f.shape) for f in frames], "psf_shape": list(psf.shape),
        "versions": {name: version(name) for name in ("torch", "numpy", "lightning-fabric")},
    } | ({"pixel_size_um": pixel_size_um} if pixel_size_um else {})  # fmt: skip
    with _writing(out):
        if resume:
            state.load(out)
        else:
            out.mkdir(parents=True, exist_ok=True)
            write_plane(out / "psf.tif", psf, pixel_size_um / upsample if pixel_size_um else None)
            write_plane(out / "sample.tif", sample, pixel_size_um)
            _write_config(out, config, measured)

    minutes = config.minutes or DEFAULT_MINUTES
    started, saved, reported = time.monotonic() - state.seconds, time.monotonic(), 0.0
    stop_reason = ""
    if noise.correlated:
        warning = f"warning: {correlated_noise(noise.correlated)}"
        report(Progress(state.step, 0, 0, 0, math.nan, math.nan, math.nan, warning))
    loss = denoising = deconvolution = torch.tensor(math.nan)  # until the first step; a finished run makes none
    with _writing(out), _interruptible() as interrupted, _Log(out, state.step) as log:
        while not stop_reason:
            seconds = time.monotonic() - started
            fraction = min(1.0, state.step / config.steps if config.steps else seconds / (60 * minutes))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min((state.step + 1) / WARM_UP_STEPS, 1.0) * (1 - fraction)

            if fraction < 1:
                pairs = sampler.draw(config.batch, where, grain)
                restored = model(pairs.recorrupted.contiguous(memory_format=torch.channels_last))
                loss, denoising, deconvolution = losses(restored, pairs, otfs, config, margin)
                optimizer.zero_grad()
                fabric.backward(loss)
                fabric.clip_gradients(model, optimizer, max_norm=1.0)
                optimizer.step()
                state.step += 1
                state.average(config.ema_decay)

            state.seconds = time.monotonic() - started
            message = ""
            # Counted rather than compared with a share of the budget, which a resumed run may have changed.
            if math.floor(fraction * VALIDATIONS) != state.validated:
                state.validated = math.floor(fraction * VALIDATIONS)
                errors = _validate(state, held_out, otfs, config, margin, fabric)
                message = state.judge(errors)
                log.write(state, group["lr"], loss, denoising, deconvolution)
                _write_preview(out, state, sample, offset, scale)
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
            if stop_reason or time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                saved = time.monotonic()
                state.save(out)
    if interrupted.is_set():
        raise Interrupted(f"{stop_reason}, saved in {out}: go on with --resume")
    _write_config(out, config, measured | {
        "steps": state.step, "kept_step": state.best_step, "seconds": round(state.seconds, 1),
        "held_out_error": float(state.best_errors.mean()) if state.best_errors.numel() else math.nan,
        "stopped": stop_reason,
    })  # fmt: skip
    return load_run(out)


def losses(
    restored: Restored, pairs: Pairs, otfs: OTF, config: TrainConfig, margin: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(L, L_den, data term of L_dec) of eq. 4-6; each sample is blurred by the PSF turned as its patch was."""
    upsample, squared = config.network.upsample, config.loss == "mse"
    deconvolved = restored.deconvolved
    blurred = reblurred(deconvolved, otfs[pairs.orientation], upsample, margin)
    denoising = data_term(crop(restored.denoised, margin), pairs.target, squared=squared, weight=pairs.weight)
    deconvolution = data_term(blurred, pairs.target, squared=squared, weight=pairs.weight)
    regularisation = config.hessian_weight * hessian(deconvolved)
    if config.tv_weight:
        regularisation = regularisation + config.tv_weight * total_variation(deconvolved)
    if config.l1_weight:
        regularisation = regularisation + config.l1_weight * deconvolved.abs().mean()
    mu = config.denoising_weight
    return mu * denoising + (1 - mu) * (deconvolution + regularisation), denoising, deconvolution


def load_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises
    ------
    InputError
        When it is not one, or never finished a validation.
    """
    folder = Path(folder)
    if not (folder / "config.toml").exists():
        raise InputError(f"{folder} is not a run: it has no config.toml; give the --out of `zsd train`")
    if not (folder / "weights.safetensors").exists():
        raise InputError(f"{folder} holds no weights: its training was interrupted before the first; --resume it")
    try:
        stored = tomllib.loads((folder / "config.toml").read_text("utf-8"))
        config, measured = make_config(**stored["config"]), stored["measured"]
        network = DualStageUNet(**config.network.model_dump())
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        psf, sample = (tifffile.imread(folder / name).astype(np.float64) for name in ("psf.tif", "sample.tif"))
    except (KeyError, OSError, RuntimeError, SafetensorError, tomllib.TOMLDecodeError, tifffile.TiffFileError) as error:
        raise InputError(f"{folder} is damaged ({error}): train again") from error
    return Run(
        folder, config, network.eval(), psf / psf.sum(), sample, measured["offset"], measured["scale"],
        measured.get("pixel_size_um"), measured,
    )  # fmt: skip


def write_plane(path: Path, plane: NDArray[np.float64], pixel_size_um: float | None) -> None:
    """Write (Y, X) as a float32 TIFF with its pixel size."""
    size = (pixel_size_um, pixel_size_um) if pixel_size_um else None
    write_image(path, Image(plane.astype(np.float32), "YX", size))


class _State:
    """All that changes while training, so that saving and resuming are one list of things."""

    def __init__(
        self, network: DualStageUNet, optimizer: torch.optim.Optimizer, where: torch.Generator, grain: torch.Generator
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.generators = {"where": where, "grain": grain}
        self.step, self.seconds, self.validated = 0, 0.0, -1
        self.turned, self.best_step = 0, 0
        self.averaged = _copy(network)
        self.best = _copy(network)
        self.best_errors = torch.empty(0)
        self.latest = math.nan

    def average(self, decay: float) -> None:
        """Exponential moving average of the weights; the first steps, far from anywhere, are forgotten sooner."""
        decay = min(decay, self.step / (self.step + 10))
        with torch.no_grad():
            current = list(self.network.state_dict().values())
            torch._foreach_lerp_(list(self.averaged.values()), current, 1 - decay)

    def judge(self, errors: Tensor) -> str:
        """Keep the averaged weights if the held-out `errors` (one a tile) are the best so far; count if they turned."""
        self.latest = float(errors.mean())
        difference = errors - self.best_errors if self.best_errors.numel() == errors.numel() else -errors
        if not errors.numel() or difference.mean() < 0:  # without held-out tiles the latest weights are kept
            self.best = {name: tensor.clone() for name, tensor in self.averaged.items()}
            self.best_errors, self.best_step, self.turned = errors, self.step, 0
            return f"held-out error {errors.mean():.5f}" if errors.numel() else "no held-out tiles"
        # Paired over tiles: the noise of the targets is the same in both and cancels.
        worse = difference.mean() > 2 * difference.std() / math.sqrt(errors.numel())
        self.turned = self.turned + 1 if worse else 0
        return f"held-out error {errors.mean():.5f}, best {self.best_errors.mean():.5f} at step {self.best_step}"

    def save(self, folder: Path) -> None:
        adam = {
            f"adam.{name}.{i}": tensor
            for i, entry in self.optimizer.state_dict()["state"].items()
            for name, tensor in entry.items()
        }
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()} | adam
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.items()}
        tensors |= {f"generator.{k}": g.get_state() for k, g in self.generators.items()}
        tensors["best_errors"] = self.best_errors
        numbers = {k: getattr(self, k) for k in ("step", "seconds", "validated", "turned", "best_step")}
        with written_whole(folder / "weights.safetensors") as temporary:
            save_file(_plain(self.best), temporary)
        with written_whole(folder / "state.safetensors") as temporary:
            save_file(_plain(tensors), temporary, {"numbers": json.dumps(numbers)})

    def load(self, folder: Path) -> None:
        try:
            with safe_open(folder / "state.safetensors", "pt") as file:  # type: ignore[no-untyped-call]
                numbers = json.loads(file.metadata()["numbers"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            best = load_file(folder / "weights.safetensors")
        except Exception as error:
            raise InputError(f"{folder} cannot be resumed ({error}): train again into another folder") from error
        for key, value in numbers.items():
            setattr(self, key, value)
        self.network.load_state_dict(_under("network.", tensors))
        for name, tensor in _under("averaged.", tensors).items():
            self.averaged[name].copy_(tensor)
        self.best = {name: tensor.to(self.averaged[name].device) for name, tensor in best.items()}
        self.best_errors = tensors["best_errors"]
        entries: dict[int, dict[str, Tensor]] = {}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, tensor in _under("adam.", tensors).items():
            name, index = key.rsplit(".", 1)
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:  # fused Adam walks through memory: it needs the parameter's layout
                tensor = torch.empty_like(parameter).copy_(tensor)
            entries.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": entries})
        for name, generator in self.generators.items():
            generator.set_state(tensors[f"generator.{name}"])


@torch.no_grad()
def _validate(
    state: _State, held_out: Pairs | None, otfs: OTF, config: TrainConfig, margin: int, fabric: Fabric
) -> Tensor:
    """Held-out error of the averaged weights, one number a tile: µ·(denoising)² + (1 − µ)·(deconvolution)².

    The tiles' noise was never a target, so the expectation is the true error plus a constant, whatever was learnt.
    """
    if held_out is None:
        return torch.empty(0)
    network = _with_weights(state.network, state.averaged)
    mu, tiles = config.denoising_weight, []
    for i in range(0, len(held_out.target), 8):
        part = slice(i, i + 8)
        with fabric.autocast():
            restored = network(held_out.recorrupted[part].contiguous(memory_format=torch.channels_last))
        blurred = reblurred(restored.deconvolved.float(), otfs[:1], config.network.upsample, margin)
        target, weight = held_out.target[part], held_out.weight[part]
        for share, image in ((mu, crop(restored.denoised.float(), margin)), (1 - mu, blurred)):
            tiles.append(share * ((image - target).square() * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)))
    return (torch.cat(tiles[::2]) + torch.cat(tiles[1::2])).cpu()


@torch.no_grad()
def _write_preview(folder: Path, state: _State, sample: NDArray[np.float64], offset: float, scale: float) -> None:
    """noisy | denoised | deconvolved of the middle of the sample, on the fine grid."""
    step, k = state.network.step, state.network.upsample
    view = middle(sample, PREVIEW_SIDE, step)
    device = next(iter(state.best.values())).device
    batch = torch.tensor((view[None, None] - offset) / scale, dtype=torch.float32, device=device)
    denoised, deconvolved = (t[0, 0].float().cpu().numpy() for t in _with_weights(state.network, state.best)(batch))
    with written_whole(folder / "preview.png") as temporary:
        iio.imwrite(temporary, montage([enlarged(view, k), enlarged(denoised, k), deconvolved]), extension=".png")


class _Log:
    """metrics.csv and TensorBoard scalars; both go on where an interrupted run left them."""

    FIELDS = ("step", "seconds", "steps_per_second", "learning_rate", "loss", "denoising", "deconvolution",
              "held_out_error", "best_held_out_error")  # fmt: skip

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def __enter__(self) -> "_Log":
        from torch.utils.tensorboard import SummaryWriter

        self.file = (self.folder / "metrics.csv").open("a" if self.step else "w", newline="")
        self.rows = csv.writer(self.file)
        if not self.step:
            self.rows.writerow(self.FIELDS)
        self.board = SummaryWriter(self.folder / "tensorboard", purge_step=self.step or None)  # type: ignore[no-untyped-call]
        return self

    def write(self, state: _State, lr: float, loss: Tensor, denoising: Tensor, deconvolution: Tensor) -> None:
        speed = state.step / max(state.seconds, 1e-9)
        best = float(state.best_errors.mean()) if state.best_errors.numel() else math.nan
        numbers = (lr, *(float(x.detach()) for x in (loss, denoising, deconvolution)), state.latest, best)
        self.rows.writerow([state.step, round(state.seconds, 2), round(speed, 3), *(f"{n:.6g}" for n in numbers)])
        self.file.flush()
        for name, number in zip(self.FIELDS[3:], numbers, strict=True):
            self.board.add_scalar(name, number, state.step)  # type: ignore[no-untyped-call]

    def __exit__(self, *exc: object) -> None:
        self.file.close()
        self.board.close()  # type: ignore[no-untyped-call]


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


def _check(frames: list[NDArray[np.float64]], psf: NDArray[np.float64], config: TrainConfig) -> None:
    if not frames:
        raise InputError("no image to train on: give at least one")
    for frame in frames:
        if frame.ndim != 2:
            raise InputError(f"an image of shape {frame.shape} is not YX: give each plane by itself")
        size = f"{frame.shape[0]}x{frame.shape[1]}"
        if min(frame.shape) < config.patch:
            raise InputError(
                f"an image is {size}; training with patch = {config.patch} needs at least "
                f"{config.patch}x{config.patch}: give a larger image, or a smaller patch (32 at the least)"
            )
        if not np.isfinite(frame).all():
            raise InputError("an image contains NaN or infinity: repair it or leave it out")
        if np.ptp(frame) == 0:
            raise InputError(f"an image is constant ({frame.flat[0]:g}): there is nothing to learn from it")
        if config.network.upsample * min(frame.shape) < max(psf.shape):
            raise InputError(f"the PSF ({psf.shape[0]} fine pixels) is larger than the image ({size}): crop the PSF")
    if psf.ndim != 2 or psf.shape[0] != psf.shape[1] or psf.shape[0] % 2 == 0 or abs(psf.sum() - 1) > 1e-3:
        raise InputError(
            f"the PSF (shape {psf.shape}, sum {psf.sum():.3g}) must be square, odd-sized and sum to 1: "
            "use zsd_train.psf.prepare_psf"
        )


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


def _otfs(psf: NDArray[np.float64], size: int, device: torch.device) -> OTF:
    """Spectra of the PSF in its eight orientations, (8, 1, size, size // 2 + 1)."""
    kernel = torch.tensor(psf, dtype=torch.float32, device=device)
    return torch.stack([otf_of(dihedral(kernel, k), (size, size)) for k in range(8)])[:, None]


def _sha256(arrays: list[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _config_to_resume(folder: Path, wanted: TrainConfig, hashes: dict[str, str]) -> TrainConfig:
    """The stored configuration, with a new budget if one is asked for."""
    try:
        stored = tomllib.loads((folder / "config.toml").read_text("utf-8"))
        values = stored["config"]
        changed = [key for key, value in hashes.items() if stored["measured"][key] != value]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{folder} cannot be resumed: it holds no readable config.toml ({error})") from error
    if changed:
        what = "on other images" if "data_sha256" in changed else "with another PSF"
        raise InputError(f"{folder} was trained {what}: resume with the same, or train into a new folder")
    if wanted.minutes or wanted.steps:
        values = {k: v for k, v in values.items() if k not in ("minutes", "steps")}
        values |= {"minutes": wanted.minutes} if wanted.minutes else {"steps": wanted.steps}
    return make_config(**values)


def _write_config(folder: Path, config: TrainConfig, measured: dict[str, Any]) -> None:
    with written_whole(folder / "config.toml") as temporary:
        text = tomli_w.dumps({"config": config.model_dump(exclude_none=True), "measured": measured})
        temporary.write_text(text, "utf-8")


def _with_weights(network: DualStageUNet, weights: dict[str, Tensor]) -> Callable[[Tensor], Restored]:
    return lambda x: torch.func.functional_call(network, weights, (x,))  # type: ignore[no-any-return]


def _copy(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU and contiguous, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
