"""How well one noisy image is restored, against the classical methods at their best.

    python benchmarks/restoration.py simulated --minutes 4 --seeds 5
    python benchmarks/restoration.py fmd DATA --minutes 0 0.75 3
    python benchmarks/restoration.py w2s DATA --minutes 0 2
    python benchmarks/restoration.py starts DATA       (20 seconds from the zoo against 4 minutes from scratch)
    python benchmarks/restoration.py unseen --minutes 4     (structures that no start has seen)
    python benchmarks/restoration.py pictures DATA --minutes 2

DATA is a folder of real microscopy with fmd/, w2s/, lattice-light-sheet/ and sim-2d-microtubules/. Every number goes
the whole way: train, export, predict with ONNX Runtime, as it is and averaged over flips and turns. `--only` takes
names with `*`; `--steps-per-minute` counts steps where other work disturbs the clock. 0 minutes are the starting
weights without any training on the image. Results: benchmarks/results/,
pictures: docs/.
"""

import argparse
import tempfile
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import mrcfile
import numpy as np
import scipy.ndimage as ndi
import tifffile
import torch
from kept import keep
from scipy.signal import fftconvolve

from zsd_export import Credits, export
from zsd_optics.metrics import best_gaussian, best_richardson_lucy, evaluate
from zsd_optics.pictures import binned, enlarged, montage
from zsd_optics.psf import gaussian_psf, prepare_psf, widefield_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import Prediction, load_model
from zsd_train import TrainConfig, train
from zsd_train.run import Run

DOCS = Path(__file__).parent.parent / "docs"
DETAIL = 144  # raw pixels of a picture
FMD_PSF_SIGMA = 1.0  # raw pixels; the data set does not say its pixel size


@dataclass(frozen=True)
class Choices:
    """How each image is restored.

    `steps_per_minute` turns minutes into steps, where other work disturbs the clock: as many as an idle machine makes.
    """

    start: str = "auto"
    steps_per_minute: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What a results file says of them."""
        return asdict(self) | {"threads": torch.get_num_threads()}

    def restore(self, image: Any, psf: Any, minutes: float, **options: Any) -> tuple[Prediction, Prediction, Run]:
        """Train, export, predict: once as it is, and once averaged over the eight flips and turns."""
        budget: dict[str, Any] = {"minutes": minutes}
        if not minutes:
            budget = {"steps": 1, "learning_rate": 1e-9}
        elif self.steps_per_minute:
            budget = {"steps": round(minutes * self.steps_per_minute)}
        config = TrainConfig(**({"start": self.start} | budget | options))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "run"
            run = train([image], psf, config, folder)
            package = export(folder, Path(name) / "model.zip", credits=Credits("benchmark"))
            with load_model(package) as model:
                return model.predict(image), model.predict(image, average=8), run


def simulated(minutes: float, seeds: int, choices: Choices) -> None:
    """Against the best Gaussian, Richardson-Lucy on zsd's own denoised image, and what the optics let through."""
    for seed in range(seeds):
        s = simulate((512, 512), photons=30, camera=Camera(100, 1.0, 2.0), seed=seed)
        clean, truth, fine = s.clean.astype(np.float64), s.truth.astype(np.float64), s.pixel_size_um / 2
        result, averaged, run = choices.restore(s.noisy, prepare_psf(s.psf, fine, fine), minutes, seed=seed)
        row = {
            "gaussian": best_gaussian(s.noisy.astype(np.float64), clean)[1].psnr,
            "limit": evaluate(diffraction_limited(truth, fine), truth).psnr, **flux(result, run, s.noisy),
            "minutes": minutes, **choices.settings,
        }  # fmt: skip
        for name, restored in (("", result), ("_averaged", averaged)):
            iterations, lucy = best_richardson_lucy(restored.denoised.astype(np.float64), 0.0, s.psf, truth)
            row |= {
                f"denoised{name}": evaluate(restored.denoised, clean).psnr,
                f"deconvolved{name}": evaluate(restored.deconvolved, truth).psnr,
                f"lucy_of_denoised{name}": lucy.psnr, f"iterations{name}": iterations,
            }  # fmt: skip
        keep("simulated.json", str(seed), row)


def diffraction_limited(truth: Any, pixel_um: float, na: float = 1.4, wavelength_um: float = 0.525) -> Any:
    """The truth without the spatial frequencies above 2 NA / λ, which optics do not let through."""
    y, x = (np.fft.fftfreq(n, pixel_um) for n in truth.shape)
    passed = np.hypot(y[:, None], x) <= 2 * na / wavelength_um
    return np.clip(np.fft.ifft2(np.fft.fft2(truth) * passed).real, 0, None)


