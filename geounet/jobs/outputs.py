"""What a segmentation writes, under which names, and whether those may be written."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from geounet.errors import OutputError
from geounet.jobs.options import OutputOptions
from geounet.jobs.plan import SegmentOptions
from geounet.legend import Legend
from geounet.model.bundle import ModelBundle
from geounet.raster.mask import read_tags
from geounet.raster.scene import Scene

RUN_TAG = "GEOUNET_RUN"
"""Metadata item of a mask that names the run that made it; the mask is published last."""


@dataclass(frozen=True)
class Outputs:
    """The final names of one scene's results."""

    mask: Path
    """The class mask."""
    vectors: tuple[Path, ...] = field(default=())
    """All vector files."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file."""
        return (self.mask, *self.vectors)


def plan_outputs(scene: str, legend: Legend, options: OutputOptions) -> Outputs:
    """Names for the results of the scene at path ``scene``; ``legend`` is the polygons' own."""
    source = Path(scene)
    folder = options.folder or source.parent
    vectors: tuple[Path, ...] = ()
    if options.polygons:
        from geounet.vector.write import output_paths

        vectors = tuple(output_paths(folder, source.stem, legend, options.formats))
    return Outputs(folder / f"{source.stem}_mask.tif", vectors)


def check_outputs(scenes: Sequence[str], outputs: Sequence[Outputs]) -> None:
    """Refuse before anything is written if a result would replace a scene or another result.

    Raises:
        OutputError: with both names.
    """
    inputs = {os.path.realpath(scene) for scene in scenes}
    owner: dict[str, str] = {}
    for scene, own in zip(scenes, outputs, strict=True):
        for path in own.paths:
            real = os.path.realpath(path)
            if real in inputs:
                raise OutputError(
                    f"{path}: is itself one of the scenes and would be overwritten by the result of"
                    f" {scene}; choose another folder with -o"
                )
            if real in owner:
                raise OutputError(
                    f"{path}: would be written by both {owner[real]} and {scene};"
                    " segment them into different folders with -o"
                )
            owner[real] = scene


def run_identity(
    scene: Scene, bundle: ModelBundle, options: SegmentOptions, output: OutputOptions
) -> str:
    """A digest of what determines a scene's results: the scene, the model, the options.

    Device, memory and batch are left out: they decide how fast, not what is wanted.
    """
    size = Path(scene.uri).stat().st_size if Path(scene.uri).exists() else None
    facts = {
        "scene": (scene.name, size, scene.shape, scene.dtype, scene.georef.transform),
        "model": bundle.digest,
        "options": {
            key: value
            for key, value in asdict(options).items()
            if key not in ("device", "memory", "batch")
        },
        "output": {
            key: value
            for key, value in asdict(output).items()
            if key not in ("folder", "overwrite")
        },
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def is_complete(outputs: Outputs, identity: str, overwrite: bool) -> bool:
    """True if all results exist and come from the same run, so that nothing is to be done.

    Raises:
        OutputError: some exist but come from another run, and ``overwrite`` is off.
    """
    existing = [path for path in outputs.paths if path.exists()]
    if not existing or overwrite:
        return False
    if len(existing) == len(outputs.paths) and read_tags(outputs.mask).get(RUN_TAG) == identity:
        return True
    raise OutputError(
        f"{existing[0]}: exists, from another run or incomplete; replace it with --overwrite,"
        " or choose another folder with -o"
    )


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
