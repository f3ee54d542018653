"""Pack the compiled plugin: `python fiji/pack.py CLASSES JAR`. The same classes give the same bytes.

The manifest keeps a checksum of the sources: with it tests/test_fiji_install.py finds an outdated jar without a JDK.
"""

import hashlib
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can have


def sources_checksum() -> str:
    """SHA-256 of the plugin's sources and of its menu entries; line ends do not count, since git may change them."""
    checksum = hashlib.sha256()
    for path in sorted([HERE / "plugins.config", *HERE.glob("src/**/*.java")]):
        name = path.relative_to(HERE).as_posix()
        checksum.update(name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return checksum.hexdigest()


def manifest() -> str:
    """META-INF/MANIFEST.MF; a line of it may have 72 bytes, and a longer one goes on after a space."""
    line = f"Zsd-Sources-SHA-256: {sources_checksum()}"
    return f"Manifest-Version: 1.0\r\n{line[:70]}\r\n {line[70:]}\r\n\r\n"


def pack(classes: Path, jar: Path) -> None:
    """Write the jar: sorted entries, one date for all."""
    entries = {path.relative_to(classes).as_posix(): path.read_bytes() for path in classes.rglob("*.class")}
    entries["plugins.config"] = (HERE / "plugins.config").read_bytes().replace(b"\r\n", b"\n")
    ordered = [("META-INF/MANIFEST.MF", manifest().encode()), *sorted(entries.items())]  # Java wants the manifest first
    with zipfile.ZipFile(jar, "w") as archive:
        for name, content in ordered:
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system = 3  # Python's default is the system that it runs on
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
