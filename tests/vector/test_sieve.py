"""The sieve against painting small regions over, one at a time, on the pixels."""

from collections.abc import Iterator

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geounet.vector.polygons import Polygons
from geounet.vector.sieve import sieve
from tests.vector.masks import COLUMNS, masks, outlines, same


def components(mask: np.ndarray, where: np.ndarray, structure: np.ndarray) -> Iterator[np.ndarray]:
    """Connected regions of equal class within ``where``, as boolean masks."""
    for value in np.unique(mask[where]):
        labels, count = ndimage.label((mask == value) & where, structure)
        for label in range(1, count + 1):
            yield labels == label


def around(region: np.ndarray, structure: np.ndarray) -> Iterator[np.ndarray]:
    """Pixels beyond the region's edges (and corners, if they connect), once per direction."""
    padded = np.pad(region, 1)
    for row, column in np.argwhere(structure) - 1:
        if row or column:
            yield np.roll(padded, (row, column), (0, 1))[1:-1, 1:-1] & ~region


FOUR, EIGHT = ndimage.generate_binary_structure(2, 1), np.ones((3, 3), bool)


def painted(mask: np.ndarray, least: dict[int, int], structure: np.ndarray = FOUR) -> np.ndarray:
    """The definition of the sieve, slowly."""
    mask = mask.copy()
    settled = mask == 255
    rank = np.full((*mask.shape, 3), 10**6)  # last row and first pixel: breaks ties
    for region in components(mask, mask != 255, FOUR):
        pixels = np.argwhere(region)
        rank[region] = (pixels[-1][0], *pixels[0])
    for region in components(mask, mask != 255, structure):
        rank[region] = min(tuple(item) for item in rank[region])
        if region.sum() >= least[mask[region][0]]:
            settled |= region
    while not settled.all():
        queue = list(components(mask, ~settled, structure))
        region = min(queue, key=lambda item: (item.sum(), *rank[item][0]))
        border = np.zeros(256, int)
        for beyond in around(region, FOUR):
            np.add.at(border, mask[beyond], 1)
        border[255] = 0
        if not border.any():
            settled |= region
            continue
        best = int(border.argmax())
        mask[region] = best
        joined = any(
            (beyond & settled & (mask == best)).any() for beyond in around(region, structure)
        )
        labels, _ = ndimage.label((mask == best) & ~settled, structure)
        merged = labels == labels[region][0]
        rank[merged] = rank[region][0]
        if joined or merged.sum() >= least[best]:
            settled |= merged
    return mask


@settings(max_examples=120, deadline=None)
@given(
    masks(size=16),
    st.lists(st.sampled_from([0, 2, 3, 6, 10, 400]), min_size=5, max_size=5),
    st.sampled_from([4, 8]),
)
def test_equals_painting_over(mask: np.ndarray, sizes: list[int], connectivity: int) -> None:
    least = dict(enumerate(sizes))
    confidence = np.random.default_rng(1).integers(0, 256, mask.shape).astype(np.uint8)
    sieved = sieve(outlines(mask, confidence=confidence), least, connectivity)
    structure = EIGHT if connectivity == 8 else FOUR
    expected = outlines(painted(mask, least, structure), confidence=confidence)
    np.testing.assert_allclose(sieved.confidence, expected.confidence, rtol=1e-12)
    for column in set(COLUMNS) - {"confidence"}:
        np.testing.assert_array_equal(getattr(sieved, column), getattr(expected, column), column)
    assert shapely.coverage_is_valid(sieved.to_shapely())
    assert shapely.is_valid(sieved.to_shapely()).all()


def test_a_chain_that_hangs_together_by_corners_is_one_region() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[np.arange(1, 8), np.arange(1, 8)] = 1
    assert len(sieve(outlines(mask), {1: 5}, 4)) == 1
    stays = sieve(outlines(mask), {1: 5}, 8)
    assert (stays.class_id == 1).sum() == 7
    assert shapely.is_valid(stays.to_shapely()).all()


def test_longest_border_wins() -> None:
    mask = np.array([[0, 0, 0, 1, 1], [0, 0, 2, 1, 1], [0, 0, 2, 1, 1], [0, 0, 0, 1, 1]], np.uint8)
    sieved = sieve(outlines(mask), {2: 3})
    assert dict(zip(sieved.class_id, sieved.pixels, strict=True)) == {0: 12, 1: 8}


def test_small_regions_that_join_are_large_enough_together() -> None:
    mask = np.array([[1, 2, 1, 2, 1, 2, 1]], np.uint8)
    sieved = sieve(outlines(mask), {1: 3, 2: 3})
    assert sieved.pixels.sum() == 7
    assert (sieved.pixels >= 3).all()


def test_nothing_merges_into_nodata() -> None:
    mask = np.full((5, 5), 255, np.uint8)
    mask[2, 2] = 1
    polygons = outlines(mask)
    same(sieve(polygons, {1: 100}), polygons)


def test_nothing_to_do_returns_the_same() -> None:
    polygons = outlines(np.zeros((3, 3), np.uint8))
    assert sieve(polygons, {0: 9}) is polygons
    assert len(sieve(Polygons.empty(), {0: 9})) == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_larger_scene_stays_a_coverage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((301, 257)), 2)
    mask = (smooth * 15 % 4).astype(np.uint8)
    mask[rng.random(mask.shape) < 0.02] = 255
    sieved = sieve(outlines(mask), dict.fromkeys(range(4), 30))
    geometries = sieved.to_shapely()
    assert shapely.is_valid(geometries).all()
    assert shapely.coverage_is_valid(geometries)
    assert np.array_equal(shapely.area(geometries), sieved.pixels)
    assert sieved.pixels.sum() == (mask != 255).sum()
