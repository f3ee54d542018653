"""`zsd serve`: images in, results out; bounds, turns, errors as sentences; the file by which others find it."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
import tifffile

from tests.command import zsd
from tests.test_serve import request
from zsd_runtime import InputError, load_model
from zsd_runtime.errors import Interrupted
from zsd_runtime.restore_server import beacon as beacons
from zsd_runtime.restore_server import post
from zsd_runtime.restore_server.cli import changed_since
from zsd_runtime.restore_server.last import LastResult
from zsd_runtime.serve.page import page_app
from zsd_runtime.serve.server import Server

LARGEST, MOST = 200_000, 3


@pytest.fixture(scope="module")
def package(untrained_package):
    return untrained_package


@pytest.fixture(scope="module")
def model(package):
    with load_model(package, engine="onnxruntime") as model:
        yield model


@pytest.fixture
def restoring(model, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    restoring = post.Restoring([model], LastResult(), None, LARGEST, MOST, lambda: False)
    yield restoring
    end = time.monotonic() + 900
    while list((tmp_path / "temporary").iterdir()):  # removed once the answer was sent
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def server(restoring):
    routes = [post.restore_route(restoring)]
    with Server(lambda access: page_app(restoring.last, access, None, "cells", routes)) as server:
        yield server


def send(server, body, query="", **headers):
    return request(server, "POST", f"/restore{query}", body, Authorization=f"Bearer {server.token}", **headers)


def counts(shape=(40, 48), seed=0):
    return (np.random.default_rng(seed).poisson(30, shape) + 100).astype(np.uint16)


def tiff(array, **options):
    file = io.BytesIO()
    grey = {} if array.shape[-1] == 3 else {"photometric": "minisblack"}
    tifffile.imwrite(file, array, **grey, **options)
    return file.getvalue()


def test_one_output_or_a_zip_of_all(server, model):
    image = counts()
    body = tiff(image, imagej=True, resolution=(8, 8), metadata={"unit": "um"})
    expected = model.predict(image)
    status, headers, content = send(server, body, "?output=deconvolved&name=cell.tif")
    assert (status, headers["content-type"]) == (200, "image/tiff")
    assert headers["zsd-notices"].startswith("[")
    with tifffile.TiffFile(io.BytesIO(content)) as result:
        np.testing.assert_allclose(result.asarray(), expected.deconvolved, rtol=1e-5)
        top, bottom = result.pages[0].tags["XResolution"].value
        assert bottom / top == pytest.approx(1 / 16, rel=1e-4)
    status, headers, content = send(server, body, "?name=cell%201.ome.tif")
    assert (status, headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(content)) as results:
        assert results.namelist() == ["cell 1_denoised.tif", "cell 1_deconvolved.tif"]
        denoised = tifffile.imread(io.BytesIO(results.read("cell 1_denoised.tif")))
    np.testing.assert_allclose(denoised, expected.denoised, rtol=1e-5)


def test_a_stack_with_options(server, model):
    stack = counts((3, 40, 48))
    status, _, content = send(server, tiff(stack), "?output=denoised&axes=ZYX&dtype=uint16&pixel_size=0.1")
    assert status == 200
    result = tifffile.imread(io.BytesIO(content))
    assert result.dtype == np.uint16
    expected = [np.rint(model.predict(plane).denoised).clip(0) for plane in stack]
    np.testing.assert_array_equal(result, expected)


BAD = {
    "nothing": (b"", "", "the request has no image"),
    "no image": (b"hello", "", "image.tif is not a readable TIFF"),
    "cut off": (tiff(counts())[:-50], "?name=cell.tif", "cell.tif is cut off"),
    "colour": (tiff(np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8)), "", "colour image"),
    "NaN": (tiff(np.full((40, 40), np.nan, np.float32)), "?name=cell.tif", "cell.tif"),
    "a folder": (tiff(counts()), "?name=../cell.tif", "must be a file's name"),
    "hidden": (tiff(counts()), "?name=.cell.tif", "must be a file's name"),
    "a pattern": (tiff(counts()), "?name=*.tif", "must be a file's name"),
    "no such option": (tiff(counts()), "?tile=5", "there is no option 'tile': the options are name, output"),
    "no such output": (tiff(counts()), "?output=x", "its outputs are denoised, deconvolved"),
    "no number": (tiff(counts()), "?pixel_size=one", "pixel_size 'one' must be a number"),
    "no whole number": (tiff(counts()), "?series=1.5", "series '1.5' must be a whole number"),
    "no such series": (tiff(counts()), "?series=4", "series"),
    "axes": (tiff(counts()), "?axes=ZYX", "axes ZYX names 3 axes"),
    "dtype": (tiff(counts()), "?dtype=int8", "dtype 'int8' must be"),
    "average": (tiff(counts()), "?average=3", "average"),
    "channel": (tiff(counts()), "?channel=GFP", "has no channel 'GFP'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_sentence(case, server, tmp_path):
    body, query, message = BAD[case]
    status, headers, content = send(server, body, query)
    assert (status, headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert message in content.decode()
    assert str(tmp_path) not in content.decode()
    assert "--" not in content.decode().replace("--axes", "")
    assert "\n" not in content.decode()


def test_the_sentence_is_that_of_the_command_line(server, package, tmp_path):
    body, query, _ = BAD["colour"]
    (tmp_path / "image.tif").write_bytes(body)
    printed = zsd("predict", package, tmp_path / "image.tif", "--out", tmp_path / "out").stderr
    sentence = send(server, body, query)[2].decode()
    assert printed.replace(f"{tmp_path}/", "").replace("--", "") == f"error: {sentence}\n".replace("--", "")


def test_requests_without_the_token_are_refused_before_their_image_is_read(server):
    body = tiff(counts())
    assert request(server, "POST", "/restore", body)[0] == 403
    assert request(server, "POST", f"/restore?token={server.token}", body)[0] == 403
    assert request(server, "GET", "/restore", Authorization=f"Bearer {server.token}")[0] == 405


def test_a_large_image_is_refused_whether_or_not_it_says_so(server):
    status, _, content = send(server, bytes(LARGEST + 1))
    assert status == 413
    assert b"larger than 0.0002 GB" in content
    with socket.create_connection(("127.0.0.1", server.port)) as raw:  # in chunks, without a length
        raw.settimeout(900)
        raw.sendall(
            f"POST /restore HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(LARGEST // 1000 + 2):
            raw.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_requests_take_turns_and_no_more_may_wait_than_allowed(server, restoring, monkeypatch):
    go, under_way, most_under_way, order = threading.Event(), [], [], []
    predict = post.predict_files

    def slow(models, images, *rest):
        under_way.append(images)
        most_under_way.append(len(under_way))
        order.append(images[0].name)
        assert go.wait(900)
        predict(models, images, *rest)
        under_way.pop()

    monkeypatch.setattr(post, "predict_files", slow)
    answers = {}

    def client(number):
        answers[number] = send(server, tiff(counts(seed=number)), f"?name={number}.tif&output=denoised")[0]

    threads = [threading.Thread(target=client, args=(number,)) for number in range(MOST)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        while restoring._here < number:
            time.sleep(0.005)
    status, headers, content = send(server, tiff(counts()))
    assert (status, headers["retry-after"]) == (503, "1")
    assert content == b"3 images are waiting already: send this one later"
    go.set()
    for thread in threads:
        thread.join()
    assert answers == dict.fromkeys(range(MOST), 200)
    assert order == ["0.tif", "1.tif", "2.tif"]
    assert max(most_under_way) == 1
    assert send(server, tiff(counts()), "?output=denoised")[0] == 200
    assert restoring.last.status()["done"] == MOST + 1


def test_the_work_ends_when_the_client_goes(server, monkeypatch):
    started, stopped = threading.Event(), threading.Event()
    predict = post.predict_files

    def endless(*arguments):
        progress = arguments[3]
        started.set()
        with progress("") as bar:
            try:
                while True:
                    bar(0.5)
                    time.sleep(0.01)
            except Interrupted:
                stopped.set()
                raise

    monkeypatch.setattr(post, "predict_files", endless)
    body = tiff(counts())
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(
            f"POST /restore HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert started.wait(900)
    assert stopped.wait(900)
    monkeypatch.setattr(post, "predict_files", predict)
    assert send(server, body)[0] == 200


def test_a_client_that_goes_while_it_sends_leaves_nothing(server, restoring):
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(
            f"POST /restore HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
            "Content-Length: 1000\r\n\r\nbeginning".encode()
        )
        while not restoring._here:
            time.sleep(0.005)
    while restoring._here:
        time.sleep(0.005)
    assert restoring.last.status()["seen"] == 0


def test_other_failures_are_500_and_do_not_stop_the_server(server, restoring, monkeypatch):
    def fails(*_):
        raise RuntimeError("the engine broke")

    with monkeypatch.context() as patched:
        patched.setattr(post, "predict_files", fails)
        assert send(server, tiff(counts()))[::2] == (500, b"RuntimeError: the engine broke")
        assert restoring.last.status()["error"] == "the engine broke"
    assert send(server, tiff(counts()))[0] == 200
    assert restoring.last.status()["error"] == ""


def test_a_package_that_was_written_again_is_not_used(server, restoring, tmp_path):
    package = tmp_path / "model.zip"
    package.write_bytes(b"one")
    restoring.outdated = changed_since([package])
    assert send(server, tiff(counts()))[0] == 200
    package.write_bytes(b"another")
    status, _, content = send(server, tiff(counts()))
    assert status == 409
    assert b"start zsd serve again" in content
    package.unlink()
    assert send(server, tiff(counts()))[0] == 409


def test_the_page_shows_the_middle_of_the_last_image(server, restoring, model):
    stack = counts((5, 40, 48))
    assert restoring.last.latest() is None
    send(server, tiff(stack, imagej=True, metadata={"axes": "ZYX"}), "?name=cell.tif")
    shown = restoring.last.latest()
    np.testing.assert_array_equal(shown.raw, stack[2])
    np.testing.assert_allclose(shown.outputs["denoised"], model.predict(stack[2]).denoised, rtol=1e-5)
    assert list(shown.outputs) == ["denoised", "deconvolved"]
    assert shown.details["name"] == "cell.tif"
    assert shown.latency_ms > 0
    send(server, b"bad")
    status = restoring.last.status()
    assert (status["seen"], status["done"], status["failed"]) == (2, 1, 1)
    assert "image.tif is not a readable TIFF" in status["error"]
    restoring.last.pause(True)
    send(server, tiff(stack))
    assert restoring.last.latest(shown.number) is None


def test_axes_of_the_request_count_for_the_page_too_and_of_large_images_the_middle_is_shown(
    server, restoring, monkeypatch
):
    monkeypatch.setattr("zsd_runtime.restore_server.last.LARGEST_SHOWN", 20)
    body = tiff(counts((40, 48, 3)), photometric="rgb")  # without axes it would be a colour image
    assert send(server, body, "?axes=YXC&name=odd.tif")[0] == 200
    shown = restoring.last.latest()
    np.testing.assert_array_equal(shown.raw, counts((40, 48, 3))[10:30, 14:34, 0])
    assert shown.outputs["deconvolved"].shape == (40, 40)


def test_a_full_disk_is_a_sentence(server, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(post.Restoring, "_received", full)
        status, _, content = send(server, tiff(counts()), "?name=cell.tif")
    assert (status, content.decode().partition(":")[0]) == (500, "cannot write cell.tif")
    assert "No space left" in content.decode()


def test_the_file_that_tells_of_a_server(tmp_path, monkeypatch):
    monkeypatch.setattr(beacons, "servers_folder", lambda: tmp_path / "zsd" / "servers")
    (tmp_path / "zsd" / "servers").mkdir(parents=True)
    dead = tmp_path / "zsd" / "servers" / "1.server"
    dead.write_text("pid=999999999\n")
    with beacons.beacon("http://127.0.0.1:4711", "secret", tmp_path / "x" / ".." / "model=1.zip") as path:
        assert beacons.read_beacon(path) == {
            "schema": "1", "address": "http://127.0.0.1:4711", "token": "secret", "pid": str(os.getpid()),
            "package": str(tmp_path.resolve() / "model=1.zip"),
        }  # fmt: skip
        assert path.stat().st_mode & 0o777 == 0o600
        assert not dead.exists()
        assert [p.name for p in path.parent.iterdir()] == ["4711.server"]
    assert not path.exists()
    (tmp_path / "file").touch()
    monkeypatch.setattr(beacons, "servers_folder", lambda: tmp_path / "file" / "servers")
    with pytest.raises(InputError, match="cannot write"), beacons.beacon("http://127.0.0.1:1", "", tmp_path):
        pass


def test_the_command_from_start_to_ctrl_c(package, tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", "import zsd; zsd.main()", "serve", str(package), "--engine", "onnxruntime"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    url = process.stdout.readline().strip()
    try:
        (path,) = (tmp_path / "zsd" / "servers").iterdir()
        told = beacons.read_beacon(path)
        assert url == f"{told['address']}/?token={told['token']}"
        assert told["package"] == str(package.resolve())

        class Found:
            port, token = int(told["address"].rpartition(":")[2]), told["token"]

        status, _, content = send(Found, tiff(counts()), "?output=denoised")
        assert (status, tifffile.imread(io.BytesIO(content)).shape) == (200, (40, 48))
        assert request(Found, "GET", f"/?token={Found.token}")[0] == 200
    finally:
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=900)
    assert (process.returncode, output, errors) == (0, "OK 1 image restored\n", "")
    assert not list((tmp_path / "zsd" / "servers").iterdir())


WRONG = {
    "no package": (("none.zip",), "none.zip does not exist"),
    "no zip": (("file",), "error: "),
    "port": (("{package}", "--port", "70000"), "--port 70000 must be a number from 0"),
    "port in use": (("{package}", "--port", "{port}"), "--port {port} is in use by another program"),
    "host": (("{package}", "--host", "256.1.1.1"), "--host 256.1.1.1 is not an address"),
    "not our host": (("{package}", "--host", "192.0.2.7"), "cannot listen at 192.0.2.7"),
    "largest": (("{package}", "--largest", "0"), "--largest 0 must be above 0"),
    "snapshots": (("{package}", "--snapshots", "file"), "--snapshots file is a file"),
    "engine": (("{package}", "--engine", "x"), "engine"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_server_that_cannot_start_says_why(case, package, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    arguments, message = WRONG[case]
    result = zsd("serve", *(part.format(package=package, port=server.port) for part in arguments))
    assert result.returncode == 2
    assert message.format(port=server.port) in result.stderr
    assert len(result.stderr.splitlines()) == 1
