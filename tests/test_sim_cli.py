"""`zsd simulate --kind sim`, `zsd sim reconstruct` and `zsd sim show`."""

import json
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from tests.command import zsd
from zsd_optics.sim.acquisition import LOW_MODULATION
from zsd_optics.sim.estimate import DOUBTFUL
from zsd_optics.sim.sources import open_acquisitions
from zsd_runtime.images import open_image, read_image
from zsd_runtime.sim.parameters import SimParameters
from zsd_runtime.sim.reconstruction import reconstruct
from zsd_runtime.sim.transfer import Transfer

IMAGEJ = {"imagej": True, "resolution": (1 / 0.0626, 1 / 0.0626)}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sim")
    result = zsd("simulate", folder, "--kind", "sim", "--size", "128x144", "--photons", 200, "--sample", "filaments")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def reconstructed(simulated, tmp_path_factory):
    out = tmp_path_factory.mktemp("result")
    result = zsd("sim", "reconstruct", simulated / "noisy.tif", "--otf", simulated / "otf.tif", "--out", out)
    assert result.returncode == 0, result.stderr
    return out, result


def test_simulated_files(simulated):
    raw, clean, truth = (open_image(simulated / f"{name}.tif") for name in ("noisy", "clean", "truth"))
    assert (raw.axes, raw.data.shape, raw.data.dtype) == ("TYX", (9, 128, 144), np.uint16)
    assert clean.data.shape == raw.data.shape
    assert truth.data.shape == (256, 288)
    assert truth.voxel.x_um == pytest.approx(0.0313)
    parameters = SimParameters.load(simulated / "parameters.json")
    assert [p.spacing_nm for p in parameters.patterns] == [200.0] * 3
    psf = np.asarray(read_image(simulated / "psf.tif").data)
    assert psf.shape == (65, 65)
    assert psf.sum() == pytest.approx(1, abs=1e-4)
    assert Transfer.load(simulated / "otf.tif").cutoff == pytest.approx(5.2, abs=0.1)


