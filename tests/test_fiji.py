"""The plugin in a real ImageJ on a virtual screen: images out and in, what goes wrong, nothing hangs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from zsd_runtime import load_model
from zsd_runtime.fiji.install import COMMAND_FILE, install

IJ_JAR = Path(os.environ.get("IJ_JAR", "/usr/share/java/ij.jar"))
MISSING = [name for name in ("java", "Xvfb") if not shutil.which(name)]
MISSING += [] if IJ_JAR.exists() else [f"{IJ_JAR} (IJ_JAR=… says where ImageJ is)"]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: apt-get install imagej xvfb")

# Plugins of tests: `make fiji` compiles them, so that these tests need no JDK, as users need none.
HELPERS = Path(__file__).resolve().parent / "fixtures" / "imagej"
# Title, size, C, Z, T, voxel size, unit, frame interval, of every image; then what is shown black and white.
TELL = """
for (i = 1; i <= nImages; i++) {
    selectImage(i);
    getDimensions(w, h, c, z, t);
    getVoxelSize(x, y, d, unit);
    print(getTitle, w, h, c, z, t, x, y, d, unit, Stack.getFrameInterval());
}
getMinAndMax(low, high);
print(low, high);
"""


@pytest.fixture(scope="module")
def screen():
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1024x768x24"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    with os.fdopen(read) as display:
        yield f":{display.readline().strip()}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A folder that ImageJ takes for its own, with the plugin that is shipped."""
    folder = tmp_path_factory.mktemp("imagej")
    (folder / "plugins").mkdir()
    (folder / "macros").mkdir()
    install(folder)
    (folder / "plugins" / COMMAND_FILE).unlink(missing_ok=True)  # tests say themselves which command is called
    for helper in HELPERS.glob("*.class"):
        shutil.copy(helper, folder / "plugins")
    return folder


