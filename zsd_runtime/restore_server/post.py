"""`POST /restore`: an image in the body, its results in the answer."""

import asyncio
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from zsd_runtime.batch import predict_files
from zsd_runtime.errors import InputError, Interrupted
from zsd_runtime.files import cannot_write
from zsd_runtime.images import open_image
from zsd_runtime.model import Model
from zsd_runtime.restore_server.last import LastResult
from zsd_runtime.restore_server.wanted import Wanted, wanted_of
from zsd_runtime.summary import Restored, warning_lines
from zsd_runtime.terminal import Bar

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

GONE_S = 0.25  # between two looks whether the client still waits
Refusal = tuple[int, str]  # status, sentence


@dataclass(eq=False)
class Restoring:
    """Restores what is sent, one image after the other.

    Attributes
    ----------
    models : sequence of Model
        One, or one a channel.
    last : LastResult
    memory : int or None
        Bytes that a prediction may take.
    largest : int
        Bytes that an image may have.
    most : int
        Images that may be here at once: one is restored, the others wait.
    outdated : callable
        Whether the package has changed since it was opened.
    """

    models: Sequence[Model]
    last: LastResult
    memory: int | None
    largest: int
    most: int
    outdated: Callable[[], bool]
    _here: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self, request: "Request") -> "Response":
        """Answer a request: 200 with the results, or a sentence with another status."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import PlainTextResponse, Response

        refusal = self._refusal(request)
        if refusal is not None:
            status, reason = refusal
            return PlainTextResponse(reason, status, {"connection": "close", "retry-after": "1"})
        self._here += 1
        folder = Path(tempfile.mkdtemp(prefix="zsd-"))
        keep = False
        try:
            wanted = wanted_of(request.query_params, self._outputs)
            image = folder / "in" / wanted.name
            if not await self._received(request, image):
                reason = f"the image is larger than {self.largest / 1e9:g} GB: start zsd serve with a larger --largest"
                return PlainTextResponse(reason, 413, {"connection": "close"})
            async with self._turn:
                answer = await self._answer(request, wanted, image, folder)
            keep = answer.status_code == 200
            return answer
        except InputError as error:
            return PlainTextResponse(_sentence(error, folder), 400)
        except OSError as error:
            return PlainTextResponse(_sentence(cannot_write(folder / wanted.name, error), folder), 500)
        except (ClientDisconnect, Interrupted):
            return Response(status_code=499)  # nobody reads it
        finally:
            self._here -= 1
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _outputs(self) -> list[str]:
        return [output.name for output in self.models[0].description.outputs]

    def _refusal(self, request: "Request") -> "Refusal | None":
        """Why a request is refused before its image is read."""
        if self.outdated():
            return 409, "the package has changed since zsd serve opened it: start zsd serve again"
        if self._here >= self.most:
            return 503, f"{self._here} images are waiting already: send this one later"
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.largest:
            return 413, f"the image is larger than {self.largest / 1e9:g} GB: start zsd serve with a larger --largest"
        return None

    async def _received(self, request: "Request", path: Path) -> bool:
        """Write the body to a file; False if it is too large."""
        path.parent.mkdir()
        size = 0
        with path.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > self.largest:
                    return False
                await asyncio.to_thread(file.write, part)
        if not size:
            raise InputError("the request has no image", "send the bytes of a TIFF as its body")
        return True

    async def _answer(self, request: "Request", wanted: Wanted, image: Path, folder: Path) -> "Response":
        """Restore an image in a thread, which stops when the client goes."""
        from starlette.background import BackgroundTask
        from starlette.responses import FileResponse, PlainTextResponse

        gone, notices = Event(), list[str]()
        work = asyncio.create_task(asyncio.to_thread(self._restored, wanted, image, folder / "out", notices, gone))
        try:
            while not (await asyncio.wait({work}, timeout=GONE_S))[0]:
                if await request.is_disconnected():
                    gone.set()
        finally:
            gone.set()  # when the server closes, too
        try:
            path = work.result()
        except (RuntimeError, MemoryError, OSError) as error:
            return PlainTextResponse(f"{type(error).__name__}: {error}".replace(f"{folder}", ""), 500)
        return FileResponse(
            path, filename=path.name, media_type="image/tiff" if wanted.output else "application/zip",
            headers={"zsd-notices": json.dumps(notices)}, background=BackgroundTask(shutil.rmtree, folder, True),
        )  # fmt: skip

    def _restored(self, wanted: Wanted, image: Path, out: Path, notices: list[str], gone: Event) -> Path:
        """The file to send back."""

        @contextmanager
        def progress(title: str) -> Iterator[Bar]:  # noqa: ARG001
            def bar(share: float, text: str = "", milestone: bool = False) -> None:  # noqa: ARG001
                if gone.is_set():
                    raise Interrupted("nobody waits for the image")
                if milestone and text:
                    notices.append(text)

            yield bar

        arrived, outcomes = self.last.arrived(), list[Restored]()
        try:
            how = wanted.how(out, self.memory, notices.append)
            predict_files(self.models, [image], how, progress, outcomes.append)
        except Exception as error:
            text = _sentence(error, image.parent.parent) if isinstance(error, InputError) else str(error)
            self.last.failed(text)
            raise
        notices += [f"warning: {line}" for line in warning_lines(outcomes)]
        notices[:] = [text.replace(f"{image.parent}/", "") for text in notices]
        results = dict(zip(self._outputs, outcomes[0].results, strict=True))
        raw = open_image(image, wanted.axes, wanted.series)
        self.last.finished(raw, {name: open_image(path) for name, path in results.items()}, wanted.name, arrived)
        return results[wanted.output] if wanted.output else _zipped(list(results.values()), out / "results.zip")


def _zipped(files: list[Path], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # noise hardly gets smaller
        for file in files:
            archive.write(file, file.name)
    return path


def _sentence(error: InputError, folder: Path) -> str:
    """An error with the names that the client knows: no folders of the server, options as in the query."""
    text = error.message(lambda option: option)
    for inside in (folder / "in", folder / "out", folder):
        text = text.replace(f"{inside}/", "").replace(f"{inside}\\", "")
    return text


def restore_route(restoring: Restoring) -> Any:
    """The route of `POST /restore`."""
    from starlette.routing import Route

    return Route("/restore", restoring.__call__, methods=["POST"])
