"""Batches ahead of the step that needs them, in the same order however many make them."""

import os
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geounet.train.ranks import Place
from geounet.train.samples import Batch

_ALIGNED = 64  # bytes: where arrays begin in the block that processes share


class Batches(Protocol):
    """What makes batches: :class:`~geounet.train.samples.Sampler` is one."""

    def batch(self, step: int, part: range | None = None) -> Batch:
        """The windows of a step; of them only ``part``, if given."""


class _Shared:
    """A value whose arrays all processes see in one block of memory: scenes are hundreds of
    megabytes, and every loader would otherwise wait for a copy of its own.
    """

    def __init__(self, value: object) -> None:
        buffers: list[pickle.PickleBuffer] = []
        self._rest = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        parts = [buffer.raw() for buffer in buffers]
        starts = np.cumsum([0, *(-(-part.nbytes // _ALIGNED) * _ALIGNED for part in parts)])
        self._places = [
            (int(start), part.nbytes) for start, part in zip(starts[:-1], parts, strict=True)
        ]
        self._block = torch.empty(int(starts[-1]), dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        view = self._block.numpy()
        for (start, size), part in zip(self._places, parts, strict=True):
            view[start : start + size] = np.frombuffer(part, np.uint8)

    def value(self) -> Any:
        """The value, its arrays lying in the shared block."""
        view = self._block.numpy()
        parts = [view[start : start + size] for start, size in self._places]
        return pickle.loads(self._rest, buffers=parts)  # noqa: S301


class _Steps(Dataset[Batch]):
    """Step -> batch, for the worker processes of a ``DataLoader``."""

    def __init__(self, sampler: Batches, part: range) -> None:
        self._shared, self._part = _Shared(sampler), part
        self._sampler: Batches | None = None

    def __getitem__(self, step: int) -> Batch:
        torch.set_num_threads(1)  # each worker fills one core
        if self._sampler is None:
            self._sampler = self._shared.value()
        return self._sampler.batch(step, self._part)


@dataclass(frozen=True)
class _Orphans:
    """Ends a loader whose parent died before the loader had come up; torch would not notice."""

    parent: int

    def __call__(self, _: int) -> None:
        if os.name == "posix" and os.getppid() != self.parent:
            os._exit(1)


@dataclass(eq=False)
class Feed:
    """A run's batches, on the device that trains."""

    sampler: Batches
    place: Place
    batch: int
    """Windows per step, of all processes together."""
    workers: int = 0
    """Processes that make them; 0: one thread of this process."""
    waited: float = 0.0
    """Seconds that :meth:`steps` made its caller wait."""

    def steps(self, first: int, end: int) -> Iterator[Batch]:
        """The batches of the steps ``first .. end``, this process's part of each."""
        source = self._processes(first, end) if self.workers else self._thread(first, end)
        for _ in range(first, end):
            start = time.monotonic()
            batch = next(source)
            self.waited += time.monotonic() - start
            images, labels, boundary = batch
            yield Batch(
                self._moved(images),
                self._moved(labels),
                None if boundary is None else self._moved(boundary),
            )

    def _moved(self, value: Tensor) -> Tensor:
        if self.place.device.type == "cpu":
            return value
        # From pinned memory copies run beside the kernels.
        return value.pin_memory().to(self.place.device, non_blocking=True)

    def _thread(self, first: int, end: int) -> Iterator[Batch]:
        """Each made in a thread while the one before is trained on."""
        part = self.place.part(self.batch)
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.sampler.batch, first, part)
            for step in range(first + 1, end + 1):
                batch = coming.result()
                if step < end:
                    coming = pool.submit(self.sampler.batch, step, part)
                yield batch

    def _processes(self, first: int, end: int) -> Iterator[Batch]:
        loader = DataLoader(
            _Steps(self.sampler, self.place.part(self.batch)),
            batch_size=None,
            sampler=range(first, end),
            num_workers=self.workers,
            pin_memory=self.place.device.type == "cuda",
            # Forking a process whose libraries run threads of their own (Dask's, OpenVINO's) may
            # crash it.
            multiprocessing_context="spawn",
            worker_init_fn=_Orphans(os.getpid()),
        )
        return iter(loader)
