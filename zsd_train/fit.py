"""The training loop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsd_optics.noise import correlated_noise
from zsd_optics.pictures import enlarged, middle, montage
from zsd_runtime.files import written_whole
from zsd_runtime.tiling import EDGE
from zsd_train.config import TrainConfig
from zsd_train.flux import keep_flux
from zsd_train.group import End
from zsd_train.objective import Loss, objective, tile_errors
from zsd_train.setup import Setup
from zsd_train.state import PATIENCE, Log, with_weights
from zsd_train.stopping import STOP, interruptible, taken
from zsd_train.threads import Threads

WARM_UP_STEPS, WARM_UP = 100, 0.1  # in which the learning rate rises, and the share of the budget, if that is sooner
VALIDATING = 0.1  # share of a time budget that validations may take: slow machines make fewer
SECONDS_BETWEEN_SAVES = 60.0


@dataclass(frozen=True)
class Progress:
    """How a training stands, after a validation and at least once a second.

    Attributes
    ----------
    step : int
    fraction : float
        Share of the budget that is spent.
    seconds, steps_per_second : float
    loss, denoising, deconvolution : float
        The loss of the last step, and the data terms in it; NaN where there are none.
    message : str
        What deserves a line of its own; often empty.
    """

    step: int
    fraction: float
    seconds: float
    steps_per_second: float
    loss: float
    denoising: float
    deconvolution: float
    message: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the share of the budget that is spent; None at the start."""
        return self.seconds * (1 - self.fraction) / self.fraction if self.fraction > 0 and self.seconds > 0 else None

    def __str__(self) -> str:
        """For a progress bar."""
        left = f", {self.seconds_left:.0f} s left" if self.seconds_left is not None else ""
        return f"step {self.step}, {self.steps_per_second:.1f}/s, loss {self.loss:.5f}{left}  {self.message}"


