"""The U-Net paper's weight map: pixels between neighbouring objects count more.

``w(x) = wc(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))``, where d1 and d2 are the distances to
the nearest and the second nearest object (Ronneberger et al. 2015, section 3, equation 2). The
first term, which balances the classes, is ``fit.class_weights``; this module makes the second.

The two nearest objects of every pixel come from two passes, as in exact distance transforms
(Felzenszwalb & Huttenlocher 2012): within each column, the nearest object pixel and the nearest one
of another object; then along each row, the best of all columns. An object that is third in a column
is third or worse by way of that column everywhere in the row, so two per column are enough. The
search goes as far as the weight is above 1e-7.
"""

import math

import numpy as np
from numba import njit

_NEGLIGIBLE = 1e-7
_FAR = np.float32(np.inf)


def boundary_weights(instances: np.ndarray, w0: float = 10.0, sigma: float = 5.0) -> np.ndarray:
    """The weight map's second term.

    Args:
        instances: integers ``(h, w)``: 0 where there is no object, else its number, > 0.
        w0: weight between objects that touch, > 0.
        sigma: fall of the weight with the sum of the distances, in pixels, > 0.

    Returns:
        float32 ``(h, w)``; within an object its own distance is 0. Zero with less than two objects.
    """
    last = instances.max(initial=0)
    if not ((instances != 0) & (instances != last)).any():  # most windows have no neighbours
        return np.zeros(instances.shape, np.float32)
    cut = sigma * math.sqrt(max(0.0, 2 * math.log(w0 / _NEGLIGIBLE)))
    numbers, squares = _columns(np.ascontiguousarray(instances, dtype=np.int32), int(cut))
    weights: np.ndarray = _rows(numbers, squares, cut, w0, 1 / (2 * sigma * sigma))
    return weights


def connected_instances(labels: np.ndarray, sets: tuple[int, ...]) -> np.ndarray:
    """Objects as the connected regions (over edges, not corners) of pixels of one class.

    Args:
        labels: label sets, uint8 ``(h, w)``.
        sets: the label sets that form objects, one bit each.

    Returns:
        int32 ``(h, w)``, 0 where there is none.
    """
    from scipy import ndimage

    instances = np.zeros(labels.shape, dtype=np.int32)
    found = 0
    for value in sets:
        regions, count = ndimage.label(labels == value)
        if found:
            regions[regions > 0] += found
        instances += regions
        found += count
    return instances


# The inner loops run along rows, without branches and in 32 bits (integers would be widened), so
# that the compiler makes vectors of them. Squares of whole distances are exact in float32.


