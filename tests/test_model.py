import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError, load_model
from zsd_runtime.normalize import Linear


@pytest.fixture(scope="module")
def model(package):
    with load_model(package) as opened:
        yield opened


@pytest.fixture(scope="module")
def large():
    return simulate((330, 410), camera=Camera(100, 1.5, 2), seed=9).noisy


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_tiles_equal_the_whole(model, large, data):
    shape = data.draw(st.tuples(st.integers(1, 330), st.integers(1, 410)))
    halo = model.description.halo[0]
    tile = data.draw(st.tuples(*[st.integers(2 * halo + 4, 300)] * 2))
    image = large[: shape[0], : shape[1]]
    whole = model.predict(image, tile=(1000, 1000))
    tiled = model.predict(image, tile=tile)
    for name, k in (("denoised", 1), ("deconvolved", 2)):
        a, b = getattr(whole, name), getattr(tiled, name)
        assert a.shape == b.shape == (k * shape[0], k * shape[1])
        span = model.description.outputs[0].processing.slope  # the scale: counts that training saw as 1
        assert np.abs(a - b).max() <= 1e-3 * max(span, np.ptp(a))


@pytest.mark.parametrize("shape", [(1, 1), (1, 97), (33, 1), (2, 3), (65, 127)])
def test_any_size(model, large, shape):
    result = model.predict(large[: shape[0], : shape[1]])
    assert result.denoised.shape == shape
    assert result.deconvolved.shape == (2 * shape[0], 2 * shape[1])
    assert result.denoised.dtype == result.deconvolved.dtype == np.float32


def test_intensities_are_counts_above_the_offset(model, large):
    result = model.predict(large)
    above = large.mean() - 100
    assert result.denoised.mean() == pytest.approx(above, rel=0.15)  # a network of seconds; docs/ has the real one
    assert result.deconvolved.mean() == pytest.approx(above, rel=0.15)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint64, np.float64])
def test_real_dtypes_give_the_same(model, large, dtype):
    image = np.minimum(large[:64, :64], 255)
    expected = model.predict(image).denoised
    np.testing.assert_allclose(model.predict(image.astype(dtype)).denoised, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 8, 8)), "each plane by itself"),
        (np.zeros((0, 8)), "at least one pixel"),
        (np.zeros((8, 8), bool), "truth values"),
        (np.zeros((8, 8), complex), "complex"),
        (np.full((8, 8), np.nan), "64 pixels that are NaN"),
    ],
)
def test_what_is_not_an_image_is_an_error(model, image, message):
    with pytest.raises(InputError, match=message):
        model.predict(image)


def test_bad_tiles_and_devices_are_errors(model, large, package):
    with pytest.raises(InputError, match="twice the halo"):
        model.predict(large, tile=(4, 4))
    with pytest.raises(InputError, match="must have 2 numbers"):
        model.predict(large, tile=(64,))
    with pytest.raises(InputError, match="'tpu'"):
        load_model(package, device="tpu")


def test_stacks_go_into_what_is_given(model, large, tmp_path):
    stack = np.stack([large[:100, :130], large[100:200, 130:260]])[None]
    shapes = model.output_shapes(stack.shape)
    assert shapes == [(1, 2, 100, 130), (1, 2, 200, 260)]
    counts = [np.zeros(shapes[0], np.uint16), np.memmap(tmp_path / "fine", np.uint16, "w+", shape=shapes[1])]
    model.predict_into(stack, counts, tile=(80, 80))
    for n in range(2):
        expected = model.predict(stack[0, n], tile=(80, 80))
        for found, values in zip(counts, (expected.denoised, expected.deconvolved), strict=True):
            np.testing.assert_array_equal(found[0, n], np.clip(np.rint(values), 0, 65535))


