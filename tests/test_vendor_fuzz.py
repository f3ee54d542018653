"""Damaged vendor files: an image or `InputError`, never anything else.

HDF5 and libCZI are written in C and C++, so files are opened in a process of their own, which may crash.
"""

import select
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests import vendor_files as make

READER = """
import sys
import numpy as np
from zsd_runtime.errors import InputError
from zsd_runtime.images.files import open_image
from zsd_runtime.images.image import read_box

for line in sys.stdin:
    try:
        data = open_image(line.strip()).data
        small = np.prod(data.shape, dtype=float) < 1e7
        read_box(data, tuple(slice(0, n if small else min(n, 8)) for n in data.shape))
        answer = "image"
    except InputError as error:
        answer = "refused" if "\\n" not in str(error) else f"several lines: {error!r}"
    except BaseException as error:
        answer = f"{type(error).__name__}: {error}".replace("\\n", " ")
    print(answer, flush=True)
"""
PATIENCE_S = 120  # of a machine that is busy


class Reader:
    def __init__(self):
        self.process: Any = None

    def read(self, path):
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        answer = self.process.stdout.readline().strip() if ready else "hangs"
        if not ready or not answer:
            self.close()
            answer = answer or "crashes"
        return answer

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def reader():
    one = Reader()
    yield one
    one.close()


def write_mrc(path):
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(np.arange(2 * 6 * 8, dtype=np.uint16).reshape(2, 6, 8))


ARRAY = (np.arange(2 * 2 * 2 * 6 * 8, dtype=np.uint16) + 1).reshape(2, 2, 2, 6, 8)  # (T, C, Z, Y, X)
WRITERS = {
    "mrc": write_mrc,
    "dv": lambda path: make.write_dv(path, ARRAY, "CTZ", wavelengths=(509, 583), stage=np.zeros((8, 4))),
    "ims": lambda path: make.write_ims(path, ARRAY, chunk=(2, 8, 8)),
    "czi": lambda path: make.write_czi(path, {at: ARRAY[at] for at in np.ndindex(2, 2, 2)}),
    "nd2": lambda path: make.write_nd2(path, ARRAY[:, :, 0].transpose(0, 2, 3, 1), [make.time_loop(2, 500.0)]),
    "lif": lambda path: make.write_lif(path, {"scan": (ARRAY, "TCZYX", {}, [("GFP", "Green"), ("RFP", "Red")])}),
}


@st.composite
def damages(draw, length):
    """Bytes to change, as (position, value), and where the file is cut. Headers are hit more often than pixels."""
    position = st.one_of(st.integers(0, min(length, 1200) - 1), st.integers(0, length - 1))
    changes = draw(st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=6))
    return changes, draw(st.one_of(st.none(), st.none(), st.integers(0, length)))


def fuzz(kind, folder, reader, examples):
    if kind == "czi":
        pytest.importorskip("pylibCZIrw.czi")
    path = folder / f"a.{kind}"
    path.unlink(missing_ok=True)
    WRITERS[kind](path)
    whole = path.read_bytes()
    assert reader.read(path) == "image"

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(damages(len(whole)))
    @example(([], 0))
    @example(([], len(whole) // 2))
    def check(damage):
        changes, end = damage
        content = bytearray(whole)
        for position, value in changes:
            content[position] = value
        path.write_bytes(content[:end])
        assert reader.read(path) in ("image", "refused")

    check()


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files(kind, tmp_path, reader):
    fuzz(kind, tmp_path, reader, 60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_many_damaged_files(kind, tmp_path, reader):
    fuzz(kind, tmp_path, reader, 10_000)
