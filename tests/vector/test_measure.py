import numpy as np
import pytest
import shapely
from pyproj import CRS, Geod, Transformer

from geounet.georef import Georef
from geounet.vector import measure as measuring
from geounet.vector.measure import measure, measure_polygons, orientation, rectangularity
from tests.vector.masks import outlines


def georef(crs, transform, surface, unit=1.0):
    return Georef(crs and CRS(crs).to_wkt(), transform, surface, unit, None if crs is None else 0.3)


DONUT = shapely.Polygon(
    shapely.box(10, 20, 20, 26).exterior.coords, [shapely.box(12, 22, 14, 23).exterior.coords]
)


def test_plane_counts_metres():
    feet = georef("EPSG:2263", (1, 0, 0, 0, -1, 0), "plane", unit=1200 / 3937)
    area, perimeter = measure(np.array([DONUT, shapely.box(0, 0, 1, 2)]), feet)
    unit = 1200 / 3937
    assert area == pytest.approx([58 * unit**2, 2 * unit**2], rel=1e-15)
    assert perimeter == pytest.approx([38 * unit, 6 * unit], rel=1e-15)
    assert area.dtype == perimeter.dtype == np.float64


def test_pixels_undo_the_transform():
    # Pixels of 3 x 2 units, turned by 30 degrees and mirrored.
    turn, (wide, high) = np.radians(30), (3.0, 2.0)
    a, b = wide * np.cos(turn), high * np.sin(turn)
    d, e = wide * np.sin(turn), -high * np.cos(turn)
    where = georef(None, (a, b, 1000, d, e, 500), "pixels")
    pixels = shapely.box(5, 7, 9, 10)
    placed = shapely.transform(pixels, where.to_crs)
    area, perimeter = measure(np.array([placed]), where)
    assert area == pytest.approx([12], rel=1e-12)
    assert perimeter == pytest.approx([14], rel=1e-12)


def test_ellipsoid_equals_the_geodesic_oracle():
    rng = np.random.default_rng(1)
    centres = np.column_stack([rng.uniform(-179, 179, 40), rng.uniform(-80, 80, 40)])
    shapes = [shapely.transform(DONUT, lambda points, c=c: c + points * 1e-4) for c in centres]
    shapes[::2] = [shapely.reverse(shape) for shape in shapes[::2]]
    area, perimeter = measure(
        np.array(shapes), georef("EPSG:4326", (1, 0, 0, 0, -1, 0), "ellipsoid")
    )
    geod = Geod(ellps="WGS84")
    for shape, own_area, own_perimeter in zip(shapes, area, perimeter, strict=True):
        want_area, _ = geod.geometry_area_perimeter(shapely.orient_polygons(shape))
        want_perimeter = geod.geometry_length(shape.boundary)
        assert own_area == pytest.approx(want_area, rel=1e-9, abs=1e-4)
        assert own_perimeter == pytest.approx(want_perimeter, rel=1e-9)


def hexagons(metres):
    """Irregular hexagons all over the earth, and their centres."""
    rng = np.random.default_rng(2)
    geod = Geod(ellps="WGS84")
    for lon, lat in zip(rng.uniform(-180, 180, 60), rng.uniform(-89, 89, 60), strict=True):
        azimuth = np.sort(rng.uniform(0, 360, 6))[::-1]
        distance = rng.uniform(0.3, 0.6, 6) * metres
        x, y, _ = geod.fwd(np.full(6, lon), np.full(6, lat), azimuth, distance)
        yield shapely.Polygon(np.column_stack([x, y])), lon, lat


@pytest.mark.parametrize("metres", [30, 300, 3000, 30_000])
def test_edges_of_any_length_are_geodesics(metres):
    where = georef("EPSG:4326", (1, 0, 0, 0, -1, 0), "ellipsoid")
    for shape, _, _ in hexagons(metres):
        (area,), (perimeter,) = measure(np.array([shape]), where)
        ring = np.array(shape.exterior.coords)[:-1]
        want, around = Geod(ellps="WGS84").polygon_area_perimeter(*ring.T)
        # The oracle's areas are rounded to some 1e-5 m2.
        assert area == pytest.approx(abs(want), rel=1e-9, abs=1e-4)
        assert perimeter == pytest.approx(around, rel=2e-9, abs=1e-8)