@njit(cache=True, nogil=True)
def _columns(instances: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """The two nearest objects of each pixel within its column.

    Returns:
        Their numbers, int32, and squared distances, float32, nearest first: ``(2, h, w)`` each; the
        distance is infinite where there is none within ``reach``.
    """
    height, width = instances.shape
    numbers = np.zeros((2, height, width), dtype=np.int32)
    squares = np.full((2, height, width), _FAR, dtype=np.float32)
    for sweep in range(2):
        last = np.zeros((2, width), dtype=np.int32)  # the latest object, the latest other one
        where = np.full((2, width), -_FAR, dtype=np.float32)  # steps at which they were met
        for step in range(height):
            row = height - 1 - step if sweep else step
            _meet(instances[row], np.float32(step), last[0], last[1], where[0], where[1])
            for rank in range(2):
                _insert(
                    last[rank], where[rank], np.float32(step), np.float32(reach),
                    numbers[0, row], numbers[1, row], squares[0, row], squares[1, row],
                )  # fmt: skip
    return numbers, squares


@njit(cache=True, nogil=True)
def _meet(
    line: np.ndarray, step: np.float32, last: np.ndarray, other: np.ndarray,
    last_step: np.ndarray, other_step: np.ndarray,
) -> None:  # fmt: skip
    """Note the object pixels that a sweep over the rows comes to."""
    for col in range(line.size):
        number, before = line[col], last[col]
        new = (number != 0) & (number != before)
        other[col] = before if new else other[col]
        other_step[col] = last_step[col] if new else other_step[col]
        last[col] = number if number != 0 else before
        last_step[col] = step if number != 0 else last_step[col]


@njit(cache=True, nogil=True)
def _insert(
    last: np.ndarray, last_step: np.ndarray, step: np.float32, reach: np.float32,
    n0: np.ndarray, n1: np.ndarray, s0: np.ndarray, s1: np.ndarray,
) -> None:  # fmt: skip
    """Put the objects of a sweep among a row's two nearest: numbers n0, n1, squares s0, s1."""
    for col in range(last.size):
        number, away = last[col], step - last_step[col]
        square = away * away if away <= reach else _FAR
        first, second, nearest, next_nearest = s0[col], s1[col], n0[col], n1[col]
        nearer = square < first
        moved = nearer & (number != nearest)
        behind = (not nearer) & (number != nearest) & (square < second)
        n1[col] = nearest if moved else (number if behind else next_nearest)
        s1[col] = first if moved else (square if behind else second)
        n0[col] = number if nearer else nearest
        s0[col] = square if nearer else first


@njit(cache=True, nogil=True)
def _rows(
    numbers: np.ndarray, squares: np.ndarray, cut: float, w0: float, steepness: float
) -> np.ndarray:
    """Weights from the two nearest objects per column, all columns within ``cut`` tried.

    The nearest object matters up to half the cut only: the second one is farther. It is looked for
    among keys of its squared distance and, in the lower 32 bits, its number.
    """
    _, height, width = numbers.shape
    weights = np.zeros((height, width), dtype=np.float32)
    pad = int(cut)
    middle = slice(pad, pad + width)
    far = np.int64(1) << 62
    keys = np.full(width + 2 * pad, far, dtype=np.int64)
    own = np.zeros(width + 2 * pad, dtype=np.int32)
    near = np.full(width + 2 * pad, _FAR, dtype=np.float32)
    other = np.full(width + 2 * pad, _FAR, dtype=np.float32)
    # What is found is written to the one row and to the other in turn.
    nearest, second = np.empty((2, width), np.int64), np.empty((2, width), np.float32)
    number, total = np.empty(width, np.int32), np.empty(width, np.float64)
    for row in range(height):
        own[middle], near[middle], other[middle] = numbers[0, row], squares[0, row], squares[1, row]
        for col in range(width):
            square = near[pad + col]
            keys[pad + col] = (np.int64(square) << 32) + own[pad + col] if square < _FAR else far
        turn = 0
        nearest[turn] = keys[middle]
        for shift in range(1, pad // 2 + 1):
            aside = np.int64(shift * shift) << 32
            _nearest(
                keys[pad - shift :], keys[pad + shift :], aside, nearest[turn], nearest[1 - turn]
            )
            turn = 1 - turn
        first = nearest[turn]
        if first.min() >= far:
            continue
        number[:] = first & 0xFFFFFFFF
        second[turn] = _FAR
        for shift in range(pad + 1):
            left, right = pad - shift, pad + shift
            _second(
                own[left:], own[right:], near[left:], near[right:], other[left:], other[right:],
                np.float32(shift * shift), number, second[turn], second[1 - turn],
            )  # fmt: skip
            turn = 1 - turn
        for col in range(width):
            one, two = np.float64(first[col] >> 32), np.float64(second[turn, col])
            total[col] = math.sqrt(one) + math.sqrt(two)
        for col in range(width):
            if total[col] <= cut:
                weights[row, col] = w0 * math.exp(-total[col] * total[col] * steepness)
    return weights


@njit(cache=True, nogil=True)
def _nearest(
    left: np.ndarray, right: np.ndarray, aside: np.int64, before: np.ndarray, after: np.ndarray
) -> None:
    """Compare each pixel's nearest object with those of two columns, ``aside`` away (keys)."""
    for col in range(before.size):
        a, b, old = left[col], right[col], before[col]
        key = (a if a < b else b) + aside
        after[col] = key if key < old else old


@njit(cache=True, nogil=True)
def _second(
    left: np.ndarray, right: np.ndarray, left_square: np.ndarray, right_square: np.ndarray,
    left_other: np.ndarray, right_other: np.ndarray,
    aside: np.float32, number: np.ndarray, before: np.ndarray, after: np.ndarray,
) -> None:  # fmt: skip
    """Compare each pixel's second object with what two columns have beside its nearest."""
    for col in range(number.size):
        # All is read, whichever counts: reading what a comparison asks for is slow in a vector.
        a, a_other = left_square[col], left_other[col]
        b, b_other = right_square[col], right_other[col]
        a = a_other if left[col] == number[col] else a
        b = b_other if right[col] == number[col] else b
        square = (a if a < b else b) + aside
        old = before[col]
        after[col] = square if square < old else old
