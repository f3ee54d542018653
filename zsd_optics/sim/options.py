"""Options of the command line that describe raw SIM files; `zsd sim` and `zsd train` share them."""

from pathlib import Path
from typing import Annotated

import typer

Otf = Annotated[
    Path | None,
    typer.Option(help="OTF of the detection: MRC, DV, TIFF of cudasirecon, or otf.tif of zsd."),
]
Na = Annotated[float | None, typer.Option("--na", help="OTF from theory instead: numerical aperture.")]
Wavelength = Annotated[float | None, typer.Option(help="With --na: emission wavelength, nm; default: from the file.")]
RefractiveIndex = Annotated[
    float | None, typer.Option(help="With --na: refractive index of immersion and sample; default 1.515.")
]
Excitation = Annotated[
    float | None, typer.Option(help="With --na, for volumes of 3 beams: wavelength of the excitation, nm.")
]
Directions = Annotated[int | None, typer.Option(help="Directions of the stripes; default 3.")]
Phases = Annotated[
    int | None, typer.Option(help="Frames of each direction: 3 (two beams) or 5 (three beams); default: found.")
]
Slices = Annotated[int | None, typer.Option(help="Slices of a volume; default: found from the number of planes.")]
Order = Annotated[
    str | None,
    typer.Option(
        help="How the planes follow each other, the slowest first: dp or pd (d direction, p phase); of volumes with z, "
        "such as dpz, dzp or zdp; default: found."
    ),
]
Spacing = Annotated[float | None, typer.Option(help="Period of the finest stripes, nm; default: found.")]
Angles = Annotated[
    str | None,
    typer.Option(help="With --spacing: the wave vectors, across the stripes, rad (-0.80,-1.86,0.24); default: found."),
]
Parameters = Annotated[
    Path | None, typer.Option(help="parameters.json of another reconstruction, instead of an estimation.")
]
Each = Annotated[
    bool,
    typer.Option("--each", help="Estimate the stripes of each acquisition; default: those of the first serve all."),
]
Wiener = Annotated[
    float | None,
    typer.Option(help="Wiener parameter w: larger is smoother and less sharp; default: from the noise."),
]
Notch = Annotated[
    float | None,
    typer.Option(help="Share of the out-of-focus light of thick samples to take out, 0 to 0.95; default 0."),
]
Offset = Annotated[float | None, typer.Option(help="Camera offset, counts; default: estimated.")]
