"""The same contents as BioImage.IO 0.5, for the zoo, as 0.4.10, for deepImageJ, and as a page for people.

deepImageJ reads packages through JDLL, which multiplies by the scale of an output where 0.5 divides: a finer output
comes out right from 0.4.10 alone. `tests/jdll.py` has the rules that JDLL applies.
"""

import re
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from zsd_export.contents import Contents
from zsd_export.to_onnx import OPSET, OUTPUTS
from zsd_export.zoo import CITATIONS
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.normalize import Linear, ScaleRange

TENSORS = ["noisy", *OUTPUTS]
# deepImageJ's 0.4 must have a licence and an author. These say that there is none: SPDX's own word, and a plain one.
NO_LICENCE, NO_AUTHOR = "NOASSERTION", {"name": "not named"}
EPS = 1e-6  # that JDLL and bioimageio.core add to a standard deviation
DEEPIMAGEJ_TAGS = ["fiji", "deepimagej"]

Rdf = dict[str, Any]


def zoo(c: Contents, tolerance: dict[str, float]) -> Rdf:
    """BioImage.IO 0.5; `tolerance` is how far other engines may be from the test tensors."""
    return {
        **_head(c, "0.5.4"),
        "authors": list(c.authors),
        **({"license": c.licence} if c.licence else {}),
        "tags": _tags(c),
        "inputs": [_input_05(c)],
        "outputs": [_output_05(*named, c) for named in zip(OUTPUTS, c.scales, strict=True)],
        "weights": {"onnx": {"source": "model.onnx", "opset_version": OPSET}},
        "config": {"bioimageio": {"reproducibility_tolerance": [tolerance]}, "zsd": _facts(c)},
    }


def deepimagej(c: Contents, tolerance: dict[str, float]) -> Rdf:
    """BioImage.IO 0.4.10, as JDLL reads it."""
    slug = re.sub("[^a-z0-9]+", "-", c.name.lower()).strip("-") or "zsd"
    letters = f"bc{c.axes}"
    source = {
        "name": "noisy",
        "description": "camera counts, offset included",
        "axes": letters,
        "data_type": c.input_dtype,
        "shape": {"min": [1, 1, *c.smallest], "step": [0, 0, *c.size_multiple]},
        "preprocessing": _operations_04(c.intensities.before, c.axes),
    }
    outputs = [
        {
            "name": name,
            "description": _output_text(c, scale),
            "axes": letters,
            "data_type": c.output_dtype,
            "shape": {"reference_tensor": "noisy", "scale": [1, 1, *scale], "offset": [0] * len(letters)},
            "halo": [0, 0, *(halo * k for halo, k in zip(c.halo.pixels, scale, strict=True))],
            "postprocessing": _operations_04(c.intensities.after, c.axes),
        }
        for name, scale in zip(OUTPUTS, c.scales, strict=True)
    ]
    files = {
        f"{kind}_{side}s": [f"{kind}_{name}.{suffix}" for name in names]
        for kind, suffix in (("test", "npy"), ("sample", "tif"))
        for side, names in (("input", TENSORS[:1]), ("output", OUTPUTS))
    }
    return {
        **_head(c, "0.4.10"),
        "id": slug,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "authors": list(c.authors) or [dict(NO_AUTHOR)],
        "license": c.licence or NO_LICENCE,
        "tags": [*_tags(c), *DEEPIMAGEJ_TAGS],
        "inputs": [source],
        "outputs": outputs,
        **files,
        "weights": {"onnx": {"source": "model.onnx", "opset_version": OPSET}},
        "config": {
            "bioimageio": {"nickname": slug, "test_kwargs": {"onnx": tolerance}},
            "deepimagej": {"allow_tiling": True, "pyramidal_model": False},
            "zsd": _facts(c),
        },
    }


FORMATS = {"zoo": zoo, "deepimagej": deepimagej}


