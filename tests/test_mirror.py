import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.errors import ConfigError
from geounet.mirror import mirror_index, trim


@given(st.integers(1, 40), st.integers(0, 200), st.integers(0, 200))
def test_equals_numpy_reflect(size: int, before: int, after: int) -> None:
    axis = np.arange(size)
    expected = np.pad(axis, (before, after), mode="reflect")
    result = mirror_index(-before, before + size + after, size)
    assert result.dtype == np.int64
    assert np.array_equal(result, expected)


@given(st.integers(1, 40), st.integers(-10_000, 10_000), st.integers(0, 90))
def test_any_start_is_a_piece_of_one_endless_axis(size: int, start: int, length: int) -> None:
    result = mirror_index(start, length, size)
    assert result.shape == (length,)
    assert ((result >= 0) & (result < size)).all()
    # Inside the raster nothing moves; everywhere neighbours are at most one pixel apart.
    position = np.arange(start, start + length)
    inside = (position >= 0) & (position < size)
    assert np.array_equal(result[inside], position[inside])
    assert (np.abs(np.diff(result)) == (1 if size > 1 else 0)).all()
    assert np.array_equal(result, mirror_index(-start - length + 1, length, size)[::-1])


def test_two_axes_equal_numpy_reflect() -> None:
    image = np.arange(5 * 3).reshape(5, 3)
    rows, cols = mirror_index(-9, 25, 5), mirror_index(-1, 8, 3)
    assert np.array_equal(image[np.ix_(rows, cols)], np.pad(image, ((9, 11), (1, 4)), "reflect"))


@pytest.mark.parametrize("size", [0, -2])
def test_an_empty_axis_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"axis of {size} pixels"):
        mirror_index(0, 4, size)


def test_trim_undoes_a_margin_without_a_copy() -> None:
    image = np.arange(2 * 7 * 9).reshape(2, 7, 9)
    padded = np.pad(image, ((0, 0), (3, 5), (4, 6)), mode="reflect")
    result = trim(padded, 3, 4, 7, 9)
    assert np.array_equal(result, image)
    assert np.shares_memory(result, padded)
