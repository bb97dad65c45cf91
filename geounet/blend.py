"""Weights that blend overlapping patches into one field without a seam.

A patch is trusted most where the network saw most around it, so its weight falls from 1 in its
middle to almost 0 at its edge, as a raised cosine over the width of the overlap (the window of von
Hann). Weights are divided by their sum over all patches that cover a pixel, so a constant field
stays constant everywhere, at the raster's corners too, where one patch stands alone. As the patches
form a grid, a weight is the product of one along the rows and one along the columns, and so is the
sum: two short tables suffice, whatever the raster's size.
"""

import numpy as np

from geounet.tiles import TileGrid, Window


class BlendWeights:
    """Normalised weights of every patch of a grid."""

    def __init__(self, grid: TileGrid, lost: int = 0) -> None:
        """Weights for the patches of ``grid``, clipped to its extent.

        Args:
            grid: the tiles.
            lost: pixels at each side of a patch for which the network gives no output, at most the
                margin.
        """
        self._grid = grid
        self._rows = _axis_weights(grid.height, grid.core[0], grid.margin - lost)
        self._cols = _axis_weights(grid.width, grid.core[1], grid.margin - lost)

    def inside(self, index: int) -> Window:
        """The part of the patch of tile ``index`` that lies inside the grid's extent, as a window
        of the raster.
        """
        grid = self._grid
        row, col = divmod(index, grid.shape[1])
        top, rows = self._rows[row]
        left, cols = self._cols[col]
        return Window(grid.origin[0] + top, grid.origin[1] + left, len(rows), len(cols))

    def of(self, index: int) -> np.ndarray:
        """Weights of that part; over all patches that cover a pixel they sum to 1.

        Returns:
            float32 ``(height, width)``, positive.
        """
        row, col = divmod(index, self._grid.shape[1])
        weights: np.ndarray = self._rows[row][1][:, None] * self._cols[col][1][None, :]
        return weights


def _axis_weights(size: int, core: int, margin: int) -> list[tuple[int, np.ndarray]]:
    """First position and normalised float32 weights of each patch along one axis."""
    length = core + 2 * margin
    position = np.arange(length)
    depth = np.minimum(position, position[::-1]) + 0.5
    ramp = np.sin(np.pi / 2 * np.minimum(1.0, depth / (2 * margin))) ** 2 if margin else depth**0
    total = np.zeros(size)
    parts = []
    for start in range(0, size, core):
        first, last = max(0, start - margin), min(size, start + core + margin)
        raw = ramp[first - start + margin : last - start + margin]
        total[first:last] += raw
        parts.append((first, raw))
    return [
        (first, (raw / total[first : first + len(raw)]).astype(np.float32)) for first, raw in parts
    ]
