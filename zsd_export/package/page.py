"""The page of a package for people: README.md."""

from zsd_export.package.contents import Contents
from zsd_export.package.credits import CITATIONS
from zsd_runtime.errors import size_text
from zsd_runtime.tensors import OutputSpec

USE = {
    "zoo": "Run `zsd predict PACKAGE IMAGE --out DIR`, or use any program that reads BioImage.IO 0.5. The package's "
    "sample images show an input and its results.",
    "deepimagej": "In Fiji: *Plugins > DeepImageJ > DeepImageJ Run*. Convert the image to 32-bit first (*Image > Type "
    "> 32-bit*); an integer image loses its fractions when it is normalised. `zsd predict PACKAGE IMAGE --out DIR` "
    "works, too.",
}
PADDING = {"zoo": "zsd pads smaller images", "deepimagej": "zsd and deepImageJ pad smaller images"}


def readme(c: Contents, format: str) -> str:  # noqa: A002
    """The text of the page."""
    losses = ", ".join(f"{name} {loss:.2f} dB" for name, loss in c.precision_loss_db.items())
    cost = f"; PSNR lost on simulated acquisitions: {losses}" if losses else ""
    channels = "one channel" if c.input.channels == 1 else f"{c.input.channels} channels"
    if c.frames > 1:
        channels = f"channels {', '.join(c.channel_names)}: frames of a movie, to restore the middle one"
    names = [
        " of ".join(author[key] for key in ("name", "affiliation") if key in author) for author in c.credits.authors
    ]
    numbers = "camera counts" if c.input.dtype == "uint16" else "normalised"
    shown = ", ".join(c.names)
    credits_ = {
        "Authors": ", ".join(names) or "not named",
        "Licence of the weights": c.credits.licence or "not given",
        "Method": "; ".join(f"{citation['text']}, doi:{citation['doi']}" for citation in CITATIONS[c.method]),
    }
    return f"""# {c.credits.name}

{_outputs(c)} {c.origin}

![{shown}](cover.png)

*{shown}: a part of the test image, each with its own grey levels*

# Use

{USE[format]}

- Axes: {c.axes.upper()}, {channels}
- Sizes: multiples of {size_text(c.size_multiple)}, at least {size_text(c.smallest)} ({PADDING[format]})
- Intensities: {c.intensities}
- Tensors: {c.input.dtype} in, {c.outputs[0].dtype} out, {numbers}
- Precision: {c.precision}{cost}
- Edges: {_edges(c)}
- Halo: {_halo(c)}

# Training

{_bullets(c.trained_on)}

# Validation

{_bullets(c.validation)}

# Credits

{_bullets(credits_)}
"""


def _outputs(c: Contents) -> str:
    outputs = " and ".join(f"`{output.name}` {_grid(output)}" for output in c.outputs)
    return f"A network ({c.method} {c.dimensions}). It gives {outputs}, in {c.units}."


def _grid(output: OutputSpec) -> str:
    finer = max(output.scale)
    return f"on a grid {finer} times as fine in Y and X" if finer > 1 else "on the image's own grid"


def _halo(c: Contents) -> str:
    pixels = f"{size_text(c.halo.pixels)} input pixels"
    if c.halo.error is not None:
        return f"{pixels}; further inside, the border of a tile changes at most {c.halo.error:.1e} of the range (fp32)"
    return (
        f"{pixels}, as far as the convolutions see. Channel attention uses the mean of the whole tile, so that results "
        "depend, slowly, on the tiles"
    )


def _edges(c: Contents) -> str:
    if c.zero_margin is None:
        return "zsd continues the image by reflection"
    return (
        f"zsd puts a margin of {size_text(c.zero_margin)} pixels of zeros (after normalisation) around the image and "
        "crops it, as the published code does"
    )


def _bullets(rows: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in rows.items())
