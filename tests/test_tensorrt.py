"""TensorRT-RTX builds for real, on the CPU; what needs a GPU runs on a strict fake, and for real where there is one."""

import gc
import json
import shutil
import sys
from unittest.mock import Mock

import numpy as np
import onnx
import pytest

from tests.command import zsd
from zsd_export.graph.to_onnx import to_onnx
from zsd_runtime import InputError
from zsd_runtime.engines import EngineMissing, OutOfMemory, cache, run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.package import read_package
from zsd_train.networks.dual_stage import DualStageUNet

trt = pytest.importorskip("tensorrt_rtx")
runtime = pytest.importorskip("cuda.bindings.runtime")

from tests.fake_gpu import FakeConfig, FakeContext, FakeCuda, FakeTensorRT  # noqa: E402
from zsd_runtime.engines.tensorrt import Network, TensorRT  # noqa: E402

SCALES = [(1, 1), (2, 2)]


@pytest.fixture(scope="module")
def network(package):
    return read_package(package).weights


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No test touches the user's cache."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")


@pytest.fixture
def gpu(monkeypatch, network):
    """The fakes in the places of the real modules."""
    cuda = FakeCuda()
    cuda.trt = FakeTensorRT(cuda, network)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", cuda.trt)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    return cuda


def square(side):
    return (1, 1, side, side)


def prepared(engine, side):
    engine.prepare(square(side), [square(side), square(2 * side)])
    return engine


def noise(side, seed=0):
    return np.random.default_rng(seed).normal(size=square(side)).astype(np.float32)


def typed(graph, dtype):
    """The same network with an input of `dtype`, cast in the graph."""
    model = onnx.load_from_string(graph)
    (source,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["as_float" if name == source.name else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Cast", [source.name], ["as_float"], to=onnx.TensorProto.FLOAT))
    source.type.tensor_type.elem_type = dtype
    return model.SerializeToString()


def halved(graph):
    """The same network in fp16, cast from and to float32 at its ends."""
    model = onnx.load_from_string(graph)
    inner = model.graph
    for weights in inner.initializer:
        weights.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights).astype(np.float16), weights.name)
        )
    names = {value.name: f"{value.name}_half" for value in (*inner.input, *inner.output)}
    for node in inner.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    cast = onnx.helper.make_node
    inner.node.insert(0, cast("Cast", ["noisy"], ["noisy_half"], to=onnx.TensorProto.FLOAT16))
    inner.node.extend(cast("Cast", [names[o.name]], [o.name], to=onnx.TensorProto.FLOAT) for o in inner.output)
    return model.SerializeToString()


# Building, for real. Loading an engine asks for a driver, even to look at it: what is checked is the parsed network,
# and that the profile decides what can be built.


@pytest.mark.parametrize(("shape", "megabytes"), [((4, 2, 2, 8), 0.05), ((16, 3, 2, 32), 2.7), ((32, 4, 3, 128), 52)])
def test_networks_build_without_a_gpu(shape, megabytes):
    network = Network(trt, to_onnx(DualStageUNet(*shape)))
    assert (network.input, network.outputs) == ("noisy", ["denoised", "deconvolved"])
    assert network.input_dtype == np.float32
    assert network.output_dtypes == [np.float32] * 2
    assert network.precision == "fp32"
    content = network.build((square(16), square(64), square(128)))
    assert content.startswith(b"vtrt")
    assert len(content) > megabytes * 1e6  # the weights are in it
    for name in (network.input, *network.outputs):
        assert name.encode() in content


def test_the_profile_and_all_gpus_reach_the_builder(network):
    seen = {}

    class Watched:
        def __init__(self, builder):
            self.builder = builder

        def __getattr__(self, name):
            return getattr(self.builder, name)

        def build_serialized_network(self, graph, config):
            seen["gpus"] = [config.get_compute_capability(i).name for i in range(config.num_compute_capabilities)]
            seen["flags"] = [config.get_flag(getattr(trt.BuilderFlag, f)) for f in ("TF32", "REQUIRE_USER_ALLOCATION")]
            seen["profiles"] = config.num_optimization_profiles
            return self.builder.build_serialized_network(graph, config)

        def create_optimization_profile(self):
            seen["profile"] = self.builder.create_optimization_profile()
            return seen["profile"]

    parsed = Network(trt, network)
    parsed._builder = Watched(parsed._builder)
    profile = (square(16), square(64), square(128))
    parsed.build(profile)
    assert tuple(tuple(shape) for shape in seen["profile"].get_shape("noisy")) == profile
    assert {"SM75", "SM86", "SM89", "SM120"} <= set(seen["gpus"])
    assert seen["flags"] == [False, True]
    assert seen["profiles"] == 1


