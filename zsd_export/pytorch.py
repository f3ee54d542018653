"""`zsd import-torch`: PyTorch weights of the published DecoNoising and Noise2Void as a package. No pickle is loaded."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from zsd_export.imported import Foreign, scene, write_imported
from zsd_export.options import Authors, Format, Licence, Name, Overwrite, Tags, writing
from zsd_export.package.contents import Intensities
from zsd_export.package.credits import ANONYMOUS, Credits, name_after
from zsd_export.package.write import Destination
from zsd_export.pytorch_weights import network_of, read_state_dict
from zsd_optics import options as optics
from zsd_optics.psf_options import psf_sources_of
from zsd_optics.psf_source import PsfSource
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel
from zsd_runtime.normalize import Linear
from zsd_runtime.terminal import Quiet, command_line, reporting

OUTPUT_SCALE = 10.0  # of the published code, which says that it speeds up training

app = command_line()


@app.command("import-torch")
def _import_torch(
    weights: Annotated[Path, typer.Argument(help="state_dict of the published 2D U-Net (.pt), or .safetensors.")],
    package: Annotated[Path, typer.Argument(help="New folder, or new file ending in .zip.")],
    mean: Annotated[float, typer.Option(help="Mean of the training images, counts: net.mean.")],
    std: Annotated[float, typer.Option(help="Standard deviation of the training images, counts: net.std.")],
    output_scale: Annotated[
        float, typer.Option(help="What the network's output is multiplied by: outScaling of the training.")
    ] = OUTPUT_SCALE,
    offset: Annotated[
        float | None,
        typer.Option(help="Camera offset, counts: results are counts above it. Without it, results include it."),
    ] = None,
    psf: optics.Psf = None,
    psf_pixel_size: optics.PsfPixelSize = None,
    psf_z_step: optics.PsfZStep = None,
    centre_psf: optics.CentrePsf = False,
    psf_sigma: optics.PsfSigma = None,
    na: optics.Na = None,
    wavelength: optics.Wavelength = None,
    refractive_index: optics.RefractiveIndex = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size of the images, µm; required for a PSF from a file or from theory.")
    ] = None,
    name: Name = None,
    format: Format = "zoo",  # noqa: A002
    author: Authors = None,
    licence: Licence = None,
    tag: Tags = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a model package from trained PyTorch weights of the published DecoNoising or Noise2Void.

    With the PSF of its training, a network is one of DecoNoising: it gives the image before the PSF (deconvolved), and
    the denoised image is its blur. Without a PSF it only denoises (Noise2Void). Pickles of whole networks (.net) are
    refused, because loading them runs code; the message says how to save their state_dict.
    """
    with reporting(quiet):
        how = writing(format, name, author, licence, tag, overwrite, quiet)
        described: dict[str, Any] = {
            "psf": psf and [psf], "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf,
            "psf_sigma": psf_sigma, "na": na, "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        given = any(value not in (None, False) for value in described.values())
        source = psf_sources_of(**described, notice=how["notice"])[0] if given else None
        import_torch(
            weights, package, mean=mean, std=std, output_scale=output_scale, offset=offset, psf=source,
            pixel_size_um=pixel_size, **how,
        )  # fmt: skip
        print(f"OK {package} written from {weights}")


def import_torch(
    weights: str | Path,
    package: str | Path,
    *,
    mean: float,
    std: float,
    output_scale: float = OUTPUT_SCALE,
    offset: float | None = None,
    psf: PsfSource | None = None,
    pixel_size_um: float | None = None,
    credits: Credits = ANONYMOUS,  # noqa: A002
    format: str = "zoo",  # noqa: A002
    overwrite: bool = False,
    notice: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a model package from trained PyTorch weights of the published DecoNoising or Noise2Void.

    The network is the 2D U-Net of their code (``unet/model.py``, merge_mode "add", up_mode "transpose"), of any depth
    and width. As published, it sees ``(counts - mean) / std``, and its output is multiplied by `output_scale` and by
    `std` before `mean` is added.

    Parameters
    ----------
    weights : path
        A state_dict that ``torch.save`` wrote, or a .safetensors file. No pickle of a whole network is loaded.
    package : path
        A new folder, or a new file ending in .zip.
    mean, std : float
        Counts, of the training images: ``net.mean`` and ``net.std``.
    output_scale : float
        ``outScaling`` of the training.
    offset : float
        Of the camera, counts: results are counts above it. Without it, results are counts that include it.
    psf : PsfFile, PsfOptics or PsfGaussian
        Of the training (`zsd_optics.psf_source`). With it, the network gives the image before the PSF, and the denoised
        image is its blur (DecoNoising, Goncharova et al. 2020). Without it, the network denoises (Noise2Void, Krull et
        al. 2019).
    pixel_size_um : float
        Of the images. A PSF from a file or from theory needs it.
    credits : Credits
        Name, authors, licence and tags. The name is "zsd" and the file's name if not given.
    format, overwrite, notice
        As for `zsd_export.export`. `notice` also gets what makes the PSF doubtful.

    Returns
    -------
    Path
        `package`.

    Raises
    ------
    InputError
        When the file is not readable or would run code, its weights belong to another network, a number or the PSF is
        out of range, or the package exists.
    VerificationError
        When the ONNX differs from torch; nothing is written then.
    """
    weights, to = Path(weights), Destination(Path(package), format, overwrite)
    to.check()
    credited = credits.over(Credits(name_after(weights.stem)), notice)
    intensities = _intensities(mean, std, offset)
    _check_number("output_scale", output_scale, above_0=True)
    if pixel_size_um is not None:
        _check_number("pixel_size", pixel_size_um, above_0=True, unit="µm")
    kernel = None if psf is None else psf.kernel("yx", Voxel.square(pixel_size_um), 1, notice)
    try:
        network = network_of(read_state_dict(weights), kernel, output_scale)
    except InputError as error:
        raise InputError(f"{weights}: {error}", option=error.options) from None
    image = scene(network)
    normalised = ((image - image.mean()) / image.std()).astype(np.float32)
    provenance = {"mean": mean, "std": std, "output_scale": output_scale}
    foreign = Foreign(
        network, weights, "PyTorch", "Noise2Void" if psf is None else "DecoNoising", pixel_size_um=pixel_size_um,
        provenance=provenance if psf is None else provenance | {"psf": psf.to_dict()},
    )  # fmt: skip
    write_imported(to, foreign, credited, intensities, Linear(std, mean)(normalised), normalised)
    return to.path


def _intensities(mean: float, std: float, offset: float | None) -> Intensities:
    """As published, with results above the camera's offset if that is known."""
    _check_number("mean", mean)
    _check_number("std", std, above_0=True)
    if offset is not None:
        _check_number("offset", offset)
    included = offset is None
    return Intensities(
        Linear(1 / std, -mean / std), Linear(std, mean - (offset or 0.0)),
        "camera counts, offset included" if included else "camera counts above the offset",
        f"(counts - {mean:.6g}) / {std:.6g}; the same for every image: movies do not flicker; "
        + ("results include the camera's offset" if included else f"results are above an offset of {offset:.6g}"),
    )  # fmt: skip


def _check_number(option: str, value: float, *, above_0: bool = False, unit: str = "counts") -> None:
    if not math.isfinite(value) or (above_0 and value <= 0):
        expected = f"above 0{f' {unit}' * (option != 'output_scale')}" if above_0 else "a finite number of counts"
        raise InputError(f"`{option}` {value:g} must be {expected}", option=option)
