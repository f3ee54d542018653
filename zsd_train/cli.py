"""`zsd simulate`, `noise`, `train` and `evaluate`."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from zsd_runtime.cli import Quiet, command_line, numbers, progress_bar, told
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import Image, check_array, open_image, read_image, write_image

SIMULATED = {"2d": (512, 512), "3d": (64, 256, 256)}
GENERATED_REACH_UM = 2.0  # of a PSF along Z: light from further away is spread too thin to count

app = command_line()
Axes = Annotated[str | None, typer.Option(help="Axes of the images, letters of TCZYX, overruling the files.")]


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for noisy.tif, clean.tif, truth.tif and psf.tif.")],
    kind: Annotated[str, typer.Option(help="2d, an image, or 3d, a volume.")] = "2d",
    size: Annotated[str | None, typer.Option(help="[Zx]YxX, raw pixels; 512x512, or 64x256x256, if not given.")] = None,
    photons: Annotated[float, typer.Option(help="Photo-electrons in the brightest raw pixel.")] = 30.0,
    gain: Annotated[float, typer.Option(help="Counts per photo-electron.")] = 1.0,
    offset: Annotated[float, typer.Option(help="Camera offset, counts.")] = 100.0,
    read_noise: Annotated[float, typer.Option(help="Standard deviation, counts.")] = 2.0,
    na: Annotated[float, typer.Option("--na", help="Numerical aperture.")] = 1.4,
    wavelength: Annotated[float, typer.Option(help="Emission wavelength, nm.")] = 525.0,
    refractive_index: Annotated[float, typer.Option(help="Of immersion and sample.")] = 1.515,
    pixel_size: Annotated[float, typer.Option(help="Raw pixel, µm.")] = 0.0626,
    z_step: Annotated[float, typer.Option(help="Distance of a volume's slices, µm.")] = 0.3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate a noisy image with its truth: filaments, vesicles and haze through a microscope onto a camera.

    truth.tif and psf.tif are on the grid twice as fine.
    """
    with told(quiet):
        from zsd_train.simulate import UPSAMPLE, Camera
        from zsd_train.simulate import simulate as make

        if kind not in SIMULATED:
            raise InputError(f"--kind {kind} must be {' or '.join(SIMULATED)}")
        shape = numbers(size, "--size") or SIMULATED[kind]
        if len(shape) != len(SIMULATED[kind]):
            raise InputError(f"--size {size} has {len(shape)} numbers; --kind {kind} has {len(SIMULATED[kind])}")
        result = make(
            shape, photons=photons, camera=Camera(offset, gain, read_noise), na=na, wavelength_nm=wavelength,
            refractive_index=refractive_index, pixel_size_um=pixel_size, z_step_um=z_step, seed=seed,
        )  # fmt: skip
        fine = pixel_size / UPSAMPLE
        for name, data, pixel in (
            ("noisy", result.noisy, pixel_size),
            ("clean", result.clean, pixel_size),
            ("truth", result.truth, fine),
            ("psf", result.psf.astype(np.float32), fine),
        ):
            write_image(out / f"{name}.tif", Image(data, "ZYX"[-data.ndim :], (pixel, pixel), result.z_step_um))
        print(f"OK simulated {size_text(shape)} in {out}")


