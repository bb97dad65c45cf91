"""What a job writes, under which names, and whether those may be written."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

from geounet.errors import ConfigError, OutputError
from geounet.jobs.extent import Region
from geounet.jobs.options import OutputOptions
from geounet.legend import Legend
from geounet.raster.mask import read_tags
from geounet.raster.remote import file_name, is_remote
from geounet.raster.scene import Scene
from geounet.vector.crs import target_crs

if TYPE_CHECKING:
    # Both import torch, which vectorizing does without.
    from geounet.jobs.plan import SegmentOptions
    from geounet.model.bundle import ModelBundle

RUN_TAG = "GEOUNET_RUN"
"""Metadata item of a mask that names the run that made it; the mask is published last."""
_FILES = ("", ".msk", ".ovr")
"""Endings after a scene's name of the files that its pixels are read from. What others hold, such
as a world file or ``.aux.xml``, is in its description; QGIS writes statistics to the latter."""
_SHP_PARTS = (".shx", ".dbf")
"""Files without which nobody reads a .shp."""


@dataclass(frozen=True)
class Outputs:
    """The final names of one scene's results."""

    seal: Path
    """What is published last and names the run, so that the rest is complete where it stands: the
    class mask of ``segment``, the record of ``vectorize``."""
    vectors: tuple[Path, ...] = field(default=())
    """All vector files."""
    probabilities: Path | None = None
    """The probabilities of the classes, if they are asked for."""

    @property
    def mask(self) -> Path:
        """The class mask of ``segment``."""
        return self.seal

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file."""
        raster = (self.probabilities,) if self.probabilities else ()
        return (self.seal, *raster, *self.vectors)


def plan_outputs(scene: str, legend: Legend, options: OutputOptions) -> Outputs:
    """Names for the results of the scene ``scene``; ``legend`` is the polygons' own.

    Raises:
        OutputError: the scene lies on a server and no folder is named.
    """
    source = Path(file_name(scene))
    folder = options.folder
    if folder is None:
        if is_remote(scene):
            raise OutputError(f"{scene}: results cannot lie beside it; name a folder with -o")
        folder = Path(scene).parent
    vectors = vector_paths(folder, source.stem, legend, options) if options.polygons else ()
    shares = folder / f"{source.stem}_probabilities.tif" if options.probabilities else None
    return Outputs(folder / f"{source.stem}_mask.tif", vectors, shares)


def vector_paths(
    folder: Path, stem: str, legend: Legend, options: OutputOptions
) -> tuple[Path, ...]:
    """Names of the vector files of a raster whose name starts with ``stem``."""
    from geounet.vector.write import output_paths

    return tuple(output_paths(folder, stem, legend, options.formats))


def check_outputs(
    scenes: Sequence[str], outputs: Sequence[Outputs], others: Sequence[str] = ()
) -> None:
    """Refuse before anything is written if a result would replace a scene, one of the ``others``
    that are read, or another result.

    Raises:
        OutputError: with both names.
    """
    inputs = {os.path.realpath(scene): "one of the scenes" for scene in scenes}
    inputs |= {os.path.realpath(other): f"read as {other}" for other in others}
    owner: dict[str, str] = {}
    for scene, own in zip(scenes, outputs, strict=True):
        for path in own.paths:
            real = os.path.realpath(path)
            if real in inputs:
                raise OutputError(
                    f"{path}: is itself {inputs[real]} and would be overwritten by the result of"
                    f" {scene}; choose another folder with -o"
                )
            if real in owner:
                raise OutputError(
                    f"{path}: would be written by both {owner[real]} and {scene};"
                    " segment them into different folders with -o"
                )
            owner[real] = scene


def run_identity(
    scene: Scene,
    region: Region,
    bundle: "ModelBundle",
    options: "SegmentOptions",
    output: OutputOptions,
) -> str:
    """A digest of what determines a scene's results: the scene, the model, the options.

    Device, runtime, memory and batch are left out: they decide how fast, not what is wanted.
    """
    apart = ("device", "runtime", "memory", "batch", "extent")
    return digest_of(
        scene,
        output,
        model=bundle.digest,
        # The pixels that are meant, not the name of a file whose polygons may have changed.
        region=region.identity,
        options={key: value for key, value in asdict(options).items() if key not in apart},
    )


def digest_of(scene: Scene, output: OutputOptions, **facts: Any) -> str:
    """A digest of a raster, of what is wanted of the results, and of further facts."""
    place = ("folder", "overwrite")
    georef = scene.georef
    facts |= {
        "scene": (scene.name, scene.shape, scene.dtype, scene.nodata, scene.colors),
        "georef": (georef.crs, georef.transform),
        "files": [_state(scene.uri + ending) for ending in _FILES],
        "output": {key: value for key, value in asdict(output).items() if key not in place},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _state(path: str) -> tuple[int, int] | None:
    """Size of a file and when it was last written: scenes are painted over without changing size.
    None if there is none, or if it lies on a server.
    """
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def is_complete(outputs: Outputs, identity: str, overwrite: bool) -> bool:
    """True if all results stand there and come from the same run, so that nothing is to be done.

    Raises:
        OutputError: some exist but come from another run, or not from geounet at all, and
            ``overwrite`` is off.
    """
    existing = [path for path in outputs.paths if path.exists()]
    if not existing or overwrite:
        return False
    run = _run_of(outputs.seal)
    if run == identity and all(map(_is_whole, outputs.paths)):
        return True
    if run is not None:
        raise OutputError(
            f"{existing[0]}: exists, from another run or incomplete; replace it with --overwrite,"
            " or choose another folder with -o"
        )
    # These may be labels that took hours to draw: --overwrite is not what to try first.
    raise OutputError(
        f"{existing[0]}: exists, and nothing says that geounet made it; choose another folder with"
        " -o (--overwrite would replace it)"
    )


def _is_whole(path: Path) -> bool:
    """Whether a result can be one: no file emptied since, no part of a Shapefile gone."""
    parts = _SHP_PARTS if path.suffix == ".shp" else ()
    files = (path, *(path.with_suffix(ending) for ending in parts))
    return all((_state(str(file)) or (0, 0))[0] > 0 for file in files)


def _run_of(seal: Path) -> str | None:
    """The run that a mask or a record names."""
    if seal.suffix != ".json":
        return read_tags(seal).get(RUN_TAG)
    try:
        return str(json.loads(seal.read_text(encoding="utf-8"))[RUN_TAG])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def prepare_folder(folder: Path) -> None:
    """Make the folder if need be and check that files can be created in it.

    Raises:
        OutputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".geounet.{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror}); choose another folder with -o"
        ) from error


