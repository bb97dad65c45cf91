"""Several runs that differ in one thing each, and a table of what came of them.

``python -m geounet.train.compare configs/compare.toml --out runs/compare [--steps N]``

The file names a training configuration (``base``), values that all runs set otherwise (``common``),
and the runs, each with a name and the values that it alone sets otherwise. Runs that are complete
are not repeated, one that was cut off goes on.

A run can also leave scenes out (``leave_out = { source = "dubai", images = ["dubai/t4.tif"] }``):
no source trains on them, and they are measured as a check, with the labels of the source that they
belong to, at ``gsd`` or the model's resolution.

On a GPU several runs fit beside each other: start one process for each with ``--run NAME``, and at
the end one without it, which finds them complete and writes the table.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geounet.errors import ConfigError, GeounetError
from geounet.files import read_toml, write_whole
from geounet.train.check import Check, iou, load_checks, predicted, tally
from geounet.train.config import TrainConfig
from geounet.train.fit import CHECKPOINT, State, fit
from geounet.train.neighbours import Separation, separation
from geounet.train.settings import build
from geounet.train.weightmap import connected_instances

LEFT_OUT = "left out"
"""Name of the check of the scenes that a run leaves out."""
GAP = 6
"""Pixels of a check between buildings that count as neighbours."""
_RESULT = "result.json"


@dataclass(frozen=True)
class Comparison:
    """What a file asks for."""

    runs: Mapping[str, TrainConfig]
    """By name, in the file's order."""
    objects: str
    """Class whose neighbours must be told apart."""

    def only(self, name: str) -> "Comparison":
        """One of the runs.

        Raises:
            ConfigError: there is none of this name.
        """
        if name not in self.runs:
            raise ConfigError(f"run {name!r} is unknown; known: {', '.join(self.runs)}")
        return replace(self, runs={name: self.runs[name]})


@dataclass(frozen=True)
class LeftOut:
    """Scenes that a run does not train on, but is measured on."""

    source: str
    """Name of the source whose labels they have."""
    images: tuple[str, ...]
    """Their paths, or patterns of them, as in that source."""
    gsd: float = 0.0
    """Metres per pixel that they are measured at; 0: the model's resolution."""


def without(config: TrainConfig, left: LeftOut) -> TrainConfig:
    """The run that leaves scenes out of all its sources, and checks them.

    Raises:
        ConfigError: there is no such source.
    """
    home = next((item for item in config.source if item.name == left.source), None)
    if home is None:
        known = ", ".join(item.name for item in config.source)
        raise ConfigError(f"leave_out.source {left.source!r} is unknown; known: {known}")
    check = replace(
        home, name=LEFT_OUT, images=left.images, exclude=(), share=0.0, hold={}, gsd=(left.gsd,) * 2
    )
    sources = tuple(replace(item, exclude=(*item.exclude, *left.images)) for item in config.source)
    return replace(config, source=sources, check=(*config.check, check))


