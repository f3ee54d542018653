"""Live restoration with stand-ins for models: what becomes of the frames, whatever the model does."""

import itertools
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live_fakes import FakeRestorer, agrees, plane
from zsd_runtime import InputError, load_model
from zsd_runtime.images import Image, Voxel
from zsd_runtime.live import Live
from zsd_runtime.live import live as live_module
from zsd_runtime.live.first_frames import FirstFrames
from zsd_runtime.live.inbox import Frame, Inbox
from zsd_runtime.live.restorers import MOST_PREPARED, Models
from zsd_runtime.live.stacks import Stacks
from zsd_runtime.mismatch import image_mismatches
from zsd_runtime.package import read_package

PACKAGE = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"


class Kept:
    """A sink that keeps results in memory."""

    def __init__(self, wants=lambda channel, index: True):
        self.wants, self.frames = wants, []

    def put(self, frame, outputs):
        self.frames.append((frame.number, float(outputs["denoised"].flat[0])))

    def status(self):
        return {"kept": len(self.frames)}


def test_the_newest_frame_replaces_those_that_wait():
    model = FakeRestorer(hold=True)
    with Live(model) as live:
        live.put(plane(0))
        assert model.entered.acquire(timeout=60)  # it has frame 0; all others come while it is busy
        for value in range(1, 10):
            live.put(plane(value))
            assert agrees(live.status())
        status = live.status()
        assert (status["seen"], status["waiting"], status["replaced"]) == (10, 2, 8)
        assert live.latest().outputs == {}  # nothing was restored yet: the raw frame alone
        model.gate.release(2)
    status = live.status()
    assert agrees(status)
    assert (status["done"], status["replaced"], status["failed"], status["waiting"]) == (2, 8, 0, 0)
    assert model.restored == [0, 9]
    assert status["results"] == 2
    shown = live.latest()
    assert (shown.raw == 9).all()
    assert (shown.outputs["denoised"] == 18).all()
    assert shown.latency_ms > 0
    assert live.latest(shown.number) is None


def test_a_frame_that_fails_stops_nothing():
    model = FakeRestorer(hold=True, fails=lambda image: image.flat[0] == 1)
    with Live(model) as live:
        for value in range(3):
            live.put(plane(value))
            assert model.entered.acquire(timeout=60)
            model.gate.release()
    status = live.status()
    assert (status["done"], status["failed"]) == (2, 1)
    assert status["error"] == "frame 1 is too much"
    assert model.restored == [0, 2]


def test_a_failure_shows_the_raw_frame_alone():
    with Live(FakeRestorer(fails=lambda image: True)) as live:
        live.put(plane(7))
    assert (live.latest().raw == 7).all()
    assert live.latest().outputs == {}


def test_frames_for_a_file_wait_in_a_queue_and_none_is_restored_twice():
    model, kept = FakeRestorer(hold=True), Kept()
    with Live(model, sink=kept) as live:
        live.put(plane(0))
        assert model.entered.acquire(timeout=60)
        for value in range(1, 8):
            live.put(plane(value))
            assert agrees(live.status())
        model.gate.release(8)
    assert sorted(kept.frames) == [(n, 2.0 * n) for n in range(8)]
    assert model.restored[:4] == [0, 1, 7, 2]  # the oldest for the file and the newest for the display, in turns
    assert live.status()["not_kept"] == {}
    assert json.loads(json.dumps(live.status()))["done"] == 8  # plain values, for a page
    assert (live.latest().raw == 7).all()  # the display never goes back in time


def test_the_queue_is_bounded_and_what_it_has_no_room_for_is_counted():
    model, kept = FakeRestorer(hold=True), Kept()
    with Live(model, sink=kept, queue_bytes=3 * plane(0).nbytes) as live:
        live.put(plane(0))
        assert model.entered.acquire(timeout=60)
        for value in range(1, 101):
            live.put(plane(value))
            assert agrees(live.status())
            assert live.status()["waiting"] <= 5
        model.gate.release(10)
    status = live.status()
    assert model.restored == [0, 1, 100, 2, 3]
    assert (status["to_keep"], status["kept"]) == (101, 5)
    assert status["not_kept"] == {"too slow": 96}
    assert (status["done"], status["replaced"]) == (5, 96)


