"""Where the stage was."""

from zsd_runtime.images.image import Voxel


def first_voxel_um(middle_um: dict[str, float], sizes: dict[str, int], voxel: Voxel) -> dict[str, float]:
    """The position of the first voxel's centre of a field whose middle is at `middle_um`, along its axes.

    An axis of unknown pixel size has no position. Whether the camera is turned against the stage is not considered.
    """
    known = {a: (at, step) for a, at in middle_um.items() if (step := voxel[a])}
    return {a: at - (sizes[a] - 1) / 2 * step for a, (at, step) in known.items()}
