"""Hidden folders beside the results, which vanish with their process or at the next run.

They lie on the results' own disk: a rename within a disk is atomic, and the system's temporary
folder is often memory. A process that is killed cannot remove its folder. It cannot keep the lock
in it either, and so the next run knows that the folder is nobody's.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geounet.errors import OutputError

PREFIX = ".geounet-"
"""Start of the names of hidden folders."""

LOCK = "lock"
"""Name of the file in a hidden folder that its process keeps locked."""

SETTLED = 60.0
"""Seconds after which a folder without a locked file is not just being made."""


@contextmanager
def scratch_folder(folder: Path, kind: str) -> Iterator[Path]:
    """A hidden folder in ``folder``, removed at the end; also removes those that kills left.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_left_over(folder)
        scratch = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-", dir=folder))
        lock = (scratch / LOCK).open("wb")
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror}); choose another output folder"
        ) from error
    try:
        with lock:
            _try_lock(lock.fileno())
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _try_lock(descriptor: int) -> bool:
    """Lock a file for as long as it is open; False if another process holds it, or none can."""
    if os.name == "nt":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_left_over(folder: Path) -> None:
    """Remove hidden folders whose process is gone, where the system can tell."""
    for scratch in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):
            old = time.time() - scratch.stat().st_mtime > SETTLED
            if not old or not (scratch / LOCK).is_file():
                continue
            with (scratch / LOCK).open("rb") as lock:
                if _try_lock(lock.fileno()):
                    shutil.rmtree(scratch, ignore_errors=True)
