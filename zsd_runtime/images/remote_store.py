"""The files behind a URL as a store of zarr, whose failures are `OSError`, as those of a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zarr.storage import FsspecStore


class RemoteStore(FsspecStore):
    """With the errors of file systems in place of those of botocore, aiohttp and others."""

    async def get(self, key: str, *arguments: Any, **options: Any) -> Any:
        """As `FsspecStore`."""
        with failures():
            return await super().get(key, *arguments, **options)

    async def set(self, key: str, *arguments: Any, **options: Any) -> None:
        """As `FsspecStore`."""
        with failures():
            await super().set(key, *arguments, **options)


@contextmanager
def failures() -> Iterator[None]:
    """Turn what libraries of the network raise into `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error
