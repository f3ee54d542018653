"""Core ML through ONNX Runtime, without a Mac: real sessions on the CPU, and what they are asked is kept."""

import sys
import weakref

import numpy as np
import onnxruntime as ort
import pytest

from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError, engine_choice, load_model
from zsd_runtime.engine_choice import CANDIDATES
from zsd_runtime.engines import EngineMissing, cache, coreml
from zsd_runtime.package import read_package


@pytest.fixture(scope="module")
def image():
    return simulate((150, 170), camera=Camera(100, 1.5, 2), seed=9).noisy


class FakeMac:
    """A Mac whose Core ML computes as ONNX Runtime does on the CPU."""

    def __init__(self, monkeypatch, folder):
        self.sessions, self.options, self.shapes, self.broken = [], [], [], False
        real, outer = ort.InferenceSession, self

        class Session(real):  # type: ignore[valid-type, misc]
            def __init__(self, onnx, options, providers, enable_fallback):
                assert enable_fallback == 0
                (name, given), cpu = providers if len(providers) == 2 else ((None, None), *providers)
                assert cpu == "CPUExecutionProvider"  # what Core ML lacks runs there
                assert not any(session() for session in outer.sessions)  # or their memory would be held twice
                super().__init__(onnx, options, providers=[cpu])
                if name:
                    if outer.broken:
                        raise RuntimeError("Error compiling model: Failed to parse the model specification")
                    assert name == "CoreMLExecutionProvider"
                    assert all(isinstance(value, str) for value in given.values())
                    outer.options.append(given)
                    outer.shapes.append(tuple(self.get_inputs()[0].shape))
                    outer.sessions.append(weakref.ref(self))

        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(ort, "InferenceSession", Session)
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CoreMLExecutionProvider", "CPUExecutionProvider"])
        monkeypatch.setattr(cache, "user_cache", lambda: folder)
        monkeypatch.setattr(engine_choice, "cuda_driver", lambda: None)


@pytest.fixture
def mac(monkeypatch, tmp_path):
    return FakeMac(monkeypatch, tmp_path / "cache")


def test_it_agrees_and_every_shape_has_a_session_of_fixed_shape(package, image, mac):
    with load_model(package, engine="onnxruntime", device="cpu") as model:
        expected = model.predict(image)
    with load_model(package, engine="coreml") as model:
        assert (model.engine.name, model.engine.device, model.engine.precision) == ("coreml", "apple", "fp32")
        for tile in ((96, 96), (112, 96), (112, 96)):
            result = model.predict(image, tile=tile)
            for name, values in expected.items():
                assert np.abs(result[name] - values).max() < 1e-3 * np.ptp(values)
    assert mac.shapes == [(1, 1, 96, 96), (1, 1, 112, 96)]
    assert not any(session() for session in mac.sessions)  # closed is closed


def test_the_provider_gets_its_options_and_a_folder_of_its_own_for_each_shape(package, mac, tmp_path, monkeypatch):
    shapes = ((96, 96), (112, 96))
    onnx = read_package(package).weights
    folders = [coreml.compiled(onnx, (1, 1, *shape)) for shape in shapes]
    with load_model(package, device="apple") as model:
        for shape in shapes:
            model.session(shape)
    fixed = {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "RequireStaticInputShapes": "1"}
    assert mac.options == [fixed | {"ModelCacheDirectory": str(folder)} for folder in folders]
    assert all(folder.is_dir() and folder.parent == tmp_path / "cache" / "coreml" for folder in folders)
    # Nothing that was compiled for other weights or by another version is found.
    others = [coreml.compiled(onnx + b"0", (1, 1, 96, 96))]
    monkeypatch.setattr(ort, "__version__", "99.0.1")
    others.append(coreml.compiled(onnx, (1, 1, 96, 96)))
    assert len({*folders, *others}) == 4


@pytest.mark.parametrize("reason", ["version", "folder"])
def test_without_a_cache_it_runs_all_the_same(package, mac, tmp_path, monkeypatch, reason):
    if reason == "version":
        monkeypatch.setattr(ort, "__version__", "1.20.1")  # which refuses options that it does not know
    else:
        (tmp_path / "cache").write_text("a file where the folder should be")
    with load_model(package, engine="coreml") as model:
        model.session((96, 96))
    assert mac.options == [coreml.OPTIONS]


def test_auto_takes_it_on_a_mac(package, mac):
    with load_model(package) as model:
        assert (model.engine.name, model.engine.device) == ("coreml", "apple")
    assert len(mac.options) == 1  # the smallest tile was run


def test_auto_goes_on_where_it_fails(package, mac):
    mac.broken = True
    with load_model(package) as model:
        assert model.engine.device == "cpu"
    with (
        load_model(package, engine="coreml") as model,
        pytest.raises(RuntimeError, match=r"Core ML failed on a tile of 96x96 \(Error compiling model"),
    ):
        model.session((96, 96))


def test_without_the_provider_it_is_missing_and_auto_goes_on(package, mac, monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineMissing, match=r"has no Core ML here: pip install onnxruntime.*`device`") as raised:
        load_model(package, engine="coreml")
    assert raised.value.options == ("device",)
    with load_model(package) as model:
        assert model.engine.device == "cpu"
    assert mac.options == []


def test_elsewhere_it_is_missing_and_its_library_is_not_even_looked_at(package, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(engine_choice, "cuda_driver", lambda: None)
    monkeypatch.setattr(ort, "get_available_providers", lambda: pytest.fail("asked for providers"))
    for asked in ({"engine": "coreml"}, {"device": "apple"}):
        with pytest.raises(EngineMissing, match="coreml on apple needs a Mac with macOS, and this is linux"):
            load_model(package, **asked)
    with load_model(package) as model:
        assert model.engine.device == "cpu"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"engine": "coreml", "device": "cpu"}, "coreml does not run on device cpu; it runs on apple"),
        ({"engine": "coreml", "precision": "bf16"}, "coreml on auto cannot run it in bf16"),
    ],
)
@pytest.mark.usefixtures("mac")
def test_what_it_cannot_do_is_an_error(package, asked, message):
    with pytest.raises(InputError, match=message):
        load_model(package, **asked)


def test_networks_of_volumes_run_elsewhere(volume_package, mac):
    """ONNX Runtime's Core ML has no 3D convolutions: the CPU takes the whole network rather than every other node."""
    with pytest.raises(InputError, match=r"no 3D convolutions.*`engine`") as raised:
        load_model(volume_package, engine="coreml")
    assert raised.value.options == ("engine",)
    with load_model(volume_package) as model:
        assert model.engine.device == "cpu"
    assert mac.options == []


def test_it_comes_before_the_cpu():
    devices = [device for _, device in CANDIDATES]
    assert CANDIDATES.index(("coreml", "apple")) < devices.index("cpu")
