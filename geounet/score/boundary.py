"""How well the borders of a mask follow those of the truth: the boundary F1 score, streamed.

Csurka, Larlus & Perronnin 2013, "What is a good evaluation measure for semantic segmentation?": the
precision of a class's boundary is the share of the predicted boundary's pixels that lie within a
tolerance of the true boundary, its recall the share of the true boundary's that lie within it of
the predicted one; F1 is their harmonic mean. There the scores are averaged over images and the
tolerance follows the image's diagonal; here they are taken over a whole scene, and the tolerance is
a number of pixels (3 by default, the smallest of Takikawa et al. 2019, "Gated-SCNN").

A pixel of a class is on its boundary if one of its four neighbours is of another class. Distances
are those between centres of pixels. The raster's edge is no boundary, nor is the edge of a place
that is not judged.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geounet.errors import ConfigError
from geounet.metrics import IGNORED, alone

TOLERANCE = 3.0
"""Default tolerance in pixels."""


@dataclass(frozen=True)
class BoundaryScores:
    """Counts of boundary pixels, per class."""

    counts: np.ndarray
    """int64 ``(classes, 4)``: true, true and matched, predicted, predicted and matched."""

    @property
    def precision(self) -> np.ndarray:
        """Share of the predicted boundary that is matched, float64; NaN without any."""
        return _share(self.counts[:, 3], self.counts[:, 2])

    @property
    def recall(self) -> np.ndarray:
        """Share of the true boundary that is matched, float64; NaN without any."""
        return _share(self.counts[:, 1], self.counts[:, 0])

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean; 0 where only one of both has a boundary, NaN where neither has."""
        precision, recall = np.nan_to_num(self.precision), np.nan_to_num(self.recall)
        none = self.counts[:, 0] + self.counts[:, 2] == 0
        score = _share(2 * precision * recall, precision + recall)
        return np.where(none, np.nan, np.nan_to_num(score))


class BoundaryCounter:
    """Counts boundaries; rows are pushed from top to bottom, and a few are kept."""

    def __init__(
        self, allowed: np.ndarray, tolerance: float = TOLERANCE, aspect: float = 1.0
    ) -> None:
        """
        Args:
            allowed: bool ``(labels, classes)``, see :class:`~geounet.metrics.PartialConfusion`;
                classes that no label names alone have no boundary.
            tolerance: in pixels, >= 0; with an ``aspect`` other than 1, in sides of a square as
                large as a pixel.
            aspect: a pixel's height relative to its width.
        """
        if not 0 <= tolerance < 1000:
            raise ConfigError(f"boundary tolerance {tolerance} must lie in 0 .. 1000 pixels")
        single = alone(allowed)
        # One row more, so that 255 can be looked up: nothing is known there.
        self._yes = np.zeros((256, allowed.shape[1]), dtype=bool)
        self._yes[: len(allowed)] = single
        self._no = np.zeros_like(self._yes)
        self._no[: len(allowed)] = ~allowed
        self._judged = np.flatnonzero(single.any(axis=0))
        self._tolerance = tolerance
        self._steps = np.array([aspect**0.5, aspect**-0.5])  # between rows, between columns
        self._reach = int(tolerance / self._steps[0]) + 1
        self._labels: np.ndarray | None = None
        self._found: np.ndarray | None = None
        self._open = 0  # first of the kept rows that is not counted yet
        self._counts = np.zeros((allowed.shape[1], 4), np.int64)

    def push(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Take uint8 ``(n, width)`` labels and predicted classes, 255 where there are none."""
        if self._labels is None or self._found is None:
            self._labels, self._found = labels, predicted
        else:
            self._labels = np.concatenate([self._labels, labels])
            self._found = np.concatenate([self._found, predicted])
        self._settle(len(self._labels) - self._reach)

    def finish(self) -> BoundaryScores:
        """No more rows will come."""
        if self._labels is not None:
            self._settle(len(self._labels))
        return BoundaryScores(self._counts)

    def _settle(self, end: int) -> None:
        """Count the kept rows up to ``end``, and drop those that no row to come can need."""
        if self._labels is None or self._found is None or end <= self._open:
            return
        for number in self._judged.tolist():
            self._counts[number] += self._count(number, self._labels, self._found, end)
        drop = max(0, end - self._reach)
        self._labels, self._found = self._labels[drop:], self._found[drop:]
        self._open = end - drop

    def _count(self, number: int, labels: np.ndarray, found: np.ndarray, end: int) -> np.ndarray:
        """The four counts of a class in the rows from ``_open`` to ``end``."""
        yes, no = self._yes[labels, number], self._no[labels, number]
        judged = (yes | no) & (found != IGNORED)
        true = _edge(yes & judged, no & judged)
        said = _edge((found == number) & judged, (found != number) & judged)
        result = [0, 0, 0, 0]
        for place, (own, other) in enumerate(((true, said), (said, true))):
            own = own[(own[:, 0] >= self._open) & (own[:, 0] < end)]
            result[2 * place] = len(own)
            if len(own) and len(other):
                bound = self._tolerance + 1e-6  # the tolerance itself counts
                distance, _ = cKDTree(other * self._steps).query(
                    own * self._steps, distance_upper_bound=bound
                )
                result[2 * place + 1] = int(np.isfinite(distance).sum())
        return np.array(result, np.int64)


def _edge(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Pixels of ``inside`` with one of ``outside`` among their four neighbours: ``(n, 2)``."""
    near = np.zeros_like(inside)
    near[1:] |= outside[:-1]
    near[:-1] |= outside[1:]
    near[:, 1:] |= outside[:, :-1]
    near[:, :-1] |= outside[:, 1:]
    return np.argwhere(inside & near)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    result = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
