"""Where the pixels of a labelled scene come from: memory, or its files.

Small scenes lie in memory, with a pyramid of halved copies, so that a window sampled at a coarse
ground sample distance averages what it skips. Large ones stay on the disk: the pixels that a window
needs are read when it is drawn, by the reader that prediction uses, and halved as the pyramid is.
Both give the same values, so where a scene lies changes nothing that is learned.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geounet.bands import Stretch, normalise
from geounet.memory import cached_rows
from geounet.raster.scene import Scene, open_scene, read_valid, read_window
from geounet.tiles import Window
from geounet.train.labels import SetReader

LEVELS = 4
"""Levels of the pyramid at most; the last is halved three times, to 1/8."""
_LEAST = 64  # pixels a side below which a level is not halved again
_STRIP = 1 << 23  # pixels read at once


class ScenePixels(Protocol):
    """Where the pixels of a scene come from; windows lie inside the scene."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def complete(self) -> bool:
        """Whether there is known to be data everywhere."""

    def image(self, level: int, window: Window) -> np.ndarray:
        """uint8 ``(bands, h, w)`` of a window of a level of the pyramid, in that level's pixels."""

    def labels(self, window: Window) -> np.ndarray:
        """uint8 ``(h, w)``: bit ``i`` set where class ``i`` is allowed, 0 where ignored."""

    def valid(self, window: Window) -> np.ndarray:
        """Bool ``(h, w)``, False where the scene has no data."""


@dataclass(frozen=True, eq=False)
class HeldPixels:
    """A scene in memory."""

    levels: tuple[np.ndarray, ...]
    """uint8 ``(bands, h, w)``: as read, halved, quartered, ..."""
    sets: np.ndarray
    """uint8 ``(h, w)`` label sets."""
    known: np.ndarray | None = None
    """bool ``(h, w)``, False without data; None: data everywhere."""

    @classmethod
    def of(
        cls, image: np.ndarray, sets: np.ndarray, known: np.ndarray | None = None
    ) -> "HeldPixels":
        """With the pyramid of uint8 ``(bands, h, w)``."""
        levels = [image]
        for _ in range(1, level_count(sets.shape)):
            levels.append(_halve(levels[-1]))
        return cls(tuple(levels), sets, known)

    @property
    def shape(self) -> tuple[int, int]:
        """See :class:`ScenePixels`."""
        return self.sets.shape[0], self.sets.shape[1]

    @property
    def complete(self) -> bool:
        """See :class:`ScenePixels`."""
        return self.known is None

    def image(self, level: int, window: Window) -> np.ndarray:
        """See :class:`ScenePixels`."""
        return self.levels[level][:, *_slices(window)]

    def labels(self, window: Window) -> np.ndarray:
        """See :class:`ScenePixels`."""
        return self.sets[_slices(window)]

    def valid(self, window: Window) -> np.ndarray:
        """See :class:`ScenePixels`."""
        if self.known is None:
            return np.ones((window.height, window.width), bool)
        return self.known[_slices(window)]


@dataclass(frozen=True, eq=False)
class FilePixels:
    """A scene on the disk; every read opens the files anew, so that it can be pickled."""

    scene: Scene
    bands: tuple[int, ...]
    """1-based."""
    reader: SetReader
    """The labels."""
    fill: tuple[int, ...]
    """Values of the bands where the scene has no data, 0..255."""
    stretch: Stretch
    """What becomes 0 and 255, of scenes of another type than uint8."""

    @property
    def shape(self) -> tuple[int, int]:
        """See :class:`ScenePixels`."""
        return self.scene.shape

    @property
    def complete(self) -> bool:
        """See :class:`ScenePixels`."""
        return False

    def image(self, level: int, window: Window) -> np.ndarray:
        """See :class:`ScenePixels`."""
        factor = 2**level
        left, width = window.col * factor, window.width * factor
        rows = max(1, _STRIP // (width * factor))
        result = np.empty((len(self.bands), window.height, window.width), np.uint8)
        with open_scene(self.scene) as dataset:
            for row in range(window.row, window.row_end, rows):
                count = min(rows, window.row_end - row)
                source = Window(row * factor, left, count * factor, width)
                values, known = read_window(dataset, source, self.bands)
                part = values if values.dtype == np.uint8 else self._stretched(values, known)
                if not known.all():
                    part[:, ~known] = np.array(self.fill, np.uint8)[:, None]
                for _ in range(level):
                    part = _halve(part)
                result[:, row - window.row : row - window.row + count] = part
        return result

    def labels(self, window: Window) -> np.ndarray:
        """See :class:`ScenePixels`."""
        return np.where(self.valid(window), self.reader.read(window), np.uint8(0))

    def valid(self, window: Window) -> np.ndarray:
        """See :class:`ScenePixels`."""
        with open_scene(self.scene) as dataset:
            return read_valid(dataset, window, self.bands)

    def _stretched(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Values of any type in steps of 1/255, as prediction normalises them."""
        none, one = (0.0,) * len(self.bands), (1 / 255,) * len(self.bands)
        steps: np.ndarray = np.rint(normalise(values, known, self.stretch, none, one))
        return steps.astype(np.uint8)

    def held(self) -> HeldPixels:
        """All of it, in memory."""
        whole = Window(0, 0, *self.shape)
        known = self.valid(whole)
        return HeldPixels.of(
            self.image(0, whole), self.labels(whole), None if known.all() else known
        )


def level_count(shape: tuple[int, ...]) -> int:
    """Levels that the pyramid of a scene of ``(h, w)`` pixels has."""
    count = 1
    while count < LEVELS and min(shape) >> (count - 1) >= _LEAST:
        count += 1
    return count


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.row, window.row_end), slice(window.col, window.col_end)


def _halve(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, rounded; an odd last row or column is dropped."""
    bands, height, width = image.shape[0], image.shape[1] // 2, image.shape[2] // 2
    mean = np.empty((bands, height, width), np.uint8)
    for rows in cached_rows(height, width):
        blocks = image[:, 2 * rows.start : 2 * rows.stop, : 2 * width].astype(np.uint16)
        total = blocks[:, ::2, ::2] + blocks[:, 1::2, ::2]
        total += blocks[:, ::2, 1::2] + blocks[:, 1::2, 1::2]
        mean[:, rows] = (total + 2) // 4
    return mean
