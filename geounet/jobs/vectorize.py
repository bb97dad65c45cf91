"""Class masks to polygons: any mask, geounet's own or not, by the code that ``segment`` uses.

A record is published last, ``<stem>_vectorize.json``: it names the run, its options and its files,
and where it stands the rest is complete.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geounet import __version__
from geounet.errors import ConfigError, OutputError
from geounet.files import write_whole
from geounet.jobs.options import OutputOptions, PolygonOptions, polygon_options
from geounet.jobs.outputs import (
    RUN_TAG,
    Outputs,
    check_outputs,
    check_reprojection,
    digest_of,
    is_complete,
    prepare_folder,
    vector_paths,
)
from geounet.jobs.report import COMPILING, Listener, Report, reported
from geounet.raster.classes import STRIP, ClassMask, class_rows, describe_mask
from geounet.raster.remote import file_name, is_remote
from geounet.raster.scene import Scene


@dataclass(frozen=True)
class MaskOptions:
    """What the user may say about the masks."""

    names: tuple[tuple[int, str], ...] = ()
    """Names for values; they win over those that a file offers."""
    nodata: tuple[int, ...] = ()
    """Values without polygons, besides a file's nodata value."""

    def __post_init__(self) -> None:
        if len(dict(self.names)) != len(self.names):
            raise ConfigError("a value is named twice; give each value one name")


@dataclass(frozen=True)
class VectorizePlan:
    """What is known of a mask before its polygons are made."""

    mask: ClassMask
    """The mask."""
    polygons: PolygonOptions
    """Which polygons, and how clean."""

    @property
    def scene(self) -> Scene:
        """The mask as a raster."""
        return self.mask.scene

    @property
    def pixels(self) -> int:
        """Pixels of the results."""
        return self.scene.height * self.scene.width

    @property
    def steps(self) -> int:
        """Strips of rows."""
        return -(-self.scene.height // STRIP)

    def describe(self) -> str:
        """The preflight line."""
        scene, chosen = self.scene, self.polygons.chosen_legend.names
        gsd = f" at {scene.georef.spacing}" if scene.georef.gsd else ""
        shown = ", ".join(chosen[:8]) + (f" and {len(chosen) - 8} more" if len(chosen) > 8 else "")
        return (
            f"{scene.name}: {scene.height} x {scene.width} px{gsd}, {scene.dtype};"
            f" {shown} (from {self.mask.source})"
        )


def vectorize_masks(
    masks: Sequence[str],
    options: MaskOptions,
    output: OutputOptions,
    listener: Listener | None = None,
) -> list[Report]:
    """Make polygons of masks, one after the other; one that fails does not stop the rest.

    Args:
        masks: paths or GDAL names of class masks.
        options: what their values mean.
        output: what to write; polygons are always made.
        listener: told about progress.

    Returns:
        A report per mask, in order.

    Raises:
        OutputError: two masks would write the same file, or one over another; or one lies on a
            server and no folder is named.
    """
    listener = listener or Listener()
    records = [_record_path(mask, output) for mask in masks]
    check_outputs(masks, [Outputs(record) for record in records])
    return [
        reported(mask, partial(vectorize_mask, mask, options, output, listener), listener)
        for mask in masks
    ]


def vectorize_mask(
    uri: str, options: MaskOptions, output: OutputOptions, listener: Listener
) -> Report:
    """Make the polygons of one mask.

    Raises:
        GeounetError: whatever went wrong; no file has been replaced by half of another.
    """
    started = time.perf_counter()
    mask = describe_mask(uri, dict(options.names), frozenset(options.nodata))
    polygons = polygon_options(mask.legend, output, mask.codes, mask.hidden)
    record = _record_path(uri, output)
    folder, stem = record.parent, _stem(uri)
    outputs = Outputs(record, vector_paths(folder, stem, polygons.chosen_legend, output))
    check_outputs([uri], [outputs])
    identity = digest_of(mask.scene, output, legend=mask.legend.to_dict(), values=mask.values)
    if is_complete(outputs, identity, output.overwrite):
        return Report(uri, outputs, skipped=True)
    check_reprojection(mask.scene, output.dst_crs)
    prepare_folder(folder)
    plan = VectorizePlan(mask, polygons)
    listener.planned(plan)
    # numba, pyarrow and GDAL's vector half take most of the time that a small mask needs.
    from geounet.jobs.polygons import PolygonMaker, cleaning_rules
    from geounet.vector.precompile import is_compiled

    width, georef = mask.scene.width, mask.scene.georef
    rules = cleaning_rules(polygons, georef)
    if not is_compiled(rules):
        listener.noted(COMPILING)
    with PolygonMaker(width, georef, folder, polygons, rules, weighted=False) as maker:
        listener.advanced(0, plan.steps)
        for step, rows in enumerate(class_rows(mask)):
            maker.push(rows, None)
            listener.advanced(step + 1, plan.steps)
        maker.finish()
        notices = maker.publish(stem, output.formats, record)
        classes = maker.summary()
    _write_record(record, identity, mask, outputs)
    if mask.scene.notice:
        notices = (mask.scene.notice, *notices)
    seconds = time.perf_counter() - started
    return Report(uri, outputs, classes, seconds, notices=notices)


def _record_path(uri: str, output: OutputOptions) -> Path:
    if output.folder is None and is_remote(uri):
        raise OutputError(f"{uri}: results cannot lie beside it; name a folder with -o")
    return (output.folder or Path(uri).parent) / f"{_stem(uri)}_vectorize.json"


def _stem(uri: str) -> str:
    return Path(file_name(uri)).stem


def _write_record(path: Path, identity: str, mask: ClassMask, outputs: Outputs) -> None:
    facts = {
        RUN_TAG: identity,
        "GEOUNET_VERSION": __version__,
        "mask": mask.scene.name,
        "legend": mask.legend.to_dict(),
        "values": mask.values,
        "files": [item.name for item in outputs.vectors],
    }
    write_whole(path, json.dumps(facts, indent=1).encode())
