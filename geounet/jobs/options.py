"""What the user may choose about results, and what follows for polygons."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geounet.decision import Storage
from geounet.errors import ConfigError
from geounet.legend import Legend


@dataclass(frozen=True)
class CleanUp:
    """How polygons are cleaned; areas in m2 and lengths in metres, in pixels without a CRS."""

    min_area: float | None = None
    """Smaller regions are merged into a neighbour; None: by class, from the legend."""
    min_hole: float = 0.0
    """Smaller holes are filled."""
    simplify: float | None = None
    """Tolerance of outlines; None: two pixels, or half a working pixel if more."""
    square: bool = True
    """Whether classes whose legend says so get right angles."""
    smooth: bool = True
    """Whether classes whose legend says so get rounded outlines."""
    connectivity: Literal[4, 8] = 4
    """Whether pixels of a class that touch at a corner count as one region (8) where its size
    matters. Polygons are split at such a corner either way: one ring cannot touch itself."""

    def __post_init__(self) -> None:
        for name in ("min_area", "min_hole", "simplify"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} {value} must be a number >= 0")
        if self.connectivity not in (4, 8):
            raise ConfigError(f"connectivity {self.connectivity} must be 4 or 8")


@dataclass(frozen=True)
class OutputOptions:
    """What the user may choose about results."""

    folder: Path | None = None
    """Where results go; None: beside each scene."""
    polygons: bool = True
    """Whether polygons are made."""
    probabilities: Storage | None = None
    """Number format of a raster with a band of probabilities per class; None: not written."""
    formats: tuple[str, ...] = ("gpkg",)
    """Vector formats, several at once."""
    overwrite: bool = False
    """Whether existing results are replaced."""
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Classes joined for polygons: (name, members)."""
    classes: tuple[str, ...] = ()
    """Names of the classes or groups that get polygons; empty: all."""
    clean: CleanUp = CleanUp()
    """How polygons are cleaned."""
    dst_crs: str | None = None
    """CRS of the polygons' coordinates, in any form that PROJ knows; None: the raster's own."""


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
    clean: CleanUp = CleanUp()
    """How they are cleaned."""
    dst_crs: str | None = None
    """CRS of the files, if not the mask's."""
    codes: Mapping[int, int] = field(default_factory=dict)
    """Ids to the values that are written for them, where they differ."""

    @property
    def chosen_legend(self) -> Legend:
        """The classes to write."""
        return Legend(tuple(item for item in self.legend if item.name in self.chosen))


def polygon_options(
    legend: Legend,
    output: OutputOptions,
    codes: Mapping[int, int] | None = None,
    hidden: frozenset[str] = frozenset(),
) -> PolygonOptions:
    """The classes that polygons are made of.

    Args:
        legend: the mask's classes.
        output: what is wanted of them.
        codes: ids to the values of a foreign mask.
        hidden: classes that are not written unless ``output`` names them.

    Raises:
        ConfigError: unknown names.
    """
    grouped, mapping = legend.grouped(dict(output.groups))
    shown = [name for name in grouped.names if name not in hidden]
    chosen = frozenset(grouped[name].name for name in output.classes or shown)
    return PolygonOptions(grouped, mapping, chosen, output.clean, output.dst_crs, codes or {})
