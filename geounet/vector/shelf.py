"""Batches of polygons laid aside on the disk until all of them are there."""

import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from geounet.errors import OutputError
from geounet.vector.polygons import Polygons

_COLUMNS = {
    "class_id": np.uint8,
    "pixels": np.int64,
    "confidence": np.float64,
    "points": np.int32,
    "nodes": np.bool_,
    "ring_offsets": np.int64,
    "polygon_offsets": np.int64,
}


_OFFSETS = ("ring_offsets", "polygon_offsets")


class Shelf:
    """Exact polygons (``scale`` 1), appended in batches and taken back as one."""

    def __init__(self, folder: Path | None = None) -> None:
        """
        Args:
            folder: where there is room for them, the system's temporary folder by default. The
                file has no name there: it vanishes with the process.
        """
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._sizes: list[dict[str, int]] = []

    def append(self, polygons: Polygons) -> None:
        """Lay a batch aside.

        Raises:
            OutputError: the disk is full.
        """
        try:
            if self._file is None:
                # (buffered: small batches come often)
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=2**20)  # noqa: SIM115
            for name in _COLUMNS:
                self._file.write(np.ascontiguousarray(getattr(polygons, name)).data)
        except OSError as error:
            raise OutputError(
                f"{self._folder or tempfile.gettempdir()}: polygons cannot be laid aside"
                f" ({error.strerror or error}); free disk space or choose another output folder"
            ) from error
        self._sizes.append({name: len(getattr(polygons, name)) for name in _COLUMNS})

    def take(self) -> Polygons:
        """All polygons in the order of their arrival; the shelf is empty afterwards."""
        if self._file is None:
            return Polygons.empty()
        with self._file as file:
            file.seek(0)
            columns = {name: self._room(name) for name in _COLUMNS}
            ends = dict.fromkeys(_COLUMNS, 0)
            for sizes in self._sizes:
                for name, column in columns.items():
                    begin = ends[name]
                    base = 0
                    if name in _OFFSETS and begin:
                        # the first offset of a batch is the last of the one before
                        begin -= 1
                        base = int(column[begin])
                    ends[name] = begin + sizes[name]
                    own = column[begin : ends[name]]
                    file.readinto(own.data)  # type: ignore[attr-defined]
                    if base:
                        own += base
        self._file, self._sizes = None, []
        return Polygons(**columns)

    def _room(self, name: str) -> Any:
        """An array for a whole column."""
        total = sum(sizes[name] for sizes in self._sizes)
        if name in _OFFSETS:
            total -= len(self._sizes) - 1
        return np.empty((total, 2) if name == "points" else total, _COLUMNS[name])

    def close(self) -> None:
        """Drop what lies aside."""
        if self._file is not None:
            self._file.close()
        self._file, self._sizes = None, []
