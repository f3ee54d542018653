"""A SIM microscope beside a run or in a package: sim.json has the patterns, sim_otf.tif the transfer functions."""

from pathlib import Path

from zsd_runtime.sim.microscope import Sim
from zsd_runtime.sim.parameters import SimParameters
from zsd_runtime.sim.transfer import Transfer

PARAMETERS, OTF = "sim.json", "sim_otf.tif"


def save_microscope(folder: Path, sim: Sim) -> None:
    """Write both files."""
    sim.parameters.save(folder / PARAMETERS)
    sim.transfer.save(folder / OTF)


def load_microscope(folder: Path) -> Sim | None:
    """Read them; None where there are none.

    Raises
    ------
    InputError
        When they are malformed.
    """
    if not (folder / PARAMETERS).exists():
        return None
    return Sim(SimParameters.load(folder / PARAMETERS), Transfer.load(folder / OTF))
