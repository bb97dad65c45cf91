"""What a person sees while a job runs and when it is done."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from geounet.jobs.report import Listener, Preflight, Report


@contextmanager
def console_listener(quiet: bool) -> "Iterator[Listener]":
    """A listener that prints the preflight line, a progress bar and a summary.

    Lines go to standard output; the bar goes to standard error, and only to a terminal. Errors are
    printed to standard error even when quiet.
    """
    from geounet.jobs.report import Listener

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
        transient=True,
    )
    task = bar.add_task("", total=None, rate="")
    step_megapixels = 0.0

    def planned(plan: "Preflight") -> None:
        nonlocal step_megapixels
        if not quiet:
            print(plan.describe(), flush=True)
        step_megapixels = plan.pixels / 1e6 / plan.steps
        bar.reset(task, description=plan.scene.name, total=plan.steps, rate="")

    def noted(text: str) -> None:
        if not quiet:
            print(f"  note: {text}", flush=True)

    def advanced(done: int, total: int) -> None:
        speed = bar.tasks[0].speed or 0.0
        bar.update(task, completed=done, total=total, rate=f"{speed * step_megapixels:.1f} Mpx/s")

    def finished(report: "Report") -> None:
        if report.error:
            print(f"error: {report.error}", file=sys.stderr, flush=True)
        elif not quiet:
            for line in summary(report):
                print(line, flush=True)

    with bar:
        yield Listener(planned, noted, advanced, finished)


def summary(report: "Report") -> list[str]:
    """The lines that end a scene: files, notices, one line per class."""
    if report.outputs is None:
        return []
    files = ", ".join(str(path) for path in report.outputs.paths)
    if report.skipped:
        return [f"{report.scene}: complete already, skipped (--overwrite does it again): {files}"]
    lines = [f"{report.scene}: done in {report.seconds:.1f} s: {files}"]
    lines += [f"  note: {notice}" for notice in report.notices]
    width = max((len(item.name) for item in report.classes), default=0)
    for item in report.classes:
        lines.append(
            f"  {item.name:<{width}}  {item.polygons:>8,} polygon{'s' * (item.polygons != 1)}"
            f"  {item.area:>14,.0f} {item.unit}"
        )
    return lines
