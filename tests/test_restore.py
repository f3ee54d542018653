"""`zsd restore`: images in, results out, with a model for further images; interrupted, continued, and refused."""

import re
import signal

import numpy as np
import pytest
import tifffile

from tests.command import zsd
from zsd_runtime import load_model
from zsd_runtime.images import read_image
from zsd_train.state import State

QUICK = "patch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 2\ndepth = 1\nhead = 4\n"
PLANE, VOLUME = {"--psf-sigma": "1.2"}, {"--psf-sigma": "1.2x1.1"}


@pytest.fixture
def folder(tmp_path):
    """Two planes and a volume of one sample each, and a configuration that is done in a moment."""
    rng = np.random.default_rng(0)
    for name, shape in (("a", (72, 80)), ("b", (64, 72)), ("stack", (6, 48, 56))):
        tifffile.imwrite(
            tmp_path / f"{name}.tif", (rng.poisson(30, shape) + 100).astype(np.uint16), imagej=True,
            resolution=(10, 10), metadata={"axes": "ZYX"[-len(shape) :], "unit": "um", "spacing": 0.3},
        )  # fmt: skip
    tifffile.imwrite(tmp_path / "nan.tif", np.full((64, 64), np.nan, np.float32))
    (tmp_path / "quick.toml").write_text(QUICK)
    (tmp_path / "volume.toml").write_text("slices = 4\n" + QUICK)
    return tmp_path


def restore(folder, *images, out="out", config="quick.toml", **options):
    """`zsd restore` of images in a folder, a few steps long."""
    given = {"--config": folder / config, "--steps": 3, "--out": folder / out, **PLANE, **options}
    flags = [part for name, value in given.items() for part in ((name,) if value is True else (name, value))]
    return zsd("restore", *(folder / name for name in images), *flags)


def test_two_planes_and_a_third_by_the_model(folder):
    result = restore(folder, "a.tif", "b.tif", **{"--quiet": True})
    assert (result.returncode, result.stderr) == (0, "")
    out = folder / "out"
    assert result.stdout == (
        f"OK results are in {out}; restore further images with: "
        f"zsd predict {out}/model.zip IMAGE --out {out} --average 8\n"
    )
    assert {path.name for path in out.iterdir()} == {
        "a_denoised.tif", "a_deconvolved.tif", "b_denoised.tif", "b_deconvolved.tif", "model.zip", "run"
    }  # fmt: skip
    fine = read_image(out / "a_deconvolved.tif")
    assert fine.data.shape == (144, 160)
    assert fine.voxel.x_um == pytest.approx(0.05)
    with load_model(out / "model.zip", "cpu") as model:
        assert model.description.name == "zsd out"
        expected = model.predict(read_image(folder / "b.tif").data, average=8)
    np.testing.assert_allclose(read_image(out / "b_denoised.tif").data, expected.denoised, rtol=1e-5)


def test_a_volume_and_its_progress(folder):
    result = restore(folder, "stack.tif", config="volume.toml", **VOLUME)
    assert result.returncode == 0, result.stderr
    assert read_image(folder / "out" / "stack_deconvolved.tif").data.shape == (6, 96, 112)
    stages = [re.search(text, result.stderr) for text in ("budget spent at step 3", "exporting", r"stack.tif 100 %")]
    assert all(stages), result.stderr


def test_an_earlier_restoration_stays_unless_it_is_to_go(folder):
    assert restore(folder, "a.tif").returncode == 0
    before = (folder / "out" / "model.zip").read_bytes()
    refused = restore(folder, "a.tif")
    assert refused.returncode == 2
    assert "already holds a restoration: choose another --out, continue it with --resume, or" in refused.stderr
    assert (folder / "out" / "model.zip").read_bytes() == before
    assert restore(folder, "b.tif", **{"--overwrite": True, "--steps": 2}).returncode == 0
    assert "steps = 2" in (folder / "out" / "run" / "config.toml").read_text()
    assert (folder / "out" / "b_denoised.tif").exists()
    refused = restore(folder, "a.tif", **{"--resume": True})
    assert refused.returncode == 2
    assert "was trained on other images" in refused.stderr


def test_interrupted_and_resumed_is_as_without(folder, monkeypatch):
    assert restore(folder, "a.tif", out="whole", **{"--resume": True}).returncode == 0  # nothing is there: it begins
    average = State.average

    def interrupted(self, *arguments):
        average(self, *arguments)
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(State, "average", interrupted)
        result = restore(folder, "a.tif", **{"--quiet": True})
    assert result.returncode == 1
    assert result.stdout.startswith("ERROR interrupted at step 2, saved in ")
    assert result.stdout.rstrip().endswith("--resume")
    assert [path.name for path in (folder / "out").iterdir()] == ["run"]
    assert restore(folder, "a.tif", **{"--resume": True}).returncode == 0
    for name in ("a_denoised.tif", "a_deconvolved.tif"):
        np.testing.assert_allclose(
            read_image(folder / "out" / name).data, read_image(folder / "whole" / name).data, rtol=1e-5, atol=1e-4
        )


BAD = {
    "no psf": (["a.tif"], {"--psf-sigma": ""}, "psf-sigma"),
    "negative sigma": (["a.tif"], {"--psf-sigma": -1}, "--psf-sigma -1 must be above 0 and below 50 raw pixels"),
    "missing image": (["none.tif"], {}, "none.tif does not exist"),
    "plane and volume": (["a.tif", "stack.tif"], {}, "planes and volumes"),
    "nan": (["nan.tif"], {}, "NaN"),
    "scheme": (["a.tif"], {"--scheme": "odd"}, "odd"),
    "both budgets": (["a.tif"], {"--minutes": 1}, "minutes and steps"),
    "result over image": (["a.tif", "out/a_denoised.tif"], {}, "would replace"),
    "same names": (["a.tif", "other/a.tif"], {}, "different folders"),
    "no package": (["b.tif"], {"--out": "taken", "--overwrite": True}, "taken/model.zip is left alone"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_before_anything_is_trained(name, folder):
    for place in ("other/a.tif", "out/a_denoised.tif", "taken/model.zip"):
        (folder / place).parent.mkdir()
        (folder / place).write_bytes((folder / "a.tif").read_bytes())
    images, options, message = BAD[name]
    options = {k: folder / v if k == "--out" else v for k, v in options.items()}
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = restore(folder, *images, **options)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_cannot_be_trained_replaces_nothing(folder):
    assert restore(folder, "a.tif").returncode == 0
    before = (folder / "out" / "run" / "weights.safetensors").read_bytes()
    tifffile.imwrite(folder / "small.tif", np.arange(576, dtype=np.uint16).reshape(24, 24))
    result = restore(folder, "small.tif", **{"--overwrite": True})
    assert (result.returncode, "at least 32x32" in result.stderr) == (2, True)
    assert (folder / "out" / "run" / "weights.safetensors").read_bytes() == before
    assert {path.name for path in (folder / "out").iterdir()} == {
        "a_denoised.tif", "a_deconvolved.tif", "model.zip", "run"
    }  # fmt: skip
