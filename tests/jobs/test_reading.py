"""Scenes on a server, overviews, and files that stay open from batch to batch."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from distributed import Client
from rasterio.enums import Resampling

from geounet.decision import decision_for
from geounet.errors import OutputError, SceneError
from geounet.jobs.catalog import find_scenes
from geounet.jobs.execute import dask_client
from geounet.jobs.extent import Extent
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import MAX_CACHE, SegmentOptions, make_plan
from geounet.jobs.predict import Work, segment_tiles
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import ModelBundle, load_bundle
from geounet.raster import handles
from geounet.raster.remote import (
    file_name,
    gdal_name,
    gdal_settings,
    is_remote,
    shown_name,
)
from geounet.raster.scene import GDAL_CACHE, describe, open_scene, read_window
from geounet.tiles import Window
from tests.helpers import brightness_model, noise, painted, spec_for, write_scene
from tests.server import Store, served

OPTIONS = SegmentOptions(tile_size=300, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(workers=2) as value:
        yield value


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "store").mkdir()
    with served(tmp_path / "store") as value:
        yield value


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_bundle(brightness_model(tmp_path_factory.mktemp("model") / "m.safetensors"))


def put(store: Store, name: str, data: np.ndarray, overviews: tuple[int, ...] = ()) -> Path:
    """A tiled, compressed scene on the server."""
    path = write_scene(
        store.folder / name, data, compress="deflate", tiled=True, blockxsize=256, blockysize=256
    )
    if overviews:
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews(overviews, Resampling.average)
    return path


def test_a_scene_on_a_server_is_the_same_and_only_what_is_needed_is_fetched(
    tmp_path: Path, store: Store, bundle: ModelBundle
) -> None:
    """Every compressed block once, though patches overlap and lie across blocks."""
    path = put(store, "s.tif", noise(1500, 1400))
    address = f"{store.address}/s.tif?signature=a%2Fb"
    masks = []
    for number, scene in enumerate((address, str(path))):
        output = OutputOptions(folder=tmp_path / str(number), polygons=False)
        with dask_client(workers=1) as client:
            (report,) = segment_scenes([scene], bundle, client, OPTIONS, output)
        assert report.error is None
        with rasterio.open(tmp_path / str(number) / "s_mask.tif") as result:
            masks.append(result.read(1))
    np.testing.assert_array_equal(*masks)
    asked = {item.partition("?")[0] for _, item in store.requests}
    assert asked == {"/s.tif"}  # no side-car, no folder
    assert store.sent < 1.05 * path.stat().st_size


def test_a_part_of_a_scene_on_a_server(
    tmp_path: Path, store: Store, client: Client, bundle: ModelBundle
) -> None:
    path = put(store, "part.tif", noise(2000, 2000))
    box = (500_000 + 400, 5_400_000 - 500, 500_000 + 450, 5_400_000 - 450)
    options = SegmentOptions(device="cpu", precision="float32", extent=Extent(box))
    output = OutputOptions(folder=tmp_path / "out", polygons=False)
    (report,) = segment_scenes([f"{store.address}/part.tif"], bundle, client, options, output)
    assert report.error is None
    assert store.sent < path.stat().st_size / 4


def test_a_server_that_is_busy_is_asked_again(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.1")
    put(store, "busy.tif", noise(300, 300))
    store.fail(2)
    assert describe(f"{store.address}/busy.tif").shape == (300, 300)
    assert (store.folder / ".failures").read_text() == "0"


def test_a_server_that_falls_silent_is_named_without_its_token(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    put(store, "silent.tif", noise(600, 600))
    address = f"{store.address}/silent.tif"
    with open_scene(describe(f"{address}?token=secret")) as dataset:
        store.fail(100)
        with pytest.raises(SceneError) as caught:
            read_window(dataset, Window(300, 300, 200, 200), (1, 2, 3))
    said = str(caught.value)
    assert said.startswith(f"{address}: rows 300..499, columns 300..499 cannot be read")
    assert said.endswith("the server did not answer, or the file there is damaged; try again")
    assert "secret" not in said


def test_addresses_that_lead_nowhere_are_one_line(
    tmp_path: Path, store: Store, client: Client, bundle: ModelBundle
) -> None:
    output = OutputOptions(folder=tmp_path / "out", polygons=False)
    names = [f"{store.address}/none.tif", f"{store.address}/s.txt"]
    (store.folder / "s.txt").write_text("plain text")
    for report in segment_scenes(names, bundle, client, OPTIONS, output):
        assert report.error is not None
        assert report.scene in str(report.error)
        assert "is the address right" in str(report.error)
        assert "\n" not in str(report.error)


def test_results_of_a_remote_scene_need_a_folder(client: Client, bundle: ModelBundle) -> None:
    with pytest.raises(OutputError, match="name a folder with -o"):
        segment_scenes(["s3://bucket/s.tif"], bundle, client, OPTIONS, OutputOptions())


@pytest.mark.parametrize(
    ("uri", "name", "last"),
    [
        ("https://a.b/c/d.tif", "/vsicurl/https://a.b/c/d.tif", "d.tif"),
        ("http://a.b/d.tif?x=1/2", "/vsicurl/http://a.b/d.tif?x=1/2", "d.tif"),
        ("s3://bucket/k/d.tif", "/vsis3/bucket/k/d.tif", "d.tif"),
        ("az://box/d.tif", "/vsiaz/box/d.tif", "d.tif"),
        ("gs://box/d.tif", "/vsigs/box/d.tif", "d.tif"),
        ("/vsizip/a.zip/d.tif", "/vsizip/a.zip/d.tif", "d.tif"),
        ("folder/d.tif", "folder/d.tif", "d.tif"),
    ],
)
def test_names(uri: str, name: str, last: str) -> None:
    assert gdal_name(uri) == name
    assert file_name(uri) == last
    assert shown_name(name) == uri.partition("?")[0]


@pytest.mark.parametrize("folder", ["http", "https", "s3", "az", "gs"])
def test_a_folder_that_is_called_like_a_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    write_scene(Path(folder, "s.tif"), noise(4, 4))
    assert not is_remote(folder)
    assert find_scenes([folder]) == [str(Path(folder, "s.tif"))]


def test_settings_leave_local_files_and_the_users_own_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gdal_settings("folder/d.tif") == {}
    extensions = "CPL_VSIL_CURL_ALLOWED_EXTENSIONS"
    archive = gdal_settings("/vsizip//vsicurl/https://a.b/c.zip/d.tif")  # with its side-car files
    assert archive
    assert not {extensions, "GDAL_DISABLE_READDIR_ON_OPEN"} & set(archive)
    assert extensions in gdal_settings("s3://bucket/d.tif")
    assert extensions not in gdal_settings("https://a.b/d.tif?token=1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    assert "GDAL_HTTP_MAX_RETRY" not in gdal_settings("s3://bucket/d.tif")


def blobs(height: int, width: int) -> np.ndarray:
    """A mask of large patches, with a corner without data."""
    coarse = np.random.default_rng(1).integers(0, 3, (height // 64, width // 64), dtype=np.uint8)
    mask = np.kron(coarse, np.ones((64, 64), np.uint8))
    mask[:101, :203] = 255
    return mask


def test_a_coarser_model_reads_an_overview(
    tmp_path: Path, store: Store, client: Client, bundle: ModelBundle
) -> None:
    """A model of 2 m on a scene of 0.5 m: a sixteenth of the pixels, and a result that is close."""
    coarse = load_bundle(brightness_model(tmp_path / "c.safetensors", resolution=2.0))
    mask = blobs(1536, 1280)
    data = painted(mask) // 16 * 15 + noise(1536, 1280) // 16  # blocks do not compress away
    with_overviews = put(store, "o.tif", data, (2, 4, 8))
    without = put(store, "w.tif", data)
    plan = make_plan(describe(with_overviews), coarse.spec, OPTIONS)
    assert plan.level == 1
    assert plan.work.source is not None
    assert (plan.work.source[0].size_in, plan.work.source[1].size_in) == (384, 320)
    assert make_plan(describe(without), coarse.spec, OPTIONS).level is None
    assert make_plan(describe(with_overviews), bundle.spec, OPTIONS).level is None
    found = []
    for name in ("o", "w"):
        store.forget()
        output = OutputOptions(folder=tmp_path / name, polygons=False)
        (report,) = segment_scenes([f"{store.address}/{name}.tif"], coarse, client, OPTIONS, output)
        assert report.error is None
        with rasterio.open(tmp_path / name / f"{name}_mask.tif") as result:
            found.append(result.read(1))
        if name == "o":
            assert store.sent < without.stat().st_size / 4
    assert found[0].shape == mask.shape
    assert (found[0] == found[1]).mean() > 0.99


@pytest.mark.parametrize(("resolution", "level"), [(0.6, None), (0.9, None), (1.0, 0), (3.0, 1)])
def test_the_overview_is_the_coarsest_that_is_fine_enough(
    tmp_path: Path, store: Store, resolution: float, level: int | None
) -> None:
    scene = describe(put(store, "o.tif", noise(515, 387), (2, 4, 8)))
    plan = make_plan(scene, spec_for(1, 1, 1, resolution=resolution), OPTIONS)
    assert plan.level == level


def test_missing_data_stays_exact_with_an_overview(
    tmp_path: Path, store: Store, client: Client
) -> None:
    coarse = load_bundle(brightness_model(tmp_path / "c.safetensors", resolution=1.0))
    mask = blobs(640, 640)
    path = write_scene(
        store.folder / "n.tif", painted(mask), nodata=0, compress="deflate", tiled=True
    )
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews((2,), Resampling.average)
    output = OutputOptions(folder=tmp_path / "out", polygons=False)
    (report,) = segment_scenes([str(path)], coarse, client, OPTIONS, output)
    assert report.error is None
    with rasterio.open(tmp_path / "out" / "n_mask.tif") as result:
        np.testing.assert_array_equal(result.read(1) == 255, mask == 255)


def test_files_are_opened_once_and_closed_at_the_end(
    tmp_path: Path, client: Client, bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads, thirty batches: at most two handles, none left."""
    opened = []
    real = handles.open_handle

    def spy(*words: object) -> object:
        opened.append(real(*words))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(handles, "open_handle", spy)
    scene = write_scene(tmp_path / "s.tif", noise(400, 300))
    options = SegmentOptions(tile_size=66, device="cpu", precision="float32", batch=1)
    (report,) = segment_scenes([str(scene)], bundle, client, options, OutputOptions(polygons=False))
    assert report.error is None
    assert 1 <= len(opened) <= 2
    assert all(item.closed for item in opened)  # type: ignore[attr-defined]
    assert not handles._idle


