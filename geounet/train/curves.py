"""A run's log as a picture: loss, learning rate, accuracy of the checks.

``python -m geounet.train.curves runs/NAME/log.jsonl CURVES.png``
"""

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geounet.errors import ConfigError, GeounetError
from geounet.files import write_whole
from geounet.train.config import LOSSES


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; of a step that stands in it twice, after a resumption, the later one."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a training log ({error})") from error
    kept: dict[tuple[int, str], dict[str, Any]] = {}
    for line in lines:
        # What came after the checkpoint that was resumed from was forgotten by the run.
        kept = {key: entry for key, entry in kept.items() if key[0] <= line["step"]}
        kept[line["step"], str(line.get("check", line.get("final", "")))] = line
    return list(kept.values())


def plot(log: Sequence[dict[str, Any]], out: Path) -> None:
    """Draw loss and accuracy over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    steps = [line for line in log if "loss" in line]
    for key in LOSSES:
        points = [line for line in steps if key in line]
        if points:
            left.plot([p["step"] for p in points], [p[key] for p in points], label=key, linewidth=1)
    left.set(xlabel="step", title="training loss")
    if steps:
        left.legend()
    # A check whose grid met no pixel that is labelled as one class alone has no mean.
    measured = [line for line in log if "miou" in line]
    for name in dict.fromkeys(line["check"] for line in measured if "check" in line):
        points = [line for line in measured if line.get("check", line.get("final")) == name]
        right.plot([p["step"] for p in points], [p["miou"] for p in points], "o-", label=name)
    right.set(xlabel="step", title="mean IoU on scenes never trained on", ylim=(0, 1))
    if right.lines:
        right.legend()
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, format=out.suffix.lstrip(".") or "png")
    pyplot.close(figure)
    write_whole(out, stream.getvalue())


def main() -> int:
    """Parse and draw."""
    parser = argparse.ArgumentParser(prog="python -m geounet.train.curves", description=__doc__)
    parser.add_argument("log", type=Path, help="log.jsonl of a run")
    parser.add_argument("out", type=Path, help="picture to write, .png or .svg")
    arguments = parser.parse_args()
    try:
        plot(read_log(arguments.log), arguments.out)
    except GeounetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
