"""`zsd psf` as people see it: the files that it writes, the last line, what is wrong in one line."""

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from tests.command import zsd
from tests.test_beads import GOOD, field
from tests.test_otf import OPTICS, radial_otf, steps_of, write_mrc
from zsd_optics.psf import prepare_psf
from zsd_runtime.images import Image, Voxel, read_image, write_image

WATER = ("--na", 1.1, "--wavelength", 525, "--refractive-index", 1.33)


def zsd_psf(*arguments):
    return zsd("psf", *arguments)


def generate(path, *options):
    result = zsd_psf("generate", path, *WATER, "--pixel-size", 0.05, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_help_knows_the_verbs():
    text = zsd_psf("--help").stdout
    assert all(verb in text for verb in ("generate", "from-otf", "from-beads", "show"))
    for verb in ("generate", "from-otf", "from-beads", "show"):
        assert "Usage: " in zsd_psf(verb, "--help").stdout


def test_generated_files_say_their_voxels_and_are_ready_for_use(tmp_path):
    assert generate(tmp_path / "flat.tif").startswith("OK 65x65, FWHM Y 2")
    flat = read_image(tmp_path / "flat.tif")
    assert (flat.axes, flat.data.shape, flat.voxel.z_um) == ("YX", (65, 65), None)
    options = ("--z-step", 0.15, "--size", "21x33x33", "--kind", "light-sheet", "--sheet-thickness", 1)
    assert "FWHM Z 6" in generate(tmp_path / "deep.tif", *options)
    deep = read_image(tmp_path / "deep.tif")
    assert (deep.axes, deep.data.shape) == ("ZYX", (21, 33, 33))
    assert deep.data.sum() == pytest.approx(1)
    assert (deep.voxel.z_um, deep.voxel.y_um, deep.voxel.x_um) == pytest.approx((0.15, 0.05, 0.05))
    assert prepare_psf(deep.data, (0.15, 0.05), (0.3, 0.05)).ndim == 3


def test_from_otf(tmp_path):
    psf = OPTICS.psf((65, 65), (0.05,))
    otf = write_mrc(tmp_path / "otf.mrc", radial_otf(psf)[None], steps_of(psf, (0.05,)), ">")
    result = zsd_psf("from-otf", otf, tmp_path / "psf.tif", "--pixel-size", 0.04)
    assert result.returncode == 0, result.stderr
    image = read_image(tmp_path / "psf.tif")
    assert (image.voxel.y_um, image.voxel.x_um) == pytest.approx((0.04, 0.04))
    assert np.unravel_index(image.data.argmax(), image.data.shape) == tuple(n // 2 for n in image.data.shape)


def test_from_beads_and_a_picture(tmp_path):
    write_image(tmp_path / "beads.tif", Image(field(GOOD), "ZYX", Voxel(0.2, 0.06, 0.06)))
    result = zsd_psf("from-beads", tmp_path / "beads.tif", tmp_path / "psf.tif", "--bead-size", 100)
    assert result.returncode == 0, result.stderr
    average, note, last = result.stdout.splitlines()
    assert average.startswith("4 beads averaged, rejected: 0 too near")
    assert "which is little" in note
    assert last.startswith("OK ")
    assert zsd_psf("from-beads", tmp_path / "beads.tif", tmp_path / "psf.tif", "--quiet").stdout.count("\n") == 1
    shown = zsd_psf("show", tmp_path / "psf.tif", tmp_path / "psf.png")
    assert shown.stdout.splitlines()[-1].split(";")[0][3:] in last
    picture = iio.imread(tmp_path / "psf.png")
    assert picture.shape[2] == 3
    assert picture.std() > 20


def test_a_flat_psf_has_a_smaller_picture(tmp_path):
    generate(tmp_path / "flat.tif")
    generate(tmp_path / "deep.tif", "--z-step", 0.15)
    for name in ("flat", "deep"):
        assert zsd_psf("show", tmp_path / f"{name}.tif", tmp_path / f"{name}.png").returncode == 0
    assert iio.imread(tmp_path / "flat.png").shape[1] < iio.imread(tmp_path / "deep.png").shape[1]


def test_show_says_what_is_wrong(tmp_path):
    x = np.arange(-20, 21)
    bead = np.exp(-0.5 * (x[:, None] ** 2 + x**2) / 9)
    two = bead + 0.5 * np.roll(bead, (12, -13), (0, 1))
    voxel = Voxel(None, 0.0313, 0.0313)
    write_image(tmp_path / "one.tif", Image(bead.astype(np.float32), "YX", voxel))
    write_image(tmp_path / "two.tif", Image(two.astype(np.float32), "YX", voxel))
    write_image(tmp_path / "even.tif", Image(bead[1:, 1:].astype(np.float32), "YX", voxel))

    def shown(name, *options):
        result = zsd_psf("show", tmp_path / f"{name}.tif", tmp_path / f"{name}.png", *options)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    width, last = shown("one")
    assert width == "as wide as a widefield PSF of NA 1.2 at 525 nm"
    assert last.startswith("OK FWHM Y 222 nm, X 222 nm; /")
    fault, _, last = shown("two")
    assert fault.startswith("refused: two.tif has a second peak of 50 % of the first at y 32, x 7")
    assert "; 1 fault; " in last
    assert "refused: even.tif is 40x40" in shown("even")[0]
    assert "--centre-psf" in shown("even")[0]
    assert "NA 0.5 makes" in shown("one", "--na", 0.5, "--wavelength", 525)[0]
    assert len(shown("two", "--quiet")) == 1
    marked, plain = iio.imread(tmp_path / "two.png"), iio.imread(tmp_path / "one.png")
    assert marked.shape[0] > plain.shape[0]
    assert (marked[..., 0] > marked[..., 1] + 100)[88:408, 56:376].any()  # a circle in XY


def test_a_psf_with_too_few_slices_is_made_with_a_warning(tmp_path):
    options = ("--na", 0.3, "--wavelength", 525, "--pixel-size", 0.2, "--z-step", 0.5, "--size", "11x65x65")
    result = zsd_psf("generate", tmp_path / "psf.tif", *options, "--refractive-index", 1)
    assert result.returncode == 0
    assert "warning: the PSF is cut off in Z" in result.stderr
    quiet = zsd_psf("generate", tmp_path / "psf.tif", *options, "--refractive-index", 1, "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")


def _bad(folder):
    plain, flat, oblong, full = (folder / f"{name}.tif" for name in ("plain", "flat", "oblong", "full"))
    tifffile.imwrite(plain, np.ones((5, 9, 9), np.float32), imagej=True, metadata={"axes": "ZYX"})
    write_image(flat, Image(np.ones((9, 9), np.float32), "YX", Voxel(None, 0.1, 0.1)))
    write_image(oblong, Image(np.ones((9, 9), np.float32), "YX", Voxel(None, 0.1, 0.2)))
    write_image(full, Image(np.ones((2, 5, 9, 9), np.float32), "CZYX", Voxel(0.2, 0.1, 0.1)))
    out = folder / "never.tif"
    make = ("generate", out, *WATER)
    return {
        "coarse": ((*make, "--pixel-size", 0.2), "coarser than Nyquist's λ/(4 NA) = 0.1193 µm"),
        "model": ((*make, "--pixel-size", 0.05, "--model", "gaussian"), "scalar or vectorial"),
        "size": ((*make, "--pixel-size", 0.05, "--size", "64x64"), "must be odd"),
        "no pixel size": (("show", plain, out), "does not say its pixel size: give it with --pixel-size"),
        "no z step": (
            ("from-beads", plain, out, "--pixel-size", 0.1),
            "does not say its z step: give it with --z-step",
        ),
        "oblong": (("show", oblong, out), "0.1 x 0.2 µm"),
        "channels": (("show", full, out), "axes CZYX"),
        "constant": (("show", flat, out), "is constant"),
        "half an objective": (("show", flat, out, "--na", 1.1), "--na and --wavelength belong together"),
        "no beads": (("from-beads", flat, out), "no usable bead"),
        "no file": (("from-otf", folder / "none.mrc", out), "does not exist"),
        "not mrc": (("from-otf", flat, out), "is not MRC"),
    }


def test_bad_input_is_one_line_exit_2_and_nothing_written(tmp_path):
    for name, (arguments, message) in _bad(tmp_path).items():
        result = zsd_psf(*arguments)
        assert result.returncode == 2, (name, result.stderr)
        assert message in result.stderr, (name, result.stderr)
        assert result.stderr.startswith("error: "), name
        assert not (tmp_path / "never.tif").exists(), name
