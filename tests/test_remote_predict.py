"""`zsd predict` from and to a bucket: one process, parts and workers make what one process makes in a folder."""

import json
import re
import sys

import numpy as np
import pytest
import zarr

from tests.command import zsd
from tests.test_remote import MOVIE, in_bucket, movie, s3, upload, web  # noqa: F401 - fixtures
from zsd_runtime import InputError
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.images import ome_zarr_shards as shards
from zsd_runtime.images.remote import Remote, located, why_unwritable, zarr_place
from zsd_runtime.parts import job, run

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def predict(package, image, out, *options):
    return zsd("predict", package, image, "--out", out, "--device", "cpu", "--engine", "onnxruntime", *options)


@pytest.fixture(scope="module")
def one(untrained_package, movie, tmp_path_factory):  # noqa: F811
    """The results of one process, in a folder."""
    out = tmp_path_factory.mktemp("one")
    assert predict(untrained_package, movie, out).returncode == 0
    return out


def levels(folder):
    found = {}
    for name in ("cell_denoised.zarr", "cell_deconvolved.zarr"):
        group = zarr.open_group(zarr_place(located(folder) / name, read_only=True), mode="r")
        found[name] = dict(group.attrs)["ome"], [np.asarray(group[k]) for k in sorted(group.array_keys())]
    return found


def assert_same(folder, other):
    for (described, arrays), (theirs, expected) in zip(levels(folder).values(), levels(other).values(), strict=True):
        assert described == theirs
        for a, b in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def keys(client, prefix):
    return [found["Key"] for found in client.list_objects_v2(Bucket="lab", Prefix=prefix).get("Contents", [])]


def test_one_process_writes_to_a_bucket(s3, in_bucket, untrained_package, one):  # noqa: F811
    for _ in range(2):  # results of an earlier run are replaced
        result = predict(untrained_package, in_bucket, "s3://lab/single")
        assert result.returncode == 0, result.stderr
        assert "restored in s3://lab/single (" in result.stdout
        s3.put_object(Bucket="lab", Key="single/cell_denoised.zarr/9/old", Body=b"")
    predict(untrained_package, in_bucket, "s3://lab/single")
    assert_same(one, "s3://lab/single")
    assert not keys(s3, "single/cell_denoised.zarr/9")


def test_a_web_server_is_a_source(web, untrained_package, one, tmp_path):  # noqa: F811
    assert predict(untrained_package, web, tmp_path).returncode == 0
    assert_same(one, tmp_path)
    parts = tmp_path / "parts"
    assert predict(untrained_package, web, parts, "--part", "1/1").returncode == 0
    assert_same(one, parts)


def test_a_failure_leaves_nothing_in_the_bucket(s3, in_bucket, untrained_package, monkeypatch):  # noqa: F811
    def full(*_, **__):
        raise OSError("the bucket is full")

    monkeypatch.setattr(sys.modules["zsd_runtime.images.ome_zarr_write"], "metadata", full)
    result = predict(untrained_package, in_bucket, "s3://lab/failed")
    assert result.returncode == 2
    assert "cannot write s3://lab/failed/cell_" in result.stderr
    assert keys(s3, "failed/") == []


def test_parts_in_a_bucket(s3, in_bucket, untrained_package, one):  # noqa: F811
    """What is done is found by its mark, and by the ETag of its files."""
    out, folder = "s3://lab/parts", "parts/.cell.parts"
    assert "1 of 3 regions restored here" in predict(untrained_package, in_bucket, out, "--part", "1/3").stdout
    job = json.loads(located(f"s3://lab/{folder}/job.json").read_text())["id"]
    assert keys(s3, f"{folder}/found-{job}-0/")  # what other regions need not look for
    assert "ome" not in json.loads(located(f"{out}/cell_denoised.zarr/zarr.json").read_text())["attributes"]
    again = predict(untrained_package, in_bucket, out, "--part", "1/3")
    assert "0 of 3 regions restored here, 1 were done before" in again.stdout
    mark = json.loads(located(f"s3://lab/{folder}/done/0.json").read_text())
    damaged = f"{out}/{next(iter(mark['files']))}"
    body = located(damaged).read_bytes()
    located(damaged).write_bytes(body[:-9] + bytes(9))  # as long as before
    assert "1 of 3 regions restored" in predict(untrained_package, in_bucket, out, "--part", "1/3").stdout
    assert located(damaged).read_bytes() == body
    assert predict(untrained_package, in_bucket, out, "--part", "2/3").returncode == 0
    last = predict(untrained_package, in_bucket, out, "--part", "3/3")
    assert "s3://lab/parts/cell_denoised.zarr, s3://lab/parts/cell_deconvolved.zarr are whole" in last.stdout
    assert keys(s3, folder) == []
    assert_same(one, out)
    assert "are whole already" in predict(untrained_package, in_bucket, out, "--part", "1/3").stdout
    other = predict(untrained_package, in_bucket, out, "--part", "1/3", "--dtype", "uint16")
    assert other.returncode == 2
    assert "cell_denoised.zarr is there already" in other.stderr


