"""Make a release: check the version, build sdist and wheel, look into them, run zsd from them, make an update site.

`make release` is a dry run: it leaves the files in dist/ and changes nothing else. `make release TAG=1` makes the tag,
too, and asks for more: nothing unreleased in the changelog, nothing uncommitted. Nothing is uploaded, and no network is
needed.
"""

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONED = ("pyproject.toml", "CHANGELOG.md", "CITATION.cff")
PACKAGED = re.compile(r"zsd\.py|zsd_\w+/.+|model_zoo/.+")  # what of the repository is in the wheel: all of it
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "fiji/plugins.config")
NEVER = re.compile(r"tests/|benchmarks/|\.ci/|\.github/|docs/|build/|.*\.(pyc|class)$")
PLUGIN = "zsd_runtime/fiji/zsd_.jar"
LARGEST_MB = 20.0
AUTHORS = ["The zsd authors"]
MINUTES = "0.1"  # of training, to see that an installed zsd restores


def version_faults(texts: Mapping[str, str], tag: bool) -> list[str]:
    """What is wrong with the versions in the files `VERSIONED`, a sentence each.

    For a tag, the newest section of the changelog must be that version. For a dry run it may be "Unreleased".
    """
    version = tomllib.loads(texts["pyproject.toml"])["project"]["version"]
    cited = re.search(r"^version: *[\"']?([^\s\"']+)", texts["CITATION.cff"], re.MULTILINE)
    sections = re.findall(r"^## \[?([\w.]+)", texts["CHANGELOG.md"], re.MULTILINE)
    faults = []
    if cited is None or cited[1] != version:
        found = cited[1] if cited else "none"
        faults.append(f"CITATION.cff has version {found}, expected {version} as in pyproject.toml")
    allowed = [version] if tag else [version, "Unreleased"]
    if not sections or sections[0] not in allowed:
        first = sections[0] if sections else "none"
        faults.append(f"CHANGELOG.md begins with section {first}, expected {' or '.join(allowed)}")
    return faults


