"""Places on the network, such as s3://bucket/cell.zarr, as paths.

A `Remote` has the methods of `pathlib.Path` that zsd uses, so that the same code reads and writes folders and buckets.
What needs a real file fails with a sentence. fsspec finds credentials and endpoints in the environment.
"""
# ruff: noqa: D102 - the methods of Remote are those of pathlib.Path

import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from zsd_runtime.errors import InputError
from zsd_runtime.files import cannot_write

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\]+(.*)")  # a path has one slash left, on Windows a backslash
FRESH = {"use_listings_cache": False}  # other processes write there, too
CHANGES = (
    "ETag",
    "LastModified",
    "mtime",
    "created",
)  # of file systems' facts, those that tell a change; the best first
WEB = ("http", "https")  # without lists of files
MISSING = (403, 404, 410)  # what web servers answer; buckets say 403 to those who may not list them

if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())


def located(path: str | Path) -> Path:
    """A path, as a `Remote` if it is a URL."""
    if isinstance(path, Remote):
        return path
    if not (found := URL.fullmatch(str(path))):
        return Path(path)
    scheme, rest = found[1].lower(), found[2].replace("\\", "/").rstrip("/")
    return Path(f"/{rest}") if scheme == "file" else Remote(f"{scheme}:/{rest}")


def local(path: str | Path, option: str = "out") -> Path:
    """A path on this machine.

    Raises
    ------
    InputError
        When it is a URL: as a path it would be a folder named `s3:`.
    """
    found = URL.fullmatch(str(path))
    if isinstance(path, Remote) or (found and found[1].lower() != "file"):
        raise InputError(
            f"{path} is a URL; only zsd predict writes to one", "give a folder of this machine, and copy it there",
            option=option,
        )  # fmt: skip
    return Path(path)


def check_reachable(path: Path) -> None:
    """Ask for a place that results go to.

    Raises
    ------
    InputError
        When it is a URL whose server does not answer or refuses.
    """
    if isinstance(path, Remote):
        try:
            path.exists()
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error})", "check the address, the credentials and AWS_ENDPOINT_URL",
                option="out",
            ) from None  # fmt: skip


