"""TIFF, OME-TIFF, ImageJ hyperstacks, PNG and OME-Zarr, in and out: array, axes, pixel size, what else a file says.

Files of any size: what is opened is read where it is sliced, what is created is written where it is assigned.
"""

import logging
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole

# What ImageJ's and OME's words for units make in µm.
UM = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
# Kept from ImageJ's description; ranges, labels and lookup tables would not fit new intensities.
_IMAGEJ_KEPT = ("Info", "finterval", "fps", "tunit", "loop")
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")
READ_AT_ONCE = 1 << 30  # bytes of a compressed TIFF; larger ones are decoded where they are sliced


@dataclass(frozen=True)
class Voxel:
    """The size of a voxel, µm, axis by axis; None where it is not known."""

    z_um: float | None = None
    y_um: float | None = None
    x_um: float | None = None

    @classmethod
    def square(cls, pixel_size_um: float | None, z_step_um: float | None = None) -> Self:
        """Pixels as high as wide, and slices `z_step_um` apart."""
        return cls(z_step_um, pixel_size_um, pixel_size_um)

    def __getitem__(self, axis: str) -> float | None:
        """Along an axis, "Z", "Y" or "X"; None along others."""
        return getattr(self, f"{axis.lower()}_um", None)

    def finer(self, factors: dict[str, float]) -> Self:
        """On a grid that many times as fine along each axis."""
        return type(self)(*(size and size / factors.get(axis, 1.0) for axis in "ZYX" for size in [self[axis]]))

    def pixel_size_um(self, name: str) -> float | None:
        """Of square pixels.

        Raises
        ------
        InputError
            When they are not square; `name` is what they are of.
        """
        if self.y_um and self.x_um and abs(self.y_um - self.x_um) > 1e-3 * self.y_um:
            raise InputError(f"{name} has pixels of {self.y_um:g} x {self.x_um:g} µm", "resample it to square ones")
        return self.x_um if self.y_um else None


@dataclass(frozen=True)
class Image:
    """An image as it came.

    data : ndarray, or what takes slices like one; one axis a letter of `axes` ("TCZYX" or part of it, Y and X last) ·
    voxel : as far as the file says · ome : written as OME-TIFF · metadata : what tifffile takes back when writing.
    """

    data: Any
    axes: str
    voxel: Voxel = Voxel()
    ome: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def planes(self, spatial: str) -> list[NDArray[np.generic]]:
        """The arrays over the `spatial` axes ("YX" or "ZYX"), in the order of the others."""
        first = len(self.axes) - len(spatial)
        return [self.data[index] for index in np.ndindex(self.data.shape[:first])]

    def resized(self, shape: tuple[int, ...], dtype: str, axes: str | None = None) -> Self:
        """The same field on another grid, of other axes if given; pixel sizes follow; its zeros take no memory."""
        axes = axes or self.axes
        old = dict(zip(self.axes, self.data.shape, strict=True))
        finer = {a: n / old[a] for a, n in zip(axes, shape, strict=True) if a in old}
        metadata = dict(self.metadata)
        if finer.get("C") != 1:  # their names are those of other channels
            metadata.pop("Channel", None)
        data = np.broadcast_to(np.zeros((), dtype), shape)
        return replace(self, data=data, axes=axes, voxel=self.voxel.finer(finer), metadata=metadata)


def image_files(path: Path) -> list[Path]:
    """The images that `path` stands for: itself, or if it is a folder (not a Zarr one) what lies in it, by name.

    Raises
    ------
    InputError
        When there is none in the folder.
    """
    if not path.is_dir() or path.suffix == ".zarr" or _is_zarr(path):
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in (".tif", ".tiff", ".png", ".zarr"))
    files = [p for p in files if not p.name.startswith(".")]  # macOS's shadows, and what is being written
    if not files:
        raise InputError(f"{path} is a folder without images: give a folder of TIFF, PNG or OME-Zarr")
    return files


