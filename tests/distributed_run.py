"""A small training in several processes, for tests/test_distributed.py: started as a script, by itself or by torchrun.

It computes in double precision. In single precision, Adam divides by gradients as small as their rounding: after 50
steps, two runs that differ in the order of a sum differ by 0.2 %.
"""

import json
import os
import sys
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file

from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime.errors import Interrupted
from zsd_train import fit, group, train
from zsd_train.config import make_config

# Patches at the level of the module: started processes import it, too.
group.precision = lambda _: "64-true"
fit.validate = lambda _: torch.zeros(4)
fit._write_preview = lambda *_: None
fit.keep_flux = lambda *_: [0.0, 0.0]
fit.SECONDS_BETWEEN_SAVES = 0.0
_step, _follow = fit._step, fit._follow


def step(s, rate):
    """Gets a signal where the test says so: which, by rank and step."""
    number, rank, at = json.loads(os.environ["SIGNAL"])
    if s.group.fabric.global_rank == rank and s.state.step == at:
        os.kill(os.getpid(), number)
    return _step(s, rate)


def follow(s, stop):
    """Keeps the weights of a process that does not lead."""
    ended = _follow(s, stop)
    save_file({k: v.contiguous() for k, v in s.network.state_dict().items()}, Path(sys.argv[1]) / "follower")
    return ended


fit._step, fit._follow = step, follow


def one(out: Path, *, scheme: str = "recorrupt", steps: int = 50, devices: int | None = None, resume: bool = False,
        send: list[int] | None = None):  # fmt: skip
    """A training, and a line on how it went. `send` is a signal, to which process, at which step."""
    os.environ["SIGNAL"] = json.dumps(send or [0, 0, -1])
    image = simulate((96, 96), photons=40, camera=Camera(100, 1, 2), seed=0).noisy
    network = {"width": 4, "depth": 2, "head": 8} if scheme == "recorrupt" else {"width": 4, "depth": 2}
    config = make_config(scheme=scheme, network=network, patch=32, batch=4, steps=steps, device="cpu", start="scratch")
    messages = []
    try:
        train(
            [image], gaussian_psf(1.0), config, out, devices=devices, resume=resume,
            report=lambda progress: messages.append(progress.message),
        )  # fmt: skip
        said = "done"
    except (RuntimeError, Interrupted) as error:
        said = f"{type(error).__name__}: {error}"
    left = [p.pid for p in psutil.Process().children() if "tracker" not in " ".join(p.cmdline())]
    line = json.dumps({"said": said, "messages": messages, "left": left})
    os.write(1, f"{line}\n".encode())  # at once: other processes write there, too


if __name__ == "__main__":
    for name, choices in json.loads(sys.argv[2]):
        one(Path(sys.argv[1]) / name, **choices)
