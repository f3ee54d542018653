"""From a run folder to a package, written only when the network in it computes what was trained."""

import re
import shutil
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from zsd_export.bioimageio import Contents, description
from zsd_export.to_onnx import to_onnx
from zsd_export.verify import measure_halo, parity
from zsd_runtime.errors import InputError
from zsd_runtime.files import written_whole
from zsd_runtime.package import read_package
from zsd_runtime.tiling import reflected
from zsd_train.pictures import GAP, enlarged, middle, montage
from zsd_train.train import load_run

TEST_SIDE = 256  # pixels of the test tensors
COVER_HEIGHT = 256
HALO_SIDE = 768  # pixels of the image that the halo is measured on: more than the deepest field of the networks

Array = NDArray[np.float32]


def export(run: str | Path, package: str | Path, *, name: str | None = None) -> Path:
    """Write a model package (BioImage.IO 0.5) from a run folder.

    Parameters
    ----------
    run : path
        What `zsd train` wrote.
    package : path
        A new folder, or a new file ending in .zip.
    name : str
        Of the model; "zsd" and the run folder's name if not given.

    Returns
    -------
    Path
        `package`.

    Raises
    ------
    InputError
        When the run cannot be read, or the package exists or cannot be written.
    VerificationError
        When the ONNX differs from torch by more than 1e-4 of the range; nothing is written then.
    """
    package = Path(package)
    if package.exists():
        raise InputError(f"{package} exists already: choose another name, or remove it first")
    trained = load_run(run)
    onnx = to_onnx(trained.network)
    normalised = ((trained.sample - trained.offset) / trained.scale).astype(np.float32)
    step = trained.network.step
    test = middle(normalised, TEST_SIDE, step)
    outputs = parity(trained.network, onnx, test)
    side = reflected(np.arange(HALO_SIDE), min(normalised.shape))
    halo = measure_halo(onnx, normalised[np.ix_(side, side)], step, trained.network.upsample)
    contents = Contents(
        name=name or f"zsd {re.sub('[^A-Za-z0-9_+() -]+', '-', trained.folder.resolve().name)}",
        step=step,
        upsample=trained.network.upsample,
        offset=trained.offset,
        scale=trained.scale,
        halo=halo,
        pixel_size_um=trained.pixel_size_um,
        provenance={
            "zsd_version": version("zsd"),
            "exported": datetime.now(UTC).date().isoformat(),
            "training": trained.config.model_dump(mode="json", exclude_none=True),
            "measured": trained.measured,
        },
    )
    with written_whole(package) as temporary:
        folder = temporary.with_suffix(".folder") if package.suffix == ".zip" else temporary
        folder.mkdir(parents=True)
        try:
            (folder / "model.onnx").write_bytes(onnx)
            np.save(folder / "test_noisy.npy", (test[None, None] * trained.scale + trained.offset).astype(np.float32))
            for label, values in zip(("denoised", "deconvolved"), outputs, strict=True):
                np.save(folder / f"test_{label}.npy", values * np.float32(trained.scale))
            iio.imwrite(folder / "cover.png", _cover(test, outputs), extension=".png")
            description(contents, folder)
            read_package(folder)  # what was written is what the runtime understands
            if folder is not temporary:
                with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in sorted(folder.iterdir()):
                        archive.write(file, file.name)
        finally:
            if folder is not temporary:
                shutil.rmtree(folder, ignore_errors=True)
    return package


def _cover(noisy: Array, outputs: list[Array]) -> NDArray[np.uint8]:
    """noisy | denoised | deconvolved at the 2:1 that BioImage.IO asks of a cover."""
    k = outputs[1].shape[-1] // outputs[0].shape[-1]
    panels = [enlarged(noisy, k), enlarged(outputs[0][0, 0], k), outputs[1][0, 0]]
    height = min(COVER_HEIGHT, panels[0].shape[0])
    width = (2 * height - 2 * GAP) // 3
    return montage([panel[:height, :width] for panel in panels])
