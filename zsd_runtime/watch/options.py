"""The options of `zsd watch`, with and without a training, and what they mean together."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.average import check_average
from zsd_runtime.batch import FORMATS, How
from zsd_runtime.channel_models import load_models, packages_in
from zsd_runtime.errors import InputError
from zsd_runtime.watch.marks import Marks, alone
from zsd_runtime.watch.run import Tally, check_places, fingerprint, follow, looks_of, restorer
from zsd_runtime.watch.watch import Restore, Watch

Folder = Annotated[Path, typer.Argument(help="Folder that the microscope writes to. Folders inside it are left alone.")]
Out = Annotated[Path, typer.Option(help="Folder for the results, and for marks of what is done (.zsd-watch).")]
Once = Annotated[bool, typer.Option("--once", help="Restore what is there, and end.")]
Settle = Annotated[
    float, typer.Option(help="Seconds without a change until a file is finished; OME-Zarr: five times as long.")
]
Poll = Annotated[float, typer.Option(help="Seconds between two looks at the folder.")]
Device = Annotated[str, typer.Option(help="auto (the fastest that works), cpu, cuda, intel or apple.")]
Engine = Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or coreml.")]
Precision = Annotated[str, typer.Option(help="auto (the package's own), fp32, bf16, fp16 or int8.")]
Memory = Annotated[float | None, typer.Option(help="Memory to use, GB; by default half of the free memory.")]
Channel = Annotated[str | None, typer.Option(help="Channels to restore, as for zsd predict.")]
Dtype = Annotated[str, typer.Option(help="Of the results: float32, or uint16 (rounded, clipped to 0..65535).")]
FileFormat = Annotated[str, typer.Option("--format", help="Of the results: auto (as the image), tiff or zarr.")]


@dataclass(frozen=True)
class Watching:
    """A watch that can start.

    Attributes
    ----------
    folder : Path
    how : How
        Its `out` is the folder for the results.
    looks : int
        Over how many looks, after the first, a file must stay the same.
    poll : float
        Seconds between two looks.
    once : bool
    tally : Tally
    marks : Path
        Folder for the marks of what is done.
    """

    folder: Path
    how: How
    looks: int
    poll: float
    once: bool
    tally: Tally
    marks: Path

    def run(self, package: Path, device: str, engine: str, precision: str) -> None:
        """Restore images with a package until Ctrl-C, or until all are done (`once`).

        Raises
        ------
        InputError
            When the package cannot be opened.
        """
        with load_models(packages_in(package), device, engine=engine, precision=precision) as models:
            self.tally.say(f"watching {self.folder}; Ctrl-C ends")
            self.follow(
                restorer(models, self.how, self.tally.quiet), Marks(self.marks, fingerprint(models)), self.tally
            )

    def follow(self, restore: Restore, marks: Marks, tally: Tally, *, first: bool = False) -> None:
        """Give each finished image to a function; `first`: until it succeeded with one."""
        watch = Watch(
            self.folder, restore, marks, self.looks, axes=self.how.axes, series=self.how.series, once=self.once
        )
        follow(watch, self.poll, tally, enough=lambda outcome: first and not outcome.error, once=self.once)


@contextmanager
def watching(
    folder: Path, how: How, *, memory: float | None, settle: float, poll: float, once: bool, quiet: bool
) -> Iterator[Watching]:
    """Check the options; then let the block watch, and print the last line. Ctrl-C is the usual end of the block.

    Raises
    ------
    InputError
        When an option is wrong, another watch writes to the same folder, or images failed.
    """
    looks = looks_of(settle, poll)
    check_places(folder, how.out)
    check_average(how.average)
    for option, value, known in (("dtype", how.dtype, ("float32", "uint16")), ("format", how.format, FORMATS)):
        if value not in known:
            raise InputError(f"--{option} {value} must be {' or '.join(known)}")
    if memory is not None and not 0 < memory < float("inf"):
        raise InputError(f"--memory {memory:g} must be a number of GB above 0")
    tally = Tally(quiet)
    with alone(how.out) as marks, suppress(KeyboardInterrupt):  # what was under way is done at the next start
        yield Watching(folder, how, looks, poll, once, tally, marks)
    restored = f"{tally.restored} image{'s' * (tally.restored != 1)} restored in {how.out}"
    if tally.failed:
        raise InputError(f"{tally.failed} image{'s' * (tally.failed > 1)} failed; {restored}")
    print(f"OK {restored}")
