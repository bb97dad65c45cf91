"""The rule that turns probabilities into a class, against the same rule written pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.decision import Decision, decision_for
from geounet.errors import ConfigError
from geounet.legend import LandClass, Legend

LEGEND = Legend(tuple(LandClass(2 * i, name, (0, 0, 0)) for i, name in enumerate("abc")))


def field(*pixels: tuple[float, ...]) -> np.ndarray:
    return np.array(pixels, np.float32).T[:, None, :]


def one_pixel(shares: np.ndarray, limits: tuple[float | None, ...]) -> int:
    """The documented rule, for one pixel."""
    called = [i for i, limit in enumerate(limits) if limit is not None and shares[i] >= limit]
    free = [i for i, limit in enumerate(limits) if limit is None]
    return max(called or free or range(len(shares)), key=lambda i: (shares[i], -i))


@given(
    st.lists(st.none() | st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0]), min_size=1, max_size=5),
    st.integers(0, 2**16),
)
def test_the_rule(limits: list[float | None], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Eighths, so that ties and probabilities equal to a threshold are common.
    shares = rng.integers(0, 9, (len(limits), 4, 7)).astype(np.float32) / 8
    numbers = tuple(range(len(limits)))
    decision = Decision(numbers, numbers, tuple(limits))
    found = decision.likeliest(shares)
    known = rng.random((4, 7)) < 0.8
    np.testing.assert_array_equal(decision.classes(shares, known), np.where(known, found, 255))
    for row, col in np.ndindex(4, 7):
        assert found[row, col] == one_pixel(shares[:, row, col], tuple(limits))


def test_a_high_threshold_keeps_doubt_out_and_a_low_one_lets_a_class_win() -> None:
    shares = field((0.5, 0.3, 0.2), (0.7, 0.2, 0.1), (0.3, 0.3, 0.4))
    known = np.ones((1, 3), bool)
    for limits, expected in (
        ({}, [0, 0, 4]),
        ({"a": 0.6}, [2, 0, 4]),
        ({"b": 0.25}, [2, 0, 2]),
        ({"b": 0.3, "c": 0.4}, [2, 0, 4]),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, [0, 0, 4]),
    ):
        mask, _ = decision_for(LEGEND, thresholds=limits).decide(shares, known)
        assert mask.tolist() == [expected], limits


def test_confidence_is_that_of_the_class_taken_and_of_its_group() -> None:
    shares = field((0.5, 0.3, 0.2))
    known = np.ones((1, 1), bool)
    assert decision_for(LEGEND, None, {"a": 0.6}).decide(shares, known)[1] == round(0.3 * 255)
    grouped = decision_for(LEGEND, {0: 0, 2: 2, 4: 2}, {"a": 0.6})
    assert grouped.decide(shares, known)[1] == round(0.5 * 255)
    assert grouped.decide(shares, ~known)[0] == 255


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"d": 0.5}, "unknown class 'd'"),
        ({"a": 1.5}, "threshold 1.5 of class 'a'"),
        ({"a": float("nan")}, "threshold nan"),
    ],
)
def test_thresholds_that_cannot_be_used(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decision_for(LEGEND, thresholds=limits)


def test_a_decision_without_as_many_thresholds_as_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 classes"):
        Decision((0, 1), (0, 1), (0.5,))


def test_large_fields_are_decided_like_one_array() -> None:
    """Work goes slice by slice; the oracle is one call each of argmax and max."""
    rng = np.random.default_rng(0)
    shares = (rng.integers(0, 9, (3, 300, 401)) / 8).astype(np.float32)
    known = rng.random((300, 401)) < 0.9
    decision = decision_for(LEGEND)
    mask, confidence = decision.decide(shares, known)
    expected = np.where(known, 2 * shares.argmax(axis=0), 255)
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(decision.classes(shares, known), expected)
    np.testing.assert_array_equal(confidence, np.rint(shares.max(axis=0) * 255))