class Remote(_Path):
    """A URL as a path. Its methods raise `OSError` for whatever fails."""

    @property
    def scheme(self) -> str:
        """In front of the colon: s3, https."""
        return self.parts[0].rstrip(":")

    @property
    def lists(self) -> bool:
        """Whether the files below can be listed. Web servers do not do so."""
        return self.scheme not in WEB

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join(self.parts[1:])}"

    __repr__ = __str__

    def __fspath__(self) -> str:
        raise InputError(f"{self}: only OME-Zarr can be at a URL", "copy the file to this machine")

    def __reduce__(self) -> Any:
        return located, (str(self),)

    def _do(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the file system. Its library's own errors become `OSError`."""
        system = _file_system(self.scheme)
        try:
            return getattr(system, name)(str(self), *arguments, **options)
        except OSError:
            raise
        except Exception as error:  # of botocore, aiohttp and others
            raise OSError(str(error) or type(error).__name__) from error

    def _kind(self) -> str:
        try:
            return str(self._do("info")["type"])
        except FileNotFoundError as error:
            cause = error.__cause__  # what a web server said, or why it could not
            if not self.lists and cause is not None and getattr(cause, "status", None) not in MISSING:
                raise OSError(str(cause) or type(cause).__name__) from error
            return ""

    def absolute(self) -> "Remote":
        return self

    def resolve(self, strict: bool = False) -> "Remote":  # noqa: ARG002
        return self

    def is_symlink(self) -> bool:
        return False

    def is_file(self, **_: Any) -> bool:
        return self._kind() == "file"

    def is_dir(self, **_: Any) -> bool:
        return self.lists and self._kind() == "directory"

    def exists(self, **_: Any) -> bool:
        return bool(self._kind())

    def open(self, mode: str = "r", *_: Any, **__: Any) -> IO[Any]:  # type: ignore[override]
        return self._do("open", mode)

    def read_bytes(self) -> bytes:
        return bytes(self._do("cat_file"))

    def read_text(self, encoding: str | None = None, *_: Any, **__: Any) -> str:
        return self.read_bytes().decode(encoding or "utf-8")

    def write_bytes(self, data: Any) -> int:
        self._do("pipe_file", bytes(data))
        return len(data)

    def write_text(self, data: str, *_: Any, **__: Any) -> int:
        return self.write_bytes(data.encode())

    def touch(self, *_: Any, **__: Any) -> None:
        self.write_bytes(b"")

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Do nothing: a folder is there when something is in it."""

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._do("rm_file")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def version(self) -> str:
        """Changes whenever the content does: an ETag, where the server has one."""
        return str(self._do("checksum"))

    def size(self) -> int:
        """Bytes."""
        return int(self._do("size"))

    def listed(self) -> dict[str, list[Any]]:
        """Of each file below: its name relative to this one, its size, and what changes when it does."""
        if not self.lists:
            return {}
        start, found = "/".join(self.parts[1:]), self._do("find", detail=True)
        return {
            name.strip("/").removeprefix(start).strip("/"): [
                facts["size"], str(next((facts[key] for key in CHANGES if key in facts), ""))
            ]
            for name, facts in found.items()
        }  # fmt: skip


def _file_system(scheme: str) -> Any:
    try:
        fsspec: Any = import_module("fsspec")

        return fsspec.filesystem(scheme, **FRESH)
    except ImportError as error:
        raise InputError(f"{scheme}:// needs {error.name or 'fsspec'}", "pip install 'zsd[cloud]'") from None
    except ValueError:
        raise InputError(f"{scheme}:// is not known", "give a path, or a URL such as s3:// or https://") from None


def zarr_place(path: Path, *, read_only: bool = False) -> Any:
    """What zarr opens: the path of a folder, or a store of a URL."""
    if not isinstance(path, Remote):
        return path
    _file_system(path.scheme)  # so that a missing library is named
    from zsd_runtime.images.remote_store import RemoteStore  # imports zarr, which takes a moment

    return RemoteStore.from_url(str(path), storage_options=dict(FRESH), read_only=read_only)


def root_of(store: Any) -> Path | None:
    """The folder or URL of a zarr store; None for a zip."""
    if (root := getattr(store, "root", None)) is not None:
        return Path(root)
    system = getattr(store, "fs", None)
    return None if system is None else located(system.unstrip_protocol(store.path))


def files_below(folder: Path) -> Iterable[str]:
    """Names of all files in a folder, relative to it; none of a URL that cannot be listed."""
    return folder.listed() if isinstance(folder, Remote) else _walk(folder)


def _walk(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        relative = Path(parent).relative_to(folder).as_posix()
        yield from (name if relative == "." else f"{relative}/{name}" for name in names)


def create_exclusively(path: Path, text: str) -> None:
    """Write a file that is not there yet; of several processes one succeeds.

    Raises
    ------
    FileExistsError
    """
    if not isinstance(path, Remote):
        with path.open("x") as file:
            file.write(text)
        return
    if path.is_file():
        raise FileExistsError(str(path))
    try:
        path._do("pipe_file", text.encode(), mode="create")
    except FileExistsError:
        raise
    except OSError as error:  # S3's error for a condition that does not hold
        if "PreconditionFailed" in str(error) or "pre-condition" in str(error).lower():
            raise FileExistsError(str(path)) from None
        raise


@contextmanager
def written_in_place(path: "Remote") -> Iterator["Remote"]:
    """A place to write an image to that has its description at the end; what stands there is removed before.

    Raises
    ------
    InputError
        When the place cannot be written to. Nothing is left behind on any error, if the network allows that.
    """
    try:
        remove_below(path)
        yield path
    except BaseException as error:
        with suppress(OSError):
            remove_below(path)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def why_unwritable(folder: Path) -> str:
    """Try to write a file; the reason why that failed, or nothing."""
    try:
        if isinstance(folder, Remote):
            (probe := folder / f".zsd-{uuid.uuid4().hex}").touch()
            probe.unlink()
        else:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".zsd-"):
                pass
    except OSError as error:
        return error.strerror or str(error)
    return ""


def write_at_once(path: Path, data: bytes, own: str) -> None:
    """Write or replace a file, which is whole for whoever reads it; `own` is a name that no other process uses."""
    if isinstance(path, Remote):  # objects appear when they are whole
        path.write_bytes(data)
        return
    temporary = path.with_name(f"{path.name}.{own}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def remove_below(folder: Remote) -> None:
    """Remove a URL and all files below it, if there are any."""
    if folder.exists():
        folder._do("rm", recursive=True)
