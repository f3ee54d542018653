"""Writing a package: the graph, its description in one of two formats, and images to test both."""

import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import onnx as onnx_module
import yaml
from numpy.typing import NDArray

from zsd_export.graph.to_onnx import INPUT
from zsd_export.package.contents import Contents
from zsd_export.package.page import readme
from zsd_export.package.rdf_04 import deepimagej
from zsd_export.package.rdf_05 import zoo
from zsd_export.package.triton import no_repository, write_repository
from zsd_optics.pictures import GAP, continued, enlarged, montage
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.images.remote import local
from zsd_runtime.package import read_package
from zsd_runtime.sim.files import OTF

FORMATS = {"zoo": zoo, "deepimagej": deepimagej}
TRITON = "triton"  # no package of BioImage.IO, but a model repository
COVER_HEIGHT = 256

Counts = NDArray[Any]  # float32 or uint16


@dataclass(frozen=True)
class Destination:
    """Where a package is written to, and how.

    Parameters
    ----------
    path : Path
        A folder, or a file ending in .zip.
    format : {"zoo", "deepimagej", "triton"}
        BioImage.IO 0.5, the 0.4.10 that deepImageJ runs, or a model repository of NVIDIA Triton, a folder.
    overwrite : bool
        Replace the package that is there.
    """

    path: Path
    format: str = "zoo"
    overwrite: bool = False

    def check(self, input_dtype: str = "float32") -> None:
        """Refuse what cannot be written there.

        Raises
        ------
        InputError
            When the format is unknown or cannot hold the graph's input, when something exists at `path` and must not
            be replaced, or when it is no package of zsd.
        """
        local(self.path, "package")
        if self.format not in (*FORMATS, TRITON):
            known = ", ".join((*FORMATS, TRITON))
            raise InputError(f"format {self.format!r} must be one of {known}", option="format")
        if self.format == TRITON and self.path.suffix == ".zip":
            raise InputError(f"{self.path} is a zip; a model repository is a folder", "give a name without .zip")
        if self.format == "deepimagej" and input_dtype != "float32":  # JDLL has no 16 bit
            raise InputError(
                f"deepImageJ cannot run a graph of {input_dtype} counts",
                "export the run with `input` float32",
                option="input",
            )
        if not self.path.exists() and not self.path.is_symlink():
            return
        if not self.overwrite:
            raise InputError(
                f"{self.path} exists already", "choose another name, or replace it with `overwrite`", option="overwrite"
            )
        reason = (no_repository if self.format == TRITON else _no_package)(self.path)
        if reason:
            raise InputError(f"{self.path} is left alone: {reason}", "choose another name, or remove it yourself")

    def check_frames(self, frames: int) -> None:
        """Refuse a format whose programs would take the frames of a movie for channels.

        Raises
        ------
        InputError
        """
        if frames > 1 and self.format != "zoo":
            raise InputError(
                f"the network sees {frames} frames of a movie at once, and `format` {self.format} is for programs that "
                "give one",
                "export with `format` zoo, for zsd, or train with `frames` 1", option=("format", "frames"),
            )  # fmt: skip


def _no_package(path: Path) -> str:
    """Why the file or folder must not be replaced by a package; empty if it may."""
    if path.is_symlink():
        return "it is a link"
    if path.is_dir() == (path.suffix == ".zip"):
        return "it is a folder, and a zip was asked for" if path.is_dir() else "it is a file that is no zip"
    try:
        outputs = read_package(path).outputs
    except InputError as error:
        return f"it is no package ({error})"
    names = [INPUT, *(output.name for output in outputs)]
    ours = {
        "rdf.yaml", "README.md", "cover.png", "model.onnx", OTF,
        *(f"test_{name}.npy" for name in names), *(f"sample_{name}.tif" for name in names),
        "engines",  # where `zsd build-engine` keeps them
    }  # fmt: skip
    others = {file.name for file in path.iterdir()} - ours if path.is_dir() else set()
    return f"it holds {min(others)!r}, which belongs to no package" if others else ""


