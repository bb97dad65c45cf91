"""The whole job on small scenes with known answers."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from distributed import Client, LocalCluster
from rasterio.transform import Affine

from geounet.errors import SceneError
from geounet.jobs.execute import dask_client
from geounet.jobs.options import CleanUp, OutputOptions
from geounet.jobs.plan import Plan, SegmentOptions, make_plan
from geounet.jobs.segment import Report, segment_scenes
from geounet.model.bundle import ModelBundle, load_bundle
from geounet.raster.scene import describe
from tests.helpers import (
    DEGREES,
    NORTH_UP,
    ROTATED,
    SOUTH_UP,
    brightness_model,
    kill_after,
    noise,
    painted,
    spec_for,
    write_scene,
)

RAW = {"clean": CleanUp(min_area=0.0, simplify=0.0)}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(workers=2) as value:
        yield value


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_bundle(brightness_model(tmp_path_factory.mktemp("model") / "m.safetensors"))


def run(
    client: Client, bundle: ModelBundle, *scenes: Path, tile_size: int | None = 66, **output: Any
) -> list[Report]:
    options = SegmentOptions(tile_size=tile_size, device="cpu", precision="float32")
    names = [str(scene) for scene in scenes]
    return segment_scenes(names, bundle, client, options, OutputOptions(**output))


def regions(height: int = 150, width: int = 131, seed: int = 3) -> np.ndarray:
    """A mask of irregular blobs of the three classes, with a corner without data."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (height // 9 + 2, width // 7 + 2), dtype=np.uint8)
    mask = np.kron(coarse, np.ones((9, 7), np.uint8))[:height, :width].copy()
    mask[rng.random(mask.shape) < 0.02] = 1
    mask[:20, :30] = 255
    return mask


def test_mask_and_polygons_of_a_known_scene(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    mask = regions()
    scene = write_scene(tmp_path / "town.tif", painted(mask), nodata=0)
    (report,) = run(client, bundle, scene, **RAW)
    assert report.error is None
    assert report.outputs is not None
    assert [path.name for path in report.outputs.paths] == ["town_mask.tif", "town.gpkg"]
    with rasterio.open(report.outputs.mask) as result:
        np.testing.assert_array_equal(result.read(1), mask)
        assert result.crs == "EPSG:32633"
        assert result.transform == NORTH_UP
    layers = {name for name, _ in pyogrio.list_layers(tmp_path / "town.gpkg")}
    assert {"land", "building", "water"} <= layers
    frames = []
    for number, name in enumerate(("land", "building", "water")):
        frame = gpd.read_file(tmp_path / "town.gpkg", layer=name)
        assert list(frame.columns) == [
            "class_id", "class_name", "area_m2", "perimeter_m", "confidence", "geometry",
        ]  # fmt: skip
        assert set(frame["class_id"]) == {number}
        assert set(frame["class_name"]) == {name}
        exact = (mask == number).sum() * 0.25
        assert frame.area.sum() == pytest.approx(exact, rel=1e-9)
        assert frame["area_m2"].sum() == pytest.approx(exact, rel=1e-9)
        assert report.classes[number].area == pytest.approx(exact, rel=1e-9)
        assert frame["confidence"].between(0.5, 1).all()
        frames.append(frame)
    geometries = np.concatenate([frame.geometry.values for frame in frames])
    assert shapely.is_valid(geometries).all()
    assert shapely.coverage_is_valid(geometries)


def test_confidence_is_the_mean_probability(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    data = painted(np.zeros((40, 40), np.uint8))
    data[0, 10:20, 10:20] = 250
    data[0, 10:20, 15:20] = 145
    scene = write_scene(tmp_path / "s.tif", data)
    run(client, bundle, scene, **RAW)
    frame = gpd.read_file(tmp_path / "s.gpkg", layer="building")
    red = (np.array([250, 145]) / 255 - 0.5) / 0.25 * 20
    dark = (40 / 255 - 0.5) / 0.25 * 20
    share = np.exp(red) / (np.exp(red) + np.exp(1.0) + np.exp(dark))
    assert len(frame) == 1
    assert frame["confidence"][0] == pytest.approx(share.mean(), abs=1 / 255)
    assert share.min() < 0.99  # else the mean would prove nothing


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", NORTH_UP),
        ("EPSG:32633", SOUTH_UP),
        ("EPSG:32633", ROTATED),
        ("EPSG:4326", DEGREES),
    ],
)
def test_a_block_has_its_exact_coordinates(
    tmp_path: Path, client: Client, bundle: ModelBundle, crs: str, transform: Affine
) -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[17:45, 30:77] = 1
    scene = write_scene(tmp_path / "s.tif", painted(mask), crs=crs, transform=transform)
    (report,) = run(client, bundle, scene, **RAW)
    assert report.error is None
    with rasterio.open(tmp_path / "s_mask.tif") as result:
        assert result.transform == transform
        assert result.crs == crs
        assert result.shape == (90, 120)
    frame = gpd.read_file(tmp_path / "s.gpkg", layer="building")
    assert frame.crs == crs
    assert len(frame) == 1
    corners = {transform @ point for point in ((30, 17), (77, 17), (77, 45), (30, 45))}
    polygon = frame.geometry[0]
    assert set(polygon.exterior.coords) == corners
    assert polygon.exterior.is_ccw
    if crs == "EPSG:4326":
        area, perimeter = frame.crs.get_geod().geometry_area_perimeter(polygon)
        assert frame["area_m2"][0] == pytest.approx(area, rel=1e-9)
        assert frame["perimeter_m"][0] == pytest.approx(perimeter, rel=1e-9)
        assert area == pytest.approx(28 * 1.1119 * 47 * 0.7460, rel=1e-3)
    else:
        assert frame["area_m2"][0] == pytest.approx(28 * 47 * 0.25, rel=1e-9)


