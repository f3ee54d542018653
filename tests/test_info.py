"""`zsd info` prints the truth about a file, and `--series` reaches every verb that opens one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.command import zsd
from zsd_runtime.errors import InputError
from zsd_runtime.facts import LARGEST, facts_of
from zsd_runtime.images import Image, Voxel, files, write_image
from zsd_runtime.images.image import Channel, Description, Format

PACKAGE = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"
RNG = np.random.default_rng(0)


def counts(*shape):
    return (RNG.poisson(30, shape) + 100).astype(np.uint16)


def facts(*arguments):
    result = zsd("info", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


DESCRIBED = Description(
    name="cells", channels=(Channel("GFP", "00FF00", 509.0), Channel("", "FF0000", None)), time_step_s=2.5,
    origin_um={"Y": 10.0, "X": -3.5}, size_source="OME-XML", notices=("The stage moved: `axes` were taken as said.",),
)  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    """A format of files that hold three images, in memory; what was asked for is kept."""
    asked, shapes = [], [(40, 48), (6, 56, 64), (40, 48)]

    def opened(_, axes, series):
        asked.append(series)
        described = Description(series=("thumbnail", "cells", ""), notices=("3 images are in it.",))
        shape = shapes[1 if series is None else series]
        return Image(counts(*shape), axes or "TYX"[-len(shape) :], Voxel.square(0.1), description=described)

    known = Format("three images", (".three",), lambda path: path.suffix == ".three", opened)
    monkeypatch.setattr(files, "FORMATS", (known, *files.FORMATS))
    return asked


def test_all_that_a_file_says(tmp_path, monkeypatch):
    image = Image(counts(3, 2, 4, 30, 40), "TCZYX", Voxel.square(0.1, 0.3), True, DESCRIBED)
    known = Format("made up", (".made",), lambda path: path.suffix == ".made", lambda path, axes, series: image)
    monkeypatch.setattr(files, "FORMATS", (known, *files.FORMATS))
    monkeypatch.setattr("zsd_runtime.facts.FORMATS", (known,))
    (tmp_path / "a.made").write_bytes(b"x" * 1500)
    found = facts(tmp_path / "a.made")
    assert found["file"] == str(tmp_path / "a.made")
    assert (found["format"], found["file_bytes"]) == ("made up (OME)", 1500)
    assert (found["axes"], found["shape"], found["dtype"]) == ("TCZYX", [3, 2, 4, 30, 40], "uint16")
    assert (found["pixel_size_um"], found["z_step_um"], found["size_source"]) == ([0.1, 0.1], 0.3, "OME-XML")
    assert (found["time_step_s"], found["origin_um"]) == (2.5, {"Y": 10.0, "X": -3.5})
    assert [c["name"] for c in found["channels"]] == ["GFP", None]
    assert [c["emission_nm"] for c in found["channels"]] == [509.0, None]
    assert found["sampled"] == {"planes": 16, "of_planes": 24, "plane_shape": [30, 40], "blank": []}
    assert found["notices"] == ["The stage moved: --axes were taken as said."]
    page = zsd("info", tmp_path / "a.made").stdout
    for line in (
        "format       made up (OME), 1.5 kB", "axes         TCZYX: 3 frames, 2 channels, 4 slices, 30 rows, 40 columns",
        "pixel size   0.1 µm (from OME-XML)", "z step       0.3 µm", "time step    2.5 s",
        "channels     0: GFP, colour 00FF00, emission 509 nm", "1: unnamed, colour FF0000", "Y 10 µm, X -3.5 µm",
        "in 16 of 24 planes", "notices      The stage moved: --axes",
    ):  # fmt: skip
        assert line in page


PIXELS = {
    "clean": (counts(64, 64), {}, 0.0),
    "clipped at 0": (np.clip(counts(64, 64).astype(int) - 130, 0, None).astype(np.uint16), {"low"}, 0.5),
    "full scale": (np.clip(counts(64, 64).astype(int) * 500, 0, 65535).astype(np.uint16), {"high"}, 0.0),
    "12 bits": (np.clip(counts(64, 64).astype(int) * 31, 0, 4095).astype(np.uint16), {"high"}, 0.0),
    "padded": (np.pad(counts(64, 48), ((0, 0), (0, 16))), {"padding"}, 0.25),
    "negative": (counts(64, 64).astype(np.float32) - 130, {}, None),
}


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_that_are_no_data(name, tmp_path):
    data, kinds, at_0 = PIXELS[name]
    tifffile.imwrite(tmp_path / "a.tif", data)
    found = facts(tmp_path / "a.tif")
    assert set(found["pixels"]) == set(kinds)
    assert found["intensities"]["median"] == pytest.approx(np.median(data), abs=1)
    assert (found["intensities"]["minimum"], found["intensities"]["maximum"]) == (data.min(), data.max())
    if at_0 is not None:
        assert found["intensities"]["at_0"] == pytest.approx(at_0, abs=0.1)
    full_scale = float(np.mean(data == 65535)) if data.dtype == np.uint16 else None
    assert found["intensities"]["at_full_scale"] == full_scale


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_pixels_that_are_no_numbers(share, tmp_path):
    data = counts(64, 64).astype(np.float32)
    data[: int(64 * share)] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", data)
    assert facts(tmp_path / "a.tif")["intensities"]["not_finite"] == share
    page = zsd("info", tmp_path / "a.tif").stdout
    assert ("25 % NaN or infinite" if share < 1 else "no pixel is a number") in page


@pytest.mark.parametrize("sizes_in_names", [False, True])
def test_several_images_of_which_one_must_be_chosen(sizes_in_names, monkeypatch, tmp_path):
    """The page shows all of them, and the first one closely."""
    names = ("A1 (YX 40x48)", "A2 (YX 40x48)") if sizes_in_names else ("A1", "A2")
    opened = []

    def wells(path, _, series):
        opened.append(series)
        if series is None:
            raise InputError(f"{path} holds 2 images (zsd info {path} shows what is in it)", "choose with `series`")
        return Image(counts(40, 48), "YX", description=Description(series=names))

    known = Format("wells", (".wells",), lambda path: path.suffix == ".wells", wells)
    monkeypatch.setattr(files, "FORMATS", (known, *files.FORMATS))
    (tmp_path / "a.wells").touch()
    found = facts(tmp_path / "a.wells")
    assert [s["shown"] for s in found["series"]] == [True, False]
    assert "holds 2 images" in found["notices"][0]
    assert opened == ([None, 0] if sizes_in_names else [None, 0, 0, 1])  # opening takes time


@pytest.mark.usefixtures("fake")
def test_all_images_of_a_file_and_the_one_that_is_taken(tmp_path):
    (tmp_path / "a.three").touch()
    found = facts(tmp_path / "a.three")
    assert [s["shape"] for s in found["series"]] == [[40, 48], [6, 56, 64], [40, 48]]
    assert [s["shown"] for s in found["series"]] == [False, True, False]
    assert facts(tmp_path / "a.three", "--series", 2)["series"][2]["shown"]
    page = zsd("info", tmp_path / "a.three").stdout
    assert "1: cells  TYX 6x56x64  <- shown here; choose with --series" in page
    assert "2: unnamed  YX 40x48" in page


QUICK = "steps = 1\npatch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 2\ndepth = 1\nhead = 4\n"
VERBS = {
    "noise": ("noise", "IMAGE"),
    "train": ("train", "IMAGE", "--psf-sigma", 1, "--out", "OUT", "--config", "QUICK"),
    "filter": ("filter", "IMAGE", "--kind", "median", "--out", "OUT"),
    "damp": ("damp", "IMAGE", "OUT.tif"),
    "beads": ("psf", "from-beads", "IMAGE", "OUT.tif"),
    "predict": ("predict", "PACKAGE", "IMAGE", "--out", "OUT"),
    "restore": ("restore", "IMAGE", "--psf-sigma", 1, "--out", "OUT", "--config", "QUICK"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_opens_the_series_that_is_named(verb, fake, tmp_path):
    (tmp_path / "a.three").touch()
    (tmp_path / "quick.toml").write_text(QUICK)
    places = {"IMAGE": tmp_path / "a.three", "OUT": tmp_path / "out", "OUT.tif": tmp_path / "out.tif",
              "QUICK": tmp_path / "quick.toml", "PACKAGE": PACKAGE}  # fmt: skip
    result = zsd(*(places.get(str(a), a) for a in VERBS[verb]), "--series", 2)
    assert set(fake) == {2}, result.stderr
    if verb != "beads":  # there are none
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "a.three").name in result.stderr
        assert result.stderr.count("3 images are in it.") == 1  # said once
    assert zsd(*(places.get(str(a), a) for a in VERBS[verb]), "--series", -1).returncode == 2


@pytest.mark.usefixtures("fake")
def test_a_sentence_that_many_files_share_is_said_once(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.three").touch()
    files_ = sorted(tmp_path.glob("*.three"))
    for command in (("noise", *files_, "--series", 0), ("predict", PACKAGE, *files_, "--out", tmp_path / "out")):
        result = zsd(*command)
        assert result.returncode == 0, result.stderr
        assert [line for line in result.stderr.splitlines() if line.startswith("notice")] == [
            f"notice: {files_[0]} and 2 more: 3 images are in it."
        ]
        quiet = zsd(*command, "--quiet")
        assert quiet.stderr == ""


def test_a_folder_says_how_its_images_are_taken(tmp_path):
    for name in ("b.tif", "a.tif"):
        tifffile.imwrite(tmp_path / name, counts(20, 30))
    (tmp_path / "c.tif").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("nothing")
    found = facts(tmp_path)
    assert [Path(image["file"]).name for image in found["images"]] == ["a.tif", "b.tif", "c.tif"]
    assert found["images"][0]["shape"] == [20, 30]
    assert "not a readable TIFF" in found["images"][2]["error"]
    assert found["other_files"] == ["notes.txt"]
    page = zsd("info", tmp_path).stdout
    assert "a folder with 3 images" in page
    assert "beside them (parts of them, or no images): notes.txt" in page


def test_several_files_and_one_that_cannot_be_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", counts(20, 30))
    result = zsd("info", tmp_path / "none.tif", tmp_path / "a.tif")
    assert result.returncode == 2
    assert "YX: 20 rows, 30 columns" in result.stdout
    assert "1 of 2 files cannot be read" in result.stderr
    as_json = zsd("info", tmp_path / "none.tif", tmp_path / "a.tif", "--json")
    assert ["error" in one for one in json.loads(as_json.stdout)] == [True, False]


def test_models_and_runs_have_verbs_of_their_own(tmp_path):
    shutil.unpack_archive(PACKAGE, tmp_path / "model")
    for path in (PACKAGE, tmp_path / "model", tmp_path / "model" / "rdf.yaml"):
        result = zsd("info", path)
        assert (result.returncode, f"see zsd inspect {path}" in result.stderr) == (2, True)
    for name in ("config.toml", "metrics.csv"):
        (tmp_path / name).touch()
    assert "is a training run" in zsd("info", tmp_path).stderr
    assert "does not exist" in zsd("info", tmp_path / "none").stderr


def test_of_a_large_plane_only_the_middle_is_read(tmp_path, monkeypatch):
    side = int(LARGEST**0.5) + 2000

    class Huge:
        shape, dtype, ndim = (100_000, side, side), np.dtype(np.uint16), 3
        read = 0

        def __getitem__(self, box):
            lengths = [b.stop - b.start for b in box if isinstance(b, slice)]
            Huge.read += 1
            return np.broadcast_to(np.uint16(7), lengths)

    (tmp_path / "a.tif").touch()
    monkeypatch.setattr("zsd_runtime.facts.open_image", lambda *_: Image(Huge(), "TYX"))
    monkeypatch.setattr("zsd_runtime.facts.LARGEST", 10_000)
    found = facts_of(tmp_path / "a.tif")
    assert Huge.read == 16
    assert found["sampled"] == {
        "planes": 16,
        "of_planes": 100_000,
        "plane_shape": [100, 100],
        "blank": found["sampled"]["blank"],
    }
    assert len(found["sampled"]["blank"]) == 16


def test_a_zarr_is_a_file(tmp_path):
    write_image(tmp_path / "a.zarr", Image(counts(4, 20, 30), "ZYX", Voxel.square(0.1, 0.3)))
    found = facts(tmp_path / "a.zarr")
    assert (found["format"], found["axes"], found["z_step_um"]) == ("Zarr", "ZYX", 0.3)
    assert found["file_bytes"] > 4000
