"""What a release is checked for; `make release` itself builds and installs, and is run by hand."""

import gzip
import hashlib
import runpy
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
RELEASE = runpy.run_path(str(ROOT / ".ci" / "release.py"))
TEXTS = {
    "pyproject.toml": '[project]\nversion = "1.2.0"\n',
    "CITATION.cff": "title: x\nversion: 1.2.0\n",
    "CHANGELOG.md": "# Changelog\n\n## 1.2.0\n\n## 1.1.0\n",
}


def test_the_versions_of_this_repository_agree():
    assert RELEASE["version_faults"]({name: (ROOT / name).read_text("utf-8") for name in TEXTS}, False) == []


VERSIONS = {
    "agree": ({}, True, None),
    "unreleased": ({"CHANGELOG.md": "## Unreleased\n\n## 1.1.0\n"}, False, None),
    "a tag of what is unreleased": ({"CHANGELOG.md": "## Unreleased\n"}, True, "begins with section Unreleased"),
    "an old changelog": ({"CHANGELOG.md": "## 1.1.0\n"}, False, "section 1.1.0, expected 1.2.0 or Unreleased"),
    "an empty changelog": ({"CHANGELOG.md": ""}, False, "section none"),
    "an old citation": ({"CITATION.cff": "version: 1.1.0\n"}, False, "has version 1.1.0, expected 1.2.0"),
    "a citation without version": ({"CITATION.cff": "cff-version: 1.2.0\n"}, False, "has version none"),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_versions(name):
    changed, tag, message = VERSIONS[name]
    faults = RELEASE["version_faults"]({**TEXTS, **changed}, tag)
    assert len(faults) == (message is not None)
    assert message is None or message in faults[0]


TRACKED = ["zsd.py", "zsd_runtime/a.py", "zsd_runtime/fiji/zsd_.jar", "model_zoo/index.toml", "tests/test_a.py"]


def test_a_wheel_has_what_git_has_in_the_packages():
    whole = [*TRACKED[:4], "zsd-1.2.0.dist-info/RECORD"]
    faults = RELEASE["wheel_faults"]
    assert faults(whole, TRACKED) == []
    assert "lacks zsd_runtime/fiji/zsd_.jar" in faults([name for name in whole if "jar" not in name], TRACKED)[0]
    for extra in ("tests/test_a.py", "zsd_runtime/forgotten.py", ".ci/run"):
        (fault,) = faults([*whole, extra], TRACKED)
        assert fault.startswith(f"the wheel has {extra}")


def test_an_sdist_has_the_sources_and_no_tests():
    tracked = [*TRACKED, "fiji/src/zsd/A.java"]
    whole = [*TRACKED[:4], "fiji/src/zsd/A.java", *RELEASE["SOURCES"], "PKG-INFO"]
    faults = RELEASE["sdist_faults"]
    assert faults(whole, tracked) == []
    assert "lacks fiji/src/zsd/A.java" in faults([name for name in whole if "A.java" not in name], tracked)[0]
    for extra in ("tests/test_a.py", "benchmarks/a.py", ".ci/run", "zsd_runtime/a.pyc"):
        assert faults([*whole, extra], tracked) == [f"the sdist has {extra}"]


def test_a_file_that_is_too_large(tmp_path):
    path = tmp_path / "zsd.whl"
    with path.open("wb") as file:
        file.truncate(20_000_000)
    assert RELEASE["size_faults"](path) == []
    with path.open("ab") as file:
        file.write(b"1")
    assert len(RELEASE["size_faults"](path)) == 1


UPDATE_SITE = runpy.run_path(str(ROOT / ".ci" / "update_site.py"))
JAR = ROOT / "zsd_runtime" / "fiji" / "zsd_.jar"


def test_an_update_site_of_imagej(tmp_path):
    """What its updater reads: the file at filename-timestamp, its size, and the XML with the DTD."""
    UPDATE_SITE["write_update_site"](JAR, tmp_path, "1.2.0", "20260102030405", ["A & B"])
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["db.xml.gz", "plugins/zsd_.jar-20260102030405"]
    assert (tmp_path / files[1]).read_bytes() == JAR.read_bytes()
    text = gzip.decompress((tmp_path / "db.xml.gz").read_bytes())
    assert b"<!DOCTYPE pluginRecords [" in text
    records = ElementTree.fromstring(text)
    assert records.tag == "pluginRecords"
    (plugin,) = records
    (version,) = plugin
    assert plugin.attrib == {"filename": "plugins/zsd_.jar"}
    assert version.attrib == {
        "checksum": UPDATE_SITE["jar_checksum"](JAR), "timestamp": "20260102030405", "filesize": str(JAR.stat().st_size)
    }  # fmt: skip
    assert [entry.tag for entry in version] == ["description", "author"]
    assert version[1].text == "A & B"


def jar(path, entries, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_the_checksum_of_a_jar_is_that_of_names_and_contents(tmp_path):
    """The rule of imagej-updater; its own code, compiled by hand, gave the same number for zsd_.jar."""
    checksum = UPDATE_SITE["jar_checksum"]
    first = jar(tmp_path / "a.jar", {"META-INF/MANIFEST.MF": "Built-By: a", "zsd/B.class": "b", "A.class": "a"})
    same = {"A.class": "a", "META-INF/MANIFEST.MF": "Built-By: c", "zsd/B.class": "b"}
    expected = hashlib.sha1(b"A.class" + b"a" + b"META-INF/MANIFEST.MF" + b"zsd/B.class" + b"b").hexdigest()
    assert checksum(first) == checksum(jar(tmp_path / "b.jar", same, zipfile.ZIP_STORED)) == expected
    assert checksum(jar(tmp_path / "c.jar", same | {"A.class": "other"})) != expected
    with pytest.raises(ValueError, match=r"x\.properties"):
        checksum(jar(tmp_path / "d.jar", {"x.properties": ""}))
