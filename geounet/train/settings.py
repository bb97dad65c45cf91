"""Tables of settings to frozen dataclasses: types checked, unknown keys named, ranges kept."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from geounet.errors import ConfigError

T = TypeVar("T")
POSITIVE = (1e-12, math.inf)
"""Range of settings that must not be zero."""
SEEDS = 2**32 - 1
"""The largest seed."""


def check_ranges(where: str, settings: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse settings outside their ranges, the ends included but infinity."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if not (low <= value <= high and math.isfinite(value)):
            limits = f"{low:g} .. {high:g}"
            if high == math.inf:
                limits = "positive" if (low, high) == POSITIVE else f"at least {low:g}"
            raise ConfigError(f"{where}.{name} {value} must be {limits}")


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """The dataclass ``cls`` from a TOML table; ``where`` is the table's name, for errors."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where.rstrip('.')}: {table!r} must be a table")
    hints = get_type_hints(cls)
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ConfigError(f"unknown key {where}{key}; known: {', '.join(known)}")
    for key, item in known.items():
        needed = item.default is MISSING and item.default_factory is MISSING
        if needed and key not in table:
            raise ConfigError(f"key {where}{key} is missing")
    return cls(**{key: _convert(hints[key], value, where + key) for key, value in table.items()})


def _convert(kind: Any, value: Any, where: str) -> Any:
    """``value`` as the annotated type ``kind``: dataclass, tuple, mapping, or a plain type."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None:  # not in TOML, but in the JSON copy that a checkpoint keeps
            return None
        return _convert(next(item for item in args if item is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(args[0], item, where) for item in value)
    if isinstance(value, dict) and hasattr(kind, "__dataclass_fields__"):
        return build(kind, value, f"{where}.")
    if origin is Mapping and isinstance(value, dict):
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is Any or (origin is None and isinstance(kind, type) and _fits(kind, value)):
        return value
    if origin is Literal and isinstance(value, str) and value in args:
        return value
    raise ConfigError(f"{where}: {value!r} must be of type {getattr(kind, '__name__', kind)}")


def _fits(kind: type, value: Any) -> bool:
    """Whether a TOML value may stand where ``kind`` is expected; True is not a number."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
