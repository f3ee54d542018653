"""A job on disk: begun by the process that comes first, found by all others."""

import io
import json
import os
import shutil
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from zsd_runtime.average import averaged
from zsd_runtime.batch import Work
from zsd_runtime.corrections.hot_pixels import Spread
from zsd_runtime.corrections.plane_faults import Findings
from zsd_runtime.corrections.regional import Measured, measured
from zsd_runtime.errors import InputError
from zsd_runtime.fitting import SHARE_OF_FREE_MEMORY, chunk_grid, fitting_tile, longest_row, shard_grid
from zsd_runtime.images import stem
from zsd_runtime.images.ome_zarr_shards import begin, layout_of
from zsd_runtime.images.ome_zarr_store import is_zarr
from zsd_runtime.images.remote import Remote, create_exclusively
from zsd_runtime.memory import free_memory
from zsd_runtime.model import Model
from zsd_runtime.normalize import Linear
from zsd_runtime.parts.identity import check_same, identity_of, key_of
from zsd_runtime.parts.marks import FOLDER
from zsd_runtime.regions import longest_row_of, max_and_sum_of_tiles
from zsd_runtime.session import Lines
from zsd_runtime.tiling import Box

SCHEMA = 3
DIVISORS = (1, 2, 4, 8, 16)  # of shards, for the tiles: they begin where shards begin
FOUND = "found-{id}-{number}"  # the findings of a job in the source of a model: those of an earlier job are not read
SHARES = (1, 2, 4)  # of the memory


@dataclass(frozen=True)
class Job:
    """What is to be done, the same for all processes.

    Attributes
    ----------
    folder : Path
    key : str
        Of its identity.
    id : str
        Of this job: results that were removed and are made again have another.
    tiles : list of tuple of int
        Of each model of the image.
    regions : list of (int, Box)
        The number of a model, and a region of its source.
    lines : list of mapping
        The normalisation of each model's images, where it depends on them.
    known : list of Measured
        What corrections need to know of each model's source.
    """

    folder: Path
    key: str
    id: str
    tiles: list[tuple[int, ...]]
    regions: list[tuple[int, Box]]
    lines: list[Lines]
    known: list[Measured]

    @property
    def exists(self) -> bool:
        """Whether its folder is still there: the last process moves the results, and removes it."""
        return (self.folder / "job.json").is_file()

    @property
    def results(self) -> Path:
        """Where results are written until all of them are there: buckets cannot move them, so they begin in place."""
        return self.folder.parent if isinstance(self.folder, Remote) else self.folder

    def findings(self, number: int) -> Findings:
        """What was found in the source of a model."""
        return Findings(self.folder / FOUND.format(id=self.id, number=number))

    def store(self, result: Path) -> Path:
        """Where a result is written until all of it is there."""
        return self.results / result.name


def job_folder(work: Work) -> Path:
    """Where the job of an image stands."""
    return work.how.out / f".{stem(work.path)}.parts"


def is_whole(work: Work, key: str) -> bool:
    """Whether all results stand in their place, and are of this job."""
    return all(_key_in(path) == key for path, _, _ in work.results)


def open_job(work: Work, workers: int) -> Job | None:
    """The job of an image, begun if there is none; None if its results are whole already.

    Parameters
    ----------
    work : Work
    workers : int
        How many processes share it: the first to come decides the number of regions by it.

    Raises
    ------
    InputError
        When the job there is another, or the folder cannot be written to.
    """
    if any(path.suffix != ".zarr" for path, _, _ in work.results):
        raise InputError(
            f"the results of {work.path.name} would be TIFF, which one process writes alone", "give `format` zarr",
            option="format",
        )  # fmt: skip
    if work.jobs[0][0].description.sim:
        raise InputError(
            "structured illumination is not restored in parts", "split the image into files of few time points"
        )
    for path, _, _ in work.results:
        if path.is_file() or (path.is_dir() and not is_zarr(path)):
            raise InputError(
                f"{path} is not Zarr: it is left alone", "remove it, or choose another `out`", option="out"
            )
    identity, folder = identity_of(work), job_folder(work)
    while True:
        try:
            if (folder / "job.json").is_file():
                return _read(folder, identity, work)
            if is_whole(work, key_of(identity)):
                return None
            if isinstance(folder, Remote):
                _begin_remote(work, identity, folder, workers)
            else:
                _begin(work, identity, folder, workers)
        except OSError as error:
            raise not_written(folder, error) from error


def not_written(folder: Path, error: OSError) -> InputError:
    """The error for a failed write into a job."""
    return InputError(
        f"cannot write into {folder}: {error.strerror or error}",
        "free some disk or ask for permission, and run it again: what is done stays",
    )


