"""A recipe of the zoo: everything that `zsd zoo make` needs, and the scores that the model had when it was made.

Two kinds: of a model (simulated images, a training, a package), and of starting weights (`zsd_train.pretrain`). Both
are TOML; every value that a person may get wrong is checked before anything is computed.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zsd_export.package.credits import Credits
from zsd_runtime.errors import InputError
from zsd_train.config import Axes, TrainConfig, make_config

SCHEMA = 1
AXES: dict[str, Axes] = {"2d": "yx", "3d": "zyx", "sim": "yx"}
# What a recipe must not choose: the simulation decides the first five; minutes make other steps on other machines.
DECIDED = ("axes", "offset", "gain", "read_noise", "device", "minutes")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Simulate(_Table):
    """What all images of a recipe share; the names are those of `zsd simulate`, with units."""

    kind: Literal["2d", "3d", "sim"]
    size: tuple[int, ...] = Field(description="[Z, ]Y, X, raw pixels")
    sample: str = "mixed"
    gain: float = Field(gt=0, description="counts per photo-electron")
    offset: float = Field(ge=0, description="of the camera, counts")
    read_noise: float = Field(ge=0, description="standard deviation, counts")
    na: float
    wavelength_nm: float
    refractive_index: float = 1.515
    pixel_size_um: float
    z_step_um: float | None = None
    sheet_um: float | None = Field(None, description="3d: FWHM of the light sheet; without, all slices are lit")
    spacing_nm: float | None = Field(None, description="sim: period of the stripes")
    modulation: float | None = Field(None, description="sim: contrast of the stripes")
    first_phases_rad: tuple[float, ...] | None = Field(None, description="sim: of each direction, for all images alike")

    @model_validator(mode="after")
    def _check(self) -> Self:
        of = {"z_step_um": "3d", "sheet_um": "3d", "spacing_nm": "sim", "modulation": "sim", "first_phases_rad": "sim"}
        wrong = [name for name, kind in of.items() if getattr(self, name) is not None and self.kind != kind]
        if wrong:
            raise ValueError(f"{wrong[0]} is for kind {of[wrong[0]]}, and kind is {self.kind}")
        if self.kind == "3d" and self.z_step_um is None:
            raise ValueError("kind 3d needs z_step_um")
        if len(self.size) != len(AXES[self.kind]):
            raise ValueError(f"size must have {len(AXES[self.kind])} numbers for kind {self.kind}")
        return self


class Exposure(_Table):
    """One simulated image: what differs from the others."""

    photons: float = Field(gt=0, description="photo-electrons in the brightest raw pixel")
    seed: int = Field(ge=0, description="of structures and noise")
    sample: str | None = None
    size: tuple[int, ...] | None = None


class Export(_Table):
    """How the package is called and credited; `test_size` is that of its test tensors, raw pixels of its input."""

    name: str
    authors: tuple[str, ...] = Field(min_length=1)
    licence: str
    tags: tuple[str, ...] = ()
    test_size: tuple[int, ...]

    @property
    def credits(self) -> Credits:
        """As `export` takes them."""
        return Credits(self.name, self.authors, self.licence, self.tags)


class Score(_Table):
    """How well a held-out image is restored: PSNR against what was simulated, dB, after a linear fit.

    Attributes
    ----------
    photons : float
        Of the image.
    denoised, deconvolved : float
        Of the model, against the image without noise and against the sample.
    best_filter, best_richardson_lucy : float
        Of the best classical method, whose parameter was chosen by the truth.
    filter : str
        Which one.
    iterations : int
        Of Richardson-Lucy.
    """

    photons: float
    denoised: float
    best_filter: float
    filter: str
    deconvolved: float
    best_richardson_lucy: float
    iterations: int

    def differences(self, other: "Score") -> dict[str, float]:
        """The other's scores of the model less these, dB."""
        return {name: getattr(other, name) - getattr(self, name) for name in ("denoised", "deconvolved")}


class Recipe(_Table):
    """Of a model."""

    schema_: Literal[1] = Field(alias="schema")
    tolerance_db: float = Field(0.3, gt=0, description="by how much scores of a remake may differ")
    made_on: str = ""
    simulate: Simulate
    train_on: tuple[Exposure, ...] = Field(min_length=1)
    held_out: tuple[Exposure, ...] = Field(min_length=1)
    train: dict[str, Any]
    export: Export
    scores: tuple[Score, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        wrong = [name for name in DECIDED if name in self.train]
        if wrong:
            raise ValueError(f"train.{wrong[0]} is not for recipes: leave it out")
        if "steps" not in self.train:
            raise ValueError("train.steps is missing: a time would make other steps on another machine")
        if len(self.export.test_size) != len(self.axes):
            raise ValueError(f"export.test_size must have {len(self.axes)} numbers")
        if self.scores and len(self.scores) != len(self.held_out):
            raise ValueError(f"{len(self.scores)} scores are not one for each of {len(self.held_out)} held_out")
        seen = {exposure.seed for exposure in self.train_on}
        if any(exposure.seed in seen for exposure in self.held_out):
            raise ValueError("an image of held_out has the seed of one of train_on")
        _ = self.config
        return self

    @property
    def axes(self) -> Axes:
        """Of the images."""
        return AXES[self.simulate.kind]

    @property
    def config(self) -> TrainConfig:
        """The training, on the CPU; the camera is known, for it was simulated."""
        s = self.simulate
        camera = {"offset": s.offset, "gain": s.gain, "read_noise": s.read_noise}
        return make_config(**self.train, **camera, axes=self.axes, device="cpu")


class Pretrain(_Table):
    """Arguments of `zsd_train.pretrain`."""

    axes: Axes
    steps: int = Field(ge=1)
    seed: int = Field(0, ge=0)


class StartScore(_Table):
    """Of starting weights: how far below the noise and the blur of the images their errors are, in the last steps."""

    noise_db: float
    blur_db: float

    def differences(self, other: "StartScore") -> dict[str, float]:
        """The other's scores less these, dB."""
        return {"noise": other.noise_db - self.noise_db, "blur": other.blur_db - self.blur_db}


class StartRecipe(_Table):
    """Of starting weights."""

    schema_: Literal[1] = Field(alias="schema")
    tolerance_db: float = Field(0.3, gt=0)
    made_on: str = ""
    pretrain: Pretrain
    scores: tuple[StartScore, ...] = Field((), max_length=1)


def recipe_from(values: Mapping[str, Any], name: str = "the recipe") -> Recipe | StartRecipe:
    """A recipe, checked.

    Raises
    ------
    InputError
        When a key is unknown or a value is wrong.
    """
    if values.get("schema") != SCHEMA:
        raise InputError(f"{name} has schema {values.get('schema')!r}; this zsd reads schema {SCHEMA}", "update zsd")
    try:
        return (StartRecipe if "pretrain" in values else Recipe).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{name}: {key}: {text}" if key else f"{name}: {text}", "correct the recipe") from None


def read_recipe(path: Path) -> Recipe | StartRecipe:
    """A recipe from a TOML file; see `recipe_from`."""
    try:
        return recipe_from(tomllib.loads(path.read_text("utf-8")), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not readable TOML: {error}", "give a recipe of the model zoo") from None
