"""What a job is of: two processes work on the same one only if all of this is equal."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from zsd_runtime.batch import Work
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images.ome_zarr_store import MARKERS
from zsd_runtime.images.remote import Remote, files_below

MOST_FILES = 4096  # of a Zarr of more, some are compared, evenly spread
NAMES = {
    "zsd": "another version of zsd",
    "image": "another image, or it changed since (its size, its time, or one of its chunks)",
    "package": "another package",
    "engine": "another engine, device or precision",
}


def identity_of(work: Work) -> dict[str, Any]:
    """Of a job, in JSON's types."""
    image, how = work.image, work.how
    engine = work.jobs[0][0].engine
    maps = how.corrections.maps
    return {
        "zsd": version("zsd"),
        "image": [work.path.name, size_text(image.data.shape), str(image.data.dtype), image.axes, _content(work.path)],
        "package": [_hash(m.description.weights, _json(m.description.rdf)) for m, _ in work.jobs],
        "engine": [engine.name, engine.device, engine.precision],
        "channel": [chosen.number for chosen in work.kept],
        "series": how.series,
        "tile": list(how.tile or ()),
        "dtype": how.dtype,
        "average": how.average,
        "pixel_size": how.voxel.x_um,
        "z_step": how.voxel.z_um,
        "keep_hot_pixels": not how.corrections.hot_pixels,
        "remove_lines": how.corrections.lines,
        "dark": None if maps is None else _hash(*(m.tobytes() for m in (maps.offset, maps.gain) if m is not None)),
    }


def key_of(identity: dict[str, Any]) -> str:
    """A short name of an identity; finished results carry it."""
    return _hash(_json(identity))[:16]


def check_same(begun: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raise `InputError` unless this process does what the job was begun with."""
    different = [key for key in now if begun.get(key) != now[key]]
    if not different:
        return
    key = different[0]
    what = NAMES.get(key, f"another `{key}`")
    values = f" ({begun.get(key)} then, {now[key]} now)" if key not in ("image", "package") else ""
    raise InputError(
        f"{folder} was begun with {what}{values}",
        "give all parts the same, or remove this folder to begin again",
        option=key if key not in NAMES else (),
    )


def _content(path: Path) -> str:
    """Sizes and times of an image's files; a copy that keeps the times (cp -p) is the same.

    Of a web server, which cannot list its files, those of the metadata.
    """
    if isinstance(path, Remote):
        metadata = [name for name in MARKERS if (path / name).is_file()]
        return _hash(_json(path.listed() or [[name, (path / name).version()] for name in metadata]))
    found = sorted(files_below(path) if path.is_dir() else [""])
    some = found if len(found) <= MOST_FILES else [
        found[i] for i in np.linspace(0, len(found) - 1, MOST_FILES).round().astype(int)
    ]  # fmt: skip
    facts: list[Any] = [len(found)]
    for name in some:
        status = (path / name if name else path).stat()
        facts.append([name, status.st_size, status.st_mtime_ns])
    return _hash(_json(facts))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
