"""Polygons to files, so that a file under its final name is always whole.

Everything is written into a hidden folder beside the results, where files already bear their final
names (layers are named after them), then counted again by reading, flushed to the disk, and only
when every format is through moved into place. A failure removes the hidden folder; after a kill it
stays behind, and nothing else does, until the next run.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geounet.errors import OutputError
from geounet.legend import Legend
from geounet.scratch import scratch_folder
from geounet.vector.crs import target_crs
from geounet.vector.formats import FORMATS, Format
from geounet.vector.layer import PolygonLayer
from geounet.vector.names import FORMAT_NAMES, FormatName
from geounet.vector.spool import PolygonSpool
from geounet.vector.style import write_polygon_styles


@dataclass(frozen=True)
class WrittenPolygons:
    """What a call of :func:`write_polygons` left on the disk."""

    paths: tuple[Path, ...]
    """The files that :func:`output_paths` announced."""
    notices: tuple[str, ...]
    """Sentences that the user should read."""


@dataclass(frozen=True)
class _Job:
    """One main file to be written."""

    name: FormatName
    file: str
    layers: tuple[PolygonLayer, ...]

    @property
    def format(self) -> Format:
        return FORMATS[self.name]


def check_formats(formats: Sequence[str]) -> tuple[FormatName, ...]:
    """Known formats without repeats, in the order given.

    Raises:
        OutputError: a format is unknown.
    """
    known: dict[FormatName, None] = {}
    for value in formats:
        name = next((item for item in FORMAT_NAMES if item == value.lower()), None)
        if name is None:
            raise OutputError(f"unknown format {value!r}; choose from {', '.join(FORMAT_NAMES)}")
        known[name] = None
    return tuple(known)


def output_paths(
    folder: Path, stem: str, legend: Legend, formats: Sequence[str]
) -> tuple[Path, ...]:
    """The main files that :func:`write_polygons` will write.

    ``<stem>.gpkg`` holds a layer per class; the other formats have a file per class,
    ``<stem>_<class>.<extension>``. A Shapefile is named by its .shp alone. Every class has its
    layer or file, also when no polygon is in it.
    """
    paths: list[Path] = []
    for name in check_formats(formats):
        classes = legend.names if FORMATS[name].per_class else (None,)
        paths += [folder / _file_name(stem, item, name) for item in classes]
    return tuple(paths)


def write_polygons(
    spool: PolygonSpool,
    folder: Path,
    stem: str,
    formats: Sequence[str],
    *,
    dst_crs: str | None = None,
    styles: bool = True,
    seal: Path | None = None,
) -> WrittenPolygons:
    """Write all polygons of a spool in each format, replacing files of these names.

    Args:
        spool: the polygons, all appended.
        folder: where the files go; made if missing.
        stem: start of the files' names.
        formats: of :data:`FORMAT_NAMES`.
        dst_crs: CRS of the files, if not the scene's. Areas stay as measured; GeoJSON is always
            in EPSG:4326.
        styles: whether styles are written beside the files; a GeoPackage always holds its own.
        seal: file that says that a run is complete; removed just before the first file that it
            speaks of is replaced, so that it never stands for files of two runs.

    Raises:
        ConfigError: ``dst_crs`` is no CRS of maps; see :func:`geounet.vector.crs.target_crs`.
        OutputError: a format is unknown, cannot hold the polygons, or the folder or disk fails;
            no file has been replaced then.
    """
    if dst_crs is not None and spool.georef.crs is None:
        raise OutputError(
            f"{stem}: the scene has no CRS, so polygons cannot be reprojected to {dst_crs};"
            " leave the target CRS out"
        )
    crs = None if dst_crs is None else target_crs(dst_crs)
    layers = tuple(PolygonLayer(spool, item, crs) for item in spool.legend)
    jobs = [job for name in check_formats(formats) for job in _jobs(stem, name, layers)]
    spool.finish()
    with scratch_folder(folder, "write") as staging, _disk_errors_named(folder):
        for name in dict.fromkeys(job.name for job in jobs):
            own = [job for job in jobs if job.name == name]
            with ThreadPoolExecutor(FORMATS[name].threads) as executor:
                list(executor.map(lambda job: _write_verified(job, staging, folder), own))
        side_files = _write_styles(jobs, staging) if styles else []
        for path in staging.iterdir():
            _sync(path)
        if seal is not None:
            seal.unlink(missing_ok=True)
        for job in jobs:
            _publish(job, staging, folder)
        for path in side_files:
            path.replace(folder / path.name)
        _sync(folder)
    return WrittenPolygons(tuple(folder / job.file for job in jobs), _notices(jobs))


def _jobs(stem: str, name: FormatName, layers: tuple[PolygonLayer, ...]) -> list[_Job]:
    if not FORMATS[name].per_class:
        return [_Job(name, _file_name(stem, None, name), layers)]
    return [_Job(name, _file_name(stem, layer.name, name), (layer,)) for layer in layers]


def _file_name(stem: str, class_name: str | None, extension: str) -> str:
    return f"{stem}.{extension}" if class_name is None else f"{stem}_{class_name}.{extension}"


@contextmanager
def _disk_errors_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{error.filename2 or error.filename or folder}: cannot be written"
            f" ({error.strerror or error}); close programs that use it, free disk space,"
            " or choose another output folder"
        ) from error


def _write_verified(job: _Job, staging: Path, folder: Path) -> None:
    """Write a file and count its polygons by reading it: a full disk does not always raise."""
    path = staging / job.file
    try:
        job.format.write(path, job.layers)
        _sync(path)  # while other files are written
        counts = [job.format.count(path, layer.name) for layer in job.layers]
    except OutputError:
        raise
    except Exception as error:  # GDAL, SQLite and Arrow raise half a dozen unrelated types.
        for layer in job.layers:
            if layer.failures:
                raise layer.failures[0] from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OutputError(
            f"{folder / job.file}: cannot be written ({reason});"
            " check free disk space and permissions"
        ) from error
    for layer, count in zip(job.layers, counts, strict=True):
        if count != layer.count:
            raise OutputError(
                f"{folder / job.file}: {count} of {layer.count} polygons of class {layer.name!r}"
                " were found after writing; check free disk space"
            )


def _write_styles(jobs: Sequence[_Job], staging: Path) -> list[Path]:
    """Style files of all classes that have files; formats of the same class share them."""
    files: dict[Path, None] = {}
    for job in jobs:
        if job.format.per_class:
            files.update(
                dict.fromkeys(write_polygon_styles(staging / job.file, job.layers[0].land_class))
            )
    return list(files)


def _sync(path: Path) -> None:
    """Force a file's or folder's contents onto the disk before names point to them."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(job: _Job, staging: Path, folder: Path) -> None:
    """Move a file into place, its main part last, after whatever would not fit it.

    A Shapefile cannot be replaced at once. The old .shp goes first, so that a kill in between
    leaves parts without a .shp, never a .shp with the parts of another.
    """
    target = folder / job.file
    if job.format.sidecars:
        target.unlink(missing_ok=True)
    for ending in job.format.stale:
        target.with_suffix(ending).unlink(missing_ok=True)
    for ending in job.format.sidecars:
        sidecar = staging / Path(job.file).with_suffix(ending)
        if sidecar.exists():
            sidecar.replace(target.with_suffix(ending))
        else:
            target.with_suffix(ending).unlink(missing_ok=True)
    (staging / job.file).replace(target)


def _notices(jobs: Sequence[_Job]) -> tuple[str, ...]:
    names = [job for job in jobs if job.name == "geojson"]
    if not names:
        return ()
    if names[0].layers[0].crs is None:
        return (
            "GeoJSON: the scene has no CRS, so coordinates are the scene's own,"
            " not longitude and latitude as RFC 7946 asks.",
        )
    return ("GeoJSON: coordinates are in EPSG:4326 (longitude, latitude), as RFC 7946 asks.",)
