"""`zsd train`."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_optics.inputs import agreed, open_images
from zsd_optics.options import Axes
from zsd_optics.psf_source import psf_source_of
from zsd_runtime.cli import Quiet, command_line, progress_bar, reporting
from zsd_runtime.images import Voxel

app = command_line()


@app.command()
def train(
    images: Annotated[list[Path], typer.Argument(help="Noisy images of one kind; T are more images, Z makes volumes.")],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    psf: Annotated[Path | None, typer.Option(help="PSF as TIFF: 3D for volumes; of planes the focal plane.")] = None,
    psf_pixel_size: Annotated[float | None, typer.Option(help="Of the PSF, µm; from the file if it says.")] = None,
    psf_z_step: Annotated[float | None, typer.Option(help="Of a 3D PSF, µm; from the file if it says.")] = None,
    centre_psf: Annotated[bool, typer.Option("--centre-psf", help="Accept an even-sized or off-centre PSF.")] = False,
    psf_sigma: Annotated[
        str | None, typer.Option(help="Gaussian PSF instead: its σ in raw pixels, for volumes ZxYX, e.g. 1.5x1.1.")
    ] = None,
    na: Annotated[float | None, typer.Option("--na", help="Generate the PSF instead: numerical aperture.")] = None,
    wavelength: Annotated[float | None, typer.Option(help="… emission wavelength, nm.")] = None,
    refractive_index: Annotated[float, typer.Option(help="… of immersion and sample.")] = 1.515,
    pixel_size: Annotated[float | None, typer.Option(help="Raw pixel, µm; from the image if it says.")] = None,
    z_step: Annotated[float | None, typer.Option(help="Distance of slices, µm; from the image if it says.")] = None,
    preset: Annotated[str | None, typer.Option(help="compact (default) or reference (published widths).")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any key of TrainConfig.")] = None,
    scheme: Annotated[
        str | None, typer.Option(help="auto, recorrupt, or odd-even (slices of volumes): how pairs are made.")
    ] = None,
    slices: Annotated[int | None, typer.Option(help="Of a volume that a patch holds.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time budget; if none is given 4, for volumes 15.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps instead: repeatable.")] = None,
    offset: Annotated[float | None, typer.Option(help="Camera offset, counts; estimated if not given.")] = None,
    gain: Annotated[float | None, typer.Option(help="Counts per photo-electron; estimated if not given.")] = None,
    read_noise: Annotated[float | None, typer.Option(help="Counts; estimated if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, patches and noise.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    axes: Axes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on noisy images alone. Ctrl-C saves the run; --resume goes on with it."""
    with reporting(quiet):
        from zsd_train.config import make_config, read_config
        from zsd_train.fit import Progress
        from zsd_train.training import Interrupted
        from zsd_train.training import train as run

        options = {
            "preset": preset, "scheme": scheme, "slices": slices, "minutes": minutes, "steps": steps, "offset": offset,
            "gain": gain, "read_noise": read_noise, "seed": seed, "device": device,
        }  # fmt: skip
        given = {key: value for key, value in options.items() if value is not None}
        opened, image_voxel = open_images(images, axes)
        image_axes = "zyx"[-opened[0].ndim :]
        chosen = make_config(**({"axes": image_axes} | (read_config(config) if config else {}) | given))
        voxel = Voxel.square(
            agreed(pixel_size, image_voxel.x_um, "pixel_size", str(images[0])),
            agreed(z_step, image_voxel.z_um, "z_step", str(images[0])) if image_axes == "zyx" else None,
        )
        psf_source = psf_source_of(
            psf=psf, psf_pixel_size=psf_pixel_size, psf_z_step=psf_z_step, centre_psf=centre_psf, psf_sigma=psf_sigma,
            na=na, wavelength=wavelength, refractive_index=refractive_index,
        )  # fmt: skip
        kernel = psf_source.kernel(image_axes, voxel, chosen.network.grid_factor)
        with progress_bar("training", quiet) as bar:

            def report(p: Progress) -> None:
                bar(p.fraction, str(p), bool(p.message))

            try:
                result = run(
                    opened, kernel, chosen, out, pixel_size_um=voxel.x_um, z_step_um=voxel.z_um, resume=resume,
                    report=report,
                )  # fmt: skip
            except Interrupted as error:
                print(f"{'ERROR ' * quiet}{error}")
                raise typer.Exit(1) from None
        print(f"OK {result.measured.stopped}; {out}")