def test_scene_without_crs_is_measured_in_pixels(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[10:20, 10:30] = 2
    scene = write_scene(tmp_path / "s.tif", painted(mask), crs=None, transform=Affine.identity())
    (report,) = run(client, bundle, scene, **RAW)
    assert any("pixels" in notice for notice in report.notices)
    assert report.classes[2].unit == "px"
    frame = gpd.read_file(tmp_path / "s.gpkg", layer="water")
    assert frame["area_px"][0] == 200


def test_results_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, bundle: ModelBundle
) -> None:
    scene = write_scene(tmp_path / "s.tif", noise(333, 257))
    found = []
    for workers in (1, 2, 4):
        folder = tmp_path / str(workers)
        with dask_client(workers=workers) as client:
            (report,) = run(client, bundle, scene, folder=folder, formats=("geojson",), **RAW)
        assert report.outputs is not None
        found.append([path.read_bytes() for path in report.outputs.paths])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 70)])
def test_tiny_scenes(
    tmp_path: Path, client: Client, bundle: ModelBundle, shape: tuple[int, int]
) -> None:
    mask = np.ones(shape, np.uint8)
    (report,) = run(client, bundle, write_scene(tmp_path / "s.tif", painted(mask)))
    assert report.error is None
    with rasterio.open(tmp_path / "s_mask.tif") as result:
        np.testing.assert_array_equal(result.read(1), mask)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_value_types(tmp_path: Path, client: Client, bundle: ModelBundle, dtype: str) -> None:
    """Other types are stretched by percentiles: 12-bit counts and reflectances look like 8 bits."""
    mask = regions()
    mask[mask == 255] = 0
    data = painted(mask)
    scaled = data.astype(dtype) if dtype == "uint8" else (data.astype(np.float64) * 12 - 100)
    scaled = scaled / 3000 if dtype.startswith("float") else scaled
    scene = write_scene(tmp_path / "s.tif", scaled.astype(dtype))
    (report,) = run(client, bundle, scene, polygons=False)
    assert report.error is None
    with rasterio.open(tmp_path / "s_mask.tif") as result:
        np.testing.assert_array_equal(result.read(1), mask)


