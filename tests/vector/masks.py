"""Masks and outlines for the tests of polygons."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons

COLUMNS = (
    "class_id", "pixels", "confidence", "points", "nodes", "ring_offsets", "polygon_offsets",
)  # fmt: skip


@st.composite
def masks(draw: st.DrawFn, size: int = 36) -> np.ndarray:
    """Small masks, from noise to blocks and blobs, with and without nodata."""
    height, width = draw(st.integers(1, size)), draw(st.integers(1, size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(1, 5))
    kind = draw(st.sampled_from(["noise", "blocks", "blobs"]))
    if kind == "blobs":
        smooth = ndimage.gaussian_filter(rng.standard_normal((height, width)), 1.5)
        mask = (smooth * 10 % classes).astype(np.uint8)
    else:
        mask = rng.integers(0, classes, (height, width)).astype(np.uint8)
    if kind == "blocks":
        scale = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        mask = np.kron(mask, np.ones(scale, np.uint8))
    mask[rng.random(mask.shape) < draw(st.sampled_from([0.0, 0.0, 0.1, 0.5]))] = 255
    return mask


def outlines(
    mask: np.ndarray,
    cuts: Sequence[int] = (),
    confidence: np.ndarray | None = None,
    threads: int = 1,
) -> Polygons:
    """All polygons of a mask whose rows are pushed in parts that begin at ``cuts``."""
    polygonizer = Polygonizer(mask.shape[1], threads=threads)
    batches = [
        polygonizer.push(mask[a:b], None if confidence is None else confidence[a:b])
        for a, b in pairwise([0, *cuts, len(mask)])
    ]
    return Polygons.concat([*batches, polygonizer.finish()])


def same(one: Polygons, other: Polygons) -> None:
    """Every column is equal."""
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), column)
