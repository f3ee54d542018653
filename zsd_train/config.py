"""What a person may choose about a training; saved with the run. Unknown keys are rejected."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zsd_runtime.errors import InputError


class NetworkConfig(BaseModel):
    """The shape of a dual-stage U-Net, stored with its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(16, ge=2, description="channels of the first level; each level below has twice as many")
    depth: int = Field(3, ge=1, le=6, description="number of 2 x 2 poolings")
    convs: int = Field(2, ge=2, description="convolutions a level")
    head: int = Field(32, ge=1, description="channels of the convolutions on the fine grid")
    upsample: Literal[1, 2] = Field(2, description="how much finer the deconvolved grid is in Y and X")


# compact: a few minutes on a laptop. reference: the published widths (13,109,010 parameters).
PRESETS: dict[str, dict[str, Any]] = {
    "compact": {"network": NetworkConfig(), "patch": 64, "learning_rate": 2e-3},
    "reference": {
        "network": NetworkConfig(width=32, depth=4, convs=3, head=128), "patch": 128, "learning_rate": 3e-4,
    },
}  # fmt: skip


class TrainConfig(BaseModel):
    """Every choice of a training, with the defaults that were measured to work (docs/results.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["compact", "reference"] = Field("compact", description="network size and what goes with it")
    network: NetworkConfig = Field(PRESETS["compact"]["network"], description="filled in by the preset")
    minutes: float | None = Field(None, gt=0, description="budget in minutes (4 when steps is not given either)")
    steps: int | None = Field(None, ge=1, description="budget in optimiser steps; repeatable, unlike minutes")
    seed: int = Field(0, ge=0, description="of weights, patches and noise")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")

    offset: float | None = Field(None, description="camera offset, counts; estimated when not given")
    gain: float | None = Field(None, gt=0, description="counts per photo-electron; estimated when not given")
    read_noise: float | None = Field(None, ge=0, description="counts; estimated when not given")
    recorruption: Literal["poisson", "gaussian"] = Field(
        "poisson",
        description="poisson: split the photo-electrons; gaussian: add and subtract noise, as published (eq. 2)",
    )
    alpha: tuple[float, float] = Field((0.5, 1.5), description="range of α of eq. 2, drawn anew for every patch")

    loss: Literal["mse", "mae"] = Field("mse", description="of the data terms; the mean absolute error biases flux")
    denoising_weight: float = Field(0.5, gt=0, lt=1, description="µ of eq. 4")
    hessian_weight: float = Field(0.02, ge=0, description="λ of eq. 6")
    tv_weight: float = Field(0.0, ge=0, description="of the total variation of the deconvolved image")
    l1_weight: float = Field(0.0, ge=0, description="of the mean absolute value of the deconvolved image")

    patch: int = Field(64, ge=32, description="side of the square that the losses see, raw pixels")
    batch: int = Field(4, ge=1, description="patches a step")
    learning_rate: float = Field(2e-3, gt=0, description="of Adam at its highest; falls linearly to 0 over the budget")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="of the weight average that is validated and kept")
    holdout: float = Field(0.08, ge=0, lt=0.5, description="share of the image kept for validation")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            preset = PRESETS.get(str(values.get("preset", "compact")), {})
            if preset and isinstance(values.get("network"), dict):
                values = {**values, "network": {**preset["network"].model_dump(), **values["network"]}}
            return {**preset, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("minutes and steps are both given: the budget is one of them")
        if not 0 < self.alpha[0] <= self.alpha[1]:
            raise ValueError(f"alpha {self.alpha} must be a range low <= high above 0")
        known = [v is not None for v in (self.offset, self.gain, self.read_noise)]
        if any(known[1:]) and not all(known):
            raise ValueError("offset, gain and read_noise describe the camera together: give all three, or none")
        if self.patch % 2**self.network.depth:
            raise ValueError(f"patch {self.patch} must be a multiple of {2**self.network.depth} (2 ** depth)")
        return self


def make_config(**values: Any) -> TrainConfig:
    """A `TrainConfig`, with what is wrong told in one line.

    Raises
    ------
    InputError
        For an unknown key (with the nearest known one) or a value out of range.
    """
    try:
        return TrainConfig.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise InputError("; ".join(_in_words(e) for e in error.errors())) from None


def read_config(path: Path) -> dict[str, Any]:
    """The values of a TOML file that a person wrote, to be passed to `make_config`."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a TOML file with keys of TrainConfig") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not readable TOML: {error}") from None


def _in_words(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{key + ' = ' + repr(error['input']) + ': ' if key else ''}{error['msg'].removeprefix('Value error, ')}"
    known = NetworkConfig.model_fields if key.startswith("network.") else TrainConfig.model_fields
    near = difflib.get_close_matches(key.split(".")[-1], known, n=1, cutoff=0)
    return f"unknown key {key!r} in the configuration: did you mean {near[0]!r}?"
