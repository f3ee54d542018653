"""Starting weights: a network that has seen simulated samples of many kinds, optics and cameras, with their truth.

    python -m zsd_train.pretrain OUT --axes yx --minutes 65
    python -m zsd_train.pretrain OUT --axes zyx --steps 3000

A budget in steps can be repeated; one in minutes makes as many steps as the machine allows.

The networks of the zoo are made this way (model_zoo/start-2d, start-3d). Every step draws a new crop of a sample,
blurs it with one of many PSFs, exposes it to a camera of random gain and noise, and compares both outputs with what was
drawn.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage as ndi
import torch
from torch import Tensor

from zsd_optics.structures import Grid, scene
from zsd_train.config import Axes, TrainConfig
from zsd_train.defaults import DEFAULTS, Shape
from zsd_train.forward import blur, crop, dihedral, downsample, otf_of
from zsd_train.lesson_psfs import FACTOR, random_psf
from zsd_train.networks.build import build
from zsd_train.start import start_of, write_start

PHOTONS = (2, 500)  # photo-electrons in a bright raw pixel
READ_NOISE_E = (0.2, 5)
BACKGROUND = (0.001, 1)  # below what is taken for the offset, in units of a bright pixel
MULTIPLIED = 0.4  # share of the lessons whose detector multiplies electrons, as EMCCDs and photomultipliers do
SHAPE = (0.7, 4)  # of the gamma distribution of what one electron becomes; an EMCCD has 1
CORRELATED = 0.25  # share of the lessons whose noise neighbouring pixels share, as in images that were resized
CORRELATION_PX = (0.35, 1.5)  # σ of the Gaussian that such noise is blurred by, raw pixels
FLOOR = 1e-3  # of relative errors: no sample counts without end
EMA_DECAY = 0.999


@dataclass(frozen=True)
class World:
    """What samples, microscopes and crops look like; sizes are ([Z,] Y, X).

    Attributes
    ----------
    samples, psfs : int
        How many are drawn once and used again.
    sample : tuple of int
        Fine pixels.
    patch, margin, blurred : tuple of int
        Raw pixels: what the losses see, around it what the network sees too, and around that what light comes from.
    """

    samples: int
    psfs: int
    sample: Shape
    patch: Shape
    margin: Shape
    blurred: Shape


WORLDS: dict[Axes, World] = {
    "yx": World(400, 96, (448, 448), (64, 64), (16, 16), (12, 12)),
    "zyx": World(48, 32, (40, 320, 320), (16, 48, 48), (4, 4, 4), (4, 8, 8)),
}


class Lesson(NamedTuple):
    """A batch (N, 1, [Z,] Y, X): a noisy image, the image without noise, the sample, the noise's mean variance (N,)."""

    noisy: Tensor
    clean: Tensor
    truth: Tensor
    variance: Tensor