@pytest.fixture
def imagej(screen, plugins, tmp_path):
    """Start a macro, in which `{folder}` is tmp_path; in the end temporary files are to be gone."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def start(macro, *, batch=True, **values):
        for name, value in {"folder": tmp_path, **values}.items():
            macro = macro.replace(f"{{{name}}}", str(value))
        (tmp_path / "macro.ijm").write_text(macro)
        java = ["java", "-Xmx1g", f"-Duser.home={tmp_path}", f"-Djava.io.tmpdir={temporary}", "-cp", IJ_JAR]
        return subprocess.Popen(
            [*java, "ij.ImageJ", "-ijpath", plugins, "-batch" if batch else "-macro", tmp_path / "macro.ijm"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "DISPLAY": screen},
        )  # fmt: skip

    yield start
    assert list(temporary.iterdir()) == []


WARNING = "zsd: warning: "


def said(process, *, warnings=False):
    """What is in the log: what zsd warns of, or everything else."""
    output, errors = process.communicate(timeout=60)
    assert "Exception" not in output + errors, output + errors
    return [line for line in output.splitlines() if line.startswith(WARNING) == warnings]


PLANE = 'newImage("plane", "16-bit ramp", 64, 64, 1);\n'


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def zsd(tmp_path):
    return script(tmp_path / "zsd", f'exec "{sys.executable}" -c "import zsd; zsd.main()" "$@"')


def hyperstack(path, shape, axes, **metadata):
    """Counts of which every plane has its own mean; pixels of 0.125 µm, which a float holds exactly."""
    rng = np.random.default_rng(0)
    stack = np.stack([rng.poisson(30 + 20 * i, shape[-2:]) + 100 for i in range(int(np.prod(shape[:-2])))])
    stack = stack.reshape(shape).astype(np.uint16)
    tifffile.imwrite(path, stack, imagej=True, resolution=(8, 8), metadata={"axes": axes, "unit": "um", **metadata})
    return stack


def test_a_hyperstack_as_it_is_open(imagej, zsd, package, tmp_path):
    """With changes that were not saved, a ROI and colours of its own; the image stays as it was."""
    movie = hyperstack(tmp_path / "movie.tif", (3, 2, 61, 83), "TCYX", finterval=2.5)
    lines = said(imagej(
        """
        open("{folder}/movie.tif");
        run("Make Composite");
        Stack.setChannel(2);
        run("Fire");
        run("Add...", "value=9 stack");
        makeRectangle(5, 6, 20, 30);
        run("Restore...", "model=[{package}] zsd=[{zsd}]");
        """ + TELL + """
        selectImage("movie_denoised.tif");
        print(is("composite"), Stack.isHyperstack);
        saveAs("tiff", "{folder}/saved.tif");
        """,
        package=package, zsd=zsd,
    ))  # fmt: skip
    assert lines[0] == "movie.tif 83 61 2 1 3 0.125 0.125 1 µm 2.5"
    assert lines[1] == "movie_denoised.tif 83 61 2 1 3 0.125 0.125 1 µm 2.5"
    assert lines[2] == "movie_deconvolved.tif 166 122 2 1 3 0.0625 0.0625 1 µm 2.5"
    low, high = map(float, lines[3].split())
    assert low < high
    assert lines[4].split() == ["1", "1"]
    with load_model(package) as model:
        expected = np.stack([[model.predict(plane + 9).denoised for plane in frame] for frame in movie])
    np.testing.assert_allclose(tifffile.imread(tmp_path / "saved.tif"), expected, atol=1e-3)


def test_a_z_stack_and_a_plane_of_8_bits_into_a_folder(imagej, zsd, package, tmp_path):
    hyperstack(tmp_path / "cell 1.ome.tif", (4, 33, 47), "ZYX", spacing=0.5)
    lines = said(imagej(
        """
        run("TIFF Virtual Stack...", "open=[{folder}/cell 1.ome.tif]");
        run("Restore...", "model=[{package}] zsd=[{zsd}] output=[{folder}/results/z]");
        close("*_denoised.tif");
        newImage("a/b: c", "8-bit ramp", 65, 31, 1);
        run("Fire");
        run("Properties...", "unit=inch pixel_width=2 pixel_height=4");
        run("Restore...", "model=[{package}] zsd=[{zsd}]");
        """ + TELL + 'print("label:" + getInfo("slice.label"));',
        package=package, zsd=zsd,
    ))  # fmt: skip
    assert [line.rsplit(maxsplit=10)[0] for line in lines[:5]] == [
        "cell 1.ome.tif", "cell 1_deconvolved.tif", "a/b: c", "a_b_ c_denoised.tif", "a_b_ c_deconvolved.tif"
    ]  # fmt: skip
    assert lines[1].endswith(" 94 66 1 4 1 0.0625 0.0625 0.5 µm 0")
    assert lines[4].endswith(" 130 62 1 1 1 1 2 1 inches 0")
    assert lines[-1] == "label:"
    assert sorted(p.name for p in (tmp_path / "results" / "z").iterdir()) == [
        "cell 1_deconvolved.tif", "cell 1_denoised.tif"
    ]  # fmt: skip


def test_a_model_of_volumes(imagej, zsd, volume_package, tmp_path):
    """Each frame and channel of a hyperstack as a volume; and a single plane, which is none."""
    movie = hyperstack(tmp_path / "movie.tif", (2, 6, 2, 33, 47), "TZCYX", spacing=0.5, finterval=2.5)
    lines = said(imagej(
        """
        open("{folder}/movie.tif");
        run("Restore...", "model=[{package}] zsd=[{zsd}]");
        """ + TELL + """
        selectImage("movie_denoised.tif");
        saveAs("tiff", "{folder}/saved.tif");
        """ + PLANE + """run("Restore...", "model=[{package}] zsd=[{zsd}]");
        """,
        package=volume_package, zsd=zsd,
    ))  # fmt: skip
    assert lines[1] == "movie_denoised.tif 47 33 2 6 2 0.125 0.125 0.5 µm 2.5"
    assert lines[2] == "movie_deconvolved.tif 94 66 2 6 2 0.0625 0.0625 0.5 µm 2.5"
    assert "single slice" in lines[-1]
    with load_model(volume_package) as model:
        expected = [[model.predict(frame[:, channel]).denoised for channel in range(2)] for frame in movie]
    np.testing.assert_allclose(tifffile.imread(tmp_path / "saved.tif"), np.swapaxes(expected, 1, 2), atol=1e-3)


def test_warnings_are_in_the_log(imagej, tmp_path):
    script(tmp_path / "zsd", 'echo "warning: too dark" >&2; echo "step 1, 3/s, loss 1  warning: too few" >&2; exit 1')
    process = imagej(PLANE + 'run("Restore...", "model=m zsd={folder}/zsd");')
    assert said(process, warnings=True) == [WARNING + "too dark", WARNING + "too few"]


def test_a_model_of_a_blind_spot(imagej, zsd, blind_spot_package, tmp_path):
    """DecoNoising: both images are on the camera's grid."""
    image = hyperstack(tmp_path / "cell.tif", (50, 70), "YX")
    lines = said(imagej(
        """
        open("{folder}/cell.tif");
        run("Restore...", "model=[{package}] zsd=[{zsd}]");
        """ + TELL + """
        selectImage("cell_deconvolved.tif");
        saveAs("tiff", "{folder}/saved.tif");
        """,
        package=blind_spot_package, zsd=zsd,
    ))  # fmt: skip
    assert lines[1] == "cell_denoised.tif 70 50 1 1 1 0.125 0.125 1 µm 0"
    assert lines[2] == "cell_deconvolved.tif 70 50 1 1 1 0.125 0.125 1 µm 0"
    with load_model(blind_spot_package) as model:
        np.testing.assert_allclose(tifffile.imread(tmp_path / "saved.tif"), model.predict(image).deconvolved, atol=1e-3)


