"""Vectors: outlines, clean-up, measures, formats."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _find_room_for_compiled_code() -> None:
    """Where neither the package nor the user's cache can be written to, numba would refuse to
    compile what it is told to keep: then it is kept until the process ends.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or _is_writable(Path(__file__).parent / "__pycache__"):
        return
    import numba
    from numba.misc import appdirs

    if _is_writable(Path(appdirs.user_cache_dir("numba", appauthor=False))):
        return
    folder = tempfile.mkdtemp(prefix="geounet-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder  # for processes that this one starts
    setattr(numba.config, "CACHE_DIR", folder)  # noqa: B010 (a name that numba makes up at run time)


_find_room_for_compiled_code()
