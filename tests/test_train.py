import csv
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import TINY, write_preview
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError
from zsd_runtime.errors import Interrupted
from zsd_train import TrainConfig, fit, load_run, train
from zsd_train.config import NetworkConfig, make_config
from zsd_train.networks.build import build
from zsd_train.state import PATIENCE, State

PSF = gaussian_psf(2.0)


def image(shape=(96, 96), seed=0):
    return simulate(shape, photons=40, camera=Camera(100, 1, 2), seed=seed).noisy


def tiny(**values):
    return make_config(**({"network": TINY, "patch": 32, "batch": 2, "steps": 12, "device": "cpu"} | values))


def weights(folder):
    return load_file(folder / "weights.safetensors")


def metrics(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_the_preview_is_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_write_preview", write_preview)
    seen = []
    train(
        [image()], PSF, tiny(), tmp_path / "run",
        preview=lambda preview: seen.append((tmp_path / "run" / "preview.png").read_bytes()),
    )  # fmt: skip
    assert len(set(seen)) > 2


def test_the_run_folder(run_folder):
    names = {path.name for path in run_folder.iterdir()}
    assert names == {
        ".training.lock", "config.toml", "weights.safetensors", "state.safetensors", "psf.tif", "sample.tif",
        "preview.png", "metrics.csv", "tensorboard",
    }  # fmt: skip
    rows = metrics(run_folder)
    assert len(rows) > 30
    assert float(rows[-1]["best_held_out_error"]) < 0.7 * float(rows[0]["held_out_error"])
    run = load_run(run_folder)
    assert run.measured.steps == 500
    assert run.offset == pytest.approx(100, abs=2)
    assert run.pixel_size_um == 0.0626


def test_the_same_seed_gives_the_same_weights(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train([image()], PSF, tiny(seed=seed), tmp_path / name)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_slow_validations_take_a_tenth_of_a_time_budget(tmp_path, monkeypatch):
    moments = []

    def slow(setup):
        moments.append(setup.state.seconds)
        time.sleep(0.15)
        return torch.zeros(4)

    monkeypatch.setattr("zsd_train.fit.validate", slow)
    train([image()], PSF, tiny(steps=None, minutes=0.05), tmp_path / "run")
    assert 2 <= len(moments) <= 6  # of the 40 that were due: at once, in a tenth of 3 s, and at the end
    assert moments[-1] >= 3


def test_the_learning_rate_rises_for_a_tenth_of_a_short_budget(tmp_path):
    train([image()], PSF, tiny(steps=40), tmp_path / "run")
    rates = {int(row["step"]): float(row["learning_rate"]) for row in metrics(tmp_path / "run")}
    assert rates[1] == pytest.approx(2e-3 / 100)
    for step in (5, 20, 39):
        assert rates[step] == pytest.approx(2e-3 * (1 - (step - 1) / 40))


def test_ctrl_c_saves_and_resuming_is_bit_for_bit_the_same(tmp_path):
    def interrupt(progress):
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    train([image()], PSF, tiny(), tmp_path / "straight")
    with pytest.raises(Interrupted, match="saved in"):
        train([image()], PSF, tiny(), tmp_path / "broken", report=interrupt)
    assert load_run(tmp_path / "broken").network is not None  # what was kept can be used as it is
    run = train([image()], PSF, None, tmp_path / "broken", resume=True)
    assert run.measured.steps == 12
    for name in ("weights", "state"):
        straight, resumed = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("straight", "broken"))
        assert straight.keys() == resumed.keys()
        assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    steps = [int(row["step"]) for row in metrics(tmp_path / "broken")]
    assert steps == sorted(steps)


def test_a_stop_file_of_before_does_not_end_a_resumed_training(tmp_path):
    train([image()], PSF, tiny(steps=2), tmp_path / "run")
    (tmp_path / "run" / "stop").touch()
    assert train([image()], PSF, tiny(steps=4), tmp_path / "run", resume=True).measured.steps == 4


def test_a_run_is_not_written_to_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in ("s3://lab/run", Path("s3:/lab/run")):
        with pytest.raises(InputError, match="is a URL; only zsd predict writes to one"):
            train([image()], PSF, tiny(steps=2), out)
    assert not list(tmp_path.iterdir())


def test_a_training_in_another_thread_stops_when_it_is_asked_to(tmp_path):
    """Off the main thread there is no Ctrl-C: `stop` is what a viewer has."""
    seen, ended = [], []

    def work():
        try:
            train([image()], PSF, tiny(steps=400), tmp_path / "run", report=seen.append, stop=lambda: len(seen) > 1)
        except Interrupted as error:
            ended.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert "saved in" in ended[0]
    assert seen[-1].step < 400
    assert load_run(tmp_path / "run").measured.steps is None  # it can be used, and resumed
    assert train([image()], PSF, make_config(steps=seen[-1].step + 3), tmp_path / "run", resume=True).measured.steps


def test_a_file_ends_a_training_with_the_result_so_far(tmp_path):
    """As viewers and job scripts do it, on any system; without it, these steps would go on."""

    def enough(progress):
        if progress.step == 1:
            (tmp_path / "run" / "stop").touch()

    run = train([image()], PSF, tiny(steps=400), tmp_path / "run", report=enough)
    steps, kept = run.measured.steps, run.measured.kept_step
    assert run.measured.stopped == f"stopped at step {steps} by the file stop; kept step {kept}"
    assert steps < 400
    assert [int(row["step"]) for row in metrics(tmp_path / "run")][-1] == run.measured.steps  # its last step was judged
    assert not (tmp_path / "run" / "stop").exists()
    assert train([image()], PSF, make_config(steps=9), tmp_path / "run", resume=True).measured.steps


def test_a_finished_run_goes_on_with_a_larger_budget(tmp_path):
    train([image()], PSF, tiny(steps=4), tmp_path / "run")
    run = train([image()], PSF, make_config(steps=40), tmp_path / "run", resume=True)
    assert run.measured.steps == 40
    assert run.measured.kept_step > 4
    with pytest.raises(InputError, match="another PSF"):
        train([image()], gaussian_psf(1.5), None, tmp_path / "run", resume=True)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    train([image()], PSF, tiny(steps=3), tmp_path / "run")
    before = weights(tmp_path / "run")
    train([image()], PSF, None, tmp_path / "run", resume=True)
    after = weights(tmp_path / "run")
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("seed", range(20))
def test_no_network_dies(seed, tmp_path):
    """A published-style final ReLU can stay at zero for a whole run."""
    config = make_config(steps=60, patch=32, batch=2, seed=seed, device="cpu")
    run = train([image((64, 64), seed)], PSF, config, tmp_path / "run")
    with torch.inference_mode():
        noisy = torch.tensor((run.sample[None, None] - run.offset) / run.scale, dtype=torch.float32)
        for output in run.network(noisy):
            assert output.mean() > 0.02
            assert output.std() > 0.02


def test_the_best_weights_are_kept_and_a_turn_is_told_from_a_wobble():
    network = build(TINY, "yx")
    state = State(network, torch.optim.Adam(network.parameters()), torch.Generator(), torch.Generator())
    targets = 1 + torch.rand(20)  # the tiles' own noise, the same in every validation
    for step, error in enumerate([0.5, 0.3, 0.1]):
        state.step = step
        state.judge(targets + error)
    assert (state.best_step, state.worse) == (2, 0)
    wobble = torch.tensor([0.05, -0.04] * 10)
    state.judge(targets + 0.1 + wobble)
    assert state.worse == 0  # worse on the mean, not significantly
    for count in range(1, PATIENCE + 1):
        state.judge(targets + 0.12 + 0.1 * wobble)
        assert state.worse == count


def test_bf16_and_the_other_losses_train(tmp_path):
    config = tiny(loss="mae", tv_weight=0.01, l1_weight=0.01, precision="bf16", recorruption="gaussian", holdout=0)
    run = train([image(), image(seed=1)], PSF, config, tmp_path / "run")
    assert run.measured.images == [[96, 96], [96, 96]]
    assert all(np.isfinite(t.numpy()).all() for t in run.network.state_dict().values())


def test_known_camera_values_are_used(tmp_path):
    run = train([image()], PSF, tiny(offset=90, gain=1.2, read_noise=3, steps=1), tmp_path / "run")
    assert run.offset == 90
    assert run.measured.noise.gain == 1.2


def test_without_upsampling_both_outputs_share_a_grid(tmp_path):
    network = NetworkConfig(**(TINY.model_dump() | {"grid_factor": 1}))
    run = train([image()], PSF, tiny(network=network, steps=2), tmp_path / "run")
    assert run.network(torch.zeros(1, 1, 8, 8)).deconvolved.shape == (1, 1, 8, 8)


def test_a_run_with_a_gain_that_cannot_be_told(tmp_path):
    rng = np.random.default_rng(0)
    dim = simulate((96, 96), photons=8, camera=Camera(100, 0.3, 10), seed=0).noisy
    assert train([dim + rng.normal(0, 0.1, dim.shape)], PSF, tiny(), tmp_path / "run").measured.noise.gain == 0


BAD = {
    "none": ([], PSF, "at least one"),
    "small": ([np.zeros((20, 90))], PSF, "at least 32x32"),
    "constant": ([np.full((64, 64), 3)], PSF, "constant"),
    "nan": ([np.full((64, 64), np.nan)], PSF, "NaN"),
    "stack": ([np.zeros((3, 64, 64))], PSF, "not YX"),
    "psf": ([image()], np.ones((4, 4)) / 16, "odd-sized"),
    "large psf": ([image((64, 64))], gaussian_psf(20.0), "larger than the image"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_trained_is_told_and_leaves_nothing(name, tmp_path):
    images, psf, message = BAD[name]
    with pytest.raises(InputError, match=message):
        train(images, psf, tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_are_not_overwritten_or_mixed_up(tmp_path, run_folder):
    with pytest.raises(InputError, match="already holds a run"):
        train([image()], PSF, tiny(), run_folder)
    with pytest.raises(InputError, match="other images"):
        train([image()], PSF, tiny(), run_folder, resume=True)
    with pytest.raises(InputError, match="cannot be resumed"):
        train([image()], PSF, tiny(), tmp_path / "none", resume=True)
    with pytest.raises(InputError, match="is not a run"):
        load_run(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(run_folder, broken)
    (broken / "weights.safetensors").write_bytes(b"garbage")
    with pytest.raises(InputError, match="damaged"):
        load_run(broken)
    (broken / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        load_run(broken)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_a_missing_gpu_is_told(tmp_path):
    with pytest.raises(InputError, match="no CUDA GPU"):
        train([image()], PSF, tiny(device="cuda"), tmp_path / "run")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        train([image()], PSF, tiny(), tmp_path / "file" / "run")


def test_default_config_is_the_compact_preset():
    assert TrainConfig() == make_config(preset="compact")
