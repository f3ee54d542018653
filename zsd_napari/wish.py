"""What a person chose for a training; it passes from the viewer to the worker."""

from dataclasses import dataclass
from pathlib import Path

from zsd_napari.psf import Psf


@dataclass(frozen=True)
class Wish:
    """The choices of the widget Restore.

    Attributes
    ----------
    psf : Psf or None
    minutes : float or None
        None: the usual time, or what `settings` say.
    scheme, preset : str or None
        None: the default, or what `settings` say.
    settings : path or None
        TOML with keys of `zsd_train.TrainConfig`.
    """

    psf: Psf | None
    minutes: float | None = None
    scheme: str | None = None
    preset: str | None = None
    settings: Path | None = None
