"""Show a simulated moving sample, restored by a package, in the live page; and take its picture for the documents.

python benchmarks/page.py PACKAGE [--size 512] [--frames-per-second 20] [--picture FILE.png --width 1920 --height 1080]

Without --picture it prints the address of the page and runs until Ctrl-C. With it, a headless Chromium opens the page,
and the program prints how many frames the camera made, the model restored and the page showed.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from zsd_optics.simulate import Camera, simulate
from zsd_runtime import load_model
from zsd_runtime.live.view import Shown
from zsd_runtime.serve.page import serve_view

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.browser import browser

CAMERA = Camera(100, 1.5, 2)


class MovingSample:
    """A stage that drifts over a simulated sample: the newest frame is restored, older ones are replaced."""

    def __init__(self, package, size, rate, channels=("GFP",)):
        self.channels = {
            name: simulate((2 * size, 2 * size), camera=CAMERA, seed=seed) for seed, name in enumerate(channels, 1)
        }
        self.size, self.rate, self.model = size, rate, load_model(package)
        self.seen = self.done = 0
        self.paused, self._newest, self._box = False, None, None
        self.latencies, self._new, self._stopped = [], threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._record, self._restore)]
        for thread in self.threads:
            thread.start()

    def _record(self):
        rng, names = np.random.default_rng(0), list(self.channels)
        while not self._stopped.wait(1 / self.rate):
            self.seen += 1
            name = names[self.seen % len(names)]
            sample = self.channels[name]
            drift = self.size // 2 * (1 + np.sin([self.seen / 90, self.seen / 70]))
            y, x = drift.astype(int)
            clean = sample.clean[y : y + self.size, x : x + self.size]
            raw = CAMERA.expose((clean - CAMERA.offset) / CAMERA.gain, rng)
            self._box = (self.seen, raw, time.monotonic(), name)
            self._new.set()

    def _restore(self):
        while not self._stopped.is_set():
            self._new.wait()
            self._new.clear()
            number, raw, arrived, name = self._box
            outputs = self.model.predict(raw)
            latency = 1000 * (time.monotonic() - arrived)
            self.latencies = [*self.latencies[-199:], latency]
            self.done += 1
            pixel = self.channels[name].pixel_size_um
            if not self.paused:
                self._newest = Shown(number, raw, dict(outputs), name, latency, {"pixel_size_um": pixel})

    def latest(self, after=-1):
        """As `View.latest`."""
        newest = self._newest
        return newest if newest is not None and newest.number > after else None

    def status(self):
        """As `View.status`."""
        p50, p99 = np.percentile(self.latencies, [50, 99]).tolist() if self.latencies else (None, None)
        return {
            "seen": self.seen, "done": self.done, "replaced": self.seen - self.done, "failed": 0,
            "latency_p50_ms": p50, "latency_p99_ms": p99, "paused": self.paused,
        }  # fmt: skip

    def pause(self, paused):
        """As `View.pause`."""
        self.paused = paused

    def close(self):
        """Stop both threads."""
        self._stopped.set()
        self._new.set()
        for thread in self.threads:
            thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames-per-second", type=float, default=20)
    parser.add_argument("--channels", nargs="*", default=["GFP"])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    args = parser.parse_args()
    sample = MovingSample(args.package, args.size, args.frames_per_second, args.channels)
    with tempfile.TemporaryDirectory() as folder, serve_view(sample, snapshots=Path(folder), title="cell 3") as server:
        try:
            if args.picture is None:
                print(server.url, flush=True)
                server.wait()
            with browser(Path(folder)) as page:
                page.size(args.width, args.height)
                page.open(server.url)
                page.until("document.querySelectorAll('section').length == 3")
                time.sleep(8)
                page.picture(args.picture)
                print(page.value("document.querySelector('footer').innerText").replace("\n", " "), page.messages)
        except KeyboardInterrupt:
            pass
        finally:
            sample.close()


if __name__ == "__main__":
    main()
