"""Fill small holes with the class around them."""

import numpy as np
from numpy.typing import NDArray

from geounet.vector.arcs import OWNER, RING, TWIN, Halves
from geounet.vector.compiled import kernel
from geounet.vector.polygons import Polygons
from geounet.vector.sieve import united
from geounet.vector.trace import Ints, Longs


def fill_holes(polygons: Polygons, min_pixels: float) -> Polygons:
    """Fill the holes that are smaller than ``min_pixels``, with all that lies in them.

    A hole with nodata in it stays. The smallest hole is filled first, so that of two that lie in
    each other the outer one decides.
    """
    if not min_pixels > 0:
        return polygons
    x, y = polygons.points[:, 0].astype(np.int64), polygons.points[:, 1]
    # area of the trapezoids under the edges; the edge from a ring to the next counts for nothing
    steps = np.zeros(len(x), np.int64)
    steps[:-1] = (x[1:] + x[:-1]) * np.diff(y)
    steps[polygons.ring_offsets[1:] - 1] = 0
    area = np.add.reduceat(steps, polygons.ring_offsets[:-1]) // 2 if len(x) else steps
    small = np.flatnonzero((area < 0) & (-area < min_pixels))
    if not len(small):
        return polygons
    halves = Halves.of(polygons)
    order = small[np.argsort(-area[small], kind="stable")]
    first = np.searchsorted(halves.table[:, RING], np.append(order, len(area)))
    classes = fill(polygons.class_id, order, first, halves.table, halves.offsets)
    return united(polygons, halves, classes)


@kernel
def fill(
    class_id: NDArray[np.uint8], rings: Longs, first: Longs, table: Ints, offsets: Longs
) -> NDArray[np.uint8]:
    """Classes once the holes ``rings`` are filled, one after the other; ``first`` is the first half
    of each.
    """
    classes = class_id.copy()
    seen = np.full(class_id.size, -1, np.int64)
    found = np.empty(class_id.size, np.int32)
    for k in range(rings.size):
        outer = table[first[k], OWNER]
        seen[outer] = k
        begin, end = first[k], first[k]  # the hole's own halves first
        while end < table.shape[0] and table[end, RING] == rings[k]:
            end += 1
        count = done = 0
        nodata = False
        while not nodata:  # then those of all that can be reached inside
            for half in range(begin, end):
                twin = table[half, TWIN]
                nodata |= twin < 0
                if twin >= 0 and seen[table[twin, OWNER]] != k:
                    seen[table[twin, OWNER]] = k
                    found[count] = table[twin, OWNER]
                    count += 1
            if done == count:
                break
            begin, end = offsets[found[done]], offsets[found[done] + 1]
            done += 1
        if not nodata:
            for m in range(count):
                classes[found[m]] = classes[outer]
    return classes
