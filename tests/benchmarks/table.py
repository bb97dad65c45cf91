"""The table of measured ratios, ``docs/benchmarks.md``: every benchmark replaces its own row."""

import re
from pathlib import Path

TABLE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Each figure is a ratio of two times, or what it says, taken in one run on one machine: two processor
cores without an accelerator, where no other is named; the limit is what the benchmark asserts.
`make bench` measures anew and rewrites this table.

| measured | figure | limit |
|---|---|---|
"""


def record(what: str, ratio: float, limit: float) -> None:
    """Print a figure, and replace the row of the same name: what stands before the first colon."""
    print(f"\n{what}: {ratio:.2f} (at most {limit:.3g})")
    text = TABLE.read_text(encoding="utf-8") if TABLE.exists() else _HEAD
    rows = [line for line in text.removeprefix(_HEAD).splitlines() if line.startswith("| ")]
    name = what.split(":")[0]
    kept = [row for row in rows if not re.match(rf"\| {re.escape(name)}:", row)]
    kept.append(f"| {what} | {ratio:.2f} | {limit:.3g} |")
    TABLE.write_text(_HEAD + "\n".join(sorted(kept)) + "\n", encoding="utf-8")
