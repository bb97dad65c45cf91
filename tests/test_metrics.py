import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geounet import metrics
from geounet.errors import ConfigError
from geounet.metrics import Confusion, PartialConfusion, mean_score

CLASSES = 4
masks = hnp.arrays(np.uint8, (2, 7, 5), elements=st.sampled_from([0, 1, 2, 3, 255]))


def brute_force(truth: np.ndarray, found: np.ndarray, label: int) -> dict[str, float]:
    """Scores of one class from sets of pixels, NaN for 0/0."""
    judged = [i for i in range(truth.size) if truth.flat[i] != 255 and found.flat[i] != 255]
    true = {i for i in judged if truth.flat[i] == label}
    said = {i for i in judged if found.flat[i] == label}
    both = len(true & said)

    def ratio(part: int, whole: int) -> float:
        return part / whole if whole else math.nan

    return {
        "iou": ratio(both, len(true | said)),
        "f1": ratio(2 * both, len(true) + len(said)),
        "precision": ratio(both, len(said)),
        "recall": ratio(both, len(true)),
    }


@given(masks)
def test_scores_equal_brute_force(pair: np.ndarray) -> None:
    truth, found = pair
    confusion = Confusion.of(truth, found, CLASSES)
    for label in range(CLASSES):
        for name, expected in brute_force(truth, found, label).items():
            np.testing.assert_equal(getattr(confusion, name)[label], expected)
    judged = (truth != 255) & (found != 255)
    assert confusion.pixels == judged.sum()
    assert confusion.unpredicted == ((truth != 255) & (found == 255)).sum()
    if judged.any():
        assert confusion.accuracy == (truth == found)[judged].mean()
    else:
        assert math.isnan(confusion.accuracy)


@given(masks, st.integers(1, 6))
def test_pieces_add_up_to_the_whole(pair: np.ndarray, cut: int) -> None:
    truth, found = pair
    whole = Confusion.of(truth, found, CLASSES)
    parts = Confusion.empty(CLASSES)
    for rows in (slice(0, cut), slice(cut, None)):
        parts = parts + Confusion.of(truth[rows], found[rows], CLASSES)
    assert np.array_equal(parts.counts, whole.counts)
    assert parts.unpredicted == whole.unpredicted


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, CLASSES, (2, 53, 17), dtype=np.uint8)
    whole = Confusion.of(truth, found, CLASSES)
    monkeypatch.setattr(metrics, "_CHUNK", 10)
    assert np.array_equal(Confusion.of(truth, found, CLASSES).counts, whole.counts)


def test_absent_class_is_nan_and_the_mean_says_so() -> None:
    truth = np.array([0, 0, 1, 255], np.uint8)
    confusion = Confusion.of(truth, np.array([0, 1, 1, 3], np.uint8), CLASSES)
    np.testing.assert_equal(confusion.iou, [0.5, 0.5, math.nan, math.nan])
    assert confusion.mean_iou == (0.5, 2)
    # In the prediction alone, a class has a score, and it is 0.
    wrong = Confusion.of(np.array([0], np.uint8), np.array([2], np.uint8), CLASSES)
    np.testing.assert_equal(wrong.iou, [0, math.nan, 0, math.nan])
    assert math.isnan(wrong.recall[2])
    assert math.isnan(wrong.precision[0])
    nothing = mean_score(Confusion.empty(CLASSES).f1)
    assert math.isnan(nothing.value)
    assert nothing.classes == 0


def test_rows_are_the_truth() -> None:
    confusion = Confusion.of(np.array([0, 0]), np.array([1, 1]), 2)
    assert confusion.counts.tolist() == [[0, 2], [0, 0]]


def test_two_hundred_and_fifty_five_classes_do_not_overflow() -> None:
    label = np.full(9, 254, np.uint8)
    assert Confusion.of(label, label, 255).counts[254, 254] == 9


@pytest.mark.parametrize("value", [CLASSES, 254, -1])
def test_a_value_that_is_no_class_is_refused(value: int) -> None:
    good, bad = np.zeros(3, np.int16), np.array([0, value, 255], np.int16)
    with pytest.raises(ConfigError, match=f"truth holds the value {value}"):
        Confusion.of(bad, good, CLASSES)
    with pytest.raises(ConfigError, match=f"prediction holds the value {value}"):
        Confusion.of(good, bad, CLASSES)


def test_shapes_and_class_counts_are_checked() -> None:
    with pytest.raises(ConfigError, match="differ in shape"):
        Confusion.of(np.zeros((2, 3)), np.zeros((3, 2)), CLASSES)
    with pytest.raises(ConfigError, match="0 classes"):
        Confusion.of(np.zeros(1), np.zeros(1), 0)
    with pytest.raises(ConfigError, match="cannot be added"):
        Confusion.empty(2) + Confusion.empty(3)
    with pytest.raises(ConfigError, match="square"):
        Confusion(np.zeros((2, 3)))


@given(masks)
def test_full_labels_are_the_ordinary_confusion(pair: np.ndarray) -> None:
    truth, found = pair
    partial = PartialConfusion.empty(np.eye(CLASSES, dtype=bool)).plus(truth, found)
    whole = Confusion.of(truth, found, CLASSES)
    for name in ("iou", "f1", "precision", "recall", "accuracy", "pixels", "unpredicted"):
        np.testing.assert_equal(getattr(partial, name), getattr(whole, name))
    assert partial.unlabelled == (truth == 255).sum()


@given(masks)
def test_partial_labels_equal_brute_force(pair: np.ndarray) -> None:
    labels, found = pair
    allowed = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 1], [0, 1, 1, 0]], bool)
    result = PartialConfusion.empty(allowed).plus(labels, found)
    for number in (0, 1):
        known = (labels != 255) & (found != 255)
        yes = known & (labels == number)
        no = known & np.isin(labels, np.flatnonzero(~allowed[:, number]))
        hit, wrong = (yes & (found == number)).sum(), (no & (found == number)).sum()
        union = yes.sum() + wrong
        np.testing.assert_equal(result.iou[number], hit / union if union else math.nan)
    assert np.isnan(result.iou[2:]).all()  # no label names them alone
