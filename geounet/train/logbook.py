"""A run's log: JSON lines, the curves as a picture, a progress bar, TensorBoard if installed."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, SupportsFloat

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from geounet.errors import OutputError

LOG = "log.jsonl"
CURVES = "curves.png"


class Logbook:
    """What the leading process of a run writes down; use it as a context.

    The progress bar shows on a terminal only.
    """

    def __init__(self, out: Path, quiet: bool = False) -> None:
        """A log in the folder ``out``; a ``quiet`` one writes and shows nothing."""
        self._out = out
        self._quiet = quiet
        self._bar = Progress(
            TextColumn("step {task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=(console := Console(stderr=True)),
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("0", total=1.0, note="")
        self._board = None
        if not quiet:
            with _writing(out):
                _mend(out / LOG)
            self._board = _board(out)

    def __enter__(self) -> "Logbook":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def advance(self, step: int, progress: float) -> None:
        """Move the bar to ``progress`` 0..1."""
        self._bar.update(self._task, completed=min(1.0, progress), description=str(step))

    def write(self, step: int, seconds: float, entry: Mapping[str, Any]) -> None:
        """Append a line; numbers go to TensorBoard too, under the check's name if it has one."""
        if self._quiet:
            return
        if "loss" in entry:
            self._bar.update(self._task, note=f"loss {entry['loss']:.3f}")
        line = {"step": step, "seconds": round(seconds, 1), **entry}
        path = self._out / LOG
        with _writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if self._board is not None:
            group = entry.get("check", entry.get("final", "train"))
            for key, value in entry.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{group}/{key}", value, step)

    def draw(self) -> None:
        """Draw the curves anew, if matplotlib is installed."""
        if self._quiet or find_spec("matplotlib") is None or not (self._out / LOG).is_file():
            return
        from geounet.train.curves import plot, read_log

        plot(read_log(self._out / LOG), self._out / CURVES)


def _mend(log: Path) -> None:
    """Drop the end of a line that a power failure or a full disk cut off; more lines follow it."""
    if log.is_file():
        os.truncate(log, log.read_bytes().rfind(b"\n") + 1)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def _board(out: Path) -> Any:
    """A TensorBoard writer, or None where it is not installed."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(out / "tensorboard")


def means(entries: Sequence[Mapping[str, SupportsFloat]]) -> dict[str, float]:
    """Mean of every key, to four significant digits."""
    return {
        key: float(f"{sum(float(entry[key]) for entry in entries) / len(entries):.4g}")
        for key in entries[0]
    }
