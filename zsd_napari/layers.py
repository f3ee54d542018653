"""Layers as sources, and results as layers: axes, units, places, contrast."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from napari.utils.transforms import Affine

from zsd_napari.source import Read, Result, Source
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import Voxel
from zsd_runtime.images.views import View

GUESSED = {2: "YX", 3: "TYX", 4: "TZYX", 5: "TCZYX"}  # where a layer does not name its axes
CHOICES = {2: ("YX",), 3: ("TYX", "ZYX", "CYX"), 4: ("TZYX", "TCYX", "CZYX"), 5: ("TCZYX", "CTZYX")}
NAMES = {"time": "T", "frame": "T", "channel": "C", "plane": "Z", "slice": "Z", "depth": "Z", "row": "Y", "column": "X"}
PERCENTILE = 99.9  # of a result that is brighter than its image, shown as white


def axes_of(layer: Layer) -> str:
    """The axes that a layer names, else a guess: the first of three is time, unless slices have a step of their own."""
    letters = [NAMES.get(name.lower(), name.upper()[:1]) for name in layer.axis_labels]
    if set(letters) <= set("TCZYX") and len(set(letters)) == len(letters) and letters[-2:] == ["Y", "X"]:
        return "".join(letters)
    count = layer.ndim
    if count == 3 and float(layer.scale[0]) != 1 and _um(layer, 0) is not None:
        return "ZYX"
    return GUESSED.get(count, "")


def _um(layer: Layer, axis: int) -> float | None:
    """A layer's step along an axis, µm; None where it is no length."""
    unit = layer.units[axis]
    step = abs(float(layer.scale[axis]))
    if str(unit) in ("pixel", "dimensionless", ""):
        return None
    try:
        return round(step * float((1 * unit).to("micrometer").magnitude), 9)
    except Exception:  # pint's own: seconds, for instance, are no length
        return None


def voxel_of(layer: Layer, axes: str) -> Voxel:
    """The size of a layer's voxels, µm, as far as its units say."""
    sizes = {letter: _um(layer, axis) for axis, letter in enumerate(axes)}
    return Voxel(sizes.get("Z"), sizes.get("Y"), sizes.get("X"))


def is_lazy(layer: Image) -> bool:
    """Whether a layer's pixels come from somewhere else than memory."""
    return not isinstance(finest(layer), np.ndarray) or isinstance(finest(layer), np.memmap)


def finest(layer: Image) -> Any:
    """A layer's data, of several resolutions the best."""
    return layer.data[0] if layer.multiscale else layer.data


def source_of(
    layer: Image | None, axes: str, voxel: Voxel | None = None, *, at: Mapping[str, int] | None = None
) -> tuple[Source, Read]:
    """A layer for the worker: what it is, and a function that reads its pixels.

    Parameters
    ----------
    layer : Image or None
    axes : str
        A letter of "TCZYX" for each axis.
    voxel : Voxel
        µm; the layer's own when not given.
    at : mapping of str to int
        Axes that are left out, at one place each: {"C": 1}.

    Raises
    ------
    InputError
        When there is no layer, it is in colour, or the axes do not fit.
    """
    if layer is None:
        raise InputError("there is no image layer", "open an image, or one of the samples (File > Open Sample > zsd)",
                         option="layer")  # fmt: skip
    if layer.rgb:
        raise InputError(
            f"{layer.name} is a colour picture (RGB)", "split it: right-click the layer > Split RGB", option="layer"
        )
    data = finest(layer)
    shape = tuple(int(n) for n in data.shape)
    letters = axes.upper().strip()
    if len(letters) != len(shape) or len(set(letters)) < len(letters) or set(letters) - set("TCZYX") or (
        letters[-2:] != "YX" or ("Z" in letters and letters[-3] != "Z")
    ):  # fmt: skip
        raise InputError(
            f"`axes` {letters or 'nothing'} must be {len(shape)} different letters of TCZYX for {layer.name} "
            f"({size_text(shape)}), and end in YX or ZYX",
            f"for instance {GUESSED.get(len(shape), 'YX')}", option="axes",
        )  # fmt: skip
    if data.dtype.kind not in "uif":
        raise InputError(f"{layer.name} holds {data.dtype}", "an image is integers or real numbers", option="layer")
    found = voxel if voxel is not None else voxel_of(layer, letters)
    left = {letters.index(a): i for a, i in (at or {}).items() if a in letters}
    view: Any = View(data, at=left) if left else data
    kept = "".join(a for n, a in enumerate(letters) if n not in left)
    names = channel_names(layer, shape[letters.index("C")]) if "C" in letters else ()
    if "C" in (at or {}) and names:
        names = (names[(at or {})["C"]],)
    source = Source(layer.name, tuple(view.shape), data.dtype.name, kept, found, names, is_lazy(layer))

    def read(box: tuple[int | slice, ...]) -> Any:
        return np.asarray(view[box])

    return source, read


def channel_names(layer: Image, count: int) -> tuple[str, ...]:
    """Of an axis C, from the layer's metadata; none if it does not say."""
    names = layer.metadata.get("channels") or layer.metadata.get("channel_names") or ()
    return tuple(map(str, names)) if len(names) == count else ()


