"""Run many small tasks through Dask with a bounded number in flight."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, Future, LocalCluster, wait

from geounet.errors import ConfigError, GeounetError

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def dask_client(address: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A Dask client: to the scheduler at ``address``, or to threads of this process.

    Two threads keep the processor busy: one runs the network while the other reads. Status pages
    are bound to 127.0.0.1; tasks and results never leave the process.

    Args:
        address: of a running scheduler, such as ``tcp://10.0.0.1:8786``.
        workers: threads where there is no address; None: 2.

    Raises:
        ConfigError: nothing answers at the address, or workers < 1.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers {workers} must be at least 1")
    # Failures reach the user once, through the job; not a second time through Dask's log.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if address is not None:
        try:
            client = Client(address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigError(f"--dask {address}: no scheduler answers there ({error})") from error
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=workers or 2,
            processes=False,
            # Without these, Dask serves its status pages to the whole network.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def in_flight(client: Client) -> int:
    """How many tasks to keep submitted: every thread has one at hand when it finishes another."""
    threads: int = sum(client.nthreads().values())
    return 2 * max(1, threads)


def windowed(
    client: Client,
    function: Callable[[Any, Item], Result],
    shared: Any,
    items: Iterable[Item],
    ordered: bool = False,
) -> Iterator[Result]:
    """``function(shared, item)`` for every item, with a bounded number submitted at a time.

    ``shared`` travels to each worker once. Each result is released as soon as it is here, so
    neither the scheduler nor a worker holds more than the tasks in flight, and a worker that dies
    costs only those. The first error stops the rest and is raised.

    Args:
        client: from :func:`dask_client`.
        function: what to do; importable by the workers.
        shared: its first argument.
        items: its second arguments.
        ordered: whether results come in the order of the items, else in that of completion. A slow
            item then holds up the next ones, so no more results wait than are in flight.
    """
    common = client.scatter(shared, broadcast=True, hash=False)
    waiting = iter(items)
    running: list[Future[Any]] = []  # in the order of the items

    def submit(count: int) -> None:
        for item in islice(waiting, count):
            running.append(client.submit(_guarded, function, common, item, pure=False))

    try:
        submit(in_flight(client))
        while running:
            future = running[0]
            if not ordered:
                wait(running, return_when="FIRST_COMPLETED")
                future = next(item for item in running if item.done())
            result: Result | _Failure = future.result()
            running.remove(future)
            future.release()
            if isinstance(result, _Failure):
                raise result.error
            submit(1)
            yield result
    finally:
        for future in running:
            future.cancel()
        common.release()


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a worker."""

    error: GeounetError


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