def test_of_two_that_begin_a_job_one_does(s3, in_bucket, untrained_package, one, monkeypatch):  # noqa: F811
    """While one prepares it, another one begins it, and does a part."""
    out, real, others = "s3://lab/race", job._prepared, []

    def overtaken(*arguments):
        text = real(*arguments)
        monkeypatch.setattr(job, "_prepared", real)
        others.append(predict(untrained_package, in_bucket, out, "--part", "2/3"))
        return text

    monkeypatch.setattr(job, "_prepared", overtaken)
    mine = predict(untrained_package, in_bucket, out, "--part", "1/3")
    assert "1 of 3 regions restored here" in others[0].stdout
    assert "1 of 3 regions restored here, 0 were done before; 1 are missing" in mine.stdout
    assert len(keys(s3, "race/.cell.parts/done")) == 2
    predict(untrained_package, in_bucket, out, "--part", "3/3")
    assert_same(one, out)


def test_a_changed_source_in_a_bucket_is_an_error(s3, movie, untrained_package):  # noqa: F811
    upload(s3, movie, "changing/cell.zarr")
    source, out = "s3://lab/changing/cell.zarr", "s3://lab/changed"
    assert predict(untrained_package, source, out, "--part", "1/3").returncode == 0
    s3.put_object(Bucket="lab", Key="changing/cell.zarr/0/c/1/0/0", Body=(movie / "0/c/0/0/0").read_bytes())
    result = predict(untrained_package, source, out, "--part", "2/3")
    assert result.returncode == 2
    assert "another image, or it changed since" in result.stderr


def test_a_finish_in_a_bucket_goes_on(s3, in_bucket, untrained_package, one, monkeypatch):  # noqa: F811
    out = "s3://lab/finish"

    def killed(*_, **__):
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(run, "describe", killed)
        assert predict(untrained_package, in_bucket, out, "--part", "1/1").returncode == 1
    assert "0 of 3 regions" not in predict(untrained_package, in_bucket, out, "--part", "finish").stderr
    assert_same(one, out)
    assert keys(s3, "finish/.cell.parts") == []


def test_workers_write_to_a_bucket(in_bucket, untrained_package, one):  # noqa: F811
    pytest.importorskip("distributed")
    result = predict(untrained_package, in_bucket, "s3://lab/workers", "--cluster", "local:2")
    assert result.returncode == 0, result.stderr
    restored, total, before = map(int, re.search(r"(\d+) of (\d+) .*, (\d+) were done", result.stdout).groups())
    assert (restored, before) == (total, 0)
    assert_same(one, "s3://lab/workers")


@pytest.mark.usefixtures("s3")
def test_a_bucket_without_permission_says_so(in_bucket, untrained_package, monkeypatch):  # noqa: F811
    """As its server does: writing is refused, reading is not."""
    real = Remote._do

    def refusing(self, name, *arguments, **options):
        if name in ("pipe_file", "open"):
            raise PermissionError("Access Denied")
        return real(self, name, *arguments, **options)

    store = sys.modules["zsd_runtime.images.remote_store"].RemoteStore

    async def refused(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(Remote, "_do", refusing)
    monkeypatch.setattr(store, "set", refused)
    for options, said in (
        ((), "cannot write s3://lab/none/cell_denoised.zarr: Access Denied"),
        (("--part", "1/2"), "cannot write into s3://lab/none/.cell.parts: Access Denied"),
    ):
        result = predict(untrained_package, in_bucket, "s3://lab/none", *options)
        assert result.returncode == 2
        assert said in result.stderr
    assert why_unwritable(located("s3://lab/none")) == "Access Denied"


@pytest.mark.usefixtures("s3")
def test_errors_of_writing(in_bucket, untrained_package, tmp_path):  # noqa: F811
    result = predict(untrained_package, in_bucket, "s3://lab/tiff", "--format", "tiff")
    assert result.returncode == 2
    assert "only OME-Zarr is written to a URL: give --format zarr" in result.stderr
    result = predict(untrained_package, in_bucket, "s3://elsewhere/out")
    assert result.returncode == 2
    assert "cannot write s3://elsewhere/out/cell_denoised.zarr" in result.stderr
    write_image(tmp_path / "cell.tif", Image(MOVIE[0], "YX", Voxel.square(0.1)))
    assert predict(untrained_package, tmp_path / "cell.tif", "s3://lab/of tiff").returncode == 0
    assert located("s3://lab/of tiff/cell_denoised.zarr/zarr.json").is_file()


def test_arrays_that_are_there_stay(s3):  # noqa: F811, ARG001
    """So that processes may begin a job at the same time."""
    image = Image(np.zeros((40, 40), np.float32), "YX")
    path = located("s3://lab/arrays.zarr")
    shards.begin(path, image, (1, 1))
    shards.Sharded(path, image)[0:40, 0:40] = np.ones((40, 40))
    shards.begin(path, image, (1, 1), again=True)
    assert np.asarray(zarr.open_array(zarr_place(path / "0", read_only=True), mode="r")).min() == 1
    with pytest.raises(InputError, match="copy the file"):
        str(open(path))  # noqa: PTH123, SIM115
