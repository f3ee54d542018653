"""Restore a layer with a package."""

from pathlib import Path
from typing import Any

from zsd_napari.source import Source
from zsd_napari.tasks.targets import targets
from zsd_napari.worker import Link, Remote
from zsd_runtime.average import check_average
from zsd_runtime.batch import How, work_of
from zsd_runtime.corrections.corrected import Corrected
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.images import Image
from zsd_runtime.model import Model, load_model
from zsd_runtime.normalize import Linear
from zsd_runtime.raw_sim import Reconstructed

AXES = {"YX": "planes", "ZYX": "volumes", "CYX": "channels of planes", "CZYX": "channels of volumes"}


def predict(
    link: Link, source: Source, package: str, folder: Path | None, average: int = 1, device: str = "auto"
) -> dict[str, Any]:
    """Restore a layer; its results go to the viewer, or into OME-Zarr in a folder.

    Parameters
    ----------
    link : Link
    source : Source
    package : str
        A path, or ``zoo:NAME``.
    folder : path or None
    average : int
        Of symmetries; see `Model.predict_into`.
    device : str

    Returns
    -------
    dict
        The `model`'s name.
    """
    check_average(average)
    link.progress(0.0, "opening the model")
    with load_model(package, device) as model:
        restore_layer(link, source, model, folder, average)
        return {"model": model.description.name}


def restore_layer(link: Link, source: Source, model: Model, folder: Path | None, average: int = 1) -> None:
    """Restore all images of a layer, plane by plane or volume by volume.

    Raises
    ------
    InputError
        When the model does not take the layer.
    Interrupted
        When the person has stopped it.
    """
    axes = model.input_axes
    if model.description.sim is None and not source.axes.endswith(axes):
        raise InputError(
            f"{source.name} has axes {source.axes} ({size_text(source.shape)}), and the model restores {AXES[axes]} "
            f"({axes})",
            f"set `axes` so that it ends in {axes}, or take another model", option="axes",
        )  # fmt: skip
    image = source.image(Remote(link, source.shape, source.dtype, spatial=len(model.description.axes)))
    how = How(Path(), average=average, notice=link.notice)
    work = work_of([model], source.path, image, how)
    link.send("offset", _offset_of(model, work.image))
    for mismatch in work.warnings:
        link.notice(str(mismatch))
    outputs = [output.name for output in model.description.outputs]
    with targets(link, source, work.results, outputs, folder) as sinks:
        for model_of, channels in work.jobs:
            read, *sinks = work.arrays_of(channels, sinks)
            corrected = Corrected(
                read, work.how.corrections, volumes=len(model.description.axes) == 3, name=source.name,
                report=lambda share: link.progress(share, "looking for hot pixels"),
            )  # fmt: skip
            if found := corrected.notice():
                link.notice(found)

            def report(done: int, total: int) -> None:
                link.progress(done / total, f"tile {done} of {total}")

            model_of.predict_into(corrected, sinks, average=average, axes=work.image.axes, report=report)
            link.check()


def _offset_of(model: Model, image: Image) -> float:
    """Counts that the camera adds to a layer, and that results do not have; 0 where the model does not say."""
    camera, sim, processing = model.description.camera, model.description.sim, model.description.input.processing
    if sim is not None:  # a reconstruction has none any more
        return sim.parameters.offset if isinstance(image.data, Reconstructed) else 0.0
    if camera is not None:
        return camera.offset
    return -processing.intercept / processing.slope if isinstance(processing, Linear) and processing.slope else 0.0