def open_image(path: str | Path, axes: str | None = None) -> Image:
    """Open an image file without reading its pixels, where it can be: `data` takes slices.

    Parameters
    ----------
    path : path
        TIFF (also OME-TIFF and ImageJ hyperstacks), PNG, or a Zarr folder.
    axes : str
        Letters of "TCZYX" that overrule what the file says of its axes.

    Raises
    ------
    InputError
        When the file is missing, not an image, cut off, in colour, or holds values that are not real numbers.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: give a TIFF or PNG file, or a Zarr folder")
    zarr = _is_zarr(path)
    if path.is_dir() and not zarr:
        raise InputError(f"{path} is a folder" + (" that is not Zarr" if path.suffix == ".zarr" else ""))
    try:
        image = _open_zarr(path, axes) if zarr else _read_png(path) if _is_png(path) else _open_tiff(path)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # decoders fail in many ways on damaged files; all mean the same to the user
        raise InputError(f"{path} is not a readable TIFF or PNG ({error}): copy it again, or save it as TIFF") from None
    if axes is not None:
        image = replace(image, axes=_checked_axes(axes, image.data.shape, path))
    elif len(set(image.axes)) < len(image.axes):
        raise InputError(f"{path} does not name its axes, of shape {image.data.shape}: say what they are with --axes")
    elif "S" in image.axes:
        raise InputError(f"{path} is a colour image (RGB): split it into channels and give one of them")
    image = _yx_last(image, path)
    check_shape(image.data, str(path))
    return image


def read_image(path: str | Path, axes: str | None = None) -> Image:
    """As `open_image`, with all pixels in memory and checked."""
    image = open_image(path, axes)
    if not isinstance(image.data, np.ndarray) or isinstance(image.data, np.memmap):
        image = replace(image, data=np.array(image.data[tuple(slice(0, n) for n in image.data.shape)]))
    check_array(image.data, str(path))
    return image


def check_shape(array: Any, name: str) -> None:
    """Raise `InputError` unless `array`, of which no pixel is looked at, holds real numbers."""
    if 0 in array.shape or len(array.shape) < 2:
        raise InputError(f"{name} has shape {array.shape}: an image has at least one pixel in Y and in X")
    if array.dtype.kind not in "uif":
        kind = {"c": "complex numbers", "b": "truth values"}.get(array.dtype.kind, str(array.dtype))
        raise InputError(f"{name} holds {kind}; an image is integers or real numbers: convert it to 16-bit or float")


def check_array(array: NDArray[np.generic], name: str) -> None:
    """Raise `InputError` unless `array` holds real, finite numbers."""
    check_shape(array, name)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise InputError(f"{name} has {count} pixels that are NaN or infinite: repair them, for instance by a median")


def read_box(data: Any, box: tuple[int | slice, ...]) -> NDArray[Any]:
    """A part of `Image.data`; raise `InputError` where a file turns out to be damaged."""
    try:
        return np.asarray(data[box])
    except MemoryError:
        raise
    except Exception as error:  # decoders fail in many ways on damaged files; all mean the same to the user
        raise InputError(f"the image cannot be read ({error}): copy it again") from error


def as_dtype(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """For an integer type: rounded and clipped to its range. `values` may be overwritten."""
    if dtype.kind == "f" or values.dtype == dtype:
        return values
    np.rint(values, out=values)
    np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max, out=values)
    return values.astype(dtype)


def write_image(path: Path, image: Image) -> None:
    """Write a TIFF that appears whole or not at all; see `create_image`."""
    with create_image(path, image) as target:
        target[tuple(slice(0, n) for n in image.data.shape)] = image.data


@contextmanager
def create_image(path: Path, image: Image, scale: tuple[int, ...] = ()) -> Iterator[Any]:
    """Make a file for an image of which only shape, dtype and description are looked at; give what is assigned into.

    The file appears under its name when the block succeeds, or not at all. OME-Zarr if the name ends in .zarr, chunked
    for an image `scale` times as fine as its raw one; else OME-TIFF if `image.ome`; else an ImageJ hyperstack, which
    holds uint8, uint16 and float32.
    """
    if path.is_dir() and not _is_zarr(path):
        raise InputError(f"{path} is a folder that is not Zarr: it is left alone, choose another name")
    if path.is_file() and path.suffix == ".zarr":
        raise InputError(f"{path} is a file, where a folder is to be: remove it, or choose another name")
    if not image.ome and prod(image.data.shape[-2:]) * image.data.dtype.itemsize >= 1 << 32:
        image = replace(image, ome=True)  # ImageJ's kind has no planes of 4 GB
    with written_whole(path) as temporary:
        if path.suffix == ".zarr":
            from zsd_runtime.zarrs import create_zarr

            yield create_zarr(temporary, image, scale)
            return
        target = _TiffTarget(temporary, image)
        try:
            yield target
        finally:
            target.close()


class _TiffTarget:
    """An uncompressed TIFF that is written box by box, with plain writes: a full disk is an error, not a crash."""

    def __init__(self, path: Path, image: Image) -> None:
        self.shape, self.dtype = image.data.shape, image.data.dtype.newbyteorder("<")
        order = image.axes if image.ome else "".join(a for a in "TZCYX" if a in image.axes)  # ImageJ's own
        permutation = [image.axes.index(a) for a in order]
        shape = [self.shape[axis] for axis in permutation]
        self._offset = _empty_tiff(path, image, order, tuple(shape))
        strides = [int(np.prod(shape[axis + 1 :])) * self.dtype.itemsize for axis in range(len(shape))]
        self._strides = [strides[permutation.index(axis)] for axis in range(len(shape))]
        self._file = path.open("r+b", buffering=0)

    def __setitem__(self, box: tuple[int | slice, ...], values: Any) -> None:
        starts = [b.start if isinstance(b, slice) else b for b in box]
        first = self._offset + sum(s * stride for s, stride in zip(starts, self._strides, strict=True))
        lengths = [b.stop - b.start if isinstance(b, slice) else 1 for b in box]
        values = np.ascontiguousarray(values, self.dtype).reshape(lengths)
        # Rows are contiguous in the file; rows of full width are so together.
        together = 2 if lengths[-1] == self.shape[-1] else 1
        for index in np.ndindex(*lengths[:-together]):
            self._file.seek(first + sum(i * stride for i, stride in zip(index, self._strides, strict=False)))
            left = memoryview(values[index]).cast("B")
            while left:  # a write may take less than all, when the disk is nearly full or above 2 GB
                left = left[self._file.write(left) :]

    def close(self) -> None:
        self._file.close()


def _empty_tiff(path: Path, image: Image, order: str, shape: tuple[int, ...]) -> int:
    """Write all of a TIFF but its pixels, for which room is left; the offset of the first."""
    z, y, x = image.voxel.z_um, image.voxel.y_um, image.voxel.x_um
    common: dict[str, Any] = {"shape": shape, "dtype": image.data.dtype.newbyteorder("<"), "returnoffset": True}
    with warnings.catch_warnings():
        # Above 4 GB an ImageJ hyperstack has one directory, "truncated"; ImageJ knows to go on by itself.
        warnings.simplefilter("ignore")
        if image.ome:
            units = {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
            sizes = {"PhysicalSizeY": y, "PhysicalSizeX": x, **units} if y else {}
            depth = {"PhysicalSizeZ": z, "PhysicalSizeZUnit": "µm"} if z else {}
            metadata = {**image.metadata, "axes": order, **sizes, **depth}
            written = tifffile.imwrite(path, ome=True, photometric="minisblack", metadata=metadata, **common)
        else:
            metadata = {**image.metadata, "axes": order}
            if y:
                metadata["unit"] = "um"
            if z:
                metadata["spacing"] = z
            resolution = (1 / x, 1 / y) if x and y else None
            written = tifffile.imwrite(path, imagej=True, resolution=resolution, metadata=metadata, **common)
    assert written is not None
    return int(written[0])


def stem(path: Path) -> str:
    """File name without .tif, .ome.tif and the like."""
    name = path.name
    for suffix in (".ome.tiff", ".ome.tif", ".ome.zarr", ".tiff", ".tif", ".png", ".zarr"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in ZARR_FILES)


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _open_zarr(path: Path, axes: str | None) -> Image:
    from zsd_runtime.zarrs import open_zarr  # zarr takes a moment to import

    return open_zarr(path, axes)


def _read_png(path: Path) -> Image:
    import imageio.v3 as iio

    data = np.asarray(iio.imread(path, plugin="pillow"))
    return Image(data, "YX" if data.ndim == 2 else "YXS")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs, which is all that it says of some damage: a stack cut off reads as fewer planes."""
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


