"""Which files an OME-TIFF consists of, and which of its descriptions is that of which image."""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from zsd_runtime.errors import InputError
from zsd_runtime.images.ome_xml import Ome, OmeImage, parse_ome, without_files, without_folders
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
        text, ome = _read(path)
        names = [n for image in ome.images for n in image.files]
        there = [path.parent / n for n in names if (path.parent / n).is_file()]
        if not names:
            raise InputError(f"{path} names no files with planes", "give a TIFF")
        if not there:
            raise InputError(f"{path} describes {_listed(names)}, which is missing", "copy its files into its folder")
        return tifffile.TiffFile(there[0], omexml=text), ome, ()
    tiff: Any = tifffile.TiffFile(path)
    try:
        if not tiff.is_ome:
            return tiff, None, ()
        written = str(tiff.ome_metadata)
        try:
            text, ome = _local(written, path.parent)
        except ElementTree.ParseError as error:
            # tifffile reads the planes nevertheless
            return tiff, None, (f"the OME description is malformed ({error}), so nothing of it is known",)
        if ome.companion:
            companion = path.parent / ome.companion
            if not companion.is_file():
                raise InputError(
                    f"{path} is described in {ome.companion}, which is missing", f"copy it into {path.parent}"
                )
            text, ome = _read(companion)
        elif len({n for i in ome.images for n in i.files}) == 1 and ome.missing(path.parent):
            text = without_files(text)  # the file was renamed
            ome = parse_ome(text)
        if text == written:
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
            ome = _local(str(tiff.ome_metadata), path.parent)[1]
            if ome.companion:
                ome = _read(path.parent / ome.companion)[1]
    except Exception:  # opening it says what is wrong with it
        return []
    mine = next((image for image in ome.images if path.name in image.files), None)
    # A file with several images, some of them in other files, too, is an image of its own.
    return [path.parent / name for name in mine.files] if mine else []


def foreign_files(pages: Iterable[Any], image: OmeImage) -> list[str]:
    """Names of files with these pages that are others than the image means: so says the UUID in them."""
    parents = {Path(page.parent.filehandle.path).name: page.parent for page in pages}
    found = {name: (_own_uuid(parents[name]), uuid) for name, uuid in image.files.items() if name in parents}
    return [name for name, (own, meant) in found.items() if own and meant and own != meant]


def _own_uuid(tiff: Any) -> str:
    """What a file is called in its OME-XML, of which only the beginning is read: it may have many MB."""
    tag = tiff.pages.first.tags.get("ImageDescription")
    if tag is None:
        return ""
    with Path(tiff.filehandle.path).open("rb") as file:
        file.seek(tag.valueoffset)
        match = re.search(rb'<(?:\w+:)?OME\s[^>]*\bUUID="([^"]*)"', file.read(min(tag.count, 4096)))
    return match[1].decode("ascii", "replace") if match else ""


def _read(companion: Path) -> tuple[str, Ome]:
    """The OME-XML in a companion, and what it says."""
    try:
        return _local(companion.read_text(encoding="utf-8", errors="replace"), companion.parent)
    except ElementTree.ParseError as error:
        raise InputError(f"{companion} is malformed ({error})", "copy it again") from None


def _local(text: str, folder: Path) -> tuple[str, Ome]:
    """An OME-XML and what it says; without the folders of files if those are missing here."""
    ome = parse_ome(text)
    if ome.has_folders and ome.missing(folder):
        text = without_folders(text)
        ome = parse_ome(text)
    return text, ome


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
