"""Whether `zsd watch` restores each of many files once, and none before it is finished, while it is killed and started.

Four writers fill a folder: slowly, a few bytes at a time; atomically, by renaming; page by page, where every state is a
valid TIFF; and cut off at first, whole later. `zsd watch` is killed with SIGKILL every few seconds and started again.
The exit status is 0 only if in the end every file has its mark, every result equals that of `zsd predict` for the
finished file, and no result was written again after its mark was there.

python benchmarks/watch.py PACKAGE [--files 200] [--kill-every 6] [--settle 2] [--engine onnxruntime]
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from zsd_runtime import load_model

PAUSE_S = 0.3  # of writers, at most
START_S = 60.0


def image(name, pages):
    """What a file holds in the end: noise of its own."""
    rng = np.random.default_rng(sum(map(ord, name)))
    return (rng.poisson(30, (pages, 48, 56)) + 100).astype(np.uint16)


def whole(name, pages, folder):
    """The bytes of the finished file."""
    path = folder / f"{name}.making"
    tifffile.imwrite(path, image(name, pages), photometric="minisblack", metadata=None)
    content = path.read_bytes()
    path.unlink()
    return content


def slowly(path, pages, rng):
    """A few bytes at a time."""
    content = whole(path.name, pages, path.parent)
    with path.open("wb", buffering=0) as file:
        for part in np.array_split(np.arange(len(content)), rng.integers(2, 6)):
            file.write(content[part[0] : part[-1] + 1])
            time.sleep(rng.uniform(0, PAUSE_S))


def atomically(path, pages, rng):
    """By renaming."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(whole(path.name, pages, path.parent))
    time.sleep(rng.uniform(0, PAUSE_S))
    temporary.rename(path)


def page_by_page(path, pages, rng):
    """Every state is a valid TIFF."""
    for page in image(path.name, pages):
        tifffile.imwrite(path, page, append=True, photometric="minisblack", metadata=None)
        time.sleep(rng.uniform(0, PAUSE_S))


def cut_off(path, pages, rng, settle):
    """Left cut off until a watch has reported it, and then written whole."""
    content = whole(path.name, pages, path.parent)
    path.write_bytes(content[: rng.integers(9, len(content) - 1)])
    time.sleep(settle * rng.uniform(0.5, 2))
    path.write_bytes(content)


class Observer(threading.Thread):
    """Notes when results were written at the time that their mark is there."""

    def __init__(self, out):
        super().__init__(daemon=True)
        self.out, self.written, self.again, self.stop = out, {}, set(), threading.Event()

    def run(self):
        """Look ten times a second."""
        while not self.stop.wait(0.1):
            self.look()

    def look(self):
        """Compare every marked result with what it was."""
        for mark in (self.out / ".zsd-watch").glob("*.json"):
            result = self.out / f"{mark.name.partition('.')[0]}_deconvolved.tif"
            now = result.stat().st_mtime_ns
            if self.written.setdefault(result.name, now) != now:
                self.again.add(result.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--kill-every", type=float, default=6.0)
    parser.add_argument("--settle", type=float, default=2.0)
    parser.add_argument("--engine", default="onnxruntime")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(run(args, Path(temporary)))


def run(args, place):
    """Write, watch, kill; then compare. The exit status."""
    folder, out = place / "camera", place / "out"
    folder.mkdir()
    writers = [slowly, atomically, page_by_page, partial(cut_off, settle=args.settle)]
    pages = {f"{number:03}.tif": 1 + number % 5 for number in range(args.files)}

    def write(kind):
        rng = np.random.default_rng(kind)
        for name in list(pages)[kind :: len(writers)]:
            writers[kind](folder / name, pages[name], rng)

    command = [
        sys.executable, "-c", "import zsd; zsd.main()", "watch", str(args.package), str(folder), "--out", str(out),
        "--engine", args.engine, "--poll", str(args.settle / 4), "--settle", str(args.settle),
    ]  # fmt: skip
    threads = [threading.Thread(target=write, args=(kind,), daemon=True) for kind in range(len(writers))]
    for thread in threads:
        thread.start()
    observer, kills, said = Observer(out), 0, []
    observer.start()
    started = time.monotonic()
    rng = np.random.default_rng(99)
    done = False
    while not done:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + args.kill_every * rng.uniform(0.5, 1.5)
        while not done and time.monotonic() < end:
            time.sleep(0.05)
            marks = len(list((out / ".zsd-watch").glob("*.json")))
            done = marks == len(pages) and not any(thread.is_alive() for thread in threads)
        if done:
            time.sleep(2 * args.settle)  # in case it restores something again
        process.kill()
        kills += 1
        said += process.communicate()[1].splitlines()
        assert time.monotonic() - started < 3600, "it does not come to an end"
    observer.stop.set()
    observer.join()
    observer.look()
    wrong = []
    with load_model(args.package, engine=args.engine) as model:
        for name, count in pages.items():
            expected = np.stack([model.predict(page).deconvolved for page in image(name, count)]).squeeze()
            found = tifffile.imread(out / f"{name.partition('.')[0]}_deconvolved.tif").squeeze()
            if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4, atol=1e-3):
                wrong.append(name)
    lines = [line.split()[1].rstrip(":") for line in said if line.startswith("restored ")]
    twice = {name for name in lines if lines.count(name) > 1}
    print(
        f"{len(pages)} files, {kills} kills, {time.monotonic() - started:.0f} s; restored as finished "
        f"{len(pages) - len(wrong)}; written again after the mark {len(observer.again)}; reported twice {len(twice)}; "
        f"errors reported {sum(line.startswith('error') for line in said)}"
    )
    for kind, names in (("wrong", wrong), ("again", observer.again), ("twice", twice)):
        if names:
            print(f"{kind}: {', '.join(sorted(names))}")
    return int(bool(wrong or observer.again or twice))


if __name__ == "__main__":
    main()
