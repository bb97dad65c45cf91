"""Ctrl-C and SIGTERM end a command with a true line, and nothing half-made is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_segment_command import files, folder

__all__ = ["folder"]  # the fixture

STUCK_IN_THE_SCENE = """if True:
    import signal, sys, time
    # A shell's background jobs, and their children, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from geounet.jobs import segment
    from geounet_cli.app import main
    def stuck(*_, **__):
        print("begun", flush=True)
        time.sleep(60)
        yield
    segment.windowed = stuck
    sys.argv = ["geounet", "segment", "s.tif", "-m", "m.safetensors", "-q"]
    main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no signals")
@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]],  # `timeout` sends two
)
def test_a_signal_in_the_middle_of_a_scene(folder: Path, numbers: list[signal.Signals]) -> None:
    before = files(folder)
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK_IN_THE_SCENE],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    assert files(folder) > before
    for number in numbers:
        child.send_signal(number)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert error == "interrupted; results that were complete stay, nothing half-made is left\n"
    assert files(folder) == before