def test_chunks_are_written_whole(model, large):
    """Every write to a chunked target covers whole chunks: compressed ones are never read back to be completed."""

    class Target:
        dtype = np.dtype(np.float32)

        def __init__(self, shape, chunks):
            self.shape, self.chunks = shape, chunks
            self.left = np.ones(shape, bool)

        def __setitem__(self, box, values):
            for s, n, chunk in zip(box, self.shape, self.chunks, strict=True):
                assert s.start % chunk == 0
                assert s.stop % chunk == 0 or s.stop == n
            assert self.left[box].all()
            self.left[box] = False

    targets = [
        Target(shape, (32 * k, 48 * k)) for shape, k in zip(model.output_shapes(large.shape), (1, 2), strict=True)
    ]
    model.predict_into(large, targets, tile=(150, 200))
    assert not any(target.left.any() for target in targets)


def test_bad_values_deep_in_a_file_are_reported_with_their_place(model, large):
    bad = large.astype(np.float32)
    bad[300, 222] = np.nan
    targets = [np.zeros(shape, np.float32) for shape in model.output_shapes(bad.shape)]
    with pytest.raises(InputError, match="a NaN or infinite pixel at Y 300, X 222"):
        model.predict_into(bad, targets, tile=(100, 100), corrections=None)
    with pytest.raises(InputError, match="a target has shape"):
        model.predict_into(large, targets[::-1])


@pytest.fixture(scope="module")
def frames():
    return list(np.random.default_rng(4).poisson(150, (9, 64, 80)).astype(np.uint16))


def threads():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("zsd ")}


@pytest.mark.parametrize("tile", [(200, 200), (64, 64)])
def test_a_stream_gives_what_single_images_give(model, frames, tile, monkeypatch):
    started = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread.name), start(thread)))
    streamed = list(model.stream(iter(frames), tile=tile))
    assert sorted(started) == ["zsd reader", "zsd writer"]
    assert len(streamed) == len(frames)
    for frame, result in zip(frames, streamed, strict=True):
        for name, values in model.predict(frame, tile=tile).items():
            np.testing.assert_array_equal(result[name], values)
    assert list(model.stream([])) == []


def test_a_stream_gives_each_result_before_the_next_image_is_there(model, frames):
    """A camera that waits for the result of its last image gets it."""
    arrived = threading.Semaphore(1)

    def camera():
        for frame in frames:
            assert arrived.acquire(timeout=60)
            yield frame

    for _ in model.stream(camera()):
        arrived.release()


def test_a_stream_holds_a_few_frames(model, frames):
    taken = []
    with closing(model.stream(frame for n, frame in enumerate(frames * 4) if taken.append(n) is None)) as stream:
        for done, _ in enumerate(stream, 1):
            assert len(taken) <= done + 6


def test_a_closed_stream_ends_its_threads_and_frees_the_model(model, frames):
    stream = model.stream(iter(frames))
    next(stream)
    assert threads() == {"zsd reader", "zsd writer"}
    with pytest.raises(InputError, match="busy with a stream"):
        model.predict(frames[0])
    stream.close()
    assert not threads()
    model.predict(frames[0])


def test_a_session_takes_the_normalisation_as_an_argument(model, frames):
    image = np.stack(frames[:2])
    planned = model.plan(image.shape[1:], (200, 200))
    session = model.session(planned.tile)
    line = model.description.input.processing

    def restored(line):
        targets = [np.zeros(shape, np.float32) for shape in model.output_shapes(image.shape)]
        session.run(image, targets, planned, line)
        return targets[0]

    np.testing.assert_array_equal(restored(line), restored(None))
    assert not np.array_equal(restored(Linear(2 * line.slope, line.intercept)), restored(None))


