"""Small files in the formats of microscope vendors, made for the tests.

Zeiss's own library writes CZI, h5py writes IMS, and mrcfile writes MRC. No library writes ND2, LIF or DV: they are put
together here, byte by byte, as their readers expect them.
"""

import struct
from xml.sax.saxutils import quoteattr

import numpy as np

NAMES = ("GFP", "RFP", "DAPI")
COLORS = ("00FF00", "FF0000", "0000FF")
EMISSIONS_NM = (509.0, 583.0, 461.0)
PIXEL_UM = 0.065


def movie(frames=4, channels=3, side=96, seed=0):
    """Counts (T, C, Y, X): photon noise and read noise on blobs that differ between channels, on an offset of 100."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    truth = np.zeros((channels, side, side))
    for channel in truth:
        for cy, cx in rng.uniform(8, side - 8, (25, 2)):
            channel += 120 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
    noisy = rng.poisson(np.broadcast_to(truth + 5, (frames, *truth.shape))) * 2 + 100
    return np.rint(noisy + rng.normal(0, 3, noisy.shape)).clip(0, 65535).astype(np.uint16)


def counts(*shape, dtype="u2", seed=0):
    values = np.random.default_rng(seed).integers(1, 200 if np.dtype(dtype).itemsize == 1 else 4096, shape)
    return values.astype(dtype)


def czi_planes(array):
    """(T, C, Z, Y, X)"""
    return {at: array[at] for at in np.ndindex(array.shape[:3])}


def nd2_frames(array):
    """(T, C, Z, Y, X) to (frames, Y, X, C)"""
    t, c, z, y, x = array.shape
    return np.moveaxis(array, 1, -1).reshape(t * z, y, x, c)


def three_channels_czi(path, frames=4, side=96):
    """A time-lapse of three channels with names, colours, emission, pixel size, frame interval; its pixels TCYX."""
    pixels = movie(frames, 3, side)
    write_czi(path, {(t, c, 0): pixels[t, c] for t in range(frames) for c in range(3)}, step_s=2.5)
    return pixels


def three_channels_nd2(path, frames=4, side=96):
    """As `three_channels_czi`."""
    pixels = movie(frames, 3, side)
    write_nd2(path, pixels.transpose(0, 2, 3, 1), [time_loop(frames, 2500.0)])
    return pixels


# CZI


def write_czi(path, planes, names=NAMES, pixel_um=PIXEL_UM, step_s=None, z_um=None, change=lambda xml: xml, **options):
    """`planes`: from (T, C, Z) to an array, or to a list of (array, other dimensions, (x, y), scene)."""
    from pylibCZIrw import czi

    channels = 1 + max(c for _, c, _ in planes)
    with czi.create_czi(str(path), exist_ok=True, **options) as file:
        for (t, c, z), tiles in planes.items():
            for array, more, at, scene in tiles if isinstance(tiles, list) else [(tiles, {}, (0, 0), 0)]:
                array = array if array.ndim == 3 else array[..., None]
                if more:  # the public method leaves them out
                    plane = " ".join(f"{a}{n}" for a, n in {"T": t, "C": c, "Z": z, **more}.items())
                    file._czi_writer.AddTile(plane, file._format_data(array), *at, 0, "")
                else:
                    file.write(array, plane={"T": t, "C": c, "Z": z}, location=at, scene=scene)
        file.write_metadata(
            "test", {c: name for c, name in enumerate(names[:channels]) if name}, *[1e-6 * (pixel_um or 0)] * 2,
            1e-6 * (z_um or 0),
        )  # fmt: skip
    with czi.edit_czi(str(path)) as file:
        builder = file.begin_edit()
        xml = builder.get_xml()
        for c in range(min(channels, 3)):
            more = f"<Color>#FF{COLORS[c]}</Color><EmissionWavelength>{EMISSIONS_NM[c]}</EmissionWavelength>"
            start = xml.index(">", xml.index(f'<Channel Id="Channel:{c}"')) + 1
            xml = xml[:start] + more + xml[start:]
        if step_s:
            interval = f"<Interval><Start>0</Start><Increment>{step_s}</Increment></Interval>"
            xml = xml.replace("</Dimensions>", f"<T><Positions>{interval}</Positions></T></Dimensions>", 1)
        builder.set_xml(change(xml))
        builder.commit()


# ND2: chunks with a name, and a map of them at the end. Version 2.1 describes itself in XML.


def time_loop(count, period_ms, measured_ms=0.0):
    values = {"uiCount": count, "dStart": 0.0, "dPeriod": period_ms, "dDuration": 0.0, "dAvgPeriodDiff": measured_ms}
    return 1, values


def z_loop(count, step_um):
    return 4, {"uiCount": count, "dZStep": step_um}


def position_loop(points):
    """`points`: (name, x, y) in µm."""
    listed = {f"i{n:010}": {"dPosX": x, "dPosY": y, "pPosName": name} for n, (name, x, y) in enumerate(points)}
    return 2, {"uiCount": len(points), "Points": listed}


def write_nd2(
    path, frames, loops, names=NAMES, pixel_um=PIXEL_UM, written=None, announced=None, components=None, probes=True
):
    """`frames`: (N, Y, X, C), in the order of the loops, outermost first; `written`: numbers of those in the file."""
    count, height, width, channels = frames.shape
    chunks = {
        b"ImageAttributes!": _variant({
            "uiWidth": width, "uiHeight": height, "uiComp": channels, "uiBpcInMemory": frames.itemsize * 8,
            "uiBpcSignificant": min(12, frames.itemsize * 8) if frames.dtype.kind == "u" else 32,
            "uiSequenceCount": announced or count, "uiWidthBytes": width * channels * frames.itemsize,
        }),
        b"ImageMetadataSeq|0!": _variant({
            "bCalibrated": bool(pixel_um), "dCalibration": pixel_um or 1.0,
            "sPicturePlanes": {
                "uiCount": components or channels,
                "sPlaneNew": {
                    f"a{c}": {
                        "sDescription": names[c], "uiColor": int.from_bytes(bytes.fromhex(COLORS[c]), "little"),
                        "uiCompCount": channels if components else 1,
                        **({"pFluorescentProbe": _probe(EMISSIONS_NM[c])} if probes else {}),
                    }
                    for c in range(components or channels)
                },
            },
        }),
        b"ImageTextInfo!": _variant({"sDescription": ""}),
    }  # fmt: skip
    experiment = None
    for kind, values in reversed(loops):
        inner = {"ppNextLevelEx": {"i0000000000": experiment}} if experiment else {}
        experiment = {"eType": kind, "uLoopPars": values, **inner}
    if experiment:
        chunks[b"ImageMetadata!"] = _variant(experiment)
    content = bytearray(_chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver2.1".ljust(64, b"\0")))
    offsets = {}
    for n in range(count) if written is None else written:
        name = f"ImageDataSeq|{n}!".encode()
        offsets[name] = (len(content), frames[n].nbytes + 8)
        # Pixels begin 4096 bytes after the chunk: 16 of the header, the padded name, 8 of a time stamp.
        content += struct.pack("<IIQ", 0x0ABECEDA, 4072, frames[n].nbytes + 8) + name.ljust(4072, b"\0") + bytes(8)
        content += frames[n].tobytes()
    for name, data in chunks.items():
        offsets[name] = (len(content), len(data))
        content += _chunk(name, data)
    listed = b"".join(name + struct.pack("<QQ", *at) for name, at in offsets.items())
    start = len(content)
    listed += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", start)
    content += _chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", listed)
    content += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", start)
    path.write_bytes(content)


def _chunk(name, data):
    return struct.pack("<IIQ", 0x0ABECEDA, len(name), len(data)) + name + data


def _probe(emission_nm):
    return {
        f"m_{kind}Spectrum": {"uiCount": 1, "pPoint": {"Point0": {"eType": 1, "dWavelength": nm, "dTValue": 1.0}}}
        for kind, nm in (("Excitation", emission_nm - 20), ("Emission", emission_nm))
    }


def _variant(values):
    def node(name, value):
        if isinstance(value, dict):
            inner = "".join(node(*item) for item in value.items())
            return f'<{name} runtype="CLxListVariant">{inner}</{name}>'
        kinds = {bool: "bool", int: "lx_uint32", float: "double", str: "CLxStringW"}
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f'<{name} runtype="{kinds[type(value)]}" value={quoteattr(text)}/>'

    return f'<?xml version="1.0"?>{node("variant", values)}'.encode()


# LIF: an XML header and blocks of memory. https://www.leica-microsystems.com: "Leica Image File Formats", version 3.2.

DIMENSION_IDS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "λ": 5, "M": 10}


def write_lif(path, images, cut=None):
    """`images`: from a name to (array, axes, {axis: (origin, length, unit)}, [(dye, LUT)])."""
    elements, blocks = "", b""
    for n, (name, (array, axes, lengths, channels)) in enumerate(images.items()):
        strides = dict(zip(axes, array.strides, strict=True))
        bits = array.itemsize * 8
        rgb = axes[-1] == "S"
        described = "".join(
            f'<ChannelDescription DataType="{int(array.dtype.kind == "f")}" ChannelTag="{c + 1 if rgb else 0}" '
            f'Resolution="{bits}" NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName={quoteattr(lut)} '
            f'IsLUTInverted="0" BytesInc="{c * strides.get("S" if rgb else "C", 0)}" BitInc="0">'
            f"<ChannelProperty><Key>DyeName</Key><Value>{dye}</Value></ChannelProperty></ChannelDescription>"
            for c, (dye, lut) in enumerate(channels)
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{DIMENSION_IDS[a]}" NumberOfElements="{size}" '
            'Origin="{}" Length="{}" Unit="{}" '.format(*lengths.get(a, (0, 1e-7 * (size - 1), "m")))
            + f'BytesInc="{strides[a]}" BitInc="0"/>'
            for a, size in zip(axes, array.shape, strict=True)
            if a not in "CS"
        )  # fmt: skip
        elements += (
            f'<Element Name={quoteattr(name)} UniqueID="{n}"><Data><Image><ImageDescription><Channels>{described}'
            f"</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{array.nbytes}" MemoryBlockID="MemBlock_{n}"/></Element>'
        )
        label = f"MemBlock_{n}".encode("utf-16-le")
        blocks += struct.pack("<IIBQBI", 0x70, len(label) + 14, 0x2A, array.nbytes, 0x2A, len(label) // 2) + label
        blocks += array.tobytes()
    xml = (
        f'<LMSDataContainerHeader Version="2"><Element Name="Project" UniqueID="p"><Children>{elements}</Children>'
        "</Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    path.write_bytes((struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2) + xml + blocks)[:cut])


# DV: http://www.cgl.ucsf.edu/research/priism, "IVE image file format".

DV_MODES = {"u1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "i4": 7}
DV_ORDERS = {"CTZ": 0, "TZC": 1, "TCZ": 2}


def write_dv(
    path, array, nesting="CTZ", order="<", wavelengths=(528,), pixel_um=(0.08, 0.08, 0.125), stage=None, **words
):
    """`array`: (…, Y, X) with the axes of `nesting` before; `stage`: (planes, 4), time (s), X, Y and Z (µm)."""
    header = bytearray(1024)

    def put(at, kind, *values):
        header[at : at + len(values) * struct.calcsize(kind)] = struct.pack(f"{order}{len(values)}{kind}", *values)

    sizes = dict(zip(nesting, array.shape, strict=False))
    sections = int(np.prod(array.shape[:-2]))
    extended = b""
    if stage is not None:
        rows = np.zeros((sections, 8 + 32), f"{order}f4")
        rows[:, 9:13] = stage
        extended = rows.tobytes()
        extended += bytes(-len(extended) % 1024)
        put(128, "h", 8, 32)
    put(0, "i", array.shape[-1], array.shape[-2], words.get("sections", sections), DV_MODES[array.dtype.str[1:]])
    put(28, "i", 1, 1, 1)
    put(40, "f", *pixel_um)
    put(64, "i", 1, 2, 3)
    put(92, "i", len(extended))
    put(96, "h", -16224)
    put(180, "h", words.get("frames", sizes["T"]), DV_ORDERS[nesting])
    put(196, "h", words.get("channels", sizes["C"]), *wavelengths)
    path.write_bytes(bytes(header) + extended + array.astype(array.dtype.newbyteorder(order)).tobytes())


# IMS


def write_ims(
    path, array, voxel_um=(0.3, 0.1, 0.1), origin_um=(0.0, 0.0, 0.0), chunk=(4, 32, 32), unit="um", **options
):
    """`array`: (T, C, Z, Y, X), padded with zeros to whole chunks; `skip`, `empty`: (t, c) without array, or pixels."""
    import h5py

    def characters(text):
        return np.frombuffer(str(text).encode(), "S1")

    skip, names = options.get("skip", ()), options.get("names", NAMES)
    stored = [-(-n // c) * c for n, c in zip(array.shape[2:], chunk, strict=True)]
    with h5py.File(path, "w") as file:
        for t, c in np.ndindex(array.shape[:2]):
            if (t, c) in skip:
                continue
            group = file.create_group(f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}")
            for axis, n in zip("ZYX", array.shape[2:], strict=True):
                group.attrs[f"ImageSize{axis}"] = characters(n)
            data = group.create_dataset("Data", stored, array.dtype, chunks=chunk, compression="gzip")
            if (t, c) in options.get("empty", ()):
                continue
            data[...] = np.pad(array[t, c], [(0, s - n) for s, n in zip(stored, array.shape[2:], strict=True)])
        info = file.create_group("DataSetInfo/Image")
        info.attrs["Unit"] = characters(unit)
        info.attrs["Name"] = characters("cell µ 1")
        for row, axis in enumerate((2, 1, 0)):
            info.attrs["XYZ"[row]] = characters(array.shape[2 + axis])
            info.attrs[f"ExtMin{row}"] = characters(origin_um[axis])
            info.attrs[f"ExtMax{row}"] = characters(origin_um[axis] + voxel_um[axis] * array.shape[2 + axis])
        for c in range(array.shape[1]):
            channel = file.create_group(f"DataSetInfo/Channel {c}")
            channel.attrs["Name"] = characters(names[c])
            channel.attrs["Color"] = characters(" ".join(str(int(COLORS[c][i : i + 2], 16) / 255) for i in (0, 2, 4)))
            channel.attrs["LSMEmissionWavelength"] = characters(EMISSIONS_NM[c])
        times = file.create_group("DataSetInfo/TimeInfo")
        for t in range(array.shape[0]):
            times.attrs[f"TimePoint{t + 1}"] = characters(f"2024-05-01 10:00:{2 * t:02}.500")