def test_a_folder_finishes_what_it_can(imagej, zsd, package, tmp_path):
    images = tmp_path / "week 12"
    images.mkdir()
    for name in ("a.tif", "b.tiff"):
        hyperstack(images / name, (1, 40, 40), "ZYX")
    tifffile.imwrite(images / "colour.tif", np.zeros((40, 40, 3), np.uint8), photometric="rgb")
    (images / "notes.txt").write_text("not an image")
    lines = said(imagej(
        """
        run("Restore...", "model=[{package}] zsd=[{zsd}] folder=[{folder}/week 12]");
        print("never");
        """,
        package=package, zsd=zsd,
    ))  # fmt: skip
    assert "colour image" in lines[0]
    assert "1 of 3 images failed" in lines[1]
    assert len(lines) == 2
    assert sorted(p.name for p in (images / "restored").iterdir()) == [
        "a_deconvolved.tif", "a_denoised.tif", "b_deconvolved.tif", "b_denoised.tif"
    ]  # fmt: skip


@pytest.fixture
def server(untrained_package, tmp_path, monkeypatch):
    """A running `zsd serve`, and a cache in which the plugin looks for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = [sys.executable, "-c", "import zsd; zsd.main()", "serve", str(untrained_package)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_running_server_is_used_until_it_dies(imagej, server, untrained_package, tmp_path):
    """The command would fail, so what is restored comes from the server, and so does the sentence about a bad image."""
    movie = hyperstack(tmp_path / "movie.tif", (3, 2, 61, 83), "TCYX", finterval=2.5)
    lines = said(imagej(
        """
        open("{folder}/movie.tif");
        run("Restore...", "model=[{package}] zsd=/bin/false output=[{folder}/results]");
        """ + TELL + """
        newImage("nothing", "32-bit black", 64, 64, 1);
        run("Macro...", "code=v=NaN");
        run("Restore...", "model=[{package}] zsd=/bin/false");
        """,
        package=untrained_package,
    ))  # fmt: skip
    assert lines[1] == "movie_denoised.tif 83 61 2 1 3 0.125 0.125 1 µm 2.5"
    assert lines[2] == "movie_deconvolved.tif 166 122 2 1 3 0.0625 0.0625 1 µm 2.5"
    assert lines[-1].startswith("zsd: nothing.tif")
    with load_model(untrained_package) as model:
        expected = np.stack([[model.predict(plane).denoised for plane in frame] for frame in movie])
    np.testing.assert_allclose(tifffile.imread(tmp_path / "results" / "movie_denoised.tif"), expected, atol=1e-3)
    server.kill()
    server.wait()
    (beacon,) = (tmp_path / "cache" / "zsd" / "servers").iterdir()
    for pid in (server.pid, os.getpid()):  # a process that is gone; and one that does not listen there
        beacon.write_text(re.sub(r"pid=\d+", f"pid={pid}", beacon.read_text()))
        lines = said(
            imagej(PLANE + 'run("Restore...", "model=[{package}] zsd=/bin/false");', package=untrained_package)
        )
        assert lines == ["zsd: zsd ended with exit status 1: it said nothing"]


def test_esc_stops_the_work_of_the_server(imagej, tmp_path, monkeypatch):
    """A server that answers nothing: the connection ends, and so does the macro."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "zsd" / "servers"
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        (folder / "1.server").write_text(
            f"schema=1\naddress=http://127.0.0.1:{listening.getsockname()[1]}\ntoken=secret\npid={os.getpid()}\n"
            f"package={tmp_path.resolve()}\n"
        )
        process = imagej(PLANE + 'run("Press Esc");\nrun("Restore...", "model=[{folder}]");\nprint("never");\n')
        connection, _ = listening.accept()
        with connection:
            request = b""
            while part := connection.recv(1 << 16):  # until the plugin hangs up
                request += part
        assert said(process) == []
    assert request.startswith(b"POST /restore?name=plane.tif ")
    assert b"Bearer secret" in request


