"""`zsd psf generate | from-otf | from-beads | show`."""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_optics.inputs import read_sized
from zsd_optics.options import PixelSize, RefractiveIndex, Series, ZStep
from zsd_optics.psf_options import REFRACTIVE_INDEX
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.notices import notices
from zsd_runtime.terminal import Quiet, command_line, flag, numbers, reporting

app = command_line()
verbs = typer.Typer(
    no_args_is_help=True, help="Make point spread functions from theory, transfer functions or beads, and look at them."
)
app.add_typer(verbs, name="psf")

Out = Annotated[Path, typer.Argument(help="TIFF for the PSF, with its voxel size; odd-sized, centred, sums to 1.")]
Size = Annotated[str | None, typer.Option(help="[Zx]YxX, odd; default: chosen.")]


@verbs.command()
def generate(
    out: Out,
    na: Annotated[float, typer.Option("--na", help="Numerical aperture.")],
    wavelength: Annotated[float, typer.Option(help="Emission wavelength, nm.")],
    pixel_size: Annotated[float, typer.Option(help="Pixel size of the PSF, µm.")],
    z_step: Annotated[float | None, typer.Option(help="Distance between slices, µm; makes the PSF 3D.")] = None,
    size: Annotated[str | None, typer.Option(help="[Zx]YxX, odd; default 65x65 or 61x65x65.")] = None,
    refractive_index: Annotated[float, typer.Option(help="Refractive index of immersion and sample.")] = 1.515,
    model: Annotated[str, typer.Option(help="scalar, or vectorial: more accurate above NA 1.")] = "scalar",
    kind: Annotated[str, typer.Option(help="widefield, confocal or light-sheet.")] = "widefield",
    sheet_thickness: Annotated[float | None, typer.Option(help="Light-sheet: FWHM of the sheet, µm.")] = None,
    pinhole: Annotated[
        float | None, typer.Option(help="Confocal: diameter of the pinhole, Airy units; default 1.")
    ] = None,
    excitation: Annotated[float | None, typer.Option(help="Confocal: wavelength, nm; default: the emission's.")] = None,
    quiet: Quiet = False,
) -> None:
    """A PSF from theory, without aberrations."""
    with reporting(quiet):
        from zsd_optics.optics import Optics, generate_psf

        voxel = (pixel_size,) if z_step is None else (z_step, pixel_size)
        shape = numbers(size, "--size") or ((65, 65) if z_step is None else (61, 65, 65))
        optics = Optics(na, wavelength, refractive_index, model)  # type: ignore[arg-type]
        psf = generate_psf(
            optics, shape, voxel, kind,  # type: ignore[arg-type]
            sheet_um=sheet_thickness, pinhole_au=pinhole, excitation_nm=excitation,
        )  # fmt: skip
        _write(out, psf, voxel, quiet)


@verbs.command()
def from_otf(
    otf: Annotated[Path, typer.Argument(help="MRC: (kr,), or (orders, kr, kz), of which order 0 is used.")],
    out: Out,
    pixel_size: Annotated[float | None, typer.Option(help="Of the PSF, µm; default: from the OTF.")] = None,
    z_step: Annotated[float | None, typer.Option(help="Of the PSF, µm; default: from the OTF.")] = None,
    size: Size = None,
    quiet: Quiet = False,
) -> None:
    """A PSF from a transfer function (radial, MRC)."""
    with reporting(quiet):
        from zsd_optics.otf import psf_from_otf, read_otf

        psf, voxel = psf_from_otf(read_otf(otf), pixel_size, z_step, numbers(size, "--size"), name=str(otf))
        _write(out, psf, voxel, quiet)


@verbs.command()
def from_beads(
    stack: Annotated[Path, typer.Argument(help="Image of separate small beads, ZYX or YX.")],
    out: Out,
    bead_size: Annotated[
        float | None, typer.Option(help="Diameter of the beads, nm: reports whether it matters.")
    ] = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    size: Annotated[str | None, typer.Option(help="[Zx]YxX, odd: box with a single bead; default 4 FWHM.")] = None,
    series: Series = None,
    quiet: Quiet = False,
) -> None:
    """A PSF measured from beads, which are found, aligned to a fraction of a pixel, and averaged."""
    with reporting(quiet):
        from zsd_optics.beads import average_beads, bead_note
        from zsd_optics.psf_picture import fwhm_nm

        data, voxel = read_sized(stack, Voxel.square(pixel_size, z_step), series=series, notice=notices(quiet))
        beads = average_beads(data, voxel, numbers(size, "--size"), name=str(stack))
        note = bead_note(bead_size, min(fwhm_nm(beads.psf, voxel).values()))
        if not quiet:
            print(f"{beads.report}\n{note}")
        _write(out, beads.psf, voxel, quiet)


@verbs.command()
def show(
    psf: Annotated[Path, typer.Argument(help="PSF as TIFF, YX or ZYX.")],
    out: Annotated[Path, typer.Argument(help="Picture to write, PNG.")],
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    na: Annotated[float | None, typer.Option("--na", help="Numerical aperture: checks the width.")] = None,
    wavelength: Annotated[float | None, typer.Option(help="Emission wavelength, nm: checks the width.")] = None,
    refractive_index: RefractiveIndex = None,
    quiet: Quiet = False,
) -> None:
    """Draw XY and XZ, profiles, and the FWHM, and say what is wrong with it."""
    with reporting(quiet):
        import imageio.v3 as iio

        from zsd_optics.optics import Optics
        from zsd_optics.psf_check import judge_psf
        from zsd_optics.psf_picture import fwhm_nm, fwhm_text, psf_picture

        if (na is None) != (wavelength is None):
            raise InputError("`na` and `wavelength` belong together", "give both", option=("na", "wavelength"))
        optics = None
        if na is not None and wavelength is not None:
            optics = Optics(na, wavelength, refractive_index or REFRACTIVE_INDEX)
        data, voxel = read_sized(psf, Voxel.square(pixel_size, z_step), notice=notices(quiet))
        verdict = judge_psf(data, voxel, optics=optics, name=str(psf))
        with written_whole(out) as temporary:
            iio.imwrite(temporary, psf_picture(verdict.psf, voxel, psf.name, verdict.faults), extension=".png")
        if not quiet:
            for fault in verdict.faults:
                print(f"{'refused' if fault.refuse else 'warning'}: {fault.error(psf.name).message(flag)}")
            widths, light = fwhm_nm(verdict.psf, voxel), wavelength or 525
            nm = min(widths["Y"], widths["X"])
            if np.isfinite(nm):
                print(f"as wide as a widefield PSF of NA {0.51 * light / nm:.2g} at {light:g} nm")
        found = f"; {len(verdict.faults)} fault{'s' * (len(verdict.faults) > 1)}" if verdict.faults else ""
        print(f"OK {fwhm_text(verdict.psf, voxel)}{found}; {out}")


def _write(out: Path, psf: NDArray[np.float64], voxel_um: tuple[float, ...], quiet: bool) -> None:
    from zsd_optics.psf_check import judge_psf
    from zsd_optics.psf_picture import fwhm_text

    *z_step, pixel_size = voxel_um
    axes = "ZYX"[-psf.ndim :]
    write_image(out, Image(psf.astype(np.float32), axes, Voxel.square(pixel_size, *z_step)))
    if not quiet:
        for fault in judge_psf(psf, voxel_um).faults:
            print(f"warning: {fault.error('the PSF').message(flag)}", file=sys.stderr)
    print(f"OK {size_text(psf.shape)}, {fwhm_text(psf, voxel_um)}; {out}")
