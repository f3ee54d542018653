"""How exactly patterns are found, and how good and fast SIM reconstructions are: on simulated and on measured frames.

    python benchmarks/sim.py [--data DATA] [--peer PYTHON] [--directions 50]

DATA is a folder with sim-2d-microtubules, sim-3beam-microtubules and sim-3d-cudasirecon; PYTHON one that has
napari-sim-processor. Results: benchmarks/results/sim.json. PSNR is that of the middle, against the truth at the
resolution of SIM (the noiseless frames, reconstructed with the true parameters and w = 0.02), each method with its best
Wiener parameter by the truth. Times are of one core. What training adds: benchmarks/sim_training.py.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from zsd_optics.noise import estimate_noise
from zsd_optics.optics import Optics
from zsd_optics.resolution import decorrelation_analysis, fourier_ring_correlation
from zsd_optics.sim.acquisition import acquisition
from zsd_optics.sim.estimate import AROUND, estimate
from zsd_optics.sim.otf import read_transfer
from zsd_optics.sim.patterns import find_stripes
from zsd_optics.sim.simulate import Illumination, SimSimulation, simulate_sim
from zsd_optics.sim.theory import planar_transfer
from zsd_optics.simulate import Camera
from zsd_runtime.images import open_image
from zsd_runtime.sim.bands import Bands
from zsd_runtime.sim.layout import Layout
from zsd_runtime.sim.microscope import Sim, frequencies
from zsd_runtime.sim.parameters import Pattern
from zsd_runtime.sim.reconstruction import reconstruct
from zsd_train.schemes import StructuredIllumination
from zsd_train.schemes.scheme import Chance, Window

RESULTS = Path(__file__).parent / "results" / "sim.json"
PIXEL, OFFSET, EDGE = 0.0626, 100.0, 24
WIENER = (0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.6)
SHARP = 0.02


@dataclass(frozen=True)
class Bar:
    """A figure, and what it must reach."""

    name: str
    measured: float
    bar: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bar is reached."""
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar


def simulated(photons: float, seed: int, size: int = 256) -> SimSimulation:
    """Filaments under stripes of random angle, spacing and modulation."""
    rng = np.random.default_rng(seed)
    lit = Illumination(
        spacing_nm=rng.uniform(180, 220), angle_rad=rng.uniform(0, np.pi), modulation=(rng.uniform(0.4, 1),)
    )
    return simulate_sim(
        (size, size), photons=photons, camera=Camera(OFFSET, 1, 2), seed=seed, illumination=lit, pixel_size_um=PIXEL
    )


def errors(found: Pattern, true: Pattern, size: int) -> tuple[float, float, float]:
    """Of the wave vector (steps of the spectrum), the phase in the middle (rad), the modulation."""
    k, true_k, sign = found.wave_vector(1), true.wave_vector(1), 1
    if k @ true_k < 0:
        k, sign = -k, -1
    middle = 2 * np.pi * (size - 1) / 2 * PIXEL * (k - true_k).sum()
    phase = np.angle(np.exp(1j * (sign * found.phases_rad[0] - true.phases_rad[0] + middle)))
    return (
        float(np.hypot(*(k - true_k)) * size * PIXEL),
        abs(float(phase)),
        abs(found.modulation[0] - true.modulation[0]),
    )


