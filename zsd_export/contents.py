"""What a package says of its model, in whichever format it is written."""

from dataclasses import dataclass, field
from typing import Any

from zsd_export.verify import Halo
from zsd_export.zoo import Author
from zsd_runtime.normalize import Linear, ScaleRange
from zsd_runtime.tiling import round_up


@dataclass(frozen=True)
class Intensities:
    """What is done to counts before the graph, and after it; the `units` of the results; for people, a `text`."""

    before: Linear | ScaleRange
    after: Linear
    units: str
    text: str


# As published: each image by itself.
PER_IMAGE = Intensities(
    ScaleRange(), Linear(), "shares of the image's range, above its minimum",
    "each image from its minimum (0) to its maximum (1), as published; the results are shares of that range",
)  # fmt: skip


def linear(offset: float, scale: float) -> Intensities:
    """One line for every image: the network sees ``(counts - offset) / scale``."""
    return Intensities(
        Linear(1 / scale, -offset / scale), Linear(scale), "camera counts above the offset",
        f"(counts - {offset:.6g}) / {scale:.6g}; the same for every image: movies do not flicker",
    )  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """What a package says of its model.

    summary : a sentence · origin : a paragraph · trained_on, validation : what there was and what was measured, by
    name, for people · kind, axes, size_multiple, scales : of the network · input_dtype, output_dtype : of the
    tensors; uint16 are counts · precision_loss_db : of each output, empty for fp32 · bytes_per_voxel : of memory ·
    licence : its SPDX identifier · tags : beside those that every package has · zero_margin : pixels of zeros that
    the network is to see around an image, which is otherwise continued · provenance : what else is known, for
    machines.
    """

    name: str
    summary: str
    origin: str
    trained_on: dict[str, str]
    validation: dict[str, str]
    kind: str
    axes: str
    size_multiple: tuple[int, ...]
    scales: list[tuple[int, ...]]
    intensities: Intensities
    halo: Halo
    bytes_per_voxel: float | None
    input_dtype: str = "float32"
    output_dtype: str = "float32"
    precision: str = "fp32"
    precision_loss_db: dict[str, float] = field(default_factory=dict)
    pixel_size_um: float | None = None
    z_step_um: float | None = None
    authors: tuple[Author, ...] = ()
    licence: str | None = None
    tags: tuple[str, ...] = ()
    zero_margin: tuple[int, ...] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def smallest(self) -> tuple[int, ...]:
        """Input pixels, axis by axis: a tile has something left when its halo is cropped."""
        lengths = zip(self.axes, self.halo.pixels, self.size_multiple, strict=True)
        return tuple(round_up(max(2 * halo + 1, 64 if axis in "yx" else 1), step) for axis, halo, step in lengths)

    @property
    def dimensions(self) -> str:
        """2D or 3D."""
        return f"{len(self.axes)}D"
