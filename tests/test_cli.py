"""The command as people and scripts see it: exit status, the line that says what is wrong, nothing half-written."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.command import zsd
from zsd_runtime.images import read_image

ZSD = [sys.executable, "-c", "import zsd; zsd.main()"]
QUICK = "steps = 3\npatch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 4\ndepth = 2\nhead = 8\n"

OLD_PACKAGE = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"


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
    assert (fine.voxel.y_um, fine.voxel.x_um) == pytest.approx((0.0313, 0.0313))
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
    assert image.description.time_step_s == 2.0


def test_a_batch_finishes_what_it_can(package, sample, tmp_path):
    noisy = sample / "sample" / "noisy.tif"
    result = zsd("predict", package, tmp_path / "none.tif", noisy, "--out", tmp_path / "out")
    assert result.returncode == 2
    assert "1 of 2 images failed" in result.stderr
    assert (tmp_path / "out" / "noisy_denoised.tif").exists()


def test_a_folder_is_the_images_in_it_and_a_program_sees_how_far_it_is(package, sample, tmp_path):
    for name in ("b.tif", "a.tiff", ".shadow.tif", "notes.txt"):
        shutil.copy(sample / "sample" / "noisy.tif", tmp_path / name)
    result = zsd("predict", package, tmp_path, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == ["a.tiff (1 of 2) 100 %", "b.tif (2 of 2) 100 %"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a_deconvolved.tif", "a_denoised.tif", "b_deconvolved.tif", "b_denoised.tif"
    ]  # fmt: skip


def test_whoever_terminates_it_finds_nothing_half_written(package, tmp_path):
    tifffile.imwrite(tmp_path / "large.tif", np.random.default_rng(0).poisson(30, (4000, 4000)).astype(np.uint16))
    command = [*ZSD, "predict", package, tmp_path / "large.tif", "--out", tmp_path / "out", "--tile", "96x96"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("large.tif ")
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "error: interrupted; nothing was left half-written"
    assert [p.name for p in (tmp_path / "out").iterdir()] == []


def test_a_full_disk_leaves_nothing(package, sample, tmp_path):
    noisy = sample / "sample" / "noisy.tif"
    command = [*ZSD, "predict", package, noisy, "--out", tmp_path / "out"]
    limited = ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash", *map(str, command)]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "cannot write" in result.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == []


def _bad(sample: Path, tmp_path: Path) -> dict[str, tuple[tuple[object, ...], str]]:
    noisy, psf, config = sample / "sample" / "noisy.tif", sample / "sample" / "psf.tif", sample / "quick.toml"
    (tmp_path / "typo.toml").write_text("hesian_weight = 1\n")
    tifffile.imwrite(tmp_path / "even.tif", np.outer(*[np.hanning(64) ** 8] * 2).astype(np.float32))
    tifffile.imwrite(tmp_path / "plain.tif", np.random.default_rng(0).poisson(9, (96, 96)).astype(np.uint16))
    tifffile.imwrite(tmp_path / "z.tif", np.ones((4, 96, 96), np.uint16), imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "small.tif", np.random.default_rng(0).poisson(9, (40, 96)).astype(np.uint16))
    tifffile.imwrite(tmp_path / "noisy.tif", np.ones((96, 96), np.uint16))
    tifffile.imwrite(tmp_path / "frames.tif", np.ones((4, 96, 96), np.uint16), imagej=True, metadata={"axes": "TYX"})
    (empty := tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "never")
    train = ("train", noisy, *out, "--config", config)
    return {
        "no verb": (("frobnicate",), "no verb 'frobnicate'"),
        "missing image": (("train", tmp_path / "none.tif", "--psf", psf, *out), "does not exist"),
        "no psf": (train, "by nothing"),
        "two psfs": ((*train, "--psf", psf, "--psf-sigma", 1), "--psf and --psf-sigma"),
        "even psf": ((*train, "--psf", tmp_path / "even.tif", "--psf-pixel-size", 0.03), "crop it to 63x63"),
        "psf without size": ((*train, "--psf", tmp_path / "even.tif"), "--psf-pixel-size"),
        "pixel size below 0": ((*train, "--psf", psf, "--pixel-size", -0.1), "--pixel-size -0.1 must be above 0 µm"),
        "pixel size nan": ((*train, "--psf", psf, "--pixel-size", "nan"), "--pixel-size nan must be above 0 µm"),
        "psf size 0": ((*train, "--psf", psf, "--psf-pixel-size", 0), "--psf-pixel-size 0 must be above 0 µm"),
        "na without wavelength": ((*train, "--na", 1.4), "--wavelength"),
        "na too large": ((*train, "--na", 2, "--wavelength", 525), "refractive index"),
        "no pixel size": (("train", tmp_path / "plain.tif", *out, "--na", 1.4, "--wavelength", 525), "--pixel-size"),
        "typo": (("train", noisy, "--psf", psf, *out, "--config", tmp_path / "typo.toml"), "'hessian_weight'"),
        "gain": ((*train, "--psf", psf, "--gain", 0, "--offset", 1, "--read-noise", 1), "gain = 0"),
        "z stack": (("train", tmp_path / "z.tif", "--psf-sigma", 1, *out), "must be two"),
        "small image": (("train", tmp_path / "small.tif", "--psf-sigma", 1, *out), "at least 64x64"),
        "no run": (("export", tmp_path / "none", tmp_path / "never"), "is not a run"),
        "precision": (("export", tmp_path, tmp_path / "never", "--precision", "int4"), "fp32, fp16, int8"),
        "output": (("export", tmp_path, tmp_path / "never", "--output", "uint16"), "set --input to uint16"),
        "no package": (("predict", tmp_path / "none", noisy, *out), "does not exist"),
        "empty folder": (("predict", tmp_path / "none", empty, *out), "empty is a folder without images"),
        "size": (("simulate", tmp_path / "never", "--size", "12by12"), "--size 12by12"),
        "given twice": (("predict", OLD_PACKAGE, noisy, noisy, *out), "is given twice: give it once"),
        "same names": (("predict", OLD_PACKAGE, noisy, tmp_path / "noisy.tif", *out), "different folders"),
        "frames or slices": (
            ("predict", OLD_PACKAGE, tmp_path / "frames.tif", "--z-step", 0.3, *out),
            "say --axes ZYX if these are slices",
        ),
        "frames or slices of a filter": (
            ("filter", tmp_path / "frames.tif", "--kind", "median", "--size", "3x3", *out),
            "give one number, for planes, or say --axes ZYX if its frames are slices",
        ),
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
    lines = zsd("--help").stdout.splitlines()
    assert [line for line in lines if line.endswith(":")] == [
        "from image to result:", "training:", "models:", "optics and filters:", "machines:"
    ]  # fmt: skip
    verbs = [line.split()[0] for line in lines if line.startswith("  ")]
    assert verbs == [
        "info", "restore", "predict", "watch", "live", "train", "export", "compress", "import-keras", "import-torch",
        "inspect", "simulate", "noise", "psf", "sim", "filter", "damp", "compare", "evaluate", "resolution", "serve",
        "plan", "bench", "build-engine",
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


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A small volume with its voxel size, without it, and PSFs that fit and that do not."""
    folder = tmp_path_factory.mktemp("stack")
    data = (np.random.default_rng(0).poisson(30, (12, 48, 56)) + 100).astype(np.uint16)
    known = {"resolution": (10, 10), "metadata": {"axes": "ZYX", "spacing": 0.3, "unit": "um"}}
    tifffile.imwrite(folder / "noisy.tif", data, imagej=True, **known)
    tifffile.imwrite(folder / "bare.tif", data, imagej=True, metadata={"axes": "ZYX"})
    z, y, x = np.ogrid[-4:5, -6:7, -6:7]
    for name, depth, step in (("psf", 2.0, 0.3), ("isotropic", 1.5, 0.05), ("bare-psf", 2.0, None)):
        psf = np.exp(-0.5 * ((z / depth) ** 2 + (y / 2.5) ** 2 + (x / 2.5) ** 2)).astype(np.float32)
        metadata = {"axes": "ZYX", "unit": "um"} | ({"spacing": step} if step else {})
        tifffile.imwrite(folder / f"{name}.tif", psf, imagej=True, resolution=(20, 20), metadata=metadata)
    tifffile.imwrite(folder / "even.tif", psf[1:], imagej=True, resolution=(20, 20), metadata=metadata)
    (folder / "quick.toml").write_text(QUICK.replace("steps = 3", "steps = 2\nslices = 6"))
    return folder


