"""What programs other than ImageJ and OME's say in their TIFF files: Micro-Manager, MetaMorph, Zeiss, Olympus."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tifffile

from zsd_runtime.images.image import Channel, Description, Voxel
from zsd_runtime.images.units import number, position_um, time_s, voxel_um

Sizes = dict[str, tuple[object, str | None]]


def describe_maker(tiff: Any, page: Any, per_pixel: dict[str, float | None]) -> tuple[Voxel, Description]:
    """Voxel size and description, from the first program whose marks the file bears.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    page : tifffile.TiffPage
        Of the image.
    per_pixel : dict of str to float
        What the resolution tags say of a pixel in Y and X, cm.
    """
    for name, read in _MAKERS.items():
        found = read(tiff, page)
        if found is not None:
            return _with_source(found, name)
    voxel, notices = voxel_um({axis: (size, "cm") for axis, size in per_pixel.items()})
    return voxel, Description(size_source="resolution tags" if voxel != Voxel() else "", notices=notices)


def _with_source(found: tuple[Sizes, dict[str, Any]], name: str) -> tuple[Voxel, Description]:
    sizes, rest = found
    voxel, notices = voxel_um({axis: size for axis, size in sizes.items() if number(size[0]) != 0})
    return voxel, Description(size_source=name if voxel != Voxel() else "", notices=notices, **rest)


def micromanager_summary(summary: dict[str, Any], plane: dict[str, Any]) -> tuple[Sizes, dict[str, Any]]:
    """Sizes and the rest of a description, from Micro-Manager's summary and the metadata of the first plane."""
    pixel = next(
        (v for m in (plane, summary) for k in ("PixelSizeUm", "PixelSize_um") if number(v := m.get(k))), None
    )  # 0 stands for unknown
    names, colors = summary.get("ChNames") or [], summary.get("ChColors") or []
    names = [names] if isinstance(names, str) else names
    channels = [Channel(str(n), _color(colors[i] if i < len(colors) else None)) for i, n in enumerate(names)]
    origin = {a: position_um(plane.get(f"{a}PositionUm"), "um") for a in "ZYX"}
    rest = {
        "channels": tuple(channels),
        "time_step_s": time_s(summary.get("Interval_ms", summary.get("WaitInterval")), "ms"),
        "origin_um": {a: um for a, um in origin.items() if um is not None},
    }
    return {"Z": (summary.get("z-step_um"), "um"), "Y": (pixel, "um"), "X": (pixel, "um")}, rest


def _color(value: object) -> str | None:
    """Micro-Manager's signed number: opacity, red, green, blue."""
    return f"{int(value) & 0xFFFFFF:06X}" if isinstance(value, int) and value not in (0, -1) else None


def _micromanager(tiff: Any, page: Any) -> tuple[Sizes, dict[str, Any]] | None:
    tag = page.tags.get("MicroManagerMetadata")
    whole = tiff.micromanager_metadata if tiff.is_micromanager else None
    if tag is None and whole is None:
        return None
    plane = tag.value if tag is not None and isinstance(tag.value, dict) else {}
    sizes, rest = micromanager_summary((whole or {}).get("Summary") or {}, plane)
    if tiff.is_ndtiff:
        rest["channels"] = _ndtiff_channels(Path(tiff.filehandle.path).parent / "NDTiff.index") or rest["channels"]
    return sizes, rest


def _ndtiff_channels(index: Path) -> tuple[Channel, ...]:
    """In the order in which they appear, which is tifffile's."""
    if not index.is_file():
        return ()
    names = (entry[0].get("channel") for entry in tifffile.read_ndtiff_index(index))
    return tuple(Channel(name) for name in dict.fromkeys(names) if isinstance(name, str))


def slices_metadata(folder: Path) -> tuple[Sizes, dict[str, Any]]:
    """What Micro-Manager's metadata.txt says of a folder with one file a slice."""
    try:
        text = json.loads((folder / "metadata.txt").read_text(encoding="utf-8", errors="replace"))
        plane = next((v for k, v in text.items() if k != "Summary" and isinstance(v, dict)), {})
        return micromanager_summary(text.get("Summary") or {}, plane)
    except (OSError, ValueError, AttributeError):
        return {}, {}


def _metamorph(tiff: Any, page: Any) -> tuple[Sizes, dict[str, Any]] | None:  # noqa: ARG001
    stk = tiff.stk_metadata
    if not stk:
        return None
    unit = str(stk.get("CalibrationUnits", ""))
    calibrated = stk.get("SpatialCalibration", 1)
    distances = stk.get("ZDistance")
    sizes: Sizes = {a: (stk.get(f"{a}Calibration") if calibrated else None, unit) for a in "YX"}
    sizes = {a: (None if v is None else float(v), u) for a, (v, u) in sizes.items()}  # they are fractions
    if distances is not None and len(distances):
        sizes["Z"] = (float(distances[0]), unit or "um")
    return sizes, {"name": str(stk.get("Name", "")).strip("\0")}


def _metaxpress(tiff: Any, page: Any) -> tuple[Sizes, dict[str, Any]] | None:  # noqa: ARG001
    plane = (tiff.metaseries_metadata or {}).get("PlaneInfo")
    if not plane:
        return None
    unit = str(plane.get("spatial-calibration-units", ""))
    on = plane.get("spatial-calibration-state", True)
    return {a: (plane.get(f"spatial-calibration-{a.lower()}") if on else None, unit) for a in "YX"}, {}


def _zeiss(tiff: Any, page: Any) -> tuple[Sizes, dict[str, Any]] | None:  # noqa: ARG001
    lsm = tiff.lsm_metadata
    if not lsm:
        return None
    colors = lsm.get("ChannelColors") or {}
    names, rgb = colors.get("ColorNames") or [], colors.get("Colors") or []
    channels = [
        Channel(str(n), "".join(f"{int(v):02X}" for v in rgb[i][:3]) if i < len(rgb) else None)
        for i, n in enumerate(names)
    ]
    rest = {"channels": tuple(channels), "time_step_s": time_s(lsm.get("TimeIntervall"), "s")}
    return {a: (lsm.get(f"VoxelSize{a}"), "m") for a in "ZYX"}, rest


def _olympus(tiff: Any, page: Any) -> tuple[Sizes, dict[str, Any]] | None:  # noqa: ARG001
    dimensions = (tiff.fluoview_metadata or {}).get("Dimensions")
    if not dimensions:
        return None
    found = {str(d[0]).strip().upper(): (float(d[3]), str(d[4])) for d in dimensions}
    step = found.get("T")
    return {a: found[a] for a in "ZYX" if a in found}, {"time_step_s": time_s(*step) if step else None}


def _sis(tiff: Any, page: Any) -> tuple[Sizes, dict[str, Any]] | None:  # noqa: ARG001
    sis = tiff.sis_metadata
    return ({a: (sis.get(f"pixelsize{a.lower()}"), "m") for a in "YX"}, {}) if sis else None


_MAKERS: dict[str, Callable[[Any, Any], tuple[Sizes, dict[str, Any]] | None]] = {
    "Micro-Manager": _micromanager, "MetaMorph": _metamorph, "MetaXpress": _metaxpress, "Zeiss LSM": _zeiss,
    "FluoView": _olympus, "Olympus SIS": _sis,
}  # fmt: skip
