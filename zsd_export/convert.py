"""From one package to another: the same graph, described in another format or credited to other people."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from zsd_export.bioimageio import check_place, write
from zsd_export.contents import Contents, Intensities
from zsd_export.describe import DEEPIMAGEJ_TAGS, NO_AUTHOR, NO_LICENCE, check_consumer
from zsd_export.verify import Halo
from zsd_export.zoo import asked_for, authors_of, check_name, spdx
from zsd_runtime.archive import read_member
from zsd_runtime.errors import InputError
from zsd_runtime.normalize import Linear, ScaleRange
from zsd_runtime.package import ModelDescription, read_package


def convert(
    source: str | Path,
    package: str | Path,
    *,
    format: str = "zoo",  # noqa: A002
    name: str | None = None,
    authors: Sequence[str] = (),
    licence: str | None = None,
    tags: Sequence[str] = (),
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
    name : str
        Of the model; the source's if not given.
    authors, licence
        As for `export`; the source's if not given.
    tags : sequence of str
        Beside the source's.
    format, overwrite, notice
        As for `export`.

    Returns
    -------
    Path
        `package`.

    Raises
    ------
    InputError
        When the source is no package of zsd, or the package exists or cannot be written.
    """
    package = Path(package)
    model = read_package(source)
    check_consumer(format, model.input.dtype)
    check_place(package, overwrite)
    contents = _contents(model, source)
    contents = replace(
        contents,
        name=check_name(name or contents.name),
        authors=authors_of(authors) or contents.authors,
        licence=spdx(licence) if licence else contents.licence,
        tags=tuple(dict.fromkeys([*contents.tags, *tags])),
    )
    for sentence in asked_for(contents.authors, contents.licence):
        notice(sentence)
    try:
        test = np.load(BytesIO(read_member(source, model.test_tensor)), allow_pickle=False)[0, 0]
    except (ValueError, EOFError, IndexError) as error:
        raise InputError(f"{source}: its test tensor cannot be read ({error}): export it again") from None
    write(package, contents, model.weights, test, format, overwrite)
    return package


def _contents(model: ModelDescription, source: str | Path) -> Contents:
    """What a package says, as far as zsd wrote it."""
    facts, rdf = model.facts, model.rdf
    before, after = model.input.processing, model.outputs[0].processing
    if any(output.processing != after for output in model.outputs) or not isinstance(before, Linear | ScaleRange):
        raise InputError(f"{source}: zsd cannot write its normalisation in another format")
    try:
        return Contents(
            name=model.name,
            summary=rdf["description"],
            origin=facts["origin"],
            trained_on=facts["trained_on"],
            validation=facts["validation"],
            kind=facts["kind"],
            axes=model.axes,
            size_multiple=model.size_multiple,
            scales=[output.scale for output in model.outputs],
            intensities=Intensities(before, after, facts["units"], facts["intensities"]),
            halo=Halo(model.halo, facts.get("halo_error")),
            bytes_per_voxel=model.bytes_per_voxel,
            input_dtype=model.input.dtype,
            output_dtype=model.outputs[0].dtype,
            precision=model.precision,
            precision_loss_db=facts.get("precision_loss_db", {}),
            pixel_size_um=model.pixel_size_um,
            z_step_um=facts.get("z_step_um"),
            authors=tuple(author for author in rdf.get("authors") or [] if author != NO_AUTHOR),
            licence=None if rdf.get("license") == NO_LICENCE else rdf.get("license"),
            tags=tuple(tag for tag in rdf.get("tags") or [] if tag not in DEEPIMAGEJ_TAGS),
            zero_margin=model.zero_margin,
            provenance=facts["provenance"],
        )
    except KeyError as error:
        raise InputError(f"{source} does not say {error}, which zsd writes: export it from its run instead") from None
