"""From checked inputs to all that a training needs and does not change."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsd_optics.measured_planes import Looked, data_of, measured_planes
from zsd_optics.noise import NoiseModel, estimate_noise, known_noise
from zsd_optics.pictures import middle
from zsd_runtime.corrections.corrected import Corrected
from zsd_runtime.errors import InputError
from zsd_runtime.tiling import round_up
from zsd_train.checks import check_slices
from zsd_train.config import TrainConfig
from zsd_train.defaults import DEFAULTS, Defaults, Shape
from zsd_train.forward import Forward, WienerFilter, light_path
from zsd_train.frames import Frame
from zsd_train.group import Group, joined
from zsd_train.movies import in_time
from zsd_train.mps import check_results, layout_on, noise_device
from zsd_train.networks.build import build
from zsd_train.networks.network import Network
from zsd_train.networks.prune import student
from zsd_train.processes import ALONE, Processes
from zsd_train.run import Measured, Run
from zsd_train.sampler import Sampler
from zsd_train.schemes.distill import Taught
from zsd_train.schemes.scheme import Batch, Source
from zsd_train.start import start_of
from zsd_train.state import State

Images = list[Any]  # (C, [Z,] Y, X) each, arrays or `Corrected`


@dataclass(frozen=True)
class Setup:
    """What a training works with.

    Attributes
    ----------
    config : TrainConfig
        With a scheme that is chosen.
    defaults : Defaults
    measured : Measured
    group : Group
        The processes that train together.
    network : Network
    model : Any
        The network as Fabric runs it.
    state : State
    frames : list of Frame
        The images; where the scheme reconstructs them, the reconstructions.
    sampler : Source
    held_out : Batch or None
        Samples that are judged at validations, by the process that leads.
    forward : Forward
    sharpen : WienerFilter or None
    psf : ndarray
        ([Z,] Y, X) on the deconvolved grid.
    sample : ndarray
        (C, [Z,] Y, X), counts: the middle of the first image, as the network sees it.
    """

    config: TrainConfig
    defaults: Defaults
    measured: Measured
    group: Group
    network: Network
    model: Any
    state: State
    frames: list[Frame]
    sampler: Source
    held_out: Batch | None
    forward: Forward
    sharpen: WienerFilter | None
    psf: NDArray[np.float64]
    sample: NDArray[np.float64]

    def normalised(self, counts: NDArray[np.float64]) -> Tensor:
        """Counts as a batch of one that the network takes."""
        batch = (counts[None] - self.measured.offset) / self.measured.scale
        return torch.tensor(batch, dtype=torch.float32, device=self.group.fabric.device)


def set_up(
    images: Images,
    psf: NDArray[np.float64],
    config: TrainConfig,
    found: dict[str, Any],
    teacher: Run | None = None,
    resumed: Measured | None = None,
    processes: Processes = ALONE,
    movies: Sequence[int] = (),
) -> Setup:
    """Measure the data, choose the scheme, and make everything in the order in which random numbers are drawn.

    Parameters
    ----------
    images : list of ndarray
        (C, [Z,] Y, X), checked.
    psf : ndarray
        ([Z,] Y, X) on the deconvolved grid, checked.
    config : TrainConfig
    found : dict
        Hashes, pixel sizes and whatever else `Measured` has that is known already.
    teacher : Run
    resumed : Measured
        Of the run that goes on.
    processes : Processes
        That train together.
    movies : sequence of int
        How many of the images, one movie after the other, are its frames; where a network sees neighbours in time.
    """
    looked_at = measured_planes(images)
    if teacher is None:
        noise = _noise(looked_at, config)
        scale = _scale(looked_at, noise.offset)
    else:
        noise, scale = teacher.measured.noise, teacher.scale
        if teacher.sim:  # its images are reconstructions, which have no offset
            noise = replace(noise, constant=noise.constant + noise.gain * noise.offset, offset=0.0)
    config = config.model_copy(update={"scheme": config.scheme.chosen(noise, config.axes)})
    scheme, defaults = config.scheme, DEFAULTS[config.axes]
    if config.frames > 1 and not scheme.sees_neighbours:
        raise InputError(
            f"neighbouring pixels of the volumes share noise: they are trained by scheme {scheme.kind}, which sees one "
            "volume at a time",
            "set `frames` to 1", option="frames",
        )  # fmt: skip
    offset = teacher.offset if teacher else scheme.dark_level(noise)
    check_slices(images, config)
    patch: Shape = (config.slices, config.patch, config.patch)[-len(config.axes) :]
    seen_psf = scheme.psf(psf)
    multiple = teacher.config.network.size_multiple if teacher else 1
    margin = tuple(resumed.margin) if resumed else _margin(seen_psf, config, multiple, defaults)

    torch.manual_seed(config.seed)
    group = joined(config, processes)
    fabric = group.fabric
    defaults = replace(defaults, layout=layout_on(fabric.device, defaults.layout))
    network = student(config.network, teacher.network, psf) if teacher else build(config.network, config.axes, psf)
    start = None if teacher or resumed else start_of(config)
    if start:
        start.begin(network)
    network = network.to(memory_format=defaults.layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, betas=(0.9, 0.99), fused=True)
    model, optimizer = fabric.setup(network, optimizer)
    model.mark_forward_method("denoised")
    rng = np.random.default_rng(config.seed)
    frames = [Frame.of(image, config.holdout, rng) for image in images]
    if config.frames > 1:
        frames = in_time(frames, movies, config.frames)
    seen = [Frame.of(scheme.view(image), 0, rng) for image in images] if scheme.reconstructs else frames
    drawn = Sampler(
        frames, scheme, noise, offset=offset, scale=scale, patch=patch, margin=margin,
        frames_seen=config.frames, device=fabric.device, share=group.share,
    )  # fmt: skip
    sampler: Source = drawn
    if teacher is not None:
        sampler = Taught(drawn, fabric.setup(teacher.network.to(memory_format=defaults.layout)))  # type: ignore[call-overload]
    kernel = torch.tensor(seen_psf, dtype=torch.float32, device=fabric.device)
    if fabric.device.type == "mps":
        check_results(network, kernel, sampler.size, margin, fabric.device)
    sharpen = None
    if config.contrast_floor:
        sharpen = WienerFilter(kernel, patch, config.network.grid_factor, config.contrast_floor)
    position_rng = torch.Generator().manual_seed(config.seed)
    noise_rng = torch.Generator(noise_device(fabric.device)).manual_seed(config.seed + 1)
    levels = measured_planes([frame.image for frame in seen]) if scheme.reconstructs else looked_at
    measured = Measured(
        offset=offset, scale=scale, noise=noise, margin=list(margin), psf_shape=list(psf.shape),
        dtype=(images[0].source if isinstance(images[0], Corrected) else images[0]).dtype.name
        if not scheme.reconstructs else "float32",
        lowest=float(min(data_of(plane).min() for plane in levels)),
        highest=float(max(data_of(plane).max() for plane in levels)),
        images=[list(image.shape if len(image) > 1 else image.shape[1:]) for image in images],
        method=teacher.measured.method if teacher else scheme.method,
        start=resumed.start if resumed else start.name if start else None,
        versions={name: version(name) for name in ("torch", "numpy", "lightning-fabric")}, **found,
    )  # fmt: skip
    multiples = (1, *network.size_multiple)
    # Of a movie the middle: the first frame sees the same neighbour twice.
    typical = scheme.view(seen[movies[0] // 2 if movies else 0].image)
    return Setup(
        config, defaults, measured, group, network, model, State(network, optimizer, position_rng, noise_rng), seen,
        sampler, sampler.held_out(config.seed, defaults.held_out) if group.leads else None,
        light_path(kernel, sampler.size, margin, config.network.grid_factor), sharpen, psf,
        middle(typical, (len(typical), *defaults.sample), multiples).astype(np.float64),
    )  # fmt: skip


def _margin(psf: NDArray[np.float64], config: TrainConfig, multiple: int, defaults: Defaults) -> Shape:
    """Raw pixels around a patch: what the PSF reaches, rounded so that the whole is on the pooling grid."""
    radius = math.ceil(psf.shape[-1] // 2 / config.network.grid_factor)
    grid = max(1, max(config.network.size_multiple, multiple) // 2)
    radii = (*(n // 2 for n in psf.shape[:-2]), radius, radius)
    if defaults.largest_margin:
        radii = tuple(map(min, radii, defaults.largest_margin))
    return (*radii[:-2], *(round_up(r, grid) for r in radii[-2:]))


def _noise(looked_at: list[Looked], config: TrainConfig) -> NoiseModel:
    if config.gain is not None and config.offset is not None and config.read_noise is not None:
        return known_noise(config.offset, config.gain, config.read_noise)
    frames, masks = map(list, zip(*looked_at, strict=True))
    noise = estimate_noise(frames, masks)
    if config.offset is None:
        return noise
    return NoiseModel(**{**asdict(noise), "offset": config.offset})


def _scale(looked_at: list[Looked], offset: float) -> float:
    """Counts above the offset that become 1: a bright but not the brightest part of the images."""
    smooth = ((ndi.uniform_filter(frame, 5), measured) for frame, measured in looked_at)
    bright = max(float(np.percentile(data_of(plane), 99.5)) for plane in smooth)
    if bright <= offset:
        raise InputError(
            f"the offset {offset:g} is above the image's brightest parts ({bright:g})", "give a lower `offset`",
            option="offset",
        )  # fmt: skip
    return bright - offset
