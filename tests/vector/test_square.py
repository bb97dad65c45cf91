"""Squared outlines against known truth: shapes are drawn as masks, outlined, squared, compared."""

import numpy as np
import pytest
import shapely
from rasterio.features import rasterize, shapes
from rasterio.transform import Affine
from scipy import ndimage
from shapely.affinity import rotate, translate

from geounet.vector.axes import find_axes
from geounet.vector.square import square, square_rings

TOLERANCE = 2.5


def outline(truth, rng, *, noisy=False):
    """A turned and shifted copy of a shape and the raw outline of its mask, in pixels."""
    truth = rotate(truth, rng.uniform(0, 180), origin=(0, 0))
    west, south, east, north = truth.bounds
    truth = translate(truth, 12 - west + rng.uniform(), 12 - south + rng.uniform())
    size = (int(north - south) + 26, int(east - west) + 26)
    mask = rasterize([(truth, 1)], out_shape=size, transform=Affine.identity(), dtype="uint8")
    if noisy:  # as a network would: corners rounded, edges wobbling
        wobble = ndimage.gaussian_filter(rng.standard_normal(size), 2.5)
        soft = ndimage.gaussian_filter(mask.astype(float), 1.5) + 0.12 * wobble / wobble.std()
        near = ndimage.binary_dilation(mask, np.ones((5, 5)))
        mask = ((soft > 0.5) & near).astype(np.uint8)
    found = [shapely.geometry.shape(s) for s, _ in shapes(mask, mask=mask == 1, connectivity=4)]
    raw = max(found, key=lambda polygon: polygon.area)
    holes = [hole for hole in raw.interiors if shapely.Polygon(hole).area > 12]
    return truth, shapely.Polygon(raw.exterior, holes)


def compare(truth, count=20, seed=1, noisy=False):
    """Mean IoU of squared and of raw outlines, share of right vertex counts, mean distance."""
    rng = np.random.default_rng(seed)
    pairs = [outline(truth, rng, noisy=noisy) for _ in range(count)]
    truths, raws = (np.array(column) for column in zip(*pairs, strict=True))
    squared, done = square(raws, TOLERANCE)
    assert done.all()
    assert shapely.is_valid(squared).all()
    same = [corners(polygon) == corners(truth) for polygon in squared]
    distance = shapely.hausdorff_distance(
        shapely.boundary(truths), shapely.boundary(squared), densify=0.2
    )
    return iou(truths, squared).mean(), iou(truths, raws).mean(), np.mean(same), distance.mean()


def iou(a, b):
    return shapely.area(shapely.intersection(a, b)) / shapely.area(shapely.union(a, b))


def corners(polygon):
    return tuple(len(ring.coords) - 1 for ring in (polygon.exterior, *polygon.interiors))


def disc(radius):
    return shapely.Point(0, 0).buffer(radius, quad_segs=64)


RIGHT_ANGLED = {
    "rectangle": shapely.box(-20, -12, 20, 12),
    "ell": shapely.Polygon([(-25, -18), (25, -18), (25, 0), (0, 0), (0, 18), (-25, 18)]),
    "plus": shapely.union(shapely.box(-25, -8, 25, 8), shapely.box(-8, -25, 8, 25)),
    "court": shapely.difference(shapely.box(-30, -25, 30, 25), shapely.box(-14, -10, 14, 10)),
}
OBLIQUE = {
    "oblique end": shapely.Polygon([(-25, -12), (15, -12), (25, 12), (-25, 12)]),
    "chamfer": shapely.Polygon([(-25, -15), (25, -15), (25, 5), (15, 15), (-25, 15)]),
    "trapezoid": shapely.Polygon([(-25, -14), (25, -9), (25, 9), (-25, 14)]),
    "hexagon": shapely.Polygon(
        [(22 * np.cos(a), 22 * np.sin(a)) for a in np.arange(6) * np.pi / 3]
    ),
    "triangle": shapely.Polygon([(-22, -15), (24, -15), (0, 25)]),
}


@pytest.mark.parametrize("name", RIGHT_ANGLED)
def test_right_angles(name):
    clean, raw, same, distance = compare(RIGHT_ANGLED[name])
    assert clean >= 0.990 > raw
    assert same == 1
    assert distance < 0.2
    noisy, raw, same, distance = compare(RIGHT_ANGLED[name], noisy=True)
    assert noisy > raw + 0.015
    assert same >= 0.9
    assert distance < 1.2


