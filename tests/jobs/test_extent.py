"""A part of a scene against the same part of the whole result."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import Affine

from geounet.decision import Decision
from geounet.errors import ConfigError, GeounetError, SceneError
from geounet.jobs.execute import dask_client
from geounet.jobs.extent import Extent, resolve_region
from geounet.jobs.merge import assembler_for
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import Plan, SegmentOptions, make_plan
from geounet.jobs.predict import Work, segment_tiles, share_tiles
from geounet.jobs.segment import segment_scenes
from geounet.model.bundle import ModelBundle, load_bundle
from geounet.model.runtime import Hardware
from geounet.model.torch_runtime import TorchRuntime
from geounet.raster.scene import describe
from geounet.tiles import Window
from tests.helpers import (
    DEGREES,
    NORTH_UP,
    ROTATED,
    SOUTH_UP,
    Plain,
    brightness_model,
    noise,
    painted,
    spec_for,
    write_scene,
)

RUNTIME = TorchRuntime(Plain(), Hardware("cpu", "float64"))
OPTIONS = SegmentOptions(tile_size=40, margin="exact", device="cpu", precision="float64", batch=2)


def predicted(plan: Plan, bundle: ModelBundle, runtime: Any = RUNTIME) -> np.ndarray:
    work = Work(plan, bundle, Decision((0, 1, 2), (0, 1, 2)))
    assembler = assembler_for(work)
    function = share_tiles if plan.merge == "blend" else segment_tiles
    return np.concatenate([
        layers.mask
        for batch in plan.batches()
        for part in function(work, batch, runtime)  # type: ignore[operator]
        for layers in assembler.add(part)
    ])  # fmt: skip


def boxed(window: Window, transform: Affine = NORTH_UP) -> tuple[float, float, float, float]:
    """The bounding box of a window of a scene."""
    corners = [
        transform @ (col, row)
        for col in (window.col, window.col_end)
        for row in (window.row, window.row_end)
    ]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.tuples(st.integers(0, 80), st.integers(0, 70)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from([1.0, 0.45, 2.3]),
)
def test_inside_a_box_the_mask_is_that_of_the_whole_scene(
    tmp_path: Path, corner: tuple[int, int], size: tuple[int, int], factor: float
) -> None:
    """Context is read from the scene on all sides; mirrors stand at its real edge alone."""
    scene = describe(write_scene(tmp_path / "s.tif", noise(91, 83)))
    bundle = ModelBundle(spec_for(2, Plain.radius, 0, resolution=0.5), b"", "")
    options = replace(OPTIONS, resolution=0.5 / factor, tile_size=80)
    window = Window(*corner, *size).intersection(Window(0, 0, *scene.shape))
    assert window is not None
    whole = predicted(make_plan(scene, bundle.spec, options), bundle)
    plan = make_plan(scene, bundle.spec, replace(options, extent=Extent(boxed(window))))
    assert plan.region == window
    part = predicted(plan, bundle)
    expected = whole[window.row : window.row_end, window.col : window.col_end]
    assert part.shape == expected.shape
    assert (part != expected).sum() == 0


@pytest.mark.parametrize("merge", ["crop", "blend"])
def test_a_part_gets_its_place_and_an_area_its_edge(tmp_path: Path, merge: Any) -> None:
    """The whole command's way, with an area in another CRS; nodata outside, the same inside."""
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 3, (160, 140), dtype=np.uint8)
    mask[40:60, 50:70] = 255
    scene = write_scene(tmp_path / "s.tif", painted(mask), nodata=0)
    triangle = shapely.Polygon([(20.3, 15.2), (120.7, 70.1), (33.3, 140.9)])
    hole = shapely.Point(60, 90).buffer(9)
    wanted = shapely.difference(triangle, hole)
    frame = gpd.GeoSeries(
        [shapely.transform(wanted, lambda p: np.column_stack(NORTH_UP @ tuple(p.T)))],
        crs="EPSG:32633",
    )
    frame.to_crs("EPSG:4326").to_file(tmp_path / "aoi.geojson")
    output = OutputOptions(polygons=False)
    options = SegmentOptions(
        tile_size=20, margin=4, merge=merge, device="cpu", precision="float32",
        extent=Extent(aoi=str(tmp_path / "aoi.geojson")),
    )  # fmt: skip
    with dask_client() as client:
        (report,) = segment_scenes([str(scene)], model, client, options, output)
    assert report.error is None
    with rasterio.open(tmp_path / "s_mask.tif") as result:
        found = result.read(1)
        assert result.transform == NORTH_UP @ Affine.translation(20, 15)
    assert found.shape == (141 - 15, 121 - 20)
    rows, cols = np.mgrid[15:141, 20:121] + 0.5
    inside = shapely.contains_xy(wanted, cols, rows)
    near = shapely.distance(wanted.boundary, shapely.points(cols, rows)) < 1e-3
    expected = np.where(inside, mask[15:141, 20:121], 255)
    assert (found == expected)[~near].all()
    assert near.sum() < 20


