"""Every engine gives the same picture; the one that is asked for runs, or says why not."""

import builtins
import importlib.util
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest

from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError, engine_choice, load_model
from zsd_runtime.engine_choice import open_engine
from zsd_runtime.engines import EngineMissing, OutOfMemory, failures
from zsd_runtime.model import Model
from zsd_runtime.package import read_package

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture(scope="module")
def image():
    return simulate((150, 170), camera=Camera(100, 1.5, 2), seed=9).noisy


@pytest.fixture(scope="module")
def expected(package, image):
    with load_model(package, engine="onnxruntime", device="cpu") as model:
        assert (model.engine.name, model.engine.device, model.engine.precision) == ("onnxruntime", "cpu", "fp32")
        return model.predict(image)


def difference(result, expected):
    pairs = ((result.denoised, expected.denoised), (result.deconvolved, expected.deconvolved))
    return max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in pairs)


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from zsd_runtime.engines.openvino import OpenVINO

onnx = Path(sys.argv[1]).read_bytes()
first, second = OpenVINO(onnx), OpenVINO(onnx)
first.close(), second.close()
del first, second
signal.signal(signal.SIGINT, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGINT)
"""


@needs_openvino
def test_openvino_tells_nobody_that_it_is_used():
    script = "import sys, zsd_runtime.engines.openvino; sys.exit(sys.modules['openvino_telemetry'] is not None)"
    subprocess.run([sys.executable, "-c", script], check=True)


@needs_openvino
def test_a_signal_after_openvino_does_not_end_the_process(package):
    command = [sys.executable, "-c", SIGNALLED, str(package / "model.onnx")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "handled")


@needs_openvino
@pytest.mark.parametrize("tile", [None, (96, 104)])
def test_openvino_agrees(package, image, expected, tile):
    with load_model(package, engine="openvino") as model:
        assert (model.engine.name, model.engine.device, model.engine.precision) == ("openvino", "cpu", "fp32")
        assert difference(model.predict(image, tile=tile), expected) < 1e-3


@needs_openvino
def test_bf16_stays_close(package, image, expected):
    try:
        model = load_model(package, precision="bf16")
    except EngineMissing as error:
        pytest.skip(str(error))
    with model:
        assert (model.engine.name, model.engine.precision) == ("openvino", "bf16")
        result = model.predict(image)
    error = np.square(result.denoised - expected.denoised).mean() / np.square(expected.denoised).mean()
    assert 1e-9 < error < 1e-3  # it is another arithmetic, and 30 dB better than the noise is enough


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "tpu"}, "device 'tpu' is not one of auto, cuda, intel, apple, cpu"),
        ({"engine": "onnx"}, "engine 'onnx' is not one of"),
        ({"precision": "int4"}, "precision 'int4' is not one of"),
        ({"engine": "tensorrt", "device": "cpu"}, "tensorrt does not run on device cpu; it runs on cuda"),
        ({"precision": "int8"}, "the package is fp32; auto on auto cannot run it in int8: export it again with"),
        ({"precision": "bf16", "engine": "onnxruntime"}, 'or set `engine` to "openvino"'),
    ],
)
def test_what_does_not_exist_is_an_error(package, asked, message):
    with pytest.raises(InputError, match=message):
        load_model(package, **asked)


def test_a_missing_engine_gives_its_install_line(package, monkeypatch):
    def without(name, *arguments, **keywords):
        if name in ("openvino", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **keywords)

    real = builtins.__import__
    for name in ("openvino", "onnxruntime"):
        monkeypatch.delitem(sys.modules, f"zsd_runtime.engines.{name}", raising=False)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EngineMissing, match=r"openvino is not installed .*pip install 'zsd\[cpu\]'"):
        load_model(package, engine="openvino", device="cpu")
    with pytest.raises(EngineMissing, match=r"openvino is not installed .*; onnxruntime is not installed"):
        load_model(package, device="cpu")


def test_without_a_driver_cuda_is_an_error_and_auto_goes_on(package, monkeypatch):
    monkeypatch.setattr(engine_choice, "cuda_driver", lambda: None)
    with pytest.raises(
        EngineMissing, match=r"tensorrt on cuda needs an NVIDIA GPU and its driver.*; onnxruntime on cuda"
    ):
        load_model(package, device="cuda")
    with load_model(package) as model:
        assert model.engine.device == "cpu"


class Small:
    """An engine whose device has room for so many pixels."""

    def __init__(self, engine, pixels, when="prepare"):
        self._engine, self._pixels, self._when = engine, pixels, when
        self.prepared = []

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def _check(self, shape, when):
        if when == self._when and np.prod(shape) > self._pixels:
            raise OutOfMemory(f"The device has no memory for a tile of {shape[2]}x{shape[3]}")

    def prepare(self, batch_shape, output_shapes):
        self.prepared.append(batch_shape[2:])
        self._check(batch_shape, "prepare")
        self._engine.prepare(batch_shape, output_shapes)

    def run(self, batch, outputs):
        self._check(batch.shape, "run")
        self._engine.run(batch, outputs)


@pytest.mark.parametrize("when", ["prepare", "run"])
def test_out_of_memory_makes_tiles_smaller_and_goes_on(package, image, expected, when):
    description = read_package(package)
    engine = Small(open_engine(description, "cpu", "onnxruntime"), 100 * 100, when)
    said = []
    results = [np.full_like(a, np.nan) for a in (expected.denoised, expected.deconvolved)]
    with Model(description, engine) as model:
        model.predict_into(image, results, notice=said.append)
    assert engine.prepared == [(168, 188), (168, 96), (84, 96)]
    assert said[0].startswith("The device has no memory for a tile of 168x188: going on with tiles of 168x96")
    np.testing.assert_allclose(results[0], expected.denoised, atol=1e-3 * np.ptp(expected.denoised))


def test_out_of_memory_at_the_smallest_tile_is_an_error(package, image):
    description = read_package(package)
    with (
        Model(description, Small(open_engine(description, "cpu", "onnxruntime"), 10)) as model,
        pytest.raises(OutOfMemory, match=r"the smallest that its halo allows .*use another device"),
    ):
        model.predict(image)


@pytest.mark.parametrize(
    "text", ["bad allocation", "CUDA failure 2: out of memory", "BFCArena: Failed to allocate memory"]
)
def test_out_of_memory_is_recognised_in_what_libraries_say(text):
    with (
        pytest.raises(OutOfMemory, match="Engine X has no memory for a tile of 8x9"),
        failures("Engine X", (1, 1, 8, 9)),
    ):
        raise RuntimeError(text)
    with (
        pytest.raises(RuntimeError, match=r"Engine X failed on a tile of 8x9 \(shape mismatch"),
        failures("Engine X", (1, 1, 8, 9)),
    ):
        raise ValueError("shape mismatch")


def test_the_bench_measures_and_says_what_does_not_run(package, monkeypatch):
    from zsd_runtime.bench import Row, bench

    rows = list(bench(package, [(96, 96)], device="cpu", precision="fp32"))
    assert all(isinstance(row, Row) for row in rows)
    assert rows[0].engine == "onnxruntime"
    for row in rows:
        assert row.difference < 1e-3
        assert 0 < row.median_ms <= row.p99_ms
        assert row.first_result_s > row.median_ms / 1000
        assert row.peak_memory_mb > 50
    monkeypatch.setattr(engine_choice, "cuda_driver", lambda: None)
    (reason,) = bench(package, [(96, 96)], engine="tensorrt")
    assert reason.startswith("tensorrt cuda fp32: tensorrt on cuda needs")
    with pytest.raises(InputError, match="`size` 8x8x8 must have 2 numbers"):
        list(bench(package, [(8, 8, 8)]))


def test_the_tile_stays_when_memory_changes(package, image, monkeypatch):
    """What the first run holds is not free for the second; a new tile would be prepared for every frame."""
    description = replace(read_package(package), bytes_per_voxel=1000.0)
    with Model(description, Small(open_engine(description, "cpu", "onnxruntime"), 10**9)) as model:
        for free in (30_000_000, 20_000_000):
            monkeypatch.setattr("zsd_runtime.fitting.free_memory", lambda device, free=free: free)
            model.predict(image)
        assert len(model.engine.prepared) == 1


def test_a_package_says_what_tiles_cost(package, image):
    """The tile is as large as the memory allows."""
    description = replace(read_package(package), bytes_per_voxel=1000.0)
    with Model(description, Small(open_engine(description, "cpu", "onnxruntime"), 10**9)) as model:
        model.predict(image, memory=15_000_000)
        model.predict(image, memory=60_000_000)
        small, large = model.engine.prepared
        assert np.prod(small) < np.prod(large) == 168 * 188
        assert 0.3 * 15_000_000 < np.prod(small) * 1000 < 15_000_000


class FakeCuda:
    """ONNX Runtime's CUDA side, computed on the CPU: strict about what a captured graph cannot stand."""

    def __init__(self, monkeypatch):
        import onnxruntime as ort

        self.sessions, self.options = [], []
        real = ort.InferenceSession
        outer = self

        class Value:
            def __init__(self, array):
                self.array = array.copy()

            def update_inplace(self, array):
                assert array.flags.c_contiguous
                assert (array.shape, array.dtype) == (self.array.shape, self.array.dtype)
                self.array[...] = array

            def numpy(self):
                return self.array.copy()

        class Binding:
            def __init__(self):
                self.inputs, self.outputs = {}, {}

            def bind_ortvalue_input(self, name, value):
                self.inputs[name] = value

            def bind_ortvalue_output(self, name, value):
                self.outputs[name] = value

        class Session:
            def __init__(self, onnx, options, providers, enable_fallback):
                assert enable_fallback == 0
                assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
                assert not any(session() for session in outer.sessions)  # or their memory would be held twice
                ((name, outer.options),) = providers
                assert name == "CUDAExecutionProvider"
                self._real = real(onnx, providers=["CPUExecutionProvider"])
                self.get_inputs, self.get_outputs = self._real.get_inputs, self._real.get_outputs
                self.captured = None
                outer.sessions.append(weakref.ref(self))

            def io_binding(self):
                return Binding()

            def run_with_iobinding(self, binding):
                values = (*binding.inputs.values(), *binding.outputs.values())
                self.captured = self.captured or values
                assert self.captured == values  # a captured graph works in the buffers that it was captured with
                results = self._real.run(list(binding.outputs), {k: v.array for k, v in binding.inputs.items()})
                for value, result in zip(binding.outputs.values(), results, strict=True):
                    assert value.array.shape == result.shape
                    value.array[...] = result

        monkeypatch.setattr(ort, "InferenceSession", Session)
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.setattr(ort, "preload_dlls", lambda: print("looking for cuDNN"))
        monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", lambda array, device, index: Value(array))
        monkeypatch.setattr(engine_choice, "cuda_driver", lambda: True)


def test_onnxruntime_on_cuda_binds_once_and_runs_one_graph(package, image, expected, monkeypatch, capsys):
    fake = FakeCuda(monkeypatch)
    with load_model(package, engine="onnxruntime", device="cuda") as model:
        assert (model.engine.device, fake.options["enable_cuda_graph"]) == ("cuda", "1")
        for tile in ((96, 96), (112, 96)):  # another shape is another graph, in another session
            assert difference(model.predict(image, tile=tile), expected) < 1e-3
    assert len(fake.sessions) == 2
    assert not any(session() for session in fake.sessions)  # closed is closed
    assert capsys.readouterr().out == ""