def test_some_frames_are_kept():
    kept = Kept(wants=lambda channel, index: index["t"] % 3 == 0)
    model = FakeRestorer(hold=True)
    with Live(model, sink=kept) as live:
        live.put(plane(0), index={"t": 0})
        assert model.entered.acquire(timeout=60)
        for t in range(1, 8):
            live.put(plane(t), index={"t": t})
        model.gate.release(8)
    assert sorted(number for number, _ in kept.frames) == [0, 3, 6]
    assert live.status()["to_keep"] == 3
    assert live.status()["replaced"] == 4  # 1, 2, 4, 5; frame 7 is the display's


def test_a_sink_that_fails_stops_nothing():
    class Full(Kept):
        def put(self, frame, outputs):
            if frame.number == 0:
                raise OSError("no room")
            super().put(frame, outputs)

    kept = Full()
    with Live(FakeRestorer(), sink=kept) as live:
        for value in range(3):
            live.put(plane(value))
    status = live.status()
    assert (status["done"], status["failed"], status["not_kept"]) == (3, 0, {"not taken": 1})
    assert status["error"] == "no room"
    assert sorted(number for number, _ in kept.frames) == [1, 2]


def test_a_result_that_cannot_be_shown_is_a_failure():
    class Odd(FakeRestorer):
        def restore(self, image, channel):
            return {"denoised": None} if image.flat[0] == 1 else super().restore(image, channel)

    kept = Kept()
    with Live(Odd(), sink=kept) as live:
        live.put(plane(0))
        live.put(plane(1))
    status = live.status()
    assert (status["done"], status["failed"], status["kept"]) == (1, 1, 1)
    assert agrees(status)


def test_a_pause_stops_the_display_but_not_the_files():
    model, kept = FakeRestorer(), Kept(wants=lambda channel, index: index["t"] != 1)
    with Live(model, sink=kept) as live:
        live.pause(True)
        assert live.status()["paused"]
        for t in range(3):
            live.put(plane(t), index={"t": t})
    assert [number for number, _ in kept.frames] == [0, 2]
    assert model.restored == [0, 2]
    assert live.latest() is None
    assert agrees(live.status())


def test_channels_wait_for_their_own_turn():
    model = FakeRestorer(hold=True, channels=("GFP", "RFP"))
    with Live(model) as live:
        live.put(plane(0), "GFP")
        assert model.entered.acquire(timeout=60)
        for value in range(1, 5):
            for channel, offset in (("GFP", 0), ("RFP", 100), ("DAPI", 200)):
                live.put(plane(value + offset), channel)
        model.gate.release(3)
    status = live.status()
    assert model.restored == [0, 4, 104]
    assert (status["frames"], status["seen"], status["unassigned"]) == (13, 9, 4)
    assert agrees(status)
    shown, number = {}, -1
    while (last := live.latest(number)) is not None:
        shown[last.channel], number = (int(last.raw.flat[0]), bool(last.outputs)), last.number
    assert shown == {"GFP": (4, True), "RFP": (104, True), "DAPI": (204, False)}


def test_one_thread_owns_the_model():
    model = FakeRestorer()
    with Live(model) as live:
        assert live.warm_up((4, 6), ("GFP", "RFP")) == {"denoised": (4, 6)}
        live.put(plane(1), "GFP")
    assert model.prepared == [((4, 6), channel, np.uint16) for channel in ("GFP", "RFP")]
    assert len(model.threads) == 1
    assert threading.current_thread() not in model.threads


def test_a_warm_up_that_fails_is_told_and_the_rest_goes_on():
    class Picky(FakeRestorer):
        def prepare(self, shape, *_):
            raise InputError(f"{shape} is too large")

    with Live(Picky()) as live:
        with pytest.raises(InputError, match="too large"):
            live.warm_up((9, 9))
        live.put(plane(1))
    assert live.status()["done"] == 1


