"""What a person may choose about a training; saved with the run. Unknown keys are rejected."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from zsd_runtime.errors import InputError
from zsd_train.schemes import AnyScheme, Auto, Scheme, scheme_class, scheme_from

RENAMED = {"upsample": "grid_factor", "weakest": "contrast_floor", "recorruption": "noise"}  # keys of older files
# Choices of a scheme that may also stand beside `scheme`, as in older files; those of other schemes have no effect.
OF_SCHEMES = ("noise", "alpha", "gap_weight")


def _renamed(values: Any) -> Any:
    """Keys by their names of today."""
    return {RENAMED.get(k, k): v for k, v in values.items()} if isinstance(values, dict) else values


class NetworkConfig(BaseModel):
    """The shape of a U-Net of one or two stages, in 2D and 3D, stored with its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["unet"] = "unet"
    stages: Literal[1, 2] = Field(2, description="2: denoise, then deconvolve; 1: denoise")
    channels: int = Field(1, ge=1, description="channels of the input")
    width: int = Field(16, ge=2, description="channels of the first level; each level below has twice as many")
    depth: int = Field(3, ge=1, le=6, description="number of 2 x 2 poolings, in Y and X")
    convs: int = Field(2, ge=2, description="convolutions a level")
    head: int = Field(32, ge=1, description="channels of the convolutions between features and the deconvolved image")
    grid_factor: Literal[1, 2] = Field(2, description="how much finer the deconvolved grid is in Y and X")
    upsampling: Literal["nearest", "shuffle"] = Field(
        "nearest",
        description="how the head gets to the fine grid: nearest, before its convolutions, as published; shuffle, "
        "after them (Shi et al. 2016), which takes a third less time; for planes",
    )
    coarse: bool = Field(
        False,
        description="of two stages: the first one also denoises the image binned 2 x 2, and mixes both results: better "
        "where few photo-electrons vary slowly, for a fourth more time",
    )
    phantom: bool = Field(
        False,
        description="of one stage: it gives the image before the PSF, and the denoised one is its blur (DecoNoising)",
    )
    pooling: Literal["max", "blur"] = Field(
        "max", description="of one stage: blur blurs before every second pixel is kept (N2V2)"
    )
    top_skip: bool = Field(True, description="of one stage: the first level's features skip the others; N2V2 has none")
    OF_ONE_STAGE: ClassVar = ("phantom", "pooling", "top_skip")

    _rename = model_validator(mode="before")(lambda values: _renamed(values))

    @model_validator(mode="after")
    def _check(self) -> Self:
        changed = [k for k in self.OF_ONE_STAGE if getattr(self, k) != type(self).model_fields[k].default]
        if self.stages == 2 and changed:
            raise ValueError(f"{changed[0]} is for networks of one stage: set stages to 1, or leave it out")
        if self.stages == 1 and self.coarse:
            raise ValueError("coarse is for networks of two stages: set stages to 2, or leave it out")
        return self

    @property
    def size_multiple(self) -> int:
        """Patches are multiples of it in Y and X."""
        return 2 ** (self.depth + self.coarse)


class AdditiveConfig(BaseModel):
    """The shape of Noise2Void's and DecoNoising's published U-Net, of one stage, stored with its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["additive-unet"]
    stages: Literal[1] = 1
    channels: int = Field(1, ge=1, description="channels of the input")
    width: int = Field(64, ge=2, description="channels of the first level; each level below has twice as many")
    depth: int = Field(2, ge=1, le=6, description="number of 2 x 2 poolings; DecoNoising's depth counts one more")
    head: int = Field(32, ge=2, description="channels of the convolutions before an image on a finer grid")
    grid_factor: Literal[1, 2] = Field(1, description="how much finer the deconvolved grid is in Y and X")
    phantom: bool = Field(
        False, description="it gives the image before the PSF, and the denoised one is its blur (DecoNoising)"
    )

    @property
    def size_multiple(self) -> int:
        """Patches are multiples of it in Y and X."""
        return 2**self.depth


class RCANConfig(BaseModel):
    """The shape of a dual-stage RCAN3D, stored with its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rcan"]
    channels: int = Field(1, ge=1, description="channels of the input")
    width: int = Field(64, ge=2, description="channels")
    blocks: int = Field(4, ge=1, description="residual blocks a stage")
    head: int = Field(64, ge=1, description="channels of the convolutions before each image")
    squeezed: int = Field(4, ge=1, description="channels in the middle of the attention")
    window: tuple[int, int, int] | Literal["global"] = Field(
        (5, 17, 17),
        description="slices, rows, columns whose mean is the attention's; as published: global, a whole tile",
    )
    grid_factor: Literal[1, 2] = Field(2, description="how much finer the deconvolved grid is in Y and X")

    _rename = model_validator(mode="before")(lambda values: _renamed(values))

    @property
    def size_multiple(self) -> int:
        """Patches are multiples of it in Y and X."""
        return 1


