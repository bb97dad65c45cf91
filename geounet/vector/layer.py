"""One class of a spool as a table that the formats can write: named columns, an Arrow stream."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import shapely
from pyproj import Transformer

from geounet.errors import OutputError
from geounet.legend import LandClass
from geounet.vector.columns import binary, numbers, repeated
from geounet.vector.spool import GEOMETRY, PolygonSpool
from geounet.vector.wkb import encode

_HALF_TURN = 180.0  # degrees
_UNITS = {"area": ("area_m2", "area_px"), "perimeter": ("perimeter_m", "perimeter_px")}
"""Attribute -> column with a CRS, column without: pixels are not to be taken for metres."""

TEXT_WIDTH = "GDAL:OGR:width"
"""Key under which GDAL looks for a column's width."""

_SHORT = {
    "perimeter_m": "perim_m",
    "perimeter_px": "perim_px",
    "orientation": "orient_deg",
    "rectangularity": "rect_ratio",
}
"""Column -> its name in a Shapefile, where 10 characters are all there is."""


@dataclass(frozen=True)
class PolygonLayer:
    """All polygons of one class."""

    spool: PolygonSpool
    """Where the polygons are."""
    land_class: LandClass
    """Their class."""
    dst_crs: str | None = None
    """CRS to reproject to while reading; None leaves the scene's."""
    failures: list[OutputError] = field(default_factory=list, compare=False)
    """What went wrong in a stream: GDAL, which reads it, says no more than that something did."""

    @property
    def name(self) -> str:
        """The class's name."""
        return self.land_class.name

    @property
    def count(self) -> int:
        """Number of polygons."""
        return self.spool.count(self.name)

    @property
    def crs(self) -> str | None:
        """CRS of the coordinates that :meth:`reader` yields."""
        return self.dst_crs or self.spool.georef.crs

    def schema(self, *, short_names: bool = False) -> pa.Schema:
        """Columns: class_id, class_name, attributes, geometry (WKB).

        ``short_names`` gives names of at most 10 characters and the text's width, which would
        otherwise be 80.
        """
        fields = [
            pa.field("class_id", pa.int32()),
            pa.field("class_name", pa.string(), metadata={TEXT_WIDTH: str(len(self.name))}),
        ]
        for attribute in self.spool.attributes(self.name):
            column = attribute
            if attribute in _UNITS:
                column = _UNITS[attribute][self.spool.georef.crs is None]
            fields.append(pa.field(column, pa.float64()))
        fields.append(pa.field(GEOMETRY, pa.binary()))
        if short_names:
            return pa.schema(
                [field.with_name(_SHORT.get(field.name, field.name)) for field in fields]
            )
        return pa.schema([field.remove_metadata() for field in fields])

    def reader(self, *, short_names: bool = False) -> pa.RecordBatchReader:
        """The polygons as an Arrow stream with the columns of :meth:`schema`."""
        schema = self.schema(short_names=short_names)
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        project = self._projection()
        for batch in self.spool.batches(self.name):
            rows = len(batch)
            ids = numbers(np.full(rows, self.spool.code(self.name), dtype=np.int32))
            names = repeated(self.name, rows)
            columns = [ids, names, *batch.columns]
            if project is not None:
                try:
                    columns[-1] = _reprojected(columns[-1], project)
                except OutputError as error:
                    self.failures.append(error)
                    raise
            yield pa.record_batch(columns, schema=schema)

    def _projection(self) -> Transformer | None:
        if self.dst_crs is None or self.spool.georef.crs is None:
            return None
        return Transformer.from_crs(self.spool.georef.crs, self.dst_crs, always_xy=True)


def _reprojected(wkb: pa.Array, project: Transformer) -> pa.Array:
    geometries = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))
    moved = shapely.transform(geometries, project.transform, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise OutputError(
            f"{project.target_crs}: polygons lie outside the area where this CRS is defined;"
            " choose another target CRS"
        )
    if project.target_crs is not None and project.target_crs.is_geographic:
        moved = _unbroken(moved)
    return binary(encode(moved).tolist())


def _unbroken(geometries: np.ndarray) -> np.ndarray:
    """Polygons on both sides of the 180th meridian with longitudes that go on beyond 180 degrees:
    from 179.9 to -179.9 they would run around the globe.
    """
    left, _, right, _ = shapely.bounds(geometries).T
    wide = right - left > _HALF_TURN
    if not wide.any():
        return geometries
    result = geometries.copy()
    result[wide] = shapely.transform(
        geometries[wide], lambda xy: np.column_stack([xy[:, 0] % (2 * _HALF_TURN), xy[:, 1]])
    )
    left, _, right, _ = shapely.bounds(result).T
    global_ones = right - left > _HALF_TURN
    result[global_ones] = geometries[global_ones]
    return result