@pytest.mark.parametrize("merge", ["crop", "blend"])
def test_tiles_outside_the_area_do_not_reach_the_network(tmp_path: Path, merge: Any) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(200, 200)))
    shape = shapely.Polygon([(0, 0), (199, 199), (200, 200), (0, 3)])
    gpd.GeoSeries(
        [shapely.transform(shape, lambda p: np.column_stack(NORTH_UP @ tuple(p.T)))],
        crs="EPSG:32633",
    ).to_file(tmp_path / "aoi.gpkg")
    extent = Extent(aoi=str(tmp_path / "aoi.gpkg"))
    bundle = ModelBundle(spec_for(2, Plain.radius, 6), b"", "")
    options = replace(OPTIONS, extent=extent, merge=merge, margin=6, tile_size=32)
    plan = make_plan(scene, bundle.spec, options)
    asked = 0

    class Counting:
        def predict(self, patches: np.ndarray) -> np.ndarray:
            nonlocal asked
            asked += len(patches)
            return RUNTIME.predict(patches)

    predicted(plan, bundle, Counting())
    assert 0 < asked < len(plan.grid) / 2


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", NORTH_UP),
        ("EPSG:32633", SOUTH_UP),
        ("EPSG:32633", ROTATED),
        ("EPSG:4326", DEGREES),
    ],
)
def test_a_box_means_the_pixels_that_it_touches(
    tmp_path: Path, crs: str, transform: Affine
) -> None:
    scene = describe(write_scene(tmp_path / "s.tif", noise(60, 80), crs=crs, transform=transform))
    box = boxed(Window(10, 20, 5, 7), transform)
    window = resolve_region(scene, Extent(box)).window
    if transform == ROTATED:
        assert window.intersection(Window(10, 20, 5, 7)) == Window(10, 20, 5, 7)
    else:
        assert window == Window(10, 20, 5, 7)
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    other = "EPSG:3857"
    x, y = Transformer.from_crs(crs, other, always_xy=True).transform(*middle)
    there = resolve_region(scene, Extent((x - 0.01, y - 0.01, x + 0.01, y + 0.01), other)).window
    col, row = ~transform @ middle
    assert abs(there.row - int(row)) <= 1
    assert abs(there.col - int(col)) <= 1
    assert there.pixels <= 4


PLACES = {
    "berlin": ("EPSG:25833", 13.4, 52.5),
    "munich": ("EPSG:32632", 11.5, 48.1),
    "grid of europe": ("EPSG:3035", 11.5, 48.1),
    "fiji": ("EPSG:32660", 179.999, -17),
    "49th parallel": ("EPSG:32614", -100.3, 49.001),
    "pole": ("EPSG:3995", 0, 89.99),
}


def scene_at(path: Path, place: str, side: int) -> Any:
    """A scene of 1 m pixels whose middle lies at a place."""
    crs, lon, lat = PLACES[place]
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    corner = Affine(1, 0, x - side / 2, 0, -1, y + side / 2)
    return describe(write_scene(path, noise(side, side, 1), crs=crs, transform=corner))