NetworkChoice = NetworkConfig | AdditiveConfig | RCANConfig
NETWORKS: dict[str, type[NetworkChoice]] = {"unet": NetworkConfig, "additive-unet": AdditiveConfig, "rcan": RCANConfig}
Network = Annotated[
    Annotated[NetworkConfig, Tag("unet")]
    | Annotated[AdditiveConfig, Tag("additive-unet")]
    | Annotated[RCANConfig, Tag("rcan")],
    Discriminator(lambda v: v.get("kind", "unet") if isinstance(v, dict) else getattr(v, "kind", "unet")),
]
Axes = Literal["yx", "zyx"]
# Of recorruption with neighbours in time. The noisier the input, the more a network relies on them, even where
# something moves: vesicles that move 4 pixels a frame are 0.8 dB better than with the range for single frames.
MOVIE_ALPHA = (0.2, 0.8)

# What the second stage needs beside a network: fine detail, of which the PSF leaves a few per cent, within minutes.
PLANES = {"denoising_weight": 0.35, "hessian_weight": 2e-4, "contrast_floor": 0.1, "positivity_weight": 1.0}
VOLUMES = {"hessian_weight": 2e-5, "contrast_floor": 0.02, "positivity_weight": 1.0}
# compact: minutes on a laptop. reference: the published widths (13,109,010 parameters in 2D, 2,003,490 in 3D).
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("compact", "yx"): {
        "network": NetworkConfig(upsampling="shuffle", coarse=True), "patch": 64, "batch": 4, "learning_rate": 2e-3,
        **PLANES,
    },
    ("reference", "yx"): {
        "network": NetworkConfig(width=32, depth=4, convs=3, head=128), "patch": 128, "batch": 4,
        "learning_rate": 3e-4, **PLANES,
    },
    # Never a single patch: its narrow 3D convolutions torch unfolds, unless in bf16 (benchmarks/volume_step.py).
    ("compact", "zyx"): {
        "network": NetworkConfig(width=8, depth=2, head=8), "patch": 48, "slices": 16, "batch": 2,
        "learning_rate": 2e-3, **VOLUMES,
    },
    ("reference", "zyx"): {
        "network": RCANConfig(kind="rcan"), "patch": 64, "slices": 13, "batch": 3, "learning_rate": 3e-4,
        **VOLUMES,
    },
}  # fmt: skip


def preset_of(name: str, axes: str, scheme: Scheme, frames: int = 1) -> dict[str, Any]:
    """Keys of `TrainConfig` that a preset sets for images with `axes`, and what a scheme and `frames` have otherwise.

    Raises
    ------
    KeyError
        When there is no such preset.
    """
    preset = PRESETS[name, axes] | scheme.choices(name, axes)
    if isinstance(network := preset["network"], dict):
        preset["network"] = NETWORKS[network["kind"]](**network)
    if frames > 1:
        preset["network"] = _of_frames(preset["network"], frames)
    return preset


