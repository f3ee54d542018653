"""Options that several verbs share: how images are read, and how the PSF is described."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.options import Axes as Axes
from zsd_runtime.options import Dark as Dark
from zsd_runtime.options import GainMap as GainMap
from zsd_runtime.options import KeepHotPixels as KeepHotPixels
from zsd_runtime.options import PixelSize as PixelSize
from zsd_runtime.options import RemoveLines as RemoveLines
from zsd_runtime.options import Series as Series
from zsd_runtime.options import ZStep as ZStep

Channels = Annotated[
    str | None,
    typer.Option(help="Channel of an image with several: its name, or its number from 0."),
]

Psf = Annotated[Path | None, typer.Option(help="PSF as a TIFF. Volumes need a 3D PSF; planes use its focal plane.")]
Psfs = Annotated[
    list[str] | None,
    typer.Option(
        "--psf",
        help="PSF as a TIFF. Volumes need a 3D PSF; planes use its focal plane. Channels may have one each: a file "
        "with as many channels, or --psf GFP=a.tif --psf RFP=b.tif.",
    ),
]
PsfPixelSize = Annotated[float | None, typer.Option(help="Pixel size of the PSF, µm; default: from the file.")]
PsfZStep = Annotated[float | None, typer.Option(help="Z step of a 3D PSF, µm; default: from the file.")]
CentrePsf = Annotated[bool, typer.Option("--centre-psf", help="Accept an even-sized or off-centre PSF.")]
PsfSigma = Annotated[
    str | None,
    typer.Option(
        help="Gaussian PSF instead: σ in raw pixels; for volumes ZxYX, e.g. 1.5x1.1; for channels GFP=1.1,RFP=1.3."
    ),
]
Na = Annotated[float | None, typer.Option("--na", help="Generate the PSF instead: numerical aperture.")]
Wavelength = Annotated[
    str | None,
    typer.Option(help="With --na: emission wavelength, nm; for channels GFP=520,RFP=610; default: from the file."),
]
RefractiveIndex = Annotated[
    float | None, typer.Option(help="With --na: refractive index of immersion and sample; default 1.515.")
]
