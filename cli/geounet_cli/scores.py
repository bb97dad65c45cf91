"""Tables of an evaluation."""

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from geounet.jobs.evaluate import Evaluation


def print_scores(result: "Evaluation") -> None:
    """Print an evaluation: scores by class, the confusion, objects."""
    console = Console(soft_wrap=True)
    pixels, edges = result.confusion, result.boundary
    console.print(f"{result.mask} against {result.labels}", highlight=False)
    table = Table()
    table.add_column("class")
    for name in ("IoU", "Dice", "precision", "recall", "boundary F1", "true pixels"):
        table.add_column(name, justify="right")
    for index, name in enumerate(result.legend.names):
        scores = (pixels.iou, pixels.f1, pixels.precision, pixels.recall, edges.f1)
        table.add_row(name, *(_text(item[index]) for item in scores), f"{pixels.true[index]:,}")
    console.print(table)
    mean = pixels.mean_iou
    console.print(
        f"mean IoU {_text(mean.value)} of {mean.classes} classes, pixel accuracy"
        f" {_text(pixels.accuracy)}; {pixels.pixels:,} pixels judged,"
        f" {pixels.unlabelled:,} without a label, {pixels.unpredicted:,} without a prediction;"
        f" boundary tolerance {result.tolerance:.3g} px",
        highlight=False,
    )
    _print_confusion(console, result)
    _print_objects(console, result)
    _print_thresholds(console, result)


def _print_confusion(console: Console, result: "Evaluation") -> None:
    table = Table(title="of each label's pixels, % predicted as", title_justify="left")
    table.add_column("label")
    for name in result.legend.names:
        table.add_column(name, justify="right")
    for name, row in zip(result.label_names, result.confusion.counts, strict=True):
        total = row.sum()
        table.add_row(name, *(f"{100 * value / total:.1f}" if total else "-" for value in row))
    console.print(table)


def _print_objects(console: Console, result: "Evaluation") -> None:
    for name, item in result.objects.items():
        console.print(
            f"{name} objects: {item.true:,} true, {item.found:,} found, {item.matched:,} matched;"
            f" precision {_text(item.precision)}, recall {_text(item.recall)},"
            f" F1 {_text(item.f1)}, mean IoU of the matched {_text(item.iou)}",
            highlight=False,
        )


def _print_thresholds(console: Console, result: "Evaluation") -> None:
    chosen = result.thresholds
    if chosen is None:
        return
    table = Table(title="thresholds of the best F1 on these labels", title_justify="left")
    table.add_column("class")
    for name in ("threshold", "F1 now", "F1 alone", "F1 together"):
        table.add_column(name, justify="right")
    rows = zip(result.legend.names, result.confusion.f1, chosen.together.f1, strict=True)
    for name, now, together in rows:
        if name in chosen.alone:
            scores = (chosen.values[name], now, chosen.alone[name], together)
            table.add_row(name, *(_text(value) for value in scores))
    console.print(table)
    console.print(
        "alone: the class against the rest; together: of the mask, where classes with thresholds"
        " compete for pixels"
    )


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
