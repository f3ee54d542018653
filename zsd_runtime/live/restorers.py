"""What restores frames: models in this process. `isolated` has them in another one."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zsd_runtime.corrections.corrected import Corrections
from zsd_runtime.engine_choice import open_engine
from zsd_runtime.errors import InputError
from zsd_runtime.model import CORRECTIONS, Model, load_model

MOST_PREPARED = 4  # shapes of one model that stay prepared: channels and ROIs that take turns

Outputs = Mapping[str, NDArray[np.float32]]


class Restorer(Protocol):
    """What `Live` needs of a model. One thread calls all methods but `restores` and `status`."""

    def restores(self, channel: str) -> bool:
        """Whether there is a model for a channel."""

    def prepare(self, shape: tuple[int, ...], channel: str, dtype: DTypeLike) -> dict[str, tuple[int, ...]]:
        """Get ready for images of a shape; the shapes of the outputs by name."""

    def restore(self, image: NDArray[np.generic], channel: str) -> Outputs:
        """The outputs by name; camera counts above the offset."""

    def status(self) -> dict[str, Any]:
        """Plain values for `Live.status`."""

    def close(self) -> None:
        """Give back what it opened itself."""


class Models:
    """Models in this process, one for all channels or one for each; each shape has a prepared engine of its own.

    A frame becomes what `zsd predict` makes of it alone.

    Parameters
    ----------
    models : Model, or mapping of str to Model
        The mapping has the names of channels; frames of other channels are not restored. The caller closes them.
    corrections : Corrections or None
        As for `Model.predict`.
    reopen : callable
        Opens a model once more, for another shape.
    owned : bool
        Whether `close` closes the models.
    """

    def __init__(
        self,
        models: Model | Mapping[str, Model],
        corrections: Corrections | None = CORRECTIONS,
        reopen: Callable[[Model], Model] | None = None,
        *,
        owned: bool = False,
    ) -> None:
        self._models, self._corrections, self._reopen = models, corrections, reopen or reopened
        self._prepared: dict[int, OrderedDict[tuple[int, ...], Model]] = {}
        each = list(models.values()) if isinstance(models, Mapping) else [models]
        self._opened: list[Model] = list({id(m): m for m in each}.values()) if owned else []
        for model in each:
            model.description.check_single_frames("a microscope's camera")
            if model.description.input.channels > 1:
                raise InputError(
                    f"{model.description.name} takes {model.description.input.channels} channels together",
                    "a camera gives one at a time: take a model of single channels",
                )

    def restores(self, channel: str) -> bool:
        """As `Restorer`."""
        return not isinstance(self._models, Mapping) or channel in self._models

    def prepare(self, shape: tuple[int, ...], channel: str, dtype: DTypeLike) -> dict[str, tuple[int, ...]]:
        """As `Restorer`."""
        image = np.random.default_rng(0).integers(100, 200, shape).astype(dtype)  # a blank one would not be restored
        outputs = self.restore(image, channel)
        return {name: values.shape for name, values in outputs.items()}

    def restore(self, image: NDArray[np.generic], channel: str) -> Outputs:
        """As `Restorer`."""
        return self._for(image.shape, channel).predict(image, corrections=self._corrections)

    def status(self) -> dict[str, Any]:
        """The engine."""
        model = next(iter(self._models.values())) if isinstance(self._models, Mapping) else self._models
        engine = model.engine
        return {"engine": f"{engine.name}, {engine.device}, {engine.precision}"}

    def close(self) -> None:
        """Close what was opened for further shapes, and the models that it owns."""
        while self._opened:
            self._opened.pop().close()

    def _for(self, shape: tuple[int, ...], channel: str) -> Model:
        """The model that is prepared for a shape; the one that was not used for longest if there are too many."""
        model = self._models[channel] if isinstance(self._models, Mapping) else self._models
        prepared = self._prepared.setdefault(id(model), OrderedDict())
        if shape not in prepared:
            if not prepared:
                prepared[shape] = model
            elif len(prepared) < MOST_PREPARED:
                self._opened.append(self._reopen(model))
                prepared[shape] = self._opened[-1]
            else:
                _, prepared[shape] = prepared.popitem(last=False)
        prepared.move_to_end(shape)
        return prepared[shape]


def reopened(model: Model) -> Model:
    """The same model with an engine of its own."""
    engine = model.engine
    return Model(model.description, open_engine(model.description, engine.device, engine.name, engine.precision))


def open_models(
    packages: Mapping[str, Path] | Path, corrections: Corrections | None = CORRECTIONS, *, device: str = "auto",
    engine: str = "auto", precision: str = "auto",
) -> Models:  # fmt: skip
    """Open a package for all channels, or one for each by name, each package once; see `load_model`."""
    by_name = packages if isinstance(packages, Mapping) else {"": packages}
    with ExitStack() as opened:
        models = {
            path: opened.enter_context(load_model(path, device, engine=engine, precision=precision))
            for path in dict.fromkeys(by_name.values())
        }
        named = {channel: models[path] for channel, path in by_name.items()}
        made = Models(named if packages is by_name else named[""], corrections, owned=True)
        opened.pop_all()  # they stay open
    return made