def write(to: Destination, contents: Contents, onnx: bytes, test: Counts) -> None:
    """Write a package, whole or not at all.

    Parameters
    ----------
    to : Destination
    contents : Contents
    onnx : bytes
        The graph.
    test : ndarray
        ([C,] [Z,] Y, X) counts, on the pooling grid. The package keeps their results for others to compare with. Where
        the image is smaller than the smallest input it is continued by reflection.

    Raises
    ------
    InputError
        When the destination exists or cannot be written to.
    """
    to.check(contents.input.dtype)
    if to.format == TRITON:
        write_repository(to.path, contents, onnx)
        return
    test = test.reshape(contents.input.channels, *test.shape[-len(contents.axes) :])
    least = (1, *contents.smallest)
    test = continued(test, list(map(max, test.shape, least)))
    test = test[None].astype(contents.input.dtype)
    middle = contents.frames // 2  # of a movie
    tensors = [test, *_predicted(onnx, test, contents)]
    with written_whole(to.path) as temporary:
        folder = temporary.with_suffix(".folder") if to.path.suffix == ".zip" else temporary
        folder.mkdir(parents=True)
        try:
            (folder / "model.onnx").write_bytes(onnx)
            onnx_module.checker.check_model(str(folder / "model.onnx"))
            for name, values in zip(contents.names, tensors, strict=True):
                np.save(folder / f"test_{name}.npy", values)
                write_image(folder / f"sample_{name}.tif", _sample(values[0], test[0, middle], contents))
            iio.imwrite(folder / "cover.png", cover(test[0, middle], *(v[0, 0] for v in tensors[1:])), extension=".png")
            if contents.sim:
                (folder / OTF).write_bytes(contents.sim.transfer.to_tiff())
            rdf = FORMATS[to.format](contents, _tolerance(contents, tensors[1:]))
            (folder / "rdf.yaml").write_text(yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True), "utf-8")
            (folder / "README.md").write_text(readme(contents, to.format), "utf-8")
            read_package(folder)  # the runtime understands it
            if folder is not temporary:
                with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in sorted(folder.iterdir()):
                        archive.write(file, file.name)
        finally:
            if folder is not temporary:
                shutil.rmtree(folder, ignore_errors=True)


def _predicted(onnx: bytes, test: Counts, c: Contents) -> list[Counts]:
    """The results that a user of the package gets for an image."""
    engine = OnnxRuntime(onnx)
    line = c.input.processing.fit([test])
    outputs = run_once(engine, line(test), c.scales)
    engine.close()
    return [spec.processing(values).astype(values.dtype) for spec, values in zip(c.outputs, outputs, strict=True)]


def _sample(values: Counts, raw: Counts, c: Contents) -> Image:
    """A tensor as an image that people can open, with the pixel sizes of its grid."""
    axes = c.axes.upper()
    image = Image(raw, axes, Voxel.square(c.pixel_size_um, c.z_step_um)).resized(values.shape[1:], str(values.dtype))
    movie = len(values) == c.frames > 1
    return replace(image, data=values if movie else values[0], axes="T" * movie + axes)


def cover(*images: Counts) -> NDArray[np.uint8]:
    """The input and its results side by side, the middle slice of stacks; 2:1, as BioImage.IO requires."""
    planes = [_plane(image) for image in images]
    finest = max(planes, key=len)
    panels = [enlarged(plane, len(finest) // len(plane)) for plane in planes]
    n = len(panels)
    height = min(COVER_HEIGHT, finest.shape[0], (n * finest.shape[1] + (n - 1) * GAP) // 2)
    while (2 * height - (n - 1) * GAP) % n:  # until panels have whole pixels
        height -= 1
    width = (2 * height - (n - 1) * GAP) // n
    return montage([_middle(panel, height, width) for panel in panels])


def _plane(image: Counts) -> Counts:
    planes = image.reshape(-1, *image.shape[-2:])
    return planes[len(planes) // 2]


def _middle(panel: Counts, height: int, width: int) -> Counts:
    y, x = (panel.shape[0] - height) // 2, (panel.shape[1] - width) // 2
    return panel[y : y + height, x : x + width]


def _tolerance(c: Contents, outputs: list[Counts]) -> dict[str, float]:
    """How far other engines, which round elsewhere, may be from the test tensors; BioImage.IO allows up to 1 %."""
    share = {"fp32": 1e-3, "fp16": 3e-3, "int8": 9e-3}[c.precision]
    peak = max(0.0, min(float(values.max()) for values in outputs))  # all outputs reach it
    return {"relative_tolerance": share, "absolute_tolerance": share * peak}
