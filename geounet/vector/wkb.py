"""Well-known binary in Arrow columns, the form in which polygons travel to the files."""

import numpy as np
import pyarrow as pa
import shapely

POLYGON_HEAD = 9
"""Bytes before the first ring: byte order, type, number of rings; a ring begins with its count."""


def encode(geometries: np.ndarray) -> np.ndarray:
    """Polygons as WKB with shells counter-clockwise and holes clockwise.

    Args:
        geometries: ``(n,)`` shapely polygons, any orientation.

    Returns:
        object ``(n,)`` of bytes, little-endian.
    """
    oriented = shapely.orient_polygons(geometries)
    encoded: np.ndarray = shapely.to_wkb(oriented, byte_order=1)
    return encoded


def offsets_of(wkb: pa.Array) -> np.ndarray:
    """Where each value of a binary array begins in its buffer, int64 ``(n + 1,)``."""
    offsets = np.frombuffer(wkb.buffers()[1], dtype=np.int32)
    return offsets[wkb.offset : wkb.offset + len(wkb) + 1].astype(np.int64)


def bounds_of(wkb: pa.Array) -> np.ndarray:
    """Bounding boxes of polygons, float64 ``(n, 4)``: least x, least y, largest x, largest y.

    Shells are read in place, without building geometries. Their coordinates begin at any byte, so
    that the buffer is seen as eight arrays of numbers, one for each remainder modulo eight.

    Args:
        wkb: binary array of little-endian polygons, none empty.
    """
    result = np.empty((len(wkb), 4))
    if not len(wkb):
        return result
    data = np.frombuffer(wkb.buffers()[2], dtype=np.uint8)
    heads = offsets_of(wkb)[:-1] + POLYGON_HEAD
    counts = data[heads[:, None] + np.arange(4)].view("<u4")[:, 0].astype(np.int64)
    firsts = heads + 4
    for remainder in range(8):
        own = np.flatnonzero(firsts % 8 == remainder)
        if not len(own):
            continue
        numbers = np.frombuffer(
            data, dtype="<f8", offset=remainder, count=(len(data) - remainder) // 8
        )
        begins = np.cumsum(counts[own]) - counts[own]
        at = np.repeat(firsts[own] // 8 - 2 * begins, counts[own])
        at += 2 * np.arange(len(at))
        for axis in (0, 1):
            values = numbers[at + axis]
            result[own, axis] = np.minimum.reduceat(values, begins)
            result[own, axis + 2] = np.maximum.reduceat(values, begins)
    return result
