"""`zsd watch`, with a model that is there. With --train-first it is `zsd_export.watch`."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.batch import How
from zsd_runtime.corrections.corrected import corrections_of
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel
from zsd_runtime.notices import notices
from zsd_runtime.options import Average, Axes, Dark, GainMap, KeepHotPixels, PixelSize, RemoveLines, Series, ZStep
from zsd_runtime.terminal import Quiet, command_line, reporting
from zsd_runtime.watch import options
from zsd_runtime.watch.options import watching

app = command_line()


@app.command()
def watch(
    package: Annotated[Path, typer.Argument(help="Model package, zoo:NAME, or a folder of packages, one a channel.")],
    folder: options.Folder,
    out: options.Out,
    once: options.Once = False,
    settle: options.Settle = 3.0,
    poll: options.Poll = 1.0,
    train_first: Annotated[
        bool,
        typer.Option(
            "--train-first",
            help="If PACKAGE does not exist, train it on the first finished image. This has more options: "
            "zsd watch --train-first --help.",
        ),
    ] = False,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    memory: options.Memory = None,
    axes: Axes = None,
    series: Series = None,
    channel: options.Channel = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    dtype: options.Dtype = "float32",
    file_format: options.FileFormat = "auto",
    keep_hot_pixels: KeepHotPixels = False,
    remove_lines: RemoveLines = None,
    dark: Dark = None,
    gain_map: GainMap = None,
    average: Average = 1,
    quiet: Quiet = False,
) -> None:
    """Restore each image in a folder once, when it is finished, until Ctrl-C.

    A file is finished when it did not change for --settle seconds and opens. Start the same command again after an
    interruption: what is done stays done. Bad files are reported, and tried again when they change.
    """
    with reporting(quiet):
        if train_first:  # `zsd` takes the other module for it
            raise InputError("--train-first needs more than the runtime", "pip install 'zsd[export]'")
        how = How(
            out, axes, None, None if memory is None else int(memory * 1e9), dtype, file_format, series, channel,
            Voxel.square(pixel_size, z_step), notices(quiet),
            corrections_of(keep_hot_pixels=keep_hot_pixels, remove_lines=remove_lines, dark=dark, gain_map=gain_map),
            average,
        )  # fmt: skip
        with watching(folder, how, memory=memory, settle=settle, poll=poll, once=once, quiet=quiet) as work:
            work.run(package, device, engine, precision)
