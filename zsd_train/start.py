"""Where a training starts: random weights, those of the zoo, or those of an earlier run.

The zoo's networks have seen nothing but simulations (`zsd_train.pretrain`). A start changes where learning begins, not
what is learnt: the loss compares with the user's own image alone.
"""

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from zsd_runtime.errors import InputError
from zsd_train.config import Axes, NetworkChoice, NetworkConfig, TrainConfig
from zsd_train.run import load_run

ZOO = {"yx": "start-2d", "zyx": "start-3d"}  # folders of the zoo, by axes
NETWORK, RECIPE = "network", "recipe"  # metadata of a file of weights


# What may differ from the zoo's network: layers behind the features, which a training learns soonest, and how many
# frames of a movie it sees.
MAY_DIFFER = {"grid_factor", "upsampling", "head", "channels"}


class Start(NamedTuple):
    """Weights to start from, their name, and how those of the zoo were made."""

    name: str
    weights: dict[str, Tensor]
    recipe: str = ""

    def begin(self, network: nn.Module) -> None:
        """Give a network these weights; layers of another shape keep their own.

        A network of several frames of a movie gets those of a single one for the middle, and 0 for its neighbours: it
        begins with the same results.
        """
        own = network.state_dict()
        weights = {key: self._for_frames(t, own[key]) if key in own else t for key, t in self.weights.items()}
        same = {key: t for key, t in weights.items() if key in own and own[key].shape == t.shape}
        network.load_state_dict(own | same)

    @staticmethod
    def _for_frames(weight: Tensor, own: Tensor) -> Tensor:
        """The weights of a first convolution (features, 1, …) for the middle one of several frames."""
        if weight.ndim < 4 or weight.shape[1] != 1 or own.shape != (len(weight), own.shape[1], *weight.shape[2:]):
            return weight
        middle = torch.zeros_like(own)
        middle[:, own.shape[1] // 2] = weight[:, 0]
        return middle


def start_of(config: TrainConfig) -> Start | None:
    """The start that a configuration asks for; None for random weights.

    Raises
    ------
    InputError
        When the weights asked for are of another network, or not there.
    """
    if config.start == "scratch":
        return None
    if config.start in ("auto", "zoo"):
        found = _zoo(config.axes)
        if found and _alike(found[0], config.network):
            return Start(f"zoo:{ZOO[config.axes]}", *found[1:])
        if config.start == "auto":
            return None
        raise InputError(
            "the zoo has no starting weights for this network" if found else "the zoo has no starting weights",
            "leave `network` and `preset` as they are, or set `start` to scratch", option="start",
        )  # fmt: skip
    run = load_run(config.start)
    single = {"channels": 1} if run.network.channels == 1 else {}  # the start of a network of several frames, too
    if (run.config.axes, run.config.network) != (config.axes, config.network.model_copy(update=single)):
        raise InputError(
            f"{run.folder} has another network than this training", "choose the same `preset` and `network`, or "
            "another `start`", option="start",
        )  # fmt: skip
    return Start(str(run.folder), run.network.state_dict())


def _alike(network: NetworkConfig, wanted: NetworkChoice) -> bool:
    """Whether two networks differ in their ends at most."""
    return network.model_dump(exclude=MAY_DIFFER) == wanted.model_dump(exclude=MAY_DIFFER)


def write_start(path: Path, weights: dict[str, Tensor], network: NetworkChoice, recipe: str) -> None:
    """Write weights as a start, with what made them."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, path, {NETWORK: network.model_dump_json(), RECIPE: recipe})


def _zoo(axes: Axes) -> tuple[NetworkConfig, dict[str, Tensor], str] | None:
    source = files("model_zoo") / ZOO[axes] / "weights.safetensors"
    if not source.is_file():
        return None
    with as_file(source) as path, safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        about = file.metadata()
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return NetworkConfig(**json.loads(about[NETWORK])), weights, about[RECIPE]
