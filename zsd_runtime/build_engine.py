"""`zsd build-engine`: build a TensorRT engine ahead of time, so that the first image does not wait for it."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.engines import EngineMissing, cache
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.package import ModelDescription, read_package
from zsd_runtime.terminal import Quiet, command_line, numbers, reporting
from zsd_runtime.tiling import LONGEST_SIDE, plan

TILE_PIXELS = 640**2

app = command_line()


@app.command()
def build_engine(
    package: Annotated[
        Path, typer.Argument(help="Model package made by `zsd export`: a folder or a zip; or zoo:NAME.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the engine; by default PACKAGE/engines, or NAME.engines beside NAME.zip."),
    ] = None,
    tile: Annotated[
        str | None, typer.Option(help="Tile to optimise for, [Zx]YxX, input pixels; by default about 410000 pixels.")
    ] = None,
    largest: Annotated[
        str | None, typer.Option(help="Largest tile it must take, [Zx]YxX, input pixels; by default 2304 in Y and X.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Build a TensorRT engine ahead of time.

    TensorRT-RTX builds without a GPU, and the engine runs on every GPU that it supports. TensorRT builds on the GPU
    that will run the engine, and for no other kind.
    """
    with reporting(quiet):
        description = read_package(package)
        profile = tile_profile(description, numbers(tile, "--tile"), numbers(largest, "--largest"))
        path = write_engine(description, profile, out or cache.engines_folder(package))
        print(f"OK {path} written, for tiles up to {size_text(profile[2][2:])}")


def tile_profile(
    description: ModelDescription, tile: tuple[int, ...] | None, largest: tuple[int, ...] | None
) -> cache.Profile:
    """Batch shapes (1, C, [Z,] Y, X): the smallest tile that tiling makes, the usual one and the largest.

    Raises
    ------
    InputError
        When a tile has no core, or the largest is smaller than the usual one.
    """
    axes = len(description.axes)
    tile = tile or tuple(max(round(TILE_PIXELS ** (1 / axes)), 3 * halo) for halo in description.halo)
    largest = largest or (tuple(2 * n for n in tile[:-2]) + (LONGEST_SIDE,) * 2)
    for option, shape in (("tile", tile), ("largest", largest)):
        if len(shape) != axes:
            raise InputError(
                f"`{option}` {size_text(shape)} must have {axes} numbers, for {description.axes.upper()}", option=option
            )
    if any(big < n for big, n in zip(largest, tile, strict=True)):
        raise InputError(
            f"`largest` {size_text(largest)} is smaller than `tile` {size_text(tile)}",
            "give at least that",
            option=("largest", "tile"),
        )
    # As tiling rounds them: to the size multiple, and for an image of one pixel up to its halo.
    images_and_tiles = (((1,) * axes, tile), (tile, tile), (largest, largest))
    smallest, usual, most = (
        description.input.batch_shape(
            1, plan(image, shape, description.halo, description.size_multiple, edge=description.zero_margin).tile
        )
        for image, shape in images_and_tiles
    )
    return smallest, usual, most


def write_engine(description: ModelDescription, profile: cache.Profile, folder: Path) -> Path:
    """Build an engine and write it into `folder`.

    Raises
    ------
    EngineMissing
        When TensorRT is missing, or needs a GPU and there is none.
    """
    from zsd_runtime.engines.cuda import Cuda
    from zsd_runtime.engines.tensorrt import Network, library

    trt = library()
    try:
        cuda = None if trt.__name__ == "tensorrt_rtx" else Cuda()
    except EngineMissing as error:
        raise EngineMissing(
            f"tensorrt builds engines for the GPU at hand ({error}): build where it will run, or build without a GPU: "
            "pip uninstall tensorrt; pip install tensorrt-rtx-cu13",
            option=error.options,
        ) from None
    network = Network(trt, description.weights)
    return cache.write(folder, network.facts(cuda), profile, network.build(profile))
