"""Options that verbs of several packages share: how images are read, and which part of a file is meant."""

from typing import Annotated

import typer

Axes = Annotated[str | None, typer.Option(help="Axes of the images, letters of TCZYX; replaces what the files say.")]
PixelSize = Annotated[float | None, typer.Option(help="Pixel size of the image, µm; default: from the file.")]
ZStep = Annotated[float | None, typer.Option(help="Distance between slices, µm; default: from the file.")]
Series = Annotated[
    int | None,
    typer.Option(min=0, help="Which image of a file that holds several, from 0; default: the largest. See zsd info."),
]