def estimation(directions: int) -> Iterator[Bar]:
    """Of `directions` random directions."""
    for photons, bars in ((1000, (0.05, 0.02, 0.02)), (50, (0.05, 0.05, 0.05)), (20, (0.1, None, None))):
        rows, wrong = [], 0
        for seed in range(-(-directions // 3)):
            s = simulated(photons, seed)
            e = estimate(s.raw, s.sim.transfer, directions=3, pixel_size_um=PIXEL, offset=OFFSET)
            each = [errors(a, b, 256) for a, b in zip(e.patterns, s.sim.parameters.patterns, strict=True)]
            wrong += sum(k > 1 for k, *_ in each)
            rows += [row for row in each if row[0] <= 1]
        k, phase, modulation = (np.array(column) for column in zip(*rows, strict=True))
        yield Bar(f"{photons} photons: k, steps of the spectrum, 95 %", float(np.percentile(k, 95)), bars[0])
        for name, column, bar in (("phase, rad", phase, bars[1]), ("modulation", modulation, bars[2])):
            if bar is not None:
                yield Bar(f"{photons} photons: {name}, rms", float(np.sqrt(np.mean(column**2))), bar)
        yield Bar(f"{photons} photons: wrong peaks in {3 * (seed + 1)} directions", wrong, 0)


def inside(image: Any) -> Any:
    return image[EDGE:-EDGE, EDGE:-EDGE]


def psnr(image: Any, truth: Any) -> float:
    difference = inside(image).astype(np.float64) - inside(truth)
    return float(10 * np.log10(np.ptp(inside(truth)).item() ** 2 / np.mean(difference**2)))


def fitted(image: Any, truth: Any) -> Any:
    """Scaled and moved, for competitors of other units."""
    slope, level = np.polyfit(inside(image).ravel().astype(np.float64), inside(truth).ravel(), 1)
    return image * slope + level


def with_wiener(sim: Sim, wiener: float) -> Sim:
    return replace(sim, parameters=replace(sim.parameters, wiener=wiener))


def best(frames: Any, sim: Sim, truth: Any) -> tuple[float, float, Any]:
    """(PSNR, w, image) with the best w by the truth."""
    images = [(w, reconstruct(frames, with_wiener(sim, w))) for w in WIENER]
    return max(((psnr(image, truth), w, image) for w, image in images), key=lambda found: found[0])


def widefield(s: SimSimulation, truth: Any, *, smoothed: bool = False) -> tuple[float, Any]:
    """The best Wiener deconvolution of the mean of all frames, on the fine grid.

    `smoothed`: times H_SIM, which also takes noise away.
    """
    mean = s.raw.mean(axis=0) - OFFSET
    y, x = mean.shape
    spectrum = np.zeros((2 * y, 2 * x), complex)
    part = np.fft.fft2(mean)
    lines = [np.rint(np.fft.fftfreq(n, 1 / n)).astype(int) for n in mean.shape]
    quarter = np.exp(-0.5j * np.pi * lines[0] / y)[:, None] * np.exp(-0.5j * np.pi * lines[1] / x)
    spectrum[np.ix_(lines[0] % (2 * y), lines[1] % (2 * x))] = 4 * part * quarter
    contrast = s.sim.transfer(frequencies(spectrum.shape, s.sim.fine_voxel_um))
    target = s.sim.transfer_function(spectrum.shape) if smoothed else 1.0
    made = []
    for w in (0.02, 0.05, 0.1, 0.2, 0.4):
        image = np.fft.ifft2(spectrum * contrast * target * (1 + w**2) / (contrast**2 + w**2)).real
        made.append((psnr(image, truth), image))
    return max(made, key=lambda found: found[0])


def frc_nm(image: Any, truth: Any) -> float:
    return 1000 * float(
        fourier_ring_correlation(inside(image), inside(truth), pixel_size_um=PIXEL / 2).resolution_um or 9
    )


def decorrelation_nm(image: Any, pixel_um: float) -> float:
    return 1000 * decorrelation_analysis(image, pixel_size_um=pixel_um).resolution_px * pixel_um


def quality(peer: str | None, more: dict[str, Any]) -> Iterator[Bar]:
    bars = {1000: (41, 11, 115), 50: (32, 3, 135)}
    for photons, (least, over, finest) in bars.items():
        lit = Illumination(spacing_nm=200, angle_rad=0.2, modulation=(0.8,))
        s = simulate_sim((256, 256), photons=photons, camera=Camera(OFFSET, 1, 2), seed=1, illumination=lit)
        truth = reconstruct(s.clean, with_wiener(s.sim, SHARP))
        with_true, _, _ = best(s.raw, s.sim, truth)
        found = acquisition(s.raw, Layout(3, 3), s.sim.transfer, pixel_size_um=PIXEL, offset=OFFSET)
        score, w, image = best(found.frames, found.sim, truth)
        automatic = reconstruct(found.frames, found.sim)
        flat, wide = widefield(s, truth)
        smooth, _ = widefield(s, truth, smoothed=True)
        yield Bar(f"{photons} photons: PSNR at SIM resolution, dB", score, least, True)
        yield Bar(f"{photons} photons: over a Wiener of the widefield, dB", score - flat, over, True)
        yield Bar(f"{photons} photons: estimated instead of true parameters, dB", with_true - score, 0.1)
        yield Bar(f"{photons} photons: automatic instead of best w, dB", score - psnr(automatic, truth), 0.5)
        yield Bar(f"{photons} photons: FRC with the truth, nm", frc_nm(image, s.truth), finest)
        row: dict[str, Any] = {
            "zsd": {
                "psnr": score, "w": w, "automatic_w": found.sim.parameters.wiener,
                "psnr_automatic": psnr(automatic, truth), "frc_nm": frc_nm(image, s.truth),
                "decorrelation_nm": decorrelation_nm(image, PIXEL / 2),
            },
            "widefield": {"psnr": flat, "psnr_smoothed": smooth, "frc_nm": frc_nm(wide, s.truth)},
        }  # fmt: skip
        if peer:
            row["napari-sim-processor"] = of_peer(peer, s, truth)
        more[f"{photons} photons"] = row
    s = simulated(100, 1)
    noiseless = reconstruct(s.clean, s.sim)
    expected = np.fft.ifft2(np.fft.fft2(s.truth) * s.sim.transfer_function(s.truth.shape)).real
    yield Bar("noiseless against truth ∗ H_SIM, dB", psnr(noiseless, expected), 50, True)
    yield Bar("flux, % off", 100 * abs(float(inside(noiseless).sum() / inside(expected).sum()) - 1), 0.5)


def of_peer(python: str, s: SimSimulation, truth: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.npz", Path(folder) / "out.npz"
        # eta: where its search begins, as a share of the cutoff.
        eta = 0.8 * 1000 / s.sim.parameters.patterns[0].spacing_nm / (2 * 1.4 / 0.525) / 0.95
        np.savez(
            given, frames=s.raw - OFFSET, pixel_size_um=PIXEL, na=1.4, index=1.515, wavelength_um=0.525, eta=eta,
        )  # fmt: skip
        command = [python, str(Path(__file__).with_name("sim_peer.py")), str(given), str(made)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = dict(np.load(made))
    images = {w: moved(fitted(found[w], truth), truth) for w in found if w.startswith("w0")}
    w = max(images, key=lambda name: psnr(fitted(images[name], truth), truth))
    image = fitted(images[w], truth)
    return {
        "psnr": psnr(image, truth), "w": float(w[1:]), "frc_nm": frc_nm(image, s.truth),
        "decorrelation_nm": decorrelation_nm(image, PIXEL / 2), "set_up_s": float(found["seconds"][0]),
        "reconstruct_s": float(found["seconds"][1]),
    }  # fmt: skip


def moved(image: Any, truth: Any) -> Any:
    """On our grid: its first fine pixel lies half a fine pixel elsewhere."""
    y, x = (np.fft.fftfreq(n) for n in image.shape)
    spectrum = np.fft.fft2(image)
    candidates = [
        np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (dy * y[:, None] + dx * x))).real
        for dy in (-0.5, 0, 0.5) for dx in (-0.5, 0, 0.5)
    ]  # fmt: skip
    return max(candidates, key=lambda one: psnr(one, truth))


def pairs(draws: int = 8) -> Iterator[Bar]:
    """The two copies that scheme sim learns from: noise estimated, parameters estimated once from the original."""
    for photons in (50, 200):
        s = simulated(photons, 3)
        first, second, light = [], [], 0.0
        for seed in range(draws):
            raw = Camera(OFFSET, 1, 2).expose(s.clean - OFFSET, np.random.default_rng(seed))
            found = acquisition(raw, Layout(3, 3), s.sim.transfer, pixel_size_um=PIXEL, offset=OFFSET)
            noise = estimate_noise([frame.astype(np.float64) for frame in raw])
            scheme = StructuredIllumination().with_microscope(found.sim)
            halo, side = scheme.halo("yx")[-1], 160
            box = slice(48 - halo, 48 + side + halo)
            counts = raw[:, box, box].astype(np.float64)
            window = Window(
                counts, torch.tensor(counts, dtype=torch.float32), torch.ones(counts.shape[1:]),
                replace(noise, offset=OFFSET), 0.0, 1.0, (48 - halo, 48 - halo), raw.shape[1:],
            )  # fmt: skip
            sample = scheme.sample(window, Chance(0.5, True), torch.Generator().manual_seed(seed))
            whole = reconstruct(s.clean, found.sim)
            clean = whole[96 : 96 + 2 * side, 96 : 96 + 2 * side]
            first.append(sample.noisy[0].numpy() - clean)
            second.append(sample.target[0].numpy() - clean)
            light = float(clean.mean())
        r = float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])
        yield Bar(f"{photons} photons: |r| of the noise of a recorrupted pair", abs(r), 0.01)
        yield Bar(f"{photons} photons: mean of a copy, % off", 100 * abs(float(np.mean(first)) / light), 0.1)


