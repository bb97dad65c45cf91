"""How the probabilities of a pixel's classes become one class: the rule, and its application."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geounet.errors import ConfigError
from geounet.legend import NODATA_ID, Legend


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
            int64 ``(height, width)``, index of the class.
        """
        best: np.ndarray = probabilities.argmax(axis=0)
        limits = self.thresholds
        if all(limit is None for limit in limits):
            return best
        free = [number for number, limit in enumerate(limits) if limit is None]
        if free:
            best = np.asarray(free)[probabilities[free].argmax(axis=0)]
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
        likeliest = self.likeliest(probabilities)
        groups = np.asarray(self.groups)
        mask = np.asarray(self.ids, dtype=np.uint8)[likeliest]
        if len(set(self.groups)) == len(self.groups) and not self.thresholds:
            share = probabilities.max(axis=0)
        else:
            sums = np.stack(
                [probabilities[groups == n].sum(axis=0) for n in range(max(groups) + 1)]
            )
            share = np.take_along_axis(sums, groups[likeliest][None], axis=0)[0]
        mask[~known] = NODATA_ID
        return mask, np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


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
