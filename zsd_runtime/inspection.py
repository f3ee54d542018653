"""`zsd inspect`: a package on one page."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from zsd_runtime.engine_choice import CANDIDATES, open_engine, run_smallest
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.normalize import Linear, ScaleRange
from zsd_runtime.package import ModelDescription, read_package
from zsd_runtime.terminal import command_line, flag, reporting

app = command_line()


@dataclass(frozen=True)
class Tried:
    """An engine on a device, and the reason why it does not run the package here; empty if it does."""

    engine: str
    device: str
    reason: str = ""


@app.command()
def inspect(
    package: Annotated[Path, typer.Argument(help="Model package: a folder, a zip, its rdf.yaml, or zoo:NAME.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a package was trained on, its input and outputs, and which engines run it here."""
    with reporting():
        model = read_package(package)
        sections = describe(model)
        tried = engines(model)
        if as_json:
            found = [{"engine": t.engine, "device": t.device, "reason": t.reason or None} for t in tried]
            print(json.dumps({**sections, "engines": found}, indent=1, ensure_ascii=False))
            return
        print(page(sections, tried))


def describe(model: ModelDescription) -> dict[str, dict[str, str]]:
    """The facts of the package, by section and name."""
    facts, rdf, source = model.facts, model.rdf, model.input
    axes = model.axes.upper()
    sections = {
        "model": {
            "name": model.name,
            "description": rdf.get("description"),
            "origin": facts.get("origin"),
            "format": f"BioImage.IO {rdf['format_version']}",
            "authors": ", ".join(author["name"] for author in rdf.get("authors") or []) or "not named",
            "licence": rdf.get("license") or "not given",
            "exported": " by zsd ".join(str(facts[key]) for key in ("exported", "zsd_version") if key in facts),
        },
        "trained on": facts.get("trained_on") or {"images": "the package does not say"},
        "validation": facts.get("validation") or {},
        "input": {
            source.name: f"{axes}, {_channels(source.channels, model.frames)}, {source.dtype}"
            + " camera counts" * (source.dtype == "uint16"),
            "pixel size": _pixel_size(facts, (1,) * len(axes), axes),
            "normalisation": facts.get("intensities") or _normalisation(model),
            "sizes": f"any; tiles are multiples of {size_text(model.size_multiple)}",
            "edges": "continued by reflection"
            if model.zero_margin is None
            else f"a margin of {size_text(model.zero_margin)} pixels of zeros, cropped again",
            "halo": f"{size_text(model.halo)} pixels" + _halo_error(facts),
        },
        "outputs": {
            output.name: f"{_channels(output.channels)}, {size_text(output.scale)} times as fine, pixels of "
            f"{_pixel_size(facts, output.scale, axes)}, {output.dtype}, {facts.get('units', 'units not said')}"
            for output in model.outputs
        },
        "network": {
            "precision": model.precision,
            "weights": f"{len(model.weights) / 1e6:.1f} MB, ONNX opset {rdf['weights']['onnx']['opset_version']}",
            "memory": f"{model.bytes_per_voxel} bytes for each voxel of a tile" if model.bytes_per_voxel else None,
        },
    }
    return {title: {name: str(text) for name, text in rows.items() if text} for title, rows in sections.items() if rows}


def engines(model: ModelDescription) -> list[Tried]:
    """Try every engine on every device, best first: open it and run the smallest tile."""
    found = []
    for name, device in CANDIDATES:
        try:
            opened = open_engine(model, device, name)
            run_smallest(opened, model)
            opened.close()
            found.append(Tried(name, device))
        except (InputError, RuntimeError, MemoryError) as error:
            text = error.message(flag) if isinstance(error, InputError) else str(error)
            found.append(Tried(name, device, " ".join(text.split())))
    return found


def page(sections: dict[str, dict[str, str]], tried: list[Tried]) -> str:
    """The page, for a terminal."""
    rows = {f"{t.engine} on {t.device}": f"no: {t.reason}" if t.reason else "runs" for t in tried}
    best = next((name for name, text in rows.items() if text == "runs"), None)
    if best:
        rows[best] += " (the choice of --engine auto)"
    blocks = []
    for title, lines in {**sections, "here": rows}.items():
        width = max(map(len, lines))
        blocks.append("\n".join([title.upper(), *(f"  {name:<{width}}  {text}" for name, text in lines.items())]))
    return "\n\n".join(blocks)


def _pixel_size(facts: dict[str, Any], scale: tuple[int, ...], axes: str) -> str:
    size, step = facts.get("pixel_size_um"), facts.get("z_step_um")
    if not size:
        return "not known"
    text = f"{1000 * size / scale[-1]:.4g} nm"
    return text + f", slices of {1000 * step / scale[0]:.4g} nm" if step and axes[0] == "Z" else text


def _channels(count: int, frames: int = 1) -> str:
    if frames > 1:
        return f"{frames} frames of a movie at once (T), to restore the middle one"
    return "one channel" if count == 1 else f"{count} channels"


def _normalisation(model: ModelDescription) -> str:
    line = model.input.processing
    if isinstance(line, Linear):
        return f"{line.slope:.6g} · counts {line.intercept:+.6g}, the same for every image"
    if isinstance(line, ScaleRange):
        return f"each image from its percentile {line.low:g} (0) to {line.high:g} (1)"
    return "each image to mean 0 and variance 1"


def _halo_error(facts: dict[str, Any]) -> str:
    if "halo_error" in facts:
        return f"; beyond it a tile's border changes at most {facts['halo_error']:.1e} of the range"
    return ", stated, not measured"
