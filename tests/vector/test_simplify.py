"""Simplification: a valid coverage with the topology of the exact one, within the tolerance."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geounet.errors import ConfigError
from geounet.vector.outline import Cleaner
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons
from geounet.vector.sieve import sieve
from geounet.vector.simplify import simplify
from tests.vector.masks import masks, outlines, same


def neighbours(geometries: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of polygons that share a border or a corner."""
    one, other = shapely.STRtree(geometries).query(geometries, predicate="intersects")
    return set(zip(one.tolist(), other.tolist(), strict=True))


def check(exact: Polygons, simple: Polygons, tolerance: float) -> None:
    before, after = exact.to_shapely(), simple.to_shapely()
    assert shapely.is_valid(after).all()
    assert len(after) == 0 or shapely.coverage_is_valid(after)
    assert (shapely.area(after) > 0).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(after)).all()
    np.testing.assert_array_equal(
        shapely.get_num_interior_rings(before), shapely.get_num_interior_rings(after)
    )
    assert neighbours(before) == neighbours(after)
    distance = shapely.hausdorff_distance(shapely.boundary(before), shapely.boundary(after))
    assert (distance <= tolerance + 1e-9).all()
    first = simple.points[simple.ring_offsets[:-1]]
    np.testing.assert_array_equal(first, simple.points[simple.ring_offsets[1:] - 1])


@settings(max_examples=150, deadline=None)
@given(masks(), st.sampled_from([0.5, 1.0, 2.0, 5.0, 50.0]), st.sampled_from([0, 4]))
def test_topology_is_kept_at_any_tolerance(mask: np.ndarray, tolerance: float, least: int) -> None:
    exact = sieve(outlines(mask), dict.fromkeys(range(5), least))
    simple = simplify(exact, tolerance)
    check(exact, simple, tolerance)
    same(simple, simplify(exact, tolerance, threads=3))


def test_staircases_become_lines() -> None:
    rows, cols = np.indices((80, 120))
    mask = (cols > 20 + rows * 0.7).astype(np.uint8)
    simple = simplify(outlines(mask), 1.5)
    assert len(simple.points) <= 12  # two quadrangles; the border ends off the ideal line
    disc = (np.hypot(*(np.indices((101, 101)) - 50)) < 40).astype(np.uint8)
    simple = simplify(outlines(disc), 1.0)
    assert 20 < len(simple.points) < 60
    areas = shapely.area(simple.to_shapely())
    assert abs(areas / simple.pixels - 1).max() < 0.02


def test_straight_corners_stay() -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[10:30, 15:45] = 1
    exact = outlines(mask)
    same(simplify(exact, 3.0), exact)


def test_zero_tolerance_keeps_the_outline() -> None:
    exact = outlines(np.random.default_rng(0).integers(0, 3, (9, 9)).astype(np.uint8))
    assert simplify(exact, 0.0) is exact
    assert len(simplify(Polygons.empty(), 1.0)) == 0


def test_larger_scene() -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((401, 357)), 4)
    mask = (smooth * 40 % 3).astype(np.uint8)
    exact = sieve(outlines(mask), dict.fromkeys(range(3), 40))
    simple = simplify(exact, 2.0)
    check(exact, simple, 2.0)
    assert len(simple.points) < len(exact.points) / 4


@pytest.mark.parametrize("step", [1, 7, 64])
def test_cleaner_streams(step: int) -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal((90, 77)), 2)
    mask = (smooth * 20 % 3).astype(np.uint8)
    mask[:, :3] = 255
    at_once = Cleaner({0: 9, 1: 30}, 1.5)
    at_once.push(outlines(mask))
    expected = at_once.finish()
    assert len(expected) == len(sieve(outlines(mask), {0: 9, 1: 30}))
    polygonizer, cleaner = Polygonizer(77), Cleaner({0: 9, 1: 30}, 1.5)
    batches = [cleaner.push(polygonizer.push(mask[row : row + step])) for row in range(0, 90, step)]
    batches += [cleaner.push(polygonizer.finish()), cleaner.finish()]
    same(Polygons.concat(batches), expected)


@settings(max_examples=60)
@given(masks(), st.sampled_from([1.0, 2.0, 5.0]))
def test_what_is_covered_is_exactly_what_has_data(mask: np.ndarray, tolerance: float) -> None:
    """The mask's edge and the border of nodata are facts; only borders of classes move."""
    cleaner = Cleaner({0: 4.0}, tolerance, squared=[1], smoothed=[2])
    cleaner.push(outlines(mask))
    clean = cleaner.finish().to_shapely()
    covered, known = shapely.union_all(clean), shapely.union_all(outlines(mask).to_shapely())
    assert shapely.symmetric_difference(covered, known).area <= 1e-9
    assert shapely.area(clean).sum() == pytest.approx((mask != 255).sum(), abs=1e-9)


def test_cleaner_without_work_passes_polygons_on() -> None:
    exact = outlines(np.eye(4, dtype=np.uint8))
    cleaner = Cleaner({}, 0.0)
    assert cleaner.push(exact) is exact
    assert len(cleaner.finish()) == 0


def test_errors_carry_the_value() -> None:
    with pytest.raises(ConfigError, match="-1"):
        Cleaner({}, -1.0)
    with pytest.raises(ConfigError, match="300"):
        Cleaner({300: 1.0}, 1.0)
