"""`zsd predict --cluster`: the regions of images on the workers of dask.distributed.

Workers see the files themselves; only the numbers of regions travel. A region that a lost worker had begun is given to
another one. Done marks are those of `zsd predict --part`: what a killed run did is not done again.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any

from zsd_runtime.batch import How, Work, work_of
from zsd_runtime.channel_models import load_models
from zsd_runtime.errors import InputError
from zsd_runtime.fitting import SHARE_OF_FREE_MEMORY
from zsd_runtime.images import Image, open_image
from zsd_runtime.images.ome_zarr_shards import Index, layout_of
from zsd_runtime.memory import free_memory
from zsd_runtime.model import Model
from zsd_runtime.notices import no_notice
from zsd_runtime.parts.job import Job, not_written, open_job
from zsd_runtime.parts.run import finish, missing, names_of, restore_region, warn, write_shards
from zsd_runtime.terminal import Bar
from zsd_runtime.workers import check_workers
from zsd_runtime.zoo import PREFIX

LOCAL = "local"
ANSWER_S = 15  # seconds in which a scheduler answers
WORKERS_S = 60  # seconds in which its first worker comes
RETRIES = 3  # of a region that fails by no fault of the input: a disk or a network that is busy
EACH = 4  # groups of shards for each worker


@dataclass(frozen=True)
class Order:
    """What a worker needs to open a job; its paths are those of the worker's file system.

    Attributes
    ----------
    job : str
        Its id.
    packages : tuple of Path
    engine : tuple of str
        Device, engine and precision.
    image : Path
    how : How
    workers : int
    """

    job: str
    packages: tuple[Path, ...]
    engine: tuple[str, str, str]
    image: Path
    how: How
    workers: int


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A dask client of the scheduler at an address, or of "local" or "local:N" processes on this machine.

    Raises
    ------
    InputError
        When dask.distributed is not installed, nothing answers, or there are no workers.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise InputError("`cluster` needs dask.distributed", "pip install 'zsd[cluster]'", option="cluster") from None
    if address.partition(":")[0] == LOCAL:
        with (
            distributed.LocalCluster(
                n_workers=_processes(address),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                silence_logs=40,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=ANSWER_S)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"no dask scheduler answers at `cluster` {address} ({error})",
            "give the address that dask scheduler prints, such as tcp://node7:8786, or local:4",
            option="cluster",
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError:
            raise InputError(
                f"the scheduler at `cluster` {address} has no workers", "start some with dask worker", option="cluster"
            ) from None
        yield client


def predict_on_cluster(
    client: Any,
    models: Sequence[Model],
    packages: Sequence[Path],
    device: str,
    images: list[Path],
    how: How,
    progress: Callable[[str], AbstractContextManager[Bar]],
) -> str:
    """Restore images, one after the other; a line on what was done.

    Parameters
    ----------
    client : distributed.Client
    models : sequence of Model
        Opened here, where tiles and regions are chosen.
    packages : sequence of Path
        Theirs.
    device : str
        That workers are asked for.
    images, how, progress
        As for `zsd_runtime.batch.predict_files`.

    Raises
    ------
    InputError
        When workers differ from this process, or do not see the files.
    """
    how = replace(how, out=how.out.absolute(), memory=how.memory or _memory(client))
    # A model that came with zsd stands for itself: workers of the same version have it.
    packages = [path if str(path).startswith(PREFIX) else path.absolute() for path in packages]
    images = [path.absolute() for path in images]
    try:
        how.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(how.out, error) from error
    check_workers(client, [*(path for path in packages if path.is_absolute()), *images], how.out)
    engine = models[0].engine
    done = []
    for path in images:
        with progress(path.name) as bar:
            work = work_of(models, path, open_image(path, how.axes, how.series), how)
            warn(work)
            count = len(client.scheduler_info(n_workers=-1)["workers"])
            job = open_job(work, count)
            if job is None:
                done.append(f"{names_of(work)} whole already")
                continue
            order = Order(
                job.id, tuple(packages), (device, engine.name, engine.precision), path,
                replace(how, notice=no_notice), count,
            )  # fmt: skip
            done.append(_restored(client, work, job, order, bar))
    return done[0] if len(done) == 1 else "; ".join(f"{p.name}: {text}" for p, text in zip(images, done, strict=True))


def _restored(client: Any, work: Work, job: Job, order: Order, bar: Bar) -> str:
    """Have all regions restored, and finish the results; a sentence on it."""
    restored = 0
    for number, new in enumerate(_results(client, _region, [(order, n) for n in range(len(job.regions))]), 1):
        restored += new
        bar(number / len(job.regions))

    if left := missing(job, range(len(job.regions))):
        raise RuntimeError(f"{len(left)} regions that workers restored are not in {job.folder}: run it again")

    def write(store: Path, image: Image, level: int, shards: list[Index]) -> None:
        size = ceil(len(shards) / (EACH * order.workers))
        image = replace(image, data=layout_of(image, (1, 1)))  # its shape and type; zeros would travel as an array
        groups = [shards[k : k + size] for k in range(0, len(shards), size)]
        for _ in _results(client, write_shards, [(store, image, level, group) for group in groups]):
            pass

    whole = finish(work, job, takes_over=True, write=write)
    before = len(job.regions) - restored
    text = f"{restored} of {len(job.regions)} regions restored by {order.workers} workers, {before} were done before; "
    return text + (f"{names_of(work)} whole" if whole else "another process finishes the results")


def _results(client: Any, work: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> Iterator[Any]:
    """What workers return, as it comes. The first error ends all."""
    distributed: Any = import_module("distributed")
    futures = [client.submit(work, *each, pure=False, retries=RETRIES) for each in arguments]
    try:
        for future in distributed.as_completed(futures):
            result = future.result()
            if isinstance(result, InputError):
                raise result
            yield result
    except distributed.KilledWorker as error:
        raise RuntimeError(
            f"a region ended worker after worker ({error}): if they ran out of memory, give less --memory, remove the "
            "folder of the job, and begin again"
        ) from None
    finally:
        client.cancel(futures)


def _region(order: Order, region: int) -> bool | InputError:
    """On a worker: restore a region, unless it is done; whether that was needed."""
    try:
        work, job = _OPEN.of(order)
        if not missing(job, [region], checksums=True):
            return False
        restore_region(work, job, region)
    except InputError as error:
        if isinstance(error.__cause__, OSError):  # a disk or a network may recover
            raise
        return error
    return True


class _Opened:
    """The models, the image and the job that a worker has open; one at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: tuple[Work, Job] | None = None
        self._close: Callable[[], Any] = lambda: None

    def of(self, order: Order) -> tuple[Work, Job]:
        """Open what an order is for, unless it is open."""
        with self._lock:
            if self._open is None or self._open[1].id != order.job:
                self._close()
                self._open = None
                device, engine, precision = order.engine
                opening = load_models(order.packages, device, engine=engine, precision=precision)
                models = opening.__enter__()
                self._close = partial(opening.__exit__, None, None, None)
                image = open_image(order.image, order.how.axes, order.how.series)
                work = work_of(models, order.image, image, order.how)
                job = open_job(work, order.workers)
                if job is None:
                    raise InputError(f"the results of {order.image} are whole already")
                self._open = work, job
            return self._open


_OPEN = _Opened()


def _memory(client: Any) -> int:
    """Bytes that each worker may take: half of what is free, shared by those on one machine."""
    info = client.scheduler_info(n_workers=-1)["workers"]
    hosts = [worker["host"] for worker in info.values()]
    free = client.run(free_memory)
    return min(int(free[key] * SHARE_OF_FREE_MEMORY / hosts.count(info[key]["host"])) for key in free if key in info)


def _processes(address: str) -> int:
    """From "local" or "local:N"."""
    text = address.partition(":")[2]
    if address == LOCAL:
        return os.cpu_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"`cluster` {address} must be local:N, as local:4", option="cluster")
    return int(text)