WRONG = {
    "no package": (PLANE, "model=[{folder}/none] zsd=[{zsd}]", "none does not exist: give a package"),
    "no model": (PLANE, "zsd=[{zsd}]", "no model is given"),
    "no command": (PLANE, "model=m zsd=[{folder}/none]", "no zsd command at {folder}/none"),
    "not on the path": (PLANE, "model=m", "no zsd command on the PATH"),
    "no image": ("", "model=m zsd=[{zsd}]", "no image is open"),
    "colour": ('newImage("rgb", "RGB", 64, 64, 1);', "model=m zsd=[{zsd}]", "rgb is a colour image"),
    "no options": (PLANE, "", "no model is given"),
    "talkative": (PLANE, "model=m zsd=[{folder}/talkative]", "the end after 10 MB"),
    "not ours": (PLANE, "model=m zsd=/bin/false", "zsd ended with exit status 1: it said nothing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line_and_ends_the_macro(name, imagej, zsd, tmp_path, request):
    script(
        tmp_path / "talkative",
        "yes 123456789 | head -c 5000000 | tee /dev/stderr; echo error: the end after 10 MB; exit 1",
    )
    if name == "not on the path":
        request.getfixturevalue("no_path")
    before, options, message = WRONG[name]
    lines = said(imagej(f'{before}run("Restore...", "{options}");\nprint("never");\n', zsd=zsd))
    assert len(lines) == 1
    assert lines[0].startswith("zsd: ")
    assert message.format(folder=tmp_path) in lines[0]


@pytest.fixture
def no_path(tmp_path, monkeypatch):
    """A PATH with java and without zsd."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "java").symlink_to(shutil.which("java"))
    monkeypatch.setenv("PATH", str(tools))


@pytest.mark.usefixtures("no_path")
def test_the_command_that_installed_the_plugin_is_called(imagej, plugins, tmp_path, monkeypatch):
    own = script(tmp_path / "zsd", "echo error: it was called; exit 1")
    monkeypatch.setattr(sys, "argv", [str(own)])
    note = plugins / "plugins" / COMMAND_FILE
    try:
        assert install(plugins).command == own
        macro = PLANE + 'run("Restore...", "model=m");\n'
        assert said(imagej(macro)) == ["zsd: it was called"]
        own.unlink()  # then it is as without the note
        assert "no zsd command on the PATH" in said(imagej(macro))[0]
    finally:
        note.unlink()


@pytest.fixture
def endless(tmp_path):
    """A command that works for a minute and tells when it was asked to stop."""
    return script(
        tmp_path / "endless",
        f'cd "{tmp_path}"; trap "touch stopped; exit 1" TERM; touch started; echo "x.tif 12 %" >&2; sleep 60 & wait',
    )


QUICK = "patch = 32\nbatch = 1\ndevice = 'cpu'\n[network]\nwidth = 2\ndepth = 1\nhead = 4\n"
RECORD = """
run("Record Command",
    "image=[{folder}/cell 1.tif] command=[Train and restore...] typed=[{typed}] saved={folder}/recorded");
"""


def test_a_recorded_macro_trains_and_predicts(imagej, tmp_path):
    """A person at the dialog, the recorder on, a command that trains nothing; then what was recorded, with zsd."""
    image = hyperstack(tmp_path / "cell 1.tif", (70, 80), "YX")
    hyperstack(tmp_path / "movie.tif", (3, 2, 61, 83), "TCYX", finterval=2.5)
    (tmp_path / "quick.toml").write_text(QUICK)
    script(tmp_path / "zsd", 'cp "$2" "$4/cell 1_denoised.tif"')
    others = f"--steps 3 --config {tmp_path}/quick.toml"
    typed = f"||||1.2||||{tmp_path}/out 1|{others}|{tmp_path}/zsd"
    assert said(imagej(RECORD, batch=False, typed=typed)) == []
    recorded = (tmp_path / "recorded").read_text()
    assert recorded == (
        'run("Train and restore...", "psf=[] na=[] wavelength=[] index=[] sigma=1.2 pixel=[] step=[] minutes=[] '
        f'output=[{tmp_path}/out 1] options=[{others}] zsd={tmp_path}/zsd");\n'
    )
    script(tmp_path / "zsd", f'exec "{sys.executable}" -c "import zsd; zsd.main()" "$@"')
    shutil.rmtree(tmp_path / "out 1")
    lines = said(imagej(
        'open("{folder}/cell 1.tif");\n' + recorded + """
        selectImage("cell 1_denoised.tif");
        saveAs("tiff", "{folder}/saved.tif");
        close("*");
        open("{folder}/movie.tif");
        run("Restore...", "model=[{folder}/out 1/model.zip] zsd={folder}/zsd");
        """ + TELL
    ))  # fmt: skip
    assert lines[1:3] == [
        "movie_denoised.tif 83 61 2 1 3 0.125 0.125 1 µm 2.5",
        "movie_deconvolved.tif 166 122 2 1 3 0.0625 0.0625 1 µm 2.5",
    ]
    out = tmp_path / "out 1"
    assert {path.name for path in out.iterdir()} == {
        "cell 1_denoised.tif", "cell 1_deconvolved.tif", "model.zip", "run"
    }  # fmt: skip
    with load_model(out / "model.zip") as model:
        expected = model.predict(image, average=8).denoised
    np.testing.assert_allclose(tifffile.imread(out / "cell 1_denoised.tif"), expected, atol=1e-3)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "saved.tif"), tifffile.imread(out / "cell 1_denoised.tif"))


# What zsd says while it trains; then it waits for the file that ends a training, and writes results of two channels.
TRAINING = """
printf '%s ' "$@" > "{folder}/called"; trap "touch {folder}/killed; exit 1" TERM
mkdir -p "$4/run/old" "$4/run/new"; touch -d 2020-01-01 "$4/run/old/config.toml"; touch "$4/run/new/config.toml"
echo "step 1, 3.1/s, loss 0.085, 38 s left  held-out error 0.0595"; touch "{folder}/training"
while [ ! -e "$4/run/new/stop" ]; do sleep 0.1; done
{then}
echo exporting: measuring the model; cp "$2" "$4/movie_denoised.tif"; cp "{folder}/fine.tif" "$4/movie_deconvolved.tif"
mkdir "$4/models"
"""


def test_esc_ends_the_training_and_its_result_is_opened(imagej, tmp_path):
    """Of a movie with two channels: the run that has begun last is ended; calibration and dimensions are right."""
    hyperstack(tmp_path / "movie.tif", (3, 2, 61, 83), "TCYX", finterval=2.5)
    hyperstack(tmp_path / "fine.tif", (3, 2, 122, 166), "TCYX", finterval=2.5)
    script(tmp_path / "zsd", TRAINING.format(folder=tmp_path, then=""))
    lines = said(imagej(
        """
        open("{folder}/movie.tif");
        run("Press Esc", "after={folder}/training");
        run("Train and restore...", "na=1.4 wavelength=520 minutes=1 zsd={folder}/zsd overwrite");
        """ + TELL
    ))  # fmt: skip
    out = tmp_path / "movie_zsd"  # beside the image, as no output folder is given
    assert lines[1] == "movie_denoised.tif 83 61 2 1 3 0.125 0.125 1 µm 2.5"
    assert lines[2] == "movie_deconvolved.tif 166 122 2 1 3 0.0625 0.0625 1 µm 2.5"
    assert (tmp_path / "called").read_text().split(" ", 4)[4] == (
        "--na 1.4 --wavelength 520 --minutes 1 --channels all --overwrite "
    )
    assert sorted(path.name for path in (out / "run").glob("*/stop")) == ["stop"]
    assert not list(out.glob(".zsd-*"))
    assert not (tmp_path / "killed").exists()


def test_a_second_esc_stops_the_command(imagej, tmp_path):
    hyperstack(tmp_path / "movie.tif", (61, 83), "YX")
    script(tmp_path / "zsd", TRAINING.format(folder=tmp_path, then=f"touch '{tmp_path}/ending'; sleep 60 & wait"))
    macro = """
        open("{folder}/movie.tif");
        run("Press Esc", "after={folder}/training");
        run("Press Esc", "after={folder}/ending");
        run("Train and restore...", "sigma=1 zsd={folder}/zsd");
        print("never");
        """
    assert said(imagej(macro)) == []
    assert (tmp_path / "movie_zsd" / "run" / "new" / "stop").exists()
    assert (tmp_path / "killed").exists()


WRONG_TRAINING = {
    "no image": ("", "zsd=[{zsd}]", "no image is open: open one"),
    "not saved": (PLANE, "sigma=1 zsd=[{zsd}]", "no output folder is given, and plane is not saved"),
    "no psf": (PLANE, "output=[{folder}/out] zsd=[{zsd}]", "no PSF: give 'PSF file' or 'NA of the objective'"),
}


@pytest.mark.parametrize("name", WRONG_TRAINING)
def test_what_is_wrong_with_a_training_is_one_line(name, imagej, tmp_path):
    """In the words of the dialog; and no empty folder is left."""
    zsd = script(tmp_path / "zsd", 'echo "error: no PSF: give --psf or --na" >&2; exit 2')
    before, options, message = WRONG_TRAINING[name]
    lines = said(imagej(f'{before}run("Train and restore...", "{options}");\nprint("never");\n', zsd=zsd))
    assert len(lines) == 1, lines
    assert lines[0].startswith("zsd: ")
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


def test_esc_stops_the_command(imagej, endless, tmp_path):
    started = time.monotonic()
    macro = PLANE + 'run("Press Esc");\nrun("Restore...", "model=m zsd=[{zsd}]");\nprint("never");\n'
    assert said(imagej(macro, zsd=endless)) == []
    assert (tmp_path / "stopped").exists()
    assert time.monotonic() - started < 30


def test_quitting_stops_the_command(imagej, endless, tmp_path):
    process = imagej(PLANE + 'run("Restore...", "model=m zsd=[{zsd}]");\n', zsd=endless)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert (tmp_path / "stopped").exists()