@dataclass(frozen=True)
class Preview:
    """What the network makes of the middle of the first image, while it trains.

    Attributes
    ----------
    start : tuple of int
        First pixel ([Z,] Y, X) of that part, in the image as the network sees it.
    shape : tuple of int
        Pixels of that part.
    restored : dict of str to ndarray
        float32 ([Z,] Y, X), counts above the offset, by output; deconvolved images are on their finer grid.
    offset : float
        Counts.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    restored: dict[str, NDArray[np.float32]]
    offset: float


def fit(
    s: Setup,
    out: Path,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
    notice: str = "",
    preview: Callable[[Preview], None] | None = None,
) -> tuple[str, bool]:
    """Train until the budget is spent, the held-out error has turned, or somebody stops it; first report a `notice`.

    Of several processes, the first one decides; the others make the same steps.
    A file `stop` in the run folder ends the training as if its budget were spent: what is best by then is the result.

    Returns
    -------
    str, bool
        Why it stopped, and whether that was somebody.
    """
    if not s.group.leads:
        return _follow(s, stop)
    config, state = s.config, s.state
    minutes = config.minutes or s.defaults.minutes
    started, saved, reported = time.monotonic() - state.seconds, time.monotonic(), 0.0
    loss: Loss | None = None  # a finished run makes no step
    reason = ""
    fixed = bool(config.steps) or s.group.size > 1  # the other processes are no strangers
    if notice:
        report(Progress(state.step, 0, 0, 0, **_terms(loss), message=notice))
    for warning in _warnings(s):
        report(Progress(state.step, 0, 0, 0, **_terms(loss), message=warning))
    with interruptible() as interrupted, Log(out, state.step) as log, Threads(fixed=fixed) as threads:
        while not reason:
            seconds = time.monotonic() - started
            fraction = min(1.0, state.step / config.steps if config.steps else seconds / (60 * minutes))
            rate = _learning_rate(config, state.step, fraction)
            if fraction < 1:
                if s.group.agree(rate).stop:
                    interrupted.set()
                loss = _step(s, rate)
            state.seconds = time.monotonic() - started
            if stop():
                interrupted.set()
            enough = taken(out / STOP)

            message = ""
            # Counted rather than compared with a share of the budget, which a resumed run may have changed.
            validation = math.floor(fraction * s.defaults.validations)
            in_time = config.steps or fraction >= 1 or interrupted.is_set()
            due = validation != state.validated and (in_time or state.validating <= VALIDATING * state.seconds)
            if due or enough:
                state.validated = validation
                message = state.judge(validate(s))
                log.write(state, rate, _terms(loss))
                _write_preview(out, s)
                if preview is not None:
                    preview(_preview(s))
                if state.step > 1:  # the first one is of weights that have learnt nothing
                    state.validating += time.monotonic() - started - state.seconds

            if interrupted.is_set():
                reason = f"interrupted at step {state.step}"
            elif fraction >= 1:
                reason = f"budget spent at step {state.step}; kept step {state.best_step}"
            elif enough:
                reason = f"stopped at step {state.step} by the file {STOP}; kept step {state.best_step}"
            elif state.worse >= PATIENCE:
                reason = f"stopped at step {state.step}: the held-out error has turned; kept step {state.best_step}"
            if message or reason or time.monotonic() - reported > 1:
                reported = time.monotonic()
                threads.adapt()
                speed = state.step / max(state.seconds, 1e-9)
                report(Progress(state.step, fraction, state.seconds, speed, **_terms(loss), message=reason or message))
            if reason and not interrupted.is_set() and state.flux_deficit is None:
                state.flux_deficit = keep_flux(
                    s.network, state.best, s.frames, config.scheme, s.measured.offset, s.measured.scale
                )
            if reason or time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                saved = time.monotonic()
                state.save(out)
    taken(out / STOP)  # somebody asked when it was ending already
    s.group.agree(end=End.INTERRUPTED if interrupted.is_set() else End.DONE)
    return reason, interrupted.is_set()


def _follow(s: Setup, stop: Callable[[], bool]) -> tuple[str, bool]:
    """Make the steps that the first process decides on, which validates, saves and reports."""
    with interruptible() as interrupted:
        while True:
            agreed = s.group.agree(stop=interrupted.is_set() or stop())
            if agreed.end:
                interruption = agreed.end is End.INTERRUPTED
                return f"{'interrupted' if interruption else 'ended'} at step {s.state.step}", interruption
            _step(s, agreed.rate)


def _learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """It rises over the first steps, then falls linearly to 0 over the budget."""
    warmth = min(max((step + 1) / WARM_UP_STEPS, fraction / WARM_UP), 1.0)
    return config.learning_rate * warmth * (1 - fraction)


def _step(s: Setup, learning_rate: float) -> Loss:
    """One step of the optimiser."""
    config, state = s.config, s.state
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    batch = s.sampler.draw(config.batch, state.position_rng, state.noise_rng)
    restored = s.model(batch.noisy.contiguous(memory_format=s.defaults.layout))
    compared = config.scheme.compare(restored, batch, s.forward, s.model.denoised)
    penalty = config.scheme.penalty(restored, batch, s.group.std)
    loss = objective(compared, restored, s.sharpen, config, penalty, s.group.mean)
    state.optimizer.zero_grad()
    s.group.fabric.backward(loss.total)
    s.group.fabric.clip_gradients(s.model, state.optimizer, max_norm=1.0)
    state.optimizer.step()
    state.step += 1
    state.average(config.ema_decay)
    return Loss(s.group.mean(loss.total), {name: s.group.mean(term) for name, term in loss.data.items()})


def _terms(loss: Loss | None) -> dict[str, float]:
    """The loss and its data terms as numbers."""
    if loss is None:
        return dict.fromkeys(("loss", "denoising", "deconvolution"), math.nan)
    outputs = {"denoising": "denoised", "deconvolution": "deconvolved"}
    data = {term: float(loss.data[o].detach()) if o in loss.data else math.nan for term, o in outputs.items()}
    return {"loss": float(loss.total.detach())} | data


@torch.no_grad()
def validate(s: Setup) -> Tensor:
    """Held-out error of the averaged weights, one number a tile; none without held-out tiles."""
    if s.held_out is None:
        return torch.empty(0)
    network, errors, size = with_weights(s.network, s.state.averaged), [], 2 * s.config.batch
    for i in range(0, len(s.held_out.target), size):
        part = s.held_out.part(slice(i, i + size))
        with s.group.fabric.autocast():
            restored = network(part.noisy.contiguous(memory_format=s.defaults.layout))
        restored = type(restored)(*(image.float() for image in restored))
        errors.append(tile_errors(s.config.scheme.compare(restored, part, s.forward), s.config))
    # A sample in which no pixel is compared says nothing.
    return torch.cat(errors).view(s.config.scheme.judgements, -1).nanmean(0).cpu()


@torch.no_grad()
def _write_preview(folder: Path, s: Setup) -> None:
    """Write preview.png: the noisy image and its restorations side by side on the fine grid; in 3D a middle slice."""
    view = middle(s.sample, (len(s.sample), *s.defaults.preview), (1, *s.network.size_multiple))
    restored = with_weights(s.network, s.state.best)(s.normalised(view))
    images = [view[len(view) // 2], *(image[0, 0].float().cpu().numpy() for image in restored)]
    fine, finest = [], s.network.grid_factor
    for image in images:
        plane = image if image.ndim == 2 else image[len(image) // 2]
        fine.append(enlarged(plane, finest * view.shape[-1] // plane.shape[-1]))
    inside = (slice(EDGE * finest, -EDGE * finest),) * 2  # at the rim the network lacks what lies beyond
    with written_whole(folder / "preview.png") as temporary:
        iio.imwrite(temporary, montage([plane[inside] for plane in fine]), extension=".png")


@torch.no_grad()
def _preview(s: Setup) -> Preview:
    """The sample, up to twice as wide as preview.png shows, restored with the best weights so far."""
    *depth, y, x = s.defaults.preview
    view = middle(s.sample, (len(s.sample), *depth, 2 * y, 2 * x), (1, *s.network.size_multiple))
    restored = with_weights(s.network, s.state.best)(s.normalised(view))
    counts = [image[0, 0].float().cpu().numpy() * s.measured.scale for image in restored]
    sizes = zip(s.frames[0].shape, s.sample.shape[1:], view.shape[1:], strict=True)
    start = tuple((n - sample) // 2 + (sample - part) // 2 for n, sample, part in sizes)
    restored_by = dict(zip(s.network.outputs, counts, strict=True))
    return Preview(start, view.shape[1:], restored_by, s.measured.offset)


def _warnings(s: Setup) -> list[str]:
    """What makes the noise of the images difficult."""
    noise = s.measured.noise
    remedies = {}
    if remedy := s.config.scheme.correlated_noise_remedy:
        remedies[correlated_noise(noise)] = correlated_noise(noise, remedy)
    return [f"warning: {remedies.get(text, text)}" for text in noise.warnings]
