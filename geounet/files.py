"""Small files: settings that are read, and results that are written whole or not at all."""

import os
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from geounet.errors import ConfigError, OutputError


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` as :func:`replacing` does.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    with replacing(path) as stream:
        stream.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream to a hidden name beside ``path``, flushed to the disk and renamed at the end;
    nothing is left of it if the block fails.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    # Not tempfile: its files are readable by their owner alone.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def check_target(path: Path) -> None:
    """Refuse a file name that cannot be written, before the work for it is done.

    Raises:
        OutputError: it is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file in it")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: {folder} cannot be written to; name a file elsewhere")


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a name that a file has, unless it may be replaced.

    Raises:
        OutputError: it exists and ``overwrite`` is off.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; replace it with --overwrite, or name another file")
