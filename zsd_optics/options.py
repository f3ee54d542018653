"""Options that several verbs share: how images are read, and how the PSF is described."""

from pathlib import Path
from typing import Annotated

import typer

Axes = Annotated[str | None, typer.Option(help="Axes of the images, letters of TCZYX; replaces what the files say.")]
PixelSize = Annotated[float | None, typer.Option(help="Pixel size of the image, µm; default: from the file.")]
ZStep = Annotated[float | None, typer.Option(help="Distance between slices, µm; default: from the file.")]

Psf = Annotated[Path | None, typer.Option(help="PSF as a TIFF. Volumes need a 3D PSF; planes use its focal plane.")]
PsfPixelSize = Annotated[float | None, typer.Option(help="Pixel size of the PSF, µm; default: from the file.")]
PsfZStep = Annotated[float | None, typer.Option(help="Z step of a 3D PSF, µm; default: from the file.")]
CentrePsf = Annotated[bool, typer.Option("--centre-psf", help="Accept an even-sized or off-centre PSF.")]
PsfSigma = Annotated[
    str | None, typer.Option(help="Gaussian PSF instead: σ in raw pixels; for volumes ZxYX, e.g. 1.5x1.1.")
]
Na = Annotated[float | None, typer.Option("--na", help="Generate the PSF instead: numerical aperture.")]
Wavelength = Annotated[float | None, typer.Option(help="With --na: emission wavelength, nm.")]
RefractiveIndex = Annotated[float, typer.Option(help="With --na: refractive index of immersion and sample.")]
