"""Option texts to values; wrong ones are usage errors (exit code 2)."""

import math
import re
from collections.abc import Collection
from typing import Any, Literal, cast, get_args

import typer

from geounet.errors import ConfigError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


def refuse_given(context: typer.Context, options: Collection[str], why: str) -> None:
    """Refuse options that stand on the command line although nothing would heed them.

    Args:
        context: of the command.
        options: the parameters' names in Python.
        why: what follows the option's name in the message.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in options and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(why, param_hint=max(parameter.opts, key=len))


def workers(count: int | None, dask: str | None) -> int | None:
    """Threads of the local job, of which there is none with a scheduler."""
    if count is not None and dask is not None:
        raise typer.BadParameter(
            "counts threads of this machine; with --dask leave it out", param_hint="--workers"
        )
    return count


def bands(text: str | None) -> tuple[int, ...]:
    """``4,3,2`` -> (4, 3, 2)."""
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: give band numbers like 1,2,3", param_hint="--bidx"
        ) from None


def names(text: str | None) -> tuple[str, ...]:
    """``building,water`` -> ("building", "water")."""
    return tuple(part.strip() for part in text.split(",")) if text else ()


def formats(texts: list[str]) -> tuple[str, ...]:
    """``["shp,GPKG"]`` -> ("gpkg", "shp"): in one order, as another one is no other run."""
    from geounet.vector.names import FORMAT_NAMES

    wanted = {part.strip().lower() for text in texts for part in text.split(",")}
    for name in sorted(wanted.difference(FORMAT_NAMES)):
        raise typer.BadParameter(
            f"unknown format {name!r}; choose from {', '.join(FORMAT_NAMES)}",
            param_hint="--format",
        )
    return tuple(name for name in FORMAT_NAMES if name in wanted)


def groups(texts: list[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``terrain=land,road`` -> (("terrain", ("land", "road")),)."""
    result = []
    for text in texts:
        name, equals, members = text.partition("=")
        if not (name and equals and members):
            raise typer.BadParameter(f"{text!r}: write NAME=CLASS,CLASS", param_hint="--group")
        result.append((name.strip(), names(members)))
    if len({name for name, _ in result}) != len(result):
        raise typer.BadParameter("a group is named twice", param_hint="--group")
    return tuple(result)


def bbox(text: str | None, crs: str | None) -> tuple[float, float, float, float] | None:
    """``12.1,48,12.2,48.1`` -> (12.1, 48.0, 12.2, 48.1)."""
    if text is None:
        if crs is not None:
            raise typer.BadParameter("needs a --bbox", param_hint="--bbox-crs")
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        west, south, east, north = (math.nan,) * 4
    if not (west < east and south < north and all(map(math.isfinite, (west, south, east, north)))):
        raise typer.BadParameter(
            f"{text!r}: give W,S,E,N with W < E and S < N", param_hint="--bbox"
        )
    return west, south, east, north


def thresholds(texts: list[str]) -> tuple[tuple[str, float | None], ...]:
    """``building=0.6`` -> (("building", 0.6),); ``building=none`` -> (("building", None),)."""
    result: dict[str, float | None] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        try:
            limit = None if value == "none" else float(value)
        except ValueError:
            limit = math.nan
        if not name or not (limit is None or 0 <= limit <= 1):
            raise typer.BadParameter(
                f"{text!r}: write CLASS=P with P from 0 to 1, or CLASS=none",
                param_hint="--threshold",
            )
        if name in result:
            raise typer.BadParameter(f"class {name!r} is named twice", param_hint="--threshold")
        result[name] = limit
    return tuple(result.items())


def choice(text: str | None, allowed: Any, option: str) -> Any:
    """``text`` if it is one of the words of the Literal ``allowed``; None stays None."""
    if text is not None and text not in get_args(allowed):
        raise typer.BadParameter(
            f"{text!r} is none of {', '.join(get_args(allowed))}", param_hint=option
        )
    return text


def device(text: str) -> str:
    """``cpu``, ``cuda:1`` and so on, whether or not this machine has it."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", text):
        raise typer.BadParameter(
            f"{text!r} is none of auto, cpu, cuda, cuda:N, mps", param_hint="--device"
        )
    return text


def crs(text: str | None, option: str) -> str | None:
    """A CRS that PROJ knows and polygons can have; None stays None."""
    if text is None:
        return None
    from geounet.vector.crs import target_crs

    try:
        return target_crs(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def value_names(texts: list[str]) -> tuple[tuple[int, str], ...]:
    """``255=building`` -> ((255, "building"),)."""
    result: dict[int, str] = {}
    for text in texts:
        match = re.fullmatch(r"\s*(-?\d+)\s*=\s*([a-z][a-z0-9_]*)\s*", text)
        if match is None:
            raise typer.BadParameter(
                f"{text!r}: write VALUE=NAME with a name of lower-case letters, digits and _",
                param_hint="--name",
            )
        if int(match[1]) in result:
            raise typer.BadParameter(f"value {match[1]} is named twice", param_hint="--name")
        result[int(match[1])] = match[2]
    return tuple(result.items())


def connectivity(value: int) -> Literal[4, 8]:
    """4 or 8."""
    if value not in (4, 8):
        raise typer.BadParameter(f"{value} is neither 4 nor 8", param_hint="--connectivity")
    return cast(Literal[4, 8], value)


def margin(text: str) -> int | Literal["auto", "exact"]:
    """``auto``, ``exact`` or a number of pixels."""
    if text in ("auto", "exact"):
        return cast(Literal["auto", "exact"], text)
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is none of auto, exact, N", param_hint="--margin")
    return int(text)


def resolution(text: str) -> float | Literal["scene", "model"]:
    """``model``, ``scene`` or metres."""
    if text in ("scene", "model"):
        return cast(Literal["scene", "model"], text)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(
            f"{text!r} is none of model, scene, METRES", param_hint="--resolution"
        )
    return value


def size(text: str | None) -> int | None:
    """``2GB`` -> 2000000000."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", text)
    try:
        value = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    except (KeyError, ValueError):
        value = 0
    if value < 1:
        raise typer.BadParameter(f"{text!r}: give a size like 500MB or 2GB", param_hint="--memory")
    return value


def label_table(texts: list[str]) -> dict[str, tuple[str, ...]]:
    """``0=land+road,1=building`` -> {"0": ("land", "road"), "1": ("building",)}."""
    result: dict[str, tuple[str, ...]] = {}
    for text in (part for item in texts for part in item.split(",")):
        value, equals, members = (part.strip() for part in text.partition("="))
        if not (value and equals):
            raise typer.BadParameter(
                f"{text!r}: write VALUE=CLASS, VALUE=CLASS+CLASS, or VALUE= to ignore it",
                param_hint="--labels",
            )
        if value in result:
            raise typer.BadParameter(f"value {value!r} is named twice", param_hint="--labels")
        result[value] = tuple(part.strip() for part in members.split("+") if part.strip())
    return result


def tolerance(text: str) -> tuple[float, Literal["px", "m"]]:
    """``3px`` or ``2m`` -> (3.0, "px"), (2.0, "m")."""
    match = re.fullmatch(r"([0-9.]+) ?(px|m)", text.strip())
    try:
        return float(match[1] if match else ""), cast(Literal["px", "m"], match[2] if match else "")
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: give pixels or metres, such as 3px or 2m", param_hint="--tolerance"
        ) from None
