"""Start the processes of a training on this machine, and watch them: one that is lost ends all."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError, Interrupted
from zsd_train.group import LostContactError

GRACE_S = 5.0  # in which processes end by themselves once one is lost
ORPHAN_S = 60.0  # in which they save and end by themselves once their parent is gone
LISTENING_S = 0.2


def call_in_processes(
    function: Callable[..., Any],
    number: int,
    arguments: dict[str, Any],
    out: Path,
    *,
    said: tuple[str, ...],
    hear: Callable[[Any], None],
    stop: Callable[[], bool],
    interrupted: threading.Event,
) -> None:
    """Call a function in several processes, with the variables that torchrun would give them.

    Parameters
    ----------
    function : callable
        `zsd_train.train`.
    number : int
        Of processes.
    arguments : dict
        Of the function, beside `said` and `stop`; they are sent to the processes.
    out : Path
        The run folder.
    said : tuple of str
        Arguments of the function that take what it has to say, such as "report".
    hear : callable
        Gets in this process what is said in the others.
    stop : callable
        As for `train`; called in this process.
    interrupted : threading.Event
        Set after Ctrl-C.

    Raises
    ------
    InputError, Interrupted
        As the first process that has one raises it.
    RuntimeError
        When a process is lost.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy locked threads, and CUDA
    stopping = context.Event()
    port = _free_port()
    workers, ends = [], []
    for rank in range(number):
        here, there = context.Pipe()
        sent = (function, rank, number, port, arguments, said, there, stopping)
        worker = context.Process(target=_work, args=sent, daemon=True)
        worker.start()
        there.close()
        workers.append(worker)
        ends.append(here)
    raised: dict[int, BaseException] = {}
    try:
        while True:
            _listen(ends, raised, hear)
            if interrupted.is_set() or stop():
                stopping.set()
            codes = [worker.exitcode for worker in workers]
            if any(codes) or all(code == 0 for code in codes):
                break
        deadline = time.monotonic() + GRACE_S
        while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
            _listen(ends, raised, hear)
        _listen(ends, raised, hear)
    finally:
        codes = [worker.exitcode for worker in workers]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(GRACE_S)
            worker.kill()
            worker.join()
    _raise_first(codes, raised, out)


def _listen(ends: list[Connection], raised: dict[int, BaseException], hear: Callable[[Any], None]) -> None:
    """Hand on what processes say: what their function reports, and at most one error each."""
    if not ends:
        time.sleep(LISTENING_S)
    for end in [end for end in ends if end in wait(ends, LISTENING_S)]:
        try:
            rank, message = end.recv()
        except (EOFError, OSError):
            ends.remove(end)
            continue
        if isinstance(message, BaseException):
            raised[rank] = message
        else:
            hear(message)


def _raise_first(codes: list[int | None], raised: dict[int, BaseException], out: Path) -> None:
    """Raise the cause, if there is one: an error with a message, a killed process, then what followed from it."""
    for kind in (InputError, Interrupted):
        for _, error in sorted(raised.items()):
            if isinstance(error, kind):
                raise error
    saved = (out / "state.safetensors").exists()
    remedy = f"{out} was saved before: continue with --resume" if saved else "nothing was saved yet: train again"
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            memory = ", perhaps by the system for lack of memory" * (name == "SIGKILL")
            raise RuntimeError(
                f"process {rank} of {len(codes)} was killed ({name}{memory}); the others were ended; {remedy}"
            )
    own = sorted(raised.items(), key=lambda item: isinstance(item[1], LostContactError))
    for rank, error in own:
        raise RuntimeError(
            f"process {rank} of {len(codes)} failed ({error}); the others were ended; {remedy}"
        ) from error
    for rank, code in enumerate(codes):
        if code != 0:
            raise RuntimeError(
                f"process {rank} of {len(codes)} ended with status {code}; the others were ended; {remedy}"
            )


def _work(
    function: Callable[..., Any],
    rank: int,
    number: int,
    port: int,
    arguments: dict[str, Any],
    said: tuple[str, ...],
    end: Connection,
    stopping: Any,
) -> None:
    """What each process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent hands it on
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number),
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "zsd",
    }  # fmt: skip
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // number))
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()

    def say(message: Any) -> None:
        with suppress(OSError):  # the parent is gone, and `stop` says so
            end.send((rank, message))

    try:
        function(
            **arguments, **dict.fromkeys(said, say),
            stop=lambda: stopping.is_set() or not parent.is_alive(),
        )  # fmt: skip
    except Exception as error:  # all are said by the parent
        known = isinstance(error, InputError | Interrupted | LostContactError)
        say(error if known else RuntimeError(f"{type(error).__name__}: {error}"))
        raise SystemExit(1) from error


def _end_after(parent: BaseProcess) -> None:
    """End this process some time after its parent, if it has not saved and ended by then: it may wait for another."""
    parent.join()
    time.sleep(ORPHAN_S)
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
