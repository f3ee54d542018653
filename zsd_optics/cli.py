"""`zsd simulate`, `noise` and `evaluate`."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from zsd_optics.inputs import open_images
from zsd_optics.options import Axes, Channels, Dark, GainMap, RemoveLines, Series
from zsd_runtime.corrections.corrected import Corrected, corrections_of
from zsd_runtime.corrections.corrected import notice as notice_of
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import Image, Voxel, images_in, read_image, write_image
from zsd_runtime.notices import notices, with_flags
from zsd_runtime.sizes import names_text
from zsd_runtime.terminal import Quiet, command_line, numbers, reporting

SIMULATED = {"2d": (512, 512), "3d": (64, 256, 256), "sim": (256, 256), "sim3d": (12, 128, 128)}
Z_STEP_UM = {"3d": 0.3, "sim3d": 0.125}

app = command_line()


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for noisy.tif, clean.tif, truth.tif, psf.tif and others.")],
    kind: Annotated[
        str,
        typer.Option(
            help="2d (an image), 3d (a volume), sim or sim3d: raw frames of structured illumination, 3 directions of 3 "
            "phases, or of volumes of 5."
        ),
    ] = "2d",
    size: Annotated[
        str | None,
        typer.Option(help="[Zx]YxX, raw pixels; default 512x512, 64x256x256, 256x256 (sim) or 12x128x128 (sim3d)."),
    ] = None,
    sample: Annotated[
        str,
        typer.Option(
            help="cell (filaments, vesicles and haze), filaments, fibres, mitochondria, points, vesicles, "
            "hollow-vesicles, nuclei, membranes, tissue, meshwork, cells, leaves, or mixed (some of the first nine)."
        ),
    ] = "cell",
    photons: Annotated[float, typer.Option(help="Photo-electrons in the brightest raw pixel.")] = 30.0,
    gain: Annotated[float, typer.Option(help="Counts per photo-electron.")] = 1.0,
    offset: Annotated[float, typer.Option(help="Camera offset, counts.")] = 100.0,
    read_noise: Annotated[float, typer.Option(help="Standard deviation of the read noise, counts.")] = 2.0,
    na: Annotated[float, typer.Option("--na", help="Numerical aperture.")] = 1.4,
    wavelength: Annotated[float, typer.Option(help="Emission wavelength, nm.")] = 525.0,
    refractive_index: Annotated[float, typer.Option(help="Refractive index of immersion and sample.")] = 1.515,
    pixel_size: Annotated[float, typer.Option(help="Size of a raw pixel, µm.")] = 0.0626,
    z_step: Annotated[
        float | None, typer.Option(help="Distance between the slices of a volume, µm; default 0.3, of sim3d 0.125.")
    ] = None,
    sheet_thickness: Annotated[
        float | None, typer.Option(help="3d: FWHM of a light sheet, µm; default: the whole volume is lit.")
    ] = None,
    spacing: Annotated[float | None, typer.Option(help="sim: period of the finest stripes, nm; default 200.")] = None,
    modulation: Annotated[
        float | None, typer.Option(help="sim: contrast of the finest stripes, 0 to 1; default 0.8.")
    ] = None,
    excitation: Annotated[
        float | None, typer.Option(help="sim3d: wavelength of the excitation, nm; default 488.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate a noisy image with its truth: a sample through a microscope onto a camera.

    truth.tif and psf.tif are on a grid twice as fine. Of sim and sim3d, noisy.tif and clean.tif are raw frames, and
    parameters.json, otf.tif and psf.tif are those of a reconstruction.
    """
    with reporting(quiet):
        from zsd_optics.simulate import GRID_FACTOR, Camera
        from zsd_optics.simulate import simulate as make

        if kind not in SIMULATED:
            raise InputError(f"--kind {kind} must be {' or '.join(SIMULATED)}")
        shape = numbers(size, "--size") or SIMULATED[kind]
        if len(shape) != len(SIMULATED[kind]):
            raise InputError(f"--size {size} has {len(shape)} numbers; --kind {kind} has {len(SIMULATED[kind])}")
        common: dict[str, Any] = {
            "sample": sample, "photons": photons, "camera": Camera(offset, gain, read_noise), "na": na,
            "wavelength_nm": wavelength, "refractive_index": refractive_index, "pixel_size_um": pixel_size,
            "z_step_um": z_step or Z_STEP_UM.get(kind, 0.3), "seed": seed,
        }  # fmt: skip
        stripes = {"spacing": spacing, "modulation": modulation, "excitation": excitation}
        if sheet_thickness is not None and kind != "3d":
            raise InputError(
                f"`sheet_thickness` {sheet_thickness:g} is for `kind` 3d", "leave it out",
                option=("sheet_thickness", "kind"),
            )  # fmt: skip
        if kind.startswith("sim"):
            from zsd_optics.sim.simulate import illumination_of, simulate_sim
            from zsd_optics.sim.simulation_files import write_simulation

            lit = illumination_of(len(shape), **stripes)
            write_simulation(simulate_sim(shape, illumination=lit, **common), out)
            print(f"OK simulated {size_text(shape)} in {out}")
            return
        for option, value in stripes.items():
            if value is not None:
                raise InputError(f"`{option}` {value:g} is for `kind` sim", "leave it out", option=(option, "kind"))
        result = make(shape, sheet_um=sheet_thickness, **common)
        fine = pixel_size / GRID_FACTOR
        for name, data, pixel in (
            ("noisy", result.noisy, pixel_size),
            ("clean", result.clean, pixel_size),
            ("truth", result.truth, fine),
            ("psf", result.psf.astype(np.float32), fine),
        ):
            voxel = Voxel.square(pixel, result.z_step_um)
            write_image(out / f"{name}.tif", Image(data, "ZYX"[-data.ndim :], voxel))
        print(f"OK simulated {size_text(shape)} in {out}")


