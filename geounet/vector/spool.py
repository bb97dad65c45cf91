"""Polygons on their way from the polygonizer to the files, class by class, in bounded memory.

The polygonizer yields polygons of all classes as their outlines close, while the formats want one
class after the other. Between the two stands a spool: one Arrow stream per class in a hidden folder
beside the results, written batch by batch and read back batch by batch, as often as there are
formats.
"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geounet.errors import OutputError
from geounet.georef import Georef
from geounet.legend import LandClass, Legend
from geounet.scratch import scratch_folder
from geounet.vector.columns import numbers
from geounet.vector.wkb import as_binary, offsets_of

GEOMETRY = "geometry"
"""Name of the geometry column on its way to the files."""

FLUSH_BYTES = 8 * 2**20
"""Pending geometry of all classes that is written out as record batches."""

LARGE_BYTES = 2**19
"""Geometry of a record batch that is not put together with others: copying it costs more than
reading it by itself."""


@dataclass(frozen=True)
class PolygonBatch:
    """Polygons and their attributes, in the order in which they are to be written.

    All arrays have the same length n.
    """

    class_id: np.ndarray
    """Integer ``(n,)``: ids of the legend."""
    wkb: Any
    """``(n,)`` polygons as little-endian WKB in the scene's CRS, shells counter-clockwise (see
    :func:`geounet.vector.wkb.encode`): a pyarrow binary array or a numpy object array of bytes."""
    area: np.ndarray
    """float64 ``(n,)``: m2, or pixels without a CRS."""
    perimeter: np.ndarray
    """float64 ``(n,)``: m, or pixel sides without a CRS."""
    confidence: np.ndarray | None = None
    """float ``(n,)``: mean probability of the polygon's pixels, 0 to 1."""
    orientation: np.ndarray | None = None
    """float ``(n,)``: degrees clockwise from north; read for the spool's ``shape`` classes only."""
    rectangularity: np.ndarray | None = None
    """float ``(n,)``: 0 to 1; read for the spool's ``shape`` classes only."""


