"""`zsd filter` and `zsd damp`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from zsd_optics import options
from zsd_optics.damping import DIRECTIONS, LENGTH, WIDTH, check_bar, damped_in, find_stripes, spectrum_picture
from zsd_runtime.channels import channels_of
from zsd_runtime.errors import InputError, see_info
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, Voxel, create_image, open_image, stem
from zsd_runtime.images.ome_zarr import OME_ZARR
from zsd_runtime.notices import Notice, file_notices, notices
from zsd_runtime.sizes import sized
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting

DTYPES = ("float32", "uint16")

app = command_line()


@app.command("filter")
def filter_image(
    image: Annotated[Path, typer.Argument(help="TIFF, PNG or OME-Zarr, any axes.")],
    kind: Annotated[str, typer.Option(help="gaussian, median, box, bilateral, nlm, tv, richardson-lucy or wiener.")],
    out: Annotated[Path, typer.Option(help="Folder for <stem>_<kind>, in the format of the image.")],
    sigma: Annotated[
        str | None,
        typer.Option(
            help="gaussian, bilateral: σ in pixels; ZxYX, e.g. 0.8x1.2, filters volumes; default 1, bilateral 1.5."
        ),
    ] = None,
    sigma_um: Annotated[
        str | None, typer.Option(help="gaussian, bilateral: σ in µm instead, e.g. 0.1 or 0.3x0.1.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="median, box: odd size in pixels; ZxYX, e.g. 3x5, filters volumes; default 3. nlm: size of the "
            "surroundings that are compared, pixels; default 5."
        ),
    ] = None,
    size_um: Annotated[
        str | None,
        typer.Option(help="median, box, nlm: size in µm instead; the nearest odd number of pixels is taken."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            help="bilateral, nlm, tv: in standard deviations of the noise; more is smoother; default 3, nlm 0.7, tv 1."
        ),
    ] = None,
    sigma_color: Annotated[
        float | None,
        typer.Option(help="bilateral: σ of the grey values in counts instead of --strength; the noise plays no part."),
    ] = None,
    search: Annotated[
        int | None,
        typer.Option(help="nlm: how far to either side alike surroundings are looked for, pixels; default 6."),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="richardson-lucy: more is sharper and noisier; default 20.")
    ] = None,
    grid_factor: Annotated[
        int | None, typer.Option(help="richardson-lucy: 2 halves the pixel size; default 1.")
    ] = None,
    tv: Annotated[
        float | None,
        typer.Option(help="richardson-lucy: weight of total variation, 0.01 to 0.2: smooth, with edges; default 0."),
    ] = None,
    noise_ratio: Annotated[
        float | None, typer.Option(help="wiener: power of noise over object; more is smoother; default 0.01.")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="Camera offset, counts; default: estimated.")] = None,
    gain: Annotated[
        float | None,
        typer.Option(
            help="bilateral, nlm, tv: counts per photo-electron, with --offset and --read-noise; default: estimated."
        ),
    ] = None,
    read_noise: Annotated[
        float | None, typer.Option(help="bilateral, nlm, tv: read noise, counts, with both others; default: estimated.")
    ] = None,
    psf: options.Psf = None,
    psf_pixel_size: options.PsfPixelSize = None,
    psf_z_step: options.PsfZStep = None,
    centre_psf: options.CentrePsf = False,
    psf_sigma: options.PsfSigma = None,
    na: options.Na = None,
    wavelength: options.Wavelength = None,
    refractive_index: options.RefractiveIndex = None,
    pixel_size: options.PixelSize = None,
    z_step: options.ZStep = None,
    dtype: Annotated[str, typer.Option(help="float32, or uint16 (rounded, clipped at 0 and 65535).")] = "float32",
    axes: options.Axes = None,
    series: options.Series = None,
    quiet: Quiet = False,
) -> None:
    """Filter an image with a classical method, without training.

    gaussian, median, box and bilateral filter each plane by itself, or volumes if the size has a number for Z. nlm
    (non-local means) and tv (total variation) filter each plane. bilateral, nlm and tv measure the noise of the image
    and allow for photon noise. richardson-lucy and wiener deconvolve with a PSF (--psf, --na or --psf-sigma), volumes
    if the image has Z; their results are counts above the camera offset. Memory does not grow with the number of
    slices, unless volumes are deconvolved.
    """
    with reporting(quiet):
        from zsd_optics import filter_kinds
        from zsd_optics.dimensions import check_dimensions
        from zsd_optics.planewise import apply
        from zsd_optics.psf_options import WHOLE, psf_sources_of

        chosen: dict[str, Any] = {
            "sigma": sigma, "sigma_um": sigma_um, "size": size, "size_um": size_um, "strength": strength,
            "sigma_color": sigma_color, "search": search, "iterations": iterations, "grid_factor": grid_factor,
            "tv": tv, "noise_ratio": noise_ratio, "offset": offset, "gain": gain, "read_noise": read_noise,
            "psf": psf, "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf or None,
            "psf_sigma": psf_sigma, "na": na, "wavelength": wavelength, "refractive_index": refractive_index,
        }  # fmt: skip
        given = {option: value for option, value in chosen.items() if value is not None}
        if dtype not in DTYPES:
            raise InputError(f"--dtype {dtype} must be one of {', '.join(DTYPES)}")
        filter_kinds.check_settings(kind, given)
        notice = notices(quiet)
        source = _opened(image, axes, series, Voxel.square(pixel_size, z_step), notice)
        if filter_kinds.deconvolves(kind):
            channels = channels_of(source)
            (described,) = psf_sources_of(
                channels if len(channels) == 1 else WHOLE,
                psf=None if psf is None else [psf], psf_pixel_size=psf_pixel_size, psf_z_step=psf_z_step,
                centre_psf=centre_psf, psf_sigma=psf_sigma, na=na, wavelength=wavelength,
                refractive_index=refractive_index, notice=notice,
            )  # fmt: skip
            slices = source.data.shape[-3] if "Z" in source.axes else 1
            volume_options = {} if z_step is None else {"z_step": z_step}
            check_dimensions(image, source, "ZYX" if slices > 1 else "YX", axes, described, volume_options, notice)
            voxel = Voxel.square(source.voxel.pixel_size_um(str(image)), source.voxel.z_um)
            kernel = described.kernel("zyx" if slices > 1 else "yx", voxel, grid_factor or 1, notice)
            dark = filter_kinds.estimated_noise(source).offset if offset is None else offset
            method = filter_kinds.deconvolution(kind, given, kernel, dark)
            note = f"; {dark:.5g} counts of offset subtracted"
        else:
            if z_step is not None and "Z" not in source.axes:
                raise InputError(
                    f"`z_step` {z_step:g} is for volumes, and {image} has axes {source.axes}",
                    "leave it out, or name the axes of slices with `axes`", option=("z_step", "axes"),
                )  # fmt: skip
            method, note = filter_kinds.denoiser(kind, given, source, notice), ""
        if method.volumes and "Z" not in source.axes:
            frames = f", or say `axes` {source.axes.replace('T', 'Z')} if its frames are slices" * ("T" in source.axes)
            raise InputError(
                f"{image} has axes {source.axes} and no slices",
                f"give one number, for planes{frames}; {see_info(image)}", option="axes",
            )  # fmt: skip
        shape = (*source.data.shape[:-2], *(method.grid_factor * n for n in source.data.shape[-2:]))
        path = out / f"{stem(image)}_{kind}{'.zarr' if OME_ZARR.recognises(image) else '.tif'}"
        fine = (method.grid_factor,) * 2
        with create_image(path, source.resized(shape, dtype), fine) as target, progress_bar(image.name, quiet) as bar:
            apply(source, target, method, bar)
        print(f"OK {path} written{note}")


@app.command()
def damp(
    image: Annotated[Path, typer.Argument(help="TIFF, PNG or OME-Zarr, any axes, any size: a deconvolved volume.")],
    out: Annotated[Path, typer.Argument(help="New image, .tif or .zarr; uint8 and uint16 stay, else float32.")],
    stripes: Annotated[
        str, typer.Option(help="auto (changes nothing unless it finds stripes), horizontal or vertical.")
    ] = "auto",
    width: Annotated[
        int, typer.Option(help="Width of the damped bar: columns of the spectrum to either side of the middle one.")
    ] = WIDTH,
    length: Annotated[
        float, typer.Option(help="Length of the bar: share of the rows, finest first; 0.88: periods of 2 to 17 pixels.")
    ] = LENGTH,
    spectrum: Annotated[
        Path | None, typer.Option(help="PNG of the spectrum, before | after: stripes are a line through its middle.")
    ] = None,
    axes: options.Axes = None,
    series: options.Series = None,
    quiet: Quiet = False,
) -> None:
    """Remove light-sheet stripes from an image by Fourier damping.

    Planes are damped one by one: memory does not grow with the volume. The mean of each plane is kept.
    """
    with reporting(quiet):
        from zsd_optics.filters import Filter
        from zsd_optics.planewise import apply, sample_planes

        if stripes not in ("auto", *DIRECTIONS):
            raise InputError(f"--stripes {stripes} must be auto, {' or '.join(DIRECTIONS)}")
        if out.suffix.lower() not in (".tif", ".tiff", ".zarr"):
            raise InputError(f"the new image {out} must end in .tif or .zarr")
        if out.resolve() == image.resolve():
            raise InputError(f"the result would replace {image}: give another name")
        source = _opened(image, axes, series, Voxel(), notices(quiet))
        check_bar(source.data.shape[-2:], width, length)
        found = find_stripes(sample_planes(source), length) if stripes == "auto" else (stripes,)
        without_stripes = partial(damped_in, directions=found, width=width, length=length)
        dtype = source.data.dtype.name if source.data.dtype in (np.uint8, np.uint16) else "float32"
        made = source.resized(source.data.shape, dtype)
        with create_image(out, made) as target, progress_bar(image.name, quiet) as bar:
            apply(source, target, Filter(without_stripes), bar)
        if spectrum:
            import imageio.v3 as iio

            picture = spectrum_picture(sample_planes(source), map(without_stripes, sample_planes(source)))
            with written_whole(spectrum) as temporary:
                iio.imwrite(temporary, picture, extension=".png")
        outcome = f"{' and '.join(found)} stripes damped" if found else "no stripes were found, and nothing was changed"
        print(f"OK {out} written: {outcome}")


def _opened(path: Path, axes: str | None, series: int | None, typed: Voxel, notice: Notice) -> Image:
    """The image, with the voxel size that is `typed` in place of the file's; its notices are said."""
    image = open_image(path, axes, series)
    file_notices([(path, image.description.notices)], notice)
    return sized(image, path, typed, notice)
