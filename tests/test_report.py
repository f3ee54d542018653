"""`zsd report`: facts, lights, the page, its numbers, and what is refused."""

import json
import re
import shutil
import sys
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from tests.browser import CHROMIUM, browser
from tests.command import zsd
from zsd_export.export import export
from zsd_export.report import Report, judge
from zsd_export.report.checks import CHECKS
from zsd_export.report.curves import svg, ticks
from zsd_export.report.drawing import bar_uri, painted_in, scale_bar
from zsd_export.report.judging import judged, sided
from zsd_export.report.lights import THRESHOLDS, WORDS, Light, Threshold, gravest
from zsd_export.report.origin import course
from zsd_export.report.page import html
from zsd_export.report.parts import Curve, Plot, Scale, Section
from zsd_export.report.report import check_no_raw_sim
from zsd_export.report.subject import middle_part, subject_of, with_truths
from zsd_export.report.uncertainty import Judged, over_gaussian
from zsd_optics.psf import gaussian_psf
from zsd_optics.psf_source import PsfGaussian
from zsd_optics.split_checks import SplitChecks
from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.images.image import Channel, Description

FIXTURES = Path(__file__).parent / "fixtures" / "schema-1"
PLANE, RUN = FIXTURES / "plane.zip", FIXTURES / "plane-run"
GREEN, YELLOW, RED, GREY = Light.GREEN, Light.YELLOW, Light.RED, Light.GREY
NOTHING = Judged(why_not="The photons were not split.")  # which takes 13 restorations
SECTIONS = (
    "fit", "pictures", "resolution", "error_map", "uncertainty", "residual", "linearity", "noise", "psf", "halo",
    "training", "pixels", "truth", "checklist", "versions",
)  # fmt: skip


def counts() -> np.ndarray:
    return tifffile.imread(FIXTURES / "plane.tif")


@pytest.fixture(scope="module")
def report() -> Report:
    """A network that was trained for 20 steps, on its own image, with everything that can be known."""
    image = FIXTURES / "plane.tif"
    truth = tifffile.imread(image).astype(np.float64)  # no truth, but on the right grid
    fine = truth.repeat(2, 0).repeat(2, 1) - 100
    return judge(PLANE, image, truth=truth, truth_deconvolved=fine, run=RUN, uncertainty=2, command="zsd report …")


@pytest.fixture(scope="module")
def bare() -> Report:
    """The package alone, without a PSF and a truth."""
    return judge(PLANE, FIXTURES / "plane.tif", uncertainty=0)


# ---- lights


@pytest.mark.parametrize(
    ("threshold", "value", "light"),
    [
        (Threshold(1, 2), 1.0, GREEN),
        (Threshold(1, 2), 1.5, YELLOW),
        (Threshold(1, 2), 2.5, RED),
        (Threshold(1, 2), float("inf"), RED),
        (Threshold(1, 2), None, GREY),
        (Threshold(1, 2), float("nan"), GREY),
        (Threshold(0, -1, "below"), 0.0, GREEN),
        (Threshold(0, -1, "below"), -0.5, YELLOW),
        (Threshold(0, -1, "below"), -1.5, RED),
        (Threshold(0.05, 0.2, "beside", 1.0), 0.96, GREEN),
        (Threshold(0.05, 0.2, "beside", 1.0), 1.1, YELLOW),
        (Threshold(0.05, 0.2, "beside", 1.0), 0.7, RED),
        (Threshold(0, 0), 1.0, RED),
        (Threshold(0, float("inf")), 9.0, YELLOW),
    ],
)
def test_a_threshold_makes_a_light(threshold, value, light):
    assert threshold.light(value) == light
    assert "green" in threshold.text("counts")


