"""The plugin that is shipped, and its way into an ImageJ. No test needs Java; tests/test_fiji.py runs the plugin."""

import io
import runpy
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from tests.command import zsd
from zsd_runtime.errors import InputError
from zsd_runtime.fiji.install import COMMAND_FILE, JAR, install

FIJI = Path(__file__).resolve().parents[1] / "fiji"
SHIPPED = files("zsd_runtime.fiji").joinpath(JAR).read_bytes()


@pytest.fixture
def home(tmp_path):
    """A bare ImageJ."""
    (tmp_path / "ImageJ" / "plugins").mkdir(parents=True)
    (tmp_path / "ImageJ" / "ij.jar").touch()
    return tmp_path / "ImageJ"


def test_the_shipped_jar_is_of_these_sources():
    """If it fails: `make fiji`, and commit the jar with the sources."""
    pack = runpy.run_path(str(FIJI / "pack.py"))
    with zipfile.ZipFile(io.BytesIO(SHIPPED)) as jar:
        assert jar.read("META-INF/MANIFEST.MF").decode() == pack["manifest"]()
        assert jar.read("plugins.config") == (FIJI / "plugins.config").read_bytes().replace(b"\r\n", b"\n")
        assert {f"zsd/{path.stem}.class" for path in FIJI.glob("src/zsd/*.java")} <= set(jar.namelist())
    assert len(SHIPPED) < 100_000


def test_a_jar_depends_on_its_classes_alone(tmp_path):
    pack = runpy.run_path(str(FIJI / "pack.py"))["pack"]
    written = []
    for order in ("ab", "ba"):
        classes = tmp_path / order / "zsd"
        classes.mkdir(parents=True)
        for name in order:
            (classes / f"{name}.class").write_text(name)
        pack(tmp_path / order, tmp_path / f"{order}.jar")
        written.append((tmp_path / f"{order}.jar").read_bytes())
    assert written[0] == written[1]
    with zipfile.ZipFile(tmp_path / "ab.jar") as jar:
        assert jar.namelist() == ["META-INF/MANIFEST.MF", "plugins.config", "zsd/a.class", "zsd/b.class"]


def test_install_from_the_command_line(home):
    result = zsd("fiji", "install", home)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"OK installed {home / 'plugins' / JAR}"
    result = zsd("fiji", "install", home, "--quiet")
    assert result.stdout == f"OK replaced {home / 'plugins' / JAR}\n"
    assert (home / "plugins" / JAR).read_bytes() == SHIPPED


PLACES = {
    "an ImageJ": ("ImageJ", ("plugins/", "ij.jar")),
    "its plugins": ("ImageJ/plugins", ("plugins/", "ImageJ-linux64")),
    "a Fiji": ("ImageJ", ("plugins/", "jars/", "fiji-linux-x64")),
    "a Mac's": ("ImageJ", ("plugins/", "macros/", "ImageJ.app/")),
}


@pytest.mark.parametrize("name", PLACES)
def test_places_where_it_installs(name, tmp_path):
    given, there = PLACES[name]
    for path in there:
        made = tmp_path / "ImageJ" / path
        made.mkdir(parents=True) if path.endswith("/") else made.touch()
    assert install(tmp_path / given).jar == tmp_path / "ImageJ" / "plugins" / JAR


def test_the_plugin_knows_which_zsd_installed_it(home, tmp_path, monkeypatch):
    own = tmp_path / "bin" / "zsd"
    own.parent.mkdir()
    own.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(own), "fiji", "install"])
    assert install(home).command == own
    assert (home / "plugins" / COMMAND_FILE).read_text("utf-8") == f"{own}\n"
    own.unlink()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))  # a Python without zsd
    assert install(home).command is None


def test_an_earlier_plugin_is_replaced_where_it_is(home):
    old = home / "plugins" / "zsd" / JAR
    old.parent.mkdir()
    old.write_text("old")
    installed = install(home)
    assert installed.replaced
    assert installed.jar == old
    assert old.read_bytes() == SHIPPED
    assert not (home / "plugins" / JAR).exists()


WRONG = {
    "nothing": ((), "does not exist"),
    "a file": (("ImageJ",), "is a file"),
    "an empty folder": (("ImageJ/",), "is no Fiji or ImageJ"),
    "no plugins": (("ImageJ/", "ImageJ/ij.jar"), "is no Fiji or ImageJ"),
    "plugins of something else": (("ImageJ/plugins/",), "is no Fiji or ImageJ"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_imagej(name, tmp_path):
    there, message = WRONG[name]
    for path in there:
        made = tmp_path / path
        made.mkdir(parents=True) if path.endswith("/") else made.touch()
    with pytest.raises(InputError, match=message) as error:
        install(tmp_path / "ImageJ")
    assert "expected a folder with `plugins` and with ij.jar, ImageJ-… or fiji in it" in str(error.value)
    assert not list(tmp_path.rglob(JAR))


def test_twice_is_a_question(home):
    for place in ("a", "b"):
        (home / "plugins" / place).mkdir()
        (home / "plugins" / place / JAR).write_text("old")
    with pytest.raises(InputError, match="2 times, expected once"):
        install(home)
    assert {path.read_text() for path in home.rglob(JAR)} == {"old"}


def test_no_permission_leaves_the_earlier_plugin(home, monkeypatch):
    (home / "plugins" / JAR).write_text("old")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match=r"no permission to write .*: close ImageJ"):
        install(home)
    assert [path.name for path in (home / "plugins").iterdir()] == [JAR]
    assert (home / "plugins" / JAR).read_text() == "old"
