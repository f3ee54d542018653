"""What all verbs of the command line share: how they report errors and progress, and read numbers."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Protocol

import typer

from zsd_runtime.errors import InputError, Interrupted

Quiet = Annotated[bool, typer.Option("--quiet", help="Print only a last line: OK … or ERROR ….")]


def command_line() -> typer.Typer:
    """An app without verbs yet, with the settings that all verbs of zsd share."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(lambda: None)  # without it typer makes a single verb the whole command
    return app


@contextmanager
def reporting(quiet: bool = False) -> Iterator[None]:
    """Turn an error into one line on stderr and the exit status: 2 if the input is at fault, else 1."""

    def fail(message: str, status: int) -> typer.Exit:
        if quiet:
            print(f"ERROR {message}")
        else:
            print(f"error: {message}", file=sys.stderr)
        return typer.Exit(status)

    try:
        yield
    except typer.Exit:  # a RuntimeError, too; its message was printed
        raise
    except InputError as error:
        raise fail(error.message(flag), 2) from None
    except Interrupted as error:
        print(f"{'ERROR ' * quiet}{error}: continue with --resume")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise fail("interrupted; nothing was left half-written", 1) from None
    except (RuntimeError, MemoryError) as error:
        raise fail(f"{type(error).__name__}: {error}", 1) from None


def flag(option: str) -> str:
    """An option as the command line writes it: ``z_step`` is ``--z-step``."""
    return "--" + option.replace("_", "-")


def numbers(text: str | None, option: str, *, least: int = 1) -> tuple[int, ...] | None:
    """From "512x256" to (512, 256), none of them below `least`."""
    if text is None:
        return None
    try:
        values = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        values = ()
    if not values or min(values) < least:
        raise InputError(f"{option} {text} must be whole numbers from {least} on with x between them, as in 512x512")
    return values


class Bar(Protocol):
    """Show the progress: the share that is done (0..1), a text, and whether the text is worth a line of its own."""

    def __call__(self, share: float, text: str = "", milestone: bool = False) -> None:
        """Show it."""


@contextmanager
def progress_bar(title: str, quiet: bool) -> Iterator[Bar]:
    """A bar with ETA on a terminal, plain lines otherwise, nothing if `quiet`.

    The lines are milestones and, without a text, `title 12 %`: at the end, and before it at most one a second.
    Programs that start zsd read them.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        printed_at = time.monotonic()

        def lines(share: float, text: str = "", milestone: bool = False) -> None:
            nonlocal printed_at
            now = time.monotonic()
            if quiet or (text and not milestone) or (not text and share < 1 and now - printed_at < 1):
                return
            print(text or f"{title} {100 * share:.0f} %", file=sys.stderr)
            printed_at = now

        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=1.0, note="")

        def drawn(share: float, text: str = "", milestone: bool = False) -> None:  # noqa: ARG001
            progress.update(task, completed=share, note=text)

        yield drawn
