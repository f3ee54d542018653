"""The live page in a real browser: what a person sees and clicks."""

import json
import threading

import pytest
import tifffile

from tests.browser import CHROMIUM, browser
from tests.fake_view import FakeView
from zsd_runtime.serve.page import serve_view

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

RAW = "section[data-name=raw]"
BRIGHT = "(c => {const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; " + (
    "for (let i = 0; i < p.length; i += 4) n += p[i]; return n / (p.length / 4);})(document.querySelector('%s .image'))"
)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def camera():
    """A camera that runs until the test ends."""
    view, stop = FakeView(), threading.Event()

    def run():
        while not stop.wait(0.02):
            view.put("GFP" if view.puts % 2 else "RFP")

    thread = threading.Thread(target=run)
    thread.start()
    yield view
    stop.set()
    thread.join()


@pytest.fixture
def page(tab, camera, tmp_path):
    with serve_view(camera, snapshots=tmp_path / "kept", title="cell <3>") as server:
        tab.open("about:blank")  # the page before complains that its server is gone
        tab.messages.clear()
        tab.size(1280, 800)
        tab.open(server.url)
        tab.until("document.querySelectorAll('section').length == 3")
        yield tab
        assert tab.messages == []


def number(page, name="number"):
    return int(page.value(f"document.getElementById('{name}').textContent").replace(",", ""))


def test_frames_come_by_themselves_and_the_token_leaves_the_address(page):
    assert page.value("location.search") == ""
    assert page.value("document.title") == "cell <3> – zsd"
    assert page.value("[...document.querySelectorAll('.name')].map(n => n.textContent)") == [
        "raw", "denoised", "deconvolved"
    ]  # fmt: skip
    first = number(page)
    page.until(f"parseInt(document.getElementById('number').textContent) > {first + 5}")
    assert page.value("document.getElementById('state').textContent") == "live"
    shown = number(page)
    assert number(page, "seen") >= shown
    assert number(page, "replaced") == 3
    assert page.value("document.getElementById('p99').textContent") == "20 ms"
    assert "GB" in page.value("document.getElementById('disk').textContent") or "TB" in page.value(
        "document.getElementById('disk').textContent"
    )
    page.open(page.value("location.href"))  # the cookie is enough
    page.until("document.querySelectorAll('section').length == 3")


def test_pause_holds_the_frame_and_a_snapshot_keeps_it(page, camera, tmp_path):
    page.click("#pause")
    page.until("document.getElementById('state').textContent == 'paused'")
    assert camera.paused
    held = number(page)
    page.click("#snapshot")
    said = page.until("document.getElementById('toast').textContent")
    assert said.startswith("Saved ")
    kept = sorted((tmp_path / "kept").iterdir())
    assert [path.name.rpartition("_")[2] for path in kept] == ["deconvolved.tif", "denoised.tif", "raw.tif"]
    with tifffile.TiffFile(kept[2]) as tiff:
        assert json.loads(tiff.imagej_metadata["Info"].partition("\n")[0])["frame"] == held
    assert number(page) == held
    page.click("#pause")
    page.until(f"parseInt(document.getElementById('number').textContent) > {held}")
    assert not camera.paused


def test_contrast_by_hand_by_dragging_and_automatic(page):
    page.click("#pause")
    page.until("document.getElementById('state').textContent == 'paused'")
    auto = page.until(BRIGHT % RAW)
    page.value(
        f"(i => {{i.value = 90; i.dispatchEvent(new Event('change'));}})(document.querySelector('{RAW} .low')), "
        f"(i => {{i.value = 120; i.dispatchEvent(new Event('change'));}})(document.querySelector('{RAW} .high'))"
    )
    page.until(f"document.querySelector('{RAW} .auto').getAttribute('aria-pressed') == 'false'")
    page.until(f"{BRIGHT % RAW} > {auto + 40}")
    others = page.value("[...document.querySelectorAll('.auto')].map(b => b.getAttribute('aria-pressed'))")
    assert others == ["false", "true", "true"]
    page.drag(page.place(f"{RAW} .histogram", 0.1), page.place(f"{RAW} .histogram", 0.95))
    page.until(f"document.querySelector('{RAW} .high').valueAsNumber > 500")
    page.until(f"{BRIGHT % RAW} < {auto + 20}")
    page.click(f"{RAW} .auto")
    page.until(f"document.querySelector('{RAW} .auto').getAttribute('aria-pressed') == 'true'")
    page.until(f"Math.abs({BRIGHT % RAW} - {auto}) < 1")


