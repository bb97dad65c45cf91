"""Open datasets kept between reads, so that GDAL's block cache outlives a batch of tiles.

Neighbouring patches overlap. With a dataset of its own for each batch, every compressed block in
the overlap is decoded again, over the network fetched again. A handle is lent to one thread at a
time, and a thread rather waits a moment for one whose blocks are decoded than opens another; where
reading takes longer than that, as over a slow network, threads read side by side.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rasterio

from geounet.raster.scene import Scene, gdal_environment, open_handle


@dataclass(frozen=True)
class Loan:
    """What is read by whom."""

    run: str | None
    """Names the job; handles of an earlier one are closed, for a file may have changed since.
    None: nothing is kept."""
    scene: Scene
    """What is read."""
    cache_bytes: int
    """Size of GDAL's block cache."""


_idle: dict[tuple[str, int | None], list[Any]] = {}
_out: dict[tuple[str, int | None], int] = {}  # how many handles are lent
_free = threading.Condition()
_PATIENCE = 0.25
"""Seconds that a thread waits for a handle."""


@contextmanager
def lent(loan: Loan, level: int | None = None) -> Iterator[Any]:
    """An open dataset of a scene, or of its overview ``level``, for this thread alone.

    After a failed read a dataset may return zeros silently, so one that saw an error is closed.
    """
    with gdal_environment(loan.scene, loan.cache_bytes):
        if loan.run is None:
            with open_handle(loan.scene, level) as dataset:
                yield dataset
            return
        key = (loan.run, level)
        dataset = _take(key) or _open(loan, key)
        try:
            yield dataset
        except BaseException:
            dataset.close()
            _give_back(key, None)
            raise
        _give_back(key, dataset)


def close_handles(run: str) -> None:
    """Close what a job has left open in this process."""
    with _free:
        for key in [item for item in _idle if item[0] == run]:
            _close(_idle.pop(key))


def _take(key: tuple[str, int | None]) -> Any:
    """An idle handle; None if there is none and none is coming back soon."""
    with _free:
        for other in [item for item in _idle if item[0] != key[0]]:
            _close(_idle.pop(other))
        _free.wait_for(lambda: _idle.get(key) or not _out.get(key), _PATIENCE)
        _out[key] = _out.get(key, 0) + 1
        idle = _idle.get(key)
        return idle.pop() if idle else None


def _open(loan: Loan, key: tuple[str, int | None]) -> Any:
    try:
        return open_handle(loan.scene, key[1])
    except BaseException:
        _give_back(key, None)
        raise


def _give_back(key: tuple[str, int | None], dataset: Any) -> None:
    """A thread is done; None: its handle was no good."""
    with _free:
        _out[key] -= 1
        if not _out[key]:
            del _out[key]
        if dataset is not None:
            _idle.setdefault(key, []).append(dataset)
        _free.notify_all()  # those who wait want different levels


def _close(handles: list[Any]) -> None:
    with rasterio.Env():
        for handle in handles:
            handle.close()
