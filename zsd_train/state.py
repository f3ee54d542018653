"""What changes while a network is trained: weights, their average, the best; metrics. Saved, and gone on with."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_train.networks.network import Network

PATIENCE = 4  # validations in a row that are significantly worse than the best one end the training
# Names in files of schema 1.
RENAMED = {
    "turned": "worse", "lacked": "flux_deficit", "generator.where": "generator.position",
    "generator.grain": "generator.noise",
}  # fmt: skip


class State:
    """All that changes while training, so that saving and resuming are one list of things.

    Attributes
    ----------
    step, validated : int
        Steps and validations made.
    seconds, validating : float
        Spent so far, and of those the ones spent on validations.
    averaged, best : dict of Tensor
        The moving average of the weights, and the average that validated best.
    worse : int
        Validations in a row that were significantly worse than the best one.
    flux_deficit : list of float or None
        By output, before `keep_flux` corrected the best weights; None until it has.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        position_rng: torch.Generator,
        noise_rng: torch.Generator,
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.position_rng, self.noise_rng = position_rng, noise_rng
        self.generators = {"position": position_rng, "noise": noise_rng}
        self.step, self.seconds, self.validated = 0, 0.0, -1
        self.validating = 0.0
        self.worse, self.best_step = 0, 0
        self.averaged = _copy(network)
        self.best = _copy(network)
        self.best_errors = torch.empty(0)
        self.flux_deficit: list[float] | None = None
        self.latest = math.nan

    def average(self, decay: float) -> None:
        """Exponential moving average of the weights; the first steps, which are far off, are forgotten sooner."""
        decay = min(decay, self.step / (self.step + 10))
        with torch.no_grad():
            current = list(self.network.state_dict().values())
            torch._foreach_lerp_(list(self.averaged.values()), current, 1 - decay)

    def judge(self, errors: Tensor) -> str:
        """Keep the averaged weights unless their held-out `errors`, one a tile, are worse than the best so far.

        Worse by more than a standard error: late in a training, differences are smaller than their noise, and what has
        learnt longer is then better.
        """
        self.latest = float(errors.mean())
        first = self.best_errors.numel() != errors.numel()
        # Paired over tiles: the noise of the targets is the same in both and cancels.
        difference = torch.full_like(errors, -1) if first else errors - self.best_errors
        doubt = float(difference.std()) / math.sqrt(errors.numel()) if errors.numel() > 1 else 0.0
        if not errors.numel() or difference.mean() <= doubt:  # without held-out tiles the latest weights are kept
            self.best = {name: tensor.clone() for name, tensor in self.averaged.items()}
            self.best_step, self.worse, self.flux_deficit = self.step, 0, None
            if difference.mean() < 0 or not errors.numel():
                self.best_errors = errors
                return f"held-out error {errors.mean():.5f}" if errors.numel() else "no held-out tiles"
        else:
            self.worse = self.worse + 1 if difference.mean() > 2 * doubt else 0
        return f"held-out error {errors.mean():.5f}, best {self.best_errors.mean():.5f} at step {self.best_step}"

    def save(self, folder: Path) -> None:
        """Write weights.safetensors and state.safetensors."""
        adam = {
            f"adam.{name}.{i}": tensor
            for i, entry in self.optimizer.state_dict()["state"].items()
            for name, tensor in entry.items()
        }
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()} | adam
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.items()}
        tensors |= {f"generator.{k}": g.get_state() for k, g in self.generators.items()}
        tensors["best_errors"] = self.best_errors
        names = ("step", "seconds", "validated", "validating", "worse", "best_step", "flux_deficit")
        numbers = {name: getattr(self, name) for name in names}
        with written_whole(folder / "weights.safetensors") as temporary:
            save_file(_plain(self.best), temporary)
        with written_whole(folder / "state.safetensors") as temporary:
            save_file(_plain(tensors), temporary, {"numbers": json.dumps(numbers)})

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote."""
        try:
            with safe_open(folder / "state.safetensors", "pt") as file:  # type: ignore[no-untyped-call]
                numbers = json.loads(file.metadata()["numbers"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            best = load_file(folder / "weights.safetensors")
        except Exception as error:
            raise InputError(f"{folder} cannot be resumed ({error}): train again into another folder") from error
        try:
            self._take_up(numbers, {RENAMED.get(key, key): tensor for key, tensor in tensors.items()}, best)
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{folder} cannot be resumed: its state lacks {error}", "train again into another folder"
            ) from error

    def _take_up(self, numbers: dict[str, Any], tensors: dict[str, Tensor], best: dict[str, Tensor]) -> None:
        for key, value in numbers.items():
            setattr(self, RENAMED.get(key, key), value)
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


class Log:
    """metrics.csv and TensorBoard scalars; both go on where an interrupted run left them."""

    FIELDS = ("step", "seconds", "steps_per_second", "learning_rate", "loss", "denoising", "deconvolution",
              "held_out_error", "best_held_out_error")  # fmt: skip

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def __enter__(self) -> "Log":
        from torch.utils.tensorboard import SummaryWriter

        self.file = (self.folder / "metrics.csv").open("a" if self.step else "w", newline="")
        self.rows = csv.writer(self.file)
        if not self.step:
            self.rows.writerow(self.FIELDS)
        self.board = SummaryWriter(self.folder / "tensorboard", purge_step=self.step or None)  # type: ignore[no-untyped-call]
        return self

    def write(self, state: State, learning_rate: float, terms: dict[str, float]) -> None:
        """One line, after a validation."""
        speed = state.step / max(state.seconds, 1e-9)
        best = float(state.best_errors.mean()) if state.best_errors.numel() else math.nan
        numbers = (learning_rate, *terms.values(), state.latest, best)
        self.rows.writerow([state.step, round(state.seconds, 2), round(speed, 3), *(f"{n:.6g}" for n in numbers)])
        self.file.flush()
        for name, number in zip(self.FIELDS[3:], numbers, strict=True):
            self.board.add_scalar(name, number, state.step)  # type: ignore[no-untyped-call]

    def __exit__(self, *exc: object) -> None:
        self.file.close()
        self.board.close()  # type: ignore[no-untyped-call]


def with_weights(network: Network, weights: dict[str, Tensor]) -> Callable[[Tensor], Any]:
    """The `network` with other `weights` than its own.

    A single volume is computed twice: of one, torch unfolds narrow 3D convolutions, which takes longer than two by far
    (benchmarks/volume_step.py).
    """

    def restored(x: Tensor) -> Any:
        alone = len(x) == 1 and x.ndim == 5
        outputs = torch.func.functional_call(network, weights, (torch.cat([x, x]) if alone else x,))
        return type(outputs)(*(image[:1] for image in outputs)) if alone else outputs

    return restored


def _copy(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU and contiguous, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
