"""`zsd import-keras`: weights of the published ZS-DeconvNet (Keras, .h5) as a package; TensorFlow is not needed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from zsd_export.imported import Foreign, scene, write_imported
from zsd_export.keras_weights import network_of, read_weights
from zsd_export.options import Authors, Format, Licence, Name, Overwrite, Tags, writing
from zsd_export.package.contents import PER_IMAGE, Intensities, linear
from zsd_export.package.credits import ANONYMOUS, Credits, name_after
from zsd_export.package.write import Destination
from zsd_runtime.errors import InputError, size_text
from zsd_runtime.package import LARGEST_MARGIN
from zsd_runtime.terminal import Quiet, command_line, numbers, reporting
from zsd_runtime.tiling import round_up
from zsd_train.networks.dual_stage import DualStage

# Of zeros around every patch in the published training, and around every image.
MARGINS = {"yx": (16, 16), "zyx": (2, 8, 8)}

Margin = Sequence[int] | Literal["reflect"] | None

app = command_line()


@app.command("import-keras")
def _import_keras(
    weights: Annotated[Path, typer.Argument(help="Keras weights (.h5): 2D U-Net, RCAN3D, RCAN3D_SIM or Unet3D.")],
    package: Annotated[Path, typer.Argument(help="New folder, or new file ending in .zip.")],
    upsample: Annotated[
        bool | None,
        typer.Option(help="Is the deconvolved grid twice as fine? By default, as the file's list of layers says."),
    ] = None,
    name: Name = None,
    offset: Annotated[
        float | None,
        typer.Option(help="Camera offset, counts. With --scale, every image is normalised alike, and flux is kept."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Counts above the offset that become 1, as in the network's training.")
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(
            help="Pixels of zeros around an image, as around the patches of its training (insert_z, insert_xy): YxX or "
            "ZxYxX, rounded up to the network's poolings; or reflect: continue the image. By default as published, "
            "16x16 or 2x8x8."
        ),
    ] = None,
    format: Format = "zoo",  # noqa: A002
    author: Authors = None,
    licence: Licence = None,
    tag: Tags = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a model package from trained weights of the published ZS-DeconvNet.

    As published, every image is normalised by its minimum and maximum. With --offset and --scale, results are camera
    counts above the offset instead.
    """
    with reporting(quiet):
        import_keras(
            weights, package, upsample=upsample, offset=offset, scale=scale, margin=_margin(margin),
            **writing(format, name, author, licence, tag, overwrite, quiet),
        )  # fmt: skip
        print(f"OK {package} written from {weights}")


def import_keras(
    weights: str | Path,
    package: str | Path,
    *,
    upsample: bool | None = None,
    offset: float | None = None,
    scale: float | None = None,
    margin: Margin = None,
    credits: Credits = ANONYMOUS,  # noqa: A002
    format: str = "zoo",  # noqa: A002
    overwrite: bool = False,
    notice: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a model package from trained weights of the published ZS-DeconvNet.

    Parameters
    ----------
    weights : path
        A file that Keras 2 wrote with ``model.save_weights("….h5")`` or ``model.save("….h5")``.
    package : path
        A new folder, or a new file ending in .zip.
    upsample : bool
        Whether the deconvolved grid is twice as fine. By default, as the file's list of layers says.
    offset, scale : float
        Counts. The network sees ``(counts - offset) / scale``, and the results are counts above the offset. Without
        them, as published, each image is normalised from its minimum (0) to its maximum (1), and results are shares of
        that range. (The published code also stretches results to their percentiles before it saves them; zsd does not.)
    margin : sequence of int or "reflect"
        Pixels of zeros for each axis, at most 64, that `zsd predict` puts around the normalised image and crops again,
        rounded up to the pooling grid. The published networks were trained with zeros around every patch (``insert_z``,
        ``insert_xy``). By default, as published, 16 in 2D, and 2 slices and 8 pixels in 3D. "reflect" continues the
        image instead.
    credits : Credits
        Name, authors, licence and tags. The name is "zsd" and the file's name if not given.
    format, overwrite, notice
        As for `zsd_export.export`.

    Returns
    -------
    Path
        `package`.

    Raises
    ------
    InputError
        When the file is not readable, its weights belong to another network, or the package exists.
    VerificationError
        When the ONNX differs from torch; nothing is written then.
    """
    weights, to = Path(weights), Destination(Path(package), format, overwrite)
    to.check()
    credited = credits.over(Credits(name_after(weights.stem)), notice)
    intensities = _intensities(offset, scale)
    try:
        network = network_of(read_weights(weights), upsample)
    except InputError as error:
        raise InputError(f"{weights}: {error}", option=error.options) from None
    image = scene(network)
    normalised = (image - image.min()) / np.float32(np.ptp(image))
    foreign = Foreign(network, weights, "Keras", "ZS-DeconvNet", zero_margin=_zeros(margin, network))
    write_imported(to, foreign, credited, intensities, image, normalised)
    return to.path


def _intensities(offset: float | None, scale: float | None) -> Intensities:
    if offset is None or scale is None:
        if offset is not scale:
            raise InputError(
                f"`offset` is {offset}, `scale` is {scale}", "give both or neither", option=("offset", "scale")
            )
        return PER_IMAGE
    if not scale > 0:
        raise InputError(f"scale {scale:g} must be above 0 counts", option="scale")
    return linear(offset, scale)


def _margin(text: str | None) -> Margin:
    """What a person typed."""
    if text == "reflect":
        return "reflect"
    try:
        return numbers(text, "--margin", least=0)
    except InputError:
        raise InputError(f"--margin {text} must be YxX or ZxYxX, for instance 16x16, or reflect") from None


def _zeros(margin: Margin, network: DualStage) -> tuple[int, ...] | None:
    """Pixels of zeros around an image, on the pooling grid; None: the image is continued."""
    if margin == "reflect":
        return None
    if isinstance(margin, str):
        raise InputError(f"margin {margin!r} must be numbers of pixels, or 'reflect'", option="margin")
    margin = MARGINS[network.axes] if margin is None else margin
    if len(margin) != len(network.axes) or not all(0 <= n <= LARGEST_MARGIN for n in margin):
        raise InputError(
            f"`margin` {size_text(margin)} must be {len(network.axes)} numbers, for {network.axes.upper()}, from 0 to "
            f"{LARGEST_MARGIN}",
            option="margin",
        )
    return tuple(round_up(n, step) for n, step in zip(margin, network.size_multiple, strict=True))
