"""A run as the command line starts it: what has changed since it stopped, and room for it."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import ConfigError
from geounet.train.config import FitConfig, TrainConfig

if TYPE_CHECKING:
    from geounet.train.fit import State

_NAMED = 8  # changes that a note names
_LONG = 40  # characters of a value that a note shows


def run(
    config: TrainConfig, out: Path, again: bool, note: Callable[[str], None] = print
) -> "State":
    """Train, see :func:`geounet.train.fit.fit`.

    Args:
        config: the run.
        out: its folder.
        again: go on from the folder's checkpoint; ``note`` is then told which settings are others
            than before.
        note: takes a line for people.

    Raises:
        ConfigError: memory runs out, or see there.
    """
    from geounet.train import fit as loop

    # Of several processes under torchrun one speaks.
    if again and os.environ.get("RANK", "0") == "0":
        path = out / loop.CHECKPOINT
        if found := _since(path, config):
            note(f"note: {path} was written with other settings: {found}")
    with enough_memory(config.fit):
        return loop.fit(config, out, again)


@contextmanager
def enough_memory(fit: FitConfig) -> Iterator[None]:
    """Memory that runs out becomes an error of one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from geounet.model.torch_runtime import is_out_of_memory

        if not (isinstance(error, MemoryError) or is_out_of_memory(error)):
            raise
        raise ConfigError(
            f"out of memory with fit.batch {fit.batch} windows of fit.window {fit.window} px and"
            f" fit.scene_memory {fit.scene_memory} MiB; lower one of them"
        ) from error


def _since(path: Path, config: TrainConfig) -> str:
    """The settings that differ from those of a checkpoint, or nothing."""
    from geounet.train.network import RESUMED, read_checkpoint

    before = json.loads(read_checkpoint(path, RESUMED)["config"])
    found = list(changes(before, json.loads(json.dumps(asdict(config)))))
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def changes(before: Any, after: Any, key: str = "") -> Iterator[str]:
    """What differs between two configurations as JSON: ``fit.seed 1 (now 2)``.

    Tables with names, such as sources, are compared by name, in whatever order they stand. Keys
    that one side lacks are those of another release, and count where they have a value.
    """
    old, new = _table(before), _table(after)
    if old is not None and new is not None:
        for name in [*old, *(name for name in new if name not in old)]:
            yield from changes(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
    elif before != after and (before or after):
        yield f"{key} {_short(before)} (now {_short(after)})"


def _table(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {str(item.get("name", place)): item for place, item in enumerate(value)}
    return value if isinstance(value, dict) else None


def _short(value: Any) -> str:
    if isinstance(value, dict | list) and len(str(value)) > _LONG:
        return "something else"
    return "none" if value is None else str(value)
