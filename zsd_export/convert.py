"""From one package to another: the same graph, described in another format or credited to other people."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from zsd_export.measure.halo import Halo
from zsd_export.package.contents import Contents
from zsd_export.package.credits import ANONYMOUS, Credits
from zsd_export.package.rdf_04 import DEEPIMAGEJ_TAGS, NO_AUTHOR, NO_LICENCE
from zsd_export.package.write import TRITON, Destination, write
from zsd_runtime.archive import read_member
from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear, ScaleRange
from zsd_runtime.package import ModelDescription, read_package


def convert(
    source: str | Path,
    package: str | Path,
    *,
    credits: Credits = ANONYMOUS,  # noqa: A002
    format: str = "zoo",  # noqa: A002
    validation: Mapping[str, str] | None = None,
    overwrite: bool = False,
    notice: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a model package from another, with the same graph.

    Parameters
    ----------
    source : path
        A package that zsd wrote: a folder or a zip.
    package : path
        A new folder, or a new file ending in .zip.
    credits : Credits
        What is not given is the source's; tags are added to the source's.
    format, overwrite, notice
        As for `export`.
    validation : mapping
        Further lines on what was measured of the model, by name, for its page.

    Returns
    -------
    Path
        `package`.

    Raises
    ------
    InputError
        When zsd did not write the source, or the package exists or cannot be written.
    """
    to = Destination(Path(package), format, overwrite)
    model = read_package(source)
    to.check(model.input.dtype)
    to.check_frames(model.frames)
    contents = _contents(model, source, credits, notice, format)
    contents = replace(contents, validation={**contents.validation, **(validation or {})})
    try:
        test = np.load(BytesIO(read_member(source, model.test_tensor)), allow_pickle=False)[0]
        test = test if model.frames > 1 else test[0]
    except (ValueError, EOFError, IndexError) as error:
        raise InputError(f"{source}: its test tensor cannot be read ({error})", "export it again") from None
    write(to, contents, model.weights, test)
    return to.path


def _contents(
    model: ModelDescription,
    source: str | Path,
    given: Credits,
    notice: Callable[[str], None],
    format: str,  # noqa: A002
) -> Contents:
    """What a package says, as far as zsd wrote it."""
    facts, rdf = model.facts, model.rdf
    if format != TRITON and not isinstance(model.input.processing, Linear | ScaleRange):
        raise InputError(f"{source}: zsd cannot write its normalisation in another format")
    theirs = Credits(
        model.name,
        [author for author in rdf.get("authors") or [] if author != NO_AUTHOR],
        None if rdf.get("license") == NO_LICENCE else rdf.get("license"),
        [tag for tag in rdf.get("tags") or [] if tag not in DEEPIMAGEJ_TAGS],
    )
    try:
        return Contents(
            credits=given.over(theirs, notice),
            summary=rdf["description"],
            origin=facts["origin"],
            trained_on=facts["trained_on"],
            validation=facts["validation"],
            kind=facts["kind"],
            axes=model.axes,
            size_multiple=model.size_multiple,
            tensors=(model.input, model.outputs),
            units=facts["units"],
            intensities=facts["intensities"],
            halo=Halo(model.halo, facts.get("halo_error")),
            bytes_per_voxel=model.bytes_per_voxel,
            precision=model.precision,
            precision_loss_db=facts.get("precision_loss_db", {}),
            pixel_size_um=model.pixel_size_um,
            z_step_um=model.z_step_um,
            camera=model.camera,
            channel=model.channel,
            channel_number=facts.get("channel_number"),
            zero_margin=model.zero_margin,
            sim=model.sim,
            frames=model.frames,
            method=facts.get("method", "ZS-DeconvNet"),  # older packages know one method
            provenance=facts["provenance"],
        )
    except KeyError as error:
        raise InputError(f"{source} does not say {error}, which zsd writes", "export it from its run instead") from None
