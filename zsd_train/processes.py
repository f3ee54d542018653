"""How many processes train together, and who starts them: zsd itself, SLURM's srun or torchrun."""

import os
from dataclasses import dataclass

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from zsd_runtime.errors import InputError


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Attributes
    ----------
    devices : int
        On each machine, one a device.
    nodes : int
        Machines.
    environment : ClusterEnvironment or None
        How this process, which is one of them, finds the others; None: they are not started yet.
    """

    devices: int = 1
    nodes: int = 1
    environment: ClusterEnvironment | None = None

    @property
    def total(self) -> int:
        """Number of processes."""
        return self.devices * self.nodes

    @property
    def leads(self) -> bool:
        """Whether this process is the first, or has to start the others."""
        return self.environment is None or self.environment.global_rank() == 0


ALONE = Processes()


def processes_for(devices: int | None, nodes: int | None) -> Processes:
    """The processes that are asked for, or that a launcher has started.

    Raises
    ------
    InputError
        When a launcher has started another number than is asked for, or several machines are asked for and there is no
        launcher.
    """
    for name, value in (("devices", devices), ("nodes", nodes)):
        if value is not None and value < 1:
            raise InputError(f"`{name}` {value} must be 1 or more", option=name)
    if TorchElasticEnvironment.detect():
        total = int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_WORLD_SIZE", total))
        asked = (devices or local) * (nodes or total // local)
        _check_started(asked, total, "torchrun", "--nproc-per-node")
        return Processes(devices or local, asked // (devices or local), TorchElasticEnvironment())
    asked = (devices or 1) * (nodes or 1)
    if asked > 1 and "SLURM_STEP_ID" in os.environ:  # without a step, this is a batch script that used no srun
        total = int(os.environ.get("SLURM_NTASKS", "1"))
        if total > 1 or (nodes or 1) > 1:
            _check_started(asked, total, "srun", "--ntasks-per-node")
            if "SLURM_NTASKS_PER_NODE" not in os.environ:  # Lightning refuses it, too
                raise InputError(
                    "the tasks for each node are not set", "give srun --ntasks-per-node, as many as `devices`",
                    option="devices",
                )  # fmt: skip
            return Processes(devices or 1, nodes or 1, SLURMEnvironment(auto_requeue=False))
    if (nodes or 1) > 1:
        raise InputError(
            f"`nodes` {nodes}: zsd starts processes on one machine only",
            "start one for each device with srun or torchrun (docs/cluster.md)", option="nodes",
        )  # fmt: skip
    return Processes(devices or 1)


def _check_started(asked: int, started: int, launcher: str, flag: str) -> None:
    if asked != started:
        raise InputError(
            f"{launcher} started {started} processes, and `devices` times `nodes` is {asked}",
            f"start as many as `devices` on each node ({flag})", option=("devices", "nodes"),
        )  # fmt: skip