class TrainConfig(BaseModel):
    """Every choice of a training, with the defaults that were measured to work (docs/results.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: Literal["compact", "reference"] = Field("compact", description="network size and what goes with it")
    axes: Axes = Field("yx", description="of the images: planes or volumes; `train` sets it")
    network: Network = Field(NetworkConfig(), description="filled in by the preset")
    minutes: float | None = Field(None, gt=0, description="budget in minutes; without steps, 4, for volumes 15")
    steps: int | None = Field(None, ge=1, description="budget in optimiser steps; repeatable, unlike minutes")
    seed: int = Field(0, ge=0, description="of weights, patches and noise")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="where to train; auto: cuda, else cpu; mps is an Apple GPU"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")

    frames: Literal[1, 3, 5, 7] = Field(
        1, description="of a movie that the network sees at once: 3 is a frame and its neighbours in time"
    )

    offset: float | None = Field(None, description="camera offset, counts; estimated when not given")
    gain: float | None = Field(None, gt=0, description="counts per photo-electron; estimated when not given")
    read_noise: float | None = Field(None, ge=0, description="counts; estimated when not given")
    hot_pixels: Literal["replace", "keep"] = Field(
        "replace",
        description="hot and dead pixels: not learnt from and replaced by their neighbours, or left as they are",
    )
    remove_lines: Literal["none", "rows", "columns", "both"] = Field(
        "none", description="noise that all pixels of a row or a column share: taken out of the images"
    )
    scheme: AnyScheme = Field(
        default_factory=Auto,
        description="how input and target are made; auto: recorrupt, or odd-even for volumes "
        "whose neighbouring pixels share noise",
    )

    start: str = Field(
        "auto",
        description="weights to start from: scratch (random), zoo (trained on simulations), the folder of an earlier "
        "run; auto: zoo where it has this network but for its head, else scratch",
    )

    loss: Literal["mse", "mae"] = Field("mse", description="of the data terms; the mean absolute error biases flux")
    denoising_weight: float = Field(0.5, gt=0, lt=1, description="µ of eq. 4")
    hessian_weight: float = Field(0.02, ge=0, description="λ of eq. 6 and 9")
    contrast_floor: float = Field(
        0.0,
        ge=0,
        description="ε of the Wiener filter for residuals: frequencies of more contrast than this count "
        "alike; 0: no filter",
    )
    positivity_weight: float = Field(0.0, ge=0, description="of the mean square of negative values, deconvolved image")
    tv_weight: float = Field(0.0, ge=0, description="of the total variation of the deconvolved image")
    l1_weight: float = Field(0.0, ge=0, description="of the mean absolute value of the deconvolved image")

    patch: int = Field(64, ge=32, description="side of the square that the losses see, raw pixels")
    slices: int = Field(1, ge=1, description="of a volume that the losses see with it; of each half with odd-even")
    batch: int = Field(4, ge=1, description="patches a step")
    learning_rate: float = Field(2e-3, gt=0, description="of Adam at its highest; falls linearly to 0 over the budget")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="of the weight average that is validated and kept")
    holdout: float = Field(0.08, ge=0, lt=0.5, description="share of the image kept for validation")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = _with_scheme(_renamed(values))
            chosen = str(values.get("preset", "compact")), str(values.get("axes", "yx"))
            # What is no preset and no scheme is refused where it is checked.
            frames = found if isinstance(found := values.get("frames"), int) else 1
            preset = preset_of(*chosen, _scheme_or_auto(values.get("scheme")), frames) if chosen in PRESETS else {}
            network = values.get("network")
            if (
                preset
                and isinstance(network, dict)
                and network.get("kind", preset["network"].kind) == preset["network"].kind
            ):
                whole = preset["network"].model_dump()
                if network.get("stages") == 1:
                    whole.pop("coarse", None)
                values = {**values, "network": {**whole, **network}}
            values = {**preset, **values}
            if frames > 1 and (network := values.get("network")) is not None:
                values["network"] = _of_frames(network, frames)
                values["scheme"] = _of_movies(values.get("scheme", "auto"))
        return values

    def for_axes(self, axes: Axes) -> "TrainConfig":
        """The same choices for images of other axes: what came from the preset comes from that of `axes`."""
        preset = preset_of(self.preset, self.axes, self.scheme, self.frames)
        chosen = {k: v for k in self.model_fields_set if (v := getattr(self, k)) != preset.get(k)}
        config = TrainConfig(**(chosen | {"axes": axes}))
        for option, value, refused in (
            ("network kind", config.network.kind, config.network.kind == "rcan"),
            ("scheme", config.scheme.kind, config.scheme.for_volumes_only),
        ):
            if axes == "yx" and refused:
                raise InputError(f"{option} {value} is for volumes and the images are planes", "leave it out")
        return config

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("minutes and steps are both given: the budget is one of them")
        known = [v is not None for v in (self.offset, self.gain, self.read_noise)]
        if any(known[1:]) and not all(known):
            raise ValueError("offset, gain and read_noise describe the camera together: give all three, or none")
        if self.frames > 1 and not self.scheme.sees_neighbours:
            raise ValueError(
                f"frames {self.frames} is for scheme recorrupt, and the scheme is {self.scheme.kind}: leave one out"
            )
        if self.frames > 1 and self.network.channels != self.frames:
            raise ValueError(f"network.channels {self.network.channels} must be frames, {self.frames}: leave it out")
        if self.patch % self.network.size_multiple:
            raise ValueError(f"patch {self.patch} must be a multiple of {self.network.size_multiple}")
        return self


def _of_frames(network: Any, frames: int) -> Any:
    """The network with an input channel for each frame, unless it has several already."""
    if isinstance(network, dict):
        return {"channels": frames} | network
    return network.model_copy(update={"channels": frames}) if getattr(network, "channels", 0) == 1 else network


def _of_movies(scheme: Any) -> Any:
    """The scheme with the range of α for movies, unless another is chosen."""
    if isinstance(scheme, Scheme):
        ours = scheme.kind in ("auto", "recorrupt") and "alpha" not in scheme.model_fields_set
        return scheme.model_copy(update={"alpha": MOVIE_ALPHA}) if ours else scheme
    scheme = {"kind": scheme} if isinstance(scheme, str) else scheme
    ours = isinstance(scheme, dict) and scheme.get("kind", "auto") in ("auto", "recorrupt")
    return {"kind": "auto", "alpha": MOVIE_ALPHA} | scheme if ours else scheme


def _scheme_or_auto(value: Any) -> Scheme:
    try:
        scheme = scheme_from(value)
    except ValueError:
        scheme = None
    return scheme if isinstance(scheme, Scheme) else Auto()


def _with_scheme(values: dict[str, Any]) -> dict[str, Any]:
    """The scheme as a dictionary, with its own choices from beside it."""
    scheme, beside = values.get("scheme", "auto"), {k: values[k] for k in OF_SCHEMES if k in values}
    if not beside or isinstance(scheme, Scheme):
        return values
    scheme = scheme if isinstance(scheme, dict) else {"kind": scheme}
    own = scheme_class(scheme.get("kind")).model_fields
    values = {k: v for k, v in values.items() if k not in OF_SCHEMES}
    return values | {"scheme": {k: v for k, v in beside.items() if k in own} | scheme}


def make_config(**values: Any) -> TrainConfig:
    """A `TrainConfig`; errors are one line.

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
    key = ".".join(part for part in map(str, error["loc"]) if part not in NETWORKS)
    if error["type"] != "extra_forbidden":
        return f"{key + ' = ' + repr(error['input']) + ': ' if key else ''}{error['msg'].removeprefix('Value error, ')}"
    kind = next((part for part in map(str, error["loc"]) if part in NETWORKS), "unet")
    option = key.split(".")[-1]
    if key.startswith("network.") and any(option in other.model_fields for other in NETWORKS.values()):
        return f"network.{option} is not for networks of kind {kind}: leave it out"
    known = (
        [field for network in NETWORKS.values() for field in network.model_fields]
        if key.startswith("network.")
        else [*TrainConfig.model_fields]
    )
    near = difflib.get_close_matches(key.split(".")[-1], known, n=1, cutoff=0)
    return f"unknown key {key!r} in the configuration: did you mean {near[0]!r}?"
