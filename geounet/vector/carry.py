"""Regions that are still open where the rows seen so far end, carried from strip to strip.

Strategy. Points, pieces and regions of unfinished regions are appended to one pool and never moved
while it grows (the arrays are enlarged in place). At a seam, the piece that ends at a crack from
above is continued by the piece that begins there below, on the crack's other side the other way
round; the regions of the two are united. Once a quarter of the points or pieces belongs to finished
regions, the rest slides together in order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geounet.vector.compiled import inner, kernel
from geounet.vector.regions import ENDS, HEAD, PARENT, TAIL, root_of, unite
from geounet.vector.trace import LENGTH, NEXT, REGION, SIBLING, Ints, Longs


@dataclass
class Pool:
    """Pieces grouped by region; the arrays may be longer than what they hold."""

    points: Ints
    """(k, 2) packed x, y."""
    offsets: Longs
    """(pieces,) where each piece begins in ``points``, ascending."""
    pieces: Ints
    """(pieces, 5), columns as in ``trace``."""
    regions: Ints
    """(regions, 6), columns as in ``regions``."""
    amounts: Longs
    """(regions, 2) pixel count and sum of confidences, valid at roots."""


class Carry:
    """The pool of open regions, and the seam at which they go on."""

    def __init__(self) -> None:
        self.pool = Pool(
            np.empty((0, 2), np.int32),
            np.empty(0, np.int64),
            np.empty((0, 5), np.int32),
            np.empty((0, 6), np.int32),
            np.empty((0, 2), np.int64),
        )
        self.seam = np.empty((0, 2), np.int32)
        """Pieces of the pool that begin and end at each vertical crack of the last row."""
        self.counts = np.zeros(3, np.int64)
        """Points, pieces and regions in the pool."""
        self.dead = np.zeros(3, np.int64)
        """Points, pieces and regions among them that are finished."""

    def absorb(self, strip: Pool, rest: Longs, seams: Ints, n_top: int) -> Longs:
        """Take over a strip's unfinished regions and tie them to what is carried.

        Args:
            strip: the strip's pool.
            rest: int64 (k,) roots of its unfinished regions.
            seams: int32 (n_top + n_bottom, 2) as ``trace.walk`` returns it.
            n_top: vertical cracks at the cut above the strip.

        Returns:
            Roots of the regions that this finished, int64 (k,), in no order. Hand them to
            :meth:`tidy` once they have been turned into polygons.
        """
        own = self.pool
        need = self.counts + measure(rest, strip.regions, strip.pieces)
        own.points = _enlarged(own.points, need[0])
        own.offsets = _enlarged(own.offsets, need[1])
        own.pieces = _enlarged(own.pieces, need[1])
        own.regions = _enlarged(own.regions, need[2])
        own.amounts = _enlarged(own.amounts, need[2])
        into = (own.points, own.offsets, own.pieces, own.regions, own.amounts)
        source = (strip.points, strip.offsets, strip.pieces, strip.regions, strip.amounts)
        mapped = append(rest, *source, seams, *into, self.counts)
        self.counts = need
        finished: Longs = tie(self.seam, mapped, n_top, own.pieces, own.regions, own.amounts)
        self.seam = mapped[n_top:]
        return finished

    def tidy(self, finished: Longs) -> None:
        """Drop regions that have been turned into polygons."""
        own = self.pool
        self.dead += measure(finished, own.regions, own.pieces)
        if np.any(4 * self.dead[:2] > self.counts[:2] + 4096):
            pool = (own.points, own.offsets, own.pieces, own.regions, own.amounts)
            self.counts = slide(*pool, self.counts, self.seam)
            self.dead[:] = 0
            for array, size in (
                (own.points, self.counts[0]),
                (own.offsets, self.counts[1]),
                (own.pieces, self.counts[1]),
            ):
                array.resize((size, *array.shape[1:]), refcheck=False)


def _enlarged(array: Any, size: int) -> Any:
    """Make room for ``size`` rows; in place, because realloc moves large blocks without copying."""
    if len(array) < size:
        array.resize((size + size // 8, *array.shape[1:]), refcheck=False)
    return array


@kernel
def measure(roots: Longs, regions: Ints, pieces: Ints) -> Longs:
    """Points and pieces of these regions, and their number; int64 (3,)."""
    total = np.zeros(3, np.int64)
    total[2] = roots.size
    for k in range(roots.size):
        piece = regions[roots[k], HEAD]
        while piece >= 0:
            total[0] += pieces[piece, LENGTH]
            total[1] += 1
            piece = pieces[piece, SIBLING]
    return total


@inner
def _copy_row(
    source: NDArray[np.signedinteger],
    row: int | np.int64,
    target: NDArray[np.signedinteger],
    place: int | np.int64,
) -> None:
    # (a loop: array assignments take long to compile; callers give int64, for one version each)
    for k in range(source.shape[1]):
        target[place, k] = source[row, k]


@kernel
def append(
    rest: Longs,
    from_points: Ints,
    from_offsets: Longs,
    from_pieces: Ints,
    from_regions: Ints,
    from_amounts: Longs,
    seams: Ints,
    points: Ints,
    offsets: Longs,
    pieces: Ints,
    regions: Ints,
    amounts: Longs,
    counts: Longs,
) -> Ints:
    """Copy a strip's unfinished regions behind the pool's; returns the strip's seams with the
    pool's numbers for the pieces.
    """
    n_points, n_pieces, n_regions = counts
    number = np.full(from_pieces.shape[0], -1, np.int32)
    for k in range(rest.size):
        region = n_regions + k
        _copy_row(from_regions, rest[k], regions, region)
        _copy_row(from_amounts, rest[k], amounts, region)
        regions[region, PARENT] = region
        regions[region, HEAD] = n_pieces
        piece = from_regions[rest[k], HEAD]
        while piece >= 0:
            number[piece] = n_pieces
            at = from_offsets[piece]
            size = from_pieces[piece, LENGTH]
            offsets[n_pieces] = n_points
            for m in range(size):
                points[n_points + m, 0] = from_points[at + m, 0]
                points[n_points + m, 1] = from_points[at + m, 1]
            n_points += size
            _copy_row(from_pieces, np.int64(piece), pieces, n_pieces)
            pieces[n_pieces, REGION] = region
            pieces[n_pieces, NEXT] = n_pieces if from_pieces[piece, NEXT] >= 0 else -1
            pieces[n_pieces, SIBLING] = n_pieces + 1
            n_pieces += 1
            piece = from_pieces[piece, SIBLING]
        pieces[n_pieces - 1, SIBLING] = -1
        regions[region, TAIL] = n_pieces - 1
    result = np.empty(seams.shape, np.int32)
    for k in range(seams.shape[0]):
        for m in range(2):
            result[k, m] = number[seams[k, m]] if seams[k, m] >= 0 else -1
    return result


@kernel
def tie(above: Ints, below: Ints, n_top: int, pieces: Ints, regions: Ints, amounts: Longs) -> Longs:
    """Tie the open pieces at a cut; returns the roots of regions without open ends."""
    for j in range(n_top):
        for side in range(2):
            # west of the crack a walk comes down, east of it one goes up
            ends, begins = above[j, 1], below[j, 0]
            if side == 1:
                ends, begins = below[j, 1], above[j, 0]
            if ends >= 0:
                pieces[ends, NEXT] = begins
                unite(regions, amounts, pieces, pieces[ends, REGION], pieces[begins, REGION])
                regions[root_of(regions, pieces[ends, REGION]), ENDS] -= 2
    finished = np.empty(2 * n_top, np.int64)
    n = 0
    for j in range(n_top):
        for side in range(2):
            if above[j, side] >= 0:
                root = root_of(regions, pieces[above[j, side], REGION])
                if regions[root, ENDS] == 0:
                    regions[root, ENDS] = -1
                    finished[n] = root
                    n += 1
    return finished[:n]


@kernel
def slide(
    points: Ints,
    offsets: Longs,
    pieces: Ints,
    regions: Ints,
    amounts: Longs,
    counts: Longs,
    seam: Ints,
) -> Longs:
    """Move the unfinished regions together, in order; returns the new counts."""
    number = np.full(counts[1], -1, np.int32)
    region_number = np.full(counts[2], -1, np.int32)
    n_points = n_pieces = n_regions = np.int64(0)
    for piece in range(counts[1]):
        # a merged region keeps its pieces' old numbers: parents are looked up before any moves
        pieces[piece, REGION] = root_of(regions, pieces[piece, REGION])
    for region in range(counts[2]):
        if regions[region, PARENT] == region and regions[region, ENDS] > 0:
            region_number[region] = n_regions
            _copy_row(regions, region, regions, n_regions)
            _copy_row(amounts, region, amounts, n_regions)
            regions[n_regions, PARENT] = n_regions
            regions[n_regions, HEAD] = -1
            n_regions += 1
    for piece in range(counts[1]):
        region = region_number[pieces[piece, REGION]]
        if region < 0:
            continue
        number[piece] = n_pieces
        at = offsets[piece]
        offsets[n_pieces] = n_points
        for m in range(pieces[piece, LENGTH]):
            points[n_points + m, 0], points[n_points + m, 1] = points[at + m, 0], points[at + m, 1]
        n_points += pieces[piece, LENGTH]
        _copy_row(pieces, piece, pieces, n_pieces)
        pieces[n_pieces, REGION] = region
        pieces[n_pieces, SIBLING] = -1
        if regions[region, HEAD] < 0:
            regions[region, HEAD] = n_pieces
        else:
            pieces[regions[region, TAIL], SIBLING] = n_pieces
        regions[region, TAIL] = n_pieces
        n_pieces += 1
    for piece in range(n_pieces):
        if pieces[piece, NEXT] >= 0:
            pieces[piece, NEXT] = number[pieces[piece, NEXT]]
    for k in range(seam.shape[0]):
        for m in range(2):
            if seam[k, m] >= 0:
                seam[k, m] = number[seam[k, m]]
    result = np.empty(3, np.int64)
    result[0], result[1], result[2] = n_points, n_pieces, n_regions
    return result
