"""A description in BioImage.IO 0.4.10, for deepImageJ.

deepImageJ reads packages through JDLL, which multiplies by the scale of an output where 0.5 divides: only 0.4.10 gives
the right size of a finer output. `tests/jdll.py` has the rules that JDLL applies.
"""

import re
from datetime import UTC, datetime

from zsd_export.package.contents import Contents
from zsd_export.package.rdf import WEIGHTS, Rdf, attachments, facts, head, input_text, output_text, tags
from zsd_export.package.rdf_05 import operations
from zsd_runtime.normalize import Linear, Normalisation, ScaleRange

# 0.4 requires a licence and an author. These say that there is none: SPDX's own word, and a plain one.
NO_LICENCE, NO_AUTHOR = "NOASSERTION", {"name": "not named"}
EPS = 1e-6  # JDLL and bioimageio.core add it to a standard deviation
DEEPIMAGEJ_TAGS = ["fiji", "deepimagej"]


def deepimagej(c: Contents, tolerance: dict[str, float]) -> Rdf:
    """BioImage.IO 0.4.10; results of other engines may differ from the test tensors by `tolerance`."""
    slug = re.sub("[^a-z0-9]+", "-", c.credits.name.lower()).strip("-") or "zsd"
    letters = f"bc{c.axes}"
    source = {
        "name": c.input.name,
        "description": input_text(c),
        "axes": letters,
        "data_type": c.input.dtype,
        "shape": {"min": [1, c.input.channels, *c.smallest], "step": [0, 0, *c.size_multiple]},
        "preprocessing": _operations(c.input.processing, c.axes),
    }
    outputs = [
        {
            "name": output.name,
            "description": output_text(c, output),
            "axes": letters,
            "data_type": output.dtype,
            "shape": {
                "reference_tensor": c.input.name,
                "scale": [1, 1, *output.scale],
                "offset": [0, _whole((output.channels - c.input.channels) / 2), *[0] * len(c.axes)],  # counts twice
            },
            "halo": [0, 0, *(halo * k for halo, k in zip(c.halo.pixels, output.scale, strict=True))],
            "postprocessing": _operations(output.processing, c.axes),
        }
        for output in c.outputs
    ]
    files = {
        f"{kind}_{side}s": [f"{kind}_{tensor.name}.{suffix}" for tensor in tensors]
        for kind, suffix in (("test", "npy"), ("sample", "tif"))
        for side, tensors in (("input", (c.input,)), ("output", c.outputs))
    }
    return {
        **head(c, "0.4.10"),
        "id": slug,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "authors": list(c.credits.authors) or [dict(NO_AUTHOR)],
        "license": c.credits.licence or NO_LICENCE,
        "tags": [*tags(c), *DEEPIMAGEJ_TAGS],
        "inputs": [source],
        "outputs": outputs,
        **files,
        "weights": WEIGHTS,
        **({"attachments": {"files": attached}} if (attached := attachments(c)) else {}),
        "config": {
            "bioimageio": {"nickname": slug, "test_kwargs": {"onnx": tolerance}},
            "deepimagej": {"allow_tiling": True, "pyramidal_model": False},
            "zsd": facts(c),
        },
    }


def _operations(line: Normalisation, axes: str) -> list[Rdf]:
    """A normalisation as 0.4 writes it.

    For scale_linear after an output, bioimageio.spec requires axes that bioimageio.core refuses. A fixed mean and
    standard deviation, ``(x - mean) / (std + eps)``, is the same line, and all three programs read it, as a list for
    the one channel.
    """
    if isinstance(line, ScaleRange):
        (step,) = operations(line, axes)
        return [{"name": step["id"], "kwargs": {**step["kwargs"], "mode": "per_sample", "axes": f"c{axes}"}}]
    if line == Linear():
        return []
    assert isinstance(line, Linear)
    fixed = {
        "mode": "fixed",
        "axes": axes,
        "mean": [-line.intercept / line.slope],
        "std": [1 / line.slope - EPS],
        "eps": EPS,
    }
    return [{"name": "zero_mean_unit_variance", "kwargs": fixed}]


def _whole(factor: float) -> float:
    return int(factor) if factor == int(factor) else factor