def check_consumer(format: str, input_dtype: str) -> None:  # noqa: A002
    """Refuse unknown formats, and tensors that a format's readers do not make: JDLL has no 16 bit."""
    if format not in FORMATS:
        raise InputError(f"format {format!r} must be one of {', '.join(FORMATS)}")
    if format == "deepimagej" and input_dtype != "float32":
        raise InputError(f"deepImageJ cannot run a graph of {input_dtype} counts: export the run with --input float32")


def readme(c: Contents, format: str) -> str:  # noqa: A002
    """The page for people."""
    losses = ", ".join(f"{name} {loss:.2f} dB" for name, loss in c.precision_loss_db.items())
    cost = f"; PSNR lost on simulated acquisitions: {losses}" if losses else ""
    halo = (
        f"beyond it a tile's border changes at most {c.halo.error:.1e} of the range (fp32)"
        if c.halo.error is not None
        else "as far as the convolutions see. Channel attention takes its mean over the whole tile: results depend, "
        "slowly, on the tiles"
    )
    finer = max(c.scales[-1])
    grid = f"on a grid {finer} times as fine in Y and X" if finer > 1 else "on the same grid"
    names = [" of ".join(author[key] for key in ("name", "affiliation") if key in author) for author in c.authors]
    return f"""# {c.name}

A dual-stage network (ZS-DeconvNet {c.dimensions}): `denoised` on the image's own grid, `deconvolved` {grid}, both \
in {c.intensities.units}. {c.origin}

![noisy, denoised, deconvolved](cover.png)

*noisy, denoised, deconvolved: a part of the test image, each with its own grey levels*

# Use

{USE[format]}

- Axes: {c.axes.upper()}, one channel
- Sizes: multiples of {size_text(c.size_multiple)}, at least {size_text(c.smallest)} ({PADDING[format]})
- Intensities: {c.intensities.text}
- Tensors: {c.input_dtype} in, {c.output_dtype} out, {"camera counts" if c.input_dtype == "uint16" else "normalised"}
- Precision: {c.precision}{cost}
- Edges: {_edges(c)}
- Halo: {size_text(c.halo.pixels)} input pixels; {halo}

# Training

{_bullets(c.trained_on)}

# Validation

{_bullets(c.validation)}

# Credits

{
        _bullets(
            {
                "Authors": ", ".join(names) or "not named",
                "Licence of the weights": c.licence or "not given",
                "Method": "; ".join(f"{citation['text']}, doi:{citation['doi']}" for citation in CITATIONS),
            }
        )
    }
"""


def _edges(c: Contents) -> str:
    if c.zero_margin is None:
        return "zsd continues the image by reflection"
    return (
        f"zsd puts a margin of {size_text(c.zero_margin)} pixels of zeros (after normalisation) around the image and "
        "crops it, as the published code does"
    )


USE = {
    "zoo": "`zsd predict PACKAGE IMAGE --out DIR`, or with any consumer of BioImage.IO 0.5: the sample images beside "
    "this file show what goes in and what comes out.",
    "deepimagej": "In Fiji: *Plugins > DeepImageJ > DeepImageJ Run*. Convert the image to 32-bit first (*Image > Type "
    "> 32-bit*): of an integer image the normalised values would be cut to whole numbers. `zsd predict PACKAGE IMAGE "
    "--out DIR` runs it, too.",
}
PADDING = {"zoo": "zsd pads by itself", "deepimagej": "zsd and deepImageJ pad by themselves"}


def _bullets(rows: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in rows.items())


def _head(c: Contents, format_version: str) -> Rdf:
    return {
        "type": "model",
        "format_version": format_version,
        "name": c.name,
        "description": c.summary,
        "cite": [dict(citation) for citation in CITATIONS],
        "documentation": "README.md",
        "covers": ["cover.png"],
    }


def _tags(c: Contents) -> list[str]:
    own = ["fluorescence-light-microscopy", c.dimensions.lower(), "denoising", "deconvolution", c.kind, "pytorch"]
    return [*own, *(tag for tag in c.tags if tag not in own)]


