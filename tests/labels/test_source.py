"""Labels of rasters and polygons on a scene's grid, against brute force."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Transformer
from rasterio.transform import Affine

from geounet.errors import ConfigError, LabelError
from geounet.labels.coding import IGNORED, coding_for, plain_coding
from geounet.labels.source import LabelFiles, open_labels
from geounet.raster.scene import Scene, describe
from geounet.tiles import Window
from tests.helpers import LEGEND, NORTH_UP, ROTATED, noise, write_scene

HEIGHT, WIDTH = 61, 83


def scene_at(folder: Path, transform: Affine = NORTH_UP, crs: str | None = "EPSG:32633") -> Scene:
    path = write_scene(folder / "s.tif", noise(HEIGHT, WIDTH), transform=transform, crs=crs)
    return describe(path)


def polygons(path: Path, shapes: list[Any], kinds: list[object], crs: str | None) -> Path:
    """A GeoJSON of shapes with a column ``kind``; WGS 84 unless ``crs`` is given."""
    features = [
        {
            "type": "Feature",
            "properties": {"kind": kind},
            "geometry": None if shape is None else json.loads(shapely.to_geojson(shape)),
        }
        for shape, kind in zip(shapes, kinds, strict=True)
    ]
    content: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs:
        content["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{crs}"}}
    path.write_text(json.dumps(content))
    return path


def at(scene: Scene, *corners: tuple[float, float]) -> Any:
    """A polygon from (column, row) corners of a scene, in its CRS."""
    return shapely.Polygon(scene.georef.to_crs(np.array(corners)))


def read_all(files: LabelFiles, scene: Scene, coding: Any, step: int = 10_000) -> np.ndarray:
    with open_labels(files, scene, coding) as labels:
        parts = [
            labels.read(Window(row, 0, min(step, scene.height - row), scene.width))
            for row in range(0, scene.height, step)
        ]
    return np.concatenate(parts)


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north", "rotated"])
def test_polygons_take_the_pixels_whose_centres_they_hold(
    tmp_path: Path, transform: Affine
) -> None:
    scene = scene_at(tmp_path, transform)
    shapes = [
        at(scene, (3.2, 4.1), (30.7, 9.9), (25.3, 40.2), (5.1, 33.3)),
        at(scene, (50.3, 20.1), (95.2, 24.4), (60.3, 59.7)),
    ]
    to_wgs = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    moved = shapely.transform(shapes, lambda p: np.column_stack(to_wgs.transform(*p.T)))
    path = polygons(tmp_path / "l.geojson", list(moved), ["house", "lake"], None)
    coding = coding_for({"house": ("building",), "lake": ("water",)}, LEGEND, ("land", "water"))
    codes = read_all(LabelFiles(path, "kind"), scene, coding)
    rows, cols = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    centres = scene.georef.to_crs(np.column_stack([cols.ravel(), rows.ravel()]))
    expected = np.full(HEIGHT * WIDTH, 2, np.uint8)
    for code, shape in enumerate(shapes):
        expected[shapely.contains_xy(shape, centres)] = code
    assert coding.sets == (("building",), ("water",), ("land", "water"))
    assert (codes.ravel() != expected).sum() <= 1  # reprojected and back: a nanometre
    for step in (1, 7):
        np.testing.assert_array_equal(
            read_all(LabelFiles(path, "kind"), scene, coding, step), codes
        )


def test_aoi_and_ignored_places(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    shape = [at(scene, (10, 10), (40, 10), (40, 40), (10, 40))]
    epsg = "EPSG::32633"
    labels = polygons(tmp_path / "l.geojson", shape, ["x"], epsg)
    aoi = polygons(
        tmp_path / "a.geojson", [at(scene, (0, 0), (50, 0), (50, 50), (0, 50))], [1], epsg
    )
    ignore = polygons(
        tmp_path / "i.geojson", [at(scene, (0, 0), (20, 0), (20, 20), (0, 20))], [1], epsg
    )
    coding = coding_for({"*": ("building",)}, LEGEND, ("land",))
    codes = read_all(LabelFiles(labels, None, aoi, ignore), scene, coding, 9)
    expected = np.full((HEIGHT, WIDTH), IGNORED, np.uint8)
    expected[:50, :50] = 1
    expected[10:40, 10:40] = 0
    expected[:20, :20] = IGNORED
    np.testing.assert_array_equal(codes, expected)


def test_a_raster_of_another_grid_and_crs_takes_the_nearest_pixel(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (40, 50)).astype(np.int16)
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(
        scene.georef.transform[2] + 5, scene.georef.transform[5] - 3
    )
    grid = Affine(6e-6, 0, lon, 0, -5e-6, lat)
    path = write_scene(tmp_path / "l.tif", values[None], crs="EPSG:4326", transform=grid)
    coding = plain_coding(LEGEND, False)
    codes = read_all(LabelFiles(path), scene, coding)
    rows, cols = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    centres = scene.georef.to_crs(np.column_stack([cols.ravel(), rows.ravel()]))
    x, y = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(*centres.T)
    col, row = np.floor((x - lon) / 6e-6).astype(int), np.floor((lat - y) / 5e-6).astype(int)
    inside = (col >= 0) & (col < 50) & (row >= 0) & (row < 40)
    expected = np.full(HEIGHT * WIDTH, IGNORED, np.uint8)
    expected[inside] = values[row[inside], col[inside]]
    assert 0.1 < inside.mean() < 0.95
    assert (codes.ravel() != expected).sum() <= 2  # ties to a nanometre
    np.testing.assert_array_equal(read_all(LabelFiles(path), scene, coding, 5), codes)


def test_a_mask_whose_least_and_largest_values_are_named_fits_by_its_place(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    rng = np.random.default_rng(0)
    values = rng.choice([0, 255], (HEIGHT - 7, WIDTH - 5)).astype(np.uint8)
    path = write_scene(tmp_path / "l.tif", values[None])
    coding = coding_for({"0": ("land",), "255": ("building",)}, LEGEND, strict=True)
    expected = np.full((HEIGHT, WIDTH), IGNORED, np.uint8)
    expected[:-7, :-5] = values == 255
    np.testing.assert_array_equal(read_all(LabelFiles(path), scene, coding), expected)
    every = coding_for({str(value): ("land",) for value in range(256)}, LEGEND, strict=True)
    with pytest.raises(LabelError, match="no value is left for places without labels"):
        read_all(LabelFiles(path), scene, every)


def test_partial_values_and_nodata(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[0, :5], mask[0, 5:9], mask[0, 9:12] = 1, 7, 255
    path = write_scene(tmp_path / "l.tif", mask)
    coding = coding_for({"0": ("land", "water"), "1": ("building",)}, LEGEND)
    codes = read_all(LabelFiles(path), scene, coding)
    parts = [codes[:5], codes[5:12], codes[12:]]
    assert [np.unique(part).tolist() for part in parts] == [[1], [IGNORED], [0]]
    with pytest.raises(LabelError, match="'7' is no class"):
        read_all(LabelFiles(path), scene, plain_coding(LEGEND, False))
    with pytest.raises(ConfigError, match="unknown class 'lake'"):
        coding_for({"0": ("lake",)}, LEGEND)


@pytest.mark.parametrize(
    ("corners", "kinds", "message"),
    [
        ([[(1, 1), (20, 1), (20, 20)], [(10, 1), (30, 1), (10, 20)]], ["a", "b"], "overlap"),
        (
            [[(1, 1), (9, 1), (9, 9)], [(1, 1), (9, 1), (9, 8)]],
            ["a"] * 2,
            "1 pair of polygons of one class",
        ),
        ([[(-9, 1), (-2, 1), (-2, 9)], [(90, 1), (99, 1), (99, 9)]], ["a", "b"], "none of its 2 p"),
        ([[(1, 1), (20, 20), (20, 1), (1, 20)]], ["a"], "feature 0 is invalid: Self-intersection"),
        ([[(1, 1), (20, 1), (20, 20)]], ["c"], "'c' is no class"),
        ([[(900, 1), (920, 1), (920, 20)]], ["a"], "lie outside the scene"),
        ([None], ["a"], "feature 0 has no geometry"),
    ],
)
def test_errors_name_the_fault(
    tmp_path: Path, corners: list[Any], kinds: list[str], message: str
) -> None:
    scene = scene_at(tmp_path)
    shapes = [None if ring is None else at(scene, *ring) for ring in corners]
    path = polygons(tmp_path / "l.geojson", shapes, kinds, "EPSG::32633")
    coding = coding_for({"a": ("building",), "b": ("water",)}, LEGEND, strict=True)
    with pytest.raises(LabelError, match=message) as caught:
        read_all(LabelFiles(path, "kind"), scene, coding)
    assert "\n" not in str(caught.value)


def test_polygons_of_a_class_may_touch_and_share_a_little(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    shapes = [
        at(scene, (1, 1), (21, 1), (21, 21), (1, 21)),
        at(scene, (12, 1), (32, 1), (32, 21), (12, 21)),  # 9 of 20 columns
        at(scene, (32, 1), (40, 1), (40, 21), (32, 21)),
    ]
    path = polygons(tmp_path / "l.geojson", shapes, ["a"] * 3, "EPSG::32633")
    coding = coding_for({"a": ("building",), "": ()}, LEGEND, ("land",), strict=True)
    codes = read_all(LabelFiles(path, "kind"), scene, coding)
    assert (codes == 0).sum() == 39 * 20
    # What is ignored may be drawn as often as one likes, and so may areas of interest.
    twice = polygons(tmp_path / "t.geojson", shapes[:1] * 2, [""] * 2, "EPSG::32633")
    codes = read_all(LabelFiles(twice, "kind", aoi=twice, ignore=twice), scene, coding)
    assert (codes == IGNORED).all()


def test_houses_of_one_feature_are_houses_still(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    houses = [at(scene, (c, 5), (c + 9, 5), (c + 9, 20), (c, 20)) for c in (3, 20, 40)]
    joined = [shapely.MultiPolygon(houses[:2]), houses[2]]
    path = polygons(tmp_path / "l.geojson", joined, ["a", "b"], "EPSG::32633")
    coding = coding_for({"a": ("building",), "b": ("land",)}, LEGEND)
    with open_labels(LabelFiles(path, "kind"), scene, coding) as labels:
        assert labels.areas is not None
        numbers = labels.areas.numbers(Window(0, 0, *scene.shape))
        codes = labels.read(Window(0, 0, *scene.shape))
    assert [numbers[10, c] for c in (5, 25, 45)] == [1, 2, 3]
    assert codes[10, 5] == codes[10, 25] != codes[10, 45]


def test_a_scene_without_labels_needs_an_area_of_interest(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    around = [
        at(scene, (-30, 5), (-2, 5), (-2, 50)),
        at(scene, (WIDTH + 3, 5), (WIDTH + 20, 5), (WIDTH + 3, 50)),
    ]
    path = polygons(tmp_path / "l.geojson", around, ["a", "a"], "EPSG::32633")
    coding = coding_for({"*": ("building",)}, LEGEND, ("land",))
    with pytest.raises(LabelError, match=r"l\.geojson: none of its 2 polygons lies in the scene"):
        read_all(LabelFiles(path), scene, coding)
    looked = [at(scene, (0, 0), (20, 0), (20, 9), (0, 9))]
    aoi = polygons(tmp_path / "a.geojson", looked, [1], "EPSG::32633")
    codes = read_all(LabelFiles(path, aoi=aoi, ignore=path), scene, coding)
    assert (codes == 1).sum() == 180
    with pytest.raises(LabelError, match=r"l\.geojson: none of its 2 polygons"):
        read_all(LabelFiles(aoi, aoi=path), scene, coding)
    aside = polygons(tmp_path / "s.geojson", around[1:], ["a"], "EPSG::32633")
    empty = polygons(tmp_path / "e.geojson", [], [], "EPSG::32633")
    for other in (aside, empty):
        codes = read_all(LabelFiles(other, aoi=aoi, ignore=other), scene, coding)
        assert (codes == 1).sum() == 180
        with pytest.raises(LabelError, match=r"outside the scene|holds no polygon"):
            read_all(LabelFiles(other), scene, coding)


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    scene = scene_at(tmp_path)
    coding = plain_coding(LEGEND, False)
    path = polygons(tmp_path / "l.geojson", [at(scene, (1, 1), (9, 1), (9, 9))], ["a"], None)
    with pytest.raises(LabelError, match="has no column 'class'; it has kind"):
        read_all(LabelFiles(path, "class"), scene, coding)
    with pytest.raises(LabelError, match=r"x 500000\.5, y 5399999\.5 has no place in the CRS of"):
        read_all(LabelFiles(path, "kind"), scene, coding_for({"a": ("water",)}, LEGEND))
    corners = np.array([(0, 0), (9, 0), (9, 9), (0, 9)], "<f8")  # and not back to the first
    unclosed = b"\x01" + np.array([3, 1, 4], "<u4").tobytes() + corners.tobytes()
    pyogrio.raw.write(
        str(tmp_path / "open.gpkg"), np.array([unclosed], object), [], [],
        geometry_type="Polygon", crs="EPSG:32633",
    )  # fmt: skip
    with pytest.raises(LabelError, match=r"open\.gpkg, layer 'open': holds a broken geometry"):
        read_all(LabelFiles(tmp_path / "open.gpkg"), scene, coding)
    (tmp_path / "no.geojson").write_text("{")
    with pytest.raises(LabelError, match="cannot be read as polygons"):
        read_all(LabelFiles(tmp_path / "no.geojson"), scene, coding)
    far = write_scene(tmp_path / "far.tif", noise(9, 9, 1), transform=Affine(1, 0, 0, 0, -1, 0))
    with pytest.raises(LabelError, match="outside the scene"):
        read_all(LabelFiles(far), scene, coding)
    nowhere = write_scene(tmp_path / "n.tif", noise(9, 9, 1), crs=None, transform=Affine.identity())
    with pytest.raises(LabelError, match="has no CRS to place it by"):
        read_all(LabelFiles(nowhere), scene, coding)
    real = write_scene(tmp_path / "f.tif", noise(HEIGHT, WIDTH, 1).astype(np.float32))
    with pytest.raises(LabelError, match="must be integers"):
        read_all(LabelFiles(real), scene, coding)


@pytest.mark.parametrize("which", ["labels", "scene"])
def test_rasters_that_one_cannot_place_fit_by_size_or_transform(tmp_path: Path, which: str) -> None:
    values = noise(HEIGHT, WIDTH, 1) % 3
    coding = plain_coding(LEGEND, False)
    for number, transform in enumerate((Affine.identity(), NORTH_UP)):
        bare = {"crs": None, "transform": transform}
        path = tmp_path / f"{number}.tif"
        write_scene(path, noise(HEIGHT, WIDTH), **(bare if which == "scene" else {}))
        mask = tmp_path / f"{number}_mask.tif"
        write_scene(mask, values, **(bare if which == "labels" else {}))
        np.testing.assert_array_equal(read_all(LabelFiles(mask), describe(path), coding), values[0])