@app.command()
def noise(
    images: Annotated[
        list[Path], typer.Argument(help="Images taken with the same camera settings, or folders of them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    axes: Axes = None,
    series: Series = None,
    channels: Channels = None,
    remove_lines: RemoveLines = None,
    dark: Dark = None,
    gain_map: GainMap = None,
    quiet: Quiet = False,
) -> None:
    """Estimate camera offset, gain and read noise from images.

    Images determine the line variance = gain · counts + constant. The offset is the level of the darkest part. If no
    part of the image is dark, the offset includes background and the read noise includes the shot noise of it.
    """
    with reporting(quiet):
        from zsd_optics.measured_planes import measured_planes
        from zsd_optics.noise import estimate_noise

        opened = open_images(images_in(images), axes, series=series, channels=channels, notice=notices(quiet))
        if len(opened.chosen) > 1:
            raise InputError(f"`channels` {channels} are several", "estimate one at a time", option="channels")
        corrections = corrections_of(remove_lines=remove_lines, dark=dark, gain_map=gain_map)
        counts = [
            Corrected(array[None], corrections, volumes=array.ndim == 3, name=names_text(opened.paths))
            for array in opened.arrays(notice=notices(quiet))
        ]
        total = sum((image.counts for image in counts), Counter[str]())
        blank = [number for number, image in enumerate(counts, 1) if len(image.blank) == prod(image.shape[:-2])]
        if found := notice_of(total, sum(prod(image.shape) for image in counts), blank):
            notices(quiet)(found)
        looked_at = measured_planes(counts)
        if not looked_at:
            raise InputError(f"{names_text(opened.paths)} holds only blank images", "give one with light")
        model = estimate_noise([plane for plane, _ in looked_at], [measured for _, measured in looked_at])
        if as_json:
            measured = asdict(model) | {
                "read_noise": model.read_noise, "next_pixel": model.next_pixel, "reach": model.reach,
            }  # fmt: skip
            print(json.dumps(measured | {"warnings": [with_flags(text) for text in model.warnings]}, indent=1))
            return
        print(f"gain        {model.gain:.4g} ± {model.gain_error:.2g} counts per photo-electron")
        print(f"offset      {model.offset:.5g} ± {model.offset_error:.2g} counts (level of the darkest part)")
        print(f"read noise  {model.read_noise:.3g} counts (standard deviation at that level)")
        print(f"variance    {model.gain:.4g} · counts {model.constant:+.5g} counts² (± {model.constant_error:.2g})")
        if model.next_pixel:
            along = ", ".join(f"{value:.2f} along {axis}" for axis, value in model.next_pixel.items())
            print(f"correlation {along} (of the noise of a pixel with that of the next)")
        if any(model.reach):
            rows, columns = (2 * n + 1 for n in model.reach)
            print(f"blind spot  {rows}x{columns} pixels (that --scheme blind-spot and noise2void replace together)")
        for name, size in (
            ("row noise", model.row_noise), ("col. noise", model.column_noise), ("fixed", model.fixed_pattern)
        ):  # fmt: skip
            if size:
                print(f"{name:<11} {size:.3g} counts (standard deviation; not part of the variance)")
        for text in () if quiet else model.warnings:
            print(f"warning: {with_flags(text)}", file=sys.stderr)
        print(f"OK {with_flags(model.message)}")


@app.command()
def evaluate(
    image: Annotated[Path, typer.Argument(help="The image to evaluate.")],
    truth: Annotated[Path, typer.Option(help="The true image, on the same grid.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    axes: Axes = None,
    quiet: Quiet = False,
) -> None:
    """PSNR, SSIM and NRMSE against a truth, after a linear fit of the image to it."""
    with reporting(quiet):
        from zsd_optics.metrics import evaluate as compare

        scores = compare(read_image(image, axes).data, read_image(truth, axes).data)
        if as_json:
            print(json.dumps(asdict(scores), indent=1))
            return
        print(f"OK PSNR {scores.psnr:.2f} dB  SSIM {scores.ssim:.4f}  NRMSE {scores.nrmse:.4f}")
