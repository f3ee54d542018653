"""MRC, of electron microscopes, and DV, its dialect of DeltaVision and of structured illumination; read by mrcfile.

The dialects share the first words of a header of 1024 bytes. MRC has cells in Å. DV has no stamp of MRC but one of its
own, pixel sizes in µm, and says how frames, channels and slices alternate.
"""

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images.image import Channel, Description, Format, Image
from zsd_runtime.images.units import time_s, voxel_um
from zsd_runtime.images.vendor.library import library
from zsd_runtime.images.vendor.stage import first_voxel_um

Order = Literal["<", ">"]
HEADER_BYTES = 1024
# Byte offsets in the header, and types, of what DV says beside MRC.
DV = np.dtype(
    {
        "names": ["integers", "floats", "frames", "order", "channels", "wavelengths"],
        "formats": ["i2", "i2", "i2", "i2", "i2", ("i2", 5)],
        "offsets": [128, 130, 180, 182, 196, 198],
        "itemsize": HEADER_BYTES,
    }
)
DV_STAMPS: dict[bytes, Order] = {b"\xa0\xc0": "<", b"\xc0\xa0": ">"}  # at byte 96
DV_MODES = {0: "u1", 1: "i2", 2: "f4", 4: "c8", 5: "i2", 6: "u2", 7: "i4"}
DV_ORDERS = {0: "CTZ", 1: "TZC", 2: "TCZ"}  # the last letter changes fastest
IMOD = np.dtype({"names": ["stamp", "flags"], "formats": ["i4", "i4"], "offsets": [152, 156], "itemsize": HEADER_BYTES})
IMOD_STAMP = 1146047817


def _recognises(path: Path) -> bool:
    return path.suffix.lower() in MRC.suffixes and path.is_file()


