"""Pixel sizes that are typed, that files say, and that differ; frames or slices; options that would have no effect."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.command import zsd
from zsd_optics.inputs import open_images, read_sized
from zsd_optics.psf_options import psf_sources_of
from zsd_runtime import InputError
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_runtime.sizes import agreed
from zsd_train.run import load_run

QUICK = "steps = 1\npatch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 2\ndepth = 1\nhead = 4\n"
A, B, C = Path("a.tif"), Path("b.tif"), Path("c.tif")

# What is typed, what files say; the size that is used, and words of the notice, or of the refusal.
SIZES = [
    (None, {A: 0.065}, 0.065, ""),
    (None, {A: 0.065, B: 0.06500000162}, 0.065, ""),
    (None, {A: 0.065, B: 0.0655}, 0.065, ""),  # 0.8 %
    (None, {A: 0.065, B: 0.066}, None, "a.tif has a pixel size of 0.065 µm and b.tif one of 0.066 µm"),
    (None, {A: None, B: None}, None, ""),
    (None, {A: 0.1, B: None}, 0.1, "b.tif does not say its pixel size; that of a.tif, 0.1 µm, is used"),
    (None, {A: None, B: None, C: 0.2}, 0.2, "a.tif and 1 more does not say"),
    (0.1, {A: 10000.0}, 0.1, "a.tif says 10000 µm; `pixel_size` 0.1 µm is used"),
    (0.1, {A: 0.1005}, 0.1, ""),
    (0.1, {A: None}, 0.1, ""),
    (0.1, {A: 0.2, B: 0.3, C: 0.1}, 0.1, "a.tif and 1 more says 0.2 µm"),
    (0.0, {A: 0.1}, None, "`pixel_size` 0 must be above 0 µm"),
    (-0.1, {A: None}, None, "-0.1 must be above 0"),
    (float("nan"), {A: 0.1}, None, "nan must be above 0"),
    (float("inf"), {A: 0.1}, None, "inf must be above 0"),
]


@pytest.mark.parametrize(("typed", "found", "used", "words"), SIZES)
def test_the_size_that_is_used(typed, found, used, words):
    said = []
    if used is None and words:
        with pytest.raises(InputError, match=words):
            agreed(typed, found, "pixel_size", said.append)
        return
    assert agreed(typed, found, "pixel_size", said.append) == used
    assert len(said) == bool(words)
    assert words in "".join(said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Frames, slices and single planes; PSFs of one plane and of several; a file with a wrong pixel size."""
    folder = tmp_path_factory.mktemp("sizes")
    rng = np.random.default_rng(0)
    stack = (rng.poisson(30, (12, 40, 48)) + 100).astype(np.uint16)
    known = {"imagej": True, "resolution": (10, 10)}
    for name, axes in (("frames", "TYX"), ("spaced", "TYX"), ("slices", "ZYX"), ("both", "TZYX")):
        data = stack.reshape(2, 6, 40, 48) if len(axes) == 4 else stack
        metadata = {} if name == "frames" else {"spacing": 0.3}
        tifffile.imwrite(folder / f"{name}.tif", data, metadata={"axes": axes, "unit": "um"} | metadata, **known)
    tifffile.imwrite(folder / "plane.tif", stack[0], metadata={"axes": "YX", "unit": "um"}, **known)
    tifffile.imwrite(
        folder / "wrong.tif", stack[0], metadata={"axes": "YX", "unit": "um"}, imagej=True, resolution=(1, 1)
    )
    write_image(folder / "oblong.tif", Image(stack[0], "YX", Voxel(None, 0.1, 0.2)))
    z, y, x = np.ogrid[-6:7, -9:10, -9:10]
    psf = np.exp(-0.5 * ((z / 2) ** 2 + (y / 2.5) ** 2 + (x / 2.5) ** 2)).astype(np.float32)
    write_image(folder / "psf3d.tif", Image(psf, "ZYX", Voxel.square(0.05, 0.3)))
    write_image(folder / "psf3f.tif", Image(psf, "TYX", Voxel.square(0.05)))
    write_image(folder / "psf2d.tif", Image(psf[6], "YX", Voxel.square(0.05)))
    (folder / "quick.toml").write_text(QUICK)
    return folder


def train(folder, out, image, *options):
    names = {p.name for p in folder.iterdir()}
    given = [folder / o if o in names else o for o in options]
    return zsd("train", folder / image, *given, "--out", out, "--config", folder / "quick.toml")


