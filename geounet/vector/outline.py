"""From exact outlines to those on the map: sieved, simplified, still a coverage."""

from collections.abc import Mapping

from geounet.errors import ConfigError
from geounet.vector.polygons import Polygons
from geounet.vector.sieve import sieve
from geounet.vector.simplify import simplify


class Cleaner:
    """Clean polygons as they come out of a :class:`~geounet.vector.polygonize.Polygonizer`.

    A polygon can be cleaned once all of its neighbours are there. All batches are held until
    :meth:`finish`, unless there is nothing to do: then they pass straight through.
    """

    def __init__(self, min_pixels: Mapping[int, float], tolerance: float) -> None:
        """
        Args:
            min_pixels: class id -> regions with fewer pixels are merged, see ``sieve``; classes
                that are not named keep all.
            tolerance: of the simplification in pixels, see ``simplify``; 0 keeps the exact outline.
        """
        if not tolerance >= 0:
            raise ConfigError(f"simplification tolerance {tolerance} must be >= 0 pixels")
        for class_id, pixels in min_pixels.items():
            if not 0 <= class_id <= 255 or not pixels >= 0:
                raise ConfigError(f"min_pixels {class_id}: {pixels} must be >= 0 for ids 0 .. 255")
        self._min_pixels = dict(min_pixels)
        self._tolerance = tolerance
        self._idle = tolerance == 0 and all(pixels <= 1 for pixels in min_pixels.values())
        self._held: list[Polygons] = []

    def push(self, polygons: Polygons) -> Polygons:
        """Add a batch; returns the polygons that are clean."""
        if self._idle:
            return polygons
        if len(polygons):
            self._held.append(polygons)
        return Polygons.empty()

    def finish(self) -> Polygons:
        """The polygons that are left, in the polygonizer's order."""
        polygons = Polygons.concat(self._held)
        self._held = []
        return simplify(sieve(polygons, self._min_pixels), self._tolerance)
