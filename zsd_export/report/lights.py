"""Traffic lights: the thresholds of every check in one place, and what a value means by them.

The thresholds are compared with the true error on simulations by `benchmarks/report.py`. Where a comment says
"to be measured", the value comes from single images and experience.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, isnan
from typing import Literal


class Light(StrEnum):
    """What a check says. Never shown as a colour alone: `WORDS` stand beside it."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    GREY = "grey"


WORDS = {Light.GREEN: "good", Light.YELLOW: "look closer", Light.RED: "do not trust", Light.GREY: "not known"}
GRAVEST = (Light.RED, Light.YELLOW, Light.GREEN, Light.GREY)


@dataclass(frozen=True)
class Threshold:
    """From where on a value is yellow, and red.

    Attributes
    ----------
    yellow, red : float
        In the unit of the value; of "beside", distances from `centre`.
    bad : {"above", "below", "beside"}
        On which side of them values are bad.
    centre : float
        The ideal, of "beside".
    """

    yellow: float
    red: float
    bad: Literal["above", "below", "beside"] = "above"
    centre: float = 0.0

    def light(self, value: float | None) -> Light:
        """Of a value; grey for None and NaN."""
        if value is None or isnan(value):
            return Light.GREY
        off = {"above": value, "below": -value, "beside": abs(value - self.centre)}[self.bad]
        yellow, red = (-self.yellow, -self.red) if self.bad == "below" else (self.yellow, self.red)
        return Light.RED if off > red else Light.YELLOW if off > yellow else Light.GREEN

    def text(self, unit: str = "") -> str:
        """For people: "green up to 0.05, red above 0.1"."""
        of = f" {unit}" if unit else ""
        if self.bad == "beside":
            near, far = (f"{self.centre - off:.4g} to {self.centre + off:.4g}{of}" for off in (self.yellow, self.red))
            return f"green from {near}; red outside {far}" if isfinite(self.red) else f"green from {near}, else yellow"
        if self.yellow == ANY and self.bad == "above":
            return f"green if none, otherwise {'red' if self.red == ANY else 'yellow'}"
        within, beyond = ("up to", "above") if self.bad == "above" else ("from", "below")
        if not isfinite(self.red):
            return f"green {within} {self.yellow:.4g}{of}, yellow {beyond}"
        return f"green {within} {self.yellow:.4g}{of}; red {beyond} {self.red:.4g}{of}"


NEVER = float("inf")
ANY = 0  # a single one is too many

# By the names of `zsd_export.report.checks`.
THRESHOLDS = {
    # Counted reasons of `zsd_runtime.mismatch`, whose own limits were measured (docs/decisions/other-images.md).
    "counts": Threshold(ANY, ANY),
    "pixel_size": Threshold(ANY, ANY),
    "channel": Threshold(ANY, ANY),
    "more_saturated": Threshold(ANY, NEVER),
    # Times the finest detail of the raw image, from unseen photons. To be measured.
    "resolution_kept": Threshold(1.15, 1.5),
    # RSP over sqrt(S / (S + N)), the correlation of a perfect result; RSE over the noise. To be measured.
    "rsp": Threshold(0.98, 0.93, "below"),
    "rse": Threshold(0.05, 0.15, "beside", 1.0),
    # Local differences in standard errors of the noise: 1 by chance alone; % of pixels beyond 3: 0.27 by chance.
    "contradiction": Threshold(1.3, 2.0),
    "contradicted": Threshold(2.0, 8.0),
    # Times the best Gaussian filter's error: an error above it means that a model does not know the structure.
    "error_over_gaussian": Threshold(1.0, 1.15),
    "uncertain": Threshold(10.0, 40.0),  # % of the bright pixels. To be measured.
    # Networks on their own image have up to 0.03 (docs/compare.md: -0.026), Gaussian filters 0.15.
    "residual_next": Threshold(0.05, 0.12, "beside"),
    # Richardson-Lucy: -0.08 with the right PSF, 0.16 with one 1.5 times too wide (benchmarks/error_map.py).
    "residual_deconvolved": Threshold(0.06, 0.14, "beside"),
    "residual_deviation": Threshold(0.05, 0.12, "beside", 1.0),  # networks 0.98; filters 0.84 to 0.95
    "residual_bias": Threshold(0.2, 0.5),  # of the noise; another image of a model's kind: 0.15. To be measured.
    "slope": Threshold(0.03, 0.10, "beside", 1.0),  # to be measured
    "bend": Threshold(2.0, 8.0),  # % of the range. To be measured.
    "flux_deconvolved": Threshold(0.03, 0.08, "beside", 1.0),
    # A model's own image: within 0.4 % (README); another image of its kind: 1.2 and 2.1 % (deconvolved).
    "flux": Threshold(0.02, 0.06, "beside", 1.0),
    # Noise line: times the gain of the training; `mismatch` takes a variance of 1.5 times for another noise.
    "gain_ratio": Threshold(1.2, 1.5),
    # The least correlation that the noise model calls shared is 0.1; 0.3 left the noise in (correlated-noise.md).
    "shared_noise": Threshold(0.1, 0.3),
    # Standard deviation of row and column noise over the read noise: to be measured.
    "line_noise": Threshold(0.3, 1.0),
    # Share of the pixels, %. Saturated pixels have no restoration; the rest is replaced or left out. To be measured.
    "padding": Threshold(0.5, 50.0),
    "saturated": Threshold(0.01, 1.0),
    "clipped_low": Threshold(1.0, 10.0),
    "hot": Threshold(0.5, 3.0),
    # Faults of `zsd_optics.psf_check`: those that it refuses make wrong images.
    "psf_faults": Threshold(ANY, NEVER),
    "psf_refused": Threshold(ANY, ANY),
    "psf_other": Threshold(ANY, NEVER),
    # What the PSF leaves of detail that the raw image shows. An OTF that is nearly 0 there is too narrow, so the PSF
    # is too wide. To be measured.
    "psf_transfer": Threshold(0.02, 0.005, "below"),
    # Share of the range. Exports keep 1e-4 on their own test image; on others it may be ten times that (halo.py).
    "halo_error": Threshold(1e-3, 1e-2),
    # %, of the held-out error over the last quarter of a training. To be measured.
    "still_falling": Threshold(1.0, 5.0),
    # Times the best held-out error, of the kept weights: to be measured.
    "kept_error": Threshold(1.02, 1.10),
    # dB above the best of the Gaussian filters, whose width the truth chooses.
    "gain_over_gaussian": Threshold(0.0, -1.0, "below"),
    "gain_over_raw": Threshold(1.0, 0.0, "below"),
    # % of the truth's pixels within the 68 % interval: the bound is ± 5.
    "coverage": Threshold(5.0, 15.0, "beside", 68.3),
}


def gravest(lights: Iterable[Light]) -> Light:
    """The one that says most: red before yellow, before green; grey only if nothing is known."""
    found = set(lights)
    return next((light for light in GRAVEST if light in found), Light.GREY)
