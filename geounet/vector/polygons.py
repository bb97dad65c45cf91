"""A batch of polygons in columns, on the lattice of pixel corners."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geounet.vector.compiled import kernel

if TYPE_CHECKING:
    import pyarrow as pa

Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Polygons:
    """Polygons as flat columns; neighbours share their vertices exactly.

    Rings are closed (the first vertex is repeated) and begin at their topmost, then leftmost
    vertex. A polygon's shell comes first, its holes follow in order of their first vertices. On the
    lattice (x right, y down) the interior lies on a ring's right-hand side as seen on the screen:
    shells run clockwise there (positive shoelace area), holes against it.
    """

    class_id: NDArray[np.uint8]
    """(n,) value of the mask."""
    pixels: NDArray[np.int64]
    """(n,) exact number of pixels."""
    confidence: NDArray[np.float64]
    """(n,) mean confidence of the region's pixels, 0 to 1; NaN where none was given."""
    points: NDArray[np.int32]
    """(m, 2) vertices in pixel corners times ``scale``: x right, y down."""
    nodes: NDArray[np.bool_]
    """(m,) whether three or more outlines meet at the vertex."""
    ring_offsets: NDArray[np.int64]
    """(rings + 1,) where each ring begins in ``points``."""
    polygon_offsets: NDArray[np.int64]
    """(n + 1,) where each polygon begins among the rings."""
    scale: int = 1
    """Steps per pixel: 1 on the lattice of pixel corners, more once outlines have been squared."""

    def __len__(self) -> int:
        return len(self.class_id)

    @classmethod
    def empty(cls) -> "Polygons":
        """No polygons."""
        return cls(
            np.empty(0, np.uint8),
            np.empty(0, np.int64),
            np.empty(0, np.float64),
            np.empty((0, 2), np.int32),
            np.empty(0, np.bool_),
            np.zeros(1, np.int64),
            np.zeros(1, np.int64),
        )

    @classmethod
    def concat(cls, batches: Sequence["Polygons"]) -> "Polygons":
        """All polygons of the batches, in their order."""
        batches = [batch for batch in batches if len(batch)]
        if not batches:
            return cls.empty()
        if len(batches) == 1:
            return batches[0]
        scale = math.lcm(*(batch.scale for batch in batches))
        return cls(
            np.concatenate([batch.class_id for batch in batches]),
            np.concatenate([batch.pixels for batch in batches]),
            np.concatenate([batch.confidence for batch in batches]),
            np.concatenate([batch.points * np.int32(scale // batch.scale) for batch in batches])
            if any(batch.scale != scale for batch in batches)
            else np.concatenate([batch.points for batch in batches]),
            np.concatenate([batch.nodes for batch in batches]),
            _joined([batch.ring_offsets for batch in batches]),
            _joined([batch.polygon_offsets for batch in batches]),
            scale,
        )

    def take(self, index: NDArray[np.int64]) -> "Polygons":
        """The polygons of these positions, in this order."""
        points, nodes, ring_offsets, polygon_offsets = gather(
            self.points, self.nodes, self.ring_offsets, self.polygon_offsets, index
        )
        return Polygons(
            self.class_id[index],
            self.pixels[index],
            self.confidence[index],
            points,
            nodes,
            ring_offsets,
            polygon_offsets,
            self.scale,
        )

    def coordinates(self, transform: Transform | None = None) -> NDArray[np.float64]:
        """``points`` in float64 (m, 2), through an affine map in rasterio's order (a, b, c, d, e,
        f): x = a * col + b * row + c, y = d * col + e * row + f; None leaves them as they are.
        """
        if transform is None:
            return self.points / self.scale
        a, b, c, d, e, f = _scaled(transform, self.scale)
        result = np.empty((len(self.points), 2))
        col, row = self.points[:, 0], self.points[:, 1]
        result[:, 0] = a * col + b * row + c
        result[:, 1] = d * col + e * row + f
        return result

    def to_shapely(self, transform: Transform | None = None) -> NDArray[np.object_]:
        """Shapely polygons, object (n,); ``transform`` as in :meth:`coordinates`."""
        import shapely

        if not len(self):
            return np.empty(0, object)
        result: NDArray[np.object_] = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON,
            self.coordinates(transform),
            (self.ring_offsets, self.polygon_offsets),
        )
        return result

    def to_wkb(
        self, transform: Transform | None = None, order: NDArray[np.int64] | None = None
    ) -> "pa.Array":
        """Well-known binary as an Arrow array (large_binary), shells counter-clockwise in the
        target coordinates (RFC 7946's right-hand rule); ``transform`` as in :meth:`coordinates`,
        ``order`` int64 the polygons that are wanted, all by default.
        """
        import pyarrow as pa

        values = np.array(_scaled(transform or (1, 0, 0, 0, 1, 0), self.scale), np.float64)
        order = np.arange(len(self)) if order is None else order
        offsets = wkb_offsets(self.ring_offsets, self.polygon_offsets, order)
        data = np.empty(offsets[-1], np.uint8)
        write_wkb(
            self.points, self.ring_offsets, self.polygon_offsets, values, order, offsets, data
        )
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(order), buffers)

    def bounds(self) -> NDArray[np.float64]:
        """Bounding boxes in pixel corners, float64 (n, 4): left, top, right, bottom."""
        result = np.empty((len(self), 4))
        shells = self.polygon_offsets[:-1]
        if len(self):
            # holes lie inside; a reduction per shell needs the end of each shell as well
            cuts = np.column_stack([self.ring_offsets[shells], self.ring_offsets[shells + 1]])
            cuts = cuts.ravel()[:-1] if cuts[-1, 1] == len(self.points) else cuts.ravel()
            result[:, :2] = np.minimum.reduceat(self.points, cuts)[::2]
            result[:, 2:] = np.maximum.reduceat(self.points, cuts)[::2]
        return result / self.scale


def _scaled(transform: Transform, scale: int) -> Transform:
    """The affine map from points that count ``scale`` steps per pixel."""
    a, b, c, d, e, f = transform
    return a / scale, b / scale, c, d / scale, e / scale, f


def _joined(offsets: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Offsets of concatenated lists."""
    bases = np.cumsum([0] + [part[-1] for part in offsets])
    parts = [part[:-1] + base for part, base in zip(offsets, bases, strict=False)]
    return np.concatenate([*parts, bases[-1:]])


def sorted_order(lowest: NDArray[np.int32], first: NDArray[np.int32]) -> NDArray[np.int64]:
    """The polygonizer's order: by the last row, then by the first pixel.

    Args:
        lowest: int32 (n,) y of each polygon's lowest edge.
        first: int32 (n, 2) topmost, then leftmost vertex of each, x and y.
    """
    return order_by(lowest, first[:, 1], first[:, 0])


def order_by(*columns: NDArray[np.signedinteger]) -> NDArray[np.int64]:
    """The order that sorts rows by the first column, then the second and so on, int64 (n,).

    Args:
        columns: integers (n,) each; no two rows may be the same.
    """
    if not len(columns[0]):
        return np.empty(0, np.int64)
    key = np.zeros(len(columns[0]), np.int64)  # one number to sort by: several times faster
    bits = 0
    for part in columns:
        size = int(part.max() - part.min()).bit_length()
        key = (key << size) | (part - part.min())
        bits += size
    if bits > 62:
        return np.lexsort(columns[::-1])
    return np.argsort(key)


@kernel
def gather(
    points: NDArray[np.int32],
    nodes: NDArray[np.bool_],
    ring_offsets: NDArray[np.int64],
    polygon_offsets: NDArray[np.int64],
    index: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Points, nodes, ring and polygon offsets of the polygons at these positions."""
    n_rings = 0
    n_points = 0
    for k in range(index.size):
        begin, end = polygon_offsets[index[k]], polygon_offsets[index[k] + 1]
        n_rings += end - begin
        n_points += ring_offsets[end] - ring_offsets[begin]
    result = np.empty((n_points, 2), np.int32)
    result_nodes = np.empty(n_points, np.bool_)
    rings = np.zeros(n_rings + 1, np.int64)
    polygons = np.zeros(index.size + 1, np.int64)
    n = 0
    ring = 0
    for k in range(index.size):
        for source in range(polygon_offsets[index[k]], polygon_offsets[index[k] + 1]):
            for at in range(ring_offsets[source], ring_offsets[source + 1]):
                result[n, 0], result[n, 1] = points[at, 0], points[at, 1]
                result_nodes[n] = nodes[at]
                n += 1
            ring += 1
            rings[ring] = n
        polygons[k + 1] = ring
    return result, result_nodes, rings, polygons


def assemble(
    points: NDArray[np.int32],
    nodes: NDArray[np.bool_],
    ring_offsets: NDArray[np.int64],
    owners: NDArray[np.int32],
    class_id: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    confidence: NDArray[np.float64],
) -> Polygons:
    """Group rings into polygons, in the polygonizer's order.

    The rings (``points``, ``nodes``, ``ring_offsets``) begin at their topmost, then leftmost
    vertex. ``owners`` int32 (rings,) is the row of each ring's polygon in the columns that follow;
    rows that no ring names are left out.
    """
    first = points[ring_offsets[:-1]]
    grouped = np.lexsort((first[:, 0], first[:, 1], owners))
    begins = np.flatnonzero(np.diff(owners[grouped], prepend=-1))
    shells = grouped[begins]
    lowest = np.maximum.reduceat(points[:, 1], ring_offsets[:-1])[shells]
    order = sorted_order(lowest, first[shells])
    rows = owners[shells]
    loose = Polygons(
        class_id[rows],
        pixels[rows],
        confidence[rows],
        *gather(points, nodes, ring_offsets, np.arange(len(owners) + 1), grouped)[:3],
        np.append(begins, len(owners)),
    )
    return loose.take(order)


def wkb_offsets(
    ring_offsets: NDArray[np.int64], polygon_offsets: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where each polygon's binary begins: 9 bytes a polygon, 4 a ring, 16 a vertex."""
    begins, ends = polygon_offsets[order], polygon_offsets[order + 1]
    points = ring_offsets[ends] - ring_offsets[begins]
    result = np.zeros(len(order) + 1, np.int64)
    np.cumsum(9 + 4 * (ends - begins) + 16 * points, out=result[1:])
    return result


@kernel
def write_wkb(
    points: NDArray[np.int32],
    ring_offsets: NDArray[np.int64],
    polygon_offsets: NDArray[np.int64],
    transform: NDArray[np.float64],
    order: NDArray[np.int64],
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
) -> None:
    """Write polygons in this order as little-endian WKB into ``data`` at ``offsets``.

    Rings run clockwise on the lattice's screen: they are written backwards where the affine map
    keeps the handedness of a screen (negative determinant), so that shells come out
    counter-clockwise in a system whose y points up.
    """
    a, b, c, d, e, f = transform
    backwards = a * e - b * d < 0
    for k in range(order.size):
        p = order[k]
        at = offsets[k]
        data[at] = 1
        rings = polygon_offsets[p + 1] - polygon_offsets[p]
        for byte in range(4):
            data[at + 1 + byte] = 3 >> 8 * byte
            data[at + 5 + byte] = rings >> 8 * byte
        at += 9
        for ring in range(polygon_offsets[p], polygon_offsets[p + 1]):
            begin, end = ring_offsets[ring], ring_offsets[ring + 1]
            for byte in range(4):
                data[at + byte] = (end - begin) >> 8 * byte
            at += 4
            q, step = (end - 1, -1) if backwards else (begin, 1)
            for _ in range(end - begin):
                x, y = points[q, 0], points[q, 1]
                east = np.float64(a * x + b * y + c).view(np.int64)
                north = np.float64(d * x + e * y + f).view(np.int64)
                for byte in range(8):
                    data[at + byte] = east >> 8 * byte
                    data[at + 8 + byte] = north >> 8 * byte
                at += 16
                q += step
