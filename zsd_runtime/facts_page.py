"""The facts of an image file as a page for a terminal."""

from typing import Any

from zsd_runtime.errors import size_text

Facts = dict[str, Any]
AXIS_NAMES = {"T": "frame", "C": "channel", "Z": "slice", "Y": "row", "X": "column"}
MOST_LINES = 60  # of a folder's images


def page(facts: Facts) -> str:
    """The page of `zsd_runtime.facts.facts_of`."""
    if "error" in facts:
        return f"{facts['file']}\n  error: {facts['error']}"
    if "folder" in facts:
        return _folder_page(facts)
    rows = {
        "format": f"{facts['format']}, {_bytes(facts['file_bytes'])}",
        "name": facts["name"],
        "axes": f"{facts['axes']}: " + ", ".join(
            _count(n, AXIS_NAMES[a]) for a, n in zip(facts["axes"], facts["shape"], strict=True)
        ),
        "pixels": f"{facts['dtype']}, {_bytes(facts['pixel_bytes'])} in all",
        "pixel size": _pixel_size(facts) + (f" (from {facts['size_source']})" if facts["size_source"] else ""),
        "z step": _length(facts["z_step_um"]) if "Z" in facts["axes"] or facts["z_step_um"] else "",
        "time step": f"{facts['time_step_s']:g} s" if facts["time_step_s"] else "",
        "position": ", ".join(f"{axis} {um:g} µm" for axis, um in facts["origin_um"].items()),
        "channels": _channels(facts["channels"]),
        "series": _series(facts["series"]),
        "intensities": _intensities(facts["intensities"], facts["sampled"]),
        "no data": _no_data(facts["pixels"], facts["sampled"]),
        "notices": "\n".join(facts["notices"]),
    }  # fmt: skip
    return "\n".join([facts["file"], *_aligned(rows)])


def _aligned(rows: dict[str, str]) -> list[str]:
    """Names and texts; further lines of a text stand below its first."""
    lines, width = [], max(map(len, rows))
    for name, text in rows.items():
        for number, line in enumerate(text.splitlines()):
            lines.append(f"  {'' if number else name:<{width}}  {line}")
    return lines


def _folder_page(facts: Facts) -> str:
    images, others = facts["images"], facts["other_files"]
    lines = [f"{facts['folder']}: a folder with {_count(len(images), 'image')}"]
    for image in images[:MOST_LINES]:
        what = (
            image.get("error") or f"{image['axes']} {size_text(image['shape'])} {image['dtype']}, {_pixel_size(image)}"
        )
        lines.append(f"  {image['file']}  {'error: ' * ('error' in image)}{what}")
        lines += [f"    {sentence}" for sentence in image.get("notices", [])]
    if len(images) > MOST_LINES:
        lines.append(f"  and {len(images) - MOST_LINES} more")
    if others:
        more = ", …" if len(others) > 5 else ""
        lines.append(f"  beside them (parts of them, or no images): {', '.join(others[:5])}{more}")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _pixel_size(facts: Facts) -> str:
    if not facts["pixel_size_um"]:
        return "not known"
    y, x = facts["pixel_size_um"]
    return _length(x) if x == y else f"{_length(y)} (Y) x {_length(x)} (X)"


def _length(um: float | None) -> str:
    return "not known" if um is None else f"{um:.5g} µm"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _channels(channels: list[Facts]) -> str:
    """A line for each; nothing for a single one of which nothing is known."""
    lines = []
    for channel in channels:
        known = [
            channel["name"] or "unnamed",
            f"colour {channel['color']}" if channel["color"] else "",
            "a lookup table" if channel["lut"] else "",
            f"emission {channel['emission_nm']:g} nm" if channel["emission_nm"] else "",
        ]
        lines.append(f"{channel['number']}: " + ", ".join(filter(None, known)))
    return "" if len(lines) == 1 and lines[0].endswith(": unnamed") else "\n".join(lines)


def _series(series: list[Facts]) -> str:
    """A line for each image in the file."""
    lines = []
    for one in series:
        what = one.get("error") or (f"{one['axes']} {size_text(one['shape'])}" if "axes" in one else "")
        shown = "  <- shown here; choose with --series" if one["shown"] else ""
        lines.append(f"{one['number']}: {one['name'] or 'unnamed'}  {what}".rstrip() + shown)
    return "\n".join(lines)


def _intensities(facts: Facts, sampled: Facts) -> str:
    planes, of, shape = sampled["planes"], sampled["of_planes"], size_text(sampled["plane_shape"])
    where = f"in {planes} of {of} planes, {shape} pixels each" if planes < of else f"in all planes, {shape} pixels each"
    if "median" not in facts:
        return f"no pixel is a number, {where}"
    range_ = "{minimum:g} to {maximum:g}, median {median:g}, 99.9 % below {percentile_99_9:g}".format(**facts)
    lines = [f"{range_}, {where}", f"{_share(facts['at_0'])} at 0"]
    if facts["full_scale"] is not None:
        lines[1] += f", {_share(facts['at_full_scale'])} at full scale ({facts['full_scale']})"
    if facts["not_finite"]:
        lines[1] += f", {_share(facts['not_finite'])} NaN or infinite"
    return "\n".join(lines)


KINDS = {
    "padding": "padding", "low": "at the lowest value", "high": "saturated", "hot": "hot pixels", "dead": "dead pixels",
}  # fmt: skip


def _no_data(pixels: dict[str, int], sampled: Facts) -> str:
    """Blank planes, and shares of the sampled pixels, by kind."""
    blank = sampled["blank"]
    numbers = ", ".join(map(str, blank[:8])) + ", …" * (len(blank) > 8)
    said = [f"plane{'s' * (len(blank) > 1)} {numbers} {'are' if len(blank) > 1 else 'is'} blank"] if blank else []
    total = sampled["planes"] * sampled["plane_shape"][0] * sampled["plane_shape"][1]
    return ", ".join(said + [f"{_share(count / total)} {KINDS[kind]}" for kind, count in pixels.items()])


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"
