"""Do regions of a job, and finish it."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import psutil

from zsd_runtime.batch import How, Work, work_of
from zsd_runtime.corrections.regional import RegionalCorrected
from zsd_runtime.errors import InputError
from zsd_runtime.fitting import chunk_grid
from zsd_runtime.images import Image, open_image
from zsd_runtime.images.ome_zarr_shards import Index, Sharded, coarser_shards, describe, shard_file, write_shard
from zsd_runtime.images.remote import Remote, create_exclusively, remove_below
from zsd_runtime.model import Model
from zsd_runtime.neighbours import reach
from zsd_runtime.notices import file_notices
from zsd_runtime.parts.job import Job, is_whole, not_written, open_job
from zsd_runtime.parts.marks import is_done, mark
from zsd_runtime.terminal import Bar
from zsd_runtime.tiling import Plan, reflected

FINISH = "finish"
CLAIM = "finishing"  # the process that finishes
WHOLE = "whole"  # nothing is left but to move the results


@dataclass(frozen=True)
class Part:
    """Which regions a process does.

    Attributes
    ----------
    number, count : int
        Number 1 of 5 does the regions 1, 6, 11, …; number 0 does none, and finishes what others did.
    """

    number: int
    count: int

    @classmethod
    def parsed(cls, text: str) -> "Part":
        """From "2/5", or "finish"."""
        if text == FINISH:
            return cls(0, 1)
        try:
            number, count = map(int, text.split("/"))
        except ValueError:
            number, count = 0, 0
        if not 1 <= number <= count:
            raise InputError(
                f"`part` {text} must be two numbers with a / between, from 1/N to N/N, or {FINISH}", option="part"
            )
        return cls(number, count)


def predict_parts(
    models: Sequence[Model],
    images: list[Path],
    how: How,
    part: str,
    progress: Callable[[str], AbstractContextManager[Bar]],
) -> str:
    """Do a part, as `--part` names it, of each image; a line on what was done."""
    which, done = Part.parsed(part), []
    for path in images:
        with progress(f"{path.name}, part {part}") as bar:
            done.append(predict_part(models, path, how, which, bar))
    return done[0] if len(done) == 1 else "; ".join(f"{p.name}: {text}" for p, text in zip(images, done, strict=True))


def predict_part(models: Sequence[Model], path: Path, how: How, part: Part, bar: Bar) -> str:
    """Do a part of the regions of an image, and finish it if all are done; a sentence on what was done.

    Raises
    ------
    InputError
        As `open_job`; when there is nothing to finish yet.
    """
    work = work_of(models, path, open_image(path, how.axes, how.series), how)
    warn(work)
    job = open_job(work, part.count)
    if job is None:
        return f"{names_of(work)} whole already"
    own = list(range(len(job.regions)))[part.number - 1 :: part.count] if part.number else []
    todo = missing(job, own, checksums=True)
    for done, region in enumerate(todo):
        bar(done / max(1, len(todo)))
        restore_region(work, job, region)
    left = missing(job, range(len(job.regions)))
    text = f"{len(todo)} of {len(job.regions)} regions restored here, {len(own) - len(todo)} were done before"
    if left and job.exists:
        if not part.number:
            raise InputError(
                f"{len(left)} of {len(job.regions)} regions of {path} are missing", "run their parts again"
            )
        return f"{text}; {len(left)} are missing"
    whole = finish(work, job, takes_over=not part.number)
    return f"{text}; " + (f"{names_of(work)} whole" if whole else "another process finishes the results")


def warn(work: Work) -> None:
    """Say why results may be wrong."""
    file_notices([(work.path, work.image.description.notices)], work.how.notice)
    for mismatch in work.warnings:
        work.how.notice(f"{work.path.name}: {mismatch}")


def missing(job: Job, regions: Iterable[int], *, checksums: bool = False) -> list[int]:
    """Of some regions those that are not done."""
    if (job.folder / WHOLE).exists():  # results are being moved
        return []
    return [region for region in regions if not is_done(job.folder, job.results, region, checksums=checksums)]


def restore_region(work: Work, job: Job, region: int) -> None:
    """Restore a region, and mark it as done.

    Raises
    ------
    InputError
        When it cannot be read or written.
    """
    if not job.exists:  # finished by others meanwhile, with this region
        return
    started = time.monotonic()
    number, box = job.regions[region]
    model, channels = work.jobs[number]
    stores = [job.store(path) for path, _, _ in work.results]
    try:
        targets = [Sharded(store, image) for store, (_, image, _) in zip(stores, work.results, strict=True)]
        source, *sinks = work.arrays_of(channels, targets)
        axes = len(model.description.axes)
        leading = len(box) - axes
        plan = model.plan(
            source.shape[-axes:], job.tiles[number], chunk_grid(model.description, sinks), work.how.average
        )
        planes = [range(b.start, b.stop) for b in box[:leading]]
        if (frames := model.description.frames) > 1:
            axis = work.image.axes.index("T")
            planes[axis] = reach(planes[axis], frames, source.shape[axis])
        planes += [range(n) for n in source.shape[leading : len(source.shape) - axes]]
        planes += _slices(plan.part(box[leading:])) if axes == 3 else []
        corrected = RegionalCorrected(
            source, work.how.corrections, job.known[number], planes, volumes=axes == 3, name=str(work.path),
            findings=job.findings(number),
        )  # fmt: skip
        model.predict_into(
            corrected, sinks, tile=job.tiles[number], region=box, line=job.lines[number], average=work.how.average,
            axes=work.image.axes,
        )  # fmt: skip
        files = [
            f"{store.name}/{shard_file(index)}"
            for store, target in zip(stores, targets, strict=True) for index in target.written
        ]  # fmt: skip
        mark(job.folder, job.results, region, files, time.monotonic() - started)
    except OSError as error:
        raise not_written(job.folder, error) from error


def _slices(plan: Plan) -> list[range]:
    """Which slices a part of a plan reads."""
    line, length, n = plan.lines[0], plan.tile[0], plan.image_shape[0]
    read = reflected(np.arange(line[0].start, line[-1].start + length), n)
    return [range(int(read.min()), int(read.max()) + 1)]


def write_shards(store: Path, image: Image, level: int, shards: list[Index]) -> None:
    """Write some shards of a coarser level of a result."""
    for index in shards:
        write_shard(store, image, level, index)


def finish(
    work: Work,
    job: Job,
    *,
    takes_over: bool = False,
    write: Callable[[Path, Image, int, list[Index]], None] = write_shards,
) -> bool:
    """Write the coarser levels and the description, and move the results to their place; whether that is done.

    One process does so at a time: False if another has begun. One that died on the same machine is replaced, one on
    another machine if this one `takes_over`. `write` writes some shards of a coarser level.
    """
    if is_whole(work, job.key):
        return True
    claim = job.folder / CLAIM
    try:
        if not _claimed(claim, takes_over=takes_over):
            return False
        try:
            if not (job.folder / WHOLE).exists():
                for path, image, _ in work.results:
                    _complete(job, job.store(path), image, write)
                (job.folder / WHOLE).touch()
            for path, _, _ in work.results:
                _move(job.store(path), path)
        except BaseException:
            claim.unlink(missing_ok=True)
            raise
        _remove(job.folder)
    except FileNotFoundError:
        if is_whole(work, job.key):  # by another process, meanwhile
            return True
        raise
    except OSError as error:
        raise not_written(job.folder, error) from error
    return True


def _move(store: Path, path: Path) -> None:
    """Move a result to its place, unless it is there."""
    if store != path and store.is_dir():
        if path.exists():
            shutil.rmtree(path)
        store.rename(path)


def _remove(folder: Path) -> None:
    """Remove a finished job: first that by which processes find it."""
    if isinstance(folder, Remote):
        (folder / "job.json").unlink()
        remove_below(folder)
        return
    done = folder.with_name(f"{folder.name}.done")
    folder.rename(done)
    shutil.rmtree(done, ignore_errors=True)


def _complete(job: Job, store: Path, image: Image, write: Callable[[Path, Image, int, list[Index]], None]) -> None:
    """Write what a result needs beside its finest level."""
    for level, shards in groupby(coarser_shards(store), key=itemgetter(0)):
        write(store, image, level, [index for _, index in shards])
    if not isinstance(store, Remote):  # where files appear when they are whole
        for left in store.rglob("*.partial"):  # of processes that were killed
            left.unlink(missing_ok=True)
    describe(store, image, {"zsd": {"job": job.key}})


def _claimed(claim: Path, *, takes_over: bool) -> bool:
    """Whether this process is the one that finishes."""
    own = f"{socket.gethostname()} {os.getpid()}"
    try:
        create_exclusively(claim, own)
    except FileExistsError:
        host, _, process = claim.read_text().partition(" ")
        here = host == socket.gethostname() and process.isdigit()
        if not (takes_over or (here and _died(int(process)))):
            return False
        claim.write_text(own)
    return True


def _died(process: int) -> bool:
    """Whether a process of this machine is no more; a zombie only waits for its parent."""
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def names_of(work: Work) -> str:
    """For messages: the results, and the verb."""
    names = [str(path) for path, _, _ in work.results]
    return ", ".join(names) + (" is" if len(names) == 1 else " are")
