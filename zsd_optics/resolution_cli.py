"""`zsd resolution`."""

import json
import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_optics.options import Axes, Channels, KeepHotPixels, PixelSize, Series, ZStep
from zsd_runtime.channels import channels_of, choose, named, only
from zsd_runtime.corrections.corrected import Corrected, corrections_of
from zsd_runtime.corrections.corrected import notice as notice_of
from zsd_runtime.errors import InputError, see_info
from zsd_runtime.files import written_whole
from zsd_runtime.images import Voxel, open_image, read_box
from zsd_runtime.notices import Notice, file_notices, notices, with_flags
from zsd_runtime.sizes import sized
from zsd_runtime.terminal import Quiet, command_line, reporting

if TYPE_CHECKING:
    from zsd_optics.resolution import Decorrelation, RingCorrelation

DECORRELATION, ONE_IMAGE, TWO_IMAGES = "decorrelation", "FRC, one image", "FRC, two images"
Scene = tuple[NDArray[np.generic], Voxel]

app = command_line()


@app.command()
def resolution(
    image: Annotated[Path, typer.Argument(help="One plane or one volume; of a movie, with --frame.")],
    other: Annotated[
        Path | None, typer.Option("--with", help="Another exposure of the same scene: the FRC of the two.")
    ] = None,
    frame: Annotated[int | None, typer.Option(help="Which plane of a movie or a stack, from 0.")] = None,
    with_frame: Annotated[int | None, typer.Option(help="Which plane of --with; default: --frame.")] = None,
    threshold: Annotated[
        str, typer.Option(help="1/7, 3-sigma, half-bit or one-bit: below it, a correlation counts as none.")
    ] = "1/7",
    plot: Annotated[Path | None, typer.Option(help="PNG of the curves.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    axes: Axes = None,
    series: Series = None,
    channels: Channels = None,
    keep_hot_pixels: KeepHotPixels = False,
    quiet: Quiet = False,
) -> None:
    """How fine a detail an image shows, without a truth.

    FRC (Fourier ring correlation): up to which frequency two exposures of a scene agree; of one raw image, the halves
    of its photo-electrons. Decorrelation analysis: up to which frequency the spectrum of an image has structure; of
    volumes, the slice with the most contrast. FRC is for raw images: a denoised image has no independent noise. Hot
    pixels of integer images are replaced first, those of float images (results) are kept.
    """
    with reporting(quiet):
        from zsd_optics.resolution import decorrelation_analysis, fourier_ring_correlation

        typed, notice = Voxel.square(pixel_size, z_step), notices(quiet)
        chosen: dict[str, Any] = {
            "axes": axes,
            "series": series,
            "channels": channels,
            "keep_hot": keep_hot_pixels,
        }
        if plot and plot.suffix.lower() != ".png":
            raise InputError(f"`plot` {plot} must end in .png", option="plot")
        if with_frame is not None and other is None:
            raise InputError("`with_frame` needs a second image", "give it with `with`", option=("with_frame", "with"))
        counts, voxel = _scene(image, frame, typed, notice, **chosen)
        sizes: dict[str, Any] = {"pixel_size_um": voxel.pixel_size_um(str(image))}
        plane = counts if counts.ndim == 2 else counts[int(counts.var(axis=(1, 2), dtype=np.float64).argmax())]
        results: dict[str, Decorrelation | RingCorrelation] = {
            DECORRELATION: decorrelation_analysis(plane, **sizes),
        }
        sizes |= {"z_step_um": voxel.z_um if sizes["pixel_size_um"] else None, "threshold": threshold}
        missing = ""
        if other is None:
            try:
                results[ONE_IMAGE] = _of_one(counts, sizes)
            except InputError as error:
                if "threshold" in error.options:
                    raise
                missing = f"no FRC of this image alone: {with_flags(str(error))}"
        else:
            second, _ = _scene(other, frame if with_frame is None else with_frame, typed, notice, **chosen)
            results[TWO_IMAGES] = fourier_ring_correlation(counts, second, **sizes)
        if plot:
            _draw(plot, results)
        if as_json:
            print(json.dumps({"image": str(image), **_values(results), "missing": missing}, indent=1))
            return
        if not quiet:
            for name, result in results.items():
                print(f"{name:<16} {_text(result)}{f': {result.reason}' * bool(result.reason)}")
            if missing:
                print(f"notice: {missing}", file=sys.stderr)
        print("OK " + "; ".join(f"{name} {_text(result)}" for name, result in results.items()))


def _scene(
    path: Path,
    frame: int | None,
    typed: Voxel,
    notice: Notice,
    *,
    axes: str | None,
    series: int | None,
    channels: str | None,
    keep_hot: bool,
) -> Scene:
    """One plane (Y, X) or volume (Z, Y, X) of a file, hot pixels replaced, with its voxel size."""
    image = open_image(path, axes, series)
    file_notices([(path, image.description.notices)], notice)
    image = sized(image, path, typed, notice)
    found = channels_of(image)
    if channels is not None:
        found = choose(channels, found, "channels", str(path))
    if len(found) > 1:
        raise InputError(
            f"{path} has {len(found)} channels, {named(found)}, and one has a resolution", "choose it with `channels`",
            option="channels",
        )  # fmt: skip
    if "C" in image.axes:
        image = only(image, found)
    leading = {axis: n for axis, n in zip(image.axes[:-2], image.data.shape, strict=False) if n > 1}
    planes = int(np.prod(list(leading.values())))
    if frame is None and set(leading) - {"Z"}:
        raise InputError(
            f"{path} has {planes} planes (axes {image.axes})",
            f"choose one with `frame`, 0 to {planes - 1}, or say `axes` if they are slices; {see_info(path)}",
            option=("frame", "axes"),
        )
    if frame is not None and not 0 <= frame < planes:
        raise InputError(f"`frame` {frame} must be 0 to {planes - 1}: {path} has {planes} planes", option="frame")
    whole = np.asarray(read_box(image.data, tuple(slice(0, n) for n in image.data.shape), str(path)))
    planes_of = whole.reshape(-1, *whole.shape[-2:])
    array = planes_of[frame or 0] if frame is not None or planes == 1 else planes_of
    # Fine detail of a result without noise looks like hot pixels; results are float.
    keep = keep_hot or array.dtype.kind == "f"
    corrected = Corrected(array[None], corrections_of(keep_hot_pixels=keep), volumes=array.ndim == 3, name=str(path))
    if said := notice_of(corrected.counts, array.size, []):
        notice(said)
    return np.asarray(corrected[0]), image.voxel


def _of_one(counts: NDArray[np.generic], sizes: dict[str, Any]) -> "RingCorrelation":
    from zsd_optics.noise import MOST_FRAMES, estimate_noise
    from zsd_optics.resolution import single_image_correlation

    planes = counts[None] if counts.ndim == 2 else counts
    step = -(-len(planes) // MOST_FRAMES)
    return single_image_correlation(counts, estimate_noise([p.astype(np.float64) for p in planes[::step]]), **sizes)


def _text(result: "Decorrelation | RingCorrelation") -> str:
    if not isfinite(result.resolution_px):
        return "none"
    um = result.resolution_um
    return f"{result.resolution_px:.3g} px" + ("" if um is None else f", {1000 * um:.0f} nm")


def _values(results: "dict[str, Decorrelation | RingCorrelation]") -> dict[str, Any]:
    names = {DECORRELATION: "decorrelation", ONE_IMAGE: "frc_one_image", TWO_IMAGES: "frc_two_images"}
    values = {}
    for name, result in results.items():
        known = isfinite(result.resolution_px)
        um = result.resolution_um
        values[names[name]] = {
            "resolution_px": result.resolution_px if known else None,
            "resolution_nm": 1000 * um if known and um is not None else None,
            "reason": result.reason,
        }
    return values


def _draw(path: Path, results: "dict[str, Decorrelation | RingCorrelation]") -> None:
    import imageio.v3 as iio

    from zsd_optics.resolution_picture import resolution_picture

    with written_whole(path) as temporary:
        iio.imwrite(temporary, resolution_picture(list(results.items())), extension=".png")
