"""The live page's server: who may talk to it, what it answers, that a slow page holds nobody up."""

import io
import json
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.fake_view import FakeView
from zsd_runtime import InputError
from zsd_runtime.serve.access import host_names
from zsd_runtime.serve.page import MOST_PAGES, serve_view
from zsd_runtime.serve.picture import BINS, SAMPLES, Contrasts, as_grey, auto_limits, sampled, seen, steady
from zsd_runtime.serve.viewer import Viewer

WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture
def view():
    return FakeView()


@pytest.fixture
def server(view, tmp_path):
    with serve_view(view, snapshots=tmp_path / "snapshots", title="cells <3>") as server:
        yield server


def request(server, method, path, body=None, **headers):
    """Status, headers and body; headers as arguments, with _ for -."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=900)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def cookie(server):
    return f"zsd_{server.port}={server.token}"


def open_frames(server, **changes):
    headers = {"Cookie": cookie(server), "Origin": server.address, "User-Agent": "a test"} | changes
    return connect(
        f"ws://127.0.0.1:{server.port}/frames", max_size=None, open_timeout=900, compression=None,
        user_agent_header=None,
        additional_headers={name: value for name, value in headers.items() if value is not None},
    )  # fmt: skip


LOOK = {"ask": "frame", "after": -1, "hold": False, "channel": "", "box": WHOLE, "size": (300, 200), "manual": {}}


def ask(page, number, **changes):
    page.send(json.dumps(LOOK | {"id": number} | changes))


def answer(page):
    """The facts of an answer, with its pictures decoded; of one without a frame, the message."""
    message = page.recv(timeout=900)
    if isinstance(message, str):
        return json.loads(message)
    end = 4 + int.from_bytes(message[:4], "big")
    facts = json.loads(message[4:end])
    for picture in facts["pictures"]:
        picture["pixels"] = imagecodecs.jpeg8_decode(message[end : end + picture["bytes"]])
        end += picture["bytes"]
    assert end == len(message)
    return facts


def test_the_address_with_the_token_gives_a_cookie_that_opens_everything(server):
    status, headers, body = request(server, "GET", f"/?token={server.token}")
    assert status == 200
    assert b"cells &lt;3&gt;" in body
    set_cookie = headers["set-cookie"]
    assert set_cookie.startswith(cookie(server) + ";")
    assert "HttpOnly" in set_cookie
    assert "SameSite=strict" in set_cookie
    assert "default-src 'none'" in headers["content-security-policy"]
    for path in ("/", "/static/page.js", "/static/page.css", "/static/panel.js", "/static/text.js", "/static/icon.svg"):
        assert request(server, "GET", path, Cookie=cookie(server))[0] == 200


REFUSED = {
    "no token": ({}, 403, "token is missing"),
    "wrong token": ({"Cookie": "zsd_{port}=wrong"}, 403, "token is missing"),
    "token of another port": ({"Cookie": "zsd_1={token}"}, 403, "token is missing"),
    "wrong bearer": ({"Authorization": "Bearer wrong"}, 403, "token is missing"),
    "malformed cookie": ({"Cookie": "=;; {token}"}, 403, "token is missing"),
    "other host": ({"Cookie": "zsd_{port}={token}", "Host": "evil.example:{port}"}, 400, "Host"),
    "other port": ({"Cookie": "zsd_{port}={token}", "Host": "127.0.0.1:1"}, 400, "Host"),
    "no port": ({"Cookie": "zsd_{port}={token}", "Host": "127.0.0.1"}, 400, "Host"),
    "other page": ({"Cookie": "zsd_{port}={token}", "Origin": "http://evil.example"}, 403, "another web page"),
    "other page of this computer": ({"Cookie": "zsd_{port}={token}", "Origin": "http://127.0.0.1:1"}, 403, "another"),
    "no page at all": ({"Cookie": "zsd_{port}={token}", "Origin": "null"}, 403, "another web page"),
}


def filled(headers, server):
    return {n: v.format(port=server.port, token=server.token) for n, v in headers.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_are_refused(case, server):
    headers, status, reason = REFUSED[case]
    for path in ("/", "/static/page.js", "/?token=wrong", "/?tokens=x&token="):
        found = request(server, "GET", path, **filled(headers, server))
        assert found[0] == status
        assert reason in found[2].decode()


@pytest.mark.parametrize("case", [*REFUSED, "no origin"])
def test_the_socket_is_refused(case, server):
    headers, status, reason = REFUSED.get(case, ({"Origin": None}, 403, "which page it comes from"))
    changes = {"Cookie": None} if case in ("no token", "wrong bearer") else {}
    changes |= filled(headers, server) if case in REFUSED else headers
    if "Host" in changes:  # the library sets this one by itself
        host, _, port = str(changes.pop("Host")).partition(":")
        with socket.create_connection(("127.0.0.1", server.port)) as raw, pytest.raises(InvalidStatus) as refused:
            connect(
                f"ws://{host}:{port or 80}/frames",
                sock=raw,
                additional_headers={"Cookie": cookie(server)},
                open_timeout=900,
            )
    else:
        with pytest.raises(InvalidStatus) as refused:
            open_frames(server, **changes)
    assert refused.value.response.status_code == status
    assert reason in refused.value.response.body.decode()


def test_the_token_in_the_address_opens_the_page_only(server):
    assert request(server, "GET", f"/static/page.js?token={server.token}")[0] == 403
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}/frames?token={server.token}", origin=server.address, open_timeout=900)
    assert refused.value.response.status_code == 403


def test_what_changes_something_needs_an_origin_with_the_cookie_and_none_with_the_header(server):
    assert request(server, "POST", "/", b"", Cookie=cookie(server))[0] == 403
    assert request(server, "POST", "/", b"", Cookie=cookie(server), Origin=server.address)[0] == 405
    assert request(server, "POST", "/", b"", Authorization=f"Bearer {server.token}")[0] == 405


def test_hosts_of_every_address_are_the_names_of_this_computer():
    assert host_names("127.0.0.1", 80) == {"127.0.0.1:80", "localhost:80", "[::1]:80"}
    assert host_names("192.168.1.7", 80) == {"192.168.1.7:80"}
    everywhere = host_names("0.0.0.0", 80)
    assert {"127.0.0.1:80", f"{socket.gethostname().lower()}:80"} <= everywhere
    assert "evil.example:80" not in everywhere


def test_each_request_gets_one_frame_the_newest(server, view):
    for _ in range(5):
        view.put()
    with open_frames(server) as page:
        ask(page, 1)
        first = answer(page)
        assert (first["id"], first["number"], first["latency_ms"]) == (1, 5, 12.5)
        assert [p["name"] for p in first["pictures"]] == ["raw", "denoised", "deconvolved"]
        assert [p["shape"] for p in first["pictures"]] == [[64, 96], [64, 96], [128, 192]]
        assert first["status"]["seen"] == 5
        assert first["status"]["disk_free_bytes"] > 0
        ask(page, 2, after=5)  # nothing newer: the status alone
        second = answer(page)
        assert set(second) == {"id", "status"}
        assert set(second["status"]) == set(first["status"])
        view.put()
        view.put()
        ask(page, 3, after=5)
        assert answer(page)["number"] == 7  # 6 was replaced


def test_the_last_of_several_requests_is_answered(server, view):
    """A page that asks often gets one answer for what it wants now."""
    with open_frames(server) as page:
        for number in range(1, 21):
            ask(page, number)
        view.put()
        numbers = []
        while not numbers or numbers[-1] < 20:
            numbers.append(answer(page)["id"])
        assert len(numbers) < 20


def test_a_held_frame_is_drawn_again_in_another_box_and_contrast(server, view):
    view.put()
    with open_frames(server) as page:
        ask(page, 1)
        assert answer(page)["number"] == 1
        view.put()
        ask(page, 2, after=1, hold=True, manual={"/raw": (100, 1000)})
        raw = answer(page)["pictures"][0]
        assert (raw["low"], raw["high"], raw["auto"]) == (100, 1000, False)
        assert (raw["pixels"].min(), raw["pixels"].max()) == (pytest.approx(0, abs=6), pytest.approx(255, abs=6))
        ask(page, 3, after=1, hold=True, box=(0.25, 0.5, 0.5, 0.75), size=(24, 16))
        third = answer(page)
        assert third["number"] == 1
        assert [p["pixels"].shape for p in third["pictures"]] == [(16, 24), (16, 24), (16, 24)]
        assert third["pictures"][0]["auto"]


def test_frames_of_one_channel(server, view):
    view.put("GFP")
    with open_frames(server) as page:
        ask(page, 1, channel="RFP")
        assert "number" not in answer(page)
        view.put("RFP")
        ask(page, 2, channel="RFP")
        assert answer(page)["channel"] == "RFP"


def test_a_channel_that_stands_still_does_not_hide_another(server, view):
    """A view that gives the older of two new frames first."""
    frames = []
    for channel in ("GFP", "RFP"):
        view.put(channel)
        frames.append(view.latest())
    view.latest = lambda after: next((frame for frame in frames if frame.number > after), None)
    with open_frames(server) as page:
        ask(page, 1, channel="RFP")
        assert answer(page)["number"] == 2


def test_a_snapshot_is_what_the_page_shows(server, view, tmp_path):
    view.put("GFP/2")
    with open_frames(server) as page:
        page.send(json.dumps({"ask": "snapshot"}))
        assert "no frame" in answer(page)["snapshot"]["error"]
        ask(page, 1)
        answer(page)
        expected = view.latest()
        view.put("GFP/2")  # newer than what is shown
        page.send(json.dumps({"ask": "snapshot"}))
        files = answer(page)["snapshot"]["files"]
        page.send(json.dumps({"ask": "snapshot"}))
        assert len({*files, *answer(page)["snapshot"]["files"]}) == 6
    assert [name.partition("_1_GFP_2_")[2] for name in files] == ["raw.tif", "denoised.tif", "deconvolved.tif"]
    folder = tmp_path / "snapshots"
    np.testing.assert_array_equal(tifffile.imread(folder / files[0]), expected.raw)
    np.testing.assert_array_equal(tifffile.imread(folder / files[2]), expected.outputs["deconvolved"])
    with tifffile.TiffFile(folder / files[2]) as tiff:
        top, bottom = tiff.pages[0].tags["XResolution"].value
        assert bottom / top == pytest.approx(0.0325, rel=1e-4)
        assert '"frame": 1' in tiff.imagej_metadata["Info"]


def test_a_snapshot_that_cannot_be_written_is_a_sentence(view, tmp_path):
    view.put()
    (tmp_path / "file").touch()
    with serve_view(view, snapshots=tmp_path / "file" / "x") as server, open_frames(server) as page:
        ask(page, 1)
        answer(page)
        page.send(json.dumps({"ask": "snapshot"}))
        assert "cannot write" in answer(page)["snapshot"]["error"]
    with serve_view(view) as server, open_frames(server) as page:
        ask(page, 1)
        assert not answer(page)["status"]["can_snapshot"]
        page.send(json.dumps({"ask": "snapshot"}))
        assert "--snapshots" in answer(page)["snapshot"]["error"]


def test_pausing_reaches_the_view(server, view):
    with open_frames(server) as page:
        page.send(json.dumps({"ask": "pause", "paused": True}))
        ask(page, 1)
        assert answer(page)["status"]["paused"] is True
    assert view.paused


MALFORMED = [
    "", "[]", "7", "{", '{"ask": "frame"}', '{"ask": "format the disk"}', b"\0\1", '{"ask": "frame", "id": 1, "after": '
    '0, "hold": false, "channel": "", "box": [0, 0, NaN, 1], "size": [9, 9], "manual": {}}',
]  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED)
def test_a_malformed_message_closes_its_page_only(message, server, view):
    view.put()
    with open_frames(server) as other, open_frames(server) as page:
        page.send(message)
        with pytest.raises(ConnectionClosed):
            page.recv(timeout=900)
        ask(other, 1)
        assert answer(other)["number"] == 1


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"box": (-5, -5, 9, 9)}, (64, 96)),
        ({"box": (1, 1, 1, 1)}, (1, 1)),
        ({"size": (0, 0)}, (1, 1)),
        ({"size": (1e9, 1e9)}, (64, 96)),
    ],
)
def test_odd_boxes_and_sizes_are_brought_into_range(changes, shape, server, view):
    view.put()
    with open_frames(server) as page:
        ask(page, 1, **changes)
        assert answer(page)["pictures"][0]["pixels"].shape == shape


def test_no_more_pages_than_allowed(server, view):
    view.put()
    with ExitStack() as pages:
        for _ in range(MOST_PAGES):
            page = pages.enter_context(open_frames(server))
            ask(page, 1)
            answer(page)
        one_more = pages.enter_context(open_frames(server))
        with pytest.raises(ConnectionClosed) as closed:
            one_more.recv(timeout=900)
        assert closed.value.rcvd.code == 1013


def test_values_that_json_does_not_know_reach_the_page_as_null_or_text(view):
    view.status = lambda: {
        "latency_p50_ms": float("nan"),
        "seen": np.int64(3),
        "since": Path("x"),
        "of": [np.inf, (1,)],
    }
    with serve_view(view) as server, open_frames(server) as page:
        ask(page, 1)
        status = answer(page)["status"]
    assert (status["latency_p50_ms"], status["seen"], status["since"]) == (None, 3, "x")
    assert status["of"] == [None, [1]]


def test_a_view_that_fails_closes_its_page_and_the_next_one_is_served(view, caplog):
    latest = view.latest
    view.put()
    with serve_view(view) as server:
        view.latest = lambda after: 1 / 0
        with open_frames(server) as page:
            ask(page, 1)
            with pytest.raises(ConnectionClosed):
                page.recv(timeout=900)
        view.latest = latest
        with open_frames(server) as page:
            ask(page, 1)
            assert answer(page)["number"] == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_stalled_page_holds_nobody_up(monkeypatch):
    """It asks 300 times and never reads. The producer goes on, another page gets every frame, and nothing piles up."""
    view, drawn = FakeView(noise=(900, 900)), Counter()
    draw = Viewer._message
    monkeypatch.setattr(
        Viewer, "_message", lambda viewer, *of: drawn.update([viewer.socket.headers["user-agent"]]) or draw(viewer, *of)
    )
    view.put()
    with serve_view(view) as server, socket.create_connection(("127.0.0.1", server.port)) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(
            f"GET /frames HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: {server.address}\r\n"
            f"Cookie: {cookie(server)}\r\nUser-Agent: stalled\r\n\r\n".encode()
        )
        look = json.dumps(LOOK | {"id": 1, "size": (900, 900)}).encode()
        frame = bytes([0x81, 0x80 | 126]) + len(look).to_bytes(2, "big") + b"\0\0\0\0" + look
        with open_frames(server, **{"User-Agent": "other"}) as page:
            for number in range(1, 31):
                stalled.sendall(10 * frame)
                view.put()
                ask(page, number, after=view.puts - 1)
                assert answer(page)["number"] == view.puts
    assert view.puts == 31
    assert drawn["other"] == 30
    assert 1 <= drawn["stalled"] < 20


def test_a_port_in_use_and_other_wrong_addresses(server, view, tmp_path):
    with pytest.raises(InputError, match=f"`port` {server.port} is in use"):
        serve_view(view, port=server.port)
    with pytest.raises(InputError, match=r"0 .*to 65535"):
        serve_view(view, port=65536)
    with pytest.raises(InputError, match="`host` no such host"):
        serve_view(view, host="no such host")
    with pytest.raises(InputError, match="16 or more letters"):
        serve_view(view, token="short; Path=/")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        serve_view(view, snapshots=tmp_path / "file")


def test_closing_ends_the_thread_and_frees_the_port(view):
    before = threading.active_count()
    server = serve_view(view)
    with open_frames(server) as page:
        server.close()
        with pytest.raises(ConnectionClosed):
            page.recv(timeout=900)
    assert server.wait(900)
    assert not [t for t in threading.enumerate() if t.name == "zsd server"]
    with serve_view(view, port=server.port) as again:
        assert again.port == server.port
    assert threading.active_count() <= before + 1  # of websockets' client, which ends by itself


def test_a_missing_extra_is_an_install_line(view, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(InputError, match="pip install 'zsd\\[live\\]'"):
        serve_view(view)


def test_a_box_of_the_image_no_finer_than_the_screen():
    image = np.arange(80 * 60, dtype=np.uint16).reshape(80, 60)
    part, box = seen(image, (0.25, 0.5, 0.75, 1), (100, 100))
    np.testing.assert_array_equal(part, image[40:, 15:45])
    assert box == [0.25, 0.5, 0.75, 1.0]
    part, box = seen(image, WHOLE, (20, 20))
    np.testing.assert_allclose(part, image[:78].reshape(26, 3, 20, 3).mean((1, 3)))
    assert box == [0, 0, 1, 78 / 80]


def test_contrast_is_steady_until_it_is_wrong():
    assert steady(None, (1, 2)) == (1, 2)
    assert steady((0, 100), (10, 90)) == (0, 100)
    assert steady((0, 100), (20, 100)) == (20, 100)


def test_contrast_leaves_out_what_is_rare_and_what_is_no_number():
    image = np.tile(np.arange(1000, dtype=np.float32), (1000, 1))
    image[0, :5] = np.nan, np.inf, -np.inf, 1e9, -1e9
    low, high = auto_limits(sampled(image))
    assert (low, high) == (pytest.approx(1, abs=3), pytest.approx(998, abs=3))
    assert sampled(image).size <= 1.2 * SAMPLES
    grey = as_grey(image, (0.0, 999.0))
    assert grey[0, 0] == 0
    assert (grey[1, 0], grey[1, -1]) == (0, 255)


@pytest.mark.parametrize("image", [np.zeros((5, 7), np.uint16), np.full((1, 1), np.nan, np.float32)])
def test_an_image_without_any_contrast(image):
    picture = Contrasts().picture("raw", image, WHOLE, (10, 10), {})
    assert imagecodecs.jpeg8_decode(io.BytesIO(picture.jpeg).read()).shape == image.shape
    assert len(picture.facts["histogram"]) == BINS
    assert all(np.isfinite(picture.facts["histogram_range"]))


def test_a_histogram_of_whole_numbers_has_no_comb():
    image = np.random.default_rng(0).integers(100, 350, (300, 300)).astype(np.uint16)
    counts = np.array(Contrasts().picture("raw", image, WHOLE, (10, 10), {}).facts["histogram"])
    filled = counts[counts > 0]
    assert filled[:-1].min() > 0.6 * filled.max()  # a comb has bins with one value and with two
