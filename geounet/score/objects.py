"""How many objects, such as buildings, were found as objects.

A true and a found object are a match if the intersection over union of their areas is at least 0.5;
every object matches at most once, the best pairs first (the rule of the SpaceNet building
challenges, Van Etten et al. 2018). Above 0.5 the match is unique where neither truth nor prediction
overlaps itself (Kirillov et al. 2019, "Panoptic segmentation", section 4.1).
"""

from dataclasses import dataclass

import numpy as np
import shapely

from geounet.errors import ConfigError

MATCH = 0.5
"""Least intersection over union of a match."""


@dataclass(frozen=True)
class ObjectScores:
    """Objects of one class, counted."""

    true: int
    """Objects of the truth."""
    found: int
    """Objects of the prediction."""
    matched: int
    """Pairs of both."""
    iou: float
    """Mean intersection over union of the pairs; NaN without any."""

    @property
    def precision(self) -> float:
        """Share of the found objects that match a true one; NaN without any."""
        return self.matched / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true objects that match a found one; NaN without any."""
        return self.matched / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both; NaN if there are no objects at all."""
        total = self.true + self.found
        return 2 * self.matched / total if total else float("nan")


def match_objects(
    true: np.ndarray, found: np.ndarray, least_area: float = 0.0, iou: float = MATCH
) -> ObjectScores:
    """Match objects and count them.

    Args:
        true: valid shapely polygons ``(n,)``.
        found: the same, ``(m,)``.
        least_area: smaller objects count only as the partner of one that is not smaller, so that
            specks are neither asked for nor held against the prediction (the area ranges of COCO,
            Lin et al. 2014); in the square of the coordinates' unit.
        iou: least intersection over union of a match, above 0.
    """
    if not 0 < iou <= 1:
        raise ConfigError(f"iou {iou} must lie above 0 and not above 1")
    rows, cols, scores = _overlaps(true, found, iou)
    large_true = shapely.area(true) >= least_area
    large_found = shapely.area(found) >= least_area
    matched_true = np.zeros(len(true), bool)
    matched_found = np.zeros(len(found), bool)
    kept: list[float] = []
    for place in np.lexsort((cols, rows, -scores)).tolist():
        row, col = rows[place], cols[place]
        if matched_true[row] or matched_found[col]:
            continue
        matched_true[row] = matched_found[col] = True
        if large_true[row] or large_found[col]:
            kept.append(float(scores[place]))
    return ObjectScores(
        len(kept) + int((large_true & ~matched_true).sum()),
        len(kept) + int((large_found & ~matched_found).sum()),
        len(kept),
        float(np.mean(kept)) if kept else float("nan"),
    )


def _overlaps(
    true: np.ndarray, found: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose intersection over union is at least ``iou``, and that figure."""
    rows, cols = shapely.STRtree(found).query(true, predicate="intersects")
    area_true, area_found = shapely.area(true), shapely.area(found)
    # An intersection is no larger than the smaller of both: most pairs need not be intersected.
    small = np.minimum(area_true[rows], area_found[cols])
    large = np.maximum(area_true[rows], area_found[cols])
    hopeful = small >= iou * large
    rows, cols = rows[hopeful], cols[hopeful]
    common = shapely.area(shapely.intersection(true[rows], found[cols]))
    scores = common / (area_true[rows] + area_found[cols] - common)
    good = scores >= iou
    return rows[good], cols[good], scores[good]
