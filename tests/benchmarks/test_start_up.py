"""What a person waits for on a small scene, beside the import of torch; caches are warm."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.table import record
from tests.helpers import noise, write_scene

TURNS = 5
LIMIT = 1.2
"""Seconds above the import of torch."""
COMMAND = "from geounet_cli.app import main; main()"


def seconds(code: str, *words: str) -> float:
    """Wall time of a fresh interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    return time.perf_counter() - start


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("what", "words"), [("mask", ("--no-polygons",)), ("mask and polygons", ())]
)
def test_a_small_scene(tmp_path: Path, what: str, words: tuple[str, ...]) -> None:
    """256 x 256 px with the shipped model and the runtime that is chosen by itself."""
    scene = write_scene(tmp_path / "s.tif", noise(256, 256))
    segment = ("segment", str(scene), "-o", str(tmp_path), "-q", "--overwrite", *words)
    seconds(COMMAND, *segment)  # compiles, converts the model
    whole, alone = [], []
    for _ in range(TURNS):
        alone.append(seconds("import torch"))
        whole.append(seconds(COMMAND, *segment))
    above = median(w - a for w, a in zip(whole, alone, strict=True))
    record(
        "Start-up",
        f"Start-up, {what} of 256 x 256 px: seconds above those of importing torch"
        f" (segment {median(whole):.1f} s, torch {median(alone):.1f} s)",
        above, LIMIT,
    )  # fmt: skip
    assert above <= LIMIT
