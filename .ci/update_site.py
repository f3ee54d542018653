"""The files of an update site of ImageJ: what its updater reads from a web server to install and update the plugin.

db.xml.gz is the list of files; plugins/zsd_.jar-TIMESTAMP is the plugin. Format and checksum are those of
https://github.com/imagej/imagej-updater (XMLFileWriter, UpdaterUtil.getJarDigest).
"""

import gzip
import hashlib
import zipfile
from pathlib import Path
from xml.etree import ElementTree

FILENAME = "plugins/zsd_.jar"
MANIFEST = "META-INF/MANIFEST.MF"
# What of the updater's DTD this file uses; its reader does not validate, but its writer puts one into every file.
DTD = """<!DOCTYPE pluginRecords [
<!ELEMENT pluginRecords (plugin*)>
<!ELEMENT plugin (version?)>
<!ELEMENT version (description?, author*)>
<!ELEMENT description (#PCDATA)>
<!ELEMENT author (#PCDATA)>
<!ATTLIST plugin filename CDATA #REQUIRED>
<!ATTLIST version timestamp CDATA #REQUIRED>
<!ATTLIST version checksum CDATA #REQUIRED>
<!ATTLIST version filesize CDATA #REQUIRED>]>
"""


def jar_checksum(jar: Path) -> str:
    """SHA-1 of names and contents in the order of names, as the updater has it: dates and compression do not count.

    Of a manifest it counts the name only. Contents of .properties files are filtered there, so they are refused here.
    """
    checksum = hashlib.sha1(usedforsecurity=False)
    with zipfile.ZipFile(jar) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".properties"):
                raise ValueError(f"{jar} has {name}: the updater's filter of such files is not implemented")
            checksum.update(name.encode("ascii"))
            if name != MANIFEST:
                checksum.update(archive.read(name))
    return checksum.hexdigest()


def database(jar: Path, version: str, timestamp: str, authors: list[str]) -> bytes:
    """db.xml, which lists the plugin."""
    records = ElementTree.Element("pluginRecords")
    plugin = ElementTree.SubElement(records, "plugin", filename=FILENAME)
    entry = ElementTree.SubElement(
        plugin, "version", checksum=jar_checksum(jar), timestamp=timestamp, filesize=str(jar.stat().st_size)
    )
    text = f"zsd {version}: zero-shot denoising and deconvolution. It calls zsd, which is installed with pip."
    ElementTree.SubElement(entry, "description").text = text
    for author in authors:
        ElementTree.SubElement(entry, "author").text = author
    ElementTree.indent(records, "    ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{DTD}{ElementTree.tostring(records, "unicode")}\n'.encode()


def write_update_site(jar: Path, folder: Path, version: str, timestamp: str, authors: list[str]) -> None:
    """Write the files of an update site.

    Parameters
    ----------
    jar, folder : Path
    version : str
        Of zsd, for the description.
    timestamp : str
        YYYYMMDDhhmmss. The updater installs what has a later one.
    authors : list of str
    """
    (folder / FILENAME).parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{FILENAME}-{timestamp}").write_bytes(jar.read_bytes())
    (folder / "db.xml.gz").write_bytes(gzip.compress(database(jar, version, timestamp, authors), mtime=0))
