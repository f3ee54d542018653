"""`zsd filter` and `zsd damp`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from zsd_runtime.sizes import lengths, required, sized
from zsd_runtime.terminal import Quiet, command_line, progress_bar, reporting

if TYPE_CHECKING:
    from zsd_optics.filters import Filter

# The options that not every kind takes.
PSF = (
    "psf", "psf_pixel_size", "psf_z_step", "centre_psf", "psf_sigma", "na", "wavelength", "refractive_index", "offset",
)  # fmt: skip
KINDS = {
    "gaussian": ("sigma", "sigma_um"),
    "median": ("size",),
    "box": ("size",),
    "richardson-lucy": (*PSF, "iterations", "grid_factor"),
    "wiener": (*PSF, "noise_ratio"),
}
DTYPES = ("float32", "uint16")

app = command_line()


@app.command("filter")
def filter_image(
    image: Annotated[Path, typer.Argument(help="TIFF, PNG or OME-Zarr, any axes.")],
    kind: Annotated[str, typer.Option(help=f"{', '.join(KINDS)}.")],
    out: Annotated[Path, typer.Option(help="Folder for <stem>_<kind>, in the format of the image.")],
    sigma: Annotated[
        str | None, typer.Option(help="gaussian: σ in pixels; ZxYX, e.g. 0.8x1.2, filters volumes; default 1.")
    ] = None,
    sigma_um: Annotated[str | None, typer.Option(help="gaussian: σ in µm instead, e.g. 0.1 or 0.3x0.1.")] = None,
    size: Annotated[
        str | None, typer.Option(help="median, box: odd size in pixels; ZxYX, e.g. 3x5, filters volumes; default 3.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="richardson-lucy: more is sharper and noisier; default 20.")
    ] = None,
    grid_factor: Annotated[
        int | None, typer.Option(help="richardson-lucy: 2 halves the pixel size; default 1.")
    ] = None,
    noise_ratio: Annotated[
        float | None, typer.Option(help="wiener: power of noise over object; more is smoother; default 0.01.")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="Camera offset, counts; default: estimated.")] = None,
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

    gaussian, median and box filter each plane by itself, or volumes if the size has a number for Z. richardson-lucy
    and wiener deconvolve with a PSF (--psf, --na or --psf-sigma), volumes if the image has Z; their results are counts
    above the camera offset. Memory does not grow with the number of slices, unless volumes are deconvolved.
    """
    with reporting(quiet):
        from zsd_optics import filters
        from zsd_optics.dimensions import check_dimensions
        from zsd_optics.planewise import apply
        from zsd_optics.psf_options import WHOLE, psf_sources_of

        chosen: dict[str, Any] = {
            "sigma": sigma, "sigma_um": sigma_um, "size": size, "psf": psf, "psf_pixel_size": psf_pixel_size,
            "psf_z_step": psf_z_step, "centre_psf": centre_psf or None, "psf_sigma": psf_sigma, "na": na,
            "wavelength": wavelength, "refractive_index": refractive_index, "offset": offset,
            "iterations": iterations, "grid_factor": grid_factor, "noise_ratio": noise_ratio,
        }  # fmt: skip
        given = {option: value for option, value in chosen.items() if value is not None}
        _check_options(kind, dtype, given)
        notice = notices(quiet)
        source = _opened(image, axes, series, Voxel.square(pixel_size, z_step), notice)
        if "psf" in KINDS[kind]:
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
            dark = _offset(source) if offset is None else offset
            if not np.isfinite(dark):
                raise InputError(f"--offset {dark:g} must be a number of counts")
            make: Callable[..., Filter] = filters.inverse_filter if kind == "wiener" else filters.iterative_filter
            method = make(kernel, dark, **{option: value for option, value in given.items() if option not in PSF})
            note = f"; {dark:.5g} counts of offset subtracted"
        else:
            if z_step is not None and "Z" not in source.axes:
                raise InputError(
                    f"`z_step` {z_step:g} is for volumes, and {image} has axes {source.axes}",
                    "leave it out, or name the axes of slices with `axes`", option=("z_step", "axes"),
                )  # fmt: skip
            method, note = _local(kind, given, source.voxel), ""
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


def _check_options(kind: str, dtype: str, given: dict[str, Any]) -> None:
    """Raise `InputError` unless the kind exists and takes the options that are given."""
    for option, value, known in (("kind", kind, KINDS), ("dtype", dtype, DTYPES)):
        if value not in known:
            raise InputError(f"--{option} {value} must be one of {', '.join(known)}")
    for option in given:
        if option not in KINDS[kind]:
            takes = ", ".join(f"`{name}`" for name in KINDS[kind])
            raise InputError(f"`{option}` is not for {kind}", f"it takes {takes}", option=(option, *KINDS[kind]))


def _local(kind: str, given: dict[str, Any], voxel: Voxel) -> "Filter":
    """A Gaussian, median or box filter."""
    from zsd_optics import filters

    if kind != "gaussian":
        make = {"median": filters.median, "box": filters.box}[kind]
        return make(*lengths(given.get("size", "3"), "size"))
    if "sigma_um" not in given:
        return filters.gaussian(*lengths(given.get("sigma", "1"), "sigma"))
    if "sigma" in given:
        raise InputError("`sigma` and `sigma_um` are both given", "give one", option=("sigma", "sigma_um"))
    *z, lateral = lengths(given["sigma_um"], "sigma_um")
    axial = [sigma / required(voxel.z_um, "z_step", "the image") for sigma in z]
    return filters.gaussian(*axial, lateral / required(voxel.pixel_size_um("the image"), "pixel_size", "the image"))


def _offset(source: Image) -> float:
    """The camera offset, counts, estimated from some planes."""
    from zsd_optics.noise import estimate_noise
    from zsd_optics.planewise import sample_planes

    return estimate_noise([plane.astype(np.float64) for plane in sample_planes(source)]).offset
