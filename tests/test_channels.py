"""Models of any tensors: two channels in; three outputs, of other channels and on other grids."""

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from tests.command import zsd
from zsd_runtime import InputError, load_model
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_runtime.package import read_package

RNG = np.random.default_rng(0)
OUTPUTS = {"sum": (1, 1), "both": (2, 1), "fine": (1, 2)}  # channels and scale
LINE = {"id": "scale_linear", "kwargs": {"gain": 0.01, "offset": -1.0}}
BLUR = np.ones((2, 1, 3, 3), np.float32) / 9


def graph():
    """`both`: a mean over 3 x 3, channel by channel; `sum`: of its channels; `fine`: the sum, twice as fine."""
    nodes = [
        helper.make_node("Conv", ["raw", "blur"], ["both"], group=2, pads=[1, 1, 1, 1]),
        helper.make_node("ReduceSum", ["both", "axis"], ["sum"], keepdims=1),
        helper.make_node("Resize", ["sum", "", "scales"], ["fine"], mode="nearest"),
    ]
    constants = [
        onnx.numpy_helper.from_array(BLUR, "blur"),
        onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"),
        onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]

    def tensor(name, channels):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, channels, None, None])

    outputs = [tensor(name, channels) for name, (channels, _) in OUTPUTS.items()]
    network = helper.make_graph(nodes, "channels", [tensor("raw", 2)], outputs, constants)
    model = helper.make_model(network, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def description_05():
    def axes(channels, spatial):
        channel = {"type": "channel", "channel_names": [f"c{n}" for n in range(channels)]}
        return [{"type": "batch"}, channel, *({"type": "space", "id": a, **spatial(a)} for a in "yx")]

    outputs = [
        {
            "id": name,
            "axes": axes(c, lambda a, k=k: {"size": {"tensor_id": "raw", "axis_id": a}, "scale": 1 / k, "halo": 2 * k}),
        }
        for name, (c, k) in OUTPUTS.items()
    ]
    source = {"id": "raw", "axes": axes(2, lambda a: {"size": {"min": 1, "step": 1}}), "preprocessing": [LINE]}
    return {"format_version": "0.5.4", "inputs": [source], "outputs": outputs}


def description_04():
    outputs = [
        {
            "name": name, "axes": "bcyx", "halo": [0, 0, 2 * k, 2 * k],
            "shape": {"reference_tensor": "raw", "scale": [1, c / 2, k, k], "offset": [0, 0, 0, 0]},
        }
        for name, (c, k) in OUTPUTS.items()
    ]  # fmt: skip
    shape = {"min": [1, 2, 1, 1], "step": [0, 0, 1, 1]}
    line = {"name": LINE["id"], "kwargs": LINE["kwargs"]}
    source = {"name": "raw", "axes": "bcyx", "shape": shape, "preprocessing": [line]}
    return {"format_version": "0.4.10", "inputs": [source], "outputs": outputs}


@pytest.fixture(scope="module", params=[description_05, description_04])
def package(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("channels")
    weights = {"onnx": {"source": "model.onnx", "opset_version": 17}}
    rdf = {"type": "model", "name": "two in, three out", "weights": weights, **request.param()}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    (folder / "model.onnx").write_bytes(graph())
    return folder


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def model(request, package):
    pytest.importorskip(request.param)
    with load_model(package, device="cpu", engine=request.param) as opened:
        yield opened


def test_the_description_says_channels_and_scales(package):
    d = read_package(package)
    assert (d.input.name, d.input.channels, d.halo) == ("raw", 2, (2, 2))
    assert {o.name: (o.channels, o.scale[0]) for o in d.outputs} == OUTPUTS


@pytest.mark.parametrize("tile", [(200, 200), (32, 40)])
def test_outputs_have_their_channels(model, tile):
    """Compared away from the edges, where the network sees what continues the image."""
    image = RNG.integers(90, 900, (2, 70, 90)).astype(np.uint16)
    result = model.predict(image, tile=tile)
    assert list(result) == list(OUTPUTS)
    counts = image * 0.01 - 1
    windows = np.lib.stride_tricks.sliding_window_view(counts, (3, 3), axis=(1, 2))
    both = windows.mean((-1, -2))
    inside = slice(1, -1)
    np.testing.assert_allclose(result["both"][:, inside, inside], both, atol=1e-4)
    np.testing.assert_allclose(result.sum[inside, inside], both.sum(0), atol=1e-4)
    np.testing.assert_allclose(result.fine, np.kron(result.sum, np.ones((2, 2))), atol=1e-4)
    with pytest.raises(AttributeError, match="no output denoised; the model gives sum, both, fine"):
        _ = result.denoised


def test_stacks_and_streams_of_several_channels(model):
    stack = RNG.integers(90, 900, (3, 2, 30, 40)).astype(np.uint16)
    shapes = model.output_shapes(stack.shape)
    assert shapes == [(3, 30, 40), (3, 2, 30, 40), (3, 60, 80)]
    targets = [np.zeros(shape, np.float32) for shape in shapes]
    model.predict_into(stack, targets, tile=(24, 24))
    for n, streamed in enumerate(model.stream(stack, tile=(24, 24))):
        for target, values in zip(targets, streamed.values(), strict=True):
            np.testing.assert_array_equal(target[n], values)


@pytest.mark.parametrize(
    ("shape", "message"), [((3, 30, 40), "does not have 2 channels"), ((30, 40), "2 channels"), ((1, 2, 9, 9), "CYX")]
)
def test_an_image_of_other_channels_is_an_error(model, shape, message):
    with pytest.raises(InputError, match=message):
        model.predict(np.ones(shape, np.uint16))


def test_the_command_line_writes_each_output(package, tmp_path):
    image = Image(RNG.integers(90, 900, (3, 2, 30, 40)).astype(np.uint16), "TCYX", Voxel.square(0.1))
    write_image(tmp_path / "a.tif", image)
    write_image(tmp_path / "b.tif", Image(image.data[0, 0], "YX"))
    result = zsd("predict", package, tmp_path / "a.tif", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    axes = {"sum": "TYX", "both": "TCYX", "fine": "TYX"}
    for name, (channels, k) in OUTPUTS.items():
        back = read_image(tmp_path / "out" / f"a_{name}.tif")
        assert back.axes == axes[name]
        assert back.data.shape == (3, *((2,) if channels > 1 else ()), 30 * k, 40 * k)
        assert back.voxel.x_um == pytest.approx(0.1 / k)
    result = zsd("predict", package, tmp_path / "b.tif", "--out", tmp_path / "out")
    assert result.returncode == 2
    assert "the model needs CYX" in result.stderr
    assert zsd("inspect", package).returncode == 0
