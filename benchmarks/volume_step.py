"""What a patch costs in a training on volumes, alone and in a batch of two: the network of `compact`, fp32.

Of a single sample with few channels torch unfolds 3D convolutions instead of leaving them to oneDNN. Forward and
backward, in turns; the ratio is the claim. Results: benchmarks/results/volume_step.json.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from training_step import in_turns

from zsd_train.config import TrainConfig
from zsd_train.defaults import DEFAULTS
from zsd_train.networks.build import build


def step(batch: int) -> Callable[[], None]:
    config = TrainConfig(axes="zyx")
    torch.manual_seed(0)
    network = build(config.network, "zyx").to(memory_format=DEFAULTS["zyx"].layout)  # type: ignore[call-overload]
    patch = (config.slices, config.patch, config.patch)
    noisy = torch.rand(batch, 1, *(n + 2 * m for n, m in zip(patch, DEFAULTS["zyx"].largest_margin, strict=True)))
    noisy = noisy.contiguous(memory_format=DEFAULTS["zyx"].layout)

    def run() -> None:
        torch.stack([image.square().mean() for image in network(noisy)]).sum().backward()

    return run


def main() -> None:
    steps = {batch: step(batch) for batch in (1, 2)}
    one, two = in_turns(steps).values()
    content = {
        "seconds": {"one patch": one, "two patches": two}, "a patch of two / alone": two / 2 / one,
        "vectors": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads(),
    }  # fmt: skip
    print(json.dumps(content, indent=1))
    (Path(__file__).parent / "results" / "volume_step.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
