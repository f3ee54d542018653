"""What the command line gives for small inputs, in numbers that can be compared across versions of the code.

`python -m tests.golden.cases` prints what this version gives; with `--write` it becomes `golden.json`, with `--check`
it must equal what stands there bit for bit, which only the processor and the libraries that wrote it can give.
`tests/test_golden.py` compares with a tolerance, and runs everywhere.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import tifffile
import yaml
from safetensors.numpy import load_file

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
# What the presets of then chose.
THEN_2D = "denoising_weight = 0.5\nhessian_weight = 0.02\ncontrast_floor = 0.0\npositivity_weight = 0.0\n"
SMALL_2D = (
    'network = {width = 8, depth = 2, head = 12, upsampling = "nearest", coarse = false}\n'
    'patch = 48\nbatch = 2\nprecision = "fp32"\n'
)
SMALL_3D = 'network = {width = 4, depth = 2, head = 4}\npatch = 32\nslices = 6\nbatch = 2\nprecision = "fp32"\n'
STUDENT = 'network = {width = 4, depth = 2, head = 6, coarse = false}\npatch = 48\nbatch = 2\nprecision = "fp32"\n'
# Name: configuration, image, other options of `zsd train`.
TRAININGS = {
    "2d-poisson": (SMALL_2D + THEN_2D, "plane", ["--psf-sigma", "1.3"]),
    "2d-gaussian": (SMALL_2D + THEN_2D + 'recorruption = "gaussian"\n', "plane", ["--psf-sigma", "1.3"]),
    "2d-terms": (
        SMALL_2D
        + 'denoising_weight = 0.5\nhessian_weight = 0.02\nloss = "mae"\nweakest = 0.05\npositivity_weight = 1.0\n'
        + "tv_weight = 0.01\nl1_weight = 0.01\n",
        "plane",
        ["--psf-sigma", "1.3"],
    ),
    "3d-recorrupt": (SMALL_3D, "volume", ["--psf-sigma", "1.2x1.1"]),
    "3d-odd-even": (SMALL_3D, "volume", ["--psf-sigma", "1.2x1.1", "--scheme", "odd-even"]),
}
# Commands at fault, or done in a moment: exit status and last line.
COMMANDS = {
    "no verb": [],
    "unknown verb": ["frobnicate"],
    "no such image": ["train", "nowhere.tif", "--psf-sigma", "1.3", "--out", "x"],
    "no psf": ["train", "plane.tif", "--out", "x"],
    "two psfs": ["train", "plane.tif", "--out", "x", "--psf-sigma", "1.3", "--na", "1.4"],
    "psf of a volume": ["train", "volume.tif", "--psf-sigma", "1.3", "--out", "x"],
    "odd-even of planes": ["train", "plane.tif", "--psf-sigma", "1.3", "--scheme", "odd-even", "--out", "x"],
    "too many slices": ["train", "volume.tif", "--psf-sigma", "1.2x1.1", "--slices", "99", "--out", "x"],
    "a large patch": ["train", "plane.tif", "--psf-sigma", "1.3", "--config", "large.toml", "--out", "x"],
    "unknown key": ["train", "plane.tif", "--psf-sigma", "1.3", "--config", "unknown.toml", "--out", "x"],
    "taken run": ["train", "plane.tif", "--psf-sigma", "1.3", "--out", "2d-poisson"],
    "noise": ["noise", "plane.tif"],
    "noise of little": ["noise", "little.tif"],
    "simulate": ["simulate", "simulated", "--size", "64x64"],
    "simulate nothing": ["simulate", "y", "--photons", "0"],
    "evaluate": ["evaluate", "simulated/noisy.tif", "--truth", "simulated/clean.tif"],
    "evaluate another size": ["evaluate", "simulated/noisy.tif", "--truth", "simulated/truth.tif"],
    "psf": ["psf", "generate", "psf.tif", "--na", "1.1", "--wavelength", "525", "--refractive-index", "1.33",
            "--pixel-size", "0.05", "--z-step", "0.15"],
    "coarse psf": ["psf", "generate", "psf2.tif", "--na", "1.1", "--wavelength", "525", "--pixel-size", "0.5"],
    "export": ["export", "2d-poisson", "model.zip"],
    "export again": ["export", "2d-poisson", "model.zip"],
    "export int8": ["export", "2d-poisson", "int8", "--precision", "int4"],
    "export of no run": ["export", "simulated", "model2.zip"],
    "convert": ["export", "model.zip", "fiji.zip", "--format", "deepimagej"],
    "licence": ["export", "2d-poisson", "model3.zip", "--licence", "GPL"],
    "predict": ["predict", "model.zip", "plane.tif", "--out", "restored", "--engine", "onnxruntime"],
    "predict quietly": ["predict", "model.zip", "plane.tif", "--out", "restored", "--engine", "onnxruntime", "--quiet"],
    "predict in small tiles": ["predict", "model.zip", "plane.tif", "--out", "restored", "--tile", "16x16"],
    "predict by another engine": ["predict", "model.zip", "plane.tif", "--out", "restored", "--engine", "none"],
    "predict nothing": ["predict", "nowhere.zip", "plane.tif", "--out", "restored"],
    "damp": ["damp", "plane.tif", "damped.tif"],
    "damp too wide": ["damp", "plane.tif", "damped.tif", "--width", "900"],
}  # fmt: skip


def images(folder: Path) -> None:
    """plane.tif, volume.tif and others, without anything but numpy: no code of ours can change them."""
    rng = np.random.default_rng(7)
    for name, shape in (("plane", (112, 120)), ("volume", (14, 72, 80)), ("little", (20, 20))):
        grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
        waves = [np.cos(sum(g * k for g, k in zip(grids, rng.normal(0, 0.35, len(shape)), strict=True))) for _ in "abc"]
        light = np.clip(np.sum(waves, axis=0), 0, None) * 12
        counts = np.rint(100 + 2 * rng.poisson(light) + rng.normal(0, 2, shape))
        tifffile.imwrite(
            folder / f"{name}.tif", counts.astype(np.uint16), imagej=True, resolution=(1 / 0.08, 1 / 0.08),
            metadata={"axes": "ZYX"[-len(shape) :], "unit": "um", "spacing": 0.2},
        )  # fmt: skip
    (folder / "large.toml").write_text("patch = 1024\n")
    (folder / "unknown.toml").write_text("batchsize = 3\n")
    (folder / "student.toml").write_text(STUDENT)


def zsd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line, in one thread: sums over two come out differently from run to run of the suite."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", "import zsd; zsd.main()", *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def trained(folder: Path, name: str) -> None:
    """Run one of TRAININGS, 30 steps."""
    config, image, options = TRAININGS[name]
    (folder / f"{name}.toml").write_text(config)
    command = ["train", f"{image}.tif", "--out", name, "--config", f"{name}.toml", "--steps", "30", "--device", "cpu"]
    done = zsd(folder, *command, *options)
    assert done.returncode == 0, done.stderr


def weights(run: Path) -> dict[str, Any]:
    """What stands in a run's weights: a hash, and for each tensor its mean and its root mean square."""
    tensors = load_file(run / "weights.safetensors")
    state = {k: v for k, v in load_file(run / "state.safetensors").items() if k.startswith("network.")}
    return {"sha256": _sha256({**tensors, **state}), "moments": _moments(tensors)}


