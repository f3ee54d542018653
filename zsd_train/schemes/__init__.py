"""Schemes, one a file: ways of learning from noisy images alone."""

from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny

from zsd_optics.noise import NoiseModel
from zsd_train.schemes.blind_spot import BlindSpot, Noise2Void
from zsd_train.schemes.distill import Distill
from zsd_train.schemes.odd_even import OddEven
from zsd_train.schemes.recorrupt import Recorrupt
from zsd_train.schemes.scheme import Scheme, scheme_class, scheme_from
from zsd_train.schemes.sim import SimOddEven, StructuredIllumination

__all__ = [
    "AnyScheme", "Auto", "BlindSpot", "Distill", "Noise2Void", "OddEven", "Recorrupt", "Scheme",
    "SimOddEven", "StructuredIllumination", "scheme_class", "scheme_from",
]  # fmt: skip


class Auto(Recorrupt):
    """Recorruption, but odd and even slices for volumes whose neighbouring pixels share noise.

    Recorruption of planes knows the correlation of such noise. Slices are independent of each other, whatever it is.
    """

    kind: str = "auto"
    gap_weight: float = Field(1.0, ge=0, description="of odd-even, if that is chosen")

    def chosen(self, noise: NoiseModel, axes: str) -> Scheme:
        """The scheme for images with this noise."""
        if noise.correlated and axes == "zyx":
            return OddEven(gap_weight=self.gap_weight)
        return Recorrupt(noise=self.noise, alpha=self.alpha)


# Discriminated by `kind`. Open: a scheme of somebody else's is known once its module is imported.
AnyScheme = Annotated[SerializeAsAny[Scheme], BeforeValidator(scheme_from)]