def test_shapes_off_the_grid_are_errors(network):
    with pytest.raises(RuntimeError, match=r"cannot build an engine for 1x1x30x30 .*dimensions must be equal"):
        Network(trt, network).build((square(30),) * 3)


def test_precision_is_what_the_graph_computes_in(network):
    half = Network(trt, halved(network))
    assert half.precision == "fp16"
    assert half.input_dtype == half.output_dtypes[1] == np.float32
    assert half.build((square(64),) * 3).startswith(b"vtrt")


@pytest.mark.parametrize(
    ("dtype", "message"),
    [(onnx.TensorProto.UINT16, "does not know uint16"), (onnx.TensorProto.INT32, "'noisy' is DataType.INT32")],
)
def test_other_inputs_are_errors(network, dtype, message):
    with pytest.raises(InputError, match=message):
        Network(trt, typed(network, dtype))


def test_a_file_that_is_not_onnx_is_an_error():
    with pytest.raises(InputError, match=r"cannot read the model .*Failed to parse"):
        Network(trt, b"nothing")


# Running, on the fake; first, that it is a fake of the real thing.


@pytest.mark.skipif(runtime.cudaGetDeviceCount()[0] == 0, reason="with a driver, null handles are errors of their own")
@pytest.mark.parametrize(
    ("function", "arguments", "values"),
    [
        ("cudaGetDeviceCount", (), 1),
        ("cudaSetDevice", (0,), 0),
        ("cudaGetDeviceProperties", (0,), 1),
        ("cudaMalloc", (64,), 1),
        ("cudaFree", (64,), 0),
        ("cudaMallocHost", (64,), 1),
        ("cudaFreeHost", (64,), 0),
        ("cudaMemcpyAsync", (64, 64, 4, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, runtime.cudaStream_t()), 0),
        ("cudaStreamCreateWithFlags", (runtime.cudaStreamNonBlocking,), 1),
        ("cudaStreamSynchronize", (runtime.cudaStream_t(),), 0),
        ("cudaStreamDestroy", (runtime.cudaStream_t(),), 0),
        (
            "cudaStreamBeginCapture",
            (runtime.cudaStream_t(), runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal),
            0,
        ),
        ("cudaStreamEndCapture", (runtime.cudaStream_t(),), 1),
        ("cudaGraphInstantiate", (runtime.cudaGraph_t(), 0), 1),
        ("cudaGraphLaunch", (runtime.cudaGraphExec_t(), runtime.cudaStream_t()), 0),
        ("cudaGraphDestroy", (runtime.cudaGraph_t(),), 0),
        ("cudaGraphExecDestroy", (runtime.cudaGraphExec_t(),), 0),
    ],
)
def test_the_real_bindings_take_the_same_arguments(function, arguments, values):
    status, *given = getattr(runtime, function)(*arguments)
    assert status.name == "cudaErrorInsufficientDriver"  # they got as far as that
    assert len(given) == values
    assert hasattr(FakeCuda, function)


@pytest.mark.parametrize(("fake", "real"), [(FakeConfig, "IRuntimeConfig"), (FakeContext, "IExecutionContext")])
def test_the_fakes_have_the_names_of_the_real_classes(fake, real):
    assert {name for name in vars(fake) if not name.startswith("_")} <= set(dir(getattr(trt, real)))


def test_results_are_those_of_onnx_runtime(gpu, network):
    engine = TensorRT(network)
    reference = OnnxRuntime(network)
    assert (engine.name, engine.device, engine.precision) == ("tensorrt_rtx", "cuda", "fp32")
    for side in (64, 32, 96):
        expected = [run_once(reference, noise(side, seed), SCALES) for seed in range(3)]
        prepared(engine, side)
        assert len(gpu.device) == 4  # the workspace and three tensors; the shape before has left nothing
        locked = engine.empty(square(side), engine.input_dtype)
        for seed in range(3):
            outputs = [engine.empty(square(side), np.float32), np.empty(square(2 * side), np.float32)]
            locked[...] = noise(side, seed)
            engine.run(locked if seed else noise(side, seed), outputs)
            for got, want in zip(outputs, expected[seed], strict=True):
                np.testing.assert_array_equal(got, want)
    engine.close()
    assert (gpu.device, gpu.streams, gpu.graphs) == ({}, {}, {})
    np.testing.assert_array_equal(outputs[0], expected[2][0])  # results outlive the engine
    del locked, outputs
    gc.collect()
    assert gpu.pinned == {}


