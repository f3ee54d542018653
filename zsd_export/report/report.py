"""The whole report: sections with their lights, as a value that pages, programs and tests read."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsd_export.report.camera import noise_section
from zsd_export.report.case import (
    DECONVOLVED,
    Case,
    bad_pixels,
    correlation_of,
    noise_of,
    restored,
    uncertainty_of,
)
from zsd_export.report.checklist import checklist_section
from zsd_export.report.fidelity import error_section, linearity_section, residual_section
from zsd_export.report.fit import fit_section, pixels_section
from zsd_export.report.kernel import psf_of
from zsd_export.report.lights import GRAVEST, Light, gravest
from zsd_export.report.opened import Opened, opened
from zsd_export.report.origin import halo_section, training_section, versions_section
from zsd_export.report.parts import Array, Finding, Section
from zsd_export.report.pictures import pictures_section
from zsd_export.report.psf import psf_section
from zsd_export.report.resolution import resolution_section
from zsd_export.report.subject import Subject, subject_of, with_truths
from zsd_export.report.truth import truth_section
from zsd_export.report.uncertainty import by_unseen_photons, uncertainty_section
from zsd_optics.psf_source import PsfSource
from zsd_runtime.errors import InputError
from zsd_runtime.images import Image, Voxel
from zsd_runtime.notices import Notice, no_notice

SCHEMA = 1  # of report.json
REPEATS = 8  # of the uncertainty

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Report:
    """What is known of a model on an image.

    Attributes
    ----------
    image, package : str
        What was reported on, as it was given.
    title : str
        For people.
    made : str
        When.
    sections : tuple of Section
        In the order of the page.
    facts : dict
        Shape, axes, channel, frame and part of the image.
    notices : tuple of str
        What the files have to say.
    """

    image: str
    package: str
    title: str
    made: str
    sections: tuple[Section, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Section:
        """A section by its name."""
        return next(section for section in self.sections if section.name == name)

    @property
    def lights(self) -> dict[str, Light]:
        """Of the sections that judge something, by name."""
        return {section.name: section.light for section in self.sections if section.light is not None}

    @property
    def light(self) -> Light:
        """The gravest of all."""
        return gravest(self.lights.values())

    @property
    def made_for_another(self) -> tuple[Finding, ...]:
        """Why the model was not made for this image; empty if nothing speaks against it."""
        return tuple(f for f in self["fit"].findings if f.light in (Light.RED, Light.YELLOW))

    def findings(self, light: Light) -> list[tuple[Section, Finding]]:
        """All findings of a light."""
        return [(section, f) for section in self.sections for f in section.findings if f.light == light]

    def as_json(self) -> dict[str, Any]:
        """For programs: every number, light and threshold."""
        return {
            "schema": SCHEMA, "image": self.image, "package": self.package, "made": self.made, "light": self.light,
            "lights": self.lights, "made_for_another_image": [f.sentence for f in self.made_for_another],
            "counts": {light: len(self.findings(light)) for light in GRAVEST}, **self.facts,
            "notices": list(self.notices), "sections": {section.name: section.as_json() for section in self.sections},
        }  # fmt: skip


def judge(
    package: str | Path,
    image: str | Path | Image | Array,
    *,
    truth: str | Path | Image | Array | None = None,
    truth_deconvolved: str | Path | Image | Array | None = None,
    psf: PsfSource | Array | Callable[[Subject], PsfSource] | None = None,
    run: str | Path | None = None,
    frame: int | None = None,
    axes: str | None = None,
    series: int | None = None,
    channels: str | None = None,
    voxel: Voxel | None = None,
    uncertainty: int = REPEATS,
    command: str = "",
    notice: Notice = no_notice,
    progress: Progress = lambda share, text: None,
) -> Report:
    """Judge what a model makes of an image, with or without a truth. Nothing is written.

    Parameters
    ----------
    package : path
        A package, or the folder of a training run, which also gives its PSF and its course.
    image : path, Image or ndarray
        A file, or counts ([Z,] Y, X). Of large images the middle is looked at: 1024x1024, 32x256x256.
    truth : path, Image or ndarray
        The image without noise, on its own grid, camera counts with the offset.
    truth_deconvolved : path, Image or ndarray
        Also without blur, on the same grid or a finer one, counts above the offset.
    psf : PsfSource, ndarray or callable
        In place of the training's: how it is made, a kernel on the grid of the deconvolved image (odd-sized), or a
        function of the image that gives the first.
    run : path
        The run of a package, for its PSF and its course.
    frame : int
        Of a movie, from 0.
    axes, series, channels
        How the file is read, as by `zsd predict`; one channel.
    voxel : Voxel
        Sizes (µm) that replace what the file says.
    uncertainty : int
        How often the image is recorded and restored again; 0: not at all.
    command : str
        How to make the report again, for its last section.
    notice : callable
        Gets a sentence for everything that a user should know of the files.
    progress : callable
        Gets the share that is done, and what is being done.

    Raises
    ------
    InputError
        When the model, the image or a truth cannot be read, do not fit each other, or a choice is to be made.
    """
    said: list[str] = []

    def heard(text: str) -> None:
        said.append(text)
        notice(text)

    progress(0.0, "reading the model")
    reading: dict[str, Any] = {"axes": axes, "channels": channels}
    with opened(package, run) as model:
        description = model.description
        description.check_single_frames("a report")
        if description.input.channels > 1:
            raise InputError(
                f"the model takes {description.input.channels} channels at once, and a report is on one channel",
                "give a model of one channel",
            )
        spatial = description.axes.upper()
        subject = subject_of(image, spatial, frame=frame, series=series, typed=voxel, notice=heard, **reading)
        check_no_raw_sim(model, subject)
        if truth is not None or truth_deconvolved is not None:
            subject = with_truths(subject, truth, truth_deconvolved, **reading)
        case = _case(model, subject, psf, uncertainty, progress)
        sections = _sections(case, command, made := time.strftime("%Y-%m-%d %H:%M:%S"), progress)
    progress(1.0, "")
    return Report(subject.name, str(package), f"{Path(subject.name).name} by {description.name}", made, sections,
                  _facts(subject), tuple(dict.fromkeys(said)))  # fmt: skip


def _case(
    model: Opened,
    subject: Subject,
    psf: PsfSource | Array | Callable[[Subject], PsfSource] | None,
    uncertainty: int,
    progress: Progress,
) -> Case:
    progress(0.05, "restoring the image")
    outputs, offset = restored(model.model, subject.counts)
    counts, bad = subject.corrected(), bad_pixels(subject.counts)
    progress(0.2, "measuring the noise")
    noise, no_noise = noise_of(counts, bad)
    factor = outputs[DECONVOLVED].shape[-1] // counts.shape[-1] if DECONVOLVED in outputs else 1
    given = psf(subject) if callable(psf) else psf
    found = psf_of(model, given, model.description.axes, subject.voxel, factor)
    case = Case(model, subject, counts, outputs, offset, bad, noise, no_noise, found)
    progress(0.25, "measuring the resolution")
    frc, no_frc = correlation_of(counts, noise, case.sizes)
    progress(0.35, "restoring the image again for its uncertainty")
    spread, no_spread = uncertainty_of(model.package, subject.counts, uncertainty)
    return Case(model, subject, counts, outputs, offset, bad, noise, no_noise, found, frc, no_frc, spread, no_spread)


def _sections(case: Case, command: str, made: str, progress: Progress) -> tuple[Section, ...]:
    progress(0.55, "judging by photons that the network never saw")
    unseen = by_unseen_photons(case)
    progress(0.85, "comparing the result with the image")
    judged = [
        fit_section(case), pictures_section(case), resolution_section(case, unseen), error_section(case),
        uncertainty_section(case, unseen), residual_section(case), linearity_section(case), noise_section(case),
        psf_section(case), halo_section(case), training_section(case), pixels_section(case), truth_section(case),
    ]  # fmt: skip
    named = {section.name: section for section in judged}
    return (*judged, checklist_section(case, named), versions_section(case, command, made))


def check_no_raw_sim(model: Opened, subject: Subject) -> None:
    """Refuse raw frames of structured illumination: their noise is another than that of what the network sees."""
    sim, um = model.description.sim, subject.voxel.x_um
    if sim is None:
        return
    raw = sim.parameters.pixel_size_um
    if um is None or abs(um / raw - 1) < abs(um / sim.fine_voxel_um[-1] - 1):
        size = "no pixel size" if um is None else f"pixels of {1000 * um:.4g} nm"
        raise InputError(
            f"{subject.name} has {size}, and raw SIM frames ({1000 * raw:.4g} nm) are not reported on",
            "reconstruct them first (`zsd sim reconstruct`) and give the reconstruction, with its pixel size",
        )


def _facts(subject: Subject) -> dict[str, Any]:
    return {
        "shape": list(subject.shape), "axes": subject.axes, "frame": subject.number, "channel": subject.channel.name,
        "part": [[s.start, s.stop] for s in subject.part], "looked_at": subject.what,
        "pixel_size_um": subject.voxel.x_um, "z_step_um": subject.voxel.z_um,
    }  # fmt: skip
