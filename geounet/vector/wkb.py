"""Well-known binary in Arrow columns, the form in which polygons travel to the files."""

import numpy as np
import pyarrow as pa
import shapely

from geounet.vector.columns import binary
from geounet.vector.compiled import kernel

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


def as_binary(wkb: pa.Array | np.ndarray) -> pa.Array:
    """WKB as Arrow's binary, whose offsets have 32 bits, from any form that a batch may have.

    Nothing is copied of an Arrow array; its own ``cast`` would import ``pyarrow.compute``, a tenth
    of a second.

    Args:
        wkb: large_binary without nulls, binary, or ``(n,)`` bytes.

    Raises:
        ValueError: the values have 2 GiB or more together.
    """
    if not isinstance(wkb, pa.Array):
        return binary(wkb.tolist())
    if wkb.type != pa.large_binary():
        return wkb
    _, where, data = wkb.buffers()
    offsets = np.frombuffer(where, np.int64)[wkb.offset : wkb.offset + len(wkb) + 1]
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{offsets[-1]} bytes of WKB are too many for one batch")
    narrow = pa.py_buffer(offsets.astype(np.int32))
    return pa.BinaryArray.from_buffers(pa.binary(), len(wkb), [None, narrow, data])


def offsets_of(wkb: pa.Array) -> np.ndarray:
    """Where each value of a binary array begins in its buffer, int64 ``(n + 1,)``."""
    offsets = np.frombuffer(wkb.buffers()[1], dtype=np.int32)
    return offsets[wkb.offset : wkb.offset + len(wkb) + 1].astype(np.int64)


def bounds_of(wkb: pa.Array) -> np.ndarray:
    """Bounding boxes of polygons, float64 ``(n, 4)``: least x, least y, largest x, largest y.

    Shells are read in place, without building geometries.

    Args:
        wkb: binary array of little-endian polygons, none empty.
    """
    result = np.empty((len(wkb), 4))
    if not len(wkb):
        return result
    data = np.frombuffer(wkb.buffers()[2], dtype=np.uint8)
    shell_bounds(data, offsets_of(wkb)[:-1] + POLYGON_HEAD, result)
    return result


@kernel
def shell_bounds(data: np.ndarray, heads: np.ndarray, result: np.ndarray) -> None:
    """Fill ``result``, float64 ``(n, 4)``, from the rings that begin at the bytes ``heads``."""
    pair = np.empty(2, np.float64)  # numbers begin at any byte
    pair_bytes = pair.view(np.uint8)
    for k in range(heads.size):
        at = heads[k]
        count = np.int64(0)
        for byte in range(4):
            count |= np.int64(data[at + byte]) << (8 * byte)
        at += 4
        left, bottom, right, top = np.inf, np.inf, -np.inf, -np.inf
        for _ in range(count):
            for byte in range(16):
                pair_bytes[byte] = data[at + byte]
            left, right = min(left, pair[0]), max(right, pair[0])
            bottom, top = min(bottom, pair[1]), max(top, pair[1])
            at += 16
        result[k, 0], result[k, 1], result[k, 2], result[k, 3] = left, bottom, right, top
