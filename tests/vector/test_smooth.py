"""Smoothing: rounder outlines, the same coverage."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geounet.vector.arcs import Coverage
from geounet.vector.outline import Cleaner
from geounet.vector.refit import SCALE
from geounet.vector.simplify import simplify_borders
from geounet.vector.smooth import smooth_borders
from tests.vector.masks import masks, outlines


@settings(max_examples=80, deadline=None)
@given(masks(), st.sampled_from([0.0, 1.0, 3.0]))
def test_coverage_stays_valid(mask: np.ndarray, tolerance: float) -> None:
    exact = outlines(mask)
    cleaner = Cleaner({}, tolerance, smoothed=[0, 2])
    cleaner.push(exact)
    smooth = cleaner.finish()
    before, after = exact.to_shapely(), smooth.to_shapely()
    assert shapely.is_valid(after).all()
    assert len(after) == 0 or shapely.coverage_is_valid(after)
    assert shapely.is_ccw(shapely.get_exterior_ring(after)).all()
    np.testing.assert_array_equal(
        shapely.get_num_interior_rings(before), shapely.get_num_interior_rings(after)
    )


def sharpest_turn(ring: shapely.LinearRing) -> float:
    steps = np.diff(shapely.get_coordinates(ring), axis=0)
    angles = np.arctan2(steps[:, 1], steps[:, 0])
    turns = np.diff(np.append(angles, angles[0]))
    return float(abs((turns + np.pi) % (2 * np.pi) - np.pi).max())


def test_lake_gets_round_and_land_does_not() -> None:
    mask = np.zeros((120, 140), np.uint8)
    noise = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(mask.shape), 12)
    mask[noise > 0.02] = 2
    mask[60:90, 10:30] = 1
    coverage = simplify_borders(Coverage.of(outlines(mask), SCALE), 2.0)
    smooth = smooth_borders(coverage, [2]).polygons()
    plain = coverage.polygons()
    alone = (smooth.class_id == 2) & ~np.add.reduceat(
        plain.nodes, plain.ring_offsets[plain.polygon_offsets[:-1]]
    ).astype(bool)
    for before, after in zip(plain.to_shapely()[alone], smooth.to_shapely()[alone], strict=True):
        assert sharpest_turn(after.exterior) < 0.6 * sharpest_turn(before.exterior)
        assert abs(after.area / before.area - 1) < 0.1
    assert alone.any()


def test_nothing_chosen_nothing_changed() -> None:
    coverage = Coverage.of(outlines(np.eye(4, dtype=np.uint8)), SCALE)
    assert smooth_borders(coverage, [7]) is coverage
