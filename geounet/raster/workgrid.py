"""The grid that the network works on, and how it relates to the scene's own grid.

A network knows the world at the ground sample distance it was trained at. A scene of another one
is resampled while it is read; tiles live on this working grid, and the class probabilities are
brought back to the scene's grid before a class is chosen, so that borders stay smooth and the mask
fits the scene pixel by pixel. At the model's own resolution both grids are the same.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geounet.mirror import mirror_index, trim
from geounet.raster.scene import read_patch, read_window
from geounet.resample import Axis, resample_axis
from geounet.tiles import Window

_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class WorkGrid:
    """Scene rows and columns (in) and working rows and columns (out), over the same extent."""

    rows: Axis
    """Scene rows to working rows."""
    cols: Axis
    """Scene columns to working columns."""
    source: tuple[Axis, Axis] | None = None
    """Rows and columns of the overview that is read, to working ones; None: the scene itself."""

    @classmethod
    def scaled(cls, height: int, width: int, rows: float, cols: float) -> "WorkGrid":
        """A working grid with ``rows`` and ``cols`` times as many rows and columns."""
        return cls(
            Axis(height, max(1, round(height * rows))), Axis(width, max(1, round(width * cols)))
        )

    def from_overview(self, height: int, width: int) -> "WorkGrid":
        """The same grid, read from an overview of that size."""
        return replace(
            self, source=(Axis(height, self.rows.size_out), Axis(width, self.cols.size_out))
        )

    @property
    def identity(self) -> bool:
        """True where the working grid is the scene's own."""
        return self.rows.size_in == self.rows.size_out and self.cols.size_in == self.cols.size_out

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the working grid."""
        return self.rows.size_out, self.cols.size_out

    @property
    def apron(self) -> int:
        """Working pixels around a core whose probabilities :meth:`to_scene` needs: the filter's
        support, and the pixel into which the scene pixels' centres may fall.
        """
        if self.identity:
            return 0
        return 1 + max(axis.inverse.reach for axis in (self.rows, self.cols))

    def scene_window(self, core: Window) -> Window | None:
        """The scene pixels that a core of the working grid owns; None if it owns none."""
        top, bottom = self.rows.owned(core.row, core.row_end)
        left, right = self.cols.owned(core.col, core.col_end)
        if top == bottom or left == right:
            return None
        return Window(top, left, bottom - top, right - left)

    def covering(self, window: Window, stride: int) -> Window:
        """The working pixels that own a window of the scene, and what :meth:`to_scene` needs
        around them; it begins at a multiple of ``stride``, as tiles do.
        """
        top, bottom = self._span(self.rows, window.row, window.row_end)
        left, right = self._span(self.cols, window.col, window.col_end)
        top, left = top // stride * stride, left // stride * stride
        return Window(top, left, bottom - top, right - left)

    def _span(self, axis: Axis, start: int, end: int) -> tuple[int, int]:
        """The working pixels that own scene pixels ``start .. end`` of an axis, and the apron."""
        first = (2 * start + 1) * axis.size_out // (2 * axis.size_in)
        last = (2 * end - 1) * axis.size_out // (2 * axis.size_in)
        return max(0, first - self.apron), min(axis.size_out, last + 1 + self.apron)

    def read(
        self, dataset: Any, window: Window, bands: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a working-grid window, mirrored where it overhangs.

        Args:
            dataset: the scene, or the overview that the grid is read from.
            window: working pixels.
            bands: 1-based.

        Returns:
            ``(bands, height, width)``, of the scene's dtype or float32 where resampled, and bool
            ``(height, width)``: False where no valid scene pixel contributes.
        """
        if self.identity:
            return read_patch(dataset, window, bands)
        rows = mirror_index(window.row, window.height, self.shape[0])
        cols = mirror_index(window.col, window.width, self.shape[1])
        top, left = int(rows.min()), int(cols.min())
        inside = Window(top, left, int(rows.max()) + 1 - top, int(cols.max()) + 1 - left)
        data, valid = self._read_inside(dataset, inside, bands)
        at = np.ix_(rows - top, cols - left)
        return data[:, at[0], at[1]], valid[at]

    def _read_inside(
        self, dataset: Any, window: Window, bands: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Resample a window inside the working grid, a few rows at a time to bound memory."""
        rows, cols = self.source or (self.rows, self.cols)
        left, right = cols.source(window.col, window.width)
        per_row = (right - left) * len(bands) * 4 * max(1.0, rows.step)
        chunk = max(1, int(_CHUNK_BYTES // per_row))
        data = np.empty((len(bands), window.height, window.width), dtype=np.float32)
        valid = np.empty((window.height, window.width), dtype=bool)
        col_taps = cols.taps(window.col, window.width)
        for start in range(0, window.height, chunk):
            count = min(chunk, window.height - start)
            top, bottom = rows.source(window.row + start, count)
            row_taps = rows.taps(window.row + start, count)
            source = Window(top, left, bottom - top, right - left)
            values, known = read_window(dataset, source, bands)
            part = slice(start, start + count)
            data[:, part], valid[part] = _weighted(values, known, row_taps, top, col_taps, left)
        return data, valid

    def to_scene(self, field: np.ndarray, row: int, col: int, target: Window) -> np.ndarray:
        """Resample a working-grid field to the scene's grid.

        Args:
            field: float ``(channels, height, width)`` whose first pixel is working pixel
                (row, col); it must reach :attr:`apron` pixels around what owns ``target``, or to
                the working grid's edge.
            row: working row of the field's first pixel.
            col: working column of the field's first pixel.
            target: scene window.

        Returns:
            float32 ``(channels, target.height, target.width)``.
        """
        if self.identity:
            return trim(field, target.row - row, target.col - col, target.height, target.width)
        out = resample_axis(field, 1, self.rows.inverse.taps(target.row, target.height), row)
        return resample_axis(out, 2, self.cols.inverse.taps(target.col, target.width), col)


def _weighted(
    values: np.ndarray,
    known: np.ndarray,
    row_taps: tuple[np.ndarray, np.ndarray],
    top: int,
    col_taps: tuple[np.ndarray, np.ndarray],
    left: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample values; pixels without data take no part (normalised convolution)."""

    def both(field: np.ndarray) -> np.ndarray:
        narrow = resample_axis(field, field.ndim - 1, col_taps, left)
        return resample_axis(narrow, field.ndim - 2, row_taps, top)

    if known.all():
        return both(values), np.ones((len(row_taps[0]), len(col_taps[0])), dtype=bool)
    weight = both(known)
    total = both(np.where(known, values, 0))
    valid = weight > 1e-6
    return np.where(valid, total / np.maximum(weight, 1e-6), 0).astype(np.float32), valid
