"""How well a mask agrees with the truth: a streamed confusion matrix and the scores drawn from it.

A score whose denominator is zero (a class that is neither in the truth nor in the prediction) is
NaN and stays NaN: means skip it and say over how many classes they were taken.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geounet.errors import ConfigError

IGNORED = 255
"""Value of pixels that are not judged; in truth and prediction."""
_CHUNK = 1 << 22  # pixels counted at once: bounds the int64 copy that bincount makes to 32 MB


class Mean(NamedTuple):
    """A mean over the classes that have a score."""

    value: float
    """NaN if no class has one."""
    classes: int
    """How many classes it was taken over."""


class _Scores(ABC):
    """Scores per class, from hits, true pixels and predicted pixels."""

    @property
    @abstractmethod
    def hits(self) -> np.ndarray:
        """Pixels of a class that were predicted as it, int64 ``(classes,)``."""

    @property
    @abstractmethod
    def true(self) -> np.ndarray:
        """True pixels per class, int64 ``(classes,)``."""

    @property
    @abstractmethod
    def found(self) -> np.ndarray:
        """Predicted pixels per class, of those where the truth of it is known, int64."""

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union per class (Jaccard 1912), float64 ``(classes,)``."""
        return _ratio(self.hits, self.true + self.found - self.hits)

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall, the Dice coefficient (Dice 1945), per class."""
        return _ratio(2 * self.hits, self.true + self.found)

    @property
    def precision(self) -> np.ndarray:
        """Share of the pixels predicted as a class that are of it, per class."""
        return _ratio(self.hits, self.found)

    @property
    def recall(self) -> np.ndarray:
        """Share of a class's true pixels that were found, per class."""
        return _ratio(self.hits, self.true)

    @property
    def mean_iou(self) -> Mean:
        """mIoU: the mean of :attr:`iou` over the classes that have one."""
        return mean_score(self.iou)