def test_a_handle_that_saw_an_error_is_not_lent_again(tmp_path: Path) -> None:
    loan = handles.Loan("job", describe(write_scene(tmp_path / "s.tif", noise(9, 9))), 64)
    with handles.lent(loan) as first:
        pass
    with handles.lent(loan) as second:
        assert second is first
    with pytest.raises(ZeroDivisionError), handles.lent(loan):
        raise ZeroDivisionError
    assert first.closed
    with handles.lent(loan) as third:
        assert third is not first
    handles.close_handles("job")
    assert third.closed


def test_whoever_waits_for_a_level_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind one who waits for another level."""
    monkeypatch.setattr(handles, "_PATIENCE", 10)
    path = write_scene(tmp_path / "s.tif", noise(64, 64))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews((2,), Resampling.average)
    loan = handles.Loan("levels", describe(path), GDAL_CACHE)

    def borrow(level: int | None) -> None:
        with handles.lent(loan, level):
            pass

    waiting = [threading.Thread(target=borrow, args=(level,)) for level in (None, 0)]
    with handles.lent(loan):
        with handles.lent(loan, 0):
            for thread in waiting:
                thread.start()
                time.sleep(0.1)
        waiting[1].join(5)
        assert not waiting[1].is_alive()
        assert waiting[0].is_alive()
    waiting[0].join(5)
    assert not waiting[0].is_alive()
    handles.close_handles("levels")


def test_the_block_cache_holds_a_row_of_tiles_unless_that_is_too_much(tmp_path: Path) -> None:
    sizes = []
    for width in (1000, 60_000, 200_000):
        path = write_scene(
            tmp_path / "s.tif", np.ones((3, 16, width), np.uint8), tiled=True, compress="deflate"
        )
        options = SegmentOptions(tile_size=300, margin=2, device="cpu")
        sizes.append(make_plan(describe(path), spec_for(2, 6, 6), options).cache_bytes)
    assert sizes[0] == GDAL_CACHE == sizes[2]
    assert GDAL_CACHE < sizes[1] < MAX_CACHE


def test_no_file_is_held_while_the_network_runs(tmp_path: Path, bundle: ModelBundle) -> None:
    """Another thread reads meanwhile, with the same handle; in a task of several batches too."""
    scene = describe(write_scene(tmp_path / "s.tif", noise(300, 400, seed=3)))
    plan = make_plan(scene, bundle.spec, replace(OPTIONS, tile_size=100, batch=2))
    work = Work(plan, bundle, decision_for(bundle.spec.legend), run="held")
    held = []

    class Watching:
        def predict(self, patches: np.ndarray) -> np.ndarray:
            held.append(dict(handles._out))
            return np.ones((len(patches), 3, *patches.shape[2:]), np.float32)

    assert len(segment_tiles(work, tuple(range(7)), Watching())) == 7
    handles.close_handles("held")
    assert len(held) >= 4  # patches at the edge are smaller, and go alone
    assert not any(held)
