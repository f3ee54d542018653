"""What a training step costs, as ratios within one run.

- `reference` (batch 4, 128² + margin) as zsd does it, against the same step done plainly: fp32, NCHW, the PSF as a
  direct convolution, Adam without fusing.
- `compact` against `reference`.
"""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from zsd_optics.noise import estimate_noise
from zsd_optics.psf import prepare_psf, widefield_psf
from zsd_optics.simulate import simulate
from zsd_train.config import TrainConfig
from zsd_train.forward import crop, downsample, light_path
from zsd_train.frames import Frame
from zsd_train.networks.build import build
from zsd_train.objective import data_term, hessian, objective
from zsd_train.sampler import Sampler
from zsd_train.schemes import Recorrupt

ROUNDS = 7


def step(preset: str, plain: bool) -> Callable[[], None]:
    config = TrainConfig(preset=preset)
    image = simulate((512, 512)).noisy.astype(np.float64)
    fine = 0.0626 / 2
    psf = prepare_psf(widefield_psf(1.4, 525, fine), fine, fine)
    margin = (16, 16)
    sampler = Sampler(
        [Frame.of(image[None], 0.0, np.random.default_rng(0))], Recorrupt(noise="gaussian" if plain else "poisson"),
        estimate_noise([image]), offset=100, scale=15, patch=(config.patch, config.patch), margin=margin,
    )  # fmt: skip
    torch.manual_seed(0)
    network = build(config.network, config.axes)
    kernel = torch.tensor(psf, dtype=torch.float32)
    if plain:
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, foreach=False)
    else:
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, fused=True)
        forward = light_path(kernel, sampler.size, margin, config.network.grid_factor)
    position_rng, noise_rng = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)

    def run() -> None:
        batch = sampler.draw(config.batch, position_rng, noise_rng)
        if plain:
            denoised, deconvolved = network(batch.noisy)
            blurred = functional.conv2d(deconvolved, kernel.flip(0, 1)[None, None], padding="same")
            terms = [
                data_term(crop(image, margin), batch.target, squared=True, mask=batch.mask)
                for image in (denoised, downsample(blurred, 2))
            ]
            loss = 0.5 * terms[0] + 0.5 * (terms[1] + config.hessian_weight * hessian(deconvolved))
        else:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                restored = network(batch.noisy.contiguous(memory_format=torch.channels_last))
            restored = type(restored)(*(t.float() for t in restored))
            loss = objective(Recorrupt().compare(restored, batch, forward), restored, None, config).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def in_turns(steps: dict[Any, Callable[[], None]]) -> dict[Any, float]:
    """Median seconds of each step."""
    times: dict[Any, list[float]] = {name: [] for name in steps}
    for round_ in range(ROUNDS + 1):
        for name, run in steps.items():
            started = time.perf_counter()
            run()
            if round_:  # the first is warm-up
                times[name].append(time.perf_counter() - started)
    return {name: median(t) for name, t in times.items()}


def main() -> None:
    steps = {
        "reference, plain": step("reference", plain=True),
        "reference": step("reference", plain=False),
        "compact": step("compact", plain=False),
    }
    seconds = in_turns(steps)
    ratios = {
        "reference / plain (at most 0.5)": seconds["reference"] / seconds["reference, plain"],
        "compact / reference (at most 0.083)": seconds["compact"] / seconds["reference"],
    }
    for name, value in seconds.items():
        print(f"{name:38}{value:8.3f} s a step")
    for name, value in ratios.items():
        print(f"{name:38}{value:8.3f}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    machine = {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    content = {"seconds": seconds, "ratios": ratios, "machine": machine}
    (results / "training_step.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