def test_the_end():
    model = FakeRestorer(hold=True)
    live = Live(model)
    live.put(plane(0))
    assert model.entered.acquire(timeout=60)
    live.put(plane(1))
    model.gate.release(2)
    live.close(drain=False)
    live.close()
    for thread in threading.enumerate():
        if thread.name == "zsd live":
            thread.join(60)
            assert not thread.is_alive()
    status = live.status()
    assert (status["done"], status["replaced"], status["waiting"]) == (1, 1, 0)
    with pytest.raises(InputError, match="ended"):
        live.put(plane(2))
    assert live.status()["seen"] == 2


def test_an_engine_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(live_module, "HANG_S", 1e4)
    model, ticks = FakeRestorer(hold=True), itertools.count(step=1e3)
    live = Live(model, sink=Kept(), clock=lambda: float(next(ticks)))
    for value in range(3):
        live.put(plane(value))
    assert model.entered.acquire(timeout=60)
    waited = []
    live.close(report=waited.append)
    status = live.status()
    assert agrees(status)
    assert (status["failed"], status["replaced"], status["done"]) == (1, 2, 0)
    assert "no result" in status["error"]
    assert set(waited) == {3}
    model.gate.release(3)  # it comes back, too late: its result changes no count
    assert model.entered.acquire(blocking=False) is False
    assert agrees(live.status())


@settings(max_examples=100, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 2)), max_size=40),
    room=st.integers(1, 5),
    display=st.booleans(),
)
def test_the_inbox_loses_no_frame_without_saying_so(arrivals, room, display):
    """Each frame is taken once or returned as replaced; one that was queued is always taken."""
    inbox, replaced, taken, queued = Inbox(room * plane(0).nbytes), [], [], set()
    for number, (channel, keep, takes) in enumerate(arrivals):
        before = inbox._queued_bytes
        if old := inbox.put(Frame(number, plane(number), channel, keep=keep)):
            replaced.append(old.number)
        if inbox._queued_bytes > before:
            queued.add(number)
        for _ in range(takes):
            found = inbox.take(display=display)
            taken += [found[0].number] if found else []
        assert len(inbox) <= room + 2
        assert number + 1 == len(replaced) + len(taken) + len(inbox)
    taken += [frame.number for frame in inbox.clear()]
    assert sorted(replaced + taken) == list(range(len(arrivals)))
    assert not queued & set(replaced)


def test_a_queued_frame_is_the_newest_only_until_a_newer_one_comes():
    inbox = Inbox(1 << 20)
    for number in range(3):
        inbox.put(Frame(number, plane(number), keep=True))
    assert [(frame.number, newest) for frame, newest in iter(inbox.take, None)] == [(2, True), (0, False), (1, False)]


SLICES = 3


@settings(max_examples=100, deadline=None)
@given(order=st.permutations([(t, c, z) for t in range(2) for c in range(2) for z in range(SLICES)]), lost=st.sets(
    st.integers(0, 11), max_size=4))  # fmt: skip
def test_slices_of_stacks_are_never_mixed(order, lost):
    """Whatever the order of the slices, and whichever are lost: what is complete is right, all else is counted."""
    stacks, complete = Stacks(), {}
    for place, (t, c, z) in enumerate(order):
        if place not in lost:
            image = stacks.add(plane(100 * t + 10 * c + z), f"c{c}", {"t": t}, z, SLICES)
            if image is not None:
                complete[t, c] = image
    stacks.drop()
    whole = {(t, c) for t, c, _ in order} - {order[place][:2] for place in lost}
    assert set(complete) == whole
    for (t, c), image in complete.items():
        assert image[:, 0, 0].tolist() == [100 * t + 10 * c + z for z in range(SLICES)]
    begun = {(t, c) for place, (t, c, _) in enumerate(order) if place not in lost}
    assert stacks.incomplete == len(begun - whole)


@pytest.mark.parametrize(
    ("second", "message"),
    [((plane(1), 0, 3), "does not fit"), ((plane(1, (5, 6)), 1, 3), "5x6"), ((plane(1), 1, 4), "does not fit")],
)
def test_a_slice_that_does_not_fit_drops_its_stack(second, message):
    stacks = Stacks()
    stacks.add(plane(0), "", {"t": 0}, 0, 3)
    image, z, slices = second
    with pytest.raises(InputError, match=message):
        stacks.add(image, "", {"t": 0}, z, slices)
    assert stacks.incomplete == 1
    with pytest.raises(InputError, match="does not exist"):
        stacks.add(plane(0), "", {"t": 1}, 3, 3)
    assert stacks.incomplete == 1


