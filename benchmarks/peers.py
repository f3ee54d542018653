"""Other programs on the single images on which zsd is measured, side by side.

    python benchmarks/peers.py DATA                                       (every peer that is installed)
    python benchmarks/peers.py DATA --only bm3d nlm --images "fmd/*"      (some peers, some images)
    python benchmarks/peers.py DATA --only n2v2 --images fmd/Confocal_FISH_1 --minutes 5
    python benchmarks/peers.py DATA --only ffdnet noise2vst --ffdnet FFDNet_gray.mat
    python benchmarks/peers.py DATA --table                               (print the tables of the saved results)

DATA is a folder with fmd/ and w2s/; simulated/0 is drawn here. A peer that is not installed is skipped. The peers are
not dependencies of zsd; install them into another virtual environment:

    pip install bm3d RedLionfish sdeconv careamics h5py git+https://github.com/sherbret/Noise2VST

bm3d may be used for non-commercial purposes only. FFDNet's weights are its authors' models/FFDNet_gray.mat
(github.com/cszn/FFDNet, without a licence); ffdnet and noise2vst are skipped without them. Some peers know the truth,
as users do not: the best Gaussian and the strength of non-local means. Richardson-Lucy and Wiener are scored at several
settings. Results are added to benchmarks/results/peers.json.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi
from restoration import fitted_psnr, plain_psnr

from zsd_optics.filters import richardson_lucy
from zsd_optics.metrics import best_gaussian, evaluate
from zsd_optics.noise import estimate_noise
from zsd_optics.psf import prepare_psf
from zsd_optics.simulate import Camera, simulate
from zsd_optics.stabilise import stabilised, unstabilised

RESULTS = Path(__file__).parent / "results" / "peers.json"
PACKAGES = ("bm3d", "scikit-image", "careamics", "RedLionfish", "sdeconv", "torch", "numpy", "scipy")
ITERATIONS = (4, 6, 8, 10, 15, 20)  # of Richardson-Lucy; 10 is RedLionfish's default
BETAS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of sdeconv's Wiener filter; 1e-5 is its default
STRENGTHS = (0.6, 0.8, 1.0, 1.3, 1.6, 2.0)  # of non-local means; scikit-image's example has 0.6 σ


@dataclass(frozen=True)
class Case:
    """One image to restore.

    Parameters
    ----------
    name : str
        Data set/image.
    noisy, clean : ndarray
        (Y, X), counts.
    truth : ndarray or None
        (2Y, 2X), before the optics; only of a simulated image.
    psf : ndarray or None
        On the grid of `truth`.
    offset : float
        Of the camera, counts; only deconvolution needs it.
    """

    name: str
    noisy: Any
    clean: Any
    truth: Any = None
    psf: Any = None
    offset: float = 0.0


def cases(folder: Path, pattern: str) -> Iterator[Case]:
    for data_set, kind, truths in (("fmd", "png", "gt"), ("w2s", "tif", "avg400")):
        for path in sorted((folder / data_set / "raw").glob(f"*.{kind}")):
            name = f"{data_set}/{path.stem}"
            if fnmatch(name, pattern):
                truth = iio.imread(folder / data_set / truths / path.name)
                yield Case(name, iio.imread(path).astype(np.float64), truth.astype(np.float64))
    if fnmatch("simulated/0", pattern):
        s = simulate((512, 512), photons=30, camera=Camera(100, 1.0, 2.0), seed=0)
        fine = s.pixel_size_um / 2
        noisy, clean, truth = (image.astype(np.float64) for image in (s.noisy, s.clean, s.truth))
        yield Case("simulated/0", noisy, clean, truth, prepare_psf(s.psf, fine, fine), 100.0)


def bm3d(case: Case) -> dict[str, Any]:
    """BM3D (Dabov et al. 2007) with its default profile, after the transform."""
    from bm3d import bm3d as denoised

    noise = estimate_noise([case.noisy])
    return {"": unstabilised(denoised(stabilised(case.noisy, noise), 1.0), noise)}


def nlm(case: Case) -> dict[str, Any]:
    """Non-local means (Buades et al. 2005) of scikit-image, after the transform; its strength knows the truth."""
    from skimage.restoration import denoise_nl_means

    noise = estimate_noise([case.noisy])
    stable = stabilised(case.noisy, noise)
    images = [
        unstabilised(denoise_nl_means(stable, patch_size=5, patch_distance=6, h=h, sigma=1.0), noise) for h in STRENGTHS
    ]
    return {"": max(images, key=lambda image: evaluate(image, case.clean).psnr)}


def ffdnet(case: Case, weights: Path) -> dict[str, Any]:
    """FFDNet (Zhang et al. 2018), which natural images with Gaussian noise have taught, after the transform."""
    import torch

    noise = estimate_noise([case.noisy])
    image = torch.tensor(stabilised(case.noisy, noise)[None, None], dtype=torch.float32)
    return {"": unstabilised(ffdnet_of(weights)(image, sigma=1.0)[0, 0].numpy(), noise)}


def noise2vst(case: Case, weights: Path) -> dict[str, Any]:
    """Noise2VST (Herbreteau and Unser 2025) with FFDNet: it learns the transform, 2000 steps as in its examples."""
    import torch
    from noise2vst.models.noise2vst import Noise2VST

    torch.manual_seed(0)
    random.seed(0)
    model, network = Noise2VST(), ffdnet_of(weights)
    image = torch.tensor(case.noisy[None, None], dtype=torch.float32)
    model.fit(image, network)
    return {"": model(image, network)[0, 0].detach().double().numpy()}


def ffdnet_of(weights: Path) -> Any:
    """FFDNet as Noise2VST has it, with its authors' weights: a MATLAB 7.3 file, whose axes are the other way round."""
    import h5py
    import torch
    from noise2vst.models.ffdnet import FFDNet

    network = FFDNet().requires_grad_(requires_grad=False)
    convolutions = [layer for layer in network.model if isinstance(layer, torch.nn.Conv2d)]
    with h5py.File(weights) as file:
        layers = [file[reference] for reference in file["net/layers"][:, 0]]
        found = [w for layer in layers if "weights" in layer and h5py.check_ref_dtype((w := layer["weights"]).dtype)]
        for convolution, references in zip(convolutions, found, strict=True):
            kernel, bias = (torch.tensor(file[reference][()]) for reference in references[:].flat)
            convolution.weight[:], convolution.bias[:] = kernel.transpose(2, 3), bias.flatten()
    by_rows = [0, 2, 1, 3]  # MATLAB counts the four phases of the pixels along columns
    first, last = convolutions[0], convolutions[-1]
    first.weight[:, :4] = first.weight[:, by_rows]
    last.weight[:], last.bias[:] = last.weight[by_rows], last.bias[by_rows]
    return network