def _open_tiff(path: Path) -> Image:
    with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise InputError(f"{path} holds no image")
        series = tiff.series[0]
        alike = sum(s.shape == series.shape and s.dtype == series.dtype for s in tiff.series)
        if alike > 1:
            raise InputError(f"{path} holds {alike} images (positions?) in one file: save each as a file of its own")
        page = series.keyframe
        pages = [p for p in series.pages if p is not None]
        for p in pages:  # of a multi-file OME-TIFF, in several files
            size = p.parent.filehandle.size
            end = max((o + n for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)), default=0)
            if end > size:
                raise InputError(f"{path} is cut off: it has {size} bytes and its pixels reach to {end}: copy it again")
        data = _pixels(path, series)
        if any("invalid page offset" in c or "corrupted" in c for c in complaints):
            raise InputError(f"{path} is cut off or damaged: planes are missing: copy it again")
        # tifffile calls axes it has no name for I, Q or others: repeats of the same kind, as far as one can tell.
        axes = "".join(a if a in "TCZYXS" else "T" for a in series.axes)
        if tiff.ome_metadata:
            return _with_ome(Image(data, axes, ome=True), tiff.ome_metadata)
        imagej = tiff.imagej_metadata or {}
        if (imagej.get("c0"), imagej.get("c1")) == (-32768, 1):
            raise InputError(
                f"{path} holds ImageJ's signed 16-bit numbers, which are stored 32768 too high: convert it in ImageJ "
                "(Image > Type > 32-bit) and save it again"
            )
        return _with_resolution(Image(data, axes), page, imagej)


