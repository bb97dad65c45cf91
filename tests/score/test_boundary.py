"""Boundary scores against distance transforms of the whole mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geounet.errors import ConfigError
from geounet.score.boundary import BoundaryCounter, BoundaryScores

ALLOWED = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]], bool)


def scene(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs of labels (two classes open at 3, unknown at 255) and a shaken prediction."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(height + 8, width)), 2)
    cut = np.quantile(field, [0.3, 0.6, 0.85, 0.95])
    labels = np.array([0, 1, 2, 3, 255], np.uint8)[np.digitize(field, cut)]
    found = np.array([0, 1, 2, 2, 255], np.uint8)[np.digitize(np.roll(field, 2, 0), cut)]
    return labels[:height], found[:height]


def oracle(labels: np.ndarray, found: np.ndarray, tolerance: float) -> np.ndarray:
    """Counts by class from Euclidean distance transforms."""
    cross = ndimage.generate_binary_structure(2, 1)
    result = []
    for number in range(3):
        table_yes = np.array([number == 0, number == 1, number == 2, False] + [False] * 252)
        table_no = np.array([*~ALLOWED[:, number], *[False] * 252])
        yes, no = table_yes[labels], table_no[labels]
        known = (yes | no) & (found != 255)
        edges = [
            inside & known & ndimage.binary_dilation(known & ~inside, cross)
            for inside in (yes, found == number)
        ]
        row = []
        for own, other in (edges, edges[::-1]):
            far = ndimage.distance_transform_edt(~other) if other.any() else np.inf + 0 * own
            row += [own.sum(), (own & (far <= tolerance)).sum()]
        result.append(row)
    return np.array(result)


def streamed(labels: np.ndarray, found: np.ndarray, tolerance: float, step: int) -> BoundaryScores:
    counter = BoundaryCounter(ALLOWED, tolerance)
    for row in range(0, len(labels), step):
        counter.push(labels[row : row + step], found[row : row + step])
    return counter.finish()


@settings(max_examples=30)
@given(
    st.integers(0, 999), st.integers(1, 40), st.integers(1, 40),
    st.sampled_from([0.0, 1.0, 1.5, 3.0, 5.0]), st.integers(1, 45),
)  # fmt: skip
def test_streamed_counts_equal_distance_transforms(
    seed: int, height: int, width: int, tolerance: float, step: int
) -> None:
    labels, found = scene(seed, height, width)
    counts = streamed(labels, found, tolerance, step).counts
    np.testing.assert_array_equal(counts, oracle(labels, found, tolerance))


def test_scores_of_a_shifted_square() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 5:15] = 1
    moved = np.roll(labels, 2, axis=1)
    perfect = streamed(labels, labels, 0, 6)
    assert perfect.f1[:2].tolist() == [1, 1]
    assert np.isnan(perfect.f1[2])
    assert streamed(labels, moved, 2, 6).f1[1] == 1
    assert streamed(labels, moved, 1, 6).f1[1] < 0.9
    assert streamed(labels, np.zeros_like(labels), 3, 6).f1[1] == 0


@pytest.mark.parametrize(("axis", "pixels"), [(0, 8), (1, 4)])
def test_pixels_that_are_not_square(axis: int, pixels: int) -> None:
    """0.25 m high and 0.5 m wide: an edge that is 2 m away is so in either direction."""
    labels, moved = np.zeros((80, 60), np.uint8), np.zeros((80, 60), np.uint8)
    for mask, start in ((labels, 20), (moved, 20 + pixels)):
        (mask if axis == 0 else mask.T)[start:] = 1
    side = (0.25 * 0.5) ** 0.5
    for metres, want in ((1.9, 0.0), (2.01, 1.0)):
        counter = BoundaryCounter(ALLOWED, metres / side, aspect=0.5)
        for row in range(0, 80, 11):
            counter.push(labels[row : row + 11], moved[row : row + 11])
        assert counter.finish().f1[1] == want


def test_a_wild_tolerance_is_refused() -> None:
    with pytest.raises(ConfigError, match="tolerance -1"):
        BoundaryCounter(ALLOWED, -1)