@pytest.mark.parametrize("capturable", [True, False])
def test_a_run_is_copy_graph_copies_wait(gpu, network, capturable):
    gpu.trt.capturable = capturable
    engine = prepared(TensorRT(network), 32)
    assert gpu.calls == ["Execute", "Synchronize"]
    gpu.calls.clear()
    outputs = [np.empty(square(32), np.float32), np.empty(square(64), np.float32)]
    engine.run(noise(32), outputs)
    work = "Graph" if capturable else "Execute"
    assert gpu.calls == ["HostToDevice", work, "DeviceToHost", "DeviceToHost", "Synchronize"]
    np.testing.assert_array_equal(outputs[1], run_once(OnnxRuntime(network), noise(32), SCALES)[1])
    engine.close()


def test_no_room_is_an_error_and_leaves_nothing(gpu, network):
    engine = TensorRT(network)
    gpu.room = 200_000
    with pytest.raises(OutOfMemory, match="smaller tiles"):
        prepared(engine, 128)
    assert gpu.device == gpu.graphs == {}
    prepared(engine, 64)
    with pytest.raises(OutOfMemory, match="cudaMallocHost"):
        engine.empty(square(512), np.float32)
    engine.close()
    assert gpu.room == 200_000


def test_a_package_that_says_another_shape_is_an_error(gpu, network):
    with pytest.raises(InputError, match="'deconvolved' is 1x1x64x64, the package says 1x1x32x32"):
        TensorRT(network).prepare(square(32), [square(32), square(32)])
    assert gpu.device == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"driver": 0}, 'no NVIDIA driver.*580.*nvidia-smi.*set `device` to "cpu"'),
        ({"driver": 12040, "devices": 0}, r"the driver serves CUDA 12\.4"),
        ({"capability": (9, 0)}, r"does not run on Fake GPU \(sm_90\): set `engine` to \"onnxruntime\""),
    ],
)
def test_missing_hardware_is_an_error(gpu, network, change, message):
    vars(gpu).update(change)
    with pytest.raises(EngineMissing, match=message):
        TensorRT(network)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("missing", ["tensorrt_rtx", "cuda.bindings.runtime"])
def test_missing_libraries_give_their_install_line(network, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EngineMissing, match=r"pip install 'zsd\[tensorrt\]'"):
        TensorRT(network)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("options", "message"), [({"device": "cpu"}, "not on 'cpu'"), ({"precision": "fp16"}, "in fp32, not in fp16")]
)
def test_what_it_cannot_do_is_an_error(network, options, message):
    with pytest.raises(InputError, match=message):
        TensorRT(network, **options)


# Engine files.


@pytest.fixture
def builds(monkeypatch):
    """Profiles that were built, one after the other."""
    done = []
    build = Network.build
    monkeypatch.setattr(Network, "build", lambda self, profile: done.append(profile) or build(self, profile))
    return done


def test_an_engine_is_built_once(gpu, network, builds):
    for _ in range(2):
        prepared(TensorRT(network), 32).close()
    assert builds == [(square(32),) * 3]
    assert gpu.trt.loaded[0] == gpu.trt.loaded[1]
    assert gpu.trt.kernels == [b"compiled kernels"]  # by the second
    prepared(TensorRT(network), 64).close()
    assert len(builds) == 2


def spoil(path, how):
    content = path.read_bytes()
    head, _, engine = content.partition(b"\n")
    changed = json.loads(head)
    if how == "truncated":
        content = content[:-100]
    elif how == "empty":
        content = b""
    elif how == "a bit":
        content = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    elif how == "not an engine":
        path.unlink()
        profile = tuple(map(tuple, changed.pop("profile")))
        changed.pop("sha256")
        cache.write(path.parent, changed, profile, b"whole, but nothing that the library loads")
        return
    elif how == "another profile":
        changed["profile"][2][3] = 4096
        content = json.dumps(changed).encode() + b"\n" + engine
    else:
        changed[how] = "other"
        content = json.dumps(changed).encode() + b"\n" + engine
    path.write_bytes(content)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "empty",
        "a bit",
        "not an engine",
        "another profile",
        "model",
        "precision",
        "version",
        "gpu",
        "profile",
    ],
)
def test_what_does_not_fit_is_built_again(network, builds, how):
    prepared(TensorRT(network), 32).close()
    (path,) = cache.user_cache().glob("*.engine")
    spoil(path, how)
    prepared(TensorRT(network), 32).close()
    assert len(builds) == 2
    prepared(TensorRT(network), 32).close()
    assert len(builds) == 2