def values_of(threshold: Threshold) -> dict[Light, float]:
    """A value for every state that a threshold has."""
    if threshold.bad == "beside":
        found = {GREEN: threshold.centre, YELLOW: threshold.centre + (threshold.yellow + threshold.red) / 2,
                 RED: threshold.centre - 2 * threshold.red}  # fmt: skip
    elif threshold.bad == "below":
        found = {GREEN: threshold.yellow + 1, YELLOW: (threshold.yellow + threshold.red) / 2, RED: threshold.red - 1}
    elif np.isinf(threshold.red):
        found = {GREEN: threshold.yellow, YELLOW: threshold.yellow + 1}
    else:
        found = {GREEN: threshold.yellow, YELLOW: (threshold.yellow + threshold.red) / 2, RED: threshold.red + 1}
    if threshold.yellow == threshold.red:
        del found[YELLOW]
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_a_sentence_for_each_state(name):
    check, threshold = CHECKS[name], THRESHOLDS[name]
    for light, value in values_of(threshold).items():
        finding = judged(name, value)
        assert finding.light == light
        assert finding.sentence == {GREEN: check.green, YELLOW: check.yellow, RED: check.red or check.yellow}[light]
        assert bool(finding.remedy) == (light != GREEN)
        assert finding.shown
        assert finding.reading.endswith(".")
    unknown = judged(name, None, why_not="Nobody knows.")
    assert (unknown.light, unknown.sentence, unknown.value, unknown.remedy) == (GREY, "Nobody knows.", None, "")


def test_every_check_has_thresholds_and_the_gravest_light_counts():
    assert set(CHECKS) == set(THRESHOLDS)
    assert set(WORDS) == set(Light)
    assert gravest([GREEN, GREY]) == GREEN
    assert gravest([GREEN, YELLOW, GREY]) == YELLOW
    assert gravest([YELLOW, RED]) == RED
    assert gravest([]) == GREY


# ---- facts


def test_all_sections_are_there_with_a_light_or_none(report):
    assert tuple(section.name for section in report.sections) == SECTIONS
    assert {s.name for s in report.sections if s.light is None} == {"pictures", "checklist", "versions"}
    assert all(f.name in CHECKS for section in report.sections for f in section.findings)
    assert report.made_for_another == ()
    known = {"fit", "error_map", "residual", "linearity", "psf", "training", "truth"}
    assert known <= {name for name, light in report.lights.items() if light != GREY}


def numbers(section: Section) -> dict:
    return {number.name: number.value for number in section.numbers}


def test_facts_are_those_of_the_image_and_the_run(report):
    training = numbers(report["training"])
    assert training["stopped"] == "budget spent at step 20; kept step 20"
    assert training["steps"] == 20
    assert numbers(report["fit"])["trained_on_this_image"] == "this image"
    assert numbers(report["pixels"])["highest"] == counts().max()
    assert numbers(report["versions"])["command"] == "zsd report …"
    assert numbers(report["noise"])["gain"] == pytest.approx(1.96, rel=0.05)
    assert report.facts["part"] == [[0, 112], [0, 120]]
    assert numbers(report["truth"])["psnr_raw"] > 200  # the truth is the image itself
    assert [item.text for item in report["checklist"].items if not item.known]
    assert any("sha256" in item.known for item in report["checklist"].items)