def test_a_volume_from_the_command_line(stack, tmp_path):
    result = zsd("train", stack / "noisy.tif", "--psf", stack / "psf.tif", "--out", tmp_path / "run", "--config",
                 stack / "quick.toml", "--scheme", "odd-even", "--quiet")  # fmt: skip
    assert result.returncode == 0, result.stderr + result.stdout
    text = (tmp_path / "run" / "config.toml").read_text()
    assert 'axes = "zyx"' in text
    assert 'kind = "odd-even"' in text
    assert "z_step_um = 0.3" in text


BAD_VOLUMES = {
    "no z step": (["bare.tif", "--psf", "psf.tif", "--pixel-size", 0.1], "does not say its z step.*--z-step"),
    "no pixel size": (["bare.tif", "--psf", "psf.tif", "--z-step", 0.3], "does not say its pixel size.*--pixel-size"),
    "no step of the psf": (["noisy.tif", "--psf", "bare-psf.tif"], "bare-psf.tif does not say its z step"),
    "endless step": (["noisy.tif", "--psf", "psf.tif", "--z-step", "inf"], "--z-step inf must be above 0"),
    "isotropic": (["noisy.tif", "--psf", "isotropic.tif"], "isotropic.tif with voxels of 0.05x0.05.*correct the PSF"),
    "even": (["noisy.tif", "--psf", "even.tif", "--psf-z-step", 0.3], "8x13x13; a PSF needs an odd size"),
    "sigma": (["noisy.tif", "--psf-sigma", 1.2], "--psf-sigma 1.2 must be two"),
    "few slices": (
        ["noisy.tif", "--psf-sigma", "1.2x1", "--scheme", "odd-even", "--slices", 8],
        "12 slices.*at least 16.*--slices to 6",
    ),
    "scheme": (["noisy.tif", "--psf-sigma", "1.2x1", "--scheme", "odd"], "scheme = 'odd'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VOLUMES)
def test_what_is_wrong_with_a_volume_is_told(name, stack, tmp_path):
    arguments, message = BAD_VOLUMES[name]
    arguments = [stack / a if str(a).endswith(".tif") else a for a in arguments]
    result = zsd("train", *arguments, "--out", tmp_path / "run", "--config", stack / "quick.toml")
    assert result.returncode == 2
    assert re.search(message, result.stderr), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
