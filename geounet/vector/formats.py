"""One writer and one checker per polygon format; neither knows of temporary names.

GDAL writes through pyogrio's Arrow interface, which takes the spooled WKB as it is; GeoParquet is
written by pyarrow itself, because GDAL's wheels come without it.
"""

import json
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyproj import CRS

from geounet.errors import OutputError
from geounet.vector.columns import numbers
from geounet.vector.layer import PolygonLayer
from geounet.vector.names import FormatName
from geounet.vector.spool import GEOMETRY
from geounet.vector.style import embed_styles
from geounet.vector.wkb import bounds_of

GPKG_GEOMETRY = "geom"
"""Geometry column of a GeoPackage, as GDAL and QGIS name it."""

SHP_LIMIT = 2**31 - 1
"""Bytes that a .shp or .dbf may have for every reader to cope."""

SHP_SIDECARS = (".shx", ".dbf", ".prj", ".cpg")
"""Files that make up a Shapefile besides the .shp."""


@dataclass(frozen=True)
class Format:
    """How a format is written and checked."""

    write: Callable[[Path, Sequence[PolygonLayer]], None]
    """Write layers to a path: one layer only unless ``per_class`` is False."""
    count: Callable[[Path, str], int]
    """Count the polygons of a layer by reading the finished file."""
    per_class: bool = True
    """Whether each class gets a file of its own."""
    sidecars: tuple[str, ...] = ()
    """Extensions of files that belong to the main one."""
    stale: tuple[str, ...] = ()
    """Name endings of files of an earlier result that would damage or belie the new one."""
    threads: int = 1
    """Files written at once."""


def _write_ogr(path: Path, polygons: PolygonLayer, driver: str, **options: Any) -> None:
    import pyogrio  # takes half a second and 70 MB, pandas included; GeoParquet does without

    with warnings.catch_warnings():
        # A scene without CRS has been announced by the preflight.
        warnings.filterwarnings("ignore", message=".*crs.*was not provided")
        pyogrio.write_arrow(
            polygons.reader(short_names=driver == "ESRI Shapefile"),
            path,
            driver=driver,
            geometry_name=GEOMETRY,
            geometry_type="Polygon",
            crs=polygons.crs,
            **options,
        )


def _count_ogr(path: Path, name: str) -> int:
    import pyogrio

    return int(pyogrio.read_info(path, force_feature_count=True)["features"])


