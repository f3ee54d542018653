"""`zsd compare`: what filters, packages and trainings make of one image, and their scores."""

import json
import shutil

import imageio.v3 as iio
import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.command import zsd
from zsd_export.comparison.methods import methods_from, scheme_names
from zsd_export.comparison.picture import GAP, MARGIN, Panel, detail_from, picture
from zsd_export.comparison.restoring import removed_offset
from zsd_export.comparison.scores import on_grid
from zsd_optics import metrics
from zsd_optics.imaging import imaged
from zsd_optics.psf import gaussian_psf
from zsd_runtime.errors import Interrupted
from zsd_runtime.images import Image, Voxel, read_image, write_image
from zsd_runtime.model import load_model
from zsd_runtime.package import read_package

RNG = np.random.default_rng(0)
WRITTEN = {"comparison.png", "scores.json", "table.md"}


@pytest.fixture(scope="module")
def scene(simulation, tmp_path_factory):
    """A folder with noisy.tif, clean.tif, truth.tif and psf.tif, and a movie of three noisy planes."""
    folder = tmp_path_factory.mktemp("scene")
    voxel = Voxel.square(simulation.pixel_size_um)
    for name in ("noisy", "clean"):
        write_image(folder / f"{name}.tif", Image(getattr(simulation, name), "YX", voxel))
    fine = Voxel.square(simulation.pixel_size_um / 2)
    write_image(folder / "truth.tif", Image(simulation.truth, "YX", fine))
    write_image(folder / "psf.tif", Image(simulation.psf.astype(np.float32), "YX", fine))
    movie = np.stack([simulation.noisy[::-1], simulation.noisy, simulation.noisy // 2])
    write_image(folder / "movie.tif", Image(movie, "TYX", voxel))
    write_image(folder / "colours.tif", Image(movie[:2], "CYX", voxel))
    return folder


def compared(scene, out, *options, image="noisy"):
    return zsd("compare", scene / f"{image}.tif", "--out", out, *options)


def scores(out):
    return json.loads((out / "scores.json").read_text())


def by_title(out):
    return {(row["title"], row["output"]): row for row in scores(out)["scores"]}


def files(out):
    return sorted(path.name for path in out.iterdir())


def test_scores_are_those_of_metrics_and_results_are_written(scene, package, simulation, tmp_path):
    out, other = tmp_path / "out", tmp_path / "cell.zip"
    shutil.make_archive(str(other.with_suffix("")), "zip", package)
    truths = ("--truth", scene / "clean.tif", "--truth-deconvolved", scene / "truth.tif")
    methods = f"gaussian:sigma=1.2,median,{other},richardson-lucy:iterations=4,wiener"
    result = compared(scene, out, *truths, "--methods", methods, "--psf", scene / "psf.tif", "--offset", 100)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("OK 6 results of 5 methods are compared in")
    assert files(out) == [
        "comparison.png", "noisy_cell.tif", "noisy_cell_deconvolved.tif", "noisy_gaussian_sigma-1.2.tif",
        "noisy_median.tif", "noisy_richardson-lucy_iterations-4_deconvolved.tif", "noisy_wiener_deconvolved.tif",
        "scores.json", "table.md",
    ]  # fmt: skip
    rows = by_title(out)
    found = {
        ("noisy", "noisy"): simulation.noisy,
        ("gaussian, sigma 1.2", "denoised"): ndi.gaussian_filter(simulation.noisy, 1.2, output=np.float32),
        ("median", "denoised"): ndi.median_filter(simulation.noisy, 3),
    }
    with load_model(package) as model:
        restored = model.predict(simulation.noisy)
        offset = removed_offset(model.description, simulation.noisy)
    assert offset == pytest.approx(100, abs=2)
    found["cell", "denoised"] = restored["denoised"] + offset
    for key, image in found.items():
        fitted = metrics.evaluate(image, simulation.clean)
        assert rows[key]["against"] == pytest.approx(
            {
                "snr": metrics.snr(image, simulation.clean), "psnr": metrics.psnr(image, simulation.clean),
                "psnr_fitted": fitted.psnr, "ssim": fitted.ssim, "nrmse": fitted.nrmse,
            }, rel=1e-4,
        ), key  # fmt: skip
    assert rows["cell", "deconvolved"]["against"]["psnr"] == pytest.approx(
        metrics.psnr(restored["deconvolved"], simulation.truth), rel=1e-4
    )
    for name, key, pixel in [("noisy_cell", ("cell", "denoised"), 1), ("noisy_median", ("median", "denoised"), 1)]:
        image = read_image(out / f"{name}.tif")
        np.testing.assert_allclose(image.data, found[key], rtol=1e-5)
        assert image.data.dtype == np.float32
        assert image.voxel.x_um == pytest.approx(simulation.pixel_size_um / pixel)
    lucy = read_image(out / "noisy_richardson-lucy_iterations-4_deconvolved.tif")
    assert lucy.data.shape == simulation.truth.shape
    assert lucy.voxel.x_um == pytest.approx(simulation.pixel_size_um / 2)
    facts = scores(out)
    assert facts["truth_range"]["denoised"] == pytest.approx(np.ptp(simulation.clean))
    assert facts["methods"][0] == facts["methods"][0] | {"what": "gaussian", "settings": {"sigma": "1.2"}}
    assert {"zsd", "numpy"} <= set(facts["versions"])
    assert facts["failed"] == {}
    for row in rows.values():
        if row["against"]:
            assert f"{row['against']['psnr']:.2f}" in (out / "table.md").read_text()
    assert f"{np.ptp(simulation.clean):.5g} counts for denoised" in (out / "table.md").read_text()
    assert (out / "table.md").read_text() in result.stdout


def test_without_a_truth_residuals_tell_noise_that_stayed_from_structure_that_went(scene, tmp_path):
    methods = "gaussian:sigma=0.4,nlm,gaussian:sigma=6"
    assert compared(scene, tmp_path / "out", "--methods", methods).returncode == 0
    rows = by_title(tmp_path / "out")
    assert all(row["against"] is None for row in rows.values())
    little, right, much = (
        rows[title, "denoised"]["residual"] for title in ("gaussian, sigma 0.4", "nlm", "gaussian, sigma 6")
    )
    assert little["deviation"] < 0.6
    assert right["deviation"] == pytest.approx(0.9, abs=0.12)
    assert abs(right["correlation_x"]) < 0.05
    assert much["correlation_x"] > 0.1
    assert much["deviation"] > 1.1
    assert "SNR" not in (tmp_path / "out" / "table.md").read_text()


def test_a_perfect_result_leaves_white_noise_of_deviation_one(simulation):
    from zsd_export.comparison.restoring import Result
    from zsd_export.comparison.scores import residual
    from zsd_export.comparison.subject import Subject
    from zsd_optics.noise import known_noise

    subject = Subject("a", Image(simulation.noisy, "YX"), known_noise(100, 1.5, 2), {})
    perfect = residual(Result("denoised", simulation.clean, deconvolved=False), subject, None)
    assert perfect.deviation == pytest.approx(1, abs=0.03)
    assert abs(perfect.correlation_y) < 0.03
    psf = simulation.psf.astype(np.float64)
    sharp = residual(Result("deconvolved", simulation.truth, deconvolved=True), subject, psf / psf.sum())
    assert sharp.deviation == pytest.approx(1, abs=0.06)
    assert residual(Result("deconvolved", simulation.truth, deconvolved=True), subject, None) is None


def test_a_training_is_compared_and_its_model_is_kept(scene, simulation, tmp_path):
    out = tmp_path / "out"
    options = (
        "--methods",
        "zsd:steps=3,noise2void:steps=2,blind-spot:steps=2",
        "--psf",
        scene / "psf.tif",
        "--minutes",
        9,
    )
    result = compared(scene, out, *options, "--seed", 1, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    ends = (".tif", ".zip", "_deconvolved.tif")
    made = {f"noisy_{name}{end}" for name in ("zsd_steps-3", "blind-spot_steps-2") for end in ends}
    assert set(files(out)) == made | {"noisy_noise2void_steps-2.tif", "noisy_noise2void_steps-2.zip"} | WRITTEN
    description = read_package(out / "noisy_zsd_steps-3.zip")
    with load_model(out / "noisy_zsd_steps-3.zip") as model:
        denoised = model.predict(simulation.noisy)["denoised"]
    written = read_image(out / "noisy_zsd_steps-3.tif").data
    np.testing.assert_allclose(written, denoised + description.camera.offset, atol=0.01)


def test_ctrl_c_in_a_training_leaves_nothing_half_written(scene, tmp_path, monkeypatch):
    def stopped(task, out, *_, **__):
        out.mkdir()
        raise Interrupted(f"{task.config.scheme.kind} stopped, saved in {out}")

    monkeypatch.setattr("zsd_train.options.Task.train", stopped)
    result = compared(scene, tmp_path, "--methods", "box,zsd,median", "--psf-sigma", 1)
    assert result.returncode == 1
    assert "interrupted; nothing was left half-written" in result.stderr
    assert files(tmp_path) == ["noisy_box.tif"]


def test_pixels_need_not_be_square(simulation, tmp_path):
    write_image(tmp_path / "wide.tif", Image(simulation.noisy, "YX", Voxel(None, 0.1, 0.2)))
    assert compared(tmp_path, tmp_path / "out", "--methods", "box,nlm", image="wide").returncode == 0
    voxel = read_image(tmp_path / "out" / "wide_box.tif").voxel
    assert (voxel.y_um, voxel.x_um) == pytest.approx((0.1, 0.2))


def test_a_method_that_fails_is_reported_and_the_others_run(scene, volume_package, tmp_path):
    out = tmp_path / "out"
    result = compared(scene, out, "--methods", f"median,{volume_package},box,{tmp_path}/none.zip")
    assert result.returncode == 2
    assert "2 of 4 methods failed" in result.stderr
    assert f"error: {volume_package}: " in result.stderr
    assert "single slice" in result.stderr
    assert set(files(out)) == {"noisy_median.tif", "noisy_box.tif"} | WRITTEN
    assert list(scores(out)["failed"]) == [str(volume_package), f"{tmp_path}/none.zip"]
    assert f"- {volume_package}: " in (out / "table.md").read_text()


def test_nothing_is_written_if_all_fail_or_something_breaks(scene, volume_package, tmp_path, monkeypatch):
    result = compared(scene, tmp_path / "out", "--methods", str(volume_package))
    assert result.returncode == 2
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("zsd_export.comparison.side_by_side.iio.imwrite", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compared(scene, tmp_path / "broken", "--methods", "box")
    assert not [name for name in files(tmp_path / "broken") if name.startswith(".") or name == "comparison.png"]


def test_one_plane_of_a_movie_and_of_its_truth(scene, simulation, tmp_path):
    options = ("--methods", "box", "--truth", scene / "movie.tif")
    result = compared(scene, tmp_path / "out", *options, "--frame", 1, image="movie")
    assert result.returncode == 0, result.stderr
    expected = ndi.uniform_filter(simulation.noisy, 3, output=np.float32)
    np.testing.assert_allclose(read_image(tmp_path / "out" / "movie_box.tif").data, expected)
    assert by_title(tmp_path / "out")["noisy", "noisy"]["against"]["psnr"] is None  # infinite


def test_a_truth_may_be_one_plane_of_a_movie_whose_axes_are_typed(scene, tmp_path):
    options = ("--methods", "box", "--truth", scene / "clean.tif", "--axes", "ZYX", "--frame", 1)
    result = compared(scene, tmp_path / "out", *options, image="movie")
    assert result.returncode == 0, result.stderr
    result = compared(scene, tmp_path / "other", *options[:4], "--channels", 1, image="colours")
    assert result.returncode == 0, result.stderr
    psnr = [by_title(tmp_path / name)["box", "denoised"]["against"]["psnr"] for name in ("out", "other")]
    assert psnr[0] == psnr[1]


def test_an_earlier_comparison_is_replaced_only_on_demand(scene, tmp_path):
    assert compared(scene, tmp_path, "--methods", "box").returncode == 0
    again = compared(scene, tmp_path, "--methods", "median")
    assert again.returncode == 2
    assert "already holds a comparison: choose another --out, or replace it with --overwrite" in again.stderr
    assert compared(scene, tmp_path, "--methods", "median", "--overwrite", "--quiet").returncode == 0
    assert [method["text"] for method in scores(tmp_path)["methods"]] == ["median"]
    assert set(files(tmp_path)) == {"noisy_median.tif"} | WRITTEN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "gausian"], "did you mean gaussian?"),
        (["--methods", "recorupt"], "did you mean recorrupt?"),
        (["--methods", "gaussian:sgima=2"], "gaussian has no setting sgima: did you mean sigma?"),
        (["--methods", "gaussian:sigma"], "sigma is no setting: write it as NAME=VALUE"),
        (["--methods", "nlm:strength=much"], "strength much must be a number"),
        (["--methods", "richardson-lucy:iterations=1.5", "--psf-sigma", 1], "iterations 1.5 must be a whole number"),
        (["--methods", "richardson-lucy:na=1.4"], "na holds for all methods: give it as --na"),
        (["--methods", "zsd:stpes=3", "--psf-sigma", 1], "zsd has no setting stpes: did you mean steps?"),
        (["--methods", "box,box"], "has two that would both be called box"),
        (["--methods", ","], "--methods is empty"),
        (["--methods", "wiener"], "wiener needs a PSF, and none is given: give one of --psf FILE"),
        (["--methods", "box", "--wavelength", 520], "the PSF is given by nothing"),
        (["--methods", "box", "--truth", "{scene}/truth.tif"], "the truth is 256x320 and the image 128x160"),
        (["--methods", "box", "--truth", "{scene}/none.tif"], "does not exist"),
        (["--methods", "box", "--truth-deconvolved", "{scene}/psf.tif"], "the deconvolved truth is"),
        (["--methods", "box", "--detail", "1,2"], "--detail 1,2 must be Y,X,SIZE"),
        (["--methods", "box", "--detail", "100,100,64"], "inside the image of 128x160"),
        (["--methods", "box", "--gain", 2], "--gain is given without --offset and --read-noise"),
        (["--methods", "box", "--frame", 1], "--frame 1 must be 0 to 0"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(options, message, scene, tmp_path):
    result = compared(scene, tmp_path / "out", *(str(option).replace("{scene}", str(scene)) for option in options))
    assert result.returncode == 2, result.stdout
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (
            "movie",
            (),
            "has 3 planes (axes TYX), and planes are compared one at a time: choose one with --frame, 0",
        ),
        ("movie", ("--frame", 3), "--frame 3 must be 0 to 2"),
        ("colours", (), "has 2 channels"),
        ("colours", ("--channels", "all"), "--channels all are several"),
    ],
)
def test_planes_and_channels_are_chosen(image, options, message, scene, tmp_path):
    result = compared(scene, tmp_path / "out", *options, "--methods", "box", image=image)
    assert result.returncode == 2
    assert message in result.stderr


def test_default_methods_and_names():
    assert [method.what for method in methods_from(None, psf_given=False)] == ["box", "gaussian", "median", "nlm"]
    assert [method.what for method in methods_from(None, psf_given=True)][4:] == ["richardson-lucy", "wiener", "zsd"]
    for scheme in scheme_names():
        (method,) = methods_from([scheme], psf_given=True)
        assert (method.kind, method.needs_psf) == ("training", scheme != "noise2void")
    assert not methods_from(["blind-spot:blur=none"], psf_given=False)[0].needs_psf
    (method,) = methods_from(["gaussian:sigma-um=0.3x0.1"], psf_given=False)
    assert (method.name, method.title) == ("gaussian_sigma_um-0.3x0.1", "gaussian, sigma um 0.3x0.1")
    (method,) = methods_from(["some/model.zip:average=4"], psf_given=False)
    assert (method.kind, method.what, method.settings) == ("package", "some/model.zip", {"average": 4})
    (method,) = methods_from([r"C:\models\cell.zip"], psf_given=False)
    assert (method.kind, method.what) == ("package", r"C:\models\cell.zip")


def test_methods_may_be_repeated_and_paths_may_hold_commas(tmp_path):
    path = tmp_path / "a,b.zip"
    path.touch()
    methods = methods_from([str(path), "box,nlm"], psf_given=False)
    assert [method.what for method in methods] == [str(path), "box", "nlm"]


def test_results_on_other_grids_are_interpolated_or_averaged():
    image = RNG.random((8, 10))
    assert on_grid(image, (8, 10)) is image
    np.testing.assert_allclose(on_grid(image.repeat(2, 0).repeat(2, 1), (8, 10)), image)
    ramp = np.arange(10.0)[None].repeat(8, 0)
    fine = on_grid(ramp, (16, 20))
    np.testing.assert_allclose(fine[:, 2:-2], (np.arange(20) / 2 - 0.25)[None, 2:-2].repeat(16, 0))


def test_imaged_is_blurred_and_binned():
    truth, psf = RNG.random((24, 32)), gaussian_psf(1.0)
    blurred = ndi.convolve(truth, psf, mode="reflect")
    expected = blurred.reshape(12, 2, 16, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(imaged(truth, psf, 2), expected, atol=1e-12)


def test_a_detail_is_where_bright_structure_is():
    image = np.full((200, 220), 1000.0)
    image[:100] = 1100  # haze is brighter than dark; the filament has more structure
    image[150:153, 120:200] += 5000
    detail = detail_from(None, image)
    assert detail.side == 96
    assert detail.y <= 150
    assert detail.y + 96 >= 153
    assert detail.x <= 120 or detail.x + 96 >= 200
    assert detail_from("3,4,50", image) == type(detail)(3, 4, 50)


def test_panels_are_equal_and_have_one_scale_of_grey_levels():
    raw = RNG.random((64, 64))
    panels = [Panel(raw, "noisy"), Panel(raw, "truth"), Panel(raw.repeat(2, 0).repeat(2, 1), "x" * 80, "y" * 80)]
    drawn = picture([("denoised", panels)], raw, detail_from("0,0,48", raw), None)
    assert drawn.dtype == np.uint8
    side = (drawn.shape[1] - 2 * MARGIN - 2 * GAP) // 3
    top = next(y for y in range(60, 200) if drawn[y, MARGIN + side - 1].tolist() != [255] * 3) - 1
    parts = [drawn[top : top + side, MARGIN + n * (side + GAP) :][:, :side] for n in range(3)]
    np.testing.assert_array_equal(parts[0], parts[1])
    np.testing.assert_array_equal(parts[0], parts[2])
    assert (drawn[:, -MARGIN:] == 255).all()  # long names are cut, not the picture
    assert (drawn[:, MARGIN + side : MARGIN + side + GAP] == 255).all()


def test_the_picture_is_a_whole_png_with_the_typed_detail(scene, tmp_path):
    assert compared(scene, tmp_path, "--methods", "box", "--detail", "10,20,64").returncode == 0
    drawn = iio.imread(tmp_path / "comparison.png")
    assert drawn.shape[1] == 2 * MARGIN + 2 * 384 + GAP
