"""The main job: a scene to a georeferenced class mask and polygons.

Rows flow one way: tiles are predicted by workers, assembled into rows in the order of the raster,
and each batch of rows goes to the mask writer and to the polygon maker at once. Nothing of the
scene's size is held in memory. Results get their final names at the very end, the mask last: it
carries the run's identity, so where it stands the job is complete.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from geounet import __version__
from geounet.decision import decision_for
from geounet.jobs.execute import on_a_worker, windowed
from geounet.jobs.extent import resolve_region
from geounet.jobs.merge import assembler_for
from geounet.jobs.options import ClassSummary, OutputOptions, polygon_options
from geounet.jobs.outputs import (
    RUN_TAG,
    Outputs,
    check_outputs,
    check_reprojection,
    is_complete,
    plan_outputs,
    prepare_folder,
    publish_mask_styles,
    run_identity,
)
from geounet.jobs.plan import SegmentOptions, hardware_for, make_plan
from geounet.jobs.predict import Layers, Work, predict_batch
from geounet.jobs.report import COMPILING, Listener, Report, reported
from geounet.memory import Releaser, release
from geounet.model.bundle import ModelBundle
from geounet.model.runtime import Hardware
from geounet.raster.handles import close_handles
from geounet.raster.mask import MaskWriter, ProbabilityWriter
from geounet.raster.remote import is_remote
from geounet.raster.scene import Scene, describe

_RELEASE_PIXELS = 20_000_000
# Pixels between two releases of freed memory where there are no polygons, whose maker does it too.

if TYPE_CHECKING:
    from distributed import Client


def segment_scenes(
    scenes: Sequence[str],
    bundle: ModelBundle,
    client: "Client",
    options: SegmentOptions,
    output: OutputOptions,
    listener: Listener | None = None,
) -> list[Report]:
    """Segment scenes one after the other; one that fails does not stop the rest.

    Args:
        scenes: paths or GDAL names.
        bundle: the model.
        client: from :func:`geounet.jobs.execute.dask_client`.
        options: how to infer.
        output: what to write.
        listener: told about progress.

    Returns:
        A report per scene, in order.

    Raises:
        OutputError: two scenes would write the same file, or one over the other.
        ConfigError: groups or classes that the model's legend does not have.
    """
    listener = listener or Listener()
    names = polygon_options(bundle.spec.legend, output).chosen_legend
    planned = [plan_outputs(scene, names, output) for scene in scenes]
    aoi = options.extent.aoi
    check_outputs(scenes, planned, (aoi,) if aoi else ())
    return [
        reported(
            scene,
            partial(segment_scene, scene, outputs, bundle, client, options, output, listener),
            listener,
        )
        for scene, outputs in zip(scenes, planned, strict=True)
    ]


def segment_scene(
    uri: str,
    outputs: Outputs,
    bundle: ModelBundle,
    client: "Client",
    options: SegmentOptions,
    output: OutputOptions,
    listener: Listener,
) -> Report:
    """Segment one scene into ``outputs``.

    Raises:
        GeounetError: whatever went wrong; nothing is left under the final names.
    """
    started = time.perf_counter()
    scene = describe(uri)
    region = resolve_region(scene, options.extent)
    identity = run_identity(scene, region, bundle, options, output)
    if is_complete(outputs, identity, output.overwrite):
        return Report(uri, outputs, skipped=True)
    check_reprojection(scene, output.dst_crs)
    prepare_folder(outputs.mask.parent)
    storage = output.probabilities
    hardware = _workers_hardware(client, options)
    plan = make_plan(scene, bundle.spec, options, hardware, region, storage)
    listener.planned(plan)
    polygons = polygon_options(bundle.spec.legend, output)
    tags = {
        RUN_TAG: identity,
        "GEOUNET_VERSION": __version__,
        "GEOUNET_MODEL": f"{bundle.spec.name} {bundle.digest[:16]}",
    }
    limits = options.limits(bundle.spec)
    decision = decision_for(bundle.spec.legend, polygons.mapping, limits)
    sent = plan if client.cluster else replace(plan, scene=_found_anywhere(scene))
    work = Work(sent, bundle, decision, storage, output.polygons, run=secrets.token_hex(8))
    summaries: tuple[ClassSummary, ...] = ()
    notices: tuple[str, ...] = (scene.notice,) if scene.notice else ()
    folder, frame, legend = outputs.mask.parent, plan.frame, bundle.spec.legend
    with ExitStack() as stack:
        files = stack.enter_context(ExitStack())
        files.callback(_close_files, client, work)
        writer = stack.enter_context(MaskWriter(outputs.mask, frame, legend, tags))
        shares = None
        if storage and outputs.probabilities:
            shares = ProbabilityWriter(outputs.probabilities, frame, legend, tags, storage)
            stack.enter_context(shares)
        maker = None
        if output.polygons:
            # numba, pyarrow and GDAL's vector half take a second to import.
            from geounet.jobs.polygons import PolygonMaker, cleaning_rules
            from geounet.vector.precompile import is_compiled

            rules = cleaning_rules(polygons, frame.georef, plan.work.rows.step)
            if not is_compiled(rules):
                listener.noted(COMPILING)
            maker = PolygonMaker(frame.width, frame.georef, folder, polygons, rules)
            stack.enter_context(maker)
        releaser = Releaser(_RELEASE_PIXELS)
        for layers in _rows(work, client, listener):
            writer.write_rows(layers.mask)
            if shares and layers.shares is not None:
                shares.write_rows(layers.shares)
            if maker and layers.confidence is not None:
                maker.push(layers.mask, layers.confidence)
            else:
                releaser.passed(layers.mask.size)
        files.close()  # nothing more is read, and the block cache goes with them
        release()  # before the mask is read back, in room of its own
        writer.finish()
        if shares:
            shares.finish()
        if maker:
            maker.finish()
            notices += maker.publish(Path(scene.name).stem, output.formats, outputs.mask)
            summaries = maker.summary()
        if shares:
            shares.publish()
        publish_mask_styles(outputs.mask, bundle.spec.legend)
        writer.publish()
    return Report(uri, outputs, summaries, time.perf_counter() - started, notices=notices)


def _found_anywhere(scene: Scene) -> Scene:
    """A scene as workers in another folder find it; results keep the name that the user gave."""
    return scene if is_remote(scene.uri) else replace(scene, uri=str(Path(scene.uri).absolute()))


def _close_files(client: "Client", work: Work) -> None:
    """Close what the workers hold open; a scheduler that is gone has done so."""
    with suppress(OSError, TimeoutError):
        client.run(close_handles, work.run, on_error="ignore")


def _workers_hardware(client: "Client", options: SegmentOptions) -> Hardware | None:
    """Device and precision that ``auto`` means on a cluster, whose machines may be others."""
    if client.cluster is not None:
        return None
    return on_a_worker(client, hardware_for, options)


def _rows(work: Work, client: "Client", listener: Listener) -> Iterator[Layers]:
    """Finished rows of the scene from top to bottom, computed by the client's workers."""
    plan = work.plan
    assembler = assembler_for(work)
    blend = plan.merge == "blend"
    done = 0
    listener.advanced(0, len(plan.grid))
    for pieces in windowed(client, predict_batch, work, plan.batches(), ordered=blend):
        for piece in pieces:
            yield from assembler.add(piece)
        done += len(pieces)
        listener.advanced(done, len(plan.grid))
