"""A training run's checkpoint to what is handed on: the model file and its STAC item."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geounet.files import write_whole
from geounet.jobs.calibrate import calibrated
from geounet.jobs.plan import SegmentOptions
from geounet.model.bundle import ModelBundle, check_file_name, load_bundle
from geounet.model.stac import stac_item
from geounet.train.export import export


@dataclass(frozen=True)
class PackageOptions:
    """What is said and measured beside the weights."""

    machine: str
    """What the run was trained on, for the card."""
    margin: int = 64
    """Default context around a tile in pixels, where no scene is given to measure it with."""
    before: Sequence[Path] = ()
    """Checkpoints of the stages that the run started from, for the card."""
    average: str | None = None
    """Model that the run started from; the weights become the mean of both."""
    scene: str | None = None
    """A real scene to measure the margin curve with."""
    device: str = "auto"
    """What the curve is measured on."""


def package(checkpoint: Path, out: Path, options: PackageOptions) -> tuple[ModelBundle, Path]:
    """Write ``out``, and beside it the STAC item ``NAME.json``.

    Raises:
        GeounetError: the checkpoint or the scene cannot be used, or a file cannot be written.
    """
    check_file_name(out)
    bundle = _measured(checkpoint, out, options)
    item = out.with_suffix(".json")
    text = json.dumps(stac_item(bundle, f"./{out.name}"), indent=2)
    write_whole(item, (text + "\n").encode())
    return bundle, item


def _measured(checkpoint: Path, out: Path, options: PackageOptions) -> ModelBundle:
    """Write the model file, with the margin curve if a scene is given to measure it with."""
    average = load_bundle(options.average) if options.average else None
    said = (options.machine, options.margin, options.before, average)
    if options.scene is None:
        return export(checkpoint, out, *said)
    # Measuring can fail, and then nothing stands under the final name.
    with tempfile.TemporaryDirectory(prefix="geounet") as folder:
        bundle = export(checkpoint, Path(folder) / out.name, *said)
    return calibrated(options.scene, bundle, out, SegmentOptions(device=options.device))
