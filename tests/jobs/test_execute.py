"""Dask with workers that die, that have GPUs, and that are not there."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
from distributed import Client, LocalCluster, Scheduler, SpecCluster, Worker

from geounet.errors import ConfigError, GeounetError
from geounet.jobs.execute import dask_client, on_a_worker, slots, windowed
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.jobs.report import Listener
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import load_bundle
from tests.helpers import brightness_model, noise, write_scene

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
HERE = {
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
}


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes, each started again when it dies; of its own for every test, since a
    worker that was killed does not always come back.
    """
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **HERE) as value:
        yield value


def scheduler_on(host: str) -> dict[str, Any]:
    options = {"host": host, "port": 0, "dashboard_address": f"{host}:0"}
    return {"cls": Scheduler, "options": options}


def noted(folder: str, item: int) -> int:
    """Leave a trace of having been begun."""
    (Path(folder) / f"{item}.{os.getpid()}.{time.monotonic_ns()}").touch()
    time.sleep(0.05)
    return item


def kill(client: Client, count: int) -> None:
    for pid in list(client.run(os.getpid).values())[:count]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("killed", [1, 2])
def test_killed_workers_cost_only_their_batches(
    tmp_path: Path, cluster: LocalCluster, ordered: bool, killed: int
) -> None:
    """Of 30 tasks none is lost and few are begun twice, though the shared data dies too."""
    with dask_client(cluster.scheduler_address) as client:
        client.wait_for_workers(2, timeout=60)
        found = []
        for value in windowed(client, noted, str(tmp_path), range(30), ordered):
            found.append(value)
            if len(found) == 6:
                kill(client, killed)
    assert sorted(found) == list(range(30))
    if ordered:
        assert found == list(range(30))
    begun = len(list(tmp_path.iterdir()))
    assert begun - 30 <= 2 * 2  # two slots, each with a task at hand


def test_a_worker_that_dies_midway_leaves_the_same_mask(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    scene = str(write_scene(tmp_path / "s.tif", noise(300, 280)))
    options = SegmentOptions(tile_size=34, device="cpu", precision="float32", batch=1)
    masks = []
    for name in ("remote", "here"):
        output = OutputOptions(folder=tmp_path / name, polygons=False)
        address = cluster.scheduler_address if name == "remote" else None
        with dask_client(address) as client:
            client.wait_for_workers(2 if address else 1, timeout=60)
            times: list[int] = []

            def advanced(
                done: int,
                total: int,
                at: list[int] = times,
                client: Client = client,
                deadly: bool = bool(address),
            ) -> None:
                if deadly and done > total // 3 and not at:
                    at.append(done)
                    kill(client, 1)

            (report,) = segment_scenes(
                [scene], model, client, options, output, Listener(advanced=advanced)
            )
            assert report.error is None
            assert len(times) == (1 if address else 0)
        masks.append((tmp_path / name / "s_mask.tif").read_bytes())
    assert masks[0] == masks[1]
    with rasterio.open(tmp_path / "here" / "s_mask.tif") as result:
        assert result.shape == (300, 280)


def die(_: None, item: int) -> int:
    os._exit(item)


def test_an_item_that_kills_every_worker_is_named(cluster: LocalCluster) -> None:
    with (
        dask_client(cluster.scheduler_address) as client,
        pytest.raises(GeounetError, match="worker after worker died"),
    ):
        list(windowed(client, die, None, [1]))


def running_on(_: None, item: int) -> int:
    from distributed import get_worker

    worker = get_worker()
    assert worker.state.total_resources == {"GPU": 1}
    return len(worker.state.executing)


def test_tasks_go_to_workers_with_gpus_one_at_a_time() -> None:
    """Of two workers with four threads each, only the one that declares a GPU is used."""
    settings = {"nthreads": 4, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    workers = {
        "plain": {"cls": Worker, "options": settings},
        "gpu": {"cls": Worker, "options": {**settings, "resources": {"GPU": 1}}},
    }
    with (
        SpecCluster(workers, scheduler_on("127.0.0.1")) as mixed,
        dask_client(mixed.scheduler_address) as client,
    ):
        client.wait_for_workers(2, timeout=30)
        found = slots(client)
        assert (found.count, found.resources) == (1, {"GPU": 1})
        assert list(windowed(client, running_on, None, range(12))) == [1] * 12


def test_all_workers_count_whatever_the_version_of_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions of 2025 and 2026 tell five workers unless they are asked for all."""
    whole = Client.scheduler_info

    def few(client: Client, n_workers: int = 5, **words: Any) -> Any:
        return whole(client, n_workers=n_workers, **words)

    monkeypatch.setattr(Client, "scheduler_info", few)
    settings = {"nthreads": 2, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    workers = {number: {"cls": Worker, "options": settings} for number in range(7)}
    with (
        SpecCluster(workers, scheduler_on("127.0.0.1")) as many,
        dask_client(many.scheduler_address) as client,
    ):
        client.wait_for_workers(7, timeout=30)
        assert slots(client).count == 14


def test_a_worker_answers_for_itself(cluster: LocalCluster) -> None:
    with dask_client(cluster.scheduler_address) as client:
        client.wait_for_workers(1, timeout=60)
        assert on_a_worker(client, os.path.exists, "/") is True


def test_workers_that_do_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geounet.jobs.execute._RETURN", 0.5)
    with (
        SpecCluster({}, scheduler_on("127.0.0.1")) as empty,
        Client(empty.scheduler_address) as client,
        pytest.raises(GeounetError, match=r"no workers for 0\.5 s"),
    ):
        list(windowed(client, noted, "", [1]))


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geounet.jobs.execute._PATIENCE", 0.5)
    with (
        SpecCluster({}, scheduler_on("127.0.0.1")) as empty,
        pytest.raises(ConfigError, match="has no workers"),
        dask_client(empty.scheduler_address),
    ):
        pass