def _open(path: Path, axes: str | None, series: int | None) -> Image:  # noqa: ARG001
    mrcfile = library("mrcfile", path)
    if series:
        raise InputError(f"`series` {series} does not exist: {path} holds one image", option="series")
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise InputError(f"{path} is cut off: it has {size} bytes, fewer than the header of MRC", "copy it again")
    header, order, is_dv = _header(path, mrcfile)
    mode, shape = int(header["mode"]), (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    if min(shape) < 1 or header["nsymbt"] < 0:
        raise InputError(f"{path} is not a readable MRC: its header says {size_text(shape)} pixels", "copy it again")
    dtype = _dtype(path, header, mode, is_dv, order, mrcfile)
    start = HEADER_BYTES + int(header["nsymbt"])
    end = start + shape[0] * shape[1] * shape[2] * dtype.itemsize
    if dtype.kind == "c":
        raise InputError(
            f"{path} holds complex numbers, as an optical transfer function does: an image is integers or real numbers",
            "`zsd psf from-otf` makes a PSF from it",
        )
    if end > size:
        raise InputError(f"{path} is cut off: it has {size} bytes and its pixels reach to {end}", "copy it again")
    data = np.memmap(path, dtype, "r", start, shape)
    if is_dv:
        return _dv(path, data, header, order)
    return _mrc(data, header)


def _header(path: Path, mrcfile: Any) -> tuple[Any, Order, bool]:
    """The header, the byte order, and whether it is DV."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    stamped: Order | None = DV_STAMPS.get(head[96:98])
    if stamped and head[208:211] != b"MAP":
        return np.frombuffer(head, mrcfile.dtypes.HEADER_DTYPE.newbyteorder(stamped))[0], stamped, True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stamps that old files do not have
        with mrcfile.open(path, permissive=True, header_only=True) as mrc:
            header = mrc.header.copy()
    return header, "<" if header["nx"].dtype == np.dtype("<i4") else ">", False


def _dtype(path: Path, header: Any, mode: int, is_dv: bool, order: Order, mrcfile: Any) -> np.dtype[Any]:
    if is_dv:
        if mode not in DV_MODES:
            raise InputError(f"{path} is DV of mode {mode}, a number type that zsd does not read", "save it as TIFF")
        return np.dtype(DV_MODES[mode]).newbyteorder(order)
    try:
        dtype = np.dtype(mrcfile.utils.dtype_from_mode(mode))
    except ValueError:
        raise InputError(
            f"{path} is MRC of mode {mode}, a number type that zsd does not read", "save it as TIFF"
        ) from None
    imod = np.frombuffer(header.tobytes(), IMOD.newbyteorder(order))[0]
    if mode == 0 and imod["stamp"] == IMOD_STAMP and not imod["flags"] & 1:
        dtype = np.dtype("u1")  # IMOD's bytes are unsigned unless it says otherwise
    return dtype.newbyteorder(order)


def _mrc(data: Any, header: Any) -> Image:
    """A volume, a stack of volumes, or a stack of images (which the header says by a cell of one slice)."""
    letters = {1: "X", 2: "Y", 3: "Z"}
    stored = [letters.get(int(n), "") for n in (header["maps"], header["mapr"], header["mapc"])]
    axes = "".join(stored) if sorted(stored) == ["X", "Y", "Z"] else "ZYX"
    cell = {a: int(header[f"m{a.lower()}"]) for a in "ZYX"}  # voxels of it
    if axes == "ZYX" and 0 < cell["Z"] < data.shape[0] and data.shape[0] % cell["Z"] == 0:
        data = data.reshape(-1, cell["Z"], *data.shape[1:])
        axes = "TZYX"
    kept = [n > 1 or a in "YX" for a, n in zip(axes, data.shape, strict=True)]
    data = data[tuple(slice(None) if k else 0 for k in kept)]
    axes = "".join(a for a, k in zip(axes, kept, strict=True) if k)
    lengths = {a: header["cella"][a.lower()] for a in axes if a in "ZYX"}
    voxel, odd = voxel_um({a: (_decimal(length / cell[a]), "Å") for a, length in lengths.items() if cell[a] > 0})
    described = Description(size_source="MRC header" if voxel.x_um else "", notices=odd)
    return Image(data, axes, voxel, description=described)


def _dv(path: Path, data: Any, header: Any, order: Order) -> Image:
    dv = np.frombuffer(header.tobytes(), DV.newbyteorder(order))[0]
    sections, frames, channels = data.shape[0], max(1, int(dv["frames"])), max(1, int(dv["channels"]))
    slices, rest = divmod(sections, frames * channels)
    if rest:
        raise InputError(
            f"{path} is incomplete: {sections} planes are not {frames} frames of {channels} channels",
            "export the part that is complete from the microscope's software",
        )
    sizes = {"T": frames, "C": channels, "Z": slices}
    nesting = DV_ORDERS.get(int(dv["order"]), "CTZ")
    stage = _stage(path, order, header, dv, [sizes[a] for a in nesting])
    data = data.reshape(*(sizes[a] for a in nesting), *data.shape[1:])
    data = data.transpose([nesting.index(a) for a in "TCZ"] + [3, 4])
    axes = "".join(a for a in "TCZYX" if a in "YX" or sizes[a] > 1)
    data = data[tuple(slice(None) if sizes[a] > 1 else 0 for a in "TCZ")]
    voxel, odd = voxel_um({a: (_decimal(header["cella"][a.lower()]), "µm") for a in axes if a in "ZYX"})
    step, origin = None, {}
    if stage is not None:
        stage = stage.transpose([nesting.index(a) for a in "TCZ"] + [3])[:, 0, 0]  # (T, 4): time, X, Y, Z
        step = time_s((float(stage[-1, 0]) - float(stage[0, 0])) / (frames - 1), "s") if frames > 1 else None
        at = dict(zip("XYZ", stage[0, 1:].tolist(), strict=True))
        if any(at.values()) and np.isfinite(stage[0]).all():
            shape = dict(zip("YX", data.shape[-2:], strict=True))
            origin = first_voxel_um({a: at[a] for a in "YX"}, shape, voxel) | {"Z": at["Z"]}
    described = Description(
        channels=tuple(_channel(int(w)) for w in dv["wavelengths"][:channels]) if channels <= 5 else (),
        time_step_s=step, origin_um=origin, size_source="DV header" if voxel.x_um else "", notices=odd,
    )  # fmt: skip
    return Image(data, axes, voxel, description=described)


def _decimal(value: Any) -> float:
    """float32 0.0626 as 0.0626, not as 0.0626000016927719."""
    return float(str(np.float32(value)))


def _channel(wavelength_nm: int) -> Channel:
    """DV names channels by their emission; brightfield is negative or 0."""
    known = 300 <= wavelength_nm <= 2000
    return Channel(str(wavelength_nm) if known else "", emission_nm=float(wavelength_nm) if known else None)


def _stage(path: Path, order: Order, header: Any, dv: Any, sizes: list[int]) -> Any:
    """Time (s), X, Y and Z (µm) of each plane, (…, 4), from the extended header: integers, then floats, a plane."""
    integers, floats = int(dv["integers"]), int(dv["floats"])
    words = int(np.prod(sizes)) * (integers + floats)
    if floats < 5 or integers < 0 or words * 4 > int(header["nsymbt"]):
        return None
    found = np.fromfile(path, np.dtype("f4").newbyteorder(order), words, offset=HEADER_BYTES)
    found = found.reshape(*sizes, integers + floats)[..., integers + 1 : integers + 5]
    with np.errstate(invalid="ignore"):  # NaN
        return found.astype(np.float64)


MRC = Format("MRC", (".mrcs", ".mrc", ".r3d", ".d3d", ".dv"), _recognises, _open)
