"""Writing a package: the graph, what a consumer must know to run it, where it comes from, and tests of both."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import onnx as onnx_module
import yaml
from numpy.typing import NDArray

from zsd_export.contents import Contents
from zsd_export.describe import FORMATS, TENSORS, readme
from zsd_optics.pictures import GAP, continued, enlarged, montage
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.package import read_package

COVER_HEIGHT = 256
FILES = {
    "rdf.yaml", "README.md", "cover.png", "model.onnx",
    *(f"test_{name}.npy" for name in TENSORS), *(f"sample_{name}.tif" for name in TENSORS),
    "engines",  # where `zsd build-engine` keeps them
}  # fmt: skip

Counts = NDArray[Any]  # float32 or uint16


def check_place(package: Path, overwrite: bool = False) -> None:
    """Refuse to write where something is; or, to `overwrite`, where something else than a package is.

    Raises
    ------
    InputError
        When the place is taken.
    """
    if not package.exists() and not package.is_symlink():
        return
    if not overwrite:
        raise InputError(f"{package} exists already: choose another name, or replace it with --overwrite")
    reason = _no_package(package)
    if reason:
        raise InputError(f"{package} is left alone: {reason}; choose another name, or remove it yourself")


def _no_package(path: Path) -> str:
    """Why what is there must not be replaced by a package; empty if it may."""
    if path.is_symlink():
        return "it is a link"
    if path.is_dir() == (path.suffix == ".zip"):
        return "it is a folder, and a zip was asked for" if path.is_dir() else "it is a file that is no zip"
    try:
        read_package(path)
    except InputError as error:
        return f"it is no package ({error})"
    others = {file.name for file in path.iterdir()} - FILES if path.is_dir() else set()
    return f"it holds {min(others)!r}, which belongs to no package" if others else ""


def write(
    package: Path,
    contents: Contents,
    onnx: bytes,
    test: Counts,
    format: str = "zoo",  # noqa: A002
    overwrite: bool = False,
) -> None:
    """Write a package, a folder or a file ending in .zip.

    Parameters
    ----------
    package : path
    contents : Contents
    onnx : bytes
        The graph.
    test : ndarray
        ([Z,] Y, X) counts, on the pooling grid, whose results the package keeps for others to compare with; continued
        by reflection where it is smaller than the smallest input.
    format : {"zoo", "deepimagej"}
        BioImage.IO 0.5 or 0.4.10.
    overwrite : bool
        Replace the package that is there.

    Raises
    ------
    InputError
        When the place is taken or cannot be written to.
    """
    check_place(package, overwrite)
    test = continued(test, [max(n, least) for n, least in zip(test.shape, contents.smallest, strict=True)])
    test = test[None, None].astype(contents.input_dtype)
    tensors = [test, *_predicted(onnx, test, contents)]
    with written_whole(package) as temporary:
        folder = temporary.with_suffix(".folder") if package.suffix == ".zip" else temporary
        folder.mkdir(parents=True)
        try:
            (folder / "model.onnx").write_bytes(onnx)
            onnx_module.checker.check_model(str(folder / "model.onnx"))
            for name, values in zip(TENSORS, tensors, strict=True):
                np.save(folder / f"test_{name}.npy", values)
                write_image(folder / f"sample_{name}.tif", _sample(values[0, 0], test[0, 0], contents))
            iio.imwrite(folder / "cover.png", cover(*(values[0, 0] for values in tensors)), extension=".png")
            rdf = FORMATS[format](contents, _tolerance(contents, tensors[1:]))
            (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True), "utf-8")
            (folder / "README.md").write_text(readme(contents, format), "utf-8")
            read_package(folder)  # what was written is what the runtime understands
            if folder is not temporary:
                with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in sorted(folder.iterdir()):
                        archive.write(file, file.name)
        finally:
            if folder is not temporary:
                shutil.rmtree(folder, ignore_errors=True)


def _predicted(onnx: bytes, test: Counts, c: Contents) -> list[Counts]:
    """What a consumer of the package gets for an image, as it does it."""
    engine = OnnxRuntime(onnx)
    line = c.intensities.before.fit([test])
    outputs = run_once(engine, line(test), c.scales)
    engine.close()
    return [c.intensities.after(values).astype(values.dtype) for values in outputs]


def _sample(values: Counts, raw: Counts, c: Contents) -> Image:
    """A tensor as an image that people can open, with the pixel sizes of its grid."""
    image = Image(raw, c.axes.upper(), Voxel.square(c.pixel_size_um, c.z_step_um)).resized(
        values.shape, str(values.dtype)
    )
    return replace(image, data=values)


def cover(noisy: Counts, denoised: Counts, deconvolved: Counts) -> NDArray[np.uint8]:
    """noisy | denoised | deconvolved, of a stack its middle slice, at the 2:1 that BioImage.IO asks of a cover."""
    noisy, denoised, deconvolved = (_plane(image) for image in (noisy, denoised, deconvolved))
    k = deconvolved.shape[-1] // denoised.shape[-1]
    panels = [enlarged(noisy, k), enlarged(denoised, k), deconvolved]
    height = min(COVER_HEIGHT, deconvolved.shape[0], (3 * deconvolved.shape[1] + 2 * GAP) // 2)
    height -= (height - GAP) % 3  # so that three panels of whole pixels and two gaps are twice as wide as high
    width = (2 * height - 2 * GAP) // 3
    return montage([_middle(panel, height, width) for panel in panels])


def _plane(image: Counts) -> Counts:
    planes = image.reshape(-1, *image.shape[-2:])
    return planes[len(planes) // 2]


def _middle(panel: Counts, height: int, width: int) -> Counts:
    y, x = (panel.shape[0] - height) // 2, (panel.shape[1] - width) // 2
    return panel[y : y + height, x : x + width]


def _tolerance(c: Contents, outputs: list[Counts]) -> dict[str, float]:
    """How far other engines may be from the test tensors, since they round elsewhere; BioImage.IO allows up to 1 %."""
    share = {"fp32": 1e-3, "fp16": 3e-3, "int8": 9e-3}[c.precision]
    peak = max(0.0, min(float(values.max()) for values in outputs))  # that all outputs reach
    return {"relative_tolerance": share, "absolute_tolerance": share * peak}
