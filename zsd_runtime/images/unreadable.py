"""Image files that zsd does not read: what they are, and what to do with them."""

from pathlib import Path

_FIJI = "open it in Fiji (Bio-Formats) and save it as OME-TIFF"
_RAW = "give the file that the microscope wrote"

# Of microscopes and cameras; a folder of images lists them, too, so that they are not left out without a word.
RAW_FORMATS = {
    ".dcimg": ("a Hamamatsu DCIMG", "save it as TIFF in HCImage or HoKaWo"), ".oib": ("an Olympus OIB", _FIJI),
    ".oif": ("an Olympus OIF", _FIJI), ".oir": ("an Olympus OIR", _FIJI), ".vsi": ("an Olympus VSI", _FIJI),
    ".sld": ("a SlideBook file", _FIJI), ".sldy": ("a SlideBook file", _FIJI), ".zvi": ("a Zeiss ZVI", _FIJI),
    ".ipw": ("an Image-Pro workspace", _FIJI), ".ids": ("an ICS image", _FIJI), ".ics": ("an ICS image", _FIJI),
    ".lei": ("a Leica LEI", _FIJI), ".xlef": ("a Leica XLEF", _FIJI), ".lof": ("a Leica LOF", _FIJI),
    ".fits": ("a FITS image", "save it as TIFF in Fiji"), ".spe": ("a Princeton Instruments SPE", _FIJI),
    ".sif": ("an Andor SIF", _FIJI), ".nrrd": ("an NRRD image", "save it as TIFF in Fiji"),
    ".ets": ("an Olympus ETS", _FIJI),
    ".msr": ("an Abberior MSR", _FIJI), ".obf": ("an Abberior OBF", _FIJI), ".mvd2": ("a Volocity library", _FIJI),
    ".pic": ("a Bio-Rad PIC", _FIJI), ".dm3": ("a Gatan DM3", _FIJI), ".dm4": ("a Gatan DM4", _FIJI),
    ".nii": ("a NIfTI image", _FIJI), ".mhd": ("a MetaImage", _FIJI), ".mha": ("a MetaImage", _FIJI),
    ".klb": ("a Keller Lab Block", "save it as TIFF or OME-Zarr"), ".tdb": ("an Olympus TDB", _FIJI),
}  # fmt: skip

_PICTURES = {
    ".jpg": ("a JPEG", f"its compression has changed the noise: {_RAW}"),
    ".jpeg": ("a JPEG", f"its compression has changed the noise: {_RAW}"),
    ".gif": ("a GIF", _RAW), ".bmp": ("a BMP", "save it as TIFF"), ".webp": ("a WebP", _RAW),
    ".avi": ("a film", _RAW), ".mp4": ("a film", _RAW), ".mov": ("a film", _RAW),
    ".raw": ("a raw dump of pixels", "import it in Fiji (File > Import > Raw) and save it as TIFF"),
    ".npz": ("a NumPy archive", "save one array of it as .npy"), ".mat": ("a MATLAB file", "save its array as TIFF"),
    ".zip": ("a ZIP archive", "unpack it"), ".gz": ("a gzip archive", "unpack it"),
    ".tar": ("a tar archive", "unpack it"), ".7z": ("a 7z archive", "unpack it"),
    ".rar": ("a RAR archive", "unpack it"), ".jp2": ("a JPEG 2000", _RAW),
    ".nd": ("a MetaMorph list of files", "give its TIFF or STK files"),
    ".pdf": ("a PDF", _RAW), ".xml": ("a text", _RAW), ".txt": ("a text", _RAW),
}  # fmt: skip

# First bytes of files that are not what their name says.
_MAGIC = {
    b"\xff\xd8\xff": "a JPEG", b"\x89PNG": "a PNG", b"GIF8": "a GIF", b"BM": "a BMP", b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a ZIP archive", b"ZISRAW": "a Zeiss CZI", b"\xda\xce\xbe\x0a": "a Nikon ND2",
    b"\x1f\x8b": "a gzip archive", b"DCIMG": "a Hamamatsu DCIMG", b"\x93NUMPY": "a NumPy array",
    b"<!DOCTYPE": "a web page", b"<html": "a web page",
    b"\xd0\xcf\x11\xe0": "an OLE file, such as an Olympus OIB or a Zeiss ZVI",
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull gets the file)",
}  # fmt: skip


def known_unreadable(path: Path) -> tuple[str, str] | None:
    """What a file is by its name, and the remedy; None if zsd might read it."""
    suffix = path.suffix.lower()
    return RAW_FORMATS.get(suffix) or _PICTURES.get(suffix)


def real_content(path: Path) -> tuple[str, str] | None:
    """What a file is by its first bytes, and the remedy; None if that is not known."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return None
    if not head:
        return "empty", "copy it again"
    if not head.strip(b"\0"):
        return "nothing but zeros at its start", "copy it again"
    return next(((name, f"save it as TIFF; {_RAW}") for magic, name in _MAGIC.items() if head.startswith(magic)), None)