def publish_mask_styles(mask: Path, legend: Legend) -> None:
    """Put QGIS and SLD styles beside a mask.

    Raises:
        OutputError: they cannot be written.
    """
    from geounet.vector.style import write_mask_styles

    try:
        write_mask_styles(mask, legend)
    except OSError as error:
        raise OutputError(
            f"{error.filename2 or error.filename or mask}: cannot be written"
            f" ({error.strerror}); choose another folder with -o, or free space"
        ) from error


def check_reprojection(scene: Scene, dst_crs: str | None) -> None:
    """Refuse before any work what could not be written afterwards.

    Raises:
        ConfigError: no such CRS, the scene has none, or lies where the other is not defined.
    """
    if dst_crs is None:
        return
    try:
        target = target_crs(dst_crs)
    except ConfigError as error:
        raise ConfigError(f"--dst-crs {error}") from error
    if scene.georef.crs is None:
        raise ConfigError(
            f"{scene.uri}: has no CRS, so polygons cannot be brought to {dst_crs};"
            " leave --dst-crs out"
        )
    change = Transformer.from_crs(scene.georef.crs, target, always_xy=True)
    columns, rows = np.meshgrid(*(np.linspace(0, size, 5) for size in scene.shape[::-1]))
    points = scene.georef.to_crs(np.column_stack([columns.ravel(), rows.ravel()]))
    if not np.isfinite(change.transform(*points.T)).any():
        raise ConfigError(
            f"{scene.uri}: lies where {dst_crs} is not defined; choose another --dst-crs"
        )
