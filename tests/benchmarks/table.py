"""The tables of measured figures, ``docs/benchmarks.md``: every benchmark replaces its own row."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
SECTIONS = ("Engine", "Beside other programs", "Start-up", "Training", "Polygons")
_HEAD = """# Benchmarks

Each figure is a ratio of two times, or what it says, taken in one run on one machine: two cores of
a processor without accelerator, where no other is named. The limit is what the benchmark asserts,
and the last column what was measured for it. `make bench` measures anew and rewrites these tables.
Until then a row keeps its figure, and not all rows come from machines of the same speed.

Figures that miss their target: where the network runs in bfloat16, a scene takes 1.38 times the
network's own time instead of 1.25 at most. The first polygons on a machine wait until their code is
compiled, and should take at most 5.3 times a later run. Start-up is below zero where OpenVINO runs
the network, because torch is then not imported.
"""
_COLUMNS = "| case | measured | figure | limit | in numbers |\n|---|---|---|---|---|\n"


def record(section: str, what: str, figure: float, limit: float) -> None:
    """Print a figure, and write it into its row of the page.

    Args:
        section: of :data:`SECTIONS`.
        what: ``case: measured`` or ``case: measured (numbers)``; the case is the row's name.
        figure: what was measured.
        limit: what it may be.
    """
    print(f"\n{what}: {figure:.2f} (at most {limit:.3g})")
    case, measured, numbers = re.fullmatch(r"(.*?): (.*?)(?: \((.*)\))?", what).groups("")
    rows = _rows(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    rows.setdefault(section, {})[case] = (
        f"| {case} | {measured} | {figure:.2f} | {limit:.3g} | {numbers} |"
    )
    text = _HEAD
    for name in SECTIONS:
        lines = sorted(rows.get(name, {}).values())
        text += f"\n## {name}\n\n{_COLUMNS}" + "".join(f"{line}\n" for line in lines)
    PAGE.write_text(text, encoding="utf-8")


def _rows(page: str) -> dict[str, dict[str, str]]:
    """The page's rows by section and case."""
    rows = {}
    for part in page.split("\n## ")[1:]:
        section, *lines = part.splitlines()
        found = [line for line in lines if line.startswith("| ")][1:]
        rows[section] = {line.split(" | ")[0].removeprefix("| "): line for line in found}
    return rows