def _joined(record_batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The same rows in as few batches as the format allows."""
    batches: list[pa.RecordBatch] = (
        pa.Table.from_batches(record_batches).combine_chunks().to_batches()
    )
    return batches


class PolygonSpool:
    """Polygons per class, appended in batches and read back as Arrow streams.

    A context manager: leaving it removes its folder. Not safe for several threads at once.
    """

    def __init__(
        self,
        folder: Path,
        legend: Legend,
        georef: Georef,
        *,
        confidence: bool = True,
        shape: Collection[str] = (),
        codes: Mapping[int, int] | None = None,
    ) -> None:
        """Open an empty spool.

        Args:
            folder: where there is room for the polygons, best the one that the results go to.
            legend: classes of the polygons.
            georef: CRS of the geometries and unit of the areas.
            confidence: whether polygons carry a confidence.
            shape: names of the classes whose polygons carry orientation and rectangularity.
            codes: class ids to the values written as ``class_id``; by default the ids.

        Raises:
            OutputError: the folder cannot be written to.
        """
        self.legend = legend
        self.georef = georef
        self._attributes = {
            item.name: ("area", "perimeter")
            + (("confidence",) if confidence else ())
            + (("orientation", "rectangularity") if item.name in shape else ())
            for item in legend
        }
        self._codes = dict(codes or {})
        self._by_id = {item.id: item for item in legend}
        self._writers: dict[str, tuple[pa.OSFile, pa.RecordBatchWriter]] = {}
        self._pending: dict[str, list[pa.RecordBatch]] = {}
        self._pending_size = dict.fromkeys(legend.names, 0)
        self._counts = dict.fromkeys(legend.names, 0)
        self._wkb_bytes = dict.fromkeys(legend.names, 0)
        self._disk = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch_folder(folder, "spool"))

    def attributes(self, name: str) -> tuple[str, ...]:
        """Attributes of a class's polygons, in order: area, perimeter and what else was asked."""
        return self._attributes[name]

    def code(self, name: str) -> int:
        """What is written as a class's ``class_id``."""
        class_id = self.legend[name].id
        return self._codes.get(class_id, class_id)

    def count(self, name: str) -> int:
        """Polygons of a class so far."""
        return self._counts[name]

    def wkb_bytes(self, name: str) -> int:
        """Size of a class's WKB so far, in bytes."""
        return self._wkb_bytes[name]

    def append(self, batch: PolygonBatch) -> None:
        """Take a batch; the order within a class is kept.

        Raises:
            OutputError: the disk is full.
        """
        class_id = np.asarray(batch.class_id)
        wkb = as_binary(batch.wkb)
        for value in np.unique(class_id):
            item = self._by_id.get(int(value))
            if item is None:
                raise ValueError(f"class id {value} is not in the legend {self.legend.names}")
            rows = np.flatnonzero(class_id == value)
            own = wkb if len(rows) == len(wkb) else wkb.take(numbers(rows))
            self._add(item, self._record_batch(item, batch, rows, own))
        if sum(self._pending_size.values()) >= FLUSH_BYTES:
            self._flush()

    def _record_batch(
        self, item: LandClass, batch: PolygonBatch, rows: np.ndarray, wkb: pa.Array
    ) -> pa.RecordBatch:
        columns = []
        for name in self._attributes[item.name]:
            values = getattr(batch, name)
            if values is None:
                raise ValueError(f"the batch has no {name}, which class {item.name!r} carries")
            columns.append(numbers(np.asarray(values, dtype=np.float64)[rows]))
        return pa.record_batch([*columns, wkb], schema=self._schema(item.name))

    def _schema(self, name: str) -> pa.Schema:
        return pa.schema(
            [(attribute, pa.float64()) for attribute in self._attributes[name]]
            + [(GEOMETRY, pa.binary())]
        )

    def _add(self, item: LandClass, record_batch: pa.RecordBatch) -> None:
        offsets = offsets_of(record_batch.column(GEOMETRY))
        size = int(offsets[-1] - offsets[0])
        self._pending.setdefault(item.name, []).append(record_batch)
        self._pending_size[item.name] += size
        self._counts[item.name] += len(record_batch)
        self._wkb_bytes[item.name] += size

    def _flush(self) -> None:
        """Have what is pending written while more comes; two such heaps are held at most."""
        self._settle()
        if self._pending:
            self._writing = self._disk.submit(self._write, self._pending, self._pending_size)
            self._pending, self._pending_size = {}, dict.fromkeys(self._pending_size, 0)

    def _settle(self) -> None:
        """Wait until what was pending before is written."""
        if self._writing is not None:
            self._writing.result()

    def _write(self, pending: Mapping[str, list[pa.RecordBatch]], sizes: Mapping[str, int]) -> None:
        """Write record batches, small ones of a class as one: many would be slow to read."""
        with self._disk_errors_named():
            for name, record_batches in pending.items():
                if name not in self._writers:
                    sink = pa.OSFile(str(self._path(name)), "wb")
                    # Compressing would take longer than the polygons' outlines took to follow.
                    self._writers[name] = (sink, pa.ipc.new_stream(sink, self._schema(name)))
                if sizes[name] < LARGE_BYTES * len(record_batches):
                    record_batches = _joined(record_batches)
                for record_batch in record_batches:
                    self._writers[name][1].write_batch(record_batch)

    @contextmanager
    def _disk_errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._folder.parent}: polygons cannot be spooled ({error});"
                " free disk space or choose another output folder"
            ) from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.arrows"

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """Polygons of one class in the order of their arrival; may be called again and again."""
        self.finish()
        if not self._path(name).exists():
            return
        with pa.OSFile(str(self._path(name)), "rb") as source, pa.ipc.open_stream(source) as reader:
            yield from reader

    def finish(self) -> None:
        """End the appending, so that the polygons can be read.

        Raises:
            OutputError: the disk is full.
        """
        self._flush()
        self._settle()
        with self._disk_errors_named():
            for sink, writer in self._writers.values():
                if not sink.closed:
                    writer.close()
                    sink.close()

    def close(self) -> None:
        """Remove the spooled polygons."""
        self._pending.clear()
        self._disk.shutdown()
        for sink, _ in self._writers.values():
            with suppress(OSError):  # What a full disk has no room for is not wanted any more.
                sink.close()
        self._stack.close()

    def __enter__(self) -> "PolygonSpool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
