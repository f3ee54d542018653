"""The command as people and scripts see it: exit status, the line that says what is wrong, nothing half-written."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from zsd_runtime.images import read_image

ZSD = [sys.executable, "-c", "import zsd; zsd.main()"]
QUICK = "steps = 3\npatch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 4\ndepth = 2\nhead = 8\n"


def zsd(*arguments, cwd=None, limit_kb=None):
    command = [*ZSD, *map(str, arguments)]
    if limit_kb is not None:
        command = ["bash", "-c", f'ulimit -f {limit_kb}; exec "$@"', "bash", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    result = zsd("simulate", folder / "sample", "--size", "96x112", "--gain", 2, "--seed", 3)
    assert result.returncode == 0, result.stderr
    (folder / "quick.toml").write_text(QUICK)
    return folder


def test_the_whole_way(sample, tmp_path):
    noisy = sample / "sample" / "noisy.tif"
    estimated = json.loads(zsd("noise", noisy, "--json").stdout)
    assert estimated["gain"] == pytest.approx(2, rel=0.3)
    steps = [
        ("train", noisy, "--psf", sample / "sample" / "psf.tif", "--out", tmp_path / "run", "--config",
         sample / "quick.toml", "--quiet"),
        ("export", tmp_path / "run", tmp_path / "model.zip", "--quiet"),
        ("predict", tmp_path / "model.zip", noisy, "--out", tmp_path / "out", "--quiet"),
    ]  # fmt: skip
    for step in steps:
        result = zsd(*step)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("OK ")
        assert len(result.stdout.splitlines()) == 1
        assert result.stderr == ""
    fine = read_image(tmp_path / "out" / "noisy_deconvolved.tif")
    assert fine.data.shape == (192, 224)
    assert fine.pixel_size_um == pytest.approx((0.0313, 0.0313))
    clean = sample / "sample" / "clean.tif"
    scores = json.loads(zsd("evaluate", tmp_path / "out" / "noisy_denoised.tif", "--truth", clean, "--json").stdout)
    assert scores["psnr"] > 10


def test_the_same_seed_gives_the_same_files(sample, tmp_path):
    zsd("simulate", tmp_path, "--size", "96x112", "--gain", 2, "--seed", 3)
    for name in ("noisy", "clean", "truth", "psf"):
        assert (tmp_path / f"{name}.tif").read_bytes() == (sample / "sample" / f"{name}.tif").read_bytes()


def test_predict_keeps_the_axes_of_a_stack_and_can_write_uint16(package, tmp_path):
    stack = np.random.default_rng(0).poisson(30, (3, 2, 21, 35)).astype(np.uint16) + 100
    tifffile.imwrite(tmp_path / "movie.tif", stack, imagej=True, metadata={"axes": "TCYX", "finterval": 2.0})
    result = zsd(
        "predict", package, tmp_path / "movie.tif", "--out", tmp_path, "--dtype", "uint16", "--tile", "200x200"
    )
    assert result.returncode == 0, result.stderr
    image = read_image(tmp_path / "movie_deconvolved.tif")
    assert (image.axes, image.data.shape, image.data.dtype) == ("TCYX", (3, 2, 42, 70), np.uint16)
    assert image.metadata["finterval"] == 2.0


def test_a_batch_finishes_what_it_can(package, sample, tmp_path):
    noisy = sample / "sample" / "noisy.tif"
    result = zsd("predict", package, tmp_path / "none.tif", noisy, "--out", tmp_path / "out")
    assert result.returncode == 2
    assert "1 of 2 images failed" in result.stderr
    assert (tmp_path / "out" / "noisy_denoised.tif").exists()


def test_a_full_disk_leaves_nothing(package, sample, tmp_path):
    noisy = sample / "sample" / "noisy.tif"
    result = zsd("predict", package, noisy, "--out", tmp_path / "out", limit_kb=20)
    assert result.returncode == 2
    assert "cannot write" in result.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == []


def _bad(sample: Path, tmp_path: Path) -> dict[str, tuple[tuple[object, ...], str]]:
    noisy, psf, config = sample / "sample" / "noisy.tif", sample / "sample" / "psf.tif", sample / "quick.toml"
    (tmp_path / "typo.toml").write_text("hesian_weight = 1\n")
    tifffile.imwrite(tmp_path / "even.tif", np.ones((64, 64), np.float32))
    tifffile.imwrite(tmp_path / "plain.tif", np.random.default_rng(0).poisson(9, (96, 96)).astype(np.uint16))
    tifffile.imwrite(tmp_path / "z.tif", np.ones((4, 96, 96), np.uint16), imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "small.tif", np.random.default_rng(0).poisson(9, (40, 96)).astype(np.uint16))
    out = ("--out", tmp_path / "never")
    train = ("train", noisy, *out, "--config", config)
    return {
        "no verb": (("frobnicate",), "no verb 'frobnicate'"),
        "missing image": (("train", tmp_path / "none.tif", "--psf", psf, *out), "does not exist"),
        "no psf": (train, "by nothing"),
        "two psfs": ((*train, "--psf", psf, "--psf-sigma", 1), "--psf and --psf-sigma"),
        "even psf": ((*train, "--psf", tmp_path / "even.tif", "--psf-pixel-size", 0.03), "crop it to 63x63"),
        "psf without size": ((*train, "--psf", tmp_path / "even.tif"), "--psf-pixel-size"),
        "psf size differs": ((*train, "--psf", psf, "--psf-pixel-size", 0.1), "0.0313 µm, --psf-pixel-size says 0.1"),
        "pixel size differs": ((*train, "--psf", psf, "--pixel-size", 0.1), "0.0626 µm, --pixel-size says 0.1"),
        "na without wavelength": ((*train, "--na", 1.4), "--wavelength"),
        "na too large": ((*train, "--na", 2, "--wavelength", 525), "refractive index"),
        "no pixel size": (("train", tmp_path / "plain.tif", *out, "--na", 1.4, "--wavelength", 525), "--pixel-size"),
        "typo": (("train", noisy, "--psf", psf, *out, "--config", tmp_path / "typo.toml"), "'hessian_weight'"),
        "gain": ((*train, "--psf", psf, "--gain", 0, "--offset", 1, "--read-noise", 1), "gain = 0"),
        "z stack": (("train", tmp_path / "z.tif", "--psf-sigma", 1, *out), "Z axis"),
        "small image": (("train", tmp_path / "small.tif", "--psf-sigma", 1, *out), "at least 64x64"),
        "no run": (("export", tmp_path / "none", tmp_path / "never"), "is not a run"),
        "precision": (("export", tmp_path, tmp_path / "never", "--precision", "int4"), "fp32, fp16, int8"),
        "output": (("export", tmp_path, tmp_path / "never", "--output", "uint16"), "add --input uint16"),
        "no package": (("predict", tmp_path / "none", noisy, *out), "does not exist"),
        "size": (("simulate", tmp_path / "never", "--size", "12by12"), "--size 12by12"),
        "same names": (("predict", tmp_path / "none", noisy, noisy, *out), "different folders"),
        "grids": (("evaluate", noisy, "--truth", sample / "sample" / "truth.tif"), "on the same grid"),
    }


def test_bad_input_is_one_line_exit_2_and_nothing_written(sample, tmp_path):
    for name, (arguments, message) in _bad(sample, tmp_path).items():
        result = zsd(*arguments)
        assert result.returncode == 2, (name, result.stdout, result.stderr)
        assert message in result.stderr, (name, result.stderr)
        assert result.stderr.rstrip().splitlines()[-1].startswith("error: "), (name, result.stderr)
        assert not (tmp_path / "never").exists(), name


def test_quiet_errors_are_a_last_line(tmp_path):
    result = zsd("noise", tmp_path / "none.tif", "--quiet")
    assert result.returncode == 2
    assert result.stdout.startswith("ERROR ")
    assert result.stderr == ""


def test_every_verb_has_help():
    verbs = [line.split()[0] for line in zsd("--help").stdout.splitlines() if line.startswith("  ")]
    assert verbs == [
        "simulate", "noise", "train", "evaluate", "psf", "export", "import-keras", "predict", "damp", "bench",
        "build-engine",
    ]  # fmt: skip
    for verb in verbs:
        result = zsd(verb, "--help")
        assert result.returncode == 0
        assert "Usage: zsd" in result.stdout


def test_results_do_not_replace_images(package, sample, tmp_path):
    for name in ("a.tif", "a_denoised.tif"):
        shutil.copy(sample / "sample" / "noisy.tif", tmp_path / name)
    before = (tmp_path / "a_denoised.tif").read_bytes()
    result = zsd("predict", package, tmp_path / "a.tif", tmp_path / "a_denoised.tif", "--out", tmp_path)
    assert result.returncode == 2
    assert "would replace" in result.stderr
    assert (tmp_path / "a_denoised.tif").read_bytes() == before


def test_start_up_is_quick(package, sample, tmp_path):
    """The best of three: a busy machine does not fail it, an import that should have waited does."""

    def seconds(run):
        times = []
        for _ in range(3):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        return min(times)

    python = [sys.executable, "-c"]
    alone = seconds(lambda: subprocess.run([*python, "pass"], check=True))
    assert seconds(lambda: subprocess.run([*python, "import zsd_runtime"], check=True)) - alone < 0.3
    assert seconds(lambda: zsd("predict", package, sample / "sample" / "noisy.tif", "--out", tmp_path)) < 2.5
