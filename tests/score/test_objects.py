"""Matching of objects against brute force over rasterised areas."""

import itertools
import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import ConfigError
from geounet.score.objects import match_objects

boxes = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 5), st.integers(1, 5)),
    max_size=6,
)


def disjoint(items: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    kept: list[tuple[int, int, int, int]] = []
    for item in items:
        if all(not cells(item) & cells(other) for other in kept):
            kept.append(item)
    return kept


def cells(item: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    x, y, width, height = item
    return set(itertools.product(range(x, x + width), range(y, y + height)))


def shapes(items: list[tuple[int, int, int, int]]) -> np.ndarray:
    return np.array([shapely.box(x, y, x + w, y + h) for x, y, w, h in items], dtype=object)


@given(boxes, boxes)
def test_counts_equal_brute_force(
    true: list[tuple[int, ...]], found: list[tuple[int, ...]]
) -> None:
    one, two = disjoint(true), disjoint(found)  # type: ignore[arg-type]
    ratios = [len(cells(a) & cells(b)) / len(cells(a) | cells(b)) for a in one for b in two]
    good = [ratio for ratio in ratios if ratio > 0.51]
    result = match_objects(shapes(one), shapes(two), iou=0.51)  # above 0.5 a match is unique
    assert (result.true, result.found, result.matched) == (len(one), len(two), len(good))
    if good:
        assert result.iou == pytest.approx(np.mean(good))
        assert result.f1 == pytest.approx(2 / (1 / result.precision + 1 / result.recall))


def test_each_object_matches_once_the_best_pair_first() -> None:
    true = shapes([(0, 0, 4, 4)])
    found = np.array([shapely.box(0, 0, 4, 3), shapely.box(0, 0, 4, 3.5)], dtype=object)
    result = match_objects(true, found)
    assert (result.true, result.found, result.matched, result.iou) == (1, 2, 1, 3.5 / 4)


def test_specks_count_only_as_partners() -> None:
    true = shapes([(0, 0, 4, 4), (10, 0, 1, 1)])
    found = np.array([shapely.box(0, 0, 4, 3), shapely.box(20, 0, 21, 1)], dtype=object)
    result = match_objects(true, found, least_area=13)
    assert (result.true, result.found, result.matched) == (1, 1, 1)
    nothing = match_objects(shapes([]), shapes([]))
    assert math.isnan(nothing.f1)
    with pytest.raises(ConfigError, match="iou 0"):
        match_objects(true, found, iou=0)