def test_scene_without_any_data(tmp_path: Path, client: Client, bundle: ModelBundle) -> None:
    scene = write_scene(tmp_path / "s.tif", np.zeros((3, 70, 80), np.uint8), nodata=0)
    (report,) = run(client, bundle, scene)
    assert report.error is None
    assert all(item.polygons == 0 for item in report.classes)
    with rasterio.open(tmp_path / "s_mask.tif") as result:
        assert (result.read(1) == 255).all()


def test_other_resolution_keeps_the_scenes_grid(tmp_path: Path, client: Client) -> None:
    """A scene of 0.5 m with a model of 1 m: the mask has the scene's pixels and place."""
    model = load_bundle(brightness_model(tmp_path / "m.safetensors", resolution=1.0))
    mask = np.zeros((121, 90), np.uint8)
    mask[20:60, 30:70] = 1
    scene = write_scene(tmp_path / "s.tif", painted(mask))
    (report,) = run(client, model, scene, polygons=False)
    assert report.error is None
    with rasterio.open(tmp_path / "s_mask.tif") as result:
        found = result.read(1)
        assert result.transform == NORTH_UP
    assert found.shape == mask.shape
    assert (found != mask).mean() < 0.02  # corners are rounded by the coarser grid
    assert (found[22:58, 32:68] == 1).all()


def test_the_network_sees_square_pixels(tmp_path: Path) -> None:
    """Rows of 1 m and columns of 0.5 m, as in degrees far from the equator: on the working grid a
    square is square, and the preflight says so."""
    spec = spec_for(2, 6, 0, resolution=1.0)
    options = SegmentOptions(device="cpu", precision="float32", margin="exact")

    def planned(height: float, width: float) -> Plan:
        transform = Affine(width, 0, 500_000, 0, -height, 5_400_000)
        path = write_scene(tmp_path / "s.tif", noise(70, 140), transform=transform)
        return make_plan(describe(path), spec, options)

    plan = planned(1.0, 0.5)
    assert plan.work.shape == (70, 70)
    assert "70 x 140 px at 1 x 0.5 m" in plan.describe()
    assert "worked on at 1 m (70 x 70 px)" in plan.describe()
    assert planned(0.9, 1.1).work.shape == (63, 154)  # of nearly the area of 1 x 1 m
    assert planned(0.96, 1.04).work.identity
    with pytest.raises(SceneError, match=r"distance of 8 x 0.05 m is too far from 1 m to work at"):
        planned(8.0, 0.05)


def test_groups_and_chosen_classes(tmp_path: Path, client: Client, bundle: ModelBundle) -> None:
    mask = regions()
    scene = write_scene(tmp_path / "s.tif", painted(mask), nodata=0)
    (report,) = run(
        client, bundle, scene, groups=(("dry", ("land", "building")),), classes=("dry",), **RAW
    )
    assert [item.name for item in report.classes] == ["dry"]
    assert report.classes[0].area == pytest.approx((mask < 2).sum() * 0.25, rel=1e-9)
    frame = gpd.read_file(tmp_path / "s.gpkg", layer="dry")
    assert frame["confidence"].min() > 0.99  # the sum of both classes' probabilities


