"""Thresholds of the best F1 against all thresholds tried one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.decision import stored
from geounet.score import thresholds
from geounet.score.thresholds import ThresholdTally

ALLOWED = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]], dtype=bool)
"""Two full labels, and one that leaves the first and the last class open."""


def f1_of(called: np.ndarray, true: np.ndarray, false: np.ndarray) -> float:
    hits = (called & true).sum()
    return float(2 * hits / (true.sum() + (called & (true | false)).sum()))


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 3.0))
def test_no_threshold_is_better(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2, 255], np.uint8), (13, 17))
    scores = rng.normal(0, spread, (3, 13, 17)) + np.eye(3)[:, labels % 3]
    shares = np.exp(scores) / np.exp(scores).sum(axis=0)
    known = rng.random(labels.shape) < 0.9
    tally = ThresholdTally(ALLOWED)
    for rows in (slice(0, 5), slice(5, 13)):
        tally.push(labels[rows], stored(shares, known, "uint8")[:, rows])
    best = tally.best()
    for index, code in ((0, 0), (1, 1)):
        found = best[index]
        assert found is not None
        true = (labels == code) & known
        false = np.isin(labels, np.flatnonzero(~ALLOWED[:, index])) & known
        tried = [f1_of(shares[index] >= (k - 0.5) / 254, true, false) for k in range(255)]
        assert found.f1 == pytest.approx(max(tried), abs=1e-12)
        reached = f1_of(shares[index] >= found.threshold, true, false)
        assert reached == pytest.approx(found.f1, abs=1e-12)
    assert best[2] is None  # no label names it alone


def test_the_middle_of_a_gap_is_taken_and_pieces_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([[0, 0, 1, 1, 255]], np.uint8)
    shares = np.array([[[200, 180, 60, 20, 90]], [[54, 74, 194, 234, 164]]], np.uint8)
    results = []
    for chunk in (1, 1 << 22):
        monkeypatch.setattr(thresholds, "_CHUNK", chunk)
        tally = ThresholdTally(np.eye(2, dtype=bool))
        tally.push(labels, shares)
        results.append(tally.best())
    assert results[0] == results[1]
    first, second = results[0]
    assert first is not None and second is not None
    assert first.f1 == second.f1 == 1
    assert first.threshold == pytest.approx(120.5 / 254)
    assert second.threshold == pytest.approx(134.5 / 254)
