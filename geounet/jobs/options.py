"""What the user may choose about results, and what follows for polygons."""

from dataclasses import dataclass
from pathlib import Path

from geounet.legend import Legend


@dataclass(frozen=True)
class OutputOptions:
    """What the user may choose about results."""

    folder: Path | None = None
    """Where results go; None: beside each scene."""
    polygons: bool = True
    """Whether polygons are made."""
    formats: tuple[str, ...] = ("gpkg",)
    """Vector formats, several at once."""
    overwrite: bool = False
    """Whether existing results are replaced."""
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Classes joined for polygons: (name, members)."""
    classes: tuple[str, ...] = ()
    """Names of the classes or groups that get polygons; empty: all."""
    min_area: float | None = None
    """Regions below this many m2 are merged into a neighbour; None: the legend's own value."""
    simplify: float | None = None
    """Tolerance of outlines in metres; None: two pixels, or half a working pixel if more."""
    square: bool = True
    """Whether classes whose legend says so are drawn with right angles or smoothed."""


@dataclass(frozen=True)
class ClassSummary:
    """One class's polygons in a scene."""

    name: str
    """Layer name."""
    polygons: int
    """How many."""
    area: float
    """Sum of their areas."""
    unit: str
    """``m2``, or ``px`` without a CRS."""


@dataclass(frozen=True)
class PolygonOptions:
    """How polygons are made from a mask."""

    legend: Legend
    """Classes after grouping."""
    mapping: dict[int, int]
    """Mask ids to ids of ``legend``; others become no polygon."""
    chosen: frozenset[str]
    """Names of the classes to write."""
    min_area: float | None = None
    """Smallest region in m2 (pixels without a CRS); None: by class, from the legend."""
    simplify: float | None = None
    """Tolerance in metres (pixels without a CRS); None: ``default_simplify``."""
    square: bool = True
    """Whether the legend's outline rules apply."""

    @property
    def chosen_legend(self) -> Legend:
        """The classes to write."""
        return Legend(tuple(item for item in self.legend if item.name in self.chosen))


def polygon_options(legend: Legend, output: OutputOptions) -> PolygonOptions:
    """The classes that polygons are made of.

    Raises:
        ConfigError: unknown names.
    """
    grouped, mapping = legend.grouped(dict(output.groups))
    chosen = frozenset(grouped[name].name for name in output.classes or grouped.names)
    return PolygonOptions(grouped, mapping, chosen, output.min_area, output.simplify, output.square)
