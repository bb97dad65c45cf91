"""Filling holes against the same on the pixels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geounet.vector.holes import fill_holes
from geounet.vector.outline import Cleaner
from geounet.vector.polygons import Polygons
from tests.vector.masks import COLUMNS, masks, outlines, same


def filled(mask: np.ndarray, least: int) -> np.ndarray:
    """The definition, slowly: holes of 4-connected regions, smallest first."""
    holes = []
    for value in np.unique(mask[mask != 255]):
        labels, count = ndimage.label(mask == value)
        for label in range(1, count + 1):
            outside = np.pad(labels != label, 1, constant_values=True)
            parts, n = ndimage.label(outside)  # what is not the region, 4-connected
            for part in range(1, n + 1):
                if part != parts[0, 0]:
                    hole = (parts == part)[1:-1, 1:-1]
                    around = ndimage.binary_dilation(hole) & ~hole
                    if hole.sum() < least and not (mask[hole] == 255).any() and around.any():
                        holes.append((hole.sum(), tuple(np.argwhere(hole)[0]), value, hole))
    result = mask.copy()
    for _, _, value, hole in sorted(holes, key=lambda item: item[:2]):
        result[hole] = value
    return result


@settings(max_examples=60, deadline=None)
@given(masks(size=20), st.sampled_from([2, 5, 30]))
def test_equals_filling_pixels(mask: np.ndarray, least: int) -> None:
    found = fill_holes(outlines(mask), least)
    expected = outlines(filled(mask, least))
    for column in set(COLUMNS) - {"confidence"}:
        np.testing.assert_array_equal(getattr(found, column), getattr(expected, column), column)


def test_nested_holes_take_the_outermost_class() -> None:
    mask = np.zeros((11, 11), np.uint8)
    mask[2:9, 2:9], mask[4:7, 4:7] = 1, 2
    cleaner = Cleaner({}, 0.0, min_hole=60)
    cleaner.push(outlines(mask))
    assert cleaner.finish().class_id.tolist() == [0]
    assert fill_holes(outlines(mask), 20).class_id.tolist() == [1, 0]


def test_holes_with_nodata_stay() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[3:6, 3:6], mask[4, 4] = 1, 255
    polygons = outlines(mask)
    same(fill_holes(polygons, 100), polygons)
    assert len(fill_holes(Polygons.empty(), 9)) == 0
