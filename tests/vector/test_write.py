"""Each format is written, opened again with other people's readers, and compared exactly."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS
from shapely.geometry import shape

from geounet.errors import OutputError
from geounet.georef import Georef
from geounet.legend import LandClass, Legend
from geounet.vector import formats as formats_module
from geounet.vector.measure import measure, orientation, rectangularity
from geounet.vector.spool import PolygonBatch, PolygonSpool
from geounet.vector.wkb import as_binary, bounds_of, encode
from geounet.vector.write import check_formats, output_paths, write_polygons

LEGEND = Legend(
    (LandClass(0, "land", (240, 230, 140)), LandClass(3, "building", (255, 0, 16)),
     LandClass(7, "water", (0, 92, 230)))
)  # fmt: skip
UTM = Georef(CRS("EPSG:32633").to_wkt(), (0.3, 0, 5e5, 0, -0.3, 5e6), "plane", 1.0, 0.3)
PIXELS = Georef(None, (1, 0, 0, 0, -1, 0), "pixels")
ALL = ["gpkg", "fgb", "parquet", "shp", "geojson"]


def polygons(count, georef=UTM):
    """Staircase-cornered rectangles, every third with a hole, odd ones clockwise."""
    result = []
    for k in range(count):
        col, row = 10 * (k % 40), 10 * (k // 40)
        hole = [shapely.box(col + 2, row + 2, col + 4, row + 3).exterior.coords] * (k % 3 == 0)
        polygon = shapely.Polygon(shapely.box(col, row, col + 7, row + 5).exterior.coords, hole)
        placed = shapely.transform(polygon, georef.to_crs)
        result.append(shapely.reverse(placed) if k % 2 else placed)
    return np.array(result)


def fill(spool, geometries, class_id, size=7):
    area, perimeter = measure(geometries, spool.georef)
    confidence = np.linspace(0.25, 1, len(geometries))
    angle, filled = orientation(geometries), rectangularity(geometries)
    wkb = encode(geometries)
    for start in range(0, len(geometries), size):
        own = slice(start, start + size)
        spool.append(
            PolygonBatch(class_id[own], wkb[own], area[own], perimeter[own], confidence[own],
                         angle[own], filled[own])
        )  # fmt: skip


@pytest.fixture
def spool(tmp_path):
    (tmp_path / "spool").mkdir()
    with PolygonSpool(tmp_path / "spool", LEGEND, UTM, shape=["building"]) as spool:
        fill(spool, polygons(50), np.where(np.arange(50) % 5 == 0, 3, 7))
        yield spool
    assert list((tmp_path / "spool").iterdir()) == []


def read(folder, extension, name):
    if extension == "gpkg":
        return gpd.read_file(folder / "scene.gpkg", layer=name)
    path = folder / f"scene_{name}.{extension}"
    return gpd.read_parquet(path) if extension == "parquet" else gpd.read_file(path)


LONG = ["class_id", "class_name", "area_m2", "perimeter_m", "confidence"]
SHORT = ["class_id", "class_name", "area_m2", "perim_m", "confidence"]


@pytest.mark.parametrize("extension", ["gpkg", "fgb", "parquet", "shp"])
def test_round_trip(spool, tmp_path, extension):
    out = tmp_path / "out"
    written = write_polygons(spool, out, "scene", [extension])
    assert written.paths == output_paths(out, "scene", LEGEND, [extension])
    assert written.notices == ()
    everything = polygons(50)
    for name, picked in (("building", everything[::5]),
                         ("water", everything[np.arange(50) % 5 > 0])):  # fmt: skip
        frame = read(out, extension, name)
        assert frame.crs == CRS("EPSG:32633")
        shapes = (
            ["orientation", "rectangularity"]
            if extension != "shp"
            else ["orient_deg", "rect_ratio"]
        )
        columns = (SHORT if extension == "shp" else LONG) + shapes * (name == "building")
        assert [c for c in frame.columns if c not in ("geometry", "bbox")] == columns
        assert (frame["class_id"] == LEGEND[name].id).all()
        assert frame["class_id"].dtype == np.int32
        assert (frame["class_name"] == name).all()
        if extension == "fgb":  # sorted along a Hilbert curve
            frame = frame.sort_values("confidence", ignore_index=True)
        found = frame.geometry.to_numpy()
        turned = shapely.orient_polygons(picked, exterior_cw=extension == "shp")
        assert (
            shapely.to_wkb(shapely.normalize(found)).tolist()
            == shapely.to_wkb(shapely.normalize(turned)).tolist()
        ), "coordinates changed"
        assert shapely.is_ccw(shapely.get_exterior_ring(found)).all() == (extension != "shp")
        area, perimeter = measure(picked, UTM)
        exact = {"rel": 1e-12}
        assert frame["area_m2"].to_numpy() == pytest.approx(area, **exact)
        assert frame[columns[3]].to_numpy() == pytest.approx(perimeter, **exact)
        assert frame["confidence"].dtype == np.float64
        assert frame["confidence"].between(0.25, 1).all()


@pytest.mark.parametrize("extension", ["gpkg", "fgb", "parquet", "shp", "geojson"])
def test_class_without_polygons(spool, tmp_path, extension):
    write_polygons(spool, tmp_path, "scene", [extension])
    empty = read(tmp_path, extension, "land")
    assert len(empty) == 0
    if extension == "geojson":  # knows no columns without features
        assert json.loads((tmp_path / "scene_land.geojson").read_text())["features"] == []
        return
    assert empty.crs == CRS("EPSG:32633")
    names = SHORT if extension == "shp" else LONG
    assert [c for c in empty.columns if c not in ("geometry", "bbox")] == names


@pytest.mark.parametrize("extension", ALL)
def test_scene_without_crs_counts_pixels(tmp_path, extension):
    everything = polygons(9, PIXELS)
    with PolygonSpool(tmp_path, LEGEND, PIXELS, confidence=False) as spool:
        fill(spool, everything, np.full(9, 3))
        written = write_polygons(spool, tmp_path, "scene", [extension])
    assert len(written.notices) == (extension == "geojson")
    frame = read(tmp_path, extension, "building")
    if extension != "geojson":  # readers assume EPSG:4326, whatever stands there
        assert frame.crs is None
    long = "perim_px" if extension == "shp" else "perimeter_px"
    assert [c for c in frame.columns if c not in ("geometry", "bbox")] == [
        "class_id", "class_name", "area_px", long
    ]  # fmt: skip
    assert sorted(frame["area_px"]) == sorted([33.0] * 3 + [35.0] * 6)
    assert frame.total_bounds.tolist() == [0, -5, 87, 0]


def test_geopackage(spool, tmp_path):
    (path,) = write_polygons(spool, tmp_path, "scene", ["gpkg"]).paths
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.gpkg", "spool"]
    layers = {str(name) for name, kind in pyogrio.list_layers(path) if kind is not None}
    assert layers == set(LEGEND.names)
    with closing(sqlite3.connect(path)) as database:
        for name in LEGEND.names:
            (indexed,) = database.execute(f"SELECT count(*) FROM rtree_{name}_geom").fetchone()
            assert indexed == spool.count(name)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    near = gpd.read_file(path, layer="water", bbox=(5e5 + 3, 5e6 - 1, 5e5 + 4, 5e6))
    assert len(near) == 1


def test_shapefile_parts(spool, tmp_path):
    write_polygons(spool, tmp_path, "scene", ["shp"], styles=False)
    names = sorted(p.name for p in tmp_path.glob("scene_water*"))
    assert names == [f"scene_water.{end}" for end in ("cpg", "dbf", "prj", "shp", "shx")]
    assert (tmp_path / "scene_water.cpg").read_text().strip() == "UTF-8"
    info = pyogrio.read_info(tmp_path / "scene_building.shp")
    assert all(len(name) <= 10 for name in info["fields"])
    # The size that the limit is checked against is the size there is.
    size = 100 + spool.wkb_bytes("water") + 43 * spool.count("water")
    assert (tmp_path / "scene_water.shp").stat().st_size == size


def test_shapefile_beyond_its_limit(spool, tmp_path, monkeypatch):
    monkeypatch.setattr(formats_module, "SHP_LIMIT", 4000)
    with pytest.raises(OutputError, match="Shapefile holds 2; write gpkg, fgb or parquet instead"):
        write_polygons(spool, tmp_path / "out", "scene", ["gpkg", "shp"])
    assert list((tmp_path / "out").iterdir()) == []


def test_geoparquet_metadata(spool, tmp_path):
    write_polygons(spool, tmp_path, "scene", ["parquet"])
    file = pq.ParquetFile(tmp_path / "scene_water.parquet")
    document = json.loads(file.schema_arrow.metadata[b"geo"])
    column = document["columns"]["geometry"]
    assert document["version"] == "1.1.0"
    assert document["primary_column"] == "geometry"
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon"]
    assert column["orientation"] == "counterclockwise"
    assert CRS.from_json_dict(column["crs"]) == CRS("EPSG:32633")
    assert column["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    group = file.metadata.row_group(0)
    assert {group.column(k).compression for k in range(group.num_columns)} == {"ZSTD"}
    frame = gpd.read_parquet(tmp_path / "scene_water.parquet")
    boxes = pq.read_table(tmp_path / "scene_water.parquet").column("bbox").to_pylist()
    assert [tuple(box.values()) for box in boxes] == [g.bounds for g in frame.geometry]
    west = gpd.read_parquet(tmp_path / "scene_water.parquet", bbox=(5e5, 5e6 - 99, 5e5 + 9, 5e6))
    assert 0 < len(west) < len(frame)


def test_geojson_is_rfc_7946(spool, tmp_path):
    written = write_polygons(spool, tmp_path, "scene", ["geojson"])
    assert written.notices == (
        "GeoJSON: coordinates are in EPSG:4326 (longitude, latitude), as RFC 7946 asks.",
    )
    document = json.loads((tmp_path / "scene_water.geojson").read_text())
    assert "crs" not in document
    assert len(document["features"]) == 40
    expected = gpd.GeoSeries(polygons(50)[np.arange(50) % 5 > 0], crs=32633).to_crs(4326)
    for feature, want in zip(document["features"], expected, strict=True):
        geometry = shape(feature["geometry"])
        assert geometry.exterior.is_ccw
        assert not any(ring.is_ccw for ring in geometry.interiors)
        assert shapely.hausdorff_distance(geometry, want) < 1e-7
        points = shapely.get_coordinates(geometry)
        assert (points == points.round(7)).all()
        assert feature["properties"]["class_name"] == "water"


def test_target_crs(spool, tmp_path):
    written = write_polygons(spool, tmp_path, "scene", ["gpkg", "parquet"], dst_crs="EPSG:3035")
    want = gpd.GeoSeries(polygons(50)[::5], crs=32633).to_crs(3035)
    for path in (written.paths[0], tmp_path / "scene_building.parquet"):
        frame = (
            gpd.read_file(path, layer="building")
            if path.suffix == ".gpkg"
            else gpd.read_parquet(path)
        )
        assert frame.crs == CRS("EPSG:3035")
        assert (
            frame.geometry.geom_equals_exact(want, 1e-6).all()
            or frame.geometry.geom_equals(want).all()
        )
        assert frame["area_m2"].to_numpy() == pytest.approx(measure(polygons(50)[::5], UTM)[0])


def test_target_crs_needs_a_crs(tmp_path):
    with (
        PolygonSpool(tmp_path, LEGEND, PIXELS) as spool,
        pytest.raises(OutputError, match="no CRS"),
    ):
        write_polygons(spool, tmp_path, "scene", ["gpkg"], dst_crs="EPSG:3035")


def test_paths_are_known_beforehand(spool, tmp_path):
    paths = output_paths(tmp_path, "a.b", LEGEND, ALL)
    assert paths[0] == tmp_path / "a.b.gpkg"
    assert len(paths) == len(set(paths)) == 1 + 4 * 3
    assert write_polygons(spool, tmp_path, "a.b", ALL).paths == paths
    assert all(path.is_file() for path in paths)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    for name in LEGEND.names:
        assert (tmp_path / f"a.b_{name}.qml").is_file()
        assert (tmp_path / f"a.b_{name}.sld").is_file()


def test_formats():
    assert check_formats(["shp", "GPKG", "shp"]) == ("shp", "gpkg")
    with pytest.raises(OutputError, match="unknown format 'kml'; choose from gpkg, fgb"):
        check_formats(["gpkg", "kml"])


def test_replacing_removes_what_would_not_fit(spool, tmp_path):
    write_polygons(spool, tmp_path, "scene", ALL)
    for name in ("scene_water.qix", "scene_water.sbn", "scene.gpkg-wal", "scene_water.note"):
        (tmp_path / name).write_bytes(b"old")
    with PolygonSpool(tmp_path / "spool", LEGEND, PIXELS) as other:
        fill(other, polygons(3, PIXELS), np.full(3, 7))
        write_polygons(other, tmp_path, "scene", ALL)
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"scene_water.qix", "scene_water.sbn", "scene.gpkg-wal", "scene_water.prj"}
    assert "scene_water.note" in names
    for extension in ALL:
        assert len(read(tmp_path, extension, "water")) == 3


def test_mixed_classes_keep_their_order(spool):
    batches = list(spool.batches("building"))
    found = shapely.from_wkb(
        np.concatenate([b.column("geometry").to_numpy(False) for b in batches])
    )
    assert shapely.equals(found, polygons(50)[::5]).all()
    assert list(spool.batches("land")) == []
    assert [b.num_rows for b in spool.batches("building")] == [b.num_rows for b in batches]


def test_binary_of_any_form_is_one():
    values = [b"one", b"", b"three", b"four"]
    wanted = pa.array(values, pa.binary())
    for given in (wanted, pa.array(values, pa.large_binary()), np.array(values, object)):
        assert as_binary(given).equals(wanted)
        assert as_binary(given[1:3]).equals(wanted[1:3])
    where, untouched = np.array([0, 2**31], np.int64), np.zeros(2**31, np.uint8)
    buffers = [None, pa.py_buffer(where), pa.py_buffer(untouched)]
    giant = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, buffers)
    with pytest.raises(ValueError, match="2147483648 bytes"):
        as_binary(giant)


def test_bounds_are_read_in_place():
    rng = np.random.default_rng(0)
    rings = [rng.uniform(-9e6, 9e6, (rng.integers(3, 9), 2)) for _ in range(300)]
    shapes = [shapely.Polygon(ring, [ring[:3] * 0.5] * (len(ring) % 4)) for ring in rings]
    wkb = pa.array(shapely.to_wkb(np.array(shapes), byte_order=1), pa.binary())
    assert (bounds_of(wkb) == shapely.bounds(np.array(shapes))).all()
    assert (bounds_of(wkb[37:201]) == shapely.bounds(np.array(shapes[37:201]))).all()
    assert bounds_of(wkb[:0]).shape == (0, 4)


def test_unknown_class_and_missing_attribute(tmp_path):
    wkb = encode(polygons(1))
    one = np.ones(1)
    with PolygonSpool(tmp_path, LEGEND, UTM) as spool:
        with pytest.raises(ValueError, match="class id 9"):
            spool.append(PolygonBatch(np.array([9]), wkb, one, one, one))
        with pytest.raises(ValueError, match="no confidence"):
            spool.append(PolygonBatch(np.array([3]), wkb, one, one))


def test_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another output folder"):
        PolygonSpool(tmp_path / "file", LEGEND, UTM)
    with (
        PolygonSpool(tmp_path, LEGEND, UTM) as spool,
        pytest.raises(OutputError, match="file: cannot be written"),
    ):
        write_polygons(spool, Path(tmp_path / "file"), "scene", ["gpkg"])