def test_a_reconstruction_and_what_lies_beside_it(simulated, reconstructed):
    out, said = reconstructed
    image = open_image(out / "noisy_sim.tif")
    assert (image.axes, image.data.shape, image.data.dtype) == ("YX", (256, 288), np.float32)
    assert image.voxel.x_um == pytest.approx(0.0313)
    assert "SIM reconstruction of 3 directions x 3 phases" in image.description.text
    found, true = (SimParameters.load(folder / "parameters.json") for folder in (out, simulated))
    for one, other in zip(found.patterns, true.patterns, strict=True):
        assert one.spacing_nm == pytest.approx(other.spacing_nm, rel=0.003)
    truth = np.asarray(read_image(simulated / "truth.tif").data)
    assert np.asarray(image.data).sum() == pytest.approx(truth.sum(), rel=0.1)  # the offset is estimated
    header, *rows, last = said.stdout.splitlines()
    assert header.split() == ["direction", "angle,", "rad", "spacing,", "nm", "modulation", "trust"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert last.startswith("OK 1 file reconstructed")
    np.testing.assert_allclose(Transfer.load(out / "otf.tif").values, Transfer.load(simulated / "otf.tif").values)


def test_parameters_are_reused(simulated, reconstructed, tmp_path):
    out, _ = reconstructed
    result = zsd(
        "sim", "reconstruct", simulated / "noisy.tif", "--otf", out / "otf.tif", "--parameters",
        out / "parameters.json", "--out", tmp_path, "--wiener", 0.3, "--quiet",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    used = SimParameters.load(tmp_path / "parameters.json")
    assert used == replace(SimParameters.load(out / "parameters.json"), wiener=0.3)
    smoother, sharper = (np.asarray(read_image(folder / "noisy_sim.tif").data) for folder in (tmp_path, out))
    assert np.diff(smoother, axis=0).std() < np.diff(sharper, axis=0).std()


def test_theory_instead_of_a_file(simulated, reconstructed, tmp_path):
    out, _ = reconstructed
    arguments = ("--na", 1.4, "--wavelength", 525, "--out", tmp_path)
    assert zsd("sim", "reconstruct", simulated / "noisy.tif", *arguments).returncode == 0
    same, expected = (np.asarray(read_image(folder / "noisy_sim.tif").data) for folder in (tmp_path, out))
    np.testing.assert_allclose(same, expected, atol=0.01 * expected.max())


def test_a_movie_and_files_of_one_batch(simulated, tmp_path):
    raw = np.asarray(read_image(simulated / "noisy.tif").data)
    tifffile.imwrite(
        tmp_path / "movie.tif", np.concatenate([raw, raw[::1]]), metadata={"axes": "TYX", "unit": "um"}, **IMAGEJ
    )
    tifffile.imwrite(tmp_path / "other.tif", raw, metadata={"axes": "ZYX", "unit": "um"}, **IMAGEJ)
    raws = (tmp_path / "movie.tif", tmp_path / "other.tif")
    optics = ("--otf", simulated / "otf.tif")
    result = zsd("sim", "reconstruct", *raws, *optics, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("direction") == 1  # one table: the first acquisition's parameters serve the batch
    movie, other = (open_image(tmp_path / "out" / f"{name}_sim.tif") for name in ("movie", "other"))
    assert (movie.axes, movie.data.shape) == ("TYX", (2, 256, 288))
    assert (other.axes, other.data.shape) == ("YX", (256, 288))
    np.testing.assert_allclose(np.asarray(movie.data[1]), np.asarray(other.data), atol=1e-3)
    result = zsd("sim", "reconstruct", *raws, *optics, "--out", tmp_path / "each", "--each")
    assert result.returncode == 0, result.stderr
    names = {path.name for path in (tmp_path / "each").glob("*.json")}
    assert names == {
        "parameters.json", "movie_parameters_0000.json", "movie_parameters_0001.json", "other_parameters.json"
    }  # fmt: skip


def test_stripes_that_moved_are_told(simulated, tmp_path):
    raw = np.asarray(read_image(simulated / "noisy.tif").data)
    movie = np.concatenate([raw, raw[[1, 2, 0, 3, 4, 5, 6, 7, 8]]])
    tifffile.imwrite(tmp_path / "movie.tif", movie, metadata={"axes": "TYX", "unit": "um"}, **IMAGEJ)
    optics = ("--otf", simulated / "otf.tif", "--out", tmp_path)
    told = zsd("sim", "reconstruct", tmp_path / "movie.tif", *optics).stderr
    assert "acquisition 1 (of 0 to 1): its stripes lie elsewhere" in told
    assert "with --each" in told
    assert "elsewhere" not in zsd("sim", "reconstruct", tmp_path / "movie.tif", *optics, "--each").stderr


def test_single_frames_in_a_folder(simulated, reconstructed, tmp_path):
    raw = np.asarray(read_image(simulated / "noisy.tif").data)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(raw):
        tifffile.imwrite(tmp_path / "frames" / f"cell_t{number:03d}.tif", frame)
    result = zsd(
        "sim", "reconstruct", tmp_path / "frames", "--otf", simulated / "otf.tif", "--pixel-size", 0.0626, "--out",
        tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (made,) = tmp_path.glob("*_sim.tif")
    expected = np.asarray(read_image(reconstructed[0] / "noisy_sim.tif").data)
    np.testing.assert_allclose(np.asarray(read_image(made).data), expected, atol=1e-3 * expected.max())


def test_a_folder_of_single_frames_in_the_order_of_their_names(simulated, reconstructed, tmp_path):
    """Names whose numbers say nothing of Z or T; as text, f_10 is before f_2."""
    raw = np.asarray(read_image(simulated / "noisy.tif").data)
    (tmp_path / "seq").mkdir()
    for number, frame in enumerate(raw, 2):
        tifffile.imwrite(tmp_path / "seq" / f"f_{number}.tif", frame)
    optics = ("--otf", simulated / "otf.tif", "--pixel-size", 0.0626)
    result = zsd("sim", "reconstruct", tmp_path / "seq", *optics, "--order", "dp", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "9 files of one frame each are taken together, by their names from f_2.tif to f_10.tif" in result.stderr
    expected = np.asarray(read_image(reconstructed[0] / "noisy_sim.tif").data)
    found = np.asarray(read_image(tmp_path / "out" / "seq_sim.tif").data)
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())
    (tmp_path / "seq" / "f_10.tif").unlink()
    result = zsd("sim", "reconstruct", tmp_path / "seq", *optics, "--out", tmp_path / "few")
    assert result.returncode == 2
    assert "8 of 8 files failed" in result.stderr
    assert "or a folder that holds nothing but these, one in each file" in result.stderr


def test_a_volume(tmp_path):
    made = zsd("simulate", tmp_path, "--kind", "sim3d", "--size", "6x72x72", "--photons", 400, "--sample", "vesicles")
    assert made.returncode == 0, made.stderr
    assert open_image(tmp_path / "noisy.tif").data.shape == (90, 72, 72)
    assert np.asarray(read_image(tmp_path / "psf.tif").data).shape == (33, 65, 65)
    result = zsd(
        "sim", "reconstruct", tmp_path / "noisy.tif", "--otf", tmp_path / "otf.tif", "--order", "dpz", "--out", tmp_path
    )
    assert result.returncode == 0, result.stderr
    image = open_image(tmp_path / "noisy_sim.tif")
    assert (image.axes, image.data.shape) == ("ZYX", (6, 144, 144))
    assert image.voxel.z_um == pytest.approx(0.125)
    drawn = zsd(
        "sim", "show", tmp_path / "noisy.tif", "--otf", tmp_path / "otf.tif", "--order", "dpz", "--out",
        tmp_path / "show.png",
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr


def test_a_picture(simulated, tmp_path):
    result = zsd("sim", "show", simulated / "noisy.tif", "--otf", simulated / "otf.tif", "--out", tmp_path / "a.png")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("OK ")
    picture = iio.imread(tmp_path / "a.png")
    assert picture.shape[2] == 3
    greens = (picture == (0, 200, 60)).all(axis=2)
    assert greens.sum() > 3 * 20  # a circle in each direction


def test_python_opens_the_same(simulated, reconstructed):
    said: list[str] = []
    (opened,) = open_acquisitions([simulated / "noisy.tif"], otf=simulated / "otf.tif", notice=said.append)
    (one,) = opened.acquisitions
    expected = np.asarray(read_image(reconstructed[0] / "noisy_sim.tif").data)
    np.testing.assert_allclose(reconstruct(one.frames, one.sim), expected, atol=1e-4 * expected.max())
    with pytest.raises(TypeError, match="unknown options colour"):
        open_acquisitions([], colour=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the optics are given by nothing: give either --otf FILE, or --na with --wavelength"),
        (("--na", 1.4), "--na needs the emission wavelength"),
        (("--otf", "{}/otf.tif", "--na", 1.4), "--otf and --na"),
        (("--otf", "{}/otf.tif", "--wavelength", 525), "--wavelength belongs to --na"),
        (("--otf", "{}/none.mrc"), "none.mrc"),
        (("--otf", "{}/otf.tif", "--directions", 2), "no multiple of 2 directions"),
        (("--otf", "{}/otf.tif", "--phases", 5), "no multiple of 3 directions x 5 phases"),
        (("--otf", "{}/otf.tif", "--directions", 9, "--phases", 1), "--phases 1 must be 3 (two beams) or 5"),
        (("--otf", "{}/otf.tif", "--directions", 1, "--phases", 9), "--phases 9 must be 3 (two beams) or 5"),
        (("--otf", "{}/otf.tif", "--directions", 0), "--directions 0 must be above 0"),
        (("--otf", "{}/otf.tif", "--offset", "nan"), "--offset nan must be a finite number"),
        (("--otf", "{}/otf.tif", "--offset", "inf"), "--offset inf must be a finite number"),
        (("--otf", "{}/otf.tif", "--wiener", "nan"), "--wiener nan must be a finite number"),
        (("--otf", "{}/otf.tif", "--notch", "nan"), "--notch nan must be a finite number"),
        (("--otf", "{}/otf.tif", "--pixel-size", "nan"), "--pixel-size nan must be a finite number"),
        (("--na", "inf", "--wavelength", 525), "--na inf must be a finite number"),
        (("--na", 1.4, "--wavelength", 525, "--excitation", -1), "--excitation -1 must be above 0"),
        (("--otf", "{}/otf.tif", "--order", "dz"), "must be one of dp, pd"),
        (("--otf", "{}/otf.tif", "--angles", "1,2,3"), "--angles needs the --spacing"),
        (("--otf", "{}/otf.tif", "--angles", "1,2", "--spacing", 200), "--angles 1,2 must be 3 numbers"),
        (("--otf", "{}/otf.tif", "--angles", "1,2,x", "--spacing", 200), "must be 3 numbers"),
        (("--otf", "{}/otf.tif", "--spacing", -3), "--spacing -3 must be above 0"),
        (("--otf", "{}/otf.tif", "--notch", 1), "--notch 1 must be 0 to 0.95"),
        (("--otf", "{}/otf.tif", "--spacing", 90), "stripes of 90 nm and the detection reach 16.3 cycles/µm"),
        (("--otf", "{}/otf.tif", "--parameters", "{}/none.json"), "none.json does not exist"),
        (("--otf", "{}/otf.tif", "--parameters", "{}/parameters.json", "--spacing", 200), "--spacing is given beside"),
        (("--otf", "{}/otf.tif", "--parameters", "{}/parameters.json", "--each"), "--each estimates what --parameters"),
        (("--otf", "{}/otf.tif", "--parameters", "{}/parameters.json", "--pixel-size", 0.05), "pixel size of 0.05 µm"),
        (("--otf", "{}/otf.tif", "--parameters", "{}/parameters.json", "--order", "dpz"), "must be one of dp, pd"),
        (("--na", 1.4, "--wavelength", 525, "--pixel-size", 0.3), "the grid of the result only"),
    ],
)
def test_bad_input(arguments, message, simulated, tmp_path):
    filled = [str(a).replace("{}", str(simulated)) for a in arguments]
    result = zsd("sim", "reconstruct", simulated / "noisy.tif", "--out", tmp_path / "out", *filled)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert not list(tmp_path.rglob("*_sim.tif"))


def test_a_batch_finishes_what_it_can(simulated, tmp_path):
    tifffile.imwrite(
        tmp_path / "bad.tif", np.zeros((8, 32, 32), np.uint16), metadata={"axes": "ZYX", "unit": "um"}, **IMAGEJ
    )
    result = zsd(
        "sim", "reconstruct", tmp_path / "bad.tif", simulated / "noisy.tif", "--otf", simulated / "otf.tif", "--out",
        tmp_path,
    )  # fmt: skip
    assert result.returncode == 2
    assert "1 of 2 files failed" in result.stderr
    assert (tmp_path / "noisy_sim.tif").exists()
    assert json.loads((tmp_path / "parameters.json").read_text())["zsd_sim"] == 1


def test_hot_pixels_are_replaced(simulated, reconstructed, tmp_path):
    raw = np.array(read_image(simulated / "noisy.tif").data)
    raw[:, 60, 70] = 60000
    tifffile.imwrite(tmp_path / "noisy.tif", raw, metadata={"axes": "TYX", "unit": "um"}, **IMAGEJ)
    arguments = (
        "sim",
        "reconstruct",
        tmp_path / "noisy.tif",
        "--otf",
        simulated / "otf.tif",
        "--out",
        tmp_path / "out",
    )
    result = zsd(*arguments)
    assert result.returncode == 0, result.stderr
    assert "9 hot pixels: replaced by their neighbours" in result.stderr
    found, expected = (np.asarray(read_image(f / "noisy_sim.tif").data) for f in (tmp_path / "out", reconstructed[0]))
    assert np.abs(found - expected).max() < 0.3 * expected.max()
    assert zsd(*arguments, "--keep-hot-pixels").returncode == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:, :20], "frames of 20x144 pixels, and stripes are found from 32x32 on"),
        (lambda raw: raw * (np.arange(9) != 4).astype(raw.dtype)[:, None, None], "frame 4 of"),
        (lambda raw: np.zeros_like(raw), "is blank: all of its pixels are 0"),
        (lambda raw: np.minimum(raw, 150), "saturated"),
    ],
)
def test_frames_that_hold_no_stripes(change, message, simulated, tmp_path):
    raw = np.asarray(read_image(simulated / "noisy.tif").data)
    tifffile.imwrite(tmp_path / "a.tif", change(raw), metadata={"axes": "TYX", "unit": "um"}, **IMAGEJ)
    result = zsd("sim", "reconstruct", tmp_path / "a.tif", "--otf", simulated / "otf.tif", "--out", tmp_path)
    assert result.returncode == 2
    assert message in result.stderr


def test_help_and_documents_name_the_limits_of_the_code():
    said = " ".join(zsd("sim", "reconstruct", "--help").stdout.split())
    written = " ".join(Path("docs/sim.md").read_text("utf-8").split())
    for text in (said, written):
        assert f"below {LOW_MODULATION:g} is poor" in text
        assert f"below {DOUBTFUL:g} is doubtful" in text


def test_options_of_stripes_are_for_sim(tmp_path):
    result = zsd("simulate", tmp_path, "--kind", "2d", "--spacing", 200)
    assert result.returncode == 2
    assert "--spacing 200 is for --kind sim" in result.stderr
