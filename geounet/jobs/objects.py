"""Objects of a class, gathered from strips of labels and predictions, and matched at the end."""

import numpy as np
import shapely

from geounet.labels.areas import Areas
from geounet.metrics import IGNORED, alone
from geounet.raster.scene import Scene
from geounet.score.objects import ObjectScores, match_objects
from geounet.vector.polygonize import Polygonizer

_NONE, _THERE = 0, 1


class ObjectCollector:
    """Holds the objects of one class: the 4-connected regions of the mask, and those of the truth.

    The true objects are the polygons themselves where the labels are polygons, so that houses wall
    to wall stay apart, else regions too; polygons are cut at the mask's edge, as regions are. What
    lies where it is not known whether a pixel is of the class is cut off; objects that lose half or
    more to that are left out.
    """

    def __init__(self, index: int, allowed: np.ndarray, scene: Scene, areas: Areas | None) -> None:
        """
        Args:
            index: the class.
            allowed: bool ``(labels, classes)``, see :class:`~geounet.metrics.PartialConfusion`.
            scene: the mask.
            areas: polygons of the labels, whose codes are rows of ``allowed``.
        """
        single = alone(allowed)[:, index]
        self._yes, self._no = np.zeros(256, bool), np.zeros(256, bool)
        self._yes[: len(allowed)] = single
        self._no[: len(allowed)] = ~allowed[:, index]
        self._index = index
        self._frame = shapely.box(0, 0, scene.width, scene.height)
        self._centres = shapely.box(0.5, 0.5, scene.width - 0.5, scene.height - 0.5)
        self._areas = None if areas is None else areas.shapes[self._yes[areas.codes]]
        names = ("found", "unknown") if areas is not None else ("found", "unknown", "true")
        self._makers = {name: Polygonizer(scene.width, nodata=_NONE) for name in names}
        self._shapes: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def push(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Take uint8 ``(n, width)`` labels and predicted classes, 255 where there are none."""
        yes = self._yes[labels]
        known = (yes | self._no[labels]) & (predicted != IGNORED)
        planes = {"found": predicted == self._index, "unknown": ~known, "true": yes}
        for name, maker in self._makers.items():
            polygons = maker.push(planes[name].astype(np.uint8))
            self._shapes[name].append(polygons.to_shapely())

    def finish(self, least_area: float, iou: float) -> ObjectScores:
        """Match; ``least_area`` in pixels, see :func:`~geounet.score.objects.match_objects`."""
        for name, maker in self._makers.items():
            self._shapes[name].append(maker.finish().to_shapely())
        shapes = {name: np.concatenate(parts) for name, parts in self._shapes.items()}
        unknown = shapely.STRtree(shapes["unknown"])
        true = shapes["true"] if self._areas is None else self._framed(self._areas)
        return match_objects(
            _known_part(true, unknown), _known_part(shapes["found"], unknown), least_area, iou
        )

    def _framed(self, shapes: np.ndarray) -> np.ndarray:
        """The parts inside the scene: what a mask may show of an object that its edge cuts."""
        shapely.prepare(self._frame)
        inside = shapely.covers(self._frame, shapes)
        parts = shapely.get_parts(shapely.intersection(shapes[~inside], self._frame))
        # Where only a line or a point is common, or less than a pixel's centre, no mask shows it.
        flat = shapely.get_dimensions(parts) < 2
        kept = ~flat & shapely.intersects(parts, self._centres)
        return np.concatenate([shapes[inside], parts[kept]])


def _known_part(shapes: np.ndarray, unknown: shapely.STRtree) -> np.ndarray:
    """``shapes`` without the unknown places; those that lose half or more are left out."""
    result = shapes.copy()
    rows, places = unknown.query(shapes, predicate="intersects")
    ends = np.flatnonzero(np.diff(rows, append=-1)) + 1
    begin = 0
    for end in ends.tolist():
        row = rows[begin]
        around = unknown.geometries[places[begin:end]]
        result[row] = shapely.difference(shapes[row], shapely.union_all(around))
        begin = end
    kept = shapely.area(result) > 0.5 * shapely.area(shapes)
    return np.asarray(result[kept])
