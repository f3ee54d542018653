"""Which files an OME-TIFF consists of, and which of its descriptions is that of which image."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from zsd_runtime.errors import InputError
from zsd_runtime.images.ome_xml import Ome, OmeImage, parse_ome, without_files
from zsd_runtime.images.series import Found


@contextmanager
def complaints_of_tifffile() -> Iterator[list[str]]:
    """What tifffile logs: some damage it reports nowhere else, and a truncated stack reads as fewer planes."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collect = logging.getLogger("tifffile"), Collect(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collect)
    try:
        yield messages
    finally:
        logger.removeHandler(collect)
        logger.propagate = propagate


def open_with_ome(path: Path) -> tuple[Any, Ome | None, tuple[str, ...]]:
    """The file, with the OME-XML that describes it: its own, or that of its companion."""
    if path.name.lower().endswith(".companion.ome"):
        text = path.read_text(encoding="utf-8", errors="replace")
        ome = _parsed(text, path)
        names = [n for image in ome.images for n in image.files]
        there = [path.parent / n for n in names if (path.parent / n).is_file()]
        if not there:
            raise InputError(f"{path} describes {_listed(names)}, which is missing", "copy its files into its folder")
        return tifffile.TiffFile(there[0], omexml=text), ome, ()
    tiff: Any = tifffile.TiffFile(path)
    try:
        if not tiff.is_ome:
            return tiff, None, ()
        try:
            text = str(tiff.ome_metadata)
            ome = parse_ome(text)
        except ElementTree.ParseError as error:
            # tifffile reads the planes nevertheless
            return tiff, None, (f"the OME description is malformed ({error}), so nothing of it is known",)
        if ome.companion:
            companion = path.parent / ome.companion
            if not companion.is_file():
                raise InputError(
                    f"{path} is described in {ome.companion}, which is missing", f"copy it into {path.parent}"
                )
            text = companion.read_text(encoding="utf-8", errors="replace")
            ome = _parsed(text, companion)
        elif len({n for i in ome.images for n in i.files}) == 1 and ome.missing(path.parent):
            text = without_files(text)  # the file was renamed
            ome = parse_ome(text)
        else:
            return tiff, ome, ()
        tiff.close()
        return tifffile.TiffFile(path, omexml=text), ome, ()
    except BaseException:
        tiff.close()
        raise


def files_of_one_image(path: Path) -> list[Path]:
    """The other files of an OME-TIFF in several files; none for other files, and for what cannot be read."""
    try:
        with complaints_of_tifffile(), tifffile.TiffFile(path) as tiff:
            if not tiff.is_ome:
                return []
            ome = parse_ome(str(tiff.ome_metadata))
            if ome.companion:
                ome = parse_ome((path.parent / ome.companion).read_text(encoding="utf-8", errors="replace"))
    except Exception:  # opening it says what is wrong with it
        return []
    mine = next((image for image in ome.images if path.name in image.files), None)
    # A file with several images, some of them in other files, too, is an image of its own.
    return [path.parent / name for name in mine.files] if mine else []


def _parsed(text: str, path: Path) -> Ome:
    try:
        return parse_ome(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is malformed ({error})", "copy it again") from None


def ome_image(ome: Ome, all_series: list[Any], found: Found, folder: Path) -> OmeImage | None:
    """The description of an image. tifffile leaves out images without planes."""
    images = iter(i for i in ome.images if not i.files or len(ome.missing(folder, (i,))) < len(i.files))
    if found.series.kind == "mmstack":  # one series, one image a position
        return next((i for i in list(images)[next(iter(found.at.values()), 0) :] if i.size == prod(found.shape)), None)
    for series in all_series:
        if series.kind != "ome":
            return None
        size = prod(series.get_shape(False))
        image = next((i for i in images if i.size == size), None)
        if series is found.series:
            return image
    return None


def check_files(ome: Ome, images: tuple[OmeImage, ...], path: Path) -> None:
    """Raise `InputError` where files of `images` are missing; it names them."""
    missing = ome.missing(path.parent, images)
    if missing:
        raise InputError(
            f"{path} is a part of an image in several files, of which {_listed(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            f"copy all of them into {path.parent} under their own names",
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
