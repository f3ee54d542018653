import json
import os
import signal

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch

from tests.command import zsd
from tests.conftest import TINY
from zsd_export import compare as module
from zsd_export import export
from zsd_export.compare import compare, picture
from zsd_export.compress import compress, student_config
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError, Prediction, load_model
from zsd_runtime.errors import Interrupted
from zsd_train import load_run, train
from zsd_train.config import RCANConfig, make_config

QUICK = {"steps": 20, "batch": 2, "device": "cpu"}
SMALL = {"width": 3, "depth": 1, "head": 4}


@pytest.fixture(scope="module")
def compressed(run_folder, simulation, tmp_path_factory):
    out = tmp_path_factory.mktemp("compressed") / "small"
    truths = {"denoised": simulation.clean, "deconvolved": simulation.truth}
    rows = compress(
        run_folder, out, width=2, choices={"steps": 60, "batch": 2}, images=[simulation.noisy], truths=truths
    )
    return out, rows


def test_the_table_is_of_both_networks_in_all_precisions(compressed, run_folder):
    out, rows = compressed
    teacher, student = load_run(run_folder), load_run(out)
    assert [(row.name, row.precision) for row in rows] == [
        (name, precision) for name in ("cell run", "small") for precision in ("fp32", "fp16", "int8")
    ]
    first, pruned = rows[0], rows[3]
    assert first.lost_db == first.lost_of_truth_db == {"denoised": 0, "deconvolved": 0}
    assert first.speedup == 1
    for row, run in ((first, teacher), (pruned, student)):
        assert row.parameters == sum(p.numel() for p in run.network.parameters())
        assert 4e-6 * row.parameters < row.size_mb
    assert rows[1].size_mb < first.size_mb
    assert pruned.parameters < first.parameters
    assert pruned.lost_db["deconvolved"] > rows[1].lost_db["deconvolved"]  # fp16 is nearer than half of the channels
    assert all(row.megapixels_per_s > 0 and row.engine for row in rows)
    assert json.loads((out / "compressed.json").read_text())["rows"][3]["lost_db"] == pruned.lost_db


def test_a_compressed_run_says_where_it_comes_from_and_is_exported_like_any_other(compressed, simulation, tmp_path):
    out, rows = compressed
    measured = load_run(out).measured
    assert measured.compressed["teacher"] == "cell run"
    assert measured.compressed["started_from"] == "the teacher's strongest filters"
    assert measured.compressed["rows"][3]["lost_of_truth_db"] == rows[3].lost_of_truth_db
    assert len(measured.teacher_sha256) == 64
    with load_model(export(out, tmp_path / "small.zip")) as model:
        assert model.predict(simulation.noisy).deconvolved.shape == simulation.truth.shape


def test_a_truth_tells_what_was_lost(run_folder, simulation):
    """Of the teacher and a spoilt copy of it: the outputs that are nearer to the truth have the higher PSNR."""
    teacher, spoilt = load_run(run_folder), load_run(run_folder)
    with torch.no_grad():
        torch.nn.init.normal_(spoilt.network.to_deconvolved.weight, 0, 0.1)
    rows, restored = compare({"a": teacher, "b": spoilt}, simulation.noisy, {"deconvolved": simulation.truth})
    np.testing.assert_array_equal(restored["a", "fp32"].denoised, restored["b", "fp32"].denoised)
    lost = {(row.name, row.precision): (row.lost_db, row.lost_of_truth_db) for row in rows}
    assert lost["b", "fp32"][0]["denoised"] == 0
    assert lost["b", "fp32"][0]["deconvolved"] > 1
    assert lost["b", "fp32"][1]["deconvolved"] > 0.1


def test_parts_of_a_truth_lie_where_the_view_does():
    image = np.arange(21 * 34).reshape(21, 34)
    view = image[2:18, 1:33]
    fine = image.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(module._same_part(image, image, view), view)
    np.testing.assert_array_equal(module._same_part(fine, image, view), view.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    ("network", "rows"), [(TINY, 6), (RCANConfig(kind="rcan", width=6, blocks=2, head=6, window=(3, 5, 5)), 5)]
)
def test_volumes(network, rows, tmp_path):
    volume = simulate((8, 64, 64), photons=60, camera=Camera(100, 1, 2), seed=0).noisy
    config = make_config(axes="zyx", network=network, patch=32, slices=4, batch=1, steps=5, device="cpu")
    train([volume], gaussian_psf(1.0, 2.0), config, tmp_path / "teacher")
    table = compress(tmp_path / "teacher", tmp_path / "small", choices={"network": SMALL, **QUICK, "steps": 3})
    assert len(table) == rows  # int8 is for U-Nets
    assert table[-1].parameters < table[0].parameters
    assert iio.imread(tmp_path / "small" / "compressed.png").ndim == 2