class Lessons:
    """Draws lessons.

    Parameters
    ----------
    axes : {"yx", "zyx"}
    seed : int
    report : callable
        Gets a line a sample.
    """

    def __init__(self, axes: Axes, seed: int, report: Callable[[str], None] = lambda line: None) -> None:
        self.world = WORLDS[axes]
        self.rng = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(seed)
        size = tuple(
            n + 2 * m + 2 * b for n, m, b in zip(self.world.patch, self.world.margin, self.world.blurred, strict=True)
        )
        self.window = tuple(n * FACTOR if axis >= len(size) - 2 else n for axis, n in enumerate(size))
        self.otfs = torch.stack(
            [otf_of(random_psf(axes, i, rng, self.window), self.window)[None] for i in range(self.world.psfs)]
        )
        self.samples, self.dark, self.bright = [], [], []
        for i in range(self.world.samples):
            report(f"drawing sample {i + 1} of {self.world.samples}")
            plane_px = float(rng.uniform(3, 8)) if axes == "zyx" else 1.0
            drawn = scene(Grid(self.world.sample, plane_px), np.random.default_rng(1000 + 1000 * seed + i))
            smooth = ndi.gaussian_filter(drawn, 3.0 / Grid(self.world.sample, plane_px).spacing)
            self.samples.append(torch.tensor(drawn.astype(np.float16)))
            self.dark.append(float(np.percentile(smooth, 1)))
            self.bright.append(float(np.percentile(smooth, 99.5)))

    def draw(self, batch: int) -> Lesson:
        """A batch, normalised as a training normalises images."""
        chosen = torch.randint(len(self.samples), (batch,), generator=self.rng).tolist()
        truths = []
        for i in chosen:
            dark = self.dark[i] * self._uniform(1)  # what lies on a background is seen with little contrast
            truths.append((self._window(self.samples[i]) - dark) / (self.bright[i] * self._between(1, 0.7, 1.5)))
        truth = torch.stack(truths)[:, None]
        axes = len(self.window)

        def column(values: Tensor) -> Tensor:
            return values.view(-1, *[1] * (axes + 1))

        otf = self.otfs[torch.randint(len(self.otfs), (batch,), generator=self.rng)]
        clean = crop(downsample(blur(truth, otf), FACTOR), self.world.blurred)
        photons = self._between(batch, *PHOTONS)
        read = column(torch.minimum(self._between(batch, *READ_NOISE_E), 0.3 * photons))
        photons, background = column(photons), column(self._between(batch, *BACKGROUND))
        electrons = ((clean + background) * photons).clamp(min=0)
        exposed, excess = self._multiplied(torch.poisson(electrons, generator=self.rng))
        exposed += read * torch.randn(clean.shape, generator=self.rng)
        noisy, variance = exposed / photons - background, (excess * electrons + read**2) / photons**2
        for i in (self._uniform(batch) < CORRELATED).nonzero().flatten().tolist():
            noisy[i] = clean[i] + variance[i].sqrt() * self._correlated(clean.shape[2:])
        fine = (*self.world.blurred[:-2], *(FACTOR * n for n in self.world.blurred[-2:]))
        return Lesson(noisy, clean, crop(truth, fine), variance.flatten(1).mean(1))

    def _multiplied(self, electrons: Tensor) -> tuple[Tensor, Tensor]:
        """Some of a batch of Poisson numbers as a multiplying detector shows them, and all excess noise factors F²."""
        excess = torch.ones(len(electrons), *[1] * (electrons.ndim - 1))
        for i in (self._uniform(len(electrons)) < MULTIPLIED).nonzero().flatten().tolist():
            shape = float(self._between(1, *SHAPE))
            electrons[i] = torch._standard_gamma(shape * electrons[i], generator=self.rng) / shape
            excess[i] = 1 + 1 / shape
        return electrons, excess

    def _correlated(self, shape: Shape) -> Tensor:
        """Noise of variance 1 that pixels share along Y, along X, along both alike or differently."""
        y, x = self._between(2, *CORRELATION_PX).tolist()
        along = float(self._uniform(1))
        y, x = (0.0, x) if along < 0.2 else (y, 0.0) if along < 0.4 else (y, y) if along < 0.8 else (y, x)
        frequency_y, frequency_x = torch.fft.fftfreq(shape[-2])[:, None], torch.fft.rfftfreq(shape[-1])
        passed = torch.exp(-2 * math.pi**2 * ((y * frequency_y) ** 2 + (x * frequency_x) ** 2))
        noise = torch.fft.rfft2(torch.randn(shape, generator=self.rng)) * passed
        noise = torch.fft.irfft2(noise, s=shape[-2:])
        return noise / noise.std()

    def _window(self, sample: Tensor) -> Tensor:
        first = [
            int(torch.randint(n - w + 1, (1,), generator=self.rng))
            for n, w in zip(sample.shape, self.window, strict=True)
        ]
        box = tuple(slice(a, a + w) for a, w in zip(first, self.window, strict=True))
        return dihedral(sample[box].float(), int(torch.randint(8, (1,), generator=self.rng)))

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.rng)

    def _between(self, n: int, low: float, high: float) -> Tensor:
        """Evenly in the logarithm."""
        return low * (high / low) ** self._uniform(n)