@pytest.mark.parametrize("name", OBLIQUE)
def test_oblique_walls_stay(name):
    clean, raw, same, _ = compare(OBLIQUE[name])
    assert clean >= 0.990 > raw
    assert same == 1
    noisy, raw, same, _ = compare(OBLIQUE[name], noisy=True)
    assert noisy > raw + 0.01
    assert same >= 0.8


def test_corners_are_exactly_right():
    rng = np.random.default_rng(2)
    _, raw = outline(RIGHT_ANGLED["plus"], rng, noisy=True)
    (squared,), _ = square(np.array([raw]), TOLERANCE)
    edges = np.diff(shapely.get_coordinates(squared), axis=0)
    turns = np.arctan2(*np.roll(edges, 1, axis=0)[:, ::-1].T) - np.arctan2(*edges[:, ::-1].T)
    assert np.abs(np.cos(turns)).max() < 1e-9


@pytest.mark.parametrize("radius", [6, 15, 40])
@pytest.mark.parametrize("noisy", [False, True])
def test_round_buildings_stay_round(radius, noisy):
    rng = np.random.default_rng(3)
    pairs = [outline(disc(radius), rng, noisy=noisy) for _ in range(10)]
    truths, raws = (np.array(column) for column in zip(*pairs, strict=True))
    squared, done = square(raws, TOLERANCE)
    assert done.all()
    assert iou(truths, squared).mean() > iou(truths, raws).mean()
    assert np.median(shapely.get_num_coordinates(squared)) >= 13
    if radius > 6:
        assert iou(truths, squared).mean() > (0.965 if noisy else 0.99)


def test_round_courtyard():
    shape = shapely.difference(shapely.box(-30, -25, 30, 25), disc(12))
    rng = np.random.default_rng(4)
    pairs = [outline(shape, rng) for _ in range(5)]
    truths, raws = (np.array(column) for column in zip(*pairs, strict=True))
    squared, _ = square(raws, TOLERANCE)
    assert iou(truths, squared).min() > 0.99
    assert all(len(polygon.exterior.coords) == 5 for polygon in squared)


def test_curved_wall_keeps_its_curve():
    angles = np.linspace(0, 1.4, 60)
    arc = np.column_stack([np.cos(angles), np.sin(angles)])
    row = shapely.Polygon(np.concatenate([90 * arc, 72 * arc[::-1]]))
    clean, raw, _, _ = compare(row, count=8)
    assert clean > raw


def test_wings_at_an_angle():
    wings = shapely.union(
        shapely.box(-45, -9, 2, 9), rotate(shapely.box(-2, -9, 45, 9), 32, origin=(0, 0))
    )
    clean, raw, _, _ = compare(wings)
    assert clean > 0.99 > raw


def test_staggered_row_houses():
    row = shapely.unary_union(
        [shapely.box(20 * k, 5 * (k % 3), 20 * (k + 1), 5 * (k % 3) + 24) for k in range(5)]
    )
    clean, raw, same, _ = compare(row)
    assert clean > 0.985 > raw
    assert same >= 0.8


def test_area_is_unbiased():
    rng = np.random.default_rng(5)
    for noisy in (False, True):
        pairs = [outline(RIGHT_ANGLED["ell"], rng, noisy=noisy) for _ in range(40)]
        raw = np.array([raw for _, raw in pairs])
        squared, _ = square(raw, TOLERANCE)
        assert abs(np.mean(shapely.area(squared) / shapely.area(raw)) - 1) < 0.012


@pytest.mark.parametrize("sides", [(5, 4), (9, 7), (40, 3), (1, 1), (1, 6)])
def test_small_and_thin(sides):
    box = shapely.box(0, 0, *sides)
    (squared,), (done,) = square(np.array([box]), TOLERANCE)
    assert shapely.is_valid(squared)
    assert iou(squared, box) == pytest.approx(1) or not done


def test_what_cannot_be_squared_comes_back():
    # A comb with teeth of one pixel has no walls at this tolerance.
    comb = shapely.unary_union(
        [shapely.box(0, 0, 40, 1), *(shapely.box(k, 0, k + 1, 6) for k in range(0, 40, 2))]
    )
    dot = shapely.box(0, 0, 1, 1)
    raw = np.array([comb, dot])
    squared, done = square(raw, TOLERANCE)
    assert shapely.is_valid(squared).all()
    assert all(a.equals(b) for a, b in zip(squared[~done], raw[~done], strict=True))
    empty, done = square(np.array([], dtype=object), TOLERANCE)
    assert len(empty) == len(done) == 0