def test_ctrl_c_saves_and_resuming_goes_on(run_folder, tmp_path):
    def interrupt(progress):
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "small"
    with pytest.raises(Interrupted, match="saved in"):
        compress(run_folder, out, width=2, choices=QUICK, report=interrupt)
    assert not (out / "compressed.json").exists()
    assert [path for path in out.iterdir() if path.name.endswith(".tmp")] == []
    rows = compress(run_folder, out, resume=True)  # what to make need not be said again
    assert rows[3].name == "small"
    assert load_run(out).measured.steps == 20
    noisy = load_run(run_folder)
    with pytest.raises(InputError, match="another teacher"):
        train([noisy.sample], noisy.psf, None, out, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 4}, r"would have \d+ parameters.*: choose a smaller one, for instance with `width` 2"),
        ({}, "choose a smaller one"),
        ({"width": 1}, "network.width = 1"),
        ({"width": 2, "choices": {"network": SMALL}}, r"`width` 2 and \[network\]"),
        ({"choices": {"network": SMALL, "hesian_weight": 1}}, "did you mean 'hessian_weight'"),
        ({"choices": {"network": SMALL | {"grid_factor": 1}}}, "network.grid_factor = 1"),
        ({"width": 2, "choices": {"scheme": "odd-even"}}, "scheme odd-even"),
        ({"width": 2, "truths": {"denoised": np.zeros((5, 5))}}, "truth of denoised is 5x5"),
        ({"width": 2, "images": [np.zeros((4, 64, 64))]}, "is not YX"),
    ],
)
def test_bad_input_is_told_and_nothing_written(run_folder, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        compress(run_folder, tmp_path / "small", **options)
    assert list(tmp_path.iterdir()) == []


def test_patches_are_not_larger_than_the_teachers(run_folder):
    assert student_config(load_run(run_folder), 2, {}).patch == 32
    assert student_config(load_run(run_folder), 2, {"patch": 48}).patch == 48


def test_the_picture_shows_differences_ten_times_as_strong_around_grey():
    ramp = np.tile(np.linspace(0, 100, 128, dtype=np.float32), (128, 1))
    teacher = Prediction(denoised=ramp, deconvolved=ramp.repeat(2, 0).repeat(2, 1))
    brighter = Prediction(denoised=ramp + 2, deconvolved=teacher.deconvolved)
    panels = picture(teacher, [brighter]).astype(float)
    assert panels.shape == (256 + 4 + 256, 3 * 256 + 2 * 4)
    difference = panels[:, -256:]
    assert np.ptp(difference[:256]) <= 1
    assert difference[0, 0] - difference[-1, 0] == pytest.approx(255 * 0.5 * 10 * 2 / 100, abs=3)


def test_the_command(run_folder, simulation, tmp_path):
    tifffile.imwrite(tmp_path / "noisy.tif", simulation.noisy)
    tifffile.imwrite(tmp_path / "clean.tif", simulation.clean)
    (tmp_path / "quick.toml").write_text("batch = 1\ndevice = 'cpu'\n[network]\nwidth = 2\ndepth = 1\nhead = 4\n")
    arguments = ("--config", tmp_path / "quick.toml", "--steps", 3, "--image", tmp_path / "noisy.tif")
    result = zsd("compress", run_folder, tmp_path / "small", *arguments, "--clean", tmp_path / "clean.tif", "--json")
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows[::3]] == ["cell run", "small"]
    assert set(rows[3]["lost_of_truth_db"]) == {"denoised"}
    again = zsd("compress", run_folder, tmp_path / "small", *arguments, "--resume", "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("OK ")
    assert len(again.stdout.splitlines()) == 1
    wrong = zsd("compress", run_folder, tmp_path / "other", "--width", 2, "--truth", tmp_path / "clean.tif")
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[-1].startswith("error: --clean and --truth belong to an image")


def test_an_empty_image_is_said(run_folder, tmp_path, monkeypatch):
    """A student whose features died gives a constant image."""
    monkeypatch.setattr("zsd_export.compress.EMPTY", 1e9)
    said = []
    compress(run_folder, tmp_path / "small", width=2, choices={"steps": 1}, notice=said.append)
    assert [text for text in said if "image of small is empty" in text]


def test_a_student_has_the_scales_of_its_teacher(run_folder):
    teacher = load_run(run_folder)
    assert not teacher.config.network.coarse
    assert student_config(teacher, None, {"network": {"width": 2, "depth": 2, "head": 4}}).network.coarse is False
