"""What the classes of a mask are called, how they look and how their polygons are treated."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from geounet.errors import ConfigError

NODATA_ID = 255
"""Mask value of pixels without data; never a class."""

Outline = Literal["plain", "square", "smooth"]
"""How a class's outlines are drawn: as simplified, with right angles, or smoothed."""


@dataclass(frozen=True)
class LandClass:
    """One class of a legend."""

    id: int
    """Value in the mask, 0 to 254."""
    name: str
    """Layer and column value: lower-case letters, digits and ``_``, starting with a letter."""
    color: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""
    min_area: float = 0.0
    """Regions smaller than this, in m2 (pixels without a CRS), are merged into a neighbour."""
    outline: Outline = "plain"
    """How outlines are drawn."""

    def __post_init__(self) -> None:
        if not 0 <= self.id < NODATA_ID:
            raise ConfigError(f"class {self.name!r}: id {self.id} must lie in 0 .. 254")
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name):
            raise ConfigError(
                f"class name {self.name!r} must be lower-case letters, digits and _,"
                " starting with a letter"
            )
        if len(self.color) != 3 or not all(0 <= value <= 255 for value in self.color):
            raise ConfigError(f"class {self.name!r}: color {self.color} must be three of 0 .. 255")
        if not self.min_area >= 0:
            raise ConfigError(f"class {self.name!r}: min_area {self.min_area} must be >= 0")
        if self.outline not in get_args(Outline):
            raise ConfigError(
                f"class {self.name!r}: outline {self.outline!r} must be one of {get_args(Outline)}"
            )


@dataclass(frozen=True)
class Legend:
    """The classes of a mask, in order of their ids."""

    classes: tuple[LandClass, ...]
    """At least one; ids and names are unique."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("a legend needs at least one class")
        ids = [item.id for item in self.classes]
        if ids != sorted(set(ids)):
            raise ConfigError(f"class ids {ids} must be unique and ascending")
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"class names {list(self.names)} must be unique")

    def __iter__(self) -> Iterator[LandClass]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order of the ids."""
        return tuple(item.name for item in self.classes)

    def __getitem__(self, name: str) -> LandClass:
        for item in self.classes:
            if item.name == name:
                return item
        raise ConfigError(f"unknown class {name!r}; the classes are {', '.join(self.names)}")

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain lists and dicts, for JSON."""
        return [asdict(item) for item in self.classes]

    @classmethod
    def from_dict(cls, rows: Sequence[Mapping[str, Any]]) -> "Legend":
        """Inverse of :meth:`to_dict`."""
        return cls(tuple(LandClass(**{**row, "color": tuple(row["color"])}) for row in rows))

    def grouped(self, groups: Mapping[str, Sequence[str]]) -> tuple["Legend", dict[int, int]]:
        """Replace classes by groups of them.

        Args:
            groups: group name -> names of the classes in it. Classes in no group stay as they are.

        Returns:
            The new legend (a group takes the lowest id, the colour and the outline rule of its
            first class and the largest ``min_area``), and the map from old to new ids.
        """
        members: dict[str, str] = {}
        for group, names in groups.items():
            if not names:
                raise ConfigError(f"group {group!r} names no class; write {group}=CLASS,CLASS")
            for name in names:
                if self[name].name in members:
                    raise ConfigError(f"class {name!r} stands in two groups")
                members[name] = group
        ids: dict[int, int] = {}
        result: list[LandClass] = []
        for group, names in groups.items():
            own = [self[name] for name in names]
            new_id = min(item.id for item in own)
            ids.update((item.id, new_id) for item in own)
            result.append(
                replace(own[0], id=new_id, name=group, min_area=max(item.min_area for item in own))
            )
        for item in self.classes:
            if item.name not in members:
                ids[item.id] = item.id
                result.append(item)
        return Legend(tuple(sorted(result, key=lambda item: item.id))), ids