@pytest.mark.parametrize("place", ["berlin", "munich", "grid of europe", "fiji"])
@pytest.mark.parametrize("option", ["aoi", "bbox"])
def test_the_whole_world_holds_the_whole_scene(tmp_path: Path, place: str, option: str) -> None:
    """The ends of the world have no place in these CRSs."""
    scene = scene_at(tmp_path / "s.tif", place, 300)
    world = (-180.0, -90.0, 180.0, 90.0)
    extent = Extent(world, "EPSG:4326")
    if option == "aoi":
        gpd.GeoSeries([shapely.box(*world)], crs="EPSG:4326").to_file(tmp_path / "a.geojson")
        extent = Extent(aoi=str(tmp_path / "a.geojson"))
    region = resolve_region(scene, extent)
    assert region.window == Window(0, 0, 300, 300)
    assert region.area is None or region.area.inside(region.window).all()


@pytest.mark.parametrize("west", [-180, -101])
def test_the_border_of_a_large_area_stays_in_place(tmp_path: Path, west: int) -> None:
    """The 49th parallel bends in UTM; its straight pieces must be short for the scene's pixels."""
    scene = scene_at(tmp_path / "s.tif", "49th parallel", 1200)
    country = shapely.box(west, 24, -66, 49)
    gpd.GeoSeries([country], crs="EPSG:4326").to_file(tmp_path / "a.geojson")
    region = resolve_region(scene, Extent(aoi=str(tmp_path / "a.geojson")))
    assert region.area is not None
    inside = region.area.inside(Window(0, 0, 1200, 1200))
    centres = np.column_stack([item.ravel() for item in np.mgrid[:1200, :1200][::-1]]) + 0.5
    to_degrees = Transformer.from_crs(scene.georef.crs, "EPSG:4326", always_xy=True)
    lat = to_degrees.transform(*scene.georef.to_crs(centres).T)[1].reshape(inside.shape)
    assert 0.1 < inside.mean() < 0.9
    assert np.abs(inside.sum(axis=0) - (lat < 49).sum(axis=0)).max() <= 1


@pytest.mark.parametrize("shift", [-360, 0])
def test_longitudes_a_turn_apart_are_the_same_place(tmp_path: Path, shift: int) -> None:
    scene = scene_at(tmp_path / "s.tif", "fiji", 300)
    part = shapely.box(179.9 + shift, -17.1, 180 + shift, -16.9)
    gpd.GeoSeries([part], crs="EPSG:4326").to_file(tmp_path / "a.geojson")
    region = resolve_region(scene, Extent(aoi=str(tmp_path / "a.geojson")))
    middle = 150 + 0.001 * 111_320 * np.cos(np.radians(17))
    assert region.window.col == 0
    assert region.window.col_end == pytest.approx(middle, abs=5)  # north is not straight up


def test_an_area_over_a_pole(tmp_path: Path) -> None:
    """No bounds in degrees hold the scene, so the area is brought to it as it is."""
    scene = scene_at(tmp_path / "s.tif", "pole", 3000)
    cap = shapely.box(-180, 89.998, 180, 90)
    gpd.GeoSeries([cap], crs="EPSG:4326").to_file(tmp_path / "a.geojson")
    region = resolve_region(scene, Extent(aoi=str(tmp_path / "a.geojson")))
    assert region.area is not None
    inside = region.area.inside(Window(0, 0, 3000, 3000))
    assert inside.sum() == pytest.approx(np.pi * (0.9728 * 223.4) ** 2, rel=0.01)


def test_another_area_under_the_same_name_is_another_run(tmp_path: Path) -> None:
    model = load_bundle(brightness_model(tmp_path / "m.safetensors"))
    scene = write_scene(tmp_path / "s.tif", noise(40, 40))
    options = replace(OPTIONS, margin="auto", extent=Extent(aoi=str(tmp_path / "a.geojson")))
    output = OutputOptions(polygons=False)
    said = []
    with dask_client() as client:
        for size in (5, 5, 6):
            box = boxed(Window(3, 4, size, size))
            gpd.GeoSeries([shapely.box(*box)], crs="EPSG:32633").to_file(tmp_path / "a.geojson")
            (report,) = segment_scenes([str(scene)], model, client, options, output)
            said.append(report.skipped if report.error is None else "--overwrite")
    assert said == [False, True, "--overwrite"]