def test_what_is_missing_is_grey_and_says_how_to_give_it(bare):
    for name in ("psf", "truth", "training"):
        assert bare.lights[name] == GREY, name
    assert "--psf" in bare["psf"].missing
    assert "--truth" in bare["truth"].missing
    assert bare["error_map"].notes[0].startswith("The denoised image is compared")
    assert "--run" in bare["training"].findings[0].sentence


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A package of today: it says what camera its model was trained with."""
    return export(RUN, tmp_path_factory.mktemp("exported") / "plane.zip")


def test_a_run_is_exported_and_forgotten(exported, tmp_path, monkeypatch):
    made = []

    def again(run: Path, package: Path) -> Path:
        made.append(run)
        with zipfile.ZipFile(exported) as packed:
            packed.extractall(package)
        return package

    monkeypatch.setattr(sys.modules["zsd_export.export"], "export", again)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = judge(RUN, counts(), voxel=Voxel.square(0.08), uncertainty=0)
    assert found.lights["psf"] != GREY
    assert made == [RUN]
    assert list(tmp_path.iterdir()) == []


def spoiled(kind: str) -> np.ndarray:
    image = counts().astype(np.float64)
    match kind:
        case "background subtracted":
            return np.clip(image - image.min() - 4, 0, None).astype(np.uint16)
        case "gain of 4":
            return ((image - 100) * 4 + 100).astype(np.uint16)
        case "8 bit":
            return (image / image.max() * 255).astype(np.uint8)
        case "padding":
            image[:, :40] = 0
        case "saturated":
            return np.minimum(image, np.percentile(image, 97)).astype(np.uint16)
        case "smoothed":
            import scipy.ndimage as ndi

            return ndi.gaussian_filter(image, 1.0).astype(np.float32)
    return image.astype(np.uint16)


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        ("background subtracted", "fit"),
        ("gain of 4", "fit"),
        ("8 bit", "fit"),
        ("padding", "pixels"),
        ("saturated", "pixels"),
        ("gain of 4", "noise"),
        ("smoothed", "noise"),
    ],
)
def test_a_spoiled_image_turns_the_right_light(exported, kind, section, monkeypatch):
    monkeypatch.setattr("zsd_export.report.report.by_unseen_photons", lambda case: NOTHING)
    found = judge(exported, spoiled(kind), uncertainty=0)
    assert found.lights[section] in (YELLOW, RED), [f.sentence for f in found[section].findings]


def test_the_image_of_the_training_is_no_mismatch(exported, monkeypatch):
    monkeypatch.setattr("zsd_export.report.report.by_unseen_photons", lambda case: NOTHING)
    found = judge(exported, FIXTURES / "plane.tif", uncertainty=2, truth=FIXTURES / "plane.tif")
    assert 0 < numbers(found["truth"])["coverage_denoised"] < 100
    assert {"uncertainty_denoised", "uncertainty_deconvolved"} <= {p.name for p in found["pictures"].pictures}
    assert numbers(found["uncertainty"])["uncertainty_denoised_counts"] > 0
    assert (found.lights["fit"], found.lights["pixels"]) == (GREEN, GREEN)
    assert {f.name: f.light for f in found["noise"].findings}["gain_ratio"] == GREEN
    (other,) = judge(exported, FIXTURES / "plane.tif", voxel=Voxel.square(0.16), uncertainty=0).made_for_another
    assert other.name == "pixel_size"


def test_another_psf_than_the_training_s_and_one_that_is_too_wide(report):
    wide = judge(PLANE, counts(), psf=PsfGaussian((4.0,)), run=RUN, voxel=Voxel.square(0.08), uncertainty=0)
    checks = {f.name: f for f in wide["psf"].findings}
    assert checks["psf_other"].light == YELLOW
    assert checks["psf_transfer"].light == RED
    assert {f.name: f for f in report["psf"].findings}["psf_other"].light == GREEN


def checks_of(error: float, filtered: float, doubt: float = 0.0) -> SplitChecks:
    return SplitChecks(error, doubt, filtered, (1.0, 1.0), 10.0, {}, {})


@pytest.mark.parametrize(
    ("checks", "ratio"),
    [
        (checks_of(0.25, 1.0), 0.5),
        (checks_of(-0.1, 1.0), 0.0),
        (checks_of(4.0, 1.0), 2.0),
        (checks_of(4.0, 1.0, 2.0), 2**0.5),  # both may be larger by the doubt
        (checks_of(0.25, 1.0, 2.0), 0.5),
        (checks_of(-0.2, -0.3, 0.1), None),
    ],
)
def test_a_network_against_a_filter(checks, ratio):
    assert over_gaussian(checks) == (None if ratio is None else pytest.approx(ratio))


def test_a_residual_says_on_which_side_it_is():
    assert sided("residual_deviation", 1.3, "above", "below").sentence.endswith("above")
    assert sided("residual_deviation", 0.7, "above", "below").sentence.endswith("below")
    assert "above" not in sided("residual_deviation", 1.01, "above", "below").sentence


@pytest.mark.parametrize(("pixel_size", "refused"), [(0.08, True), (None, True), (0.04, False)])
def test_raw_frames_of_structured_illumination_are_refused(pixel_size, refused):
    sim = SimpleNamespace(parameters=SimpleNamespace(pixel_size_um=0.08), fine_voxel_um=(0.04,))
    model = SimpleNamespace(description=SimpleNamespace(sim=sim))
    subject = SimpleNamespace(name="raw.tif", voxel=Voxel.square(pixel_size))
    with pytest.raises(InputError, match="raw SIM frames") if refused else nullcontext():
        check_no_raw_sim(model, subject)


def test_the_course_of_a_training():
    steps = np.arange(1.0, 21)
    falling = {"step": steps, "held_out_error": 2 - 0.05 * steps, "best_held_out_error": 2 - 0.05 * steps}
    level = {"step": steps, "held_out_error": np.full(20, 1.0), "best_held_out_error": np.full(20, 1.0)}
    overdone = {
        "step": steps,
        "held_out_error": np.concatenate([np.full(10, 1.0), np.full(10, 1.5)]),
        "best_held_out_error": np.full(20, 1.5),
    }
    assert course(falling)[0] == pytest.approx(25)
    assert course(level) == (0.0, 1.0)
    assert course(overdone)[1] == 1.5
    assert course({}) == (None, None)
    assert course({"step": steps, "held_out_error": np.full(20, np.nan)}) == (None, None)


def test_large_images_are_looked_at_in_their_middle():
    assert middle_part((2048, 600)) == (slice(512, 1536), slice(0, 600))
    assert middle_part((100, 600, 64)) == (slice(34, 66), slice(172, 428), slice(0, 64))
    large = np.random.default_rng(0).poisson(100, (1200, 40)).astype(np.uint16)
    subject = subject_of(large, "YX")
    assert subject.cut
    assert "1024x40 of 1200x40" in subject.what
    subject = with_truths(subject, large, large.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(subject.truth, subject.counts)
    np.testing.assert_array_equal(subject.truth_deconvolved[::2, ::2], subject.counts)


def test_a_frame_and_a_channel_of_a_movie(tmp_path):
    data = np.random.default_rng(0).poisson(100, (3, 2, 40, 48)).astype(np.uint16)
    named = Description(channels=(Channel("GFP"), Channel("RFP")))
    write_image(path := tmp_path / "movie.ome.tif", Image(data, "TCYX", Voxel.square(0.1), description=named))
    subject = subject_of(path, "YX", frame=2, channels="RFP")
    np.testing.assert_array_equal(subject.counts, data[2, 1])
    assert (subject.number, subject.channel.name) == (2, "RFP")
    for given, said in (
        ({"channels": "GFP"}, "frame"),
        ({"frame": 1}, "channels"),
        ({"frame": 3, "channels": "0"}, "0 to 2"),
    ):
        with pytest.raises(InputError, match=said):
            subject_of(path, "YX", **given)


def test_a_volume_has_sections(monkeypatch):
    monkeypatch.setattr("zsd_export.report.report.by_unseen_photons", lambda case: NOTHING)
    volume = tifffile.imread(FIXTURES / "volume.tif")
    found = judge(
        FIXTURES / "volume.zip", Image(volume, "ZYX", Voxel.square(0.1, 0.3)), psf=gaussian_psf(1.2, 1.5), uncertainty=0
    )
    names = {picture.name for picture in found["pictures"].pictures}
    assert {"whole_raw", "whole_denoised", "xz_raw", "xz_deconvolved"} <= names
    shapes = {picture.name: picture.values.shape for picture in found["pictures"].pictures}
    assert shapes["xz_raw"] == (30, 64)  # slices are three times as thick as a pixel is wide
    assert {picture.name for picture in found["psf"].pictures} == {"psf_xy", "psf_xz"}
    assert html(found)


# ---- the page


class Checked(HTMLParser):
    """Counts tags, and keeps what a page must not have."""

    VOID = ("meta", "img", "br", "line", "circle", "path", "use", "polyline", "rect")

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.ids, self.links, self.images = [], [], set(), [], 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "img":
            self.images += 1
            if "alt" not in values or not values["src"].startswith("data:image/png;base64,"):
                self.faults.append(f"img {values.get('alt')}")
        if tag in ("script", "link", "iframe", "object"):
            self.faults.append(tag)
        for name in ("href", "src"):
            if name in values and not values[name].startswith(("#", "data:")):
                self.faults.append(values[name])
            elif values.get(name, "").startswith("#"):
                self.links.append(values[name][1:])
        if tag == "svg" and "aria-label" not in values and values.get("aria-hidden") != "true":
            self.faults.append("svg without a label")
        if "id" in values:
            if values["id"] in self.ids:
                self.faults.append(f"id {values['id']} twice")
            self.ids.add(values["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def test_the_page_is_valid_and_needs_nothing_from_elsewhere(report, bare):
    for each in (report, bare):
        page = html(each)
        checked = Checked()
        checked.feed(page)
        assert (checked.faults, checked.open) == ([], [])
        assert set(checked.links) <= checked.ids
        assert checked.images >= 2 * sum(len(section.pictures) for section in each.sections) > 0
        for address in re.findall(r"https?://[^\"' <)]+", page):
            assert address.startswith("http://www.w3.org"), address
        assert page.index('id="summary"') < page.index('id="pictures"') < page.index('id="resolution"')


def test_every_light_has_its_word_beside_it(report):
    page = html(report)
    for section in report.sections:
        for finding in section.findings:
            article = page[page.index(f'data-check="{finding.name}"') :].partition("</article>")[0]
            assert f'<span class="word {finding.light}">{WORDS[finding.light]}</span>' in article
            assert f"#light-{finding.light}" in article


def test_a_model_for_another_image_comes_first():
    dim = (counts() // 30).astype(np.uint16)
    found = judge(PLANE, Image(dim, "YX", Voxel.square(0.5)), uncertainty=0)
    page = html(found)
    assert found.made_for_another
    assert page.index('id="alarm"') < page.index('id="summary"') < page.index('id="fit"') < page.index('id="pictures"')
    assert found.as_json()["made_for_another_image"][0].startswith("The")


def test_text_of_files_cannot_become_html(bare):
    page = html(replace(bare, image="<script>alert(1)</script>.tif", notices=("<img src=x>",)))
    assert not any(text in page for text in ("<script", "<img src=x"))


def test_the_numbers_as_json(report, bare):
    for each in (report, bare):
        facts = json.loads(json.dumps(each.as_json(), allow_nan=False))
        assert facts["schema"] == 1
        assert set(facts["sections"]) == set(SECTIONS)
        assert facts["lights"] == {name: str(light) for name, light in each.lights.items()}
        for section in facts["sections"].values():
            for name, check in section["checks"].items():
                assert set(check) == {
                    "title", "value", "shown", "light", "sentence", "reading", "remedy", "yellow", "red", "bad",
                    "centre",
                }  # fmt: skip
                assert check["yellow"] == THRESHOLDS[name].yellow
                assert (check["value"] is None) == (check["light"] == "grey") or check["shown"].startswith("inf")
        assert sum(facts["counts"].values()) == sum(len(s["checks"]) for s in facts["sections"].values())
    assert report.as_json()["sections"]["noise"]["curves"]["noise_line"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_the_page_on_a_phone_and_on_a_wide_screen(report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html(report), "utf-8")
    with browser(tmp_path) as tab:
        for width in (360, 1280):
            tab.size(width, 800)
            tab.open(path.as_uri())
            assert tab.value("document.documentElement.scrollWidth") <= width
            rights = "[...document.querySelectorAll('main *')].map(e => e.getBoundingClientRect().right)"
            assert tab.value(f"Math.max(...{rights})") <= width + 1
            assert tab.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert tab.messages == []


# ---- drawing


def test_pictures_keep_their_scale():
    painted = painted_in(np.array([[-1.0, 0.0, 5.0, 10.0, np.nan]]), Scale(0, 10))
    assert painted.tolist() == [[0, 0, 128, 255, 128]]
    signed = painted_in(np.array([[-2.0, 0.0, 2.0]]), Scale(-2, 2, "", "signed"))
    assert signed[0, 0, 2] > signed[0, 0, 0]  # blue
    assert signed[0, 2, 0] > signed[0, 2, 2]  # red
    assert bar_uri(Scale(0, 1, "", "heat")).startswith("data:image/png;base64,")
    assert scale_bar(300, 0.1) == (100.0, "10 µm")
    assert scale_bar(30, 0.05) == (10.0, "500 nm")
    assert scale_bar(30, None) == (0.0, "")


def test_plots_stay_in_their_frame():
    x = np.linspace(0, 1, 1000)
    drawn = svg(
        Plot("p", "P <", "a & b", "x", "y", (Curve("a", x, 100 * x), Curve("b", x, np.full(1000, np.nan))), y_to=5)
    )
    assert [text in drawn for text in ("P &lt;", "a &amp; b", "nan")] == [True, True, False]
    heights = [float(y) for y in re.findall(r",([\d.]+)[ \"]", drawn)]
    assert min(heights) >= 14
    assert ticks(0, 1) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] or len(ticks(0, 1)) in range(4, 7)
    assert ticks(3, 3) == []


# ---- command line, bad input


def test_the_command_writes_page_and_numbers(tmp_path):
    out = tmp_path / "made" / "report.html"
    options = ("--uncertainty", "0", "--pixel-size", "0.08", "--psf-sigma", "1.2", "--out", out, "--quiet")
    done = zsd("report", PLANE, FIXTURES / "plane.tif", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"OK {out} says ")
    facts = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert facts["sections"]["versions"]["numbers"]["command"]["value"].startswith(f"zsd report {PLANE}")
    assert facts["sections"]["psf"]["numbers"]["origin"]["value"].startswith("a Gaussian")
    assert sorted(p.name for p in out.parent.iterdir()) == ["report.html", "report.json"]
    again = zsd("report", PLANE, FIXTURES / "plane.tif", "--out", out)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def shape_of(name: str, tmp_path: Path) -> Path:
    """A file that is no image for the model."""
    path = tmp_path / f"{name}.tif"
    made = {
        "stack": np.random.default_rng(0).poisson(50, (4, 64, 64)), "small": np.arange(400).reshape(20, 20),
        "constant": np.full((64, 64), 7), "other": np.random.default_rng(0).poisson(50, (64, 80)),
    }[name].astype(np.uint16)  # fmt: skip
    write_image(path, Image(made, "TYX" if made.ndim == 3 else "YX", Voxel.square(0.08)))
    return path


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image": "no.tif"}, "no.tif"),
        ({"image": "stack"}, "--frame"),
        ({"image": "small"}, "32x32"),
        ({"image": "constant"}, "constant"),
        ({"truth": "other"}, "the truth is 64x80 and the image 112x120"),
        ({"truth-deconvolved": "other"}, "finer by a whole number"),
        ({"frame": "4"}, "--frame 4 must be 0 to 0"),
        ({"package": "plane.tif"}, "plane.tif"),
        ({"package": "."}, "neither a run nor a package"),
        ({"out": "report.txt"}, "must end in .html"),
        ({"psf": "no.tif"}, "no.tif"),
        ({"psf-sigma": "1.2", "na": "1.4"}, "--psf-sigma"),
        ({"uncertainty": "1"}, "--uncertainty 1"),
        ({"run": "plane.zip"}, "not a run"),
        ({"axes": "ZZ"}, "ZZ"),
        ({"channels": "GFP"}, "GFP"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, given, says):
    values = {"package": str(PLANE), "image": str(FIXTURES / "plane.tif"), "out": "report.html", "uncertainty": "0"}
    values |= given
    for name in ("image", "truth", "truth-deconvolved"):
        if values.get(name) in ("stack", "small", "constant", "other"):
            values[name] = str(shape_of(values[name], tmp_path))
    for name in ("package", "run"):
        if name in given:
            values[name] = str(FIXTURES / values[name])
    (place := tmp_path / "out").mkdir()
    values["out"] = str(place / values["out"])
    options = [
        part for name, value in values.items() if name not in ("package", "image") for part in (f"--{name}", value)
    ]
    done = zsd("report", values["package"], values["image"], *options)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert says in line
    assert list(place.iterdir()) == []


def test_a_package_that_is_damaged(tmp_path):
    shutil.copy(PLANE, broken := tmp_path / "broken.zip")
    broken.write_bytes(broken.read_bytes()[:2000])
    with pytest.raises(InputError, match="broken"):
        judge(broken, counts())