@pytest.mark.parametrize(("metres", "exact"), [(3, 2e-7), (30, 1e-8)])
def test_small_areas_are_not_lost_in_rounding(metres, exact):
    where = georef("EPSG:4326", (1, 0, 0, 0, -1, 0), "ellipsoid")
    for shape, lon, lat in hexagons(metres):
        (area,), _ = measure(np.array([shape]), where)
        local = f"+proj=laea +lat_0={lat} +lon_0={lon} +ellps=WGS84"
        flat = Transformer.from_crs("EPSG:4326", local, always_xy=True)
        want = shapely.area(shapely.transform(shape, flat.transform, interleaved=False))
        assert area == pytest.approx(want, rel=exact)


def test_around_a_pole():
    cap = shapely.Polygon([(lon, 89.999) for lon in range(0, 360, 10)])
    area, _ = measure(np.array([cap]), georef("EPSG:4326", (1, 0, 0, 0, -1, 0), "ellipsoid"))
    assert area[0] == pytest.approx(np.pi * 111.7**2, rel=0.02)


def test_web_mercator_is_not_taken_at_its_word():
    square = shapely.box(1113194.9, 8399737.9, 1114194.9, 8400737.9)  # at 60 degrees north
    mercator = georef("EPSG:3857", (1, 0, 0, 0, -1, 0), "ellipsoid")
    area, perimeter = measure(np.array([square]), mercator)
    assert area[0] == pytest.approx(1e6 / 4, rel=0.01)
    assert perimeter[0] == pytest.approx(2000, rel=0.01)


def test_grads_and_other_meridians():
    paris = CRS("EPSG:4807")  # in grads, longitudes from Paris
    box = shapely.box(0.01, 54.0, 0.02, 54.01)
    area, _ = measure(np.array([box]), georef(paris, (1, 0, 0, 0, -1, 0), "ellipsoid"))
    degrees = shapely.transform(box, lambda points: points * 0.9)
    want, _ = paris.get_geod().geometry_area_perimeter(degrees)
    assert area[0] == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("surface", ["plane", "ellipsoid", "pixels"])
def test_no_polygons(surface):
    crs = {"plane": "EPSG:32633", "ellipsoid": "EPSG:4326", "pixels": None}[surface]
    area, perimeter = measure(np.array([], dtype=object), georef(crs, (1, 0, 0, 0, -1, 0), surface))
    assert area.shape == perimeter.shape == (0,)


@pytest.mark.parametrize("azimuth", [0.0, 0.5, 17.0, 89.9, 90.0, 91.0, 135.0, 179.5])
def test_orientation_is_the_longer_sides_azimuth(azimuth):
    east_west = shapely.box(0, 0, 20, 8)
    turned = shapely.affinity.rotate(east_west, 90 - azimuth)
    (found,) = orientation(np.array([turned]))
    assert 0 <= found < 180
    assert (found - azimuth + 90) % 180 == pytest.approx(90, abs=1e-6)
    assert rectangularity(np.array([turned])) == pytest.approx([1], abs=1e-9)


def test_rectangularity_of_other_shapes():
    ell = shapely.Polygon([(0, 0), (10, 0), (10, 5), (5, 5), (5, 10), (0, 10)])
    disc = shapely.Point(0, 0).buffer(10, quad_segs=64)
    found = rectangularity(np.array([ell, disc, DONUT]))
    assert found == pytest.approx([0.75, np.pi / 4, 58 / 60], abs=2e-3)


@pytest.mark.parametrize("portion", [1, 9, 2**20])
@pytest.mark.parametrize(
    ("crs", "surface"), [("EPSG:32633", "plane"), ("EPSG:4326", "ellipsoid"), (None, "pixels")]
)
def test_polygons_of_a_mask_are_measured_in_portions(monkeypatch, crs, surface, portion):
    monkeypatch.setattr(measuring, "PORTION", portion)
    where = georef(crs, (1e-4, 0, 12.0, 0, -2e-4, 48.0), surface)
    polygons = outlines(np.random.default_rng(4).integers(0, 3, (23, 31)).astype(np.uint8))
    area, perimeter = measure_polygons(polygons, where)
    expected = measure(polygons.to_shapely(where.transform), where)
    np.testing.assert_allclose(area, expected[0], rtol=1e-9)
    np.testing.assert_allclose(perimeter, expected[1], rtol=1e-9)