def gaussian(case: Case) -> dict[str, Any]:
    """Best Gaussian filter; it knows the truth."""
    return {"": ndi.gaussian_filter(case.noisy, best_gaussian(case.noisy, case.clean)[0])}


def n2v(case: Case, minutes: float = 5, version: int = 1) -> dict[str, Any]:
    """Noise2Void, or N2V2 (Höck et al. 2022), of CAREamics: 64² patches in batches of 16, for `minutes` of CPU time."""
    from careamics import CAREamist
    from careamics.config.factories import create_advanced_n2v_config
    from lightning.pytorch.callbacks import Callback

    class Budget(Callback):
        """Processor time, because other work disturbs the clock."""

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = time.process_time() > end

    config = create_advanced_n2v_config(
        "n2v", "array", "YX", [64, 64], 16, num_epochs=100_000, use_n2v2=version == 2, num_workers=0, seed=1,
        # An epoch of one image is four batches: without more patience the learning rate would soon fall.
        lr_scheduler_params={"patience": 50}, trainer_params={"accelerator": "cpu"},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        careamist = CAREamist(config, work_dir=folder, callbacks=[Budget()], enable_progress_bar=False)
        image = case.noisy.astype(np.float32)
        end = time.process_time() + 60 * minutes
        careamist.train(train_data=image)
        print(f"n2v made {careamist.trainer.global_step} steps in {minutes:g} minutes of processor time", flush=True)
        images, _ = careamist.predict(image, tile_size=(256, 256))
    return {"": np.squeeze(images[0]).astype(np.float64)}


def zsd_lucy(case: Case) -> dict[str, Any]:
    """zsd's Richardson-Lucy, whose model has the finer grid."""
    estimates = enumerate(richardson_lucy(case.noisy - case.offset, case.psf, 2, max(ITERATIONS)), 1)
    return {f"{n} iterations": estimate.copy() for n, estimate in estimates if n in ITERATIONS}


def redlionfish(case: Case) -> dict[str, Any]:
    """RedLionfish on the CPU, on an image interpolated onto the finer grid.

    It takes volumes only, moves no peak of a single plane to the corner, and counts the middle of an axis as n // 2: it
    is given two equal planes, and a PSF of even size.
    """
    from RedLionfishDeconv import doRLDeconvolutionFromNpArrays

    image = np.stack(2 * [interpolated(np.clip(case.noisy - case.offset, 0, None))])
    psf = np.pad(case.psf, (1, 0))[None]
    return {f"{n} iterations": doRLDeconvolutionFromNpArrays(image, psf, niter=n, method="cpu")[0] for n in ITERATIONS}


def wiener(case: Case) -> dict[str, Any]:
    """Wiener filter of sdeconv (Prigent et al. 2023), on an image interpolated onto the finer grid."""
    import torch
    from sdeconv.deconv import SWiener

    image, psf = (torch.from_numpy(x.astype(np.float32)) for x in (interpolated(case.noisy - case.offset), case.psf))
    return {f"beta {beta:g}": SWiener(psf, beta, 13)(image).numpy() for beta in BETAS}


def spitfire(case: Case) -> dict[str, Any]:
    """SPITFIRE of sdeconv with its defaults, on the camera's grid: on the finer one it is 16 times slower."""
    import torch
    from sdeconv.deconv import Spitfire

    psf = prepare_psf(case.psf, 1.0, 2.0)
    image, psf = (torch.from_numpy(x.astype(np.float32)) for x in (case.noisy - case.offset, psf))
    restore = Spitfire(psf, pad=13)
    result = restore(image).detach().numpy()
    print(f"spitfire made {restore.niter_} iterations")
    return {"default": interpolated(result)}


def interpolated(image: Any) -> Any:
    """Linearly, onto a grid twice as fine."""
    return ndi.zoom(image, 2, order=1, mode="nearest", grid_mode=True)


DENOISERS: dict[str, Callable[..., dict[str, Any]]] = {
    "bm3d": bm3d, "nlm": nlm, "gaussian": gaussian, "n2v": n2v, "n2v2": partial(n2v, version=2), "ffdnet": ffdnet,
    "noise2vst": noise2vst,
}  # fmt: skip
WITH_FFDNET = ("ffdnet", "noise2vst")
LEARNING = ("n2v", "n2v2")  # those that take a budget
DECONVOLUTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "zsd_lucy": zsd_lucy, "redlionfish": redlionfish, "wiener": wiener, "spitfire": spitfire
}  # fmt: skip