def flat(polygons):
    """Points, ring offsets, polygon offsets."""
    _, points, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(polygons)
    return points, ring_offsets, polygon_offsets


def test_where_it_lies_and_turns_makes_no_difference():
    rng = np.random.default_rng(6)
    court, ell = (outline(RIGHT_ANGLED[name], rng, noisy=True)[1] for name in ("court", "ell"))
    points, rings, parts = flat(np.array([court, ell]))
    here, ends, done = square_rings(points, rings, parts, TOLERANCE)
    far, _, _ = square_rings(points + 200_000, rings, parts, TOLERANCE)
    assert done.all()
    assert np.allclose(here + 200_000, far, atol=1e-6)
    assert (np.diff(ends) == 5 + 2 * (np.arange(3) == 2)).all()
    assert (here[ends[:-1]] == here[ends[1:] - 1]).all()
    turned, turned_ends, _ = square_rings(
        *flat(np.array([shapely.reverse(court), shapely.reverse(ell)])), TOLERANCE
    )
    for ring in range(3):
        a = shapely.LinearRing(here[ends[ring] : ends[ring + 1]])
        b = shapely.LinearRing(turned[turned_ends[ring] : turned_ends[ring + 1]])
        assert shapely.hausdorff_distance(a, b) < 0.5
        assert a.is_ccw != b.is_ccw
        assert a.is_ccw == shapely.LinearRing(points[rings[ring] : rings[ring + 1]]).is_ccw


def test_slices_of_a_list_of_buildings():
    rng = np.random.default_rng(7)
    dot = shapely.box(3, 3, 4, 4)
    raws = [outline(RIGHT_ANGLED[name], rng)[1] for name in ("court", "ell", "court")]
    points, rings, parts = flat(np.array([raws[0], dot, *raws[1:]]))
    moved, ends, done = square_rings(points, rings, parts, TOLERANCE)
    assert done.tolist() == [True, False, True, True]
    assert (moved[ends[2] : ends[3]] == shapely.get_coordinates(dot)).all()
    own, own_ends, own_done = square_rings(points, rings, parts[1:4], TOLERANCE)
    assert own_done.tolist() == [False, True]
    assert (own == moved[ends[2] : ends[4]]).all()
    assert (own_ends == ends[2:5] - ends[2]).all()


def test_order_and_number_of_threads_make_no_difference():
    rng = np.random.default_rng(8)
    shape = list(RIGHT_ANGLED.values())
    raws = np.array([outline(shape[k % 4], rng, noisy=True)[1] for k in range(60)])
    many = np.tile(raws, 12)
    squared, done = square(many, TOLERANCE)
    alone, _ = square(raws, TOLERANCE)
    assert done.all()
    assert shapely.equals_identical(squared, np.tile(alone, 12)).all()


@pytest.mark.parametrize("smooth", [0, 0.7, 1.5, 4])
def test_any_shape_stays_valid_and_near(smooth):
    rng = np.random.default_rng(9)
    field = ndimage.gaussian_filter(rng.standard_normal((90, 101)), smooth)
    mask = (field > np.quantile(field, 0.6)).astype(np.uint8)
    found = shapes(mask, mask=mask == 1, connectivity=4)
    raws = np.array([shapely.geometry.shape(geometry) for geometry, _ in found])
    for tolerance in (0.6, 2.5, 6):
        squared, done = square(raws, tolerance)
        assert shapely.is_valid(squared).all()
        assert (
            shapely.get_num_interior_rings(squared) == shapely.get_num_interior_rings(raws)
        ).all()
        assert shapely.hausdorff_distance(squared, raws).max() < 4 * tolerance
        assert (raws == squared)[~done].all()


def test_find_axes():
    degrees = np.array([10, 100.5, 9.5, 42, 131.8, 70])
    axes = np.degrees(find_axes(np.radians(degrees), np.array([30.0, 20, 30, 25, 15, 3])))
    assert axes == pytest.approx([9.86, 99.86, 41.96, 131.96], abs=0.2)
