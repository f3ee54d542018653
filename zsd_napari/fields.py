"""Fields that several widgets have: the layer with its axes and sizes, and the PSF."""

from pathlib import Path

import numpy as np
from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit, FloatSpinBox, Widget
from napari.layers import Image
from napari.viewer import Viewer

from zsd_napari.layers import CHOICES, axes_of, channel_names, source_of, voxel_of
from zsd_napari.panel import narrow
from zsd_napari.psf import Psf, PsfLayer
from zsd_napari.source import Read, Source
from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfOptics
from zsd_runtime.errors import InputError
from zsd_runtime.images import Voxel

OPTICS, FILE, LAYER, SIGMA, NONE = "optics", "file", "another layer", "Gaussian (σ)", "none"
MEANING = {"T": "frames", "C": "channels", "Z": "slices"}


def size_field(label: str, tooltip: str) -> FloatSpinBox:
    """A length; 0 is unknown."""
    return FloatSpinBox(value=0.0, min=0.0, max=100.0, step=0.0001, label=label, tooltip=tooltip)


def layer_box(viewer: Viewer, label: str, tooltip: str) -> ComboBox:
    """The image layers of a viewer; napari asks for them again when layers come and go."""
    return narrow(
        ComboBox(
            choices=lambda box: [layer for layer in viewer.layers if isinstance(layer, Image)], label=label,
            tooltip=tooltip, nullable=False,
        )
    )  # fmt: skip


class LayerFields:
    """Which layer, what its axes are, which channel, and how large its voxels are.

    Attributes
    ----------
    layer, axes, channel, pixel_size, z_step : Widget
    """

    def __init__(self, viewer: Viewer) -> None:
        # napari asks all boxes for their choices again whenever layers come or go.
        self._axes: tuple[str, ...] = ("YX",)
        self._channels: list[tuple[str, int]] = [("0", 0)]
        self.layer = layer_box(viewer, "Image", "The noisy image layer: camera counts, not a colour picture.")
        active = viewer.layers.selection.active
        if isinstance(active, Image):
            self.layer.value = active
        self.axes = ComboBox(
            choices=lambda box: self._axes, label="Axes", tooltip="What the axes are: T frames, C channels, "
            "Z slices of a volume. Frames are restored plane by plane, volumes as a whole.",
        )  # fmt: skip
        self.channel = ComboBox(
            choices=lambda box: self._channels, label="Channel", tooltip="Which channel to work on.", visible=False
        )
        self.pixel_size = size_field("Pixel size (µm)", "Of the raw image; 0 if it is unknown.")
        self.z_step = size_field("Z step (µm)", "Between the slices of a volume; 0 if it is unknown.")
        self.layer.changed.connect(self.changed)
        self.axes.changed.connect(self.update)

    @property
    def fields(self) -> dict[str, Widget]:
        """By the names of zsd's options."""
        return {
            "layer": self.layer, "axes": self.axes, "channels": self.channel, "pixel_size": self.pixel_size,
            "z_step": self.z_step,
        }  # fmt: skip

    def changed(self) -> None:
        """Another layer: take over what it says."""
        layer: Image | None = self.layer.value
        if layer is None or layer.rgb:
            return
        guess = axes_of(layer)
        choices = CHOICES.get(layer.ndim, ())
        choices = choices if guess in choices or not guess else (guess, *choices)
        if self._axes != choices:
            self._axes = choices
            self.axes.reset_choices()
        if guess:
            self.axes.value = guess
        self.update()
        voxel = voxel_of(layer, self.axes.value or guess)
        self.pixel_size.value = voxel.x_um or 0.0
        self.z_step.value = voxel.z_um or 0.0

    def update(self) -> None:
        """Show the fields that the axes ask for."""
        layer: Image | None = self.layer.value
        axes = self.axes.value or ""
        self.z_step.visible = "Z" in axes
        self.channel.visible = "C" in axes
        if layer is not None and "C" in axes and not layer.rgb and len(axes) == layer.ndim:
            count = int((layer.data[0] if layer.multiscale else layer.data).shape[axes.index("C")])
            names = channel_names(layer, count) or [str(n) for n in range(count)]
            self._channels = [(name, n) for n, name in enumerate(names)]
            self.channel.reset_choices()

    @property
    def spatial(self) -> str:
        """What one image is, "YX" or "ZYX"."""
        return "ZYX" if str(self.axes.value).endswith("ZYX") else "YX"

    @property
    def voxel(self) -> Voxel:
        """As the fields say."""
        return Voxel.square(
            self.pixel_size.value or None, (self.z_step.value or None) if "Z" in self.axes.value else None
        )

    def source(self, *, one_channel: bool = True) -> tuple[Source, Read]:
        """The layer for the worker; see `source_of`."""
        layer = self.layer.value
        at = (
            {"C": int(self.channel.value)}
            if one_channel and layer is not None and "C" in (self.axes.value or "")
            else {}
        )
        voxel = self.voxel if self.axes.value else None
        return source_of(layer, self.axes.value or "", voxel, at=at)

    @property
    def left_out(self) -> str:
        """Axes of the layer that its source does not have."""
        return "C" if "C" in self.axes.value else ""