ASKED = [
    ("frames.tif", "--psf", "psf3d.tif"),
    ("frames.tif", "--psf", "psf3f.tif"),  # a PSF has no frames
    ("frames.tif", "--psf", "psf2d.tif", "--z-step", 0.3),
    ("frames.tif", "--psf-sigma", "1.5x1.1"),
    ("frames.tif", "--psf-sigma", 1.1, "--z-step", 0.3),
    ("frames.tif", "--psf-sigma", 1.1, "--slices", 4),
    ("frames.tif", "--psf-sigma", 1.1, "--scheme", "odd-even"),
    ("frames.tif", "--na", 1.1, "--wavelength", 525, "--z-step", 0.3),
    ("spaced.tif", "--psf", "psf3d.tif"),
]


@pytest.mark.parametrize("options", ASKED)
def test_frames_or_slices_is_asked(options, folder, tmp_path):
    result = train(folder, tmp_path / "run", *options)
    assert result.returncode == 2
    assert "12 frames (axes TYX), but" in result.stderr
    assert "--axes ZYX if these are slices of a volume, or --axes TYX if they are frames" in result.stderr
    assert [line for line in result.stderr.splitlines() if not line.startswith("notice: ")] == [
        result.stderr.splitlines()[-1]
    ]
    assert not (tmp_path / "run").exists()


ANSWERED = [
    ("frames.tif", ("--psf", "psf3d.tif", "--axes", "TYX"), "yx", "of the 13 slices of"),
    ("frames.tif", ("--psf", "psf2d.tif", "--axes", "TYX", "--z-step", 0.3), "yx", "--z-step 0.3 is not used"),
    ("frames.tif", ("--psf", "psf3d.tif", "--axes", "ZYX", "--z-step", 0.3, "--slices", 8), "zyx", ""),
    ("plane.tif", ("--psf", "psf3d.tif"), "yx", "of the 13 slices of"),
    ("frames.tif", ("--psf", "psf2d.tif"), "yx", ""),
    (
        "spaced.tif",
        ("--psf-sigma", 1.2),
        "yx",
        "it says a z step of 0.3 µm; if they are slices, say --axes ZYX",
    ),
    ("slices.tif", ("--psf-sigma", 1.2, "--axes", "TYX"), "yx", ""),
    ("both.tif", ("--psf", "psf3d.tif", "--slices", 4), "zyx", ""),
]


@pytest.mark.parametrize(("image", "options", "axes", "notice"), ANSWERED)
def test_what_is_said_is_done(image, options, axes, notice, folder, tmp_path):
    result = train(folder, tmp_path / "run", image, *options)
    assert result.returncode == 0, result.stderr
    assert notice in result.stderr
    assert ("notice: " in result.stderr) == bool(notice)
    assert load_run(tmp_path / "run").config.axes == axes


REFUSED = [
    ("plane.tif", ("--psf-sigma", 1.1, "--z-step", 0.3), "--z-step 0.3 is for volumes, and the images are planes"),
    ("plane.tif", ("--psf-sigma", 1.1, "--slices", 3), "--slices 3 is for volumes"),
    (
        "plane.tif",
        ("--psf-sigma", "1.5x1.1"),
        "the images are planes, so .* must be one number",
    ),
    ("frames.tif", ("--psf-sigma", 1.1, "--slices", 3, "--axes", "TYX"), "--slices 3 is for volumes"),
    (
        "slices.tif",
        ("--psf", "psf2d.tif"),
        "is one plane, and .*slices.tif is a volume.*--axes TYX if it",
    ),
    ("slices.tif", ("--psf-sigma", 1.1), "the images are volumes, so .* must be two.*or say with --axes"),
    ("both.tif", ("--psf", "psf2d.tif"), "--axes ZTYX if it holds frames"),
    (
        "plane.tif",
        ("--psf", "psf2d.tif", "--wavelength", 520),
        "--wavelength belongs to --na, and .* by --psf",
    ),
    ("plane.tif", ("--psf", "psf2d.tif", "--refractive-index", 1.3), "--refractive-index belongs to --na"),
    ("plane.tif", ("--psf-sigma", 1, "--psf-pixel-size", 0.1), "--psf-pixel-size belongs to --psf, and"),
    ("plane.tif", ("--psf-sigma", 1, "--centre-psf"), "--centre-psf belongs to --psf"),
    ("plane.tif", ("--na", 1, "--wavelength", 520, "--psf-z-step", 0.1), "--psf-z-step belongs to --psf"),
    ("plane.tif", ("--na", 1, "--wavelength", "green"), "--wavelength green must be a number"),
    ("plane.tif", ("--na", 1, "--wavelength", "nan"), "wavelength"),
    ("oblong.tif", ("--psf", "psf2d.tif"), "pixels of 0.1 x 0.2 µm"),
    ("plane.tif", ("--psf", "psf2d.tif", "--psf", "psf3d.tif"), "one for each"),
    ("plane.tif", ("--psf", "none.tif"), "none.tif does not exist"),
]