def wheel_faults(names: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """What a wheel lacks, and what it has beside the packages in git and its own metadata."""
    has = {name for name in names if ".dist-info/" not in name}
    wanted = {name for name in tracked if PACKAGED.fullmatch(name)}
    missing = [f"the wheel lacks {name}: add it to package-data in pyproject.toml" for name in sorted(wanted - has)]
    return missing + [f"the wheel has {name}, which git does not have in a package" for name in sorted(has - wanted)]


def sdist_faults(names: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """What an sdist lacks, and what of the workshop it has; `names` without the folder that they all stand in."""
    has = set(names)
    java = [name for name in tracked if name.startswith("fiji/src/")]
    wanted = {name for name in tracked if PACKAGED.fullmatch(name)} | {*SOURCES, *java}
    missing = [f"the sdist lacks {name}: add it to MANIFEST.in" for name in sorted(wanted - has)]
    return missing + [f"the sdist has {name}" for name in sorted(has) if NEVER.match(name)]


def size_faults(path: Path) -> list[str]:
    """Whether a file is too large for what it is."""
    size = path.stat().st_size / 1e6
    return [f"{path.name} has {size:.1f} MB, expected at most {LARGEST_MB:g} MB"] if size > LARGEST_MB else []


def built(tracked: Iterable[str], work: Path) -> tuple[Path, Path]:
    """The sdist of what git tracks, and the wheel that is built from the sdist alone."""
    source, out = work / "source", work / "dist"
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    out.mkdir()
    _python("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})", cwd=source)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    (unpacked,) = (work / "unpacked").iterdir()
    _python("-c", f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})", cwd=unpacked)
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


def installed(wheel: Path, work: Path) -> Path:
    """Install a wheel, and nothing else, into an empty environment; the folder of its commands."""
    environment = work / "environment"
    _python("-m", "venv", "--without-pip", str(environment))
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    _python("-m", "pip", "--python", str(python), "install", *options, str(wheel))
    return scripts


def lend_libraries(scripts: Path) -> None:
    """Let an environment use the libraries of this one, except zsd: its own comes first."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    here, there = _python("-c", code), _call([scripts / "python", "-c", code])
    (Path(there) / "lent.pth").write_text(f"{here}\n")
    check = f"import zsd; assert zsd.__file__.startswith({there!r}), zsd.__file__"
    _call([scripts / "python", "-c", check], cwd=scripts)  # not the repository, whose zsd would be found first


def restored(scripts: Path, work: Path) -> list[str]:
    """Simulate an image and restore it with the installed zsd; the names of the results."""
    _call([scripts / "zsd", "simulate", work / "sample", "--size", "128x128", "--quiet"])
    sample, out = work / "sample", work / "restored"
    given: list[str | Path] = ["--psf", sample / "psf.tif", "--out", out, "--minutes", MINUTES, "--quiet"]
    _call([scripts / "zsd", "restore", sample / "noisy.tif", *given])
    return sorted(path.name for path in out.iterdir())


def update_site(jar: Path, version: str) -> str:
    """Write dist/update-site with the plugin; what it has. The date is that of the commit."""
    write = runpy.run_path(str(ROOT / ".ci" / "update_site.py"))["write_update_site"]
    folder = ROOT / "dist" / "update-site"
    shutil.rmtree(folder, ignore_errors=True)
    date = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    write(jar, folder, version, f"{date:%Y%m%d%H%M%S}", AUTHORS)
    return ", ".join(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


def main() -> None:
    """Check, build, look, run; exit status 1 with a sentence for each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", action="store_true", help="make the tag; without it this is a dry run")
    tag = parser.parse_args().tag
    texts = {name: (ROOT / name).read_text("utf-8") for name in VERSIONED}
    version = tomllib.loads(texts["pyproject.toml"])["project"]["version"]
    _stop(version_faults(texts, tag) + (_tag_faults(version) if tag else []))
    print(f"version {version}: pyproject.toml, CHANGELOG.md and CITATION.cff agree")
    tracked = [name for name in _git("ls-files", "-z").split("\0") if name and (ROOT / name).is_file()]
    os.environ["SOURCE_DATE_EPOCH"] = _git("log", "-1", "--format=%ct")  # the same commit gives the same wheel
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sdist, wheel = built(tracked, work)
        with zipfile.ZipFile(wheel) as archive:
            inside = archive.namelist()
        with tarfile.open(sdist) as archive:
            sources = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
        faults = wheel_faults(inside, tracked) + sdist_faults(sources, tracked)
        _stop(faults + size_faults(sdist) + size_faults(wheel))
        for path, names in ((sdist, sources), (wheel, inside)):
            print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")
        scripts = installed(wheel, work)
        said = _call([scripts / "zsd", "--version"])
        verbs = [line for line in _call([scripts / "zsd", "--help"]).splitlines() if line.startswith("  ")]
        _stop([f"the installed zsd says version {said}, expected {version}"] if said != version else [])
        print(f"installed from the wheel alone: zsd {said}, {len(verbs)} verbs")
        lend_libraries(scripts)
        results = ", ".join(restored(scripts, work))
        print(f"zsd restore, from the wheel with the libraries of this environment: {results}")
        (ROOT / "dist").mkdir(exist_ok=True)
        for path in (sdist, wheel):
            shutil.copy2(path, ROOT / "dist" / path.name)
        with zipfile.ZipFile(wheel) as archive:
            jar = Path(archive.extract(PLUGIN, work))
        print(f"update site of ImageJ: {update_site(jar, version)}")
    if tag:
        _git("tag", "--annotate", f"v{version}", "--message", f"zsd {version}")
        print(f"push it: git push origin v{version}; upload dist/{sdist.name} and dist/{wheel.name}")
        print(f"OK tag v{version}")
    else:
        print("OK dry run: the files are in dist/, nothing is tagged or uploaded; make release TAG=1 makes the tag")


def _tag_faults(version: str) -> list[str]:
    faults = ["git has changes that are not committed"] if _git("status", "--porcelain") else []
    return faults + ([f"there is a tag v{version}: raise the version"] if _git("tag", "--list", f"v{version}") else [])


def _stop(faults: list[str]) -> None:
    if faults:
        sys.exit("\n".join(f"error: {fault}" for fault in faults))


def _git(*arguments: str) -> str:
    return _call(["git", "-C", ROOT, *arguments])


def _python(*arguments: str, cwd: Path | None = None) -> str:
    return _call([sys.executable, *arguments], cwd)


def _call(command: list[str | Path], cwd: Path | None = None) -> str:
    """What a command prints; its messages are shown only when it fails. PYTHONPATH would bring another zsd in."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if result.returncode:
        print(result.stdout + result.stderr, file=sys.stderr)
        sys.exit(f"error: this failed, with exit status {result.returncode}: {' '.join(map(str, command))}")
    return result.stdout.strip()


if __name__ == "__main__":
    main()
