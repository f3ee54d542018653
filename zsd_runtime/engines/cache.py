"""Built engines as files: a line of JSON that says what the engine was built from, then its bytes.

They are in the user's cache, or beside a package, where `zsd build-engine` puts them. A file that is cut off, damaged
or built from something else is ignored, and the engine is built again.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from zsd_runtime.files import written_whole
from zsd_runtime.zoo import PREFIX

Facts = Mapping[str, Any]
Profile = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # the smallest, the usual, the largest batch shape


def user_cache() -> Path:
    """The folder for engines that were built when they were needed."""
    return platformdirs.user_cache_path("zsd", appauthor=False) / "engines"


def engines_folder(package: Path) -> Path:
    """The folder for engines that were built ahead of time: inside a package folder, beside a zip.

    Those of ``zoo:NAME`` are in the user's cache: where zsd is installed, the user may not write.
    """
    if str(package).startswith(PREFIX):
        return user_cache() / str(package).replace(PREFIX, "zoo-")
    if package.is_dir():
        return package / "engines"
    return package.with_suffix(".engines") if package.suffix == ".zip" else package.parent / "engines"


def write(folder: Path, facts: Facts, profile: Profile, content: bytes, suffix: str = ".engine") -> Path:
    """Keep `content` under the hash of what it was built from.

    Raises
    ------
    InputError
        When the folder cannot be written to.
    """
    head = {**facts, "profile": profile}
    path = folder / f"{_digest(head)[:32]}{suffix}"
    with written_whole(path) as temporary:
        temporary.write_bytes(json.dumps({**head, "sha256": _digest(head, content)}).encode() + b"\n" + content)
    return path


def find(folder: Path, facts: Facts, shape: tuple[int, ...], suffix: str = ".engine") -> Iterator[bytes]:
    """The contents that were built from `facts` and take batches of `shape`."""
    for path, head in heads(folder, suffix):
        if facts.items() <= head.items() and _admits(head.get("profile"), shape):
            content = path.read_bytes().partition(b"\n")[2]
            if head.pop("sha256", "") == _digest(head, content):
                yield content


def heads(folder: Path, suffix: str = ".engine") -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each file with its first line."""
    for path in sorted(folder.glob(f"*{suffix}")):
        try:
            with path.open("rb") as file:
                head = json.loads(file.readline())
        except (OSError, ValueError):
            continue
        if isinstance(head, dict):
            yield path, head


def _admits(profile: Any, shape: tuple[int, ...]) -> bool:
    match profile:
        case [list(low), _, list(high)] if len(low) == len(shape) == len(high):
            return all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))
    return False


def _digest(head: Facts, content: bytes = b"") -> str:
    return sha256(json.dumps(head, sort_keys=True).encode() + content).hexdigest()