def load_comparison(path: Path) -> Comparison:
    """Read a comparison and the configuration that it starts from.

    Raises:
        ConfigError: a file cannot be read, a key is missing or unknown, a name stands twice, or a
            run's configuration is not valid.
    """
    table = read_toml(path)
    for key in ("base", "objects", "run"):
        if key not in table:
            raise ConfigError(f"{path}: key {key} is missing")
    base = _merged(read_toml(path.parent / str(table["base"])), table.get("common", {}))
    runs: dict[str, TrainConfig] = {}
    if not isinstance(table["run"], list) or not table["run"]:
        raise ConfigError(f"{path}: run must be one [[run]] or several")
    for item in table["run"]:
        name = item.get("name", "")
        if not name or name in runs or set(item) - {"name", "set", "leave_out"}:
            raise ConfigError(
                f"{path}: run {name!r} needs a name of its own, and 'set' and 'leave_out' at most"
            )
        try:
            config = build(TrainConfig, _merged(base, item.get("set", {})), "")
            if "leave_out" in item:
                config = without(config, build(LeftOut, item["leave_out"], "leave_out."))
            runs[name] = config
        except ConfigError as error:
            raise ConfigError(f"{path}: run {name!r}: {error}") from error
    if table["objects"] not in [item["name"] for item in base["legend"]]:
        raise ConfigError(f"{path}: objects {table['objects']!r} is no class of the legend")
    return Comparison(runs, table["objects"])


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``table`` with ``changes``; tables of settings are merged, all else replaced."""
    result = dict(table)
    for key, value in changes.items():
        inside = isinstance(value, Mapping) and key in ("network", "augment", "fit")
        result[key] = _merged(table.get(key, {}), value) if inside else value
    return result


def compare(comparison: Comparison, out: Path) -> list[dict[str, Any]]:
    """Train what has not been trained, measure it, and write ``table.md`` after each run."""
    rows = []
    for name, config in comparison.runs.items():
        folder = out / re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
        result = folder / _RESULT
        if not result.is_file():
            state = fit(config, folder, again=(folder / CHECKPOINT).is_file())
            row = {"run": name, **measure(state, config, load_checks(config), comparison.objects)}
            write_whole(result, json.dumps(row, indent=2).encode())
        rows.append(json.loads(result.read_text(encoding="utf-8")))
        if len(comparison.runs) > 1:  # one that runs beside others leaves their table alone
            write_whole(out / "table.md", markdown(rows).encode())
    return rows


def measure(
    state: State, config: TrainConfig, checks: Sequence[Check], objects: str
) -> dict[str, Any]:
    """Size and time of a run, and per check the IoUs and the separation of neighbours."""
    bit = [item.name for item in config.legend].index(objects)
    row: dict[str, Any] = {
        "parameters": sum(value.numel() for value in state.network.parameters()),
        "steps": state.step,
        "minutes": round(state.seconds / 60, 2),
        "checks": {},
    }
    for check in checks:
        counts = np.zeros((len(config.legend), 3), dtype=np.int64)
        merged = pairs = 0
        for classes, labels in predicted(check, state.average, config):
            counts += tally(classes, labels, len(config.legend))
            truth = connected_instances(labels.numpy(), (1 << bit,))
            part = separation(truth, classes.numpy() == bit, GAP)
            merged, pairs = merged + part.merged, pairs + part.pairs
        found = Separation(merged, pairs)
        row["checks"][check.name] = {
            "iou": iou(counts, check, config),
            "merged": None if not pairs else round(found.share, 4),
            "pairs": pairs,
        }
    return row


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for people: one line per run."""
    names = list(rows[0]["checks"])
    head = ["run", "parameters", "minutes"]
    for name in names:
        head += [f"{name}: mIoU", "by class", "merged neighbours"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row["run"], f"{row['parameters'] / 1e6:.2f} M", f"{row['minutes']:.1f}"]
        for name in names:
            check = row["checks"][name]
            merged = check["merged"]
            share = "-" if merged is None else f"{merged:.3f} of {check['pairs']}"
            scores = dict(check["iou"])
            mean = f"{scores.pop('miou', float('nan')):.3f}"
            each = ", ".join(f"{key} {value:.2f}" for key, value in scores.items())
            cells += [mean, each or "-", share]
        lines.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> int:
    """Parse, compare, print the table; 1 if a configuration or the data are at fault."""
    parser = argparse.ArgumentParser(prog="python -m geounet.train.compare", description=__doc__)
    parser.add_argument("comparison", type=Path, help="TOML file, such as configs/compare.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and table")
    parser.add_argument("--steps", type=int, help="of every run; otherwise the configuration's")
    parser.add_argument("--run", help="name of the only run to train now; otherwise all, in turn")
    arguments = parser.parse_args()
    try:
        comparison = load_comparison(arguments.comparison)
        if arguments.steps is not None:
            runs = {
                name: replace(run, fit=replace(run.fit, steps=arguments.steps))
                for name, run in comparison.runs.items()
            }
            comparison = replace(comparison, runs=runs)
        if arguments.run is not None:
            comparison = comparison.only(arguments.run)
        print(markdown(compare(comparison, arguments.out)))
    except GeounetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
