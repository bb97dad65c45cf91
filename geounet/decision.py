"""How the probabilities of a pixel's classes become one class: the rule, and its application."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geounet.errors import ConfigError
from geounet.legend import NODATA_ID, Legend
from geounet.memory import cached_rows


def check_thresholds(thresholds: Mapping[str, float], legend: Legend) -> None:
    """Refuse thresholds of classes that ``legend`` lacks, and values outside 0 .. 1.

    Raises:
        ConfigError: with the name and the value.
    """
    for name, value in thresholds.items():
        item = legend[name]
        if not 0 <= value <= 1:
            raise ConfigError(f"threshold {value} of class {item.name!r} must lie in 0 .. 1")


@dataclass(frozen=True)
class Decision:
    """How probabilities become a class and a confidence.

    A class with a threshold is *called* where its probability reaches it. A pixel takes the most
    probable of the classes that are called there; where none is, the most probable class that has
    no threshold; where every class has one, the most probable of all. So a threshold above a
    class's usual share keeps doubtful pixels out of it, and one below it lets the class win against
    more probable ones that have no threshold. Equal probabilities go to the class that stands first
    in the legend. Without thresholds this is the most probable class.
    """

    ids: tuple[int, ...]
    """Mask value of each of the network's classes."""
    groups: tuple[int, ...]
    """Group number of each class; the confidence of a pixel is its group's probability, so that
    terrain made of land and road is not called unsure where only these two compete."""
    thresholds: tuple[float | None, ...] = ()
    """Threshold of each class, None where it has none; empty: no class has one."""

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.groups) == len(self.thresholds or self.ids):
            raise ConfigError(
                f"{len(self.ids)} classes need as many groups ({len(self.groups)})"
                f" and thresholds ({len(self.thresholds)})"
            )

    def likeliest(self, probabilities: np.ndarray) -> np.ndarray:
        """The class that each pixel takes.

        Args:
            probabilities: float ``(classes, height, width)``.

        Returns:
            uint8 ``(height, width)``, index of the class.
        """
        limits = self.thresholds
        if all(limit is None for limit in limits):
            return _largest(probabilities)[0]
        free = [number for number, limit in enumerate(limits) if limit is None]
        best = _largest(probabilities[free] if free else probabilities)[0]
        if free:
            best = np.asarray(free, dtype=np.uint8)[best]
        share = np.full(best.shape, -1.0, dtype=probabilities.dtype)
        for number, limit in enumerate(limits):
            if limit is None:
                continue
            own = probabilities[number]
            wins = (own >= probabilities.dtype.type(limit)) & (own > share)
            best[wins] = number
            np.copyto(share, own, where=wins)
        return best

    def decide(self, probabilities: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class ids and confidences.

        Args:
            probabilities: float ``(classes, height, width)``.
            known: bool ``(height, width)``, False where the scene has no data.

        Returns:
            uint8 ``(height, width)`` class ids, 255 without data; uint8 ``(height, width)``, the
            probability of the class's group times 255.
        """
        mask = np.empty(known.shape, dtype=np.uint8)
        confidence = np.empty(known.shape, dtype=np.uint8)
        for part in cached_rows(*known.shape):
            own = probabilities[:, part]
            if len(set(self.groups)) == len(self.groups) and not self.thresholds:
                likeliest, share = _largest(own)
            else:
                likeliest = self.likeliest(own)
                share = self._group_share(own, likeliest)
            self._name(likeliest, known[part], mask[part])
            np.clip(share, 0, 1, out=share)
            share *= 255
            confidence[part] = np.rint(share, out=share)
        return mask, confidence

    def classes(self, probabilities: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The first half of :meth:`decide`, where nobody asks for confidences."""
        if all(limit is None for limit in self.thresholds):
            mask = _largest_index(probabilities)
            self._name(mask, known, mask)
            return mask
        mask = np.empty(known.shape, dtype=np.uint8)
        for part in cached_rows(*known.shape):
            self._name(self.likeliest(probabilities[:, part]), known[part], mask[part])
        return mask

    def _group_share(self, probabilities: np.ndarray, likeliest: np.ndarray) -> np.ndarray:
        """The probability of the group of each pixel's class."""
        groups = np.asarray(self.groups)
        sums = np.stack([probabilities[groups == n].sum(axis=0) for n in range(max(groups) + 1)])
        share: np.ndarray = np.take_along_axis(sums, groups[likeliest][None], axis=0)[0]
        return share

    def _name(self, likeliest: np.ndarray, known: np.ndarray, mask: np.ndarray) -> None:
        """Write the mask values of class indices to ``mask``, which may be their own array."""
        if self.ids == tuple(range(len(self.ids))):
            if mask is not likeliest:
                mask[:] = likeliest
        else:
            mask[:] = np.asarray(self.ids, dtype=np.uint8)[likeliest]
        if not known.all():
            mask[~known] = NODATA_ID


def _largest(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index, uint8, and value of the largest share, the first of equals.

    A pass per class over whole rows, which the processor does many pixels at a time: ``argmax``
    over the first axis takes ten times as long.
    """
    top: np.ndarray = shares[0].copy()
    best = np.zeros(top.shape, dtype=np.uint8)
    better = np.empty(top.shape, dtype=bool)
    for number, own in enumerate(shares[1:], 1):
        np.greater(own, top, out=better)
        _prefer(best, better, number)
        np.maximum(top, own, out=top)
    return best, top


def _largest_index(shares: np.ndarray) -> np.ndarray:
    """The index of :func:`_largest` alone: a third of the time less.

    The first comparison is the index of the first two, the last maximum is not needed.
    """
    _, height, width = shares.shape
    result = np.zeros((height, width), dtype=np.uint8)
    first, *others = shares
    parts = list(cached_rows(height, width))
    tops = np.empty((parts[0].stop if parts else 0, width), shares.dtype)
    betters = np.empty(tops.shape, dtype=bool)
    for part in parts:
        count = part.stop - part.start
        best, top, better = result[part], tops[:count], betters[:count]
        np.copyto(top, first[part])
        for number, own in enumerate(others, 1):
            np.greater(own[part], top, out=best.view(bool) if number == 1 else better)
            if number > 1:
                _prefer(best, better, number)
            if number < len(others):
                np.maximum(top, own[part], out=top)
    return result


def _prefer(best: np.ndarray, better: np.ndarray, number: int) -> None:
    """``best`` becomes ``number`` where ``better``, which is overwritten. As numbers rise from call
    to call, the maximum does that, without a branch.
    """
    index = better.view(np.uint8)
    np.multiply(index, np.uint8(number), out=index)
    np.maximum(best, index, out=best)


def decision_for(
    legend: Legend,
    mapping: Mapping[int, int] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Decision:
    """Mask values, confidence groups and thresholds of the network's classes.

    Args:
        legend: class ``i`` of the network is its ``i``-th.
        mapping: ids of the legend to those of the groups; None: each class stands alone.
        thresholds: by class name; None: no class has one.

    Raises:
        ConfigError: a threshold of an unknown class, or outside 0 .. 1.
    """
    check_thresholds(thresholds or {}, legend)
    ids = tuple(item.id for item in legend)
    targets = [mapping[value] if mapping else value for value in ids]
    numbers = {target: number for number, target in enumerate(dict.fromkeys(targets))}
    limits = tuple(thresholds.get(name) for name in legend.names) if thresholds else ()
    return Decision(ids, tuple(numbers[target] for target in targets), limits)


Storage = Literal["uint8", "float16"]
"""How probabilities are stored: in steps of 1/254, or as half-precision numbers."""
STEPS = 254
"""Stored uint8 value of probability 1; 255 stands for no data."""


def stored(probabilities: np.ndarray, known: np.ndarray, storage: Storage) -> np.ndarray:
    """Probabilities as they are written to a file.

    Args:
        probabilities: float ``(classes, height, width)``.
        known: bool ``(height, width)``, False where the scene has no data.
        storage: number format.

    Returns:
        ``(classes, height, width)``: uint8, probability times 254 and 255 without data; or float16,
        NaN without data.
    """
    if storage == "uint8":
        values: np.ndarray = np.rint(np.clip(probabilities, 0, 1) * STEPS).astype(np.uint8)
        values[:, ~known] = NODATA_ID
    else:
        values = probabilities.astype(np.float16)
        values[:, ~known] = np.nan
    return values
