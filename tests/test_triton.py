"""`zsd export --format triton`: one graph that does what zsd does, its configuration, and the client beside it.

No Triton server runs here: a stand-in that speaks its protocol (KServe v2 over HTTP, with the binary extension) runs
the graph by ONNX Runtime.
"""

import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tifffile
import yaml

from tests.command import zsd
from tests.test_keras import random_weights, write_keras
from zsd_export.graph.counts import counts_graph
from zsd_export.graph.whole import whole_graph
from zsd_export.keras import import_keras
from zsd_export.package.triton import model_name
from zsd_export.static import triton_client
from zsd_runtime import InputError, load_model
from zsd_runtime.normalize import Linear
from zsd_runtime.package import ModelDescription, read_package
from zsd_train.networks.dual_stage import DualStageUNet

RNG = np.random.default_rng(4)
TOLERANCE = 1e-4  # of the range: zsd multiplies before it subtracts, which loses digits of small images
PROCESSING = {
    "fixed scale": [{"id": "scale_linear", "kwargs": {"gain": 0.02, "offset": -2.0}}],
    "fixed mean": [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 100.0, "std": 50.0}}],
    "range": [{"id": "scale_range", "kwargs": {"min_percentile": 0.0, "max_percentile": 100.0}}],
    "percentiles": [{"id": "scale_range", "kwargs": {"min_percentile": 1.0, "max_percentile": 99.8}}],
    "median": [{"id": "scale_range", "kwargs": {"min_percentile": 2.5, "max_percentile": 50.0}}],
    "mean and variance": [{"id": "zero_mean_unit_variance", "kwargs": {"eps": 1e-6}}],
}


def session(graph):
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def whole(d: ModelDescription) -> bytes:
    return whole_graph(d.weights, (d.input, d.outputs), d.size_multiple, d.halo, d.zero_margin)


def assert_same(package, shapes, dtype=np.uint16):
    """The graph alone gives what zsd gives, for each image of a batch."""
    with load_model(package, "cpu", engine="onnxruntime") as model:
        d = model.description
        alone = session(whole(d))
        for shape in shapes:
            images = [RNG.poisson(mean, shape).astype(dtype) for mean in (150, 400)]
            found = alone.run(None, {d.input.name: np.stack(images)[:, None].astype(d.input.dtype)})
            for number, image in enumerate(images):
                expected = model.predict(image, corrections=None)
                for values, (name, wanted) in zip(found, expected.items(), strict=True):
                    assert values[number, 0].shape == wanted.shape
                    np.testing.assert_allclose(values[number, 0], wanted, atol=TOLERANCE * np.ptp(wanted), err_msg=name)


@pytest.fixture(scope="module")
def changed(untrained_package, tmp_path_factory):
    """The package with another normalisation."""

    def make(steps):
        folder = tmp_path_factory.mktemp("changed") / "plane"
        folder.mkdir()
        for file in untrained_package.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        rdf = yaml.safe_load((folder / "rdf.yaml").read_text())
        rdf["inputs"][0]["preprocessing"] = steps
        (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf))
        return folder

    return make


@pytest.mark.parametrize("name", PROCESSING)
def test_the_graph_alone_is_zsd_for_every_normalisation(changed, name):
    assert_same(changed(PROCESSING[name]), [(64, 64), (57, 91), (3, 5), (1, 17)])


def test_the_graph_alone_is_zsd_for_volumes(volume_package):
    assert_same(volume_package, [(8, 32, 32), (5, 33, 21), (2, 3, 40)])


def test_the_graph_alone_is_zsd_for_margins_of_zeros(tmp_path):
    """As published models expect them."""
    network = random_weights(lambda: DualStageUNet(4, 2, 2, 8, 2, slope=0))
    package = import_keras(write_keras(tmp_path / "cells.h5", network), tmp_path / "plane")
    assert read_package(package).zero_margin is not None
    assert_same(package, [(64, 64), (57, 91), (3, 5)])


def test_the_graph_alone_is_zsd_for_camera_counts(untrained_package):
    """Whole numbers at both ends, as of `zsd export --input uint16 --output uint16`."""
    d = read_package(untrained_package)
    counts = counts_graph(d.weights, d.input.processing, d.outputs[0].processing, "uint16")
    ends = [replace(end, dtype="uint16", processing=Linear()) for end in (d.input, *d.outputs)]
    alone = session(whole_graph(counts, (ends[0], tuple(ends[1:])), d.size_multiple, d.halo, None))
    image = RNG.poisson(150, (57, 91)).astype(np.uint16)
    found = alone.run(None, {d.input.name: image[None, None]})
    with load_model(untrained_package, "cpu", engine="onnxruntime") as model:
        for values, wanted in zip(found, model.predict(image, corrections=None).values(), strict=True):
            assert values.dtype == np.uint16
            assert np.abs(values[0, 0] - np.clip(np.rint(wanted), 0, 65535)).max() <= 1