@app.command()
def noise(
    images: Annotated[list[Path], typer.Argument(help="Images of one camera setting.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    axes: Axes = None,
    quiet: Quiet = False,
) -> None:
    """Estimate camera offset, gain and read noise from images.

    What images can tell for certain is the line variance = gain · counts + constant. The offset is the level of the
    darkest part; where nothing in the image is dark it includes background, and the read noise its shot noise.
    """
    with told(quiet):
        from zsd_train.frames import planes
        from zsd_train.noise import correlated_noise, estimate_noise

        model = estimate_noise(planes(open_images(images, axes)[0]))
        if as_json:
            print(json.dumps(asdict(model) | {"read_noise": model.read_noise}, indent=1))
            return
        print(f"gain        {model.gain:.4g} ± {model.gain_error:.2g} counts per photo-electron")
        print(f"offset      {model.offset:.5g} ± {model.offset_error:.2g} counts (level of the darkest part)")
        print(f"read noise  {model.read_noise:.3g} counts (standard deviation at that level)")
        print(f"variance    {model.gain:.4g} · counts {model.constant:+.5g} counts² (± {model.constant_error:.2g})")
        if model.correlated:
            print(f"warning: {correlated_noise(model.correlated)}", file=sys.stderr)
        print(f"OK {model.message}")


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
    with told(quiet):
        from zsd_train.config import make_config, read_config
        from zsd_train.train import Interrupted, Progress
        from zsd_train.train import train as run

        options = {
            "preset": preset, "scheme": scheme, "slices": slices, "minutes": minutes, "steps": steps, "offset": offset,
            "gain": gain, "read_noise": read_noise, "seed": seed, "device": device,
        }  # fmt: skip
        given = {key: value for key, value in options.items() if value is not None}
        opened, image_voxel = open_images(images, axes)
        image_axes = "zyx"[-opened[0].ndim :]
        chosen = make_config(**({"axes": image_axes} | (read_config(config) if config else {}) | given))
        voxel = VoxelSize(
            agreed(pixel_size, image_voxel.pixel_um, "--pixel-size", str(images[0])),
            agreed(z_step, image_voxel.z_step_um, "--z-step", str(images[0])) if image_axes == "zyx" else None,
        )
        kernel = _psf(
            psf, VoxelSize(psf_pixel_size, psf_z_step), centre_psf, psf_sigma, na, wavelength, refractive_index,
            voxel, image_axes, chosen.network.upsample,
        )  # fmt: skip
        with progress_bar("training", quiet) as bar:

            def report(p: Progress) -> None:
                left = f"{p.seconds_left:.0f} s left"
                numbers = f"step {p.step}, {p.steps_per_second:.1f}/s, loss {p.loss:.4f}, {left}"
                bar(p.fraction, f"{numbers}  {p.message}", bool(p.message))

            try:
                result = run(
                    opened, kernel, chosen, out, pixel_size_um=voxel.pixel_um, z_step_um=voxel.z_step_um, resume=resume,
                    report=report,
                )  # fmt: skip
            except Interrupted as error:
                print(f"{'ERROR ' * quiet}{error}")
                raise typer.Exit(1) from None
        print(f"OK {result.measured['stopped']}; {out}")


@app.command()
def evaluate(
    image: Annotated[Path, typer.Argument(help="The image to judge.")],
    truth: Annotated[Path, typer.Option(help="What it should be, on the same grid.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    axes: Axes = None,
    quiet: Quiet = False,
) -> None:
    """PSNR, SSIM and NRMSE against a truth, after the gain and offset that bring the image nearest."""
    with told(quiet):
        from zsd_train.evaluate import evaluate as compare

        scores = compare(read_image(image, axes).data, read_image(truth, axes).data)
        if as_json:
            print(json.dumps(asdict(scores), indent=1))
            return
        print(f"OK PSNR {scores.psnr:.2f} dB  SSIM {scores.ssim:.4f}  NRMSE {scores.nrmse:.4f}")


class VoxelSize(NamedTuple):
    """Of a grid, µm; None where it is not known."""

    pixel_um: float | None
    z_step_um: float | None


def open_images(paths: list[Path], axes: str | None) -> tuple[list[NDArray[np.generic]], VoxelSize]:
    """All planes (Y, X), or volumes (Z, Y, X) where there are slices, of all files; mapped where it can be."""
    images = [open_image(path, axes) for path in paths]
    depths = {image.data.shape[image.axes.index("Z")] if "Z" in image.axes else 1 for image in images}
    if 1 in depths and len(depths) > 1:
        raise InputError(f"{_names(paths)} are planes and volumes: train on one kind, or say with --axes what they are")
    spatial = "YX" if depths == {1} else "ZYX"
    for path, image in zip(paths, images, strict=True):
        if "C" in image.axes and (channels := image.data.shape[image.axes.index("C")]) > 1:
            raise InputError(f"{path} has {channels} channels: a model is for one channel; split them")
    voxels = {_voxel(image, path) for path, image in zip(paths, images, strict=True)}
    if len(voxels) > 1:
        raise InputError(f"the images have different voxel sizes ({voxels}, µm): train a model for each")
    arrays = [array for image in images for array in _arrays(image, spatial)]
    for array in arrays:
        check_array(array, _names(paths))
    return arrays, voxels.pop()


def _arrays(image: Image, spatial: str) -> list[NDArray[np.generic]]:
    """The arrays over `spatial` axes; other axes before them, and a Z of 1, are gone through."""
    if not isinstance(image.data, np.ndarray):  # decoded chunk by chunk: patches want them all, again and again
        image = replace(image, data=image.data[tuple(slice(0, n) for n in image.data.shape)])
    return [array.reshape(array.shape[-len(spatial) :]) for array in image.planes(spatial)]


def _voxel(image: Image, path: Path) -> VoxelSize:
    if image.pixel_size_um is None:
        return VoxelSize(None, image.z_step_um)
    y, x = image.pixel_size_um
    if abs(y - x) > 1e-3 * y:
        raise InputError(f"{path} has pixels of {y:g} x {x:g} µm: resample it to square ones")
    return VoxelSize(y, image.z_step_um)


def _names(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def agreed(given: float | None, found: float | None, option: str, name: str) -> float | None:
    """The size that is given, or found in the file; an error if they differ."""
    if given is not None and given <= 0:
        raise InputError(f"{option} {given:g} must be above 0 µm")
    if given and found and abs(given / found - 1) > 0.01:
        raise InputError(f"{name} says {found:g} µm, {option} says {given:g}: correct the wrong one")
    return given or found


def _psf(
    path: Path | None,
    psf_voxel: VoxelSize,
    centre: bool,
    sigma: str | None,
    na: float | None,
    wavelength: float | None,
    refractive_index: float,
    voxel: VoxelSize,
    axes: str,
    upsample: int,
) -> NDArray[np.float64]:
    """The PSF on the deconvolved grid from whichever description of it was given."""
    from zsd_train import psf as make
    from zsd_train.optics import Optics

    ways: dict[str, Any] = {"--psf": path, "--psf-sigma": sigma, "--na": na}
    chosen = [option for option, value in ways.items() if value is not None]
    if len(chosen) != 1:
        raise InputError(
            f"the PSF is given {'by ' + ' and '.join(chosen) if chosen else 'by nothing'}: "
            "give one of --psf FILE, --psf-sigma PIXELS, or --na with --wavelength"
        )
    if sigma is not None:
        return _gaussian(sigma, axes, upsample)
    if voxel.pixel_um is None:
        raise InputError("the image does not say its pixel size: give it with --pixel-size (µm), or use --psf-sigma")
    fine: tuple[float, ...] = (voxel.pixel_um / upsample,)
    if axes == "zyx":
        if voxel.z_step_um is None:
            raise InputError("the volume does not say its z step: give it with --z-step (µm), or use --psf-sigma")
        fine = (voxel.z_step_um, *fine)
    if na is not None:
        if wavelength is None:
            raise InputError("--na needs the emission wavelength: add --wavelength (nm)")
        if axes == "yx":
            generated = make.widefield_psf(na, wavelength, fine[0], refractive_index)
        else:
            reach = 2 * round(GENERATED_REACH_UM / fine[0]) + 1
            generated = Optics(na, wavelength, refractive_index).psf((reach, 65, 65), (fine[0], fine[1]))
        return make.prepare_psf(generated, fine, fine, name="the generated PSF")
    assert path is not None
    image = read_image(path)
    if image.axes not in ("YX", "ZYX", "TYX"):
        raise InputError(f"{path} has axes {image.axes}; a PSF is YX or ZYX")
    found = _voxel(image, path)
    size = agreed(psf_voxel.pixel_um, found.pixel_um, "--psf-pixel-size", str(path))
    if size is None:
        raise InputError(f"{path} does not say its pixel size: give it with --psf-pixel-size (µm)")
    own: tuple[float, ...] = (size,)
    if axes == "zyx" and image.data.ndim == 3:
        step = agreed(psf_voxel.z_step_um, found.z_step_um, "--psf-z-step", str(path))
        if step is None:
            raise InputError(f"{path} does not say its z step: give it with --psf-z-step (µm)")
        own = (step, size)
    return make.prepare_psf(image.data, own, fine, centre=centre, name=str(path))


def _gaussian(sigma: str, axes: str, upsample: int) -> NDArray[np.float64]:
    from zsd_train.psf import gaussian_psf

    try:
        sigmas = [float(part) for part in sigma.lower().split("x")]
    except ValueError:
        sigmas = []
    if len(sigmas) != len(axes) - 1:
        expected = (
            "one number, for instance 1.2" if axes == "yx" else "two with an x between, ZxYX, for instance 1.5x1.1"
        )
        raise InputError(f"--psf-sigma {sigma} must be {expected} (raw pixels)")
    return gaussian_psf(*sigmas[:-1], sigmas[-1] * upsample)
