"""Results in files: in their places, bounded, and never taken for what they are not."""

import threading

import numpy as np
import pytest

from tests.live_fakes import plane
from zsd_runtime import InputError
from zsd_runtime.images import Channel, Description, Image, Voxel, open_image, read_box, read_image
from zsd_runtime.live import recorder as recorder_module
from zsd_runtime.live.inbox import Frame
from zsd_runtime.live.recorder import Files, Recorder
from zsd_runtime.normalize import Linear
from zsd_runtime.tensors import TensorSpec

OUTPUTS = (
    TensorSpec("denoised", 1, (1, 1), "float32", Linear()),
    TensorSpec("deconvolved", 1, (2, 2), "float32", Linear()),
)


def raw(shape=(3, 2), axes="TC", channels=("GFP", "RFP")):
    described = Description(channels=tuple(map(Channel, channels)), time_step_s=2.0, processing="restored live")
    pixels = np.broadcast_to(np.zeros((), np.uint16), (*shape, 4, 6))
    return Image(pixels, axes + "YX", Voxel.square(0.1), ome=True, description=described)


def files(folder, **settings):
    return Files(folder, **{"raw": raw(), "outputs": OUTPUTS, "channels": ("GFP", "RFP")} | settings)


def frame(value, t=0, channel="GFP", **index):
    return Frame(value, plane(value), channel, {"t": t} | index)


def outputs(value, shape=(4, 6)):
    return {o.name: np.full([n * k for n, k in zip(shape, o.scale, strict=True)], value + 0.25, np.float32)
            for o in OUTPUTS}  # fmt: skip


def read_finite_or_not(path):
    data = open_image(path).data
    return read_box(data, tuple(slice(0, n) for n in data.shape))


@pytest.mark.parametrize("kind", ["zarr", "tiff"])
def test_results_find_their_places_whatever_their_order(tmp_path, kind):
    recorder = Recorder(files(tmp_path, format=kind))
    for t, channel in [(2, "RFP"), (0, "GFP"), (1, "RFP"), (0, "RFP"), (2, "GFP")]:
        value = 10 * t + (channel == "RFP")
        recorder.put(frame(value, t, channel), outputs(value))
    paths = recorder.close()
    assert recorder.status()["kept"] == 5
    assert [path.name.partition(".")[0] for path in paths] == ["denoised", "deconvolved"]
    for path, factor in zip(paths, (1, 2), strict=True):
        image = open_image(path)
        assert (image.axes, image.data.shape) == ("TCYX", (3, 2, 4 * factor, 6 * factor))
        assert image.voxel.x_um == pytest.approx(0.1 / factor)
        assert [c.name for c in image.description.channels] == ["GFP", "RFP"]
        assert image.description.time_step_s == 2.0
        values = read_finite_or_not(path)[:, :, 0, 0]
        assert np.isnan(values[1, 0])  # it never came
        assert np.nan_to_num(values, nan=-1).tolist() == [[0.25, 1.25], [-1, 11.25], [20.25, 21.25]]
    text = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert text.count(b"zsd: restored live") == 2
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_each_position_has_a_file_and_each_nth_time_a_place(tmp_path):
    settings = files(tmp_path, raw=raw((2, 2)), positions={"p": 2}, every=2, dtype="uint16")
    recorder = Recorder(settings)
    assert [t for t in range(4) if recorder.wants("GFP", {"t": t})] == [0, 2]
    assert not recorder.wants("DAPI", {"t": 0})
    for p in range(2):
        for t in (0, 2):
            recorder.put(frame(100 * p + t, t, p=p), outputs(100 * p + t))
    names = {path.name for path in recorder.close()}
    assert names == {f"{o.name}_p{p}.ome.zarr" for o in OUTPUTS for p in range(2)}
    for p in range(2):
        values = read_image(tmp_path / f"denoised_p{p}.ome.zarr").data
        assert values.dtype == np.uint16
        assert values[:, :, 0, 0].tolist() == [[100 * p, 0], [100 * p + 2, 0]]


def test_volumes(tmp_path):
    volumes = tuple(TensorSpec(o.name, 1, (1, *o.scale), "float32", Linear()) for o in OUTPUTS)
    recorder = Recorder(files(tmp_path, raw=raw((2, 5), "TZ", ()), outputs=volumes, channels=("",)))
    stack = {name: np.stack([values] * 5) for name, values in outputs(7).items()}
    recorder.put(Frame(0, np.zeros((5, 4, 6)), "", {"t": 1}), stack)
    path = recorder.close()[0]
    values = read_finite_or_not(path)
    assert values.shape == (2, 5, 4, 6)
    assert (values[1] == 7.25).all()
    assert np.isnan(values[0]).all()


def test_a_slow_disk_costs_results_but_no_memory(tmp_path, monkeypatch):
    release, writing = threading.Event(), threading.Event()
    write = Recorder._write

    def slow(self, *arguments):
        writing.set()
        assert release.wait(60)
        return write(self, *arguments)

    monkeypatch.setattr(Recorder, "_write", slow)
    size = sum(values.nbytes for values in outputs(0).values())
    recorder = Recorder(files(tmp_path, raw=raw((100, 2))), most_bytes=3 * size)
    recorder.put(frame(0), outputs(0))
    assert writing.wait(60)
    for t in range(1, 100):
        recorder.put(frame(t, t), outputs(t))
        assert recorder.status()["waiting_for_disk"] <= 3
    release.set()
    recorder.close()
    status = recorder.status()
    assert (status["kept"], status["not_kept"], status["waiting_for_disk"]) == (3, {"disk too slow": 97}, 0)


def test_a_full_disk_leaves_nothing_half_written_and_stops_nothing(tmp_path, monkeypatch):
    target = recorder_module.Recorder._target

    def full(self, spec, position):
        if spec.name == "deconvolved" and self._saved:
            raise OSError(28, "No space left on device")
        return target(self, spec, position)

    monkeypatch.setattr(recorder_module.Recorder, "_target", full)
    recorder = Recorder(files(tmp_path))
    for t in range(3):
        recorder.put(frame(t, t), outputs(t))
    with pytest.raises(InputError, match="No space left"):
        recorder.close()
    assert recorder.status()["kept"] == 1
    assert recorder.status()["not_kept"] == {"disk error": 2}
    assert list(tmp_path.iterdir()) == []


def test_a_result_of_another_shape_is_counted_not_written(tmp_path):
    recorder = Recorder(files(tmp_path))
    recorder.put(frame(1), outputs(1))
    recorder.put(frame(2, 1), outputs(2, (5, 6)))
    recorder.close()
    assert recorder.status()["not_kept"] == {"another shape than 4x6": 1}
    assert recorder.status()["kept"] == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        Recorder(files(tmp_path / "file" / "results"))