@contextmanager
def _sqlite_unsynced() -> Iterator[None]:
    """Let SQLite leave the file to the system's cache: it is under a hidden name and will be
    flushed once, when it is whole, instead of several times a layer.
    """
    import pyogrio

    name = "OGR_SQLITE_SYNCHRONOUS"
    before = pyogrio.get_gdal_config_option(name)
    pyogrio.set_gdal_config_options({name: "OFF"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({name: before})


def _write_gpkg(path: Path, layers: Sequence[PolygonLayer]) -> None:
    with _sqlite_unsynced():
        for layer in layers:
            _write_ogr(
                path,
                layer,
                "GPKG",
                layer=layer.name,
                layer_options={"GEOMETRY_NAME": GPKG_GEOMETRY, "SPATIAL_INDEX": "YES"},
            )
    embed_styles(path, [layer.land_class for layer in layers], GPKG_GEOMETRY)


def _count_gpkg(path: Path, name: str) -> int:
    # GDAL would answer from the table that caches the counts.
    with closing(sqlite3.connect(path)) as database:
        (count,) = database.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608
        (indexed,) = database.execute(
            f'SELECT count(*) FROM "rtree_{name}_{GPKG_GEOMETRY}"'  # noqa: S608
        ).fetchone()
    return min(int(count), int(indexed))


def _write_fgb(path: Path, layers: Sequence[PolygonLayer]) -> None:
    _write_ogr(path, layers[0], "FlatGeobuf")


def _write_shp(path: Path, layers: Sequence[PolygonLayer]) -> None:
    (layer,) = layers
    _check_shp_size(path, layer)
    _write_ogr(path, layer, "ESRI Shapefile", encoding="UTF-8")


def _check_shp_size(path: Path, layer: PolygonLayer) -> None:
    """Refuse before writing what would end beyond the format's limit.

    A ring takes as many bytes in a .shp record as in WKB; the rest of a record is 43 bytes longer.
    """
    shp = 100 + layer.spool.wkb_bytes(layer.name) + 43 * layer.count
    # GDAL gives an integer 9 bytes and a real number 24.
    row = 1 + 9 + len(layer.name) + 24 * len(layer.spool.attributes(layer.name))
    size = max(shp, layer.count * row)
    if size > SHP_LIMIT:
        raise OutputError(
            f"{path.name}: class {layer.name!r} needs {size / 2**30:.1f} GB, a Shapefile holds 2;"
            " write gpkg, fgb or parquet instead"
        )


def _write_geojson(path: Path, layers: Sequence[PolygonLayer]) -> None:
    (layer,) = layers
    if layer.crs is None:
        _write_ogr(path, layer, "GeoJSON")
    else:
        # Reprojects to EPSG:4326, rounds to 7 decimals, cuts at the antimeridian, turns rings.
        _write_ogr(path, layer, "GeoJSON", layer_options={"RFC7946": "YES"})


def _count_geojson(path: Path, name: str) -> int:
    """Count the lines that hold a feature; the last ones must close the collection."""
    count, tail = 0, b""
    with path.open("rb") as file:
        for line in file:
            count += line.startswith(b'{ "type": "Feature"')
            tail = (tail + line)[-8:]
    return count if tail.split()[-2:] == [b"]", b"}"] else -1


def _write_parquet(path: Path, layers: Sequence[PolygonLayer]) -> None:
    from pyarrow import parquet  # the other formats do without

    (layer,) = layers
    corners = ("xmin", "ymin", "xmax", "ymax")
    box = pa.struct([(name, pa.float64()) for name in corners])
    plain = layer.schema()
    schema = plain.append(pa.field("bbox", box)).with_metadata({b"geo": _geo_metadata(layer)})
    writer = parquet.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=["class_id", "class_name"],
        # The least and the largest WKB mean nothing, and each may be a hundred megabytes.
        write_statistics=[f"bbox.{side}" for side in corners] + plain.names[:-1],
    )
    # A batch is compressed while the next is prepared.
    with writer, ThreadPoolExecutor(1) as compressor:
        written: Future[None] | None = None
        for batch in layer.reader():
            bounds = bounds_of(batch.column(GEOMETRY))
            columns = [numbers(side) for side in bounds.T]
            boxes = pa.StructArray.from_arrays(columns, fields=list(box))
            if written is not None:
                written.result()
            whole = pa.record_batch([*batch.columns, boxes], schema=schema)
            written = compressor.submit(writer.write_batch, whole)
        if written is not None:
            written.result()


def _geo_metadata(layer: PolygonLayer) -> bytes:
    """GeoParquet 1.1 metadata; a missing CRS is null, since leaving it out would mean WGS 84."""
    covering = {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None if layer.crs is None else CRS.from_user_input(layer.crs).to_json_dict(),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": covering},
    }
    document = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    return json.dumps(document).encode()


def _count_parquet(path: Path, name: str) -> int:
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows)


FORMATS: dict[FormatName, Format] = {
    "gpkg": Format(
        _write_gpkg, _count_gpkg, per_class=False, stale=(".gpkg-wal", ".gpkg-shm", ".gpkg-journal")
    ),
    "fgb": Format(_write_fgb, _count_ogr),
    "parquet": Format(_write_parquet, _count_parquet, threads=2),
    "shp": Format(
        _write_shp, _count_ogr, sidecars=SHP_SIDECARS,
        stale=(".qix", ".sbn", ".sbx", ".idm", ".ind", ".qpj", ".shp.xml"),
    ),
    "geojson": Format(_write_geojson, _count_geojson),
}  # fmt: skip