def free_name(names: Sequence[str], wanted: str) -> str:
    """As napari calls layers whose name is taken."""
    return next(name for n in range(len(names) + 1) if (name := wanted if n == 0 else f"{wanted} [{n}]") not in names)


def place_of(
    layer: Image,
    axes: str,
    result: Result,
    left_out: str = "",
    start: Sequence[int] | None = None,
    whole: Sequence[int] | None = None,
) -> tuple[list[float], list[float]]:
    """Scale and translate of a result that lies on its image.

    The first pixel of a finer grid lies in a corner of the image's first pixel, so its centre is not that pixel's.

    Parameters
    ----------
    layer : Image
        That was restored.
    axes : str
        Of the layer.
    result : Result
    left_out : str
        Axes that were left out of the source.
    start, whole : sequence of int
        Of a part of the image: its first pixel, and its size, in pixels of the image, over the last axes.
    """
    kept = _kept(axes, result, left_out)
    shape = [finest(layer).shape[n] for n in kept]
    if whole is not None:
        shape[-len(whole) :] = whole
    sizes = zip(kept, result.shape[-len(kept) :], shape, strict=True)
    finer = np.array([new / old if axes[n] in "ZYX" else 1.0 for n, new, old in sizes])
    corner = np.zeros(len(kept))
    if start is not None:
        corner[-len(start) :] = start
    moved = Affine(
        scale=layer.scale[kept], translate=layer.translate[kept], rotate=layer.rotate[np.ix_(kept, kept)],
        ndim=len(kept),
    )  # fmt: skip
    extra = len(result.axes) - len(kept)  # channels that a model makes of each image
    translate = np.asarray(moved(corner + (1 / finer - 1) / 2)).ravel()
    return [*[1.0] * extra, *(layer.scale[kept] / finer)], [*[0.0] * extra, *translate]


def _kept(axes: str, result: Result, left_out: str) -> list[int]:
    """The axes of a layer that a result has."""
    kept = [n for n, letter in enumerate(axes) if letter not in left_out]
    return kept[-len(result.axes) :]  # frames may have become one image, of structured illumination


def result_layer(
    layer: Image,
    axes: str,
    result: Result,
    data: Any,
    *,
    offset: float,
    left_out: str = "",
    name: str | None = None,
) -> Image:
    """A result as a layer that lies on its image, as dark and bright as that.

    Parameters
    ----------
    layer, axes, result, left_out
        As for `place_of`.
    data : array-like
    offset : float
        Counts of the camera that the result does not have any more.
    name : str
    """
    kept = _kept(axes, result, left_out)
    scale, translate = place_of(layer, axes, result, left_out)
    extra = len(result.axes) - len(kept)
    made = Image(
        data,
        name=name or f"{layer.name} {result.output}",
        scale=scale,
        translate=translate,
        rotate=np.eye(len(scale)) if extra else layer.rotate[np.ix_(kept, kept)],
        units=[*["pixel"] * extra, *(layer.units[n] for n in kept)],
        axis_labels=[letter.lower() for letter in result.axes],
        colormap=layer.colormap,
        contrast_limits=contrast_of(layer, offset),
        blending=layer.blending,
        multiscale=False,
        metadata={"zsd": {"output": result.output, "source": layer.name, "offset": offset}},
    )
    if names := layer.metadata.get("channels"):
        made.metadata["channels"] = names
    return made


def contrast_of(layer: Image, offset: float) -> tuple[float, float]:
    """What is black and white in the result of a layer, as in the layer itself."""
    low, high = (float(v) - offset for v in layer.contrast_limits)
    return max(0.0, low), max(high, low + 1, 1.0)


def fit_contrast(layer: Image, sample: Any) -> None:
    """White at the result's brightest part, if that is brighter than the image's: sharper images have higher peaks."""
    high = float(np.percentile(sample, PERCENTILE))
    low, before = layer.contrast_limits
    if high > before:
        layer.contrast_limits_range = (min(low, float(np.min(sample))), float(np.max(sample)))
        layer.contrast_limits = (low, high)


def opened(result: Result) -> Any:
    """A result on the disk as the data of a layer, read where it is looked at."""
    import dask.array as da
    import zarr

    assert result.path is not None
    stored = [letter for letter in "TCZYX" if letter in result.axes]  # the order of OME-Zarr
    finest: Any = da.from_zarr(zarr.open_group(result.path, mode="r")["0"])  # type: ignore[no-untyped-call]
    return finest.transpose([stored.index(letter) for letter in result.axes])


def empty(result: Result) -> Any:
    """Memory for a result that is going to be sent."""
    if prod(result.shape) * np.dtype(result.dtype).itemsize > 1 << 36:
        raise MemoryError(f"the results take {1e-9 * prod(result.shape) * 4:.0f} GB of memory: crop the layer")
    return np.zeros(result.shape, result.dtype)


def default_folder(layer: Image) -> Path:
    """Where results of a layer that is not in memory go: beside its file, else into the home folder."""
    path = layer.source.path
    return (Path(path).parent if path and Path(path).exists() else Path.home()) / "zsd results"