def fmd(folder: Path, minutes: list[float], only: str, choices: Choices) -> None:
    """The data set's own measure is the plain PSNR over 255, with the offset added back; beside it that after a fit."""
    pictures = []
    for path in sorted((folder / "fmd" / "raw").glob(f"{only}.png")):
        noisy = iio.imread(path)
        truth = iio.imread(folder / "fmd" / "gt" / path.name).astype(np.float64)
        sigma, _ = best_gaussian(noisy.astype(np.float64), truth)
        filtered = ndi.gaussian_filter(noisy.astype(np.float64), sigma)
        row: dict[str, Any] = {
            "sigma": sigma[0], "raw": plain_psnr(noisy, truth),
            "gaussian": plain_psnr(filtered, truth), "gaussian_fitted": evaluate(filtered, truth).psnr,
        }  # fmt: skip
        for budget in minutes:
            result, averaged, run = choices.restore(noisy, gaussian_psf(2 * FMD_PSF_SIGMA), budget)
            row[f"{budget:g} min"] = flux(result, run, noisy) | choices.settings
            for name, restored in (("", result), ("_averaged", averaged)):
                row[f"{budget:g} min"] |= {
                    f"denoised{name}": plain_psnr(restored.denoised + run.offset, truth),
                    f"denoised{name}_fitted": evaluate(restored.denoised, truth).psnr,
                }
        keep("fmd.json", path.stem, row)
        corner = brightest(truth)
        panels = [detail(image, corner) for image in (noisy, filtered, result.denoised)]
        panels += [detail(result.deconvolved, corner, 2), detail(truth, corner)]
        pictures.append(montage(panels))
    if only == "*" and any(minutes):
        iio.imwrite(DOCS / "fmd.png", np.vstack(pictures))


def w2s(folder: Path, minutes: list[float], only: str, choices: Choices) -> None:
    """Widefield frames that were stretched file by file: compared after a fit, over 255."""
    for path in sorted((folder / "w2s" / "raw").glob(f"{only}.tif")):
        noisy, truth = iio.imread(path), iio.imread(folder / "w2s" / "avg400" / path.name).astype(np.float64)
        sigma, _ = best_gaussian(noisy.astype(np.float64), truth)
        filtered = ndi.gaussian_filter(noisy.astype(np.float64), sigma)
        row: dict[str, Any] = {"raw": fitted_psnr(noisy, truth), "gaussian": fitted_psnr(filtered, truth)}
        for budget in minutes:
            result, averaged, run = choices.restore(noisy, gaussian_psf(2 * FMD_PSF_SIGMA), budget)
            row[f"{budget:g} min"] = (
                flux(result, run, noisy)
                | choices.settings
                | {
                    "denoised": fitted_psnr(result.denoised, truth),
                    "denoised_averaged": fitted_psnr(averaged.denoised, truth),
                }
            )
        keep("w2s.json", path.stem, row)


def starts(folder: Path, minutes: list[float], only: str, choices: Choices) -> None:
    """What 20 seconds from the zoo's weights and 4 minutes from random ones give; with --start, that for --minutes."""
    one = [(choices.start, budget) for budget in minutes]
    arms = [("zoo", 1 / 3), ("zoo", 4.0), ("scratch", 4.0)] if choices.start == "auto" else one
    cases: dict[str, tuple[Any, Any, dict[str, Any]]] = {}
    for sample in ("cell", "hollow-vesicles"):  # of neither cell nor these optics did the zoo's weights see an image
        s = simulate((512, 512), sample=sample, photons=30, camera=Camera(100, 2.17, 2.0), seed=5)
        fine = s.pixel_size_um / 2
        cases[sample] = s.noisy, prepare_psf(s.psf, fine, fine), {"denoised": s.clean, "deconvolved": s.truth}
    for path in sorted((folder / "fmd" / "raw").glob("[CT]*.png")):
        truth = iio.imread(folder / "fmd" / "gt" / path.name).astype(np.float64)
        cases[path.stem] = iio.imread(path), gaussian_psf(2 * FMD_PSF_SIGMA), {"denoised": truth}
    for name, (noisy, psf, truths) in cases.items():
        if not fnmatch(name, only):
            continue
        row: dict[str, Any] = {}
        for start, budget in arms:
            used = replace(choices, start=start)
            result, _, run = used.restore(noisy, psf, budget)
            scores = {output: evaluate(getattr(result, output), truth).psnr for output, truth in truths.items()}
            row[f"{start} {60 * budget:.0f} s"] = scores | used.settings | {"steps": run.measured.steps}
        keep("starts.json", name, row)


def unseen(minutes: float, choices: Choices) -> None:
    """Stars, squares and a checkerboard, which are not among the samples of the zoo: from the zoo and from scratch."""
    truth, psf = targets(512), widefield_psf(1.4, 525, 0.0313)
    clean = binned(fftconvolve(np.pad(truth, 32, mode="reflect"), psf, mode="same")[32:-32, 32:-32], 2)
    truth, clean = truth * 30 / clean.max(), clean.clip(0) * 30 / clean.max()
    noisy = Camera(100, 1.0, 2.0).expose(clean, np.random.default_rng(0))
    panels = [detail(noisy, (56, 56))]
    for start in ("scratch", "zoo"):
        used = replace(choices, start=start)
        result, _, run = used.restore(noisy, prepare_psf(psf, 0.0313, 0.0313), minutes)
        scores = {
            "denoised": evaluate(result.denoised, clean).psnr,
            "deconvolved": evaluate(result.deconvolved, truth).psnr,
        }
        keep("unseen.json", start, scores | flux(result, run, noisy) | used.settings | {"minutes": minutes})
        panels += [detail(result.denoised, (56, 56)), detail(result.deconvolved, (56, 56), 2)]
    iio.imwrite(DOCS / "unseen.png", montage([*panels, detail(truth, (56, 56), 2)]))