def broken(frames):
    yield frames[0]
    raise OSError("the camera was unplugged")


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (broken, OSError, "unplugged"),
        (lambda frames: [frames[0], frames[1][:50]], InputError, "frame 1 has shape 50x80; this stream restores 64x80"),
        (lambda frames: [*frames[:2], np.full((64, 80), np.nan)], InputError, "NaN or infinite pixel at Y"),
        (lambda frames: [np.stack(frames)], InputError, "frame 0 has shape"),
    ],
)
def test_an_error_in_a_stream_is_raised(model, frames, images, error, message):
    with pytest.raises(error, match=message):
        list(model.stream(images(frames)))
    assert not threads()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_threads_that_share_a_model_get_their_own_results(package, large, engine):
    pytest.importorskip(engine)
    images = [large[:90, :110], large[100:190, 100:210], large[50:150, 40:190]]  # the last has another shape
    start = threading.Barrier(len(images))
    with load_model(package, device="cpu", engine=engine) as shared:
        alone = [shared.predict(image, tile=(80, 80)) for image in images]

        def work(n):
            start.wait(60)
            return [shared.predict(images[n], tile=(80, 80)) for _ in range(5)]

        with ThreadPoolExecutor(len(images)) as pool:
            for expected, results in zip(alone, pool.map(work, range(len(images))), strict=True):
                for result in results:
                    for name, values in result.items():
                        np.testing.assert_array_equal(values, expected[name])


def test_a_prediction_inside_a_prediction_is_an_error(model, large):
    with pytest.raises(InputError, match="the model is busy"):
        model.predict(large, report=lambda done, total: model.predict(large))
    model.predict(large[:64, :64])


def attention_network():
    """Channel attention as RCAN has it: what a tile shows changes the gain of all of its pixels."""
    import torch

    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.features = torch.nn.Conv2d(1, 8, 3, padding=1)
            self.gate = torch.nn.Sequential(torch.nn.Conv2d(8, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 8, 1))
            self.last = torch.nn.Conv2d(8, 1, 3, padding=1)

        def forward(self, x):
            features = torch.relu(self.features(x))
            gates = torch.sigmoid(9 * self.gate(features.mean((2, 3), keepdim=True)))
            denoised = x + 3 * self.last(features * gates)
            return denoised, torch.nn.functional.interpolate(denoised, scale_factor=2.0, mode="nearest")

    return Attention()


def test_global_pooling_leaves_no_seams():
    """Tiles of such a network differ as a whole; feathered, no step between neighbours exceeds 1 % of the signal."""
    import io
    import warnings

    import torch

    from zsd_runtime.engines.onnxruntime import OnnxRuntime
    from zsd_runtime.model import Model
    from zsd_runtime.package import ModelDescription
    from zsd_runtime.tensors import TensorSpec

    buffer = io.BytesIO()
    names = ["noisy", "denoised", "deconvolved"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy exporter says that it will go
        torch.onnx.export(
        attention_network(), (torch.zeros(1, 1, 8, 8),), buffer, input_names=names[:1], output_names=names[1:],
        dynamic_axes={name: {2: f"{name}_y", 3: f"{name}_x"} for name in names}, opset_version=17, dynamo=False,
        )  # fmt: skip
    onnx = buffer.getvalue()
    source, *outputs = (
        TensorSpec(name, 1, (k, k), "float32", Linear()) for name, k in zip(names, (1, 1, 2), strict=True)
    )
    description = ModelDescription("ca", "yx", (1, 1), (16, 16), source, tuple(outputs), onnx)
    y, x = np.mgrid[:300, :300]
    image = (1 + 0.9 * np.sin(x / 90) * np.cos(y / 70) + 0.02 * np.sin(x / 3)).astype(np.float32) * 2 + 1
    with Model(description, OnnxRuntime(onnx)) as model:
        whole = model.predict(image, tile=(400, 400))
        tiled = model.predict(image, tile=(104, 104))
    drift = tiled.denoised - whole.denoised
    assert np.abs(drift).max() > 0.03 * image.min()  # the tiles do differ
    for axis in (0, 1):
        step = np.abs(np.diff(drift, axis=axis)) / np.minimum(image, np.roll(image, -1, axis)).take(range(299), axis)
        assert step.max() < 0.01
