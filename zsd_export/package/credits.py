"""What the BioImage.IO zoo asks of a package besides its tensors: a name, authors, a licence, tags."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from packaging.licenses._spdx import LICENSES  # the SPDX list; the public functions only look a licence up

from zsd_runtime.errors import InputError

NAME = re.compile(r"[A-Za-z0-9_+() -]{5,128}")
ZS_DECONVNET = {
    "text": "Qiao, C. et al. Zero-shot learning enables instant denoising and super-resolution in optical "
    "fluorescence microscopy. Nature Communications 15, 4180 (2024)",
    "doi": "10.1038/s41467-024-48575-9",
}
NOISE2VOID = {
    "text": "Krull, A., Buchholz, T.-O. & Jug, F. Noise2Void - learning denoising from single noisy images. CVPR "
    "(2019)",
    "doi": "10.1109/CVPR.2019.00223",
}
DECONOISING = {
    "text": "Goncharova, A. S., Honigmann, A., Jug, F. & Krull, A. Improving blind spot denoising for microscopy. ECCV "
    "Workshops (2020)",
    "doi": "10.48550/arXiv.2008.08414",
}
SIM = {
    "text": "Gustafsson, M. G. L. Surpassing the lateral resolution limit by a factor of two using structured "
    "illumination microscopy. Journal of Microscopy 198, 82-87 (2000)",
    "doi": "10.1046/j.1365-2818.2000.00710.x",
}
# By `zsd_train.schemes.Scheme.method`.
CITATIONS = {
    "ZS-DeconvNet": [ZS_DECONVNET], "ZS-DeconvNet SIM": [ZS_DECONVNET, SIM], "Noise2Void": [NOISE2VOID],
    "N2V conv.": [DECONOISING, NOISE2VOID], "DecoNoising": [DECONOISING, NOISE2VOID],
}  # fmt: skip

Author = dict[str, str]  # "name" and perhaps "affiliation"


@dataclass(frozen=True)
class Credits:
    """What a package is called, who made it, and how others may use it.

    Parameters
    ----------
    name : str
        Of the model: 5 to 128 letters, digits, spaces and _ + - ( ). By default, the name of what it was made from.
    authors : sequence of str
        "Name; affiliation" or "Name" of the people who trained it.
    licence : str
        SPDX identifier of the weights' licence, for instance "CC-BY-4.0".
    tags : sequence of str
        Added to those that every package has.
    """

    name: str | None = None
    authors: Sequence[str | Author] = ()
    licence: str | None = None
    tags: Sequence[str] = ()

    def over(self, source: "Credits", notice: Callable[[str], None] = lambda text: None) -> "Credited":
        """These credits, checked, with those of `source` where one is missing.

        `notice` gets a sentence for everything that the zoo will ask for and that both do not say.

        Raises
        ------
        InputError
            When the zoo would refuse the name, an author has no name, or SPDX does not know the licence.
        """
        credited = Credited(
            _checked_name(self.name or source.name or ""),
            tuple(_author(text) for text in self.authors or source.authors),
            _spdx(self.licence) if self.licence else source.licence,
            tuple(dict.fromkeys([*source.tags, *self.tags])),
        )
        for sentence in credited.missing:
            notice(sentence)
        return credited


@dataclass(frozen=True)
class Credited:
    """Credits as a package has them: checked, and complete but for authors and licence, which may be missing."""

    name: str
    authors: tuple[Author, ...] = ()
    licence: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """One sentence for each thing that the zoo will ask for."""
        missing = []
        if not self.authors:
            missing.append(
                "the package names no author, and the zoo asks for one: set `authors` to 'Name; affiliation'"
            )
        if not self.licence:
            missing.append(
                "the package has no licence, and the zoo asks how others may use your weights: set `licence`, for "
                "instance to CC-BY-4.0"
            )
        return missing


ANONYMOUS = Credits()


def name_after(stem: str) -> str:
    """A name that the zoo accepts, from that of a file or a folder."""
    return f"zsd {re.sub('[^A-Za-z0-9_+() -]+', '-', stem)}"[:128].strip()


def _checked_name(name: str) -> str:
    if not NAME.fullmatch(name) or name != name.strip():
        raise InputError(
            f"the zoo refuses the name {name!r}",
            "`name` must be 5 to 128 letters, digits, spaces and _ + - ( )",
            option="name",
        )
    return name


def _author(text: str | Author) -> Author:
    if not isinstance(text, str):
        return text
    name, _, affiliation = (part.strip() for part in text.partition(";"))
    if not name:
        raise InputError(f"author {text!r} has no name", "give 'Name; affiliation', or 'Name'")
    return {"name": name} | ({"affiliation": affiliation} if affiliation else {})


def _spdx(licence: str) -> str:
    """The identifier of a licence, as SPDX writes it."""
    known = LICENSES.get(licence.strip().lower())
    if known:
        return known["id"]
    near = [LICENSES[name]["id"] for name in difflib.get_close_matches(licence.lower(), LICENSES, 3, 0.5)]
    advice = f"did you mean {' or '.join(near)}" if near else "for instance CC-BY-4.0, MIT or BSD-3-Clause"
    raise InputError(
        f"`licence` {licence!r} is no SPDX identifier (https://spdx.org/licenses)", f"{advice}?", option="licence"
    )
