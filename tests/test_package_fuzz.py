"""Damaged packages: a description or `InputError` of one line, never anything else."""

import copy
import io
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import CREDITS
from zsd_export import convert
from zsd_runtime import InputError
from zsd_runtime.package import read_package

SMALL = Path(__file__).parent / "fixtures" / "schema-1" / "plane.zip"
CAMERA = {
    "offset": 100.0, "scale": 60.0, "gain": 2.0, "constant": -196.0, "floor": 2.0, "dtype": "uint16", "lowest": 91,
    "highest": 300, "saturated": 0.0, "noise_ratios": [0.9, 1.1],
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=4,
)
MANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def places(node, path=()):
    """Every place in a description, by the keys that lead to it."""
    yield path
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inside:
        yield from places(value, (*path, key))


def changed(description, place, value, how):
    """The description with a value elsewhere: replaced, removed, or doubled in its list."""
    if not place:
        return value
    result = copy.deepcopy(description)
    node = result
    for key in place[:-1]:
        node = node[key]
    if how == "remove":
        del node[place[-1]]
    elif how == "double" and isinstance(node, list):
        node.append(node[place[-1]])
    else:
        node[place[-1]] = value
    return result


def read(path):
    try:
        read_package(path)
        said = ""
    except InputError as error:
        said = str(error)
    assert "\n" not in said


def files_of(package: Path):
    if package.is_dir():
        return {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}
    with zipfile.ZipFile(package) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The files of a small package, by name, in both formats of BioImage.IO."""
    other = convert(SMALL, tmp_path_factory.mktemp("04") / "plane.zip", format="deepimagej", credits=CREDITS)
    return [files_of(SMALL), files_of(other)]


def mutated_description(packages, folder, data):
    files = data.draw(st.sampled_from(packages))
    name = next(n for n in files if n.endswith(("rdf.yaml", "bioimageio.yaml")))
    description = yaml.load(files[name], yaml.CSafeLoader)
    description["config"]["zsd"] |= {"schema": 2, "camera": CAMERA, "channel": "GFP"}
    for _ in range(data.draw(st.integers(1, 3))):
        known = list(places(description))
        place = data.draw(st.sampled_from(known))
        description = changed(
            description, place, data.draw(JSON), data.draw(st.sampled_from(["set", "remove", "double"]))
        )
        if not isinstance(description, dict | list):
            break
    (folder / "rdf.yaml").write_text(yaml.dump(description, Dumper=yaml.CSafeDumper, allow_unicode=True), "utf-8")
    for other, content in files.items():
        if other != name and not (folder / other).exists():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_bytes(content)
    read(folder)


def mutated_bytes(packages, folder, data):
    """A zip of the description alone, without the weights' megabytes, with bytes changed, and cut."""
    files = data.draw(st.sampled_from(packages))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as made:
        for name, content in files.items():
            made.writestr(name, content[:20_000])
    content = bytearray(archive.getvalue())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "model.zip"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content)
    read(path)


@pytest.mark.parametrize("mutated", [mutated_description, mutated_bytes])
def test_a_damaged_package_is_refused_with_a_sentence(packages, tmp_path, mutated):
    @settings(max_examples=60, **MANY)
    @given(st.data())
    def run(data):
        mutated(packages, tmp_path, data)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("mutated", [mutated_description, mutated_bytes])
def test_ten_thousand_damaged_packages(packages, tmp_path, mutated):
    @settings(max_examples=10_000, **MANY)
    @given(st.data())
    def run(data):
        mutated(packages, tmp_path, data)

    run()