@pytest.mark.usefixtures("gpu")
def test_a_cache_that_cannot_be_written_costs_nothing_else(network, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    prepared(TensorRT(network), 32).close()


@pytest.mark.usefixtures("gpu")
def test_ahead_of_time_engines_come_first(network, builds, tmp_path):
    profile = (square(16), square(64), square(128))
    parsed = Network(trt, network)
    cache.write(tmp_path / "engines", parsed.facts(None), profile, parsed.build(profile))
    engine = TensorRT(network, engines=tmp_path / "engines")
    for side in (16, 48, 128):
        prepared(engine, side)
    assert builds == [profile]
    prepared(engine, 144)
    assert builds == [profile, (square(144),) * 3]
    engine.close()
    assert list(cache.find(tmp_path / "engines", parsed.facts(None), (1, 1, 16, 16, 16))) == []


@pytest.mark.usefixtures("gpu")
def test_an_engine_of_another_version_that_cannot_be_rebuilt_is_an_error(network, monkeypatch, tmp_path):
    facts = {**Network(trt, network).facts(None), "version": "1.0.0"}
    cache.write(tmp_path, facts, (square(32),) * 3, b"vtrt")

    monkeypatch.setattr(Network, "build", Mock(side_effect=RuntimeError("TensorRT-RTX cannot build an engine")))
    with pytest.raises(
        EngineMissing, match=r"has engines for tensorrt_rtx 1\.0\.0, GPU any: set `engine` to \"onnxruntime\""
    ):
        prepared(TensorRT(network, engines=tmp_path), 32)


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", Mock(side_effect=OSError("no space left")))
    with pytest.raises(InputError, match="cannot write"):
        cache.write(tmp_path, {}, (square(1),) * 3, b"x")
    assert list(tmp_path.iterdir()) == []


# The command.


def test_build_engine_writes_where_predict_looks(package, tmp_path):
    folder, archive = tmp_path / "cell", tmp_path / "cell.v2.zip"
    shutil.copytree(package, folder)
    shutil.make_archive(str(archive.with_suffix("")), "zip", package)
    for path, place in ((folder, folder / "engines"), (archive, tmp_path / "cell.v2.engines")):
        result = zsd("build-engine", path, "--tile", "150x201", "--quiet")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("OK ")
        assert cache.engines_folder(path) == place
        ((_, head),) = cache.heads(place)
        least = 20  # one pixel, its edge of 8 on either side, up to the step of 4
        assert head["profile"] == [[1, 1, least, least], [1, 1, 152, 204], [1, 1, 2304, 2304]]
        assert (head["library"], head["version"], head["gpu"]) == ("tensorrt_rtx", trt.__version__, "any")
        facts = Network(trt, read_package(path).weights).facts(None)
        assert [content[:4] for content in cache.find(place, facts, (1, 1, 152, 152))] == [b"vtrt"]


def test_bad_input_is_told_and_nothing_written(package, tmp_path):
    table = [
        ((tmp_path / "none",), "does not exist"),
        ((package, "--tile", "4x4"), "not larger than twice the halo"),
        ((package, "--tile", "128"), "--tile 128 must have 2 numbers"),
        ((package, "--tile", "256x256", "--largest", "512x128"), "--largest 512x128 is smaller than --tile 256x256"),
        ((package, "--largest", "512by512"), "must be whole numbers"),
    ]
    for arguments, message in table:
        result = zsd("build-engine", *arguments, "--out", tmp_path / "never")
        assert result.returncode == 2, (arguments, result.stdout, result.stderr)
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "never").exists()


def test_the_other_tensorrt_needs_the_gpu_at_hand(gpu, package, tmp_path, monkeypatch):
    from zsd_runtime.build_engine import tile_profile, write_engine

    gpu.driver = 0
    gpu.trt.__name__ = "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", gpu.trt)
    description = read_package(package)
    assert tile_profile(description, None, None)[1:] == (square(640), square(2304))
    with pytest.raises(EngineMissing, match=r"builds engines for the GPU at hand.*pip install tensorrt-rtx-cu13"):
        write_engine(description, tile_profile(description, None, None), tmp_path)


# For real, all of it.


@pytest.mark.skipif(runtime.cudaGetDeviceCount()[0] != 0, reason="no CUDA driver or GPU")
@pytest.mark.parametrize("shape", [(16, 3, 2, 32), (32, 4, 3, 128)])
def test_parity_on_a_gpu(shape):
    graph = to_onnx(DualStageUNet(*shape))
    try:
        engine = TensorRT(graph)
    except EngineMissing as reason:
        pytest.skip(str(reason))
    reference = OnnxRuntime(graph)
    for side in (256, 128):
        prepared(engine, side)
        for seed in range(3):
            outputs = [engine.empty(square(side), np.float32), engine.empty(square(2 * side), np.float32)]
            engine.run(noise(side, seed), outputs)
            for got, want in zip(outputs, run_once(reference, noise(side, seed), SCALES), strict=True):
                assert np.abs(got - want).max() <= 1e-3 * np.ptp(want)
    engine.close()
