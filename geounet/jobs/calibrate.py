"""Measure what a margin costs in exactness, and store the smallest one that keeps the promise."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from geounet.decision import decision_for
from geounet.errors import ConfigError, ModelError
from geounet.jobs.merge import RowAssembler
from geounet.jobs.plan import SegmentOptions, make_plan
from geounet.jobs.predict import Work, segment_tiles
from geounet.jobs.tiling import PROMISE
from geounet.legend import NODATA_ID
from geounet.model.bundle import ModelBundle, save_bundle
from geounet.model.runtime import runtime_for
from geounet.raster.scene import Scene, describe
from geounet.tiles import round_up

CORE = 512
"""Core of the measured tiles in pixels."""
_SEAMS = 2
# Rows and columns of tiles at least: a single tile has no seam and would promise anything.


def margin_curve(
    scene: Scene, bundle: ModelBundle, margins: tuple[int, ...], options: SegmentOptions
) -> Iterator[tuple[int, float]]:
    """Share of a scene's pixels whose class differs from the exact margin's, margin by margin.

    Args:
        scene: a scene of many tiles, with data.
        bundle: a model that does not pool globally.
        margins: multiples of the model's stride.
        options: device, precision and resolution to measure with.

    Yields:
        (margin, share), as each is measured.

    Raises:
        ConfigError: the model has no exact margin, or the scene hardly any seams.
    """
    shape = make_plan(scene, bundle.spec, _at(bundle, "exact", options)).grid.shape
    if min(shape) < _SEAMS:
        raise ConfigError(
            f"{scene.uri}: is {shape[0]} x {shape[1]} tiles of {CORE} px, too small to show what"
            f" seams cost; take a scene of at least {_SEAMS} x {_SEAMS}"
        )
    exact = np.concatenate(list(_mask_rows(scene, bundle, "exact", options)))
    known = exact != NODATA_ID
    if not known.any():
        raise ModelError(f"{scene.uri}: holds no data to calibrate with; take another scene")
    for margin in margins:
        mask = np.concatenate(list(_mask_rows(scene, bundle, margin, options)))
        yield margin, float((mask != exact)[known].mean())


def _mask_rows(
    scene: Scene, bundle: ModelBundle, margin: int | str, options: SegmentOptions
) -> Iterator[np.ndarray]:
    spec = bundle.spec
    plan = make_plan(scene, spec, _at(bundle, margin, options))
    work = Work(plan, bundle, decision_for(spec.legend, thresholds=spec.thresholds))
    runtime = runtime_for(bundle, plan.hardware)
    assembler = RowAssembler(plan.grid.shape[1])
    for batch in plan.batches():
        for piece in segment_tiles(work, batch, runtime):
            for layers in assembler.add(piece):
                yield layers.mask


def _at(bundle: ModelBundle, margin: int | str, options: SegmentOptions) -> SegmentOptions:
    """The options with a margin around cores of the measured size."""
    spec = bundle.spec
    width = round_up(spec.reach, spec.stride) if margin == "exact" else int(margin)
    # An exact margin may need an apron on top where the scene is resampled; one stride covers it.
    tile = CORE + 2 * (width + (spec.stride if margin == "exact" else 0))
    return replace(options, margin=margin, tile_size=tile, merge="crop")  # type: ignore[arg-type]


def calibrated(
    scene_path: str, bundle: ModelBundle, out: Path, options: SegmentOptions
) -> ModelBundle:
    """A copy of a model with its margin curve, and the smallest margin that keeps the promise.

    Margins of 1, 2, 3, 4, 6, 8, 12 ... strides are tried until two in a row keep it; if none below
    the receptive radius does, the exact margin becomes the default.
    """
    spec = bundle.spec
    if spec.shrink:
        raise ConfigError(
            f"model {spec.name!r} has unpadded convolutions: its margin is always exact, there is"
            " nothing to calibrate"
        )
    scene = describe(scene_path)
    steps = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    margins = tuple(n * spec.stride for n in steps if n * spec.stride < spec.radius)
    curve: list[tuple[int, float]] = []
    for point in margin_curve(scene, bundle, margins, options):
        curve.append(point)
        if len(curve) > 1 and max(share for _, share in curve[-2:]) <= PROMISE:
            break
    good = [margin for margin, share in curve if share <= PROMISE]
    margin = min(good) if good else round_up(spec.reach, spec.stride)
    facts = replace(spec, margin=margin, margin_curve=tuple(curve), calibration_core=CORE)
    return save_bundle(out, facts, bundle.stored_tensors())