def _facts(c: Contents) -> Rdf:
    """What the formats have no field for; what is not known is left out."""
    facts = {
        "kind": c.kind,
        "origin": c.origin,
        "trained_on": c.trained_on,
        "validation": c.validation,
        "units": c.intensities.units,
        "intensities": c.intensities.text,
        "pixel_size_um": c.pixel_size_um,
        "z_step_um": c.z_step_um,
        "halo": list(c.halo.pixels),
        "halo_error": c.halo.error,
        "zero_margin": list(c.zero_margin) if c.zero_margin is not None else None,
        "precision": c.precision,
        "precision_loss_db": c.precision_loss_db or None,
        "bytes_per_voxel": c.bytes_per_voxel,
        "zsd_version": version("zsd"),
        "exported": datetime.now(UTC).date().isoformat(),
        "provenance": c.provenance,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _axes_05(sizes: list[Rdf], axes: str) -> list[Rdf]:
    return [
        {"type": "batch"},
        {"type": "channel", "channel_names": ["intensity"]},
        *({"type": "space", "id": name, **size} for name, size in zip(axes, sizes, strict=True)),
    ]


def _input_05(c: Contents) -> Rdf:
    sizes = [{"size": {"min": n, "step": step}} for n, step in zip(c.smallest, c.size_multiple, strict=True)]
    return {
        "id": "noisy",
        "description": "camera counts, offset included",
        "axes": _axes_05(sizes, c.axes),
        "data": {"type": c.input_dtype},
        "test_tensor": {"source": "test_noisy.npy"},
        "sample_tensor": {"source": "sample_noisy.tif"},
        "preprocessing": _operations_05(c.intensities.before, c.axes),
    }


def _output_05(name: str, scale: tuple[int, ...], c: Contents) -> Rdf:
    sizes = [
        {"size": {"tensor_id": "noisy", "axis_id": axis, "offset": 0}, "scale": 1 / factor, "halo": halo * factor}
        for axis, factor, halo in zip(c.axes, scale, c.halo.pixels, strict=True)
    ]
    return {
        "id": name,
        "description": _output_text(c, scale),
        "axes": _axes_05(sizes, c.axes),
        "data": {"type": c.output_dtype},
        "test_tensor": {"source": f"test_{name}.npy"},
        "sample_tensor": {"source": f"sample_{name}.tif"},
        "postprocessing": _operations_05(c.intensities.after, c.axes),
    }


def _output_text(c: Contents, scale: tuple[int, ...]) -> str:
    return c.intensities.units + (", on a finer grid" if max(scale) > 1 else "")


def _operations_05(line: Linear | ScaleRange, axes: str) -> list[Rdf]:
    if isinstance(line, ScaleRange):
        limits = {"min_percentile": line.low, "max_percentile": line.high, "eps": line.eps}
        return [{"id": "scale_range", "kwargs": {"axes": ["channel", *axes], **limits}}]
    if line == Linear():
        return []
    return [{"id": "scale_linear", "kwargs": {"gain": line.slope, "offset": line.intercept}}]


def _operations_04(line: Linear | ScaleRange, axes: str) -> list[Rdf]:
    """The same in 0.4.

    Of scale_linear behind an output, bioimageio.spec wants axes that bioimageio.core refuses. A fixed mean and standard
    deviation, ``(x - mean) / (std + eps)``, is the same line, and all three read it, as a list of the one channel's.
    """
    if isinstance(line, ScaleRange):
        (step,) = _operations_05(line, axes)
        return [{"name": step["id"], "kwargs": {**step["kwargs"], "mode": "per_sample", "axes": f"c{axes}"}}]
    if line == Linear():
        return []
    fixed = {
        "mode": "fixed",
        "axes": axes,
        "mean": [-line.intercept / line.slope],
        "std": [1 / line.slope - EPS],
        "eps": EPS,
    }
    return [{"name": "zero_mean_unit_variance", "kwargs": fixed}]
