"""A PSF can be described in three ways, saved, and made again."""

import json
from pathlib import Path

import numpy as np
import pytest

from zsd_optics.optics import Optics
from zsd_optics.psf import fwhm_px, gaussian_psf, prepare_psf
from zsd_optics.psf_options import psf_sources_of
from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfOptics, psf_source_from_dict
from zsd_runtime import InputError
from zsd_runtime.images import Image, Voxel, write_image

RAW = Voxel.square(0.08, 0.3)
DEEP = Optics(1.1, 525, 1.33).psf((41, 65, 65), (0.15, 0.05))


@pytest.fixture
def files(tmp_path):
    write_image(tmp_path / "deep.tif", Image(DEEP.astype(np.float32), "ZYX", Voxel.square(0.05, 0.15)))
    write_image(tmp_path / "bare.tif", Image(DEEP[1:].astype(np.float32), "ZYX"))
    return tmp_path


def test_files_are_brought_to_the_deconvolved_grid(files):
    deep = DEEP.astype(np.float32)
    volume = PsfFile(files / "deep.tif").kernel("zyx", RAW, 2)
    np.testing.assert_array_equal(volume, prepare_psf(deep, (0.15, 0.05), (0.3, 0.04)))
    plane = PsfFile(files / "deep.tif").kernel("yx", RAW, 1)
    np.testing.assert_array_equal(plane, prepare_psf(deep, (0.05,), (0.08,)))
    bare = PsfFile(files / "bare.tif", 0.05, 0.15, centre=True).kernel("zyx", RAW, 2)
    np.testing.assert_array_equal(bare, prepare_psf(deep[1:], (0.15, 0.05), (0.3, 0.04), centre=True))


@pytest.mark.parametrize(("axes", "shape"), [("yx", (65, 65)), ("zyx", (15, 65, 65))])
def test_theory_reaches_2_um_along_z(axes, shape):
    fine = (0.3, 0.04)[-len(axes) + 1 :]
    expected = prepare_psf(Optics(1.1, 525, 1.33).psf(shape, fine), fine, fine)
    np.testing.assert_array_equal(PsfOptics(1.1, 525, 1.33).kernel(axes, RAW, 2), expected)


def test_theory_reaches_further_where_the_axis_is_bright():
    psf = PsfOptics(0.3, 525, 1.0).kernel("zyx", Voxel.square(0.6, 2.0), 2)
    fwhm = fwhm_px(psf) * (2.0, 0.3, 0.3)
    assert fwhm == pytest.approx(
        (0.88 * 0.525 / (1 - np.sqrt(1 - 0.09)), 0.51 * 0.525 / 0.3, 0.51 * 0.525 / 0.3), rel=0.06
    )


def test_a_gaussian_is_given_in_raw_pixels_and_needs_no_voxel_size():
    np.testing.assert_array_equal(PsfGaussian((1.2,)).kernel("yx", Voxel(), 2), gaussian_psf(2.4))
    np.testing.assert_array_equal(PsfGaussian((1.5, 1.2)).kernel("zyx", Voxel(), 2), gaussian_psf(1.5, 2.4))


SOURCES = [
    PsfOptics(1.1, 525),
    PsfGaussian((1.2,)),
    PsfGaussian((1.5, 1.1)),
    PsfFile(Path("psf.tif"), None, 0.3, centre=True, sha256="abc"),
]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_saved_is_read_again(source):
    saved = source.to_dict()
    assert None not in saved.values()  # TOML has no null
    assert psf_source_from_dict(json.loads(json.dumps(saved))) == source


def test_a_file_is_saved_with_its_hash(files):
    saved = PsfFile(files / "deep.tif").to_dict()
    assert saved["kind"] == "file"
    assert len(saved["sha256"]) == 64
    assert saved["sha256"] != PsfFile(files / "bare.tif").to_dict()["sha256"]
    again = psf_source_from_dict(saved).kernel("yx", RAW, 2)
    np.testing.assert_array_equal(again, PsfFile(files / "deep.tif").kernel("yx", RAW, 2))


def test_options_become_a_source(files):
    assert psf_sources_of(psf=[files / "deep.tif"], centre_psf=True) == [PsfFile(files / "deep.tif", centre=True)]
    assert psf_sources_of(psf_sigma="1.5X1.1") == [PsfGaussian((1.5, 1.1))]
    assert psf_sources_of(na=1.1, wavelength=525, refractive_index=1.33) == [PsfOptics(1.1, 525, 1.33)]


BAD = {
    "nothing": (lambda: psf_sources_of(), "by nothing: give one of `psf` FILE"),
    "two": (lambda: psf_sources_of(psf_sigma="1", na=1.1), "by `psf_sigma` and `na`"),
    "wavelength": (lambda: psf_sources_of(na=1.1), "add `wavelength`"),
    "no number": (lambda: psf_sources_of(psf_sigma="wide"), "`psf_sigma` wide must be a number.* or two"),
    "one sigma": (lambda: PsfGaussian((1.2,)).kernel("zyx", RAW, 2), "`psf_sigma` 1.2 must be two"),
    "two sigmas": (lambda: PsfGaussian((1.2, 1)).kernel("yx", RAW, 2), "`psf_sigma` 1.2x1 must be one number"),
    "pixel size": (lambda: PsfOptics(1.1, 525).kernel("yx", Voxel(), 2), "give it with `pixel_size`"),
    "z step": (lambda: PsfOptics(1.1, 525).kernel("zyx", Voxel.square(0.1), 2), "give it with `z_step`"),
    "kind": (lambda: psf_source_from_dict({"kind": "guess"}), "'guess' is unknown"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_descriptions_are_refused(name):
    make, message = BAD[name]
    with pytest.raises(InputError, match=message):
        make()


def test_a_file_must_say_its_voxel_size(files):
    with pytest.raises(InputError, match=r"bare.tif does not say its pixel size: give it with `psf_pixel_size`"):
        PsfFile(files / "bare.tif").kernel("yx", RAW, 2)
    with pytest.raises(InputError, match=r"does not say its z step: give it with `psf_z_step`"):
        PsfFile(files / "bare.tif", 0.05).kernel("zyx", RAW, 2)