@pytest.mark.parametrize(("image", "options", "message"), REFUSED)
def test_what_has_no_effect_or_does_not_fit_is_refused(image, options, message, folder, tmp_path):
    result = train(folder, tmp_path / "run", image, *options)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(result.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("image", "says"), [("wrong.tif", "1 µm"), ("oblong.tif", "0.2 µm"), ("frames.tif", "")])
def test_a_typed_size_wins(image, says, folder, tmp_path):
    result = train(folder, tmp_path / "run", image, "--na", 1.1, "--wavelength", 525, "--pixel-size", 0.1)
    assert result.returncode == 0, result.stderr
    assert says in result.stderr
    assert ("notice: " in result.stderr) == bool(says)
    assert load_run(tmp_path / "run").measured.pixel_size_um == 0.1


def test_the_size_of_a_psf_may_be_typed_too(folder):
    said = []
    _, voxel = read_sized(folder / "psf3d.tif", Voxel.square(0.1, 0.2), "psf_", notice=said.append)
    assert voxel == (0.2, 0.1)
    assert [text.partition("; ")[2] for text in said] == [
        "`psf_pixel_size` 0.1 µm is used",
        "`psf_z_step` 0.2 µm is used",
    ]
    kernel = psf_sources_of(psf=[folder / "psf2d.tif"], psf_pixel_size=0.1)[0].kernel("yx", Voxel.square(0.1), 2)
    own = psf_sources_of(psf=[folder / "psf2d.tif"])[0].kernel("yx", Voxel.square(0.1), 2)
    assert kernel.shape[0] > 1.5 * own.shape[0]


FILTERS = [
    (("frames.tif", "--kind", "richardson-lucy", "--psf", "psf3d.tif"), "12 frames (axes TYX), but the PSF"),
    (("frames.tif", "--kind", "wiener", "--psf-sigma", 1.1, "--z-step", 0.2), "--z-step 0.2 is for volumes: say"),
    (("plane.tif", "--kind", "gaussian", "--z-step", 0.2), "--z-step 0.2 is for volumes, and"),
    (("plane.tif", "--kind", "gaussian", "--wavelength", 520), "--wavelength is not for gaussian"),
    (("plane.tif", "--kind", "median", "--psf-pixel-size", 0.1), "--psf-pixel-size is not for median"),
    (("plane.tif", "--kind", "box", "--refractive-index", 1.3), "--refractive-index is not for box"),
    (("plane.tif", "--kind", "box", "--pixel-size", -1), "--pixel-size -1 must be above 0"),
    (("slices.tif", "--kind", "wiener", "--psf", "psf2d.tif"), "psf2d.tif is one plane"),
]


@pytest.mark.parametrize(("arguments", "message"), FILTERS)
def test_filters_ask_and_refuse_the_same(arguments, message, folder, tmp_path):
    names = {p.name for p in folder.iterdir()}
    result = zsd("filter", *(folder / a if a in names else a for a in arguments), "--out", tmp_path / "out")
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "out").exists()


def test_a_filter_writes_the_size_that_was_typed(folder, tmp_path):
    result = zsd("filter", folder / "wrong.tif", "--kind", "gaussian", "--pixel-size", 0.2, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "says 1 µm; --pixel-size 0.2 µm is used" in result.stderr
    assert read_image(tmp_path / "wrong_gaussian.tif").voxel.x_um == pytest.approx(0.2)


def test_a_prediction_is_of_the_size_that_was_typed(folder, tmp_path):
    package = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"
    result = zsd("predict", package, folder / "wrong.tif", "--pixel-size", 0.2, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "says 1 µm; --pixel-size 0.2 µm is used" in result.stderr
    assert read_image(tmp_path / "wrong_deconvolved.tif").voxel.x_um == pytest.approx(0.1)
    refused = zsd("predict", package, folder / "wrong.tif", "--pixel-size", -1, "--out", tmp_path)
    assert (refused.returncode, "--pixel-size -1 must be above 0" in refused.stderr) == (2, True)


def test_a_folder_stands_for_its_images_and_a_file_given_twice_counts_once(folder, tmp_path):
    for number, name in enumerate("ab"):
        tifffile.imwrite(tmp_path / f"{name}.tif", read_image(folder / "frames.tif").data[number])
    (tmp_path / "notes.txt").write_text("nothing")
    result = zsd("train", tmp_path, tmp_path / "a.tif", "--psf-sigma", 1, "--out", tmp_path / "run", "--config",
                 folder / "quick.toml")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert len(load_run(tmp_path / "run").measured.images) == 2
    assert zsd("noise", tmp_path).stdout == zsd("noise", tmp_path / "a.tif", tmp_path / "b.tif").stdout


def test_mixed_kinds_are_refused_with_a_look_at_them(folder):
    with pytest.raises(InputError, match=r"are planes and volumes.*see zsd info .*plane.tif .*slices.tif"):
        open_images([folder / "plane.tif", folder / "slices.tif"])
