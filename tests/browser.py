"""A headless Chromium that tests and figures drive over DevTools."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import connect

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PATIENCE_S = 900  # against hangs only: a busy machine may take minutes to start a browser


class Page:
    """A tab: what it says, and what a mouse does in it."""

    def __init__(self, socket):
        self._socket, self._id = socket, 0
        self.messages: list[str] = []  # errors, of scripts and of what is loaded
        for domain in ("Page", "Runtime", "Log", "Network"):
            self("Page.enable" if domain == "Page" else f"{domain}.enable")

    def __call__(self, method, **parameters):
        """Send a command; its result."""
        self._id += 1
        self._socket.send(json.dumps({"id": self._id, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if answer.get("id") == self._id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.messages.append(event["params"]["exceptionDetails"].get("exception", {}).get("description", "?"))
            case "Log.entryAdded" if event["params"]["entry"]["level"] == "error":
                self.messages.append(event["params"]["entry"]["text"])

    def open(self, url):
        self("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def size(self, width, height):
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def value(self, script):
        """What an expression is in the page."""
        result = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def until(self, script):
        """Wait for an expression to be true."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.value(script)):
            assert time.monotonic() < end, f"{script} did not become true; the page says {self.messages}"
            time.sleep(0.02)
        return value

    def place(self, selector, x=0.5, y=0.5):
        """Where a share of an element is on the screen."""
        left, top, width, height = self.value(
            f"(r => [r.left, r.top, r.width, r.height])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        return left + x * width, top + y * height

    def mouse(self, kind, at, **more):
        self("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], **more)

    def click(self, selector):
        self.drag(self.place(selector), None)

    def drag(self, start, end):
        self.mouse("mousePressed", start, button="left", buttons=1, clickCount=1)
        if end:
            for share in (0.5, 1.0):
                at = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
                self.mouse("mouseMoved", at, button="left", buttons=1)
        self.mouse("mouseReleased", end or start, button="left", clickCount=1)

    def wheel(self, at, by):
        self.mouse("mouseWheel", at, deltaX=0, deltaY=by)

    def picture(self, path):
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A tab of a browser that keeps its files in `folder`."""
    profile = folder / "profile"
    process = subprocess.Popen(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run",
         "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE_S
        while not (profile / "DevToolsActivePort").exists() or not (profile / "DevToolsActivePort").read_text():
            assert process.poll() is None, "Chromium ended"
            assert time.monotonic() < end, "Chromium does not start"
            time.sleep(0.05)
        port = (profile / "DevToolsActivePort").read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            tab = next(target for target in json.load(answer) if target["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE_S, ping_interval=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait()
