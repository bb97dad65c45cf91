"""Run many small tasks through Dask with a bounded number in flight."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, wait

from geounet.errors import ConfigError, GeounetError
from geounet.model.runtime import surely_no_gpu

Item = TypeVar("Item")
Result = TypeVar("Result")
Shared = TypeVar("Shared")


_PATIENCE = 10
"""Seconds until a scheduler or its workers are given up."""
_LOSSES = 3
"""How often all workers may be lost at once."""
_RETURN = 60
"""Seconds until lost workers are given up: their processes start anew, on a busy machine slowly."""
_BRIEF = {"distributed.admin.low-level-log-length": 100}
"""Of a thousand entries each, Dask's own logs of every task take 10 MB in a large scene."""
_DEADLY = (
    "worker after worker died at the same tiles, probably out of memory; use a smaller --tile-size"
    " or --memory, or larger workers"
)


@contextmanager
def dask_client(address: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A Dask client: to the scheduler at ``address``, or to threads of this process.

    Two threads keep a processor busy: one runs the network while the other reads. A GPU is through
    with a tile before one thread has read the next, so it gets up to eight. Status pages are bound
    to 127.0.0.1; tasks and results never leave the process.

    Args:
        address: of a running scheduler, such as ``tcp://10.0.0.1:8786``.
        workers: threads where there is no address; None: 2, or up to 8 where there is a GPU.

    Raises:
        ConfigError: nothing answers at the address, or workers < 1.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers {workers} must be at least 1")
    # Failures reach the user once, through the job; not a second time through Dask's log.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if address is not None:
        try:
            client = Client(address, timeout=_PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigError(f"--dask {address}: no scheduler answers there ({error})") from error
        with client:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE)
            except TimeoutError as error:
                raise ConfigError(
                    f"--dask {address}: the scheduler has no workers; start some with"
                    f" 'dask worker {address}'"
                ) from error
            yield client
        return
    with (
        dask.config.set(_BRIEF),
        LocalCluster(
            n_workers=1,
            threads_per_worker=workers or _threads(),
            processes=False,
            # Without these, Dask serves its status pages to the whole network.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _threads() -> int:
    return 2 if surely_no_gpu() else max(2, min(8, (os.cpu_count() or 2) // 2))


def status_page(client: Client) -> str:
    """Where Dask shows what its workers do."""
    link = str(client.dashboard_link)
    if client.cluster is None:
        return link
    # Dask names the machine's first address, but the page of our own cluster is bound to this one.
    link = urlsplit(link)._replace(netloc=f"127.0.0.1:{urlsplit(link).port}").geturl()
    return link if find_spec("bokeh") else f"{link} (empty without the package bokeh)"


@dataclass(frozen=True)
class Slots:
    """Where tasks may run on a cluster."""

    count: int
    """How many run at the same time."""
    resources: dict[str, float]
    """What each task requests."""


def slots(client: Client) -> Slots:
    """The GPUs of the cluster if its workers declare any (``dask worker --resources GPU=1``), else
    the threads of its workers.
    """
    # Some versions of Dask tell five workers unless they are asked for all; older ones always all.
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    gpus = sum(int(worker["resources"].get("GPU", 0)) for worker in workers)
    if gpus:
        return Slots(gpus, {"GPU": 1})
    return Slots(max(1, sum(int(worker["nthreads"]) for worker in workers)), {})


def on_a_worker(client: Client, function: Callable[[Item], Result], item: Item) -> Result:
    """``function(item)`` on one of the workers that tasks would run on.

    Raises:
        GeounetError: what the function raised, or workers that died of it.
    """
    (result,) = windowed(client, _alone, function, [item])
    return result


def windowed(
    client: Client,
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Iterable[Item],
    ordered: bool = False,
) -> Iterator[Result]:
    """``function(shared, item)`` for every item, with a bounded number submitted at a time.

    Every slot of the cluster has one task at hand when it finishes another. ``shared`` travels to
    each worker once. Each result is released as soon as it is here, so neither the scheduler nor a
    worker holds more than the tasks in flight, and a worker that dies costs only those; they are
    done again by others. The first error stops the rest and is raised.

    Args:
        client: from :func:`dask_client`.
        function: what to do; importable by the workers.
        shared: its first argument.
        items: its second arguments.
        ordered: whether results come in the order of the items, else in that of completion. A slow
            item then holds up the next ones, so no more results wait than are in flight.

    Raises:
        GeounetError: what ``function`` raised, or an item at which worker after worker died.
    """
    flight = _Flight(client, function, shared)
    waiting = iter(items)
    try:
        for item in islice(waiting, 2 * flight.slots.count):
            flight.submit(item)
        while flight.running:
            result = flight.next_result(ordered)
            for item in islice(waiting, 1):
                flight.submit(item)
            yield result
    finally:
        flight.cancel()


class _Flight:
    """The tasks that are submitted and not yet back, in the order of their items."""

    def __init__(self, client: Client, function: Callable[[Any, Any], Any], shared: Any) -> None:
        self._client = client
        self._function = function
        self._shared = shared
        self._common = self._sent()
        self._losses = 0
        self.slots = slots(client)
        self.running: list[tuple[Future[Any], Any]] = []

    def _sent(self) -> Any:
        """The shared data, at the workers; the client by itself waits for them no longer than for a
        scheduler.
        """
        try:
            return self._client.scatter(self._shared, broadcast=True, hash=False, timeout=_RETURN)
        except TimeoutError as error:
            raise GeounetError(
                f"the scheduler has had no workers for {_RETURN} s; start some and try again"
            ) from error

    def submit(self, item: Any) -> None:
        """Hand out one more task."""
        self.running.append((self._task(item), item))

    def _task(self, item: Any) -> "Future[Any]":
        return self._client.submit(
            _guarded, self._function, self._common, item, pure=False,
            resources=self.slots.resources or None,
        )  # fmt: skip

    def next_result(self, ordered: bool) -> Any:
        """Wait for a task, the first or any, and take its result."""
        while True:
            position = 0
            try:
                if not ordered:
                    futures = [future for future, _ in self.running]
                    wait(futures, return_when="FIRST_COMPLETED")
                    position = next(n for n, future in enumerate(futures) if future.done())
                result = self.running[position][0].result()
            except CancelledError:
                self._resume()
                continue
            except KilledWorker as error:
                raise GeounetError(_DEADLY) from error
            self.running.pop(position)[0].release()
            if isinstance(result, _Failure):
                raise result.error
            return result

    def _resume(self) -> None:
        """Submit everything anew: all workers that held the shared data have died at once."""
        self._losses += 1
        if self._losses > _LOSSES:
            raise GeounetError(_DEADLY)
        self._common = self._sent()
        self.running = [(self._task(item), item) for _, item in self.running]

    def cancel(self) -> None:
        """Drop what is still running."""
        for future, _ in self.running:
            future.cancel()
        self._common.release()


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a worker."""

    error: GeounetError


def _alone(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _guarded(
    function: Callable[[Any, Item], Result], shared: Any, item: Item
) -> "Result | _Failure":
    """Hand the caller's errors back as values.

    Dask would pickle an error with its causes; GDAL's cannot be unpickled, and what arrived would
    be a bare ``Exception``.
    """
    try:
        return function(shared, item)
    except GeounetError as error:
        return _Failure(type(error)(str(error)))
