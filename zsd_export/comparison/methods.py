"""What is compared, from what a person types: filters and trainings by their names, packages by their paths."""

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zsd_optics.filter_kinds import CAMERA, KINDS, PSF, TYPES, deconvolves
from zsd_runtime.errors import InputError
from zsd_runtime.zoo import PREFIX, package_path
from zsd_train.config import TrainConfig, make_config
from zsd_train.schemes import Distill, Scheme, scheme_class

ZSD = "zsd"  # the scheme that zsd chooses itself
WITHOUT_PSF = ("box", "gaussian", "median", "nlm")
WITH_PSF = ("richardson-lucy", "wiener", ZSD)
EXAMPLE = "gaussian:sigma=1.5,nlm,richardson-lucy:iterations=20:tv=0.05,zsd,model.zip"


@dataclass(frozen=True)
class Method:
    """One way to restore an image.

    Attributes
    ----------
    text : str
        As it was typed; it heads a row of the table.
    kind : {"filter", "training", "package"}
    what : str
        A kind of filter, a scheme, or the path of a package.
    settings : dict
        Of a filter, by the names that `zsd filter` has; of a training, keys of `TrainConfig` and of its scheme; of a
        package, `average`.
    """

    text: str
    kind: Literal["filter", "training", "package"]
    what: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For file names: letters, digits, - and what stands between them."""
        parts = [Path(self.what).stem if self.kind == "package" else self.what]
        parts += [f"{key}-{value}" for key, value in self.settings.items()]
        return re.sub(r"[^\w.-]+", "-", "_".join(parts))

    @property
    def title(self) -> str:
        """For people: what it is, with its settings."""
        what = Path(self.what).stem if self.kind == "package" else self.what
        settings = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in self.settings.items())
        return f"{what}, {settings}" if settings else what

    @property
    def needs_psf(self) -> bool:
        """Whether it cannot run without one."""
        if self.kind == "training":
            return make_config(**training_choices(self, {})).scheme.needs_psf
        return self.kind == "filter" and deconvolves(self.what)


def methods_from(texts: Iterable[str] | None, psf_given: bool) -> list[Method]:
    """The methods that are listed, or those that fit what is known of the image.

    Parameters
    ----------
    texts : iterable of str
        Each a method or several with commas between: `EXAMPLE`. None: all that need no PSF, and if there is one,
        deconvolutions and a training.
    psf_given : bool

    Raises
    ------
    InputError
        When a name is not known (with the nearest known one), a setting is not one of the method, a method is listed
        twice, or one needs a PSF and there is none.
    """
    if texts is None:
        texts = (*WITHOUT_PSF, *(WITH_PSF if psf_given else ()))
    parts = [part.strip() for text in texts for part in ([text] if Path(text).exists() else text.split(","))]
    methods = [_method(part) for part in parts if part]
    if not methods:
        raise InputError("`methods` is empty", f"list some, for instance {EXAMPLE}", option="methods")
    names = [method.name for method in methods]
    for method in methods:
        if names.count(method.name) > 1:
            raise InputError(
                f"`methods` has two that would both be called {method.name}", "leave one out, or rename a package",
                option="methods",
            )  # fmt: skip
        if method.needs_psf and not psf_given:
            raise InputError(
                f"{method.what} needs a PSF, and none is given",
                "give one of `psf` FILE, `psf_sigma` PIXELS, or `na` with `wavelength`; or leave it out of `methods`",
                option=("psf", "psf_sigma", "na", "wavelength", "methods"),
            )  # fmt: skip
    return methods


def scheme_names() -> list[str]:
    """The schemes that learn from images, by the names that `zsd train --scheme` takes."""
    found, classes = [], list(Scheme.__subclasses__())
    while classes:
        cls = classes.pop()
        if cls is not Distill and not cls.of_raw_frames:  # the first needs a teacher
            found.append(str(cls.model_fields["kind"].default))
        classes += cls.__subclasses__()
    return sorted(found)


def _method(text: str) -> Method:
    if text.startswith(PREFIX):  # its colon separates no setting
        name, settings = _split(text.removeprefix(PREFIX))
        package_path(PREFIX + name)
        return Method(text, "package", PREFIX + name, _package_settings(settings))
    path, settings = (text, {}) if Path(text).exists() else _split(text)
    known = [*KINDS, ZSD, *scheme_names()]
    if path in KINDS:
        return Method(text, "filter", path, _filter_settings(path, settings))
    if path in known:
        return Method(text, "training", path, _training_settings(path, settings))
    if Path(path).exists() or path.endswith(".zip") or os.sep in path or "/" in path:
        return Method(text, "package", path, _package_settings(settings))
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"`methods` {path} is neither a known method nor a package that exists",
        f"{remedy}Filters are {', '.join(KINDS)}; trainings {ZSD}, {', '.join(scheme_names())}", option="methods",
    )  # fmt: skip


def _split(text: str) -> tuple[str, dict[str, str]]:
    """From "gaussian:sigma=1.5" to the name and its settings."""
    what, *parts = re.split(r":(?=[\w-]+(?:=|:|$))", text)
    settings = {}
    for part in parts:
        key, sign, value = part.partition("=")
        if not sign or not value:
            raise InputError(
                f"`methods` {text}: {part} is no setting", "write it as NAME=VALUE, for instance gaussian:sigma=1.5",
                option="methods",
            )  # fmt: skip
        settings[key.strip().replace("-", "_")] = value.strip()
    return what.strip(), settings


def _filter_settings(kind: str, settings: dict[str, str]) -> dict[str, Any]:
    """As `zsd filter` takes them; what describes the image and not the filter is given once, for all methods."""
    found = {}
    for key, text in settings.items():
        if key in (*PSF, *CAMERA):
            raise InputError(
                f"`methods` {kind}: {key} holds for all methods", f"give it as `{key}`", option=("methods", key)
            )
        _check_known(key, [name for name in KINDS[kind] if name in TYPES], kind)
        try:
            found[key] = TYPES[key](text)
        except ValueError:
            expected = "a whole number" if TYPES[key] is int else "a number"
            raise InputError(f"`methods` {kind}: {key} {text} must be {expected}", option="methods") from None
    return found


# The same for all methods, or said by the method's name.
ALIKE = ("scheme", "axes", "network", "offset", "gain", "read_noise")


def _training_settings(name: str, settings: dict[str, str]) -> dict[str, Any]:
    own = [key for key in _scheme(name).model_fields if key != "kind"]
    for key in settings:
        _check_known(key, [*own, *(key for key in TrainConfig.model_fields if key not in ALIKE)], name)
    return {key: _value(text) for key, text in settings.items()}


def _package_settings(settings: dict[str, str]) -> dict[str, Any]:
    for key in settings:
        _check_known(key, ["average"], "a package")
    return {key: _value(text) for key, text in settings.items()}


def _check_known(key: str, known: list[str], method: str) -> None:
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0)
        raise InputError(
            f"`methods` {method} has no setting {key}", f"did you mean {near[0]}? It takes {', '.join(known)}",
            option="methods",
        )  # fmt: skip


def _scheme(name: str) -> type[Scheme]:
    return scheme_class("auto" if name == ZSD else name)


def _value(text: str) -> Any:
    """A whole number, a number, or the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def training_choices(method: Method, common: dict[str, Any]) -> dict[str, Any]:
    """The values of `TrainConfig` for a training: `common` to all, those of the method, and its scheme's own."""
    own = _scheme(method.what).model_fields
    scheme = {"kind": own["kind"].default} | {key: value for key, value in method.settings.items() if key in own}
    given = {key: value for key, value in method.settings.items() if key not in own}
    if "steps" in given or "minutes" in given:  # one of them ends a training
        common = {key: value for key, value in common.items() if key not in ("steps", "minutes")}
    return common | given | {"axes": "yx", "scheme": scheme}
