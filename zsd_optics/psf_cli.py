"""`zsd psf generate | from-otf | from-beads | show`."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_optics.inputs import agreed
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_runtime.terminal import Quiet, command_line, numbers, reporting

app = command_line()
verbs = typer.Typer(
    no_args_is_help=True, help="Make point spread functions: from theory, transfer functions or beads; look at them."
)
app.add_typer(verbs, name="psf")

Out = Annotated[Path, typer.Argument(help="The PSF, a TIFF with its pixel sizes; odd-sized, centred, sums to 1.")]
PixelSize = Annotated[float | None, typer.Option(help="µm; from the file if it says.")]
ZStep = Annotated[float | None, typer.Option(help="Distance of slices, µm; from the file if it says.")]
Size = Annotated[str | None, typer.Option(help="[Zx]YxX, odd; chosen if not given.")]


@verbs.command()
def generate(
    out: Out,
    na: Annotated[float, typer.Option("--na", help="Numerical aperture.")],
    wavelength: Annotated[float, typer.Option(help="Of the emission, nm.")],
    pixel_size: Annotated[float, typer.Option(help="Of the PSF, µm.")],
    z_step: Annotated[float | None, typer.Option(help="Distance of slices, µm; it makes the PSF 3D.")] = None,
    size: Annotated[str | None, typer.Option(help="[Zx]YxX, odd; 65x65 or 61x65x65 if not given.")] = None,
    refractive_index: Annotated[float, typer.Option(help="Of immersion and sample.")] = 1.515,
    model: Annotated[str, typer.Option(help="scalar, or vectorial: truer above NA 1.")] = "scalar",
    kind: Annotated[str, typer.Option(help="widefield, confocal or light-sheet.")] = "widefield",
    sheet_thickness: Annotated[float | None, typer.Option(help="Light-sheet: FWHM of the sheet, µm.")] = None,
    pinhole: Annotated[float | None, typer.Option(help="Confocal: its diameter, Airy units; 1 if not given.")] = None,
    excitation: Annotated[float | None, typer.Option(help="Confocal: wavelength, nm; the emission's if none.")] = None,
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
        _write(out, psf, voxel)


@verbs.command()
def from_otf(
    otf: Annotated[Path, typer.Argument(help="MRC: (kr,), or (orders, kr, kz) of which the order 0 is taken.")],
    out: Out,
    pixel_size: Annotated[float | None, typer.Option(help="Of the PSF, µm; the OTF's own if it says.")] = None,
    z_step: Annotated[float | None, typer.Option(help="Of the PSF, µm; the OTF's own if it says.")] = None,
    size: Size = None,
    quiet: Quiet = False,
) -> None:
    """A PSF from a transfer function (radial, MRC)."""
    with reporting(quiet):
        from zsd_optics.otf import psf_from_otf, read_otf

        psf, voxel = psf_from_otf(read_otf(otf), pixel_size, z_step, numbers(size, "--size"), name=str(otf))
        _write(out, psf, voxel)


@verbs.command()
def from_beads(
    stack: Annotated[Path, typer.Argument(help="Image of single small beads, ZYX or YX.")],
    out: Out,
    bead_size: Annotated[
        float | None, typer.Option(help="Diameter of the beads, nm; to tell whether it matters.")
    ] = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    size: Annotated[str | None, typer.Option(help="[Zx]YxX, odd: the box that a bead has to itself; 4 FWHM.")] = None,
    quiet: Quiet = False,
) -> None:
    """A PSF measured from beads: found, aligned to a sub-pixel, averaged."""
    with reporting(quiet):
        from zsd_optics.beads import average_beads, bead_note
        from zsd_optics.psf_picture import fwhm_nm

        data, voxel = _read(stack, pixel_size, z_step)
        beads = average_beads(data, voxel, numbers(size, "--size"), name=str(stack))
        note = bead_note(bead_size, min(fwhm_nm(beads.psf, voxel).values()))
        if not quiet:
            print(f"{beads.report}\n{note}")
        _write(out, beads.psf, voxel)


@verbs.command()
def show(
    psf: Annotated[Path, typer.Argument(help="PSF as TIFF, YX or ZYX.")],
    out: Annotated[Path, typer.Argument(help="Picture to write, PNG.")],
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    quiet: Quiet = False,
) -> None:
    """Draw XY and XZ, profiles, and the FWHM."""
    with reporting(quiet):
        import imageio.v3 as iio

        from zsd_optics.psf_picture import fwhm_text, psf_picture

        data, voxel = _read(psf, pixel_size, z_step)
        with written_whole(out) as temporary:
            iio.imwrite(temporary, psf_picture(data, voxel, psf.name), extension=".png")
        print(f"OK {fwhm_text(data, voxel)}; {out}")


def _read(path: Path, pixel_size: float | None, z_step: float | None) -> tuple[NDArray[Any], tuple[float, ...]]:
    """A (Y, X) or (Z, Y, X) and its (pixel size,) or (z step, pixel size), µm."""
    image = read_image(path)
    data = np.squeeze(image.data)
    if image.axes not in ("YX", "ZYX", "TYX"):
        raise InputError(f"{path} has axes {image.axes}: give one plane (YX) or one volume (ZYX)")
    lateral = agreed(pixel_size, image.voxel.pixel_size_um(str(path)), "--pixel-size", str(path))
    if lateral is None:
        raise InputError(f"{path} does not say its pixel size: give it with --pixel-size (µm)")
    if data.ndim == 2:
        return data, (lateral,)
    axial = agreed(z_step, image.voxel.z_um, "--z-step", str(path))
    if axial is None:
        raise InputError(f"{path} does not say its z step: give it with --z-step (µm)")
    return data, (axial, lateral)


def _write(out: Path, psf: NDArray[np.float64], voxel_um: tuple[float, ...]) -> None:
    from zsd_optics.psf_picture import fwhm_text

    *z_step, pixel_size = voxel_um
    axes = "ZYX"[-psf.ndim :]
    write_image(out, Image(psf.astype(np.float32), axes, Voxel.square(pixel_size, *z_step)))
    print(f"OK {size_text(psf.shape)}, {fwhm_text(psf, voxel_um)}; {out}")
