"""Finished mask rows to polygon files: outlines, clean-up, attributes, spool, formats."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np

from geounet.georef import Georef
from geounet.jobs.options import ClassSummary, PolygonOptions
from geounet.legend import NODATA_ID
from geounet.memory import Releaser, release
from geounet.vector.measure import PORTION, measure_polygons, orientation_and_rectangularity
from geounet.vector.polygonize import Polygonizer
from geounet.vector.polygons import Polygons
from geounet.vector.precompile import CleaningRules, Precompiler, load
from geounet.vector.spool import PolygonBatch, PolygonSpool
from geounet.vector.write import write_polygons

SLICE = 256
"""Rows traced at once; more would need more memory and save no time."""

RELEASE_PIXELS = 10_000_000
"""Pixels between two releases of freed memory."""


def cleaning_rules(options: PolygonOptions, georef: Georef, step: float = 1.0) -> CleaningRules:
    """What the user chose, in pixels.

    Args:
        options: areas and lengths on the ground.
        georef: of the mask.
        step: the mask's pixels per pixel of the grid that the network worked on, whose resolution
            bounds that of the outlines.
    """
    pixel, clean = georef.pixel_area, options.clean
    min_pixels = {
        item.id: (item.min_area if clean.min_area is None else clean.min_area) / pixel
        for item in options.legend
    }
    # A pixel staircase lies in a band up to 1.41 pixels wide: 2 pixels smooth every one.
    tolerance = max(2.0, 0.5 * step)
    if clean.simplify is not None:
        tolerance = clean.simplify / pixel**0.5
    square = [item.id for item in options.legend if item.outline == "square" and clean.square]
    smooth = [item.id for item in options.legend if item.outline == "smooth" and clean.smooth]
    return CleaningRules(
        min_pixels,
        tolerance,
        square,
        smooth if tolerance else (),
        clean.min_hole / pixel,
        clean.connectivity,
    )


def _portions(polygons: Polygons, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """The chosen polygons' rows in runs of at most :data:`PORTION` vertices or one polygon."""
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return
    corners = polygons.ring_offsets[polygons.polygon_offsets] // PORTION
    begins, ends = corners[:-1][rows], corners[1:][rows]
    yield from np.split(rows, np.flatnonzero(np.diff(begins) | np.diff(ends)) + 1)


class PolygonMaker:
    """Push rows from top to bottom, then publish files. Leaving the context removes the rest."""

    def __init__(
        self,
        width: int,
        georef: Georef,
        folder: Path,
        options: PolygonOptions,
        rules: CleaningRules,
        *,
        weighted: bool = True,
    ) -> None:
        """Start on a mask.

        Args:
            width: its columns.
            georef: where it lies.
            folder: where the files will go.
            options: which polygons.
            rules: how clean, from :func:`cleaning_rules`.
            weighted: whether every push brings confidences; without them polygons carry none.
        """
        self._georef = georef
        self._folder = folder
        lookup = np.full(256, NODATA_ID, dtype=np.uint8)
        lookup[list(options.mapping)] = list(options.mapping.values())
        grouped = any(one != other for one, other in options.mapping.items())
        self._lookup = lookup.tobytes() if grouped else None  # other ids do not occur
        self._legend = options.chosen_legend
        self._chosen_ids = np.array([item.id for item in self._legend])
        self._areas = dict.fromkeys(self._legend.names, 0.0)
        self._dst_crs = options.dst_crs
        self._squared = set(rules.squared)
        self._precompiler = Precompiler(rules)
        self._polygonizer = Polygonizer(width, nodata=NODATA_ID)
        self._cleaner = rules.cleaner(folder)
        self._spiller = ThreadPoolExecutor(1)
        # The first rows may be a network's, which takes a second to come.
        self._spiller.submit(load, rules)
        self._spilling: Future[None] | None = None
        self._releaser = Releaser(RELEASE_PIXELS)
        self._spool = PolygonSpool(
            folder,
            self._legend,
            georef,
            confidence=weighted,
            codes=options.codes,
            shape=[item.name for item in self._legend if item.id in self._squared],
        )

    def push(self, mask: np.ndarray, confidence: np.ndarray | None) -> None:
        """Take uint8 ``(n, width)`` class ids and confidences (probability times 255)."""
        if self._lookup is not None:
            # Five times as fast as indexing, which takes as long as following the outlines.
            ids = bytearray(np.ascontiguousarray(mask)).translate(self._lookup)
            mask = np.frombuffer(ids, np.uint8).reshape(mask.shape)
        for top in range(0, len(mask), SLICE):
            rows = slice(top, top + SLICE)
            known = None if confidence is None else confidence[rows]
            self._hand_over(self._cleaner.push(self._polygonizer.push(mask[rows], known)))
            self._releaser.passed(mask[rows].size)

    def finish(self) -> None:
        """No more rows will come."""
        self._hand_over(self._cleaner.push(self._polygonizer.finish()))
        self._hand_over(Polygons.empty())
        release()
        self._precompiler.wait()
        polygons = self._cleaner.finish()
        release()  # what the clean-up held, before their binary is made
        self._spill(polygons)
        del polygons
        release()

    def _hand_over(self, polygons: Polygons) -> None:
        """Spill these while the next rows are traced; waits for those before, so that the order
        stays and two batches are held at most.
        """
        if self._spilling is not None:
            self._spilling.result()
        self._spilling = self._spiller.submit(self._spill, polygons) if len(polygons) else None

    def publish(self, stem: str, formats: tuple[str, ...], seal: Path) -> tuple[str, ...]:
        """Write the files and give them their final names; returns notices for the user.

        ``seal``, by which a run is known to be complete, is removed before one is replaced.
        """
        return write_polygons(
            self._spool, self._folder, stem, formats, dst_crs=self._dst_crs, seal=seal
        ).notices

    def summary(self) -> tuple[ClassSummary, ...]:
        """Count and area of each class."""
        unit = "px" if self._georef.surface == "pixels" else "m2"
        return tuple(
            ClassSummary(name, self._spool.count(name), area, unit)
            for name, area in self._areas.items()
        )

    def _spill(self, polygons: Polygons) -> None:
        """Measure polygons and put them into the spool in the scene's CRS, class by class and some
        at a time: their binary is larger than they are.
        """
        if not len(polygons):
            return
        area, perimeter = measure_polygons(polygons, self._georef)
        for rows in _portions(polygons, np.isin(polygons.class_id, self._chosen_ids)):
            classes = polygons.class_id[rows]
            for item in self._legend:
                own = rows[classes == item.id]
                if not len(own):
                    continue
                angle, fill = (
                    self._shape(polygons, own) if item.id in self._squared else (None,) * 2
                )
                self._areas[item.name] += float(area[own].sum())
                self._spool.append(
                    PolygonBatch(
                        polygons.class_id[own],
                        polygons.to_wkb(self._georef.transform, own),
                        area[own],
                        perimeter[own],
                        polygons.confidence[own],
                        orientation=angle,
                        rectangularity=fill,
                    )
                )

    def _shape(self, polygons: Polygons, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Orientation and rectangularity of some polygons, on the ground."""
        a, b, c, d, e, f = self._georef.transform
        x, y = self._georef.ground_scale
        outlines = polygons.take(rows).to_shapely((x * a, x * b, x * c, y * d, y * e, y * f))
        return orientation_and_rectangularity(outlines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._spiller.shutdown(cancel_futures=True)
        self._precompiler.close()
        self._cleaner.close()
        self._spool.close()
