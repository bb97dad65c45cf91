"""An exact check of large coverages: shapely's compares a polygon's thousand holes pair by pair."""

import numpy as np
import shapely

from geounet.vector.polygons import Polygons


def check_planar(polygons: Polygons) -> None:
    """Every segment has a twin that runs the other way, or lies on the edge of the data, in steps
    of pixels; no two meet but in a common end; the areas add up to the pixels. So there is no gap,
    no overlap, and no ring that crosses or touches itself along a line.
    """
    points, scale = polygons.points, polygons.scale
    begins = np.ones(len(points), bool)
    begins[polygons.ring_offsets[1:] - 1] = False
    at = np.flatnonzero(begins)
    places = points[:, 0].astype(np.int64) << 32 | points[:, 1]
    distinct, numbers = np.unique(places, return_inverse=True)
    ahead = numbers[at] * len(distinct) + numbers[at + 1]
    back = numbers[at + 1] * len(distinct) + numbers[at]
    assert len(np.unique(ahead)) == len(ahead), "two polygons on the same side of a segment"
    alone = ~np.isin(ahead, back)
    one, other = points[at], points[at + 1]
    assert (one[alone] % scale == 0).all(), "a border of data has moved"
    assert ((one[alone] == other[alone]).any(axis=1)).all(), "a border of data is oblique"
    once = alone | (numbers[at] < numbers[at + 1])
    ends = np.stack([one[once], other[once]], axis=1).astype(float)
    assert crossings(ends) == 0
    x, y = points[at].astype(np.int64).T
    next_x, next_y = points[at + 1].astype(np.int64).T
    assert (x * next_y - next_x * y).sum() == 2 * scale**2 * polygons.pixels.sum()


def crossings(ends: np.ndarray, part: int = 50_000) -> int:
    """How many pairs of segments (n, 2, 2) meet anywhere but in one common end."""
    lines = shapely.linestrings(ends)
    tree = shapely.STRtree(lines)
    count = 0
    for first in range(0, len(lines), part):
        one, other = tree.query(lines[first : first + part])
        one += first
        one, other = one[one < other], other[one < other]
        common = shapely.intersection(lines[one], lines[other])
        met = ~shapely.is_empty(common)
        one, other, common = one[met], other[met], common[met]
        point = shapely.get_type_id(common) == shapely.GeometryType.POINT
        place = shapely.get_coordinates(common[point])[:, None]
        shared = [(ends[side[point]] == place).all(axis=2).any(axis=1) for side in (one, other)]
        count += int((~point).sum() + (~(shared[0] & shared[1])).sum())
    return count