def speed(more: dict[str, Any]) -> Iterator[Bar]:
    for size, most in ((256, None), (512, 0.1), (1024, 0.5)):
        s = simulated(100, 0, size)
        started = time.process_time()
        reconstruct(s.raw, s.sim)
        first = time.process_time() - started
        times = []
        for _ in range(5):
            started = time.process_time()
            reconstruct(s.raw, s.sim)
            times.append(time.process_time() - started)
        more[f"time {size}"] = {"set_up_s": first - min(times), "reconstruct_s": min(times)}
        if most:
            yield Bar(f"{size}x{size}: time once set up, s", min(times), most)


def measured(data: Path, more: dict[str, Any]) -> Iterator[Bar]:
    folder = data / "sim-2d-microtubules"
    frames = np.asarray(open_image(folder / "MT.mrc").data)
    transfer = read_transfer(folder / "TIRF488_cam1_0_z30_OTF2d.mrc", PIXEL)
    found = acquisition(frames, Layout(3, 3), transfer, pixel_size_um=PIXEL)
    patterns = found.sim.parameters.patterns
    off = [abs(p.angle_rad - a) for p, a in zip(patterns, (1.48, 2.53, -2.71), strict=True)]
    yield Bar("MT.mrc: angles, mrad off", 1000 * max(off), 5)
    yield Bar("MT.mrc: spacing, % off 180 nm", max(abs(p.spacing_nm / 180 - 1) for p in patterns) * 100, 0.5)
    nm = {
        w: decorrelation_nm(reconstruct(found.frames, with_wiener(found.sim, w)), PIXEL / 2) for w in (0.1, 0.2, 0.25)
    }
    automatic = decorrelation_nm(reconstruct(found.frames, found.sim), PIXEL / 2)
    yield Bar("MT.mrc: decorrelation, nm", automatic, 140)
    more["MT.mrc"] = {
        "decorrelation_nm": automatic, "w": found.sim.parameters.wiener, "by_w": nm,
        "widefield_nm": decorrelation_nm(frames.mean(axis=0), PIXEL), "patterns": [asdict(p) for p in patterns],
    }  # fmt: skip
    files = sorted((data / "sim-3beam-microtubules/microtuble/HE_X2/Sample_1").glob("HE_*.tif"))[:15]
    stack = np.stack([tifffile.imread(f) for f in files]).reshape(15, 128, 2, 128, 2).mean(axis=(2, 4))
    planar = planar_transfer(Optics(1.4, 600), 0.06)
    high = acquisition(stack, Layout(3, 5), planar, pixel_size_um=0.06, offset=100)
    apart = []
    for pattern, part in zip(high.sim.parameters.patterns, high.frames.reshape(3, 5, 128, 128), strict=True):
        bands = Bands.of(part - 100.0, planar, (0.06, 0.06))
        k = 1000 / pattern.spacing_nm
        one, two = (find_stripes(bands, o, (k * o / 2 * (1 - AROUND), k * o / 2 * (1 + AROUND))).wave for o in (1, 2))
        two = two if one @ two > 0 else -two
        apart.append(float(np.hypot(*(two - 2 * one)) * 128 * 0.06))
    yield Bar("HE (3 beams): orders apart, steps of the spectrum", max(apart), 0.1)
    folder = data / "sim-3d-cudasirecon"
    volumes = np.asarray(open_image(folder / "raw.dv").data)
    transfer = read_transfer(folder / "otf.dv", 0.08, 0.125)
    deep = acquisition(volumes, Layout(3, 5, 9), transfer, pixel_size_um=0.08, z_step_um=0.125)
    patterns = deep.sim.parameters.patterns
    off = [abs(p.angle_rad - a) for p, a in zip(patterns, (-0.8043, -1.8555, 0.2388), strict=True)]
    yield Bar("sim-3d-cudasirecon: spacing, nm off 203.5", max(abs(p.spacing_nm - 203.5) for p in patterns), 0.3)
    yield Bar("sim-3d-cudasirecon: angles, mrad off", 1000 * max(off), 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--directions", type=int, default=50)
    arguments = parser.parse_args()
    more: dict[str, Any] = {}
    bars: list[Bar] = []

    def run(found: Iterator[Bar]) -> None:
        for bar in found:
            bars.append(bar)
            sign = ">=" if bar.at_least else "<="
            print(
                f"{bar.name:<62} {bar.measured:9.3f}  {sign} {bar.bar:<6g} {'holds' if bar.holds else 'MISSED'}",
                flush=True,
            )

    run(speed(more))
    run(quality(arguments.peer, more))
    run(pairs())
    if arguments.data:
        run(measured(arguments.data, more))
    run(estimation(arguments.directions))
    values = [asdict(bar) | {"holds": bar.holds} for bar in bars]
    RESULTS.write_text(json.dumps({"bars": values, "more": more}, indent=1) + "\n")
    for name, row in more.items():
        print(name, json.dumps(row)[:400])
    sys.exit(0 if all(bar.holds for bar in bars) else 1)


if __name__ == "__main__":
    main()
