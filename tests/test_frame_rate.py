"""A network for a frame rate. Nothing is timed but where a test says so: speeds are made up, and calls are counted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from tests.command import zsd
from tests.conftest import TINY
from zsd_export import cli, export, frame_rate
from zsd_export.compress import compress, student_config
from zsd_export.frame_rate import FrameRate, Speed, checked, speed_of, widest, width_for
from zsd_runtime import InputError
from zsd_runtime.pace import Pace
from zsd_runtime.terminal import flag
from zsd_train import load_run
from zsd_train.config import RCANConfig
from zsd_train.networks.build import build, parameter_count

SPEED = 1200  # made up: frames/s times width
QUICK = {"steps": 2, "batch": 2, "device": "cpu"}


@pytest.fixture
def timed(monkeypatch):
    """Speeds are SPEED / width, whatever runs; the widths that were asked for."""
    widths = []

    def made_up(network, teacher, rate):  # noqa: ARG001
        layouts = {teacher.config.network.width} | set(range(2, teacher.config.network.width))
        config = teacher.config.network
        sizes = {
            parameter_count(build(student_config(teacher, w, {}).network if w < config.width else config, "yx")): w
            for w in layouts
        }
        widths.append(width := sizes[parameter_count(network)])
        return Speed(SPEED / width, "fake cpu fp32")

    monkeypatch.setattr(frame_rate, "speed_of", made_up)
    return widths


@pytest.fixture(scope="module")
def teacher(run_folder):
    """The tiny run, as if its network were wide."""
    run = load_run(run_folder)
    config = run.config.model_copy(update={"network": TINY.model_copy(update={"width": 24, "depth": 1})})
    return replace(run, config=config, network=build(config.network, "yx"))


def network_of(teacher):
    return lambda width: student_config(teacher, width, {}).network


@pytest.mark.parametrize("seed", range(20))
def test_bisection_finds_the_widest_in_few_measurements(seed):
    rng = np.random.default_rng(seed)
    widths = sorted(rng.choice(np.arange(2, 200), rng.integers(1, 60), replace=False).tolist())
    wanted = SPEED / rng.uniform(1, 220)
    asked = []

    def frames_per_s(width):
        asked.append(width)
        return SPEED / width

    expected = max((width for width in widths if SPEED / width >= wanted), default=None)
    assert widest(widths, frames_per_s, wanted) == expected
    assert len(set(asked)) == len(asked) <= np.ceil(np.log2(len(widths) + 1))
    if expected is None:
        assert asked[-1] == widths[0]  # what the error tells was measured


@pytest.mark.parametrize(("fps", "width"), [(100, 12), (110, 10), (SPEED / 22, 22), (SPEED / 2, 2)])
def test_the_widest_that_holds_the_rate(teacher, timed, fps, width):
    said = []
    found, speeds = width_for(teacher, FrameRate(fps, (64, 64)), network_of(teacher), said.append)
    assert found == width
    assert timed[0] == 24  # the teacher comes first
    assert len(timed) == len(speeds) == len(said) <= 1 + 4  # of eleven widths
    assert said[0] == "width 24: 50.0 frames/s at 64x64 (fake cpu fp32)"


def test_a_rate_that_none_holds_tells_what_was_measured_and_what_helps(teacher, timed):
    with pytest.raises(InputError) as error:
        width_for(teacher, FrameRate(700, (64, 64)), network_of(teacher))
    message = error.value.message(flag)
    assert message.startswith(
        "no width holds 700 frames/s at 64x64 (fake cpu fp32); measured, frames/s: width 2 600.0,"
    )
    assert "smaller --size, a lower --fps, --precision int8 (on CPUs), another --engine, or a machine with a" in message
    assert timed[-1] == 2


def test_a_teacher_that_holds_the_rate_is_said_to_and_nothing_is_trained(run_folder, timed, tmp_path):
    with pytest.raises(InputError, match=r"cell run holds 30 frames/s as it is: 300.0 at 128x160 .*: export it with"):
        compress(run_folder, tmp_path / "small", rate=FrameRate(30, precision="int8"))
    assert timed == [4]
    assert list(tmp_path.iterdir()) == []


def test_the_run_and_its_package_say_what_was_measured(run_folder, timed, tmp_path):
    out, said = tmp_path / "small", []
    rate = FrameRate(500, (256, 128), precision="int8")
    rows = compress(run_folder, out, rate=rate, choices=QUICK, notice=said.append)
    assert timed == [4, 2, 2]  # the teacher, the only narrower one, and that again when it was trained
    assert [text[:6] for text in said if "empty" not in text] == ["width "] * 2
    expected = {
        "fps": 500, "frames_per_s": 600.0, "size": "256x128", "engine": "fake cpu fp32", "precision": "int8",
        "width": 2, "searched": {"2": 600.0, "4": 300.0},
    }  # fmt: skip
    assert load_run(out).config.network.width == 2
    assert load_run(out).measured.compressed["frame_rate"] == expected
    assert json.loads((out / "compressed.json").read_text())["frame_rate"] == expected
    last = cli.rate_line(out, rows)
    assert f"{out} has width 2 and restores 600.0 frames/s of 256x128 (fake cpu fp32; 500 wanted)" in last
    assert f"denoised {rows[5].lost_db['denoised']:+.2f} dB" in last  # in int8, as it will run
    assert last.endswith("export it with --precision int8")
    description = yaml.safe_load((export(out, tmp_path / "package") / "rdf.yaml").read_text())
    assert description["config"]["zsd"]["provenance"]["measured"]["compressed"]["frame_rate"] == expected
    with pytest.raises(InputError, match="already holds a run"):
        compress(run_folder, out, rate=rate)
    assert len(timed) == 3  # refused before anything was timed
    compress(run_folder, out, rate=rate, resume=True)
    assert timed[3:] == [2]  # its width was chosen before


@pytest.mark.parametrize(
    ("rate", "options", "message"),
    [
        (FrameRate(30), {"width": 2}, "`width` 2 and `fps` 30 both choose a network"),
        (FrameRate(30), {"choices": {"network": {"width": 2}}}, r"`width` 2 and \[network\]"),
        (FrameRate(30), {"choices": {"hesian_weight": 1}}, "did you mean"),
        (FrameRate(0), {}, "`fps` 0 must be a number above 0"),
        (FrameRate(float("nan")), {}, "`fps` nan"),
        (FrameRate(30, (8, 64, 64)), {}, "`size` 8x64x64 must have 2 numbers, for YX"),
        (FrameRate(30, precision="int4"), {}, "precision 'int4' must be one of fp32, bf16, fp16, int8"),
    ],
)
def test_bad_input_is_said_before_anything_is_timed(run_folder, timed, tmp_path, rate, options, message):
    with pytest.raises(InputError, match=message):
        compress(run_folder, tmp_path / "small", rate=rate, **options)
    assert timed == []
    assert list(tmp_path.iterdir()) == []


def test_int8_is_for_u_nets(teacher):
    other = replace(teacher, network=build(RCANConfig(kind="rcan", width=4, blocks=1, head=4), "zyx"))
    with pytest.raises(InputError, match="int8 is for U-Nets, and the run's network is rcan"):
        checked(FrameRate(30, precision="int8"), other)


@pytest.mark.parametrize(("precision", "graph"), [("fp32", "fp32"), ("fp16", "fp16"), ("int8", "int8")])
def test_networks_are_timed_in_the_graph_of_their_package(run_folder, monkeypatch, precision, graph):
    """With a real engine; only the clock is made up."""
    seen = []

    def pace_of(model, image):
        prediction = next(model.stream(iter([image])))
        seen.append((model.description.precision, image.shape, image.dtype, prediction["deconvolved"].shape))
        return Pace(3, 20.0, 40.0, 60.0)

    monkeypatch.setattr(frame_rate, "pace_of", pace_of)
    monkeypatch.setattr(frame_rate, "bytes_per_voxel", lambda graph, scales: 100)
    run = load_run(run_folder)
    speed = speed_of(run.network, run, FrameRate(30, (48, 40), "onnxruntime", precision))
    assert speed.frames_per_s == 25  # of the median
    assert speed.engine.startswith("onnxruntime cpu")
    assert seen == [(graph, (48, 40), np.uint16, (96, 80))]


def test_what_does_not_fit_in_memory_is_timed_in_tiles_with_a_halo(run_folder, monkeypatch):
    halos = []

    def pace_of(model, image):  # noqa: ARG001
        halos.append(model.description.halo)
        return Pace(3, 20.0, 40.0, 60.0)

    monkeypatch.setattr(frame_rate, "pace_of", pace_of)
    monkeypatch.setattr(frame_rate, "bytes_per_voxel", lambda graph, scales: 1e12)
    run = load_run(run_folder)
    speed_of(run.network, run, FrameRate(30, (48, 40), "onnxruntime"))
    assert min(halos[0]) > 0


def test_options_of_the_rate_need_a_rate(run_folder, tmp_path):
    result = zsd("compress", run_folder, tmp_path / "small", "--size", "512x512")
    assert result.returncode == 2
    assert "--size belongs to a frame rate: give it with --fps" in result.stderr
