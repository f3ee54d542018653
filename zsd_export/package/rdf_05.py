"""A description in BioImage.IO 0.5, for the zoo."""

from zsd_export.package.contents import Contents, channel_names
from zsd_export.package.rdf import WEIGHTS, Rdf, attachments, facts, head, input_text, output_text, tags
from zsd_runtime.normalize import Linear, Normalisation, ScaleRange
from zsd_runtime.tensors import InputSpec, OutputSpec


def zoo(c: Contents, tolerance: dict[str, float]) -> Rdf:
    """BioImage.IO 0.5; results of other engines may differ from the test tensors by `tolerance`."""
    return {
        **head(c, "0.5.4"),
        "authors": list(c.credits.authors),
        **({"license": c.credits.licence} if c.credits.licence else {}),
        "tags": tags(c),
        "inputs": [_input(c)],
        "outputs": [_output(output, c) for output in c.outputs],
        "weights": WEIGHTS,
        **({"attachments": [{"source": name} for name in files]} if (files := attachments(c)) else {}),
        "config": {"bioimageio": {"reproducibility_tolerance": [tolerance]}, "zsd": facts(c)},
    }


def operations(line: Normalisation, axes: str) -> list[Rdf]:
    """A normalisation as 0.5 writes it."""
    if isinstance(line, ScaleRange):
        limits = {"min_percentile": line.low, "max_percentile": line.high, "eps": line.eps}
        return [{"id": "scale_range", "kwargs": {"axes": ["channel", *axes], **limits}}]
    if line == Linear():
        return []
    assert isinstance(line, Linear)
    return [{"id": "scale_linear", "kwargs": {"gain": line.slope, "offset": line.intercept}}]


def _input(c: Contents) -> Rdf:
    sizes = [{"size": {"min": n, "step": step}} for n, step in zip(c.smallest, c.size_multiple, strict=True)]
    return _tensor(c.input, input_text(c), sizes, c.axes, c.channel_names) | {
        "preprocessing": operations(c.input.processing, c.axes)
    }


def _output(output: OutputSpec, c: Contents) -> Rdf:
    sizes = [
        {
            "size": {"tensor_id": c.input.name, "axis_id": axis, "offset": 0},
            "scale": 1 / factor,
            "halo": halo * factor,
        }
        for axis, factor, halo in zip(c.axes, output.scale, c.halo.pixels, strict=True)
    ]
    described = _tensor(output, output_text(c, output), sizes, c.axes, channel_names(output.channels))
    return described | {"postprocessing": operations(output.processing, c.axes)}


def _tensor(tensor: InputSpec | OutputSpec, text: str, sizes: list[Rdf], axes: str, names: list[str]) -> Rdf:
    return {
        "id": tensor.name,
        "description": text,
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": names},
            *({"type": "space", "id": name, **size} for name, size in zip(axes, sizes, strict=True)),
        ],
        "data": {"type": tensor.dtype},
        "test_tensor": {"source": f"test_{tensor.name}.npy"},
        "sample_tensor": {"source": f"sample_{tensor.name}.tif"},
    }
