"""Several processes train one network (gloo on the CPU); what needs GPUs or a cluster is not tested."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.test_train import PSF, image, tiny
from zsd_runtime import InputError
from zsd_train import train
from zsd_train.processes import processes_for

SCRIPT = Path(__file__).with_name("distributed_run.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
BLIND = {"scheme": "blind-spot", "steps": 12}


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No launcher has started the tests."""
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)


def run(folder, *trainings, launcher=()):
    """Trainings, (name of the folder, choices) each, one after the other; what each process says of each."""
    done = subprocess.run(
        [sys.executable, *launcher, SCRIPT, folder, json.dumps(trainings)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])},
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def curve(folder):
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return {int(row["step"]): float(row["loss"]) for row in rows}


def assert_alike(found, expected, step=50):
    """Losses to the digits of the log, and everything that is trained to the rounding of double precision."""
    assert curve(found) == pytest.approx(curve(expected), rel=2e-6)
    a, b = (load_file(folder / "state.safetensors") for folder in (found, expected))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        if tensor.dtype == torch.float64:
            torch.testing.assert_close(tensor, b[name], rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert torch.equal(tensor, b[name]), name
    assert f"step {step}" in json.dumps((found / "config.toml").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trainings one after the other, as each process that is started imports torch: their folder, and what was said."""
    folder, two = tmp_path_factory.mktemp("trained"), {"devices": 2}
    said = run(
        folder,
        ("recorrupt", {}), ("blind-spot", BLIND),
        ("killed", two | {"send": [signal.SIGKILL, 1, 15]}), ("killed", {"resume": True}),
        ("stopped", two | {"send": [signal.SIGINT, 1, 20]}), ("stopped", two | {"resume": True}),
    )  # fmt: skip
    return folder, said


def test_two_processes_learn_as_one_does_also_after_an_interruption(trained):
    folder, (*_, first, second) = trained
    assert first["said"] == f"Interrupted: interrupted at step 22, saved in {folder / 'stopped'}"
    assert any("2 processes train together" in message for message in first["messages"])
    assert second == second | {"said": "done", "left": []}
    assert_alike(folder / "stopped", folder / "recorrupt")
    weights = load_file(folder / "stopped" / "state.safetensors")
    for name, tensor in load_file(folder / "follower").items():
        assert torch.equal(tensor, weights[f"network.{name}"]), name


def test_a_killed_process_ends_all_and_one_process_goes_on(trained):
    folder, (*_, lost, after, _, _) = trained
    assert lost["said"].startswith("RuntimeError: process 1 of 2 was killed (SIGKILL")
    assert lost["said"].endswith(f"{folder / 'killed'} was saved before: continue with --resume")
    assert lost["left"] == []
    assert after["said"] == "done"
    assert_alike(folder / "killed", folder / "recorrupt")


def test_torchrun_starts_the_processes_and_blind_spots_share_a_batch(trained, tmp_path):
    said = run(tmp_path, ("run", BLIND), launcher=TORCHRUN)
    assert [each["said"] for each in said] == ["done"] * 2
    assert sorted(len(each["messages"]) > 0 for each in said) == [False, True]  # one process reports
    assert_alike(tmp_path / "run", trained[0] / "blind-spot", step=12)


@pytest.mark.parametrize(
    ("devices", "nodes", "message"),
    [
        (3, None, "batch = 2 patches cannot be shared by 3 processes: set batch in the configuration to 3,"),
        (0, None, "`devices` 0 must be 1 or more"),
        (1, 2, "starts processes on one machine only: start one for each device with srun or torchrun"),
    ],
)
def test_numbers_of_processes_that_cannot_be(devices, nodes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train([image()], PSF, tiny(), tmp_path / "run", devices=devices, nodes=nodes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "asked", "expected"),
    [
        ({"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (None, None), (4, 2, True)),
        ({"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (4, 2), (4, 2, True)),
        ({"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (2, None), "torchrun started 8"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}, (2, 2), (2, 2, True)),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}, (2, 2), "the tasks for each node are not set"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}, (4, 2), "srun started 4 processes, and `devices` times `nodes`"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}, (None, None), (1, 1, False)),  # a training each, as ever
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, (4, None), (4, 1, False)),  # a batch script without srun
        ({}, (None, None), (1, 1, False)),
    ],
)
def test_launchers_are_found(variables, asked, expected, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            processes_for(*asked)
        return
    found = processes_for(*asked)
    assert (found.devices, found.nodes, found.environment is not None) == expected


def test_a_task_of_srun_trains_by_itself(tmp_path, monkeypatch):
    """Fabric finds SLURM's variables by itself, and refuses these."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert train([image()], PSF, tiny(steps=2), tmp_path / "run").measured.steps == 2


def test_the_spread_of_a_shared_batch_is_that_of_the_whole():
    """`Group.std` on two halves, whose means are taken by hand."""
    from zsd_train.group import Group

    values = torch.tensor(np.random.default_rng(0).normal(3, 2, (4, 8)))
    means = iter([values.mean(), (values - values.mean()).square().sum() / 2])

    class Halves(Group):
        size = 2

        def mean(self, value):  # noqa: ARG002
            return next(means)

    assert float(Halves(None).std(values[:2])) == pytest.approx(float(values.std()))