def test_zoom_and_pan_move_all_images_alike(page):
    """At the pointer the image stays where it is; what is seen is as fine as the screen."""
    page.click("#pause")
    page.until("document.getElementById('state').textContent == 'paused'")
    whole = page.until(BRIGHT % RAW)
    boxes = []
    page.value("""window.boxes = []; const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) {
            window.boxes.push(JSON.parse(text).box);
            send.call(this, text);
        };""")
    page.wheel(page.place(f"{RAW} .image", 0.25, 0.5), -120)
    page.until("window.boxes.at(-1) && window.boxes.at(-1)[2] < 1")
    boxes.append(page.value("window.boxes.at(-1)"))
    x0, y0, x1, y1 = boxes[-1]
    assert x1 - x0 == pytest.approx(y1 - y0, abs=1e-6)
    assert x0 + 0.25 * (x1 - x0) == pytest.approx(0.25, abs=0.01)
    assert y0 + 0.5 * (y1 - y0) == pytest.approx(0.5, abs=0.01)
    page.until(f"Math.abs({BRIGHT % RAW} - {whole}) > 0.5")
    page.until(f"Math.abs({BRIGHT % RAW} - {BRIGHT % 'section[data-name=deconvolved]'}) < 12")
    page.drag(page.place(f"{RAW} .image", 0.5), page.place(f"{RAW} .image", 0.3))
    page.until(f"window.boxes.at(-1)[0] > {x0 + 0.05}")
    page.click("#fit")
    page.until("window.boxes.at(-1)[2] == 1")
    page.until(f"Math.abs({BRIGHT % RAW} - {whole}) < 0.5")


def test_channels_have_buttons(page):
    page.until("document.querySelectorAll('#channels button').length == 2")
    page.click("#channels button[data-channel=RFP]")
    page.until("document.querySelector('[data-channel=RFP]').getAttribute('aria-pressed') == 'true'")
    page.until(f"parseInt(document.getElementById('number').textContent) > {number(page) + 6}")  # what was under way
    numbers = [number(page)]
    for _ in range(3):
        page.until(f"parseInt(document.getElementById('number').textContent) > {numbers[-1]}")
        numbers.append(number(page))
    assert {n % 2 for n in numbers} == {1}  # the first frame is of RFP


def test_what_a_view_tells_beside_its_counts(page, camera):
    status = camera.status
    assert page.value("document.getElementById('camera').offsetHeight") == 0
    camera.status = lambda: status() | {"camera_fps": 19.96, "busy_s": 7.4}
    page.until("document.getElementById('state').textContent == 'this frame takes 7 s so far'")
    assert page.value("document.getElementById('camera').innerText") == "20.0 / s"
    camera.status = status
    page.until("document.getElementById('state').textContent == 'live'")


def test_an_error_is_shown_and_goes(page, camera):
    camera.error = "the engine ran out of memory"
    page.until("document.getElementById('error').textContent == 'the engine ran out of memory'")
    assert page.value("document.getElementById('error').offsetHeight") > 0
    camera.error = None
    page.until("document.getElementById('error').offsetHeight == 0")


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (900, 700), (1280, 600)])
def test_everything_fits_on_the_screen(page, width, height):
    page.size(width, height)
    page.until(f"innerWidth == {width} && document.querySelector('.image').width > 0")
    assert page.value("document.documentElement.scrollWidth") <= width
    tops = page.value("[...document.querySelectorAll('section')].map(s => s.getBoundingClientRect().top)")
    assert len(set(tops)) == 1  # side by side
    assert page.value("document.querySelector('.contrast').getBoundingClientRect().bottom") < height
    assert page.value("[...document.querySelectorAll('.contrast')].every(c => c.scrollWidth <= c.clientWidth + 1)")


def test_the_page_comes_back_when_the_server_does(tab):
    view = FakeView()
    for _ in range(5):
        view.put()
    with serve_view(view) as server:
        tab.open(server.url)
        tab.until("document.getElementById('number').textContent == '5'")
    tab.until("document.getElementById('state').textContent == 'no connection'")
    again = FakeView()  # which counts from the beginning
    again.put()
    with serve_view(again, port=server.port, token=server.token):
        tab.until("document.getElementById('number').textContent == '1'")
        assert tab.value("document.getElementById('state').textContent") == "live"
