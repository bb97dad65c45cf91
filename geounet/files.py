"""Small files that are written whole or not at all."""

import os
import secrets
from pathlib import Path

from geounet.errors import OutputError


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` under a hidden name beside ``path``, flush it to the disk, rename it.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    # Not tempfile: its files are readable by their owner alone.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