@dataclass(frozen=True)
class Confusion(_Scores):
    """Counts of judged pixels by true and predicted class."""

    counts: np.ndarray
    """int64 ``(classes, classes)``: row = true class, column = predicted class."""
    unpredicted: int = 0
    """Pixels with a true class but no prediction (255); in no score, but not hidden either."""

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.counts.shape[0] != self.counts.shape[1]:
            raise ConfigError(f"confusion of shape {self.counts.shape} must be square")

    @classmethod
    def of(cls, truth: np.ndarray, predicted: np.ndarray, classes: int) -> "Confusion":
        """Count one piece of a scene; add pieces with ``+``.

        Args:
            truth: integers of any shape, ``0 .. classes - 1`` or 255.
            predicted: the same shape and values.
            classes: number of classes, 1 to 255.

        Raises:
            ConfigError: shapes differ, or a value is neither a class nor 255.
        """
        if truth.shape != predicted.shape:
            raise ConfigError(
                f"truth {truth.shape} and prediction {predicted.shape} differ in shape"
            )
        if not 1 <= classes <= IGNORED:
            raise ConfigError(f"{classes} classes: give 1 .. {IGNORED}")
        counts = np.zeros(classes * classes, np.int64)
        unpredicted = 0
        true, found = truth.ravel(), predicted.ravel()
        for start in range(0, true.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            known = true[part] != IGNORED
            judged = known & (found[part] != IGNORED)
            unpredicted += int(known.sum()) - int(judged.sum())
            row = _checked("truth", true[part][judged], classes)
            col = _checked("prediction", found[part][judged], classes)
            counts += np.bincount(row * classes + col, minlength=classes * classes)
        return cls(counts.reshape(classes, classes), unpredicted)

    @classmethod
    def empty(cls, classes: int) -> "Confusion":
        """No pixels yet."""
        return cls(np.zeros((classes, classes), np.int64))

    def __add__(self, other: "Confusion") -> "Confusion":
        if self.counts.shape != other.counts.shape:
            raise ConfigError(
                f"confusions of {len(self.counts)} and {len(other.counts)} classes cannot be added"
            )
        return Confusion(self.counts + other.counts, self.unpredicted + other.unpredicted)

    @property
    def pixels(self) -> int:
        """Judged pixels."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of the judged pixels whose class is right; NaN without any."""
        return float(
            _ratio(self.hits.sum(keepdims=True), self.counts.sum(keepdims=True).ravel())[0]
        )

    @property
    def hits(self) -> np.ndarray:
        """See :class:`_Scores`."""
        return np.diagonal(self.counts)

    @property
    def true(self) -> np.ndarray:
        """See :class:`_Scores`."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def found(self) -> np.ndarray:
        """See :class:`_Scores`."""
        return np.asarray(self.counts.sum(axis=0))


@dataclass(frozen=True)
class PartialConfusion(_Scores):
    """Counts of judged pixels by label and predicted class, where labels may allow many classes.

    A class is judged at pixels whose label is that class alone and at those whose label leaves it
    out. Classes that no label names alone have no score. With one label per class this is the
    :class:`Confusion`.
    """

    allowed: np.ndarray
    """bool ``(labels, classes)``: the classes that each label allows."""
    counts: np.ndarray
    """int64 ``(labels, classes)``: row = label, column = predicted class."""
    unpredicted: int = 0
    """Pixels with a label but no prediction (255)."""
    unlabelled: int = 0
    """Pixels without a label (255)."""

    def __post_init__(self) -> None:
        if self.allowed.ndim != 2 or self.allowed.shape != self.counts.shape:
            raise ConfigError(f"counts {self.counts.shape} do not fit labels {self.allowed.shape}")

    @classmethod
    def empty(cls, allowed: np.ndarray) -> "PartialConfusion":
        """No pixels yet."""
        return cls(allowed, np.zeros(allowed.shape, np.int64))

    def plus(self, labels: np.ndarray, predicted: np.ndarray) -> "PartialConfusion":
        """With the pixels of one more piece of a scene.

        Args:
            labels: uint8 of any shape: rows of :attr:`allowed`, or 255.
            predicted: the same shape: columns of it, or 255.

        Raises:
            ConfigError: shapes differ, or a value is neither.
        """
        size = max(self.allowed.shape)
        piece = Confusion.of(labels, predicted, size)
        rows, cols = self.allowed.shape
        if piece.counts[rows:].any() or piece.counts[:, cols:].any():
            raise ConfigError(f"labels or predictions beyond {rows} labels and {cols} classes")
        return PartialConfusion(
            self.allowed,
            self.counts + piece.counts[:rows, :cols],
            self.unpredicted + piece.unpredicted,
            self.unlabelled + int((labels == IGNORED).sum()),
        )

    @property
    def pixels(self) -> int:
        """Judged pixels."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of the judged pixels whose class the label allows; NaN without any."""
        right = np.atleast_1d(self.counts[self.allowed].sum())
        return float(_ratio(right, np.atleast_1d(self.counts.sum()))[0])

    @property
    def hits(self) -> np.ndarray:
        """See :class:`_Scores`."""
        return np.asarray((self.counts * self._alone).sum(axis=0))

    @property
    def true(self) -> np.ndarray:
        """See :class:`_Scores`."""
        return np.asarray((self.counts.sum(axis=1)[:, None] * self._alone).sum(axis=0))

    @property
    def found(self) -> np.ndarray:
        """See :class:`_Scores`; 0 for classes that no label names alone."""
        wrong = (self.counts * ~self.allowed).sum(axis=0)
        return np.asarray((self.hits + wrong) * self._alone.any(axis=0))

    @property
    def _alone(self) -> np.ndarray:
        return alone(self.allowed)


def alone(allowed: np.ndarray) -> np.ndarray:
    """Where a label names one class alone: bool ``(labels, classes)``, as ``allowed``."""
    return np.asarray(allowed & (allowed.sum(axis=1) == 1)[:, None])


def mean_score(scores: np.ndarray) -> Mean:
    """Mean of per-class scores that skips NaN and counts what it took.

    Args:
        scores: float ``(classes,)``.
    """
    given = scores[~np.isnan(scores)]
    return Mean(float(given.mean()) if given.size else float("nan"), int(given.size))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole`` in float64, NaN where ``whole`` is zero."""
    result = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _checked(name: str, values: np.ndarray, classes: int) -> np.ndarray:
    """``values`` as int64, all of them classes."""
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < classes:
        wrong = values[(values < 0) | (values >= classes)][0]
        raise ConfigError(
            f"{name} holds the value {wrong}, which is neither a class (0 .. {classes - 1})"
            f" nor {IGNORED}"
        )
    return values.astype(np.int64)