@pytest.fixture(scope="module")
def repository(untrained_package, tmp_path_factory):
    out = tmp_path_factory.mktemp("triton") / "repository"
    result = zsd("export", untrained_package, out, "--format", "triton", "--name", "Cell nuclei (fine)", "--quiet")
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def test_a_repository_is_what_triton_reads(repository):
    """One folder with a configuration and a version. The configuration names the ends of the graph."""
    assert sorted(p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()) == [
        "Cell-nuclei-fine/1/model.onnx", "Cell-nuclei-fine/config.pbtxt", "README.md", "client.py",
    ]  # fmt: skip
    graph = session((repository / "Cell-nuclei-fine/1/model.onnx").read_bytes())
    config = (repository / "Cell-nuclei-fine/config.pbtxt").read_text()
    assert re.search(r'^name: "Cell-nuclei-fine"$', config, re.MULTILINE)
    assert re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[ 1, -1, -1 \]', config) == [
        (end.name, "TYPE_FP32") for end in (*graph.get_inputs(), *graph.get_outputs())
    ]
    assert "dynamic_batching { max_queue_delay_microseconds: 5000 }" in config
    assert "tritonserver --model-repository=/models" in (repository / "README.md").read_text()


class _Server(ThreadingHTTPServer):
    """A stand-in for a Triton server."""

    model: str
    graph: Any
    shapes: list[tuple[int, ...]]


class _KServe(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        ends = {
            kind: [{"name": e.name, "datatype": "FP32", "shape": [-1] * len(e.shape)} for e in found]
            for kind, found in (
                ("inputs", self.server.graph.get_inputs()),
                ("outputs", self.server.graph.get_outputs()),
            )
        }
        known = self.path == f"/v2/models/{self.server.model}"
        self._answer(200 if known else 404, json.dumps({"name": self.server.model, **ends} if known else {}).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers["Inference-Header-Content-Length"])
        (given,) = json.loads(body[:length])["inputs"]
        assert given["parameters"]["binary_data_size"] == len(body) - length
        image = np.frombuffer(body[length:], np.float32).reshape(given["shape"])
        self.server.shapes.append(image.shape)
        results = self.server.graph.run(None, {given["name"]: image})
        described = [
            {
                "name": e.name,
                "datatype": "FP32",
                "shape": values.shape,
                "parameters": {"binary_data_size": values.nbytes},
            }
            for e, values in zip(self.server.graph.get_outputs(), results, strict=True)
        ]
        head = json.dumps({"model_name": self.server.model, "outputs": described}).encode()
        self._answer(200, head + b"".join(values.tobytes() for values in results), len(head))

    def _answer(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if length is not None:
            self.send_header("Inference-Header-Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)


def test_the_client_rounds_and_clips_to_16_bits(monkeypatch):
    sent = []

    def ask(_url, data=None, headers=None):
        if data is None:
            return json.dumps({"inputs": [{"name": "x", "datatype": "UINT16"}]}).encode(), {}
        length = int(headers["Inference-Header-Content-Length"])
        sent.append(np.frombuffer(data[length:], np.uint16))
        head = json.dumps({"outputs": []}).encode()
        return head, {"Inference-Header-Content-Length": len(head)}

    monkeypatch.setattr(triton_client, "ask", ask)
    triton_client.restore(np.array([[[[-3.0, 1.6, 70000.0]]]]))
    assert sent[0].tolist() == [0, 2, 65535]


def test_the_client_restores_a_movie(repository, untrained_package, tmp_path):
    movie = RNG.poisson(120, (2, 57, 91)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cell.tif", movie)
    with _Server(("127.0.0.1", 0), _KServe) as server:
        server.model, server.shapes = "Cell-nuclei-fine", []
        server.graph = session((repository / "Cell-nuclei-fine/1/model.onnx").read_bytes())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        client = [sys.executable, repository / "client.py", tmp_path / "cell.tif", "--url", url, "--out", tmp_path]
        done = subprocess.run(client, capture_output=True, text=True, check=False)
        unknown = subprocess.run([*client, "--model", "other"], capture_output=True, text=True, check=False)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert server.shapes == [(1, 1, 57, 91)] * 2
    with load_model(untrained_package, "cpu", engine="onnxruntime") as model:
        for number, plane in enumerate(movie):
            for name, expected in model.predict(plane, corrections=None).items():
                found = tifffile.imread(tmp_path / f"cell_{name}.tif")[number]
                np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.ptp(expected))
    assert "other answers 404" in unknown.stderr
    gone = subprocess.run(client, capture_output=True, text=True, check=False)
    assert gone.returncode == 1
    assert "does not answer" in gone.stderr


def test_errors_name_the_remedy(repository, untrained_package, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    for arguments, said in (
        ((repository,), "exists already: choose another name, or replace it with --overwrite"),
        ((tmp_path / "mine", "--overwrite"), "is left alone: it is no model repository with one model of zsd"),
        ((tmp_path / "model.zip",), "is a zip; a model repository is a folder"),
        (("zoo:sim-2d",), ""),
    ):
        source = arguments[0] if str(arguments[0]).startswith("zoo:") else untrained_package
        rest = (tmp_path / "sim",) if source is not untrained_package else arguments
        result = zsd("export", source, *rest, "--format", "triton")
        assert result.returncode == 2, arguments
        assert (said or "structured illumination is reconstructed before") in result.stderr
    assert zsd("export", untrained_package, repository, "--format", "triton", "--overwrite").returncode == 0
    d = read_package(untrained_package)
    source = replace(d.input, dtype="uint16")
    with pytest.raises(InputError, match="normalisation of uint16 images is not written"):
        whole_graph(d.weights, (source, d.outputs), d.size_multiple, d.halo, None)


@pytest.mark.parametrize(
    ("name", "expected"), [("zsd cell run", "zsd-cell-run"), ("a/../b", "a-..-b"), ("µ (2)", "2"), ("—", "zsd")]
)
def test_names_are_those_of_folders(name, expected):
    assert model_name(name) == expected
