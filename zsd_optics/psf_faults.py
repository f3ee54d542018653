"""What is wrong with a PSF, as values."""

from collections.abc import Callable
from dataclasses import dataclass

from zsd_optics.psf_measure import Array
from zsd_runtime.errors import InputError


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a PSF.

    Parameters
    ----------
    what : str
        The rest of a sentence that begins with the name of the PSF.
    remedy : str
        What to do about it.
    refuse : bool
        Whether the PSF would make wrong images; otherwise a warning is enough.
    option : str or tuple of str
        That the remedy names in backticks.
    position : tuple of int
        Where it is, ([z,] y, x), if it is at one place.
    """

    what: str
    remedy: str
    refuse: bool
    option: str | tuple[str, ...] = ()
    position: tuple[int, ...] | None = None

    def error(self, name: str) -> InputError:
        """The fault of a PSF of this name, with its remedy."""
        return InputError(f"{name} {self.what}", self.remedy, option=self.option)


@dataclass(frozen=True)
class Verdict:
    """What `judge_psf` found.

    Parameters
    ----------
    psf : ndarray
        (Y, X) or (Z, Y, X), without background and bad pixels; its peak is not in the corner of the array.
    faults : tuple of Fault
        The gravest first.
    """

    psf: Array
    faults: tuple[Fault, ...]

    def settled(self, name: str, notice: Callable[[str], None]) -> Array:
        """The PSF, if it can be used; otherwise an `InputError`. `notice` gets a sentence for every warning."""
        for fault in self.faults:
            if fault.refuse:
                raise fault.error(name)
            notice(str(fault.error(name)))
        return self.psf