@pytest.mark.parametrize("first", ["styles", "polygons"])
def test_tables_without_geometry_are_no_layers_of_an_area(tmp_path: Path, first: str) -> None:
    """QGIS keeps the styles of a GeoPackage in a table of it."""
    scene = describe(write_scene(tmp_path / "s.tif", noise(40, 40)))
    path = tmp_path / "a.gpkg"
    frame = gpd.GeoSeries([shapely.box(*boxed(Window(3, 4, 5, 6)))], crs="EPSG:32633")
    styles = pd.DataFrame({"styleName": ["a"], "styleQML": ["<qgis/>"]})
    if first == "styles":
        pyogrio.write_dataframe(styles, path, layer="layer_styles")
    frame.to_file(path, layer="area")
    if first == "polygons":
        pyogrio.write_dataframe(styles, path, layer="layer_styles")
    assert resolve_region(scene, Extent(aoi=str(path))).window == Window(3, 4, 5, 6)


@pytest.mark.parametrize(
    ("extent", "said", "kind"),
    [
        ({"bbox": (0, 0, 1, 1)}, "--bbox does not meet the scene", SceneError),
        ({"bbox": (3, 0, 1, 1)}, "W < E", ConfigError),
        ({"bbox_crs": "EPSG:4326"}, "needs a --bbox", ConfigError),
        ({"bbox": (0, 0, 1, 1), "bbox_crs": "EPSG:0"}, "'EPSG:0' is no CRS", ConfigError),
        ({"aoi": "none.gpkg"}, "none.gpkg: no such file", ConfigError),
        ({"aoi": "s.tif"}, "s.tif: cannot be read", ConfigError),
        ({"aoi": "points.geojson"}, "points.geojson: holds no polygon", ConfigError),
        ({"aoi": "two.gpkg"}, "holds the layers a, b; give a file of one layer", ConfigError),
        ({"aoi": "table.csv"}, "table.csv: holds no polygon", ConfigError),
        ({"aoi": "away.geojson"}, "away.geojson does not meet the scene", SceneError),
    ],
)
def test_parts_that_cannot_be_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extent: Any, said: str, kind: type
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = describe(write_scene(tmp_path / "s.tif", noise(9, 9)))
    points = gpd.GeoSeries([shapely.Point(15, 48.7)], crs="EPSG:4326")
    points.to_file("points.geojson")
    gpd.GeoSeries([shapely.box(2, 3, 4, 5)], crs="EPSG:4326").to_file("away.geojson")
    Path("table.csv").write_text("a,b\n1,2\n")
    for layer in "ab":
        points.to_file("two.gpkg", layer=layer)
    with pytest.raises(kind, match=said) as caught:
        resolve_region(scene, Extent(**extent))
    assert isinstance(caught.value, GeounetError)
    assert "\n" not in str(caught.value)


def test_polygons_that_cross_themselves_count_whole(tmp_path: Path) -> None:
    """Mended, a bow-tie with a spike is two triangles and a line."""
    path = write_scene(tmp_path / "s.tif", noise(40, 40), transform=Affine(1, 0, 0, 0, -1, 40))
    crs = describe(path).georef.crs
    bow = shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20), (0, 30), (0, 20)])
    assert {part.geom_type for part in shapely.get_parts(shapely.make_valid(bow))} > {"LineString"}
    gpd.GeoSeries([bow], crs=crs).to_file(tmp_path / "bow.gpkg")
    region = resolve_region(describe(path), Extent(aoi=str(tmp_path / "bow.gpkg")))
    assert region.area is not None
    inside = region.area.inside(Window(0, 0, 40, 40))
    assert inside.sum() == pytest.approx(bow.buffer(0).area * 2, abs=25)


def test_a_scene_without_crs_takes_plain_coordinates(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", noise(30, 40), crs=None, transform=Affine.identity())
    scene = describe(path)
    window = resolve_region(scene, Extent((3, 5, 10, 9))).window
    assert window == Window(5, 3, 4, 7)
    with pytest.raises(SceneError, match="has no CRS"):
        resolve_region(scene, Extent((3, 5, 10, 9), "EPSG:4326"))