def test_complete_scenes_are_skipped_and_others_protected(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    scene = write_scene(tmp_path / "s.tif", painted(regions()))
    run(client, bundle, scene)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert run(client, bundle, scene)[0].skipped
    other = run(client, bundle, scene, clean=CleanUp(min_area=3.0))[0]
    assert "--overwrite" in str(other.error)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    again = run(client, bundle, scene, clean=CleanUp(min_area=3.0), overwrite=True)[0]
    assert again.error is None
    assert not again.skipped
    (tmp_path / "s.gpkg").unlink()
    assert "--overwrite" in str(run(client, bundle, scene, clean=CleanUp(min_area=3.0))[0].error)


def test_results_of_two_runs_are_not_complete(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    """The second run ends between its polygons and its mask, when the first one's still stands."""
    scene = write_scene(tmp_path / "s.tif", painted(regions(40, 40)))
    assert run(client, bundle, scene)[0].error is None
    (tmp_path / "s_mask.qml").unlink()
    (tmp_path / "s_mask.qml").mkdir()
    ground = (("ground", ("land", "water")),)
    (report,) = run(client, bundle, scene, groups=ground, overwrite=True)
    assert "s_mask.qml" in str(report.error)
    (tmp_path / "s_mask.qml").rmdir()
    assert "ground" in pyogrio.list_layers(tmp_path / "s.gpkg")[:, 0]
    (report,) = run(client, bundle, scene)
    assert not report.skipped
    assert "s.gpkg: exists, and nothing says" in str(report.error)
    assert run(client, bundle, scene, overwrite=True)[0].error is None
    assert run(client, bundle, scene)[0].skipped


def painted_over(scene: Path) -> None:
    with rasterio.open(scene, "r+") as dataset:  # as large as before
        dataset.write(np.zeros((3, 5, 5), np.uint8), window=((0, 5), (0, 5)))


def masked(scene: Path) -> None:
    copy = Path(shutil.copy(scene, scene.with_name("copy.tif")))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(copy, "r+") as dataset:
        dataset.write_mask(np.zeros(dataset.shape, bool))
    copy.with_name("copy.tif.msk").rename(scene.with_name("s.tif.msk"))


def without_data(scene: Path) -> None:
    scene.with_name(f"{scene.name}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
        "</PAMDataset>"
    )


@pytest.mark.parametrize(
    "change",
    [
        painted_over,
        masked,
        without_data,
        lambda scene: scene.with_name("s.gpkg").write_bytes(b""),
        lambda scene: scene.with_name("s_land.shx").unlink(),
        lambda scene: scene.with_name("s_water.dbf").unlink(),
    ],
)
def test_a_changed_scene_or_result_is_not_complete(
    tmp_path: Path, client: Client, bundle: ModelBundle, change: Callable[[Path], Any]
) -> None:
    scene = write_scene(tmp_path / "s.tif", painted(regions(40, 40)))
    wanted = {"formats": ("gpkg", "shp"), **RAW}
    assert run(client, bundle, scene, **wanted)[0].error is None
    assert run(client, bundle, scene, **wanted)[0].skipped
    change(scene)
    (report,) = run(client, bundle, scene, **wanted)
    assert not report.skipped
    assert "from another run or incomplete" in str(report.error)


@pytest.mark.parametrize("name", ["s_mask.tif", "s.gpkg"])
def test_files_of_somebody_else_are_protected(
    tmp_path: Path, client: Client, bundle: ModelBundle, name: str
) -> None:
    """Labels are often named like results; the first advice is not to overwrite them."""
    scene = write_scene(tmp_path / "s.tif", painted(regions(40, 40)))
    drawn = shutil.copy(scene, tmp_path / name)
    before = Path(drawn).read_bytes()
    said = str(run(client, bundle, scene, **RAW)[0].error)
    assert said.startswith(
        f"{drawn}: exists, and nothing says that geounet made it; choose another"
    )
    assert Path(drawn).read_bytes() == before
    assert run(client, bundle, scene, overwrite=True, **RAW)[0].error is None


def test_thresholds_of_the_model_and_in_its_place(tmp_path: Path, client: Client) -> None:
    """Red of 136 makes building 0.84 likely: the model refuses it, the option does not."""
    model = load_bundle(brightness_model(tmp_path / "m.safetensors", thresholds={"building": 0.9}))
    data = painted(np.zeros((20, 20), np.uint8))
    data[0] = 136
    scene = write_scene(tmp_path / "s.tif", data)
    found = []
    for chosen in ((), (("building", 0.8),), (("building", None),)):
        options = SegmentOptions(device="cpu", precision="float32", thresholds=chosen)
        output = OutputOptions(polygons=False, overwrite=not chosen)
        (report,) = segment_scenes([str(scene)], model, client, options, output)
        if chosen:  # a changed threshold is another run, not a complete one
            assert "--overwrite" in str(report.error)
            output = OutputOptions(polygons=False, overwrite=True)
            (report,) = segment_scenes([str(scene)], model, client, options, output)
        assert report.error is None
        with rasterio.open(tmp_path / "s_mask.tif") as result:
            found.append(np.unique(result.read(1)).tolist())
    assert found == [[0], [1], [1]]


def test_a_failing_scene_does_not_stop_the_others(
    tmp_path: Path, client: Client, bundle: ModelBundle
) -> None:
    good = [write_scene(tmp_path / f"{name}.tif", painted(regions())) for name in "ac"]
    cut = write_scene(tmp_path / "b.tif", noise(400, 400), compress="deflate", tiled=True)
    cut.write_bytes(cut.read_bytes()[:-30_000])
    out = tmp_path / "out"
    reports = run(client, bundle, good[0], cut, tmp_path / "none.tif", good[1], folder=out)
    assert [report.error is None for report in reports] == [True, False, False, True]
    assert "b.tif" in str(reports[1].error)
    assert "no such file" in str(reports[2].error)
    files = {path.name for path in out.iterdir()}
    endings = (".gpkg", "_mask.tif", "_mask.tif.aux.xml", "_mask.qml", "_mask.sld")
    assert files == {f"{stem}{end}" for stem in "ac" for end in endings}


KILLED = """
import sys
from pathlib import Path
from geounet.jobs.execute import dask_client
from geounet.jobs.options import CleanUp, OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import load_bundle
folder = Path(sys.argv[1])
with dask_client() as client:
    print("begun", flush=True)
    segment_scenes([str(folder / "s.tif")], load_bundle(folder / "m.safetensors"), client,
                   SegmentOptions(tile_size=130, device="cpu"),
                   OutputOptions(clean=CleanUp(min_area=0, simplify=0)))
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
@pytest.mark.parametrize("delay", [0.3, 1.0, 2.0])
def test_a_kill_leaves_no_half_results(
    tmp_path: Path, client: Client, bundle: ModelBundle, delay: float
) -> None:
    brightness_model(tmp_path / "m.safetensors")
    mask = regions(1400, 1400)
    scene = write_scene(tmp_path / "s.tif", painted(mask))
    kill_after(KILLED, tmp_path, delay)
    if (tmp_path / "s_mask.tif").exists():  # published last, so everything is there
        assert gpd.read_file(tmp_path / "s.gpkg", layer="water").area.sum() > 0
    (report,) = run(client, bundle, scene, tile_size=500, overwrite=True, **RAW)
    assert report.error is None


def test_a_cluster_of_processes_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Client, bundle: ModelBundle
) -> None:
    """What travels to workers of other processes can be pickled, and --dask reaches them; those in
    another folder find a relative path, whose results and run stay the same.
    """
    scene = write_scene(tmp_path / "s.tif", noise(150, 170))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        dask_client(cluster.scheduler_address) as remote,
    ):  # fmt: skip
        (one,) = run(remote, bundle, scene, folder=tmp_path / "remote", polygons=False)
        cut = write_scene(tmp_path / "cut.tif", noise(300, 300), compress="deflate")
        cut.write_bytes(cut.read_bytes()[:-30_000])
        (two,) = run(remote, bundle, cut, folder=tmp_path / "remote", polygons=False)
        monkeypatch.chdir(tmp_path)
        remote.run(os.chdir, "/")
        (relative,) = run(remote, bundle, Path("s.tif"), polygons=False)
        (again,) = run(remote, bundle, scene, polygons=False)
    (here,) = run(client, bundle, scene, folder=tmp_path / "here", polygons=False)
    assert one.outputs is not None
    assert here.outputs is not None
    assert one.outputs.mask.read_bytes() == here.outputs.mask.read_bytes()
    assert "cut.tif" in str(two.error)
    assert relative.error is None
    assert relative.scene == "s.tif"
    assert relative.outputs is not None
    assert relative.outputs.mask == Path("s_mask.tif")
    assert relative.outputs.mask.read_bytes() == here.outputs.mask.read_bytes()
    assert again.skipped