def _pixels(path: Path, series: Any) -> Any:
    """Mapped where the pixels lie as they are; decoded at once if they fit; else decoded where they are sliced."""
    if series.dataoffset is not None and series.keyframe.is_memmappable:
        return tifffile.memmap(path, series=0, mode="r")
    if series.nbytes <= READ_AT_ONCE:
        return np.asarray(series.asarray())
    import zarr

    from zsd_runtime.zarrs import Chunked

    store = tifffile.imread(path, aszarr=True, series=0, level=0)
    chunked = Chunked(zarr.open_array(store, mode="r"))
    weakref.finalize(chunked, store.close)  # the file is open for as long as somebody may slice it
    return chunked


def _with_resolution(image: Image, page: Any, imagej: dict[str, Any]) -> Image:
    def per_pixel(tag: str) -> float | None:
        value = page.tags.get(tag)
        return value.value[1] / value.value[0] if value is not None and value.value[0] else None

    unit = str(imagej.get("unit", "")).lower()
    if not imagej and page.tags.get("ResolutionUnit") is not None and int(page.tags["ResolutionUnit"].value) == 3:
        unit = "cm"  # inches are what programs write that do not know the pixel size
    y, x = per_pixel("YResolution"), per_pixel("XResolution")
    um, spacing = UM.get(unit), imagej.get("spacing")
    voxel = Voxel(
        float(spacing) * um if spacing and um else None, *((y * um, x * um) if y and x and um else (None, None))
    )
    return replace(image, voxel=voxel, metadata={k: imagej[k] for k in _IMAGEJ_KEPT if k in imagej})


def _with_ome(image: Image, xml: str) -> Image:
    # tifffile's own parser gives {'OME': {'Image': {'Pixels': {'PhysicalSizeX': …}}}}, lists where there are several.
    tree = tifffile.xml2dict(xml).get("OME", {})
    if "Image" not in tree:  # the description is in a companion file
        return image
    first = tree["Image"][0] if isinstance(tree["Image"], list) else tree["Image"]
    pixels = first["Pixels"]

    def um(axis: str) -> float | None:
        value = pixels.get(f"PhysicalSize{axis}")
        factor = UM.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).lower())
        return float(value) * factor if value and factor else None

    y, x = um("Y"), um("X")
    channels = pixels.get("Channel")
    channels = channels if isinstance(channels, list) else [channels] if channels else []
    names = [c.get("Name") for c in channels]
    metadata: dict[str, Any] = {key: first[key] for key in ("Name", "Description") if isinstance(first.get(key), str)}
    if "C" in image.axes and names and all(names):
        metadata["Channel"] = {"Name": names}
    for key in ("TimeIncrement", "TimeIncrementUnit"):
        if key in pixels:
            metadata[key] = pixels[key]
    voxel = Voxel(um("Z"), *((y, x) if y and x else (None, None)))
    return replace(image, voxel=voxel, metadata=metadata)


def _checked_axes(axes: str, shape: tuple[int, ...], path: Path) -> str:
    axes = axes.upper()
    if set(axes) - set("TCZYX") or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise InputError(f"--axes {axes} must be different letters of TCZYX, Y and X among them")
    if len(axes) != len(shape):
        raise InputError(f"--axes {axes} names {len(axes)} axes; {path} has shape {shape}, {len(shape)} axes")
    return axes


def _yx_last(image: Image, path: Path) -> Image:
    """Bring Z, Y, X to the end, in that order; the rest keeps its own."""
    if not {"Y", "X"} <= set(image.axes):
        raise InputError(f"{path} has axes {image.axes}: an image has Y and X; say what they are with --axes")
    order = [a for a in image.axes if a not in "ZYX"] + [a for a in "ZYX" if a in image.axes]
    if order == list(image.axes):
        return image
    if not isinstance(image.data, np.ndarray):
        raise InputError(
            f"{path} is stored in the order {image.axes}; too large to turn around: save it as {''.join(order)}"
        )
    data = np.transpose(image.data, [image.axes.index(a) for a in order])
    return replace(image, data=data, axes="".join(order))
