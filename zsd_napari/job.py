"""The viewer's side of a worker process: it starts tasks, hands over pixels, and takes what the worker sends."""

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from zsd_runtime.errors import InputError

# The worker imports what the viewer imports, but nothing from the folder that it happens to be started in.
PROGRAM = """
import json, os, sys
sys.path[:] = json.loads(os.environ.pop("ZSD_NAPARI_PATH"))
from zsd_napari.worker import main
main()
"""
ENDS = ("done", "refused", "stopped", "failed")  # the last message of a task
LAST_S = 1.0  # for the last messages of a process that has ended: a child of it may hold its pipe open
Message = tuple[Any, ...]


class Process(subprocess.Popen[bytes]):
    """The worker's process: messages go in and come out."""

    def __init__(self) -> None:
        super().__init__(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"ZSD_NAPARI_PATH": json.dumps(sys.path)},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # of Windows
        )  # fmt: skip
        self._writing = threading.Lock()

    def write(self, message: Message) -> None:
        """Tell it something; if it has ended, nothing happens."""
        assert self.stdin is not None
        with suppress(OSError, ValueError), self._writing:
            pickle.dump(message, self.stdin, protocol=5)
            self.stdin.flush()

    def messages(self) -> Iterator[Message]:
        """What it says, until it ends."""
        assert self.stdout is not None
        with self.stdout:
            while True:
                try:
                    yield pickle.load(self.stdout)
                except (EOFError, OSError):
                    return
                except Exception:  # half a message, as of a process that was killed, may be anything
                    self.kill()
                    return

    def close(self) -> None:
        """End it: a training saves what it has and stops."""
        assert self.stdin is not None
        with suppress(OSError, ValueError), self._writing:
            self.stdin.close()


class Worker:
    """A process for the tasks of one widget; it starts with the first one and stays for the next.

    The process talks to a thread of its own here, so that neither reading a layer nor taking results ever holds up the
    viewer; the widget calls `messages` from its timer.

    Attributes
    ----------
    busy : bool
        Whether a task is being done.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._read: Callable[[tuple[int | slice, ...]], Any] | None = None
        self._take: Callable[[Message], bool] = lambda message: False
        self.busy = False

    def start(
        self,
        task: str,
        arguments: dict[str, Any],
        read: Callable[[tuple[int | slice, ...]], Any] | None = None,
        take: Callable[[Message], bool] = lambda message: False,
    ) -> None:
        """Begin a task.

        Parameters
        ----------
        task : str
            One of `zsd_napari.worker.TASKS`.
        arguments : dict
            Of the function that does it.
        read : callable
            Gives the worker a part of a layer; called in a thread.
        take : callable
            Gets each message first, in a thread; True keeps it from `messages`.
        """
        assert not self.busy
        if self._process is None or self._process.poll() is not None:
            self._process = Process()
            weakref.finalize(self, self._process.close)  # also when Python ends
            threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
        self.messages()  # of a process that ended while it had nothing to do
        self._read, self._take, self.busy = read, take, True
        self._process.write(("task", task, arguments))

    def stop(self) -> None:
        """Ask the task to stop; its end comes as a message."""
        if (process := self._process) is not None:
            process.write(("stop",))

    def messages(self) -> list[Message]:
        """What has come since the last call."""
        found = []
        while not self._messages.empty():
            found.append(self._messages.get())
        if any(message[0] in ENDS for message in found):
            self.busy = False
        return found

    def close(self) -> None:
        """End the process: a training saves what it has and stops."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _watch(self, process: Process) -> None:
        """Take messages until the process ends."""
        listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
        listener.start()
        status = process.wait()
        listener.join(LAST_S)
        if self._process is process:
            why = ": was the memory too small? Crop the layer" if status == -9 else ""  # SIGKILL
            self._messages.put(("failed", f"the worker process ended with status {status}{why}", ""))

    def _listen(self, process: Process) -> None:
        for message in process.messages():
            if self._process is not process:
                continue
            if message[0] == "read":
                process.write(("data", self._part(message[1])))
            elif not self._taken(message, process):
                self._messages.put(message)

    def _taken(self, message: Message, process: Process) -> bool:
        """Whether `take` keeps a message; an error of it, as of a lack of memory, ends the task."""
        try:
            return self._take(message)
        except Exception as error:
            self._process = None
            process.kill()
            self._messages.put(("failed", str(error) or type(error).__name__, ""))
            return True

    def _part(self, box: tuple[int | slice, ...]) -> Any:
        """A part of the layer, or the error that reading it made."""
        try:
            assert self._read is not None
            return np.ascontiguousarray(self._read(box))
        except Exception as error:  # files behind lazily opened layers fail in many ways
            return InputError(f"the layer cannot be read ({error})", "open it again")