def _begin(work: Work, identity: dict[str, Any], folder: Path, workers: int) -> None:
    """Make the whole folder beside its place, and rename it: whoever does so first has begun the job."""
    temporary = folder.with_name(f"{folder.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        (temporary / FOLDER).mkdir(parents=True)
        for path, image, scale in work.results:
            begin(temporary / path.name, image, scale)
        (temporary / "job.json").write_text(_prepared(work, identity, temporary, workers))
        if folder.is_dir() and not (folder / "job.json").is_file():
            shutil.rmtree(folder)  # chunks that a process wrote late, after the end of its job
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / "job.json").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _begin_remote(work: Work, identity: dict[str, Any], folder: Path, workers: int) -> None:
    """Nothing can be renamed: whoever creates the description of the job has begun it."""
    for path, _, _ in work.results:
        if path.exists() and not (folder / "job.json").is_file():
            raise InputError(
                f"{path} is there already; processes that share the work replace nothing at a URL",
                "remove it, or choose another `out`", option="out",
            )  # fmt: skip
    text = _prepared(work, identity, folder, workers)
    with suppress(FileExistsError):  # another process was faster
        create_exclusively(folder / "job.json", text)


def _prepared(work: Work, identity: dict[str, Any], folder: Path, workers: int) -> str:
    """Choose tiles and regions, and measure what depends on the whole image: the description of the job."""
    targets = [layout_of(image, scale) for _, image, scale in work.results]
    tiles, regions, lines, identifier = [], [], [], uuid.uuid4().hex
    memory = work.how.memory or int(free_memory(work.jobs[0][0].engine.device) * SHARE_OF_FREE_MEMORY)
    for number, (model, channels) in enumerate(work.jobs):
        source, *sinks = work.arrays_of(channels, targets)
        volumes, average = len(model.description.axes) == 3, work.how.average
        tile = work.how.tile or regional_tile(model, source.shape, sinks, workers, memory, average)
        model.plan(source.shape[-len(model.description.axes) :], tile, average=average)  # before pixels are looked at
        fitted = not isinstance(model.description.input.processing, Linear)
        findings = Findings(folder / FOUND.format(id=identifier, number=number))
        findings.folder.mkdir()
        whole, known = measured(
            source, work.how.corrections, volumes=volumes, name=str(work.path), whole=fitted, findings=findings
        )
        found = model.lines(whole, sinks, tile, average) if fitted else {}
        tiles.append(tile)
        lines.append([[list(index), line.slope, line.intercept] for index, line in found.items()])
        regions += [
            [number, [[b.start, b.stop] for b in box]]
            for box in model.regions(source.shape, sinks, tile, workers, memory=memory, average=average)
        ]
        _save(folder / f"known-{number}.npz", known)
    job = {
        "schema": SCHEMA, "id": identifier, "identity": identity, "tiles": tiles, "regions": regions,
        "lines": lines,
    }  # fmt: skip
    return json.dumps(job)


def regional_tile(
    model: Model, shape: tuple[int, ...], targets: list[Any], workers: int, memory: int, average: int = 1
) -> tuple[int, ...]:
    """The tile that fits in `memory` with which so many workers are done first.

    Regions begin on shards, and where tiles begin; so the larger tile is not always the better one.
    """
    d = averaged(model.description, average)
    axes = len(d.axes)
    spatial, leading, grid = tuple(shape[-axes:]), len(shape) - len(model.input_axes), shard_grid(d, targets)
    longest = longest_row(d, targets, memory)
    found: list[tuple[bool, float, tuple[int, ...]]] = []
    for divisor, share in product(DIVISORS, SHARES):
        divided = tuple(max(1, n // divisor) for n in grid[-axes:])
        tile = fitting_tile(
            d, model.overlap_for(d), spatial, divided, memory // share, device=model.engine.device, average=average
        )
        planned = model.plan(spatial, tile, chunk_grid(d, targets), average)
        boxes = model.regions(shape, targets, tile, workers, memory=memory, average=average)
        most, _ = max_and_sum_of_tiles(planned, boxes, leading)
        large = longest_row_of(boxes, leading, grid) > longest
        found.append((large, -(-len(boxes) // workers) * most * float(np.prod(planned.tile)), planned.tile))
    return min(found)[2]


def _read(folder: Path, identity: dict[str, Any], work: Work) -> Job:
    job = json.loads((folder / "job.json").read_text())
    if job.get("schema") != SCHEMA:
        raise InputError(f"{folder} was begun by another version of zsd", "remove this folder to begin again")
    check_same(job["identity"], identity, folder)
    if isinstance(folder, Remote):
        for path, image, scale in work.results:
            begin(path, image, scale, again=True)
    lines: list[Lines] = [
        {tuple(index): Linear(slope, intercept) for index, slope, intercept in each} for each in job["lines"]
    ]
    return Job(
        folder, key_of(identity), job["id"], [tuple(tile) for tile in job["tiles"]],
        [(number, tuple(slice(*b) for b in box)) for number, box in job["regions"]], lines,
        [_load(folder / f"known-{number}.npz") for number in range(len(lines))],
    )  # fmt: skip


def _save(path: Path, known: Measured) -> None:
    arrays: dict[str, Any] = {"nan": np.array(known.nan)}
    if known.spread is not None:
        arrays |= {"level": known.spread.level, "sigma": known.spread.sigma}
    if known.lasting is not None:
        arrays["lasting"] = known.lasting
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    path.write_bytes(file.getvalue())


def _load(path: Path) -> Measured:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        spread = Spread(arrays["level"], arrays["sigma"]) if "level" in arrays else None
        return Measured(spread, arrays.get("lasting"), bool(arrays["nan"]))


def _key_in(path: Path) -> str | None:
    """The key of the job that made a result."""
    try:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
        return str(attributes["zsd"]["job"]) if "ome" in attributes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
