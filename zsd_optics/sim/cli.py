"""`zsd sim reconstruct | show`."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_optics.options import Axes, KeepHotPixels, PixelSize, Series, ZStep
from zsd_optics.sim import options
from zsd_runtime.errors import InputError
from zsd_runtime.notices import notices
from zsd_runtime.terminal import Quiet, command_line, flag, progress_bar, reporting

app = command_line()
verbs = typer.Typer(
    no_args_is_help=True,
    help="Structured illumination: from raw frames to a super-resolved image, and how far to trust it.",
)
app.add_typer(verbs, name="sim")

Raw = Annotated[Path, typer.Argument(help="A file with all raw frames: TIFF, MRC, DV and others.")]


@verbs.command("reconstruct")
def reconstruct_files(
    raw: Annotated[
        list[Path],
        typer.Argument(
            help="Files with all raw frames (TIFF, MRC, DV and others; also movies), or folders of these or of frames."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for <stem>_sim.tif, parameters.json and otf.tif.")],
    otf: options.Otf = None,
    na: options.Na = None,
    wavelength: options.Wavelength = None,
    refractive_index: options.RefractiveIndex = None,
    excitation: options.Excitation = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    directions: options.Directions = None,
    phases: options.Phases = None,
    slices: options.Slices = None,
    order: options.Order = None,
    spacing: options.Spacing = None,
    angles: options.Angles = None,
    parameters: options.Parameters = None,
    each: options.Each = False,
    wiener: options.Wiener = None,
    notch: options.Notch = None,
    offset: options.Offset = None,
    axes: Axes = None,
    series: Series = None,
    keep_hot_pixels: KeepHotPixels = False,
    quiet: Quiet = False,
) -> None:
    """Reconstruct raw SIM frames, without training.

    Results have half the pixel size and are counts above the camera offset. The table has, for each direction, the
    angle of the wave vector (rad), the spacing of the finest stripes (nm), and for each order the modulation (1 is
    best, below 0.25 is poor) and the trust: how far the stripes show above the background; below 6 is doubtful.
    Failures are reported; the remaining files are still processed. Results of an earlier run are replaced.
    """
    with reporting(quiet):
        from zsd_optics.sim.described import SimOptions
        from zsd_optics.sim.folders import raw_files
        from zsd_optics.sim.reconstruct import Written, reconstruct_file, table
        from zsd_runtime.batch import check_names

        said = SimOptions(
            otf, na, wavelength, refractive_index, excitation, pixel_size, z_step, directions, phases, slices, order,
            spacing, angles, parameters, offset, wiener, notch, axes, series, keep_hot_pixels,
        )  # fmt: skip
        paths, notice = raw_files(raw, said), notices(quiet)
        check_names(paths, ["sim"], out)
        done: list[Written] = []
        failures: list[InputError] = []
        for path in paths:
            with progress_bar(path.name, quiet) as bar:
                try:
                    shared = done[0].first if done and not each else None
                    written = reconstruct_file(path, said, out, shared, each=each, notice=notice, bar=bar)
                except InputError as error:
                    if len(paths) == 1:
                        raise
                    failures.append(error)
                    bar(0, f"error: {path.name}: {error.message(flag)}", milestone=True)
                    continue
            if not quiet and (each or not done):
                print(table(written.first.parameters))
            done.append(written)
        if failures:
            raise InputError(
                f"{len(failures)} of {len(paths)} files failed; one of them: {failures[0]}", option=failures[0].options
            )
        p = done[0].first.parameters
        print(
            f"OK {len(done)} file{'s' * (len(done) > 1)} reconstructed in {out} (trust {p.least_trust:.1f}, "
            f"w {p.wiener:.3g}, offset {p.offset:.5g})"
        )


@verbs.command()
def show(
    raw: Raw,
    out: Annotated[Path, typer.Option(help="Picture to write, PNG.")],
    otf: options.Otf = None,
    na: options.Na = None,
    wavelength: options.Wavelength = None,
    refractive_index: options.RefractiveIndex = None,
    excitation: options.Excitation = None,
    pixel_size: PixelSize = None,
    z_step: ZStep = None,
    directions: options.Directions = None,
    phases: options.Phases = None,
    slices: options.Slices = None,
    order: options.Order = None,
    spacing: options.Spacing = None,
    angles: options.Angles = None,
    parameters: options.Parameters = None,
    wiener: options.Wiener = None,
    notch: options.Notch = None,
    offset: options.Offset = None,
    axes: Axes = None,
    series: Series = None,
    keep_hot_pixels: KeepHotPixels = False,
    quiet: Quiet = False,
) -> None:
    """Draw what was found in raw SIM frames, and what the reconstruction makes of it.

    Of each direction: how alike the bands are over the wave vector that separates them, with the peak that was found.
    Below: widefield, reconstruction, and the spectrum of the reconstruction. Of a movie, the first time point.
    """
    with reporting(quiet):
        import imageio.v3 as iio

        from zsd_optics.sim.described import SimOptions
        from zsd_optics.sim.picture import sim_picture
        from zsd_optics.sim.reconstruct import table
        from zsd_optics.sim.sources import open_acquisition
        from zsd_runtime.files import written_whole

        if out.suffix.lower() != ".png":
            raise InputError(f"`out` {out} must end in .png", option="out")
        said = SimOptions(
            otf, na, wavelength, refractive_index, excitation, pixel_size, z_step, directions, phases, slices, order,
            spacing, angles, parameters, offset, wiener, notch, axes, series, keep_hot_pixels,
        )  # fmt: skip
        opened = open_acquisition(raw, said, notice=notices(quiet))
        first = opened.acquisitions[0]
        with written_whole(out) as temporary:
            iio.imwrite(temporary, sim_picture(first, raw.name), extension=".png")
        if not quiet:
            print(table(first.sim.parameters))
        print(f"OK {out} written (trust {first.sim.parameters.least_trust:.1f})")
