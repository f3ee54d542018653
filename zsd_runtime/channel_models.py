"""One model for all channels of an image, or one for each: which model restores which channel."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zsd_runtime.archive import RDF_NAMES
from zsd_runtime.channels import Chosen, channels_of, choose, named
from zsd_runtime.errors import InputError, see_info
from zsd_runtime.images import Image
from zsd_runtime.model import Model, load_model
from zsd_runtime.notices import Notice
from zsd_runtime.package import ModelDescription, read_package


def packages_in(path: Path) -> list[Path]:
    """The packages in a folder, by name; a path that is a package, or none at all, stands for itself."""
    if not path.is_dir() or _is_package(path):
        return [path]
    found = sorted(p for p in path.iterdir() if not p.name.startswith(".") and (p.suffix == ".zip" or _is_package(p)))
    return found or [path]


def _is_package(path: Path) -> bool:
    return any((path / name).is_file() for name in RDF_NAMES)


@contextmanager
def load_models(
    packages: Sequence[Path],
    device: str = "auto",
    *,
    engine: str = "auto",
    precision: str = "auto",
    uncertainty: int = 0,
) -> Iterator[list[Model]]:
    """Open a package, or several, one for each channel, in the order of the channels; see `load_model`.

    Raises
    ------
    InputError
        When one cannot be opened, or they are not alike, so that one image cannot hold their results.
    """
    with ExitStack() as opened:
        models = [
            opened.enter_context(load_model(path, device, engine=engine, precision=precision, uncertainty=uncertainty))
            for path in packages
        ]
        _check_alike([model.description for model in models], packages[0].parent)
        yield sorted(models, key=lambda model: _number(model.description) or 0)


def read_packages(packages: Sequence[Path]) -> list[tuple[Path, ModelDescription]]:
    """What a package, or several, one for each channel, say, in the order of the channels.

    Raises
    ------
    InputError
        As `load_models`.
    """
    read = [(path, read_package(path)) for path in packages]
    _check_alike([description for _, description in read], packages[0].parent)
    return sorted(read, key=lambda pair: _number(pair[1]) or 0)


def _check_alike(models: Sequence[ModelDescription], folder: Path) -> None:
    """Refuse several models that do not make the same outputs of single channels."""
    if len(models) == 1:
        return
    kinds = {(m.axes, m.frames, tuple((o.name, o.scale, o.channels) for o in m.outputs)) for m in models}
    if len(kinds) > 1 or any(m.channels > 1 for m in models):
        raise InputError(f"{folder} holds {len(models)} packages that make different outputs", "give one of them")
    trained_on = [(channel_of(m), _number(m)) for m in models]  # a file may give two channels one name
    twice = next((name for name, number in trained_on if trained_on.count((name, number)) > 1), None)
    if twice or None in [name for name, _ in trained_on]:
        what = f"several packages for channel {twice}" if twice else f"{len(models)} packages, not all of one channel"
        raise InputError(f"{folder} holds {what}", "give one of them, or a folder that zsd export made of channels")


def channel_of(model: ModelDescription) -> str | None:
    """The channel that a model was trained on, by name, or "channel0" by its number; None if it is not known."""
    number = _number(model)
    return model.channel or (None if number is None else Chosen(number).name)


def _number(model: ModelDescription) -> int | None:
    number = model.facts.get("channel_number")
    return number if type(number) is int and number >= 0 else None


def assigned(
    models: Sequence[ModelDescription], image: Image, path: Path, channel: str | None, notice: Notice
) -> list[list[Chosen]]:
    """The channels of an image that each model restores, none for a model that is for another channel.

    Parameters
    ----------
    models : sequence of ModelDescription
        One for everything, or one for each channel.
    image, path
        The image and its name.
    channel : str or None
        What a person chose: "all", names or numbers. By default, a model restores the channel that it was trained on,
        or all of them if that is not known or not there.
    notice : callable
        Gets a sentence when that is not all that the image has.

    Raises
    ------
    InputError
        When a channel is not there, or no model fits.
    """
    every = channels_of(image)
    chosen = choose(channel, every, "channel", str(path)) if channel else every
    if len(models) > 1:
        return _one_each(models, chosen, path, notice)
    (model,) = models
    if model.channels > 1:  # it takes all channels together
        if channel:
            raise InputError(
                f"the model takes {model.channels} channels together: leave `channel` out", option="channel"
            )
        return [every]
    trained_on = channel_of(model)
    if channel or trained_on is None:
        if not channel and len(every) > 1:
            notice(f"{path} has channels {named(every)}: the model restores each; choose with `channel`")
        return [chosen]
    if len(every) > 1:
        same = _trained_on(model, every)
        if same:
            notice(
                f"{path} has channels {named(every)}: only {trained_on}, which the model was trained on, is restored; "
                "`channel` all restores each"
            )
            return [same]
        notice(
            f"{path} has channels {named(every)}, and the model was trained on {trained_on}: it restores each; choose "
            "with `channel`"
        )
    return [chosen]


def _trained_on(model: ModelDescription, channels: list[Chosen]) -> list[Chosen]:
    """The channel that a model was trained on, by its name; of several with this name, by its number; or none."""
    called = [c for c in channels if c.name.casefold() == (channel_of(model) or "").casefold()]
    return called if len(called) == 1 else [c for c in called if c.number == _number(model)]


def _one_each(
    models: Sequence[ModelDescription], chosen: list[Chosen], path: Path, notice: Notice
) -> list[list[Chosen]]:
    """By name; else by order, if there are as many."""
    names = [channel_of(model) or "" for model in models]
    by_name = [_trained_on(model, chosen) for model in models]
    if not any(by_name):
        if len(chosen) != len(models):
            raise InputError(
                f"{path} has channels {named(chosen)}, and the packages are for {', '.join(names)}",
                f"give one package, with `channel`; {see_info(path)}", option="channel",
            )  # fmt: skip
        pairs = ", ".join(f"{name} restores {c.name}" for name, c in zip(names, chosen, strict=True))
        notice(f"{path}: channels are matched by their order: {pairs}")
        return [[c] for c in chosen]
    restored = {c.number for found in by_name for c in found}
    missing = [c for c in chosen if c.number not in restored]
    if missing:
        notice(f"{path}: there is no package for {named(missing)}: not restored")
    return by_name
