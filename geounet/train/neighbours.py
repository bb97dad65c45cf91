"""Whether objects that stand close together are told apart."""

from typing import NamedTuple

import numpy as np

from geounet.train.weightmap import connected_instances

_FOUND = 0.5  # part of an object's pixels


class Separation(NamedTuple):
    """How many neighbours run together."""

    merged: int
    """Pairs of which both objects lie in one predicted region."""
    pairs: int
    """Pairs of which both objects were found; add pieces of a scene up, then divide."""

    @property
    def share(self) -> float:
        """Part of the pairs that are merged; NaN without any."""
        return self.merged / self.pairs if self.pairs else float("nan")


def neighbour_pairs(instances: np.ndarray, gap: int) -> set[tuple[int, int]]:
    """Numbers of objects that come within ``gap`` pixels of each other, the smaller first.

    Args:
        instances: integers ``(h, w)``, 0 where there is no object.
        gap: largest distance between pixel centres.
    """
    height, width = instances.shape
    pairs: set[tuple[int, int]] = set()
    for down in range(min(gap, height - 1) + 1):
        for right in range(-min(gap, width - 1), min(gap, width - 1) + 1):
            if down * down + right * right > gap * gap or (down == 0 and right <= 0):
                continue
            left, shift = max(0, -right), max(0, right)
            one = instances[: height - down, left : width - shift]
            other = instances[down:, left + right : width - shift + right]
            touch = (one != other) & (one != 0) & (other != 0)
            found = np.stack([one[touch], other[touch]])
            found.sort(axis=0)
            pairs.update(zip(*np.unique(found, axis=1).tolist(), strict=True))
    return pairs


def separation(truth: np.ndarray, predicted: np.ndarray, gap: int) -> Separation:
    """Share of true neighbours that a mask shows as one object.

    An object is found where at least half of it is predicted; it lies in the region that holds most
    of it. Objects that were not found are neither apart nor merged.

    Args:
        truth: integers ``(h, w)``, the numbers of the true objects, 0 elsewhere.
        predicted: bool ``(h, w)``.
        gap: in pixels, see :func:`neighbour_pairs`.
    """
    regions = connected_instances(predicted.astype(np.uint8), (1,))
    home: dict[int, int] = {}
    members = truth > 0
    size = np.bincount(truth[members])
    both = np.stack([truth[members], regions[members]])
    for number, region in _rarest_first(both):
        if region:  # the region that holds most of an object comes last
            home[number] = region
    covered = np.bincount(truth[members & predicted], minlength=size.size)
    found = {number for number in home if covered[number] >= _FOUND * size[number]}
    pairs = [pair for pair in neighbour_pairs(truth, gap) if found.issuperset(pair)]
    return Separation(sum(home[one] == home[other] for one, other in pairs), len(pairs))


def _rarest_first(pairs: np.ndarray) -> list[tuple[int, int]]:
    """The distinct columns of ``(2, n)``, those that occur least often first."""
    columns, counts = np.unique(pairs, axis=1, return_counts=True)
    return [(int(one), int(other)) for one, other in columns.T[np.argsort(counts)]]
