"""Pure tiling geometry: which window each tile writes and which patch the network sees for it.

The grid's cores partition the raster, so every pixel has exactly one owner and the order in which
tiles are finished does not matter. A patch is the core widened by the margin on every side; it may
overhang the raster, where the reader mirrors. Core size, margin and so every patch origin are
multiples of the network's stride: pooling cells then lie at the same place whatever the tile, which
is one of the conditions for a tiled result to equal a whole-scene one (Ronneberger et al. 2015, the
overlap-tile strategy).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from geounet.errors import ConfigError


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; ``row`` and ``col`` may be negative (overhang), sizes may not."""

    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    """Rows, >= 1."""
    width: int
    """Columns, >= 1."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"window of {self.height} x {self.width} pixels is empty")

    @property
    def row_end(self) -> int:
        """One past the last row."""
        return self.row + self.height

    @property
    def col_end(self) -> int:
        """One past the last column."""
        return self.col + self.width

    def intersection(self, other: "Window") -> "Window | None":
        """The pixels that both hold; None if there are none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_end, other.row_end) - row
        width = min(self.col_end, other.col_end) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width


@dataclass(frozen=True)
class Tile:
    """One unit of inference."""

    index: int
    """Position in row-major order, from 0."""
    core: Window
    """Pixels that this tile alone writes; inside the raster."""
    patch: Window
    """Pixels that the network sees; may overhang the raster by any amount."""


@dataclass(frozen=True)
class TileGrid(Sequence[Tile]):
    """A partition of a raster, or of a window of it, into tiles, in row-major order."""

    height: int
    """Rows to cover, >= 1."""
    width: int
    """Columns to cover, >= 1."""
    core: tuple[int, int]
    """Rows and columns of a core; multiples of ``stride``."""
    margin: int
    """Context on every side of a core, in pixels; a multiple of ``stride``, may be 0."""
    stride: int = 1
    """The network's total downsampling factor."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of the raster's pixel where the first core begins; multiples of ``stride``,
    so that pooling cells lie as they do when the whole raster is covered."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"raster of {self.height} x {self.width} pixels has nothing to tile")
        if self.stride < 1:
            raise ConfigError(f"stride {self.stride} must be at least 1")
        for name, value, least in (
            ("core height", self.core[0], 1),
            ("core width", self.core[1], 1),
            ("margin", self.margin, 0),
            ("first row", self.origin[0], 0),
            ("first column", self.origin[1], 0),
        ):
            if value < least or value % self.stride:
                raise ConfigError(
                    f"{name} {value} must be a multiple of the network's stride {self.stride}"
                    f" and at least {least}"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.height // self.core[0]), -(-self.width // self.core[1])

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Rows and columns of every patch; all patches are alike, so that they can be batched."""
        return self.core[0] + 2 * self.margin, self.core[1] + 2 * self.margin

    def __len__(self) -> int:
        rows, cols = self.shape
        return rows * cols

    def __getitem__(self, index: int) -> Tile:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        row, col = divmod(index, self.shape[1])
        down, right = row * self.core[0], col * self.core[1]
        top, left = self.origin[0] + down, self.origin[1] + right
        core = Window(
            top,
            left,
            min(self.core[0], self.height - down),
            min(self.core[1], self.width - right),
        )
        return Tile(index, core, Window(top - self.margin, left - self.margin, *self.patch_shape))

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))


def round_up(value: float, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is not below ``value``."""
    return -int(-value // multiple) * multiple


def balanced_core(extent: int, largest: int, stride: int) -> int:
    """Core size along one axis that cuts ``extent`` into the fewest, most even pieces.

    ``largest`` (a multiple of ``stride``) bounds the result, which is a multiple of ``stride``:
    2100 pixels with at most 1024 become three cores of 704, not 1024 + 1024 + 52, so that little
    is computed beyond the raster's edge.
    """
    pieces = -(-extent // largest)
    return min(largest, round_up(extent / pieces, stride))
