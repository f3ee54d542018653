"""The files of a model package, from a folder or a zip. Nothing is unpacked to disk."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from zsd_runtime.errors import InputError
from zsd_runtime.zoo import package_path

RDF_NAMES = ("rdf.yaml", "bioimageio.yaml")
LARGEST_RDF = 4 << 20  # bytes; YAML takes a hundred times that in memory
LARGEST_MEMBER = 2 << 30  # bytes; no ONNX file can be larger
# A zip makes weights a tenth smaller, and images half as large. A large file packed tighter than this is a zip bomb.
TIGHTEST, SMALL = 100, 64 << 20

Read = Callable[[str | None], bytes]


def reader(path: Path) -> Read:
    """A function from a file's name inside the package (None: the model description) to its bytes.

    ``zoo:NAME`` stands for a model that came with zsd.

    Raises
    ------
    InputError
        When there is no package. The function raises it for a missing or damaged file.
    """
    path = package_path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a package made by `zsd export`, a folder or a zip")
    if path.is_file() and path.suffix != ".zip":
        path = path.parent if path.name in RDF_NAMES else path
    return _folder_reader(path) if path.is_dir() else _zip_reader(path)


def read_member(path: str | Path, name: str) -> bytes:
    """A file of a package.

    Raises
    ------
    InputError
        When the package does not have it.
    """
    return reader(Path(path))(name)


def _folder_reader(path: Path) -> Read:
    def read(name: str | None) -> bytes:
        for candidate in RDF_NAMES if name is None else (_inside(name),):
            if (path / candidate).is_file():
                return (path / candidate).read_bytes()
        raise InputError(f"{path} holds no {name or 'rdf.yaml'}", "give a package made by `zsd export`")

    return read


def _zip_reader(path: Path) -> Read:
    def read(name: str | None) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive:
                members = {_inside(info.filename): info for info in archive.infolist()}
                for candidate in RDF_NAMES if name is None else (_inside(name),):
                    if candidate in members:
                        _check_size(members[candidate], LARGEST_RDF if name is None else LARGEST_MEMBER)
                        return archive.read(members[candidate])  # never more bytes than the zip claims
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, zlib.error) as error:
            raise InputError(f"{path} is not a readable zip ({error})", "copy or export it again") from None
        raise InputError(f"{path} holds no {name or 'rdf.yaml'}", "give a package made by `zsd export`")

    return read


def _check_size(member: zipfile.ZipInfo, largest: int) -> None:
    """Refuse sizes that no package has."""
    unpacked, packed = member.file_size, member.compress_size
    if unpacked > largest or unpacked > max(SMALL, TIGHTEST * packed):
        raise InputError(
            f"{member.filename} would unpack from {packed / 1e6:.3g} MB to {unpacked / 1e6:.3g} MB; a package allows "
            f"at most {largest / 1e6:.3g} MB, and {TIGHTEST} times the packed size",
            "do not trust this file",
        )


def _inside(name: str) -> str:
    """The name, if it stays inside the package."""
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or any(":" in part for part in posix.parts):
        raise InputError(f"the path {name!r} leads out of the package", "do not trust this file")
    return str(posix)