def exported(folder: Path, run: str, package: str) -> dict[str, Any]:
    """What a run's ONNX gives for numbers that never change, and what its package says."""
    done = zsd(folder, "export", run, package)
    assert done.returncode == 0, done.stderr
    session = ort.InferenceSession(str(folder / package / "model.onnx"), providers=["CPUExecutionProvider"])
    shape = [1, 1, 8, 32, 32] if run.startswith("3d") else [1, 1, 64, 64]
    noise = np.random.default_rng(1).random(shape, np.float32)
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"noisy": noise}), strict=True))
    rdf = yaml.safe_load((folder / package / "rdf.yaml").read_text())
    return {"sha256": _sha256(outputs), "moments": _moments(outputs), "rdf": _stable(rdf)}


def everything(folder: Path) -> dict[str, Any]:
    """All that is compared."""
    images(folder)
    results: dict[str, Any] = {"weights": {}, "exports": {}, "commands": {}}
    for name in TRAININGS:
        trained(folder, name)
        results["weights"][name] = weights(folder / name)
    done = zsd(
        folder, "compress", "2d-poisson", "student", "--config", "student.toml", "--image", "plane.tif",
        "--steps", "30", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results["weights"]["distilled"] = weights(folder / "student")
    for run in ("2d-poisson", "3d-recorrupt"):
        results["exports"][run] = exported(folder, run, f"package-{run}")
    for name, arguments in COMMANDS.items():
        done = zsd(folder, *arguments)
        last = (done.stderr if done.returncode else done.stdout).strip().splitlines()[-1]
        results["commands"][name] = [done.returncode, last]
    return results


def _stable(rdf: Any) -> Any:
    """The description without what differs from day to day and from version to version."""
    facts = rdf["config"]["zsd"]
    facts = {k: v for k, v in facts.items() if k not in ("exported", "zsd_version", "bytes_per_voxel", "schema")}
    for key in ("trained_on",):  # how long it took, and with what
        facts[key] = {k: re.sub(r" in [\d.]+ s", "", v) for k, v in facts[key].items() if k != "Versions"}
    del facts["provenance"]  # how the run describes itself: tests of the run look at it
    return {**rdf, "config": {**rdf["config"], "zsd": facts}, "timestamp": None}


def _sha256(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _moments(arrays: dict[str, Any]) -> dict[str, list[float]]:
    return {
        name: [float(np.mean(a, dtype=np.float64)), float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))]
        for name, a in sorted(arrays.items())
    }


def main() -> None:
    """Print, write or check."""
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(json.dumps(everything(Path(folder))))
    if "--write" in sys.argv:
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
        return
    if "--check" not in sys.argv:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    expected = json.loads(GOLDEN.read_text("utf-8"))
    differ = [
        f"{part} {name}: {expected[part].get(name)!s:.300} became {found[part].get(name)!s:.300}"
        for part in expected
        for name in expected[part]
        if expected[part].get(name) != found[part].get(name)
    ]
    print("\n".join(differ) or "all as it was, bit for bit")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