def targets(side: int) -> Any:
    """Test patterns of brightness 0 and 1: a Siemens star, a checkerboard, squares and bars of several sizes."""
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    star = (np.sin(24 * np.arctan2(y, x)) > 0) & (np.hypot(y, x) < side / 4)
    image = star.astype(np.float64)
    image[: side // 8] = ((y // 6 + x // 6) % 2)[: side // 8]
    for n, width in enumerate((3, 4, 6, 8, 12, 16)):
        column = side // 12 + n * side // 7
        image[-side // 7 : -side // 7 + width, column : column + width] = 1
        image[-side // 11 : -side // 11 + 3 * width, column : column + width] = 1
    return image + 0.02


def plain_psnr(image: Any, truth: Any) -> float:
    """dB, over a range of 255, without any fit."""
    return float(10 * np.log10(255**2 / np.mean((image - truth) ** 2)))


def fitted_psnr(image: Any, truth: Any) -> float:
    """dB, over a range of 255, after the best gain and offset."""
    scores = evaluate(image, truth)
    return plain_psnr(scores.gain * image.astype(np.float64) + scores.offset, truth)


def flux(result: Prediction, run: Run, noisy: Any) -> dict[str, Any]:
    """Light of the outputs over that of the image above the offset; and the steps that it took."""
    above = noisy.mean() - run.offset
    shares = {f"flux_{name}": float(image.mean() / above) for name, image in result.items()}
    return shares | {"steps": run.measured.steps, "kept_step": run.measured.kept_step}


def pictures(folder: Path, minutes: float, choices: Choices) -> None:
    """Real images without a truth: noisy | denoised | deconvolved, to be looked at."""
    lattice = tifffile.imread(folder / "lattice-light-sheet" / "im_deskewed.tif")
    bead = tifffile.imread(folder / "lattice-light-sheet" / "psf.tif")
    slice_ = lattice[int(np.argmax(lattice.mean(axis=(1, 2))))]
    with mrcfile.open(folder / "sim-2d-microtubules" / "MT.mrc", permissive=True) as file:
        microtubules = np.asarray(file.data).astype(np.float64).mean(axis=0)
    fine = 0.0626 / 2
    cases = {
        "lattice-light-sheet": (slice_, prepare_psf(bead, 0.1, 0.05, centre=True)),
        "sim-2d-microtubules": (microtubules, prepare_psf(widefield_psf(1.3, 525, fine), fine, fine)),
    }
    for name, (image, psf) in cases.items():
        result, _, run = choices.restore(image, psf, minutes)
        keep("pictures.json", name, flux(result, run, image) | choices.settings | {"minutes": minutes})
        corner = brightest(result.denoised)
        panels = [detail(image, corner), detail(result.denoised, corner), detail(result.deconvolved, corner, 2)]
        iio.imwrite(DOCS / f"{name}.png", montage(panels))


def brightest(image: Any) -> tuple[int, int]:
    """Corner of the brightest square of DETAIL raw pixels."""
    means = ndi.uniform_filter(image.astype(np.float64), DETAIL, origin=-(DETAIL // 2))
    y, x = np.unravel_index(np.argmax(means[: 1 - DETAIL, : 1 - DETAIL]), [n - DETAIL + 1 for n in image.shape])
    return int(y), int(x)


def detail(image: Any, corner: tuple[int, int], factor: int = 1) -> Any:
    """DETAIL raw pixels of an image `factor` times as fine, brought to the fine grid."""
    y, x = (c * factor for c in corner)
    return enlarged(image[y : y + DETAIL * factor, x : x + DETAIL * factor], 2 // factor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulated", "fmd", "w2s", "starts", "unseen", "pictures"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[4.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="*", help="image name")
    parser.add_argument("--start", default="auto")
    parser.add_argument("--steps-per-minute", type=float)
    given = parser.parse_args()
    chosen = Choices(given.start, given.steps_per_minute)
    if given.what == "simulated":
        simulated(given.minutes[0], given.seeds, chosen)
    elif given.what == "fmd":
        fmd(given.folder, given.minutes, given.only, chosen)
    elif given.what == "w2s":
        w2s(given.folder, given.minutes, given.only, chosen)
    elif given.what == "starts":
        starts(given.folder, given.minutes, given.only, chosen)
    elif given.what == "unseen":
        unseen(given.minutes[0], chosen)
    else:
        pictures(given.folder, given.minutes[0], chosen)
