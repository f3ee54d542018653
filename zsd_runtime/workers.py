"""Whether the workers of a cluster can do what they are about to be given."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from zsd_runtime.errors import InputError
from zsd_runtime.images.ome_zarr_store import is_zarr
from zsd_runtime.images.remote import Remote, why_unwritable


def _facts(paths: list[Path], out: Path) -> dict[str, Any]:
    """On a worker: its version of zsd, which files it does not see, and why it cannot write to a folder."""
    return {
        "zsd": version("zsd"),
        "unseen": [str(path) for path in paths if "*" not in path.name and not _sees(path)],
        "unwritable": why_unwritable(out),
    }


def _sees(path: Path) -> bool:
    try:
        return is_zarr(path) if isinstance(path, Remote) else path.exists()
    except OSError:
        return False


def check_workers(client: Any, paths: list[Path], out: Path) -> None:
    """Raise `InputError` unless all workers have this version of zsd, see the files, and may write to `out`."""
    try:
        found = client.run(_facts, paths, out)
    except ModuleNotFoundError as error:
        raise InputError(f"the workers have no {error.name}", "install the same zsd there", option="cluster") from None
    own = version("zsd")
    for worker, facts in found.items():
        if facts["zsd"] != own:
            raise InputError(f"worker {worker} has zsd {facts['zsd']}, this machine {own}", "install the same on all")
        if facts["unseen"]:
            raise InputError(
                f"worker {worker} does not see {facts['unseen'][0]}",
                "put it where all machines see it under the same path",
            )
        if facts["unwritable"]:
            raise InputError(
                f"worker {worker} cannot write to {out} ({facts['unwritable']})",
                "give an `out` that all machines see under the same path, with permission to write", option="out",
            )  # fmt: skip
