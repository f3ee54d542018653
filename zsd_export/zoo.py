"""What the BioImage.IO zoo asks of a package besides its tensors: a name, authors, a licence."""

import difflib
import re
from collections.abc import Callable, Sequence

from packaging.licenses._spdx import LICENSES  # the SPDX list; the public functions tell only whether one is on it

from zsd_runtime.errors import InputError

NAME = re.compile(r"[A-Za-z0-9_+() -]{5,128}")
CITATIONS = [
    {
        "text": "Qiao, C. et al. Zero-shot learning enables instant denoising and super-resolution in optical "
        "fluorescence microscopy. Nature Communications 15, 4180 (2024)",
        "doi": "10.1038/s41467-024-48575-9",
    },
]

Author = dict[str, str]  # "name" and perhaps "affiliation"


def check_name(name: str) -> str:
    """The name of a model, if the zoo accepts it.

    Raises
    ------
    InputError
        When it does not.
    """
    if not NAME.fullmatch(name) or name != name.strip():
        raise InputError(
            f"the zoo refuses the name {name!r}: --name must be 5 to 128 letters, digits, spaces and _ + - ( )"
        )
    return name


def name_after(stem: str) -> str:
    """A name that the zoo accepts, from that of a file or a folder."""
    return f"zsd {re.sub('[^A-Za-z0-9_+() -]+', '-', stem)}"[:128].strip()


def authors_of(texts: Sequence[str]) -> tuple[Author, ...]:
    """Authors, from "Name; affiliation" or "Name"."""
    authors = []
    for text in texts:
        name, _, affiliation = (part.strip() for part in text.partition(";"))
        if not name:
            raise InputError(f"--author {text!r} has no name: give 'Name; affiliation', or 'Name'")
        authors.append({"name": name} | ({"affiliation": affiliation} if affiliation else {}))
    return tuple(authors)


def spdx(licence: str) -> str:
    """The identifier of a licence, as SPDX writes it.

    Raises
    ------
    InputError
        When SPDX does not know it; with those that are like it.
    """
    known = LICENSES.get(licence.strip().lower())
    if known:
        return known["id"]
    near = [LICENSES[name]["id"] for name in difflib.get_close_matches(licence.lower(), LICENSES, 3, 0.5)]
    advice = f"did you mean {' or '.join(near)}" if near else "for instance CC-BY-4.0, MIT or BSD-3-Clause"
    raise InputError(f"--licence {licence!r} is no SPDX identifier (https://spdx.org/licenses): {advice}?")


def credits_of(
    authors: Sequence[str], licence: str | None, notice: Callable[[str], None]
) -> tuple[tuple[Author, ...], str | None]:
    """Authors and licence as a package has them; `notice` is told what the zoo will ask for that is missing."""
    credited, licence = authors_of(authors), licence and spdx(licence)
    for sentence in asked_for(credited, licence):
        notice(sentence)
    return credited, licence


def asked_for(authors: Sequence[Author], licence: str | None) -> list[str]:
    """What the zoo will ask for, that is missing, a sentence each."""
    missing = []
    if not authors:
        missing.append("the package names no author; the zoo will ask for one: --author 'Name; affiliation'")
    if not licence:
        missing.append(
            "the package has no licence; the weights are yours, and the zoo will ask how others may use them: for "
            "instance --licence CC-BY-4.0"
        )
    return missing
