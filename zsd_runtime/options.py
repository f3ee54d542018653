"""Options that verbs of several packages share: how images are read, and which part of a file is meant."""

from pathlib import Path
from typing import Annotated

import typer

Axes = Annotated[str | None, typer.Option(help="Axes of the images, letters of TCZYX; replaces what the files say.")]
PixelSize = Annotated[float | None, typer.Option(help="Pixel size of the image, µm; default: from the file.")]
ZStep = Annotated[float | None, typer.Option(help="Distance between slices, µm; default: from the file.")]
Series = Annotated[
    int | None,
    typer.Option(min=0, help="Which image of a file that holds several, from 0; default: the largest. See zsd info."),
]
KeepHotPixels = Annotated[
    bool, typer.Option("--keep-hot-pixels", help="Leave hot and dead pixels; by default their neighbours replace them.")
]
RemoveLines = Annotated[
    str | None, typer.Option(help="Take out noise that all pixels of a line share: of rows, columns or both.")
]
Average = Annotated[
    int,
    typer.Option(
        help="Average the prediction over flips and turns: 1 (none), 2 (the image and its mirror), 4 (flips) or 8 "
        "(flips and turns). It takes as many times as long.",
    ),
]
Dark = Annotated[
    Path | None,
    typer.Option(
        help="Offset of each pixel of the camera, counts: a map as an image, or dark frames, whose mean counts."
    ),
]
GainMap = Annotated[Path | None, typer.Option(help="With --dark: gain of each pixel, in any unit, as an image.")]