def loss(restored: Any, lesson: Lesson, margin: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """What is minimised, and the relative error of each output.

    1 is the error of an output that leaves its task undone: the noise in the denoised image, the blur in the
    deconvolved one. The logarithm and the root let easy and difficult samples count alike: where the noise is strong,
    a hundredth of it is a good error.
    """
    fine = (*margin[:-2], *(FACTOR * n for n in margin[-2:]))
    denoised, clean = (crop(image, margin) for image in (restored.denoised.float(), lesson.clean))
    deconvolved, truth = (crop(image, fine) for image in (restored.deconvolved.float(), lesson.truth))
    scale = [1.0] * (clean.ndim - 4) + [float(FACTOR)] * 2
    undone = _mean(torch.nn.functional.interpolate(clean, scale_factor=scale) - truth)
    noise = _mean(denoised - clean) / (lesson.variance + 0.1 * FLOOR)
    blurred = _mean(deconvolved - truth) / (undone + FLOOR)
    total = 0.5 * (noise + FLOOR).log().mean() + (blurred + FLOOR).sqrt().mean()
    return total, noise.mean(), blurred.mean()


@dataclass(frozen=True)
class Budget:
    """How long to train: as many steps as `minutes` allow (without the time to draw samples), or exactly `steps`."""

    minutes: float = 60
    steps: int | None = None

    def spent(self, seconds: float, step: int) -> float:
        """The share of it that `step` steps in so many seconds have used."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)

    def __str__(self) -> str:
        return f"--steps {self.steps}" if self.steps else f"--minutes {self.minutes:g}"


class Left(NamedTuple):
    """What the last lessons of a training left of the noise and of the blur, as shares of their mean squares."""

    noise: float
    blur: float

    @property
    def noise_db(self) -> float:
        """How far the error of the denoised image is below the noise, dB."""
        return -10 * math.log10(self.noise)

    @property
    def blur_db(self) -> float:
        """How far the error of the deconvolved image is below that of the blurred one, dB."""
        return -10 * math.log10(self.blur)


def pretrain(
    axes: Axes,
    budget: Budget,
    out: Path,
    seed: int = 0,
    report: Callable[[str], None] = print,
    *,
    start: str = "scratch",
) -> Left:
    """Train the compact network on simulations and write it as a start (`zsd_train.start`).

    Parameters
    ----------
    axes : {"yx", "zyx"}
    budget : Budget
    out : path
        A .safetensors file.
    seed : int
    report : callable
        Gets lines.
    start : {"scratch", "zoo"}
        Random weights, or the start that the zoo has now.

    Returns
    -------
    Left
        Of the last 250 steps.
    """
    config, layout = TrainConfig(axes=axes, start=start), DEFAULTS[axes].layout
    lessons = Lessons(axes, seed, report)
    torch.manual_seed(seed)
    network = build(config.network, axes)
    if begun := start_of(config):
        begun.begin(network)
    former = json.loads(begun.recipe) if begun else None
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, betas=(0.9, 0.99), fused=True)
    average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    started, step, seen = time.monotonic(), 0, []
    while (spent := budget.spent(time.monotonic() - started, step)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1, (step + 1) / 100) * (1 - spent)
        lesson = lessons.draw(config.batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            restored = network(lesson.noisy.contiguous(memory_format=layout))
        total, noise, blurred = loss(restored, lesson, lessons.world.margin)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            decay = min(EMA_DECAY, step / (step + 10))
            torch._foreach_lerp_([*average.values()], [*network.state_dict().values()], 1 - decay)
        seen.append((noise.item(), blurred.item()))
        if step % 250 == 0:
            means = np.mean(seen[-250:], axis=0)
            report(
                f"step {step}, {time.monotonic() - started:.0f} s: noise left {means[0]:.4f}, blur left {means[1]:.4f}"
            )
            write_start(out, average, config.network, _recipe(axes, seed, budget, step, start, former))
    write_start(out, average, config.network, _recipe(axes, seed, budget, step, start, former))
    return Left(*np.mean(seen[-250:], axis=0).tolist())


def _recipe(axes: Axes, seed: int, budget: Budget, steps: int, start: str, former: dict[str, Any] | None) -> str:
    """What made the weights; of those that went on, what they went on `from`, too."""
    command = f"python -m zsd_train.pretrain OUT --axes {axes} {budget} --seed {seed} --start {start}"
    recipe = {"command": command, "steps": steps, "torch": torch.__version__}
    return json.dumps(recipe | ({"from": former} if former else {}))


def _mean(difference: Tensor) -> Tensor:
    """Mean square of each sample, (N,)."""
    return difference.square().flatten(1).mean(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--axes", choices=["yx", "zyx"], default="yx")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=60)
    budget.add_argument("--steps", type=int, help="in place of minutes: repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", choices=["scratch", "zoo"], default="scratch", help="zoo: go on with its weights")
    arguments = parser.parse_args()
    pretrain(
        arguments.axes, Budget(arguments.minutes, arguments.steps), arguments.out, arguments.seed,
        lambda line: print(line, flush=True), start=arguments.start,
    )  # fmt: skip
