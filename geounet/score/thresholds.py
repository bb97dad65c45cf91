"""Probability thresholds that maximise F1, from counts of stored probabilities.

A threshold of a class splits pixels into those called it and the rest, and its F1 follows from two
histograms: of the pixels that are the class, and of those that are not. All 255 thresholds that
stored probabilities can tell apart are tried, so the best is found without sorting any pixels.
"""

from typing import NamedTuple

import numpy as np

from geounet.decision import STEPS
from geounet.metrics import IGNORED, alone

_CHUNK = 1 << 22  # pixels counted at once: bounds the int64 copies to 32 MB each


class Best(NamedTuple):
    """The best threshold of a class, one against the rest."""

    threshold: float
    """Probability from which a pixel is called the class; halfway between two stored ones, so that
    it splits the probabilities themselves as it splits the stored ones."""
    f1: float
    """Its F1."""


class ThresholdTally:
    """Counts pixels by label, class and stored probability; takes strips in any order.

    As in :class:`~geounet.metrics.PartialConfusion`, a class is judged at pixels whose label is
    that class alone and at those whose label leaves it out.
    """

    def __init__(self, allowed: np.ndarray) -> None:
        """
        Args:
            allowed: bool ``(labels, classes)``: the classes that each label allows.
        """
        self._allowed = allowed
        labels, classes = allowed.shape
        self._counts = np.zeros((classes, labels, 256), np.int64)

    def push(self, labels: np.ndarray, shares: np.ndarray) -> None:
        """Take a strip.

        Args:
            labels: uint8 ``(n, width)``: rows of ``allowed``, or 255.
            shares: uint8 ``(classes, n, width)``: probabilities times 254, or 255 without data; see
                :func:`geounet.decision.stored`.
        """
        codes, fields = labels.ravel(), shares.reshape(len(shares), -1)
        shape = self._counts.shape[1:]
        for start in range(0, codes.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            judged = (codes[part] != IGNORED) & (fields[0, part] != IGNORED)
            rows = codes[part][judged].astype(np.int64) * shape[1]
            for index, field in enumerate(fields):
                places = rows + field[part][judged]
                self._counts[index] += np.bincount(places, minlength=shape[0] * shape[1]).reshape(
                    shape
                )

    def best(self) -> tuple[Best | None, ...]:
        """The best threshold of each class; None where no label names the class alone, or no pixel
        has such a label. Among equally good ones it is the one in the middle.
        """
        return tuple(
            _best(counts[yes].sum(axis=0), counts[no].sum(axis=0))
            for counts, yes, no in zip(
                self._counts, alone(self._allowed).T, ~self._allowed.T, strict=True
            )
        )


def _best(true: np.ndarray, false: np.ndarray) -> Best | None:
    """From int64 ``(256,)`` pixels that are the class and that are not, by stored probability."""
    total = int(true.sum())
    if not total:
        return None
    # Pixels called the class, from each stored probability on.
    hits = true[STEPS::-1].cumsum()[::-1]
    found = hits + false[STEPS::-1].cumsum()[::-1]
    f1 = 2 * hits / (total + found)
    winners = np.flatnonzero(f1 == f1.max())
    step = int(winners[len(winners) // 2])
    return Best(max(0.0, (step - 0.5) / STEPS), float(f1[step]))
