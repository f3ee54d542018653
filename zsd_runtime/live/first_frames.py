"""Whether the frames of a camera are of the kind that a model was trained on: said at the first one."""

import threading
from collections.abc import Callable, Mapping

from zsd_runtime.errors import InputError
from zsd_runtime.images import Channel, Description, Image, Voxel
from zsd_runtime.live.view import Shown, View
from zsd_runtime.mismatch import image_mismatches
from zsd_runtime.package import ModelDescription


class FirstFrames:
    """Compares the first frame of each channel with what its model was trained on, in a thread of its own.

    Parameters
    ----------
    view : View
        Where frames are seen.
    models : mapping of str to ModelDescription
        By the name of the channel; "" is for all others.
    voxel : Voxel
        Of the frames, as far as it is known.
    warn : callable
        Called with a sentence for each difference, from that thread.
    """

    def __init__(
        self, view: View, models: Mapping[str, ModelDescription], voxel: Voxel, warn: Callable[[str], None]
    ) -> None:
        self._view, self._models, self._voxel, self._warn = view, models, voxel, warn
        self._last, self._compared = -1, set[str]()

    def look(self) -> None:
        """Compare the channels that are seen for the first time; does not wait for it."""
        while len(self._compared) < len(self._models) and (shown := self._view.latest(self._last)) is not None:
            self._last = shown.number
            model = self._models.get(shown.channel, self._models.get(""))
            if model is not None and shown.channel not in self._compared:
                self._compared.add(shown.channel)
                threading.Thread(target=self._compare, args=(shown, model), name="zsd first frame", daemon=True).start()

    def _compare(self, shown: Shown, model: ModelDescription) -> None:
        described = Description(channels=(Channel(shown.channel),))
        try:
            found = image_mismatches(model, Image(shown.raw, "YX", self._voxel, description=described))
        except InputError as error:
            self._warn(f"the first frame: {error}")
            return
        where = f"the first frame of {shown.channel}" if shown.channel else "the first frame"
        for mismatch in found:
            self._warn(f"{where}: {mismatch.text}")
