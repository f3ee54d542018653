"""Parts on a full disk, on one that is read-only, and of a network whose results depend on the whole tile."""

import re
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.command import zsd
from tests.small_disk import small_disk
from tests.test_parts import assert_same, image_of, marks, packages, predict, small_chunks  # noqa: F401 - fixtures
from zsd_export.graph.ends import inner_ends
from zsd_runtime import load_model
from zsd_runtime.images import write_image

TILE = ("--tile", "28x28")


@pytest.fixture
def pooling(packages, tmp_path):  # noqa: F811
    """Both outputs are multiplied by the mean of the tile."""
    folder = shutil.copytree(packages["plane"], tmp_path / "pooling")
    model = onnx.load(folder / "model.onnx")
    inner, outputs = inner_ends(model.graph, "tile"), [end.name for end in model.graph.output]
    nodes = [helper.make_node("Identity", ["noisy"], [inner["noisy"]]), *model.graph.node]
    nodes += [helper.make_node("GlobalAveragePool", ["noisy"], ["mean"])]
    nodes += [helper.make_node("Mul", [inner[name], "mean"], [name]) for name in outputs]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_global_pooling_in_parts(pooling, tmp_path):
    """Tiles are those of one process, so results are, too; the plan says that other tiles make others."""
    image = image_of("YX", (90, 70))
    image.data[:40] += 100  # so that means differ
    write_image(tmp_path / "cell.tif", image)
    predict(pooling, tmp_path / "cell.tif", tmp_path / "one", *TILE)
    for number in (1, 2, 3):
        predict(pooling, tmp_path / "cell.tif", tmp_path / "parts", *TILE, "--part", f"{number}/3")
    assert_same(tmp_path / "one", tmp_path / "parts")
    with load_model(pooling, "cpu", engine="onnxruntime") as model:
        small, large = (model.predict(image.data, tile=(n, n)).denoised for n in (28, 56))
        assert np.abs(small - large).max() > 0.01 * np.ptp(large)
    said = zsd("plan", tmp_path / "cell.tif", pooling, *TILE, "--device", "cpu", "--engine", "onnxruntime").stdout
    assert "notice: the network averages over whole tiles" in said


def test_a_full_disk_keeps_what_is_done_and_goes_on(packages, tmp_path):  # noqa: F811
    write_image(tmp_path / "cell.tif", image_of("YX", (140, 140)))
    predict(packages["plane"], tmp_path / "cell.tif", tmp_path / "one", *TILE)
    with small_disk(tmp_path / "disk", "20m") as disk:
        out = disk.path / "out"
        predict(packages["plane"], tmp_path / "cell.tif", out, *TILE, "--part", "1/8")
        disk.remount(f"size={disk.used + 50_000}")
        full = predict(packages["plane"], tmp_path / "cell.tif", out, *TILE, "--part", "1/1")
        assert full.returncode == 2
        assert "No space left on device: free some disk" in full.stderr
        done = len(marks(out / ".cell.parts"))
        assert done > 0
        assert not list(out.glob("*.zarr"))
        disk.remount("size=20m")
        again = predict(packages["plane"], tmp_path / "cell.tif", out, *TILE, "--part", "1/1")
        restored, total, before = map(int, re.search(r"(\d+) of (\d+) .*, (\d+) were", again.stdout).groups())
        assert (before, restored) == (done, total - done)
        assert_same(tmp_path / "one", out)


def test_a_read_only_disk_says_so(packages, tmp_path):  # noqa: F811
    write_image(tmp_path / "cell.tif", image_of("YX", (90, 70)))
    with small_disk(tmp_path / "disk", "1m") as disk:
        disk.remount("ro")
        for options, said in (
            (("--part", "1/2"), "cannot write into"),
            (("--cluster", "local:1"), "cannot write into"),
            ((), "cannot write"),
        ):
            result = predict(packages["plane"], tmp_path / "cell.tif", disk.path / "out", *TILE, *options)
            assert result.returncode == 2, options
            assert said in result.stderr
            assert "Read-only file system" in result.stderr
