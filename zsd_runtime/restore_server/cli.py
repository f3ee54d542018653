"""`zsd serve`."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.archive import RDF_NAMES
from zsd_runtime.channel_models import load_models, packages_in
from zsd_runtime.errors import InputError
from zsd_runtime.restore_server.beacon import beacon
from zsd_runtime.restore_server.last import LastResult
from zsd_runtime.restore_server.post import Restoring, restore_route
from zsd_runtime.serve.access import LOOPBACK
from zsd_runtime.serve.page import page_app
from zsd_runtime.serve.server import Server, web_libraries
from zsd_runtime.terminal import Quiet, command_line, reporting
from zsd_runtime.zoo import package_path

WAIT_S = 3600.0  # at a time, so that Ctrl-C arrives on Windows, too

app = command_line()


@app.command()
def serve(
    package: Annotated[Path, typer.Argument(help="Model package, zoo:NAME, or a folder of packages, one a channel.")],
    port: Annotated[int, typer.Option(help="Port to listen at; 0: one that is free.")] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen at. 127.0.0.1: only programs on this computer can connect.")
    ] = "127.0.0.1",
    snapshots: Annotated[
        Path | None, typer.Option(help="Folder for what the page's button Snapshot saves; none: no button.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto (the fastest that works), cpu, cuda, intel or apple.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or coreml.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (the package's own), fp32, bf16, fp16 or int8.")] = "auto",
    memory: Annotated[float | None, typer.Option(help="Memory to use, GB; by default half of the free memory.")] = None,
    largest: Annotated[float, typer.Option(help="Size of the largest image that is taken, GB.")] = 4.0,
    most: Annotated[int, typer.Option(help="Images that may be here at once; one is restored, others wait.")] = 8,
    quiet: Quiet = False,
) -> None:
    """Restore images that other programs send, with a model that is opened once; and show them in a page.

    The first line on the output is the page's address, with the token. POST /restore takes the bytes of a TIFF and
    gives a zip with the results, or one of them with ?output=denoised. The Fiji plugin finds the server by itself.
    Ctrl-C ends it.
    """
    with reporting(quiet):
        web_libraries()
        for option, value in (("memory", memory), ("largest", largest), ("most", most)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"--{option} {value:g} must be above 0")
        if snapshots is not None and snapshots.exists() and not snapshots.is_dir():
            raise InputError(f"--snapshots {snapshots} is a file", "give a folder")
        last = LastResult()
        outdated = changed_since(packages_in(package))
        with load_models(packages_in(package), device, engine=engine, precision=precision) as models:
            limits = None if memory is None else int(memory * 1e9), int(largest * 1e9), most
            restoring = Restoring(models, last, *limits, outdated)
            title = models[0].description.name
            routes = [restore_route(restoring)]
            with (
                Server(lambda access: page_app(last, access, snapshots, title, routes), host=host, port=port) as server,
                beacon(server.address, server.token, package_path(package)),
            ):
                if host not in LOOPBACK and not quiet:
                    print("notice: others on the network can read what is sent; over a tunnel (ssh -L) they cannot",
                          file=sys.stderr)  # fmt: skip
                print(server.url, flush=True)
                try:
                    while not server.wait(WAIT_S):
                        pass
                except KeyboardInterrupt:  # the usual end
                    pass
        done = last.status()["done"]
        print(f"OK {done} image{'s' * (done != 1)} restored")


def changed_since(packages: Sequence[Path]) -> Callable[[], bool]:
    """A function that tells whether packages have changed since now: what is open would restore as before."""

    def state() -> list[tuple[int, int]]:
        files = [path for package in packages for path in _files(package) if path.is_file()]
        return [(status.st_size, status.st_mtime_ns) for status in (path.stat() for path in files)]

    before = state()

    def changed() -> bool:
        try:
            return state() != before
        except OSError:
            return True

    return changed


def _files(package: Path) -> list[Path]:
    """What is written anew when a package is: the zip, or the description in the folder."""
    return [package / name for name in RDF_NAMES] if package.is_dir() else [package]
