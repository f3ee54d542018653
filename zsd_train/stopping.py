"""How somebody ends a training before its budget is spent: Ctrl-C, a scheduler's SIGTERM, or a file."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOP = "stop"  # a file of this name in the run folder ends the training: any program can make one, on any system


def taken(file: Path) -> bool:
    """Remove a file; whether there was one."""
    try:
        file.unlink()
    except OSError:
        return False
    return True


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C, or a scheduler's SIGTERM, sets the event instead of tearing a step apart; a second one is as before."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def on_signal(_number: int, _frame: object) -> None:
        event.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        restore()
