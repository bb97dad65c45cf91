"""The check of large coverages finds what it promises to find."""

from dataclasses import replace

import numpy as np
import pytest

from geounet.vector.outline import Cleaner
from tests.vector.masks import outlines
from tests.vector.planar import check_planar
from tests.vector.test_refit import town


def test_it_finds_every_vertex_that_moves() -> None:
    cleaner = Cleaner(dict.fromkeys(range(4), 12), 1.5, squared=[1])
    cleaner.push(outlines(town(3, 120, 110)))
    clean = cleaner.finish()
    check_planar(clean)
    rng = np.random.default_rng(0)
    inner = np.setdiff1d(
        np.arange(len(clean.points)), [*clean.ring_offsets[:-1], *(clean.ring_offsets[1:] - 1)]
    )
    for at in rng.choice(inner, 12, replace=False):
        points = clean.points.copy()
        points[at] += 1  # of one side only
        with pytest.raises(AssertionError):
            check_planar(replace(clean, points=points))


def test_it_finds_crossings_that_both_sides_share() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:15, 5:35] = 1
    mask[20:30, 5:35] = 2
    exact = outlines(mask)
    check_planar(exact)
    points = exact.points.copy()
    points[(points == [5, 15]).all(axis=1)] = [15, 25]  # into the other, the land follows
    with pytest.raises(AssertionError):
        check_planar(replace(exact, points=points))