class PsfFields:
    """How the PSF is described."""

    def __init__(self, viewer: Viewer, *, optional: bool = False) -> None:
        kinds = [OPTICS, FILE, LAYER, SIGMA, NONE]
        self.kind = ComboBox(
            choices=kinds, value=NONE if optional else OPTICS, label="PSF", tooltip="The image of a point: from the "
            "optics, from a file or a layer (beads, theory), or a Gaussian. Only the scheme noise2void needs none.",
        )  # fmt: skip
        self.na = FloatSpinBox(value=1.4, min=0.05, max=1.7, step=0.05, label="NA", tooltip="Of the objective.")
        self.wavelength = FloatSpinBox(
            value=525.0, min=200.0, max=2000.0, step=5.0, label="Emission (nm)", tooltip="Wavelength of the emission."
        )
        self.index = FloatSpinBox(
            value=1.515, min=1.0, max=1.7, step=0.005, label="Immersion n",
            tooltip="Refractive index: oil 1.515, glycerol 1.47, water 1.33, air 1.0.",
        )  # fmt: skip
        self.file = FileEdit(
            mode=FileDialogMode.EXISTING_FILE,
            label="PSF file",
            filter="Images (*.tif *.tiff *.npy *.mrc *.czi *.nd2);;All (*)",
        )
        self.psf_layer = layer_box(viewer, "PSF layer", "An image of a point, with its scale and units.")
        self.sigma = FloatSpinBox(value=1.2, min=0.0, max=100.0, step=0.1, label="σ (pixels)", tooltip="In Y and X.")
        self.sigma_z = FloatSpinBox(value=1.5, min=0.0, max=100.0, step=0.1, label="σ in Z (slices)")
        self._volumes = False
        self.kind.changed.connect(lambda: self.update(self._volumes))

    @property
    def fields(self) -> dict[str, Widget]:
        """By the names of zsd's options."""
        return {
            "psf": self.kind, "na": self.na, "wavelength": self.wavelength, "refractive_index": self.index,
            "psf_file": self.file, "psf_layer": self.psf_layer, "psf_sigma": self.sigma, "psf_sigma_z": self.sigma_z,
        }  # fmt: skip

    def update(self, volumes: bool) -> None:
        """Show the fields of the kind that is chosen."""
        self._volumes = volumes
        kind = self.kind.value
        for field in (self.na, self.wavelength, self.index):
            field.visible = kind == OPTICS
        self.file.visible = kind == FILE
        self.psf_layer.visible = kind == LAYER
        self.sigma.visible = kind == SIGMA
        self.sigma_z.visible = kind == SIGMA and volumes

    def psf(self) -> Psf | None:
        """The PSF; None for none.

        Raises
        ------
        InputError
            When a value is no PSF's.
        """
        kind = self.kind.value
        if kind == OPTICS:
            return PsfOptics(self.na.value, self.wavelength.value, self.index.value)
        if kind == FILE:
            path = Path(str(self.file.value))
            if not str(self.file.value) or not path.is_file():
                what = f"{path} is not a file" if str(self.file.value) not in ("", ".") else "no PSF file is chosen"
                raise InputError(what, "choose an image of the PSF", option="psf_file")
            return PsfFile(path)
        if kind == SIGMA:
            return self._gaussian()
        if kind == LAYER:
            return self._from_layer()
        return None

    def _gaussian(self) -> PsfGaussian:
        given = {"psf_sigma_z": self.sigma_z.value, "psf_sigma": self.sigma.value}
        wanted = given if self._volumes else {"psf_sigma": self.sigma.value}
        for option, value in wanted.items():
            if not value > 0:
                raise InputError(f"`{option}` is {value:g}", "give the width of the PSF, above 0", option=option)
        return PsfGaussian(tuple(wanted.values()))

    def _from_layer(self) -> PsfLayer:
        layer: Image | None = self.psf_layer.value
        if layer is None or layer.rgb or layer.ndim not in (2, 3):
            raise InputError(
                "`psf_layer` must be a layer with axes YX or ZYX", "open the PSF first", option="psf_layer"
            )
        pixels = np.asarray(layer.data[0] if layer.multiscale else layer.data)
        return PsfLayer(layer.name, pixels, voxel_of(layer, "ZYX"[-layer.ndim :]))