def scores(case: Case, peer: str, images: dict[str, Any]) -> dict[str, float]:
    """Those that the data set is compared by."""
    if peer in DECONVOLUTIONS:
        return {name: evaluate(image, case.truth).psnr for name, image in images.items()}
    image = images[""]
    if case.name.startswith("w2s"):
        return {"fitted_255": fitted_psnr(image, case.clean)}
    if case.name.startswith("simulated"):
        return {"fitted": evaluate(image, case.clean).psnr}
    plain = plain_psnr(np.clip(image, 0, 255), case.clean)  # the frames are 8-bit
    fitted = {"fitted_255": fitted_psnr(image, case.clean), "fitted": evaluate(image, case.clean).psnr}
    return {"plain_255": plain, **fitted}


def compare(folder: Path, only: list[str], pattern: str, minutes: float, weights: Path | None) -> None:
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    missing: set[str] = set()
    peers = DENOISERS | DECONVOLUTIONS | {name: partial(DENOISERS[name], minutes=minutes) for name in LEARNING}
    peers |= {name: partial(DENOISERS[name], weights=weights) for name in WITH_FFDNET}
    if weights is None:
        missing.update(WITH_FFDNET)
    for case in cases(folder, pattern):
        for peer, restore in peers.items():
            if peer not in only or peer in missing or (peer in DECONVOLUTIONS and case.truth is None):
                continue
            started = time.process_time()  # other work disturbs the clock
            try:
                images = restore(case)
            except ImportError as error:
                print(f"{peer} is skipped, because it is not installed: {error}")
                missing.add(peer)
                continue
            row = scores(case, peer, images) | {"processor_seconds": round(time.process_time() - started, 1)}
            if peer in LEARNING:
                row["minutes"] = minutes
            results.setdefault("images", {}).setdefault(case.name, {})[peer] = row
            print(case.name, peer, json.dumps(row), flush=True)
            save(results)


def save(results: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    results["versions"] = results.get("versions", {}) | {name: v for name in PACKAGES if (v := installed(name))}
    results["machine"] = {"processor": "x86_64", "cores": len(os.sched_getaffinity(0))}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def print_tables() -> None:
    images = json.loads(RESULTS.read_text())["images"]
    for data_set, score in (("fmd", "plain_255"), ("fmd", "fitted"), ("w2s", "fitted_255"), ("simulated", "fitted")):
        rows = {name: row for name, row in images.items() if name.startswith(data_set)}
        peers = [peer for peer in DENOISERS if any(peer in row for row in rows.values())]
        print(f"\n{data_set}, {score}\n\n| image | {' | '.join(peers)} |\n|---|{'---|' * len(peers)}")
        for name, row in rows.items():
            cells = [f"{row[peer][score]:.2f}" if peer in row else "" for peer in peers]
            print(f"| {name.split('/')[1]} | {' | '.join(cells)} |")
        means = [[row[peer][score] for row in rows.values() if peer in row] for peer in peers]
        cells = [f"{np.mean(values):.2f}" if len(values) == len(rows) else "" for values in means]
        print(f"| mean | {' | '.join(cells)} |")
    for peer in DECONVOLUTIONS:
        for name, row in images.items():
            if peer in row:
                print(f"\n{name}, {peer}: {json.dumps(row[peer])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    everything = [*DENOISERS, *DECONVOLUTIONS]
    parser.add_argument("--only", nargs="+", choices=everything, default=everything, help="peers")
    parser.add_argument("--images", default="*", help="data set/image, with *")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of processor time, in which n2v and n2v2 are trained"
    )
    parser.add_argument("--ffdnet", type=Path, help="FFDNet_gray.mat")
    parser.add_argument("--table", action="store_true", help="print the saved results")
    given = parser.parse_args()
    if given.table:
        print_tables()
    else:
        compare(given.folder, given.only, given.images, given.minutes, given.ffdnet)
