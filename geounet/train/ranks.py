"""The processes of a distributed run; a run of one process is the plain case of each function.

Started by ``torchrun``, every process trains on its part of each batch. Sums in the losses go over
all parts, so that the gradient is that of the whole batch, and not a mean of parts that hold
different numbers of labelled pixels.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from geounet.errors import ConfigError
from geounet.model.runtime import has_bfloat16


@dataclass(frozen=True)
class Place:
    """Which part of a run this process does, and on what."""

    device: torch.device
    rank: int = 0
    """Number of the process; 0 alone writes."""
    world: int = 1
    """Number of processes."""

    @property
    def leads(self) -> bool:
        """Whether this process checks, logs and saves."""
        return self.rank == 0

    def part(self, batch: int) -> range:
        """The windows of a batch that are this process's: every ``world``-th, because a batch is in
        order of its sources, and statistics of a part should be those of all of them.
        """
        return range(self.rank, batch, self.world)


@contextmanager
def joined(device: str, batch: int) -> Iterator[Place]:
    """Join the other processes of ``torchrun``, if there are any, for the length of a run.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch: windows per step, of all processes together.

    Raises:
        ConfigError: the device is not there, or the batch cannot be shared evenly.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Place(choose_device(device, 0))
        return
    if batch % world:
        raise ConfigError(f"fit.batch {batch} must be a multiple of the {world} processes")
    place = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Place(place, distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()


def choose_device(name: str, local: int) -> torch.device:
    """``auto`` and ``cuda`` become the ``local``-th GPU; without GPUs ``auto`` is the processor."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"fit.device {name!r} is none of auto, cpu, cuda, cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"fit.device {name!r} is none of auto, cpu, cuda, cuda:N")
    if device.type == "cuda":
        index = local if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise ConfigError(f"fit.device {name!r}: GPU {index} is not on this machine; use cpu")
        device = torch.device("cuda", index)
    return device


def autocast(device: torch.device, bfloat16: bool) -> torch.autocast:
    """Mixed precision, if it is wanted and the device has instructions for it."""
    enabled = bfloat16 and has_bfloat16(device.type)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def total(value: Tensor) -> Tensor:
    """Sum over all processes, with gradient: every process is given the whole loss."""
    if not distributed.is_initialized():
        return value
    summed: Tensor = _Sum.apply(value)
    return summed


class _Sum(torch.autograd.Function):
    """All-reduce whose gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(_: object, value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient


def agreed(value: float, place: Place) -> float:
    """The leader's value, in every process: clocks and checks must not part them."""
    if place.world == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=place.device)
    distributed.broadcast(shared, 0)
    return float(shared)