def test_stacks_whose_slices_never_come_take_bounded_memory():
    stacks = Stacks(most_open=4)
    for t in range(100):
        stacks.add(plane(t), "", {"t": t}, 0, 2)
        assert len(stacks._open) <= 4
    assert stacks.incomplete == 96


def test_stacks_of_a_cancelled_acquisition_are_counted():
    model = FakeRestorer()
    with Live(model) as live:
        for t, z in [(0, 0), (0, 1), (1, 0)]:
            live.put(plane(10 * t + z), index={"t": t}, z=z, slices=2)
        live.cancel()
        live.put(plane(99), index={"t": 1}, z=1, slices=2)  # a slice that was on its way
    status = live.status()
    assert (status["frames"], status["seen"], status["done"], status["stacks_incomplete"]) == (4, 1, 1, 2)
    assert live.latest().raw.shape == (4, 6)  # the middle slice


def test_a_frame_becomes_what_predict_makes_of_it():
    image = np.random.default_rng(1).poisson(30, (40, 48)).astype(np.uint16) + 100
    image[10, 10] = 60000  # a hot pixel
    with load_model(PACKAGE, engine="onnxruntime") as model, Live(model) as live:
        live.warm_up(image.shape)
        live.put(image)
    expected = load_model(PACKAGE, engine="onnxruntime").predict(image)
    for name, values in live.latest().outputs.items():
        assert (values == expected[name]).all()
    assert set(live.latest().outputs) == set(expected)


class CountingModel:
    """A model that writes down the shapes that it is prepared for."""

    def __init__(self, description):
        self.description, self.prepared, self.closed = description, [], False

    def predict(self, image, **_):
        if self.prepared[-1:] != [image.shape]:
            self.prepared.append(image.shape)
        return {}

    def close(self):
        self.closed = True


def test_shapes_that_take_turns_stay_prepared():
    description = load_model(PACKAGE, engine="onnxruntime").description
    opened = []

    def reopen(model):
        opened.append(CountingModel(model.description))
        return opened[-1]

    first = CountingModel(description)
    models = Models({"GFP": first, "RFP": first}, reopen=reopen)
    for n in range(12):
        models.restore(plane(0, (8 + n % 2, 8)), "GFP" if n % 3 else "RFP")
    assert [m.prepared for m in (first, *opened)] == [[(8, 8)], [(9, 8)]]
    for n in range(20):  # more shapes than are kept: memory stays bounded
        models.restore(plane(0, (30 + n, 8)), "GFP")
    assert len(opened) == MOST_PREPARED - 1
    models.close()
    assert all(m.closed for m in opened)
    assert not first.closed  # it is the caller's


def test_first_frames_of_another_kind_are_told_once_a_channel():
    """The model's camera has an offset of 100; frames of another are told, in the words of `zsd predict`."""
    description = read_package(PACKAGE)
    noise = np.random.default_rng(0)
    said = {"GFP": [], "RFP": []}
    told = threading.Semaphore(0)

    def warn(text):
        said["GFP" if "GFP" in text else "RFP"].append(text)
        told.release()

    with Live(FakeRestorer()) as live:
        first = FirstFrames(live, {"GFP": description, "RFP": description}, Voxel.square(5.0), warn)
        first.look()  # there is no frame yet
        for _ in range(3):
            for channel in ("GFP", "RFP", "DAPI"):
                live.put(noise.poisson(30, (64, 64)).astype(np.uint16) + 100, channel)
            first.look()
        assert told.acquire(timeout=60)
        assert told.acquire(timeout=60)
    for thread in threading.enumerate():
        if thread.name == "zsd first frame":
            thread.join(60)
    expected = [m.text for m in image_mismatches(description, Image(live.latest().raw, "YX", Voxel.square(5.0)))]
    assert any("pixel size is 5 µm" in text for text in expected)
    for channel, texts in said.items():
        assert [text.split(":")[0] for text in texts] == [f"the first frame of {channel}"] * len(texts)
        assert sum("pixel size is 5 µm" in text for text in texts) == 1
