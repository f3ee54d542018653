"""The processes that train one network together, and what they agree on.

Each process draws the patches of the whole batch, so that all use the same random numbers, and computes with its share.
What a mean over the batch needs of the others is summed over the processes: the result is that of a single process with
the same batch, but for rounding. The first process leads: it decides, validates, reports and writes.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from inspect import signature
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from zsd_runtime.errors import InputError
from zsd_train.checks import accelerator, precision
from zsd_train.config import TrainConfig
from zsd_train.processes import Processes

SILENCE = timedelta(minutes=10)  # after which a process that does not answer counts as lost
LOST = ("gloo", "nccl", "onnection", "timed out", "TCPStore")  # in messages of torch.distributed


class End(IntEnum):
    """Whether the training goes on."""

    NOT_YET = 0
    DONE = 1
    INTERRUPTED = 2


class Agreed(NamedTuple):
    """What all processes know before a step: its learning rate, how it ends, and whether one was asked to stop."""

    rate: float
    end: End
    stop: bool


@dataclass(frozen=True)
class Group:
    """The processes of a training, as one of them sees them.

    Attributes
    ----------
    fabric : Fabric
    """

    fabric: Fabric

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.fabric.world_size

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.fabric.global_rank == 0

    @property
    def name(self) -> str:
        """For people."""
        return f"process {self.fabric.global_rank} of {self.size}"

    @property
    def notice(self) -> str:
        """What several processes compute with, for people; empty for one."""
        if self.size == 1:
            return ""
        device = self.fabric.device.type
        found = ", as torch finds no GPU" * (not torch.cuda.is_available())
        return f"{self.size} processes train together, on " + (
            f"the CPU{found}" if device == "cpu" else f"{device} GPUs"
        )

    def share(self, batch: int) -> slice:
        """The samples of a batch that this process computes with."""
        each = batch // self.size
        return slice(self.fabric.global_rank * each, (self.fabric.global_rank + 1) * each)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes of a tensor that needs no gradient."""
        if self.size == 1:
            return value
        found = self.fabric.all_reduce(value.detach().clone(), reduce_op="mean")
        assert isinstance(found, Tensor)
        return found

    def std(self, values: Tensor) -> Tensor:
        """The standard deviation of the values of all processes together, as many of each."""
        if self.size == 1:
            return values.std()
        squares = self.mean((values - self.mean(values.mean())).square().sum())
        return (squares / (values.numel() - 1 / self.size)).sqrt()

    def agree(self, rate: float = 0.0, end: End = End.NOT_YET, *, stop: bool = False) -> Agreed:
        """Tell the others what the leader decided, and the leader whether another process was asked to stop."""
        if self.size == 1:
            return Agreed(rate, end, stop)
        decided = (rate, float(end)) if self.leads else (0.0, 0.0)
        told = torch.tensor((*decided, float(stop)), dtype=torch.float64, device=self.fabric.device)
        rate, code, asked = self.fabric.all_reduce(told, reduce_op="sum").tolist()  # type: ignore[union-attr]
        return Agreed(rate, End(int(code)), asked > 0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            self.fabric.barrier()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Say in a sentence that another process is lost."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(word in str(error) for word in LOST):
                raise
            raise LostContactError(
                f"{self.name} lost contact with another one, which ended, was killed or does not answer; continue with "
                "--resume from what was saved last"
            ) from error


class LostContactError(RuntimeError):
    """Another process of the training is gone."""


def joined(config: TrainConfig, processes: Processes) -> Group:
    """The group of a training; with several processes, once all of them are there.

    Raises
    ------
    InputError
        When the batch cannot be divided, or the devices are not there.
    """
    for module in ("rank_zero", "distributed"):  # they announce precision and ranks
        logging.getLogger(f"lightning_fabric.utilities.{module}").setLevel(logging.WARNING)
    where = accelerator(config)
    check_processes(config, processes, where)
    options: dict[str, Any] = {"accelerator": where, "precision": precision(config)}
    if processes.total == 1:
        # Fabric would find SLURM's variables by itself, and refuse some of them.
        return Group(Fabric(devices=1, plugins=[LightningEnvironment()], **options))
    assert processes.environment is not None
    renamed = "forward_sync_buffers" in signature(DistributedDataParallel).parameters  # by torch 2.13
    # Buffers never change.
    buffers: dict[str, Any] = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
    strategy = DDPStrategy(timeout=SILENCE, **buffers)
    fabric = Fabric(
        devices=processes.devices, num_nodes=processes.nodes, strategy=strategy, plugins=[processes.environment],
        **options,
    )  # fmt: skip
    group = Group(fabric)
    with group.connected():
        fabric.launch()
    return group


def check_processes(config: TrainConfig, processes: Processes, where: str) -> None:
    """Refuse numbers of processes that the batch or the machine do not allow.

    Raises
    ------
    InputError
    """
    total = processes.total
    if total > 1 and where == "mps":
        raise InputError("device mps trains with one process", "leave `devices` out", option="devices")
    if where == "cuda" and processes.devices > torch.cuda.device_count():
        raise InputError(
            f"`devices` {processes.devices}: torch finds {torch.cuda.device_count()} GPUs here",
            "give as many as there are, or set `device` to cpu", option=("devices", "device"),
        )  # fmt: skip
    if config.batch % total:
        above = -(-config.batch // total) * total
        near = f"{above - total} or {above}" if above > total else f"{above}"
        raise InputError(
            f"batch = {config.batch} patches cannot be shared by {total} processes",
            f"set batch in the configuration to {near}, or choose another number of `devices`", option="devices",
        )  # fmt: skip
