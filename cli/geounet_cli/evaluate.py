"""``geounet evaluate``: a model or a mask against labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geounet_cli import results, running

if TYPE_CHECKING:
    from geounet.jobs.truth import Truth

_LABELS = "What the labels mean"
_MEASURE = "What is measured"
_TUNE = "Thresholds"
_OF_A_RUN = (
    "bidx", "resolution", "threshold", "tile_size", "margin", "merge", "tta", "device", "precision",
    "runtime", "memory", "workers", "dask",
)  # fmt: skip
# What only a segmentation heeds.


def evaluate(
    context: typer.Context,
    scene: Annotated[
        str,
        typer.Argument(
            metavar="MASK|SCENE", help="A class mask; with -m a scene, which is segmented first."
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(metavar="LABELS", help="A GeoTIFF of label values, or a file of polygons."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE",
            help="A shipped model's name or a .safetensors file.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.json", help="Write all figures as JSON."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE.png", help="Write a picture of the errors."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE=CLASS+CLASS,...|FILE.toml",
            rich_help_panel=_LABELS,
            help="The classes that a label value allows, such as 0=land+road,1=building; *: any"
            " polygon. Default: class ids, or class names of polygons.",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(rich_help_panel=_LABELS, help="Attribute of the polygons with the value."),
    ] = None,
    outside: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS+CLASS",
            rich_help_panel=_LABELS,
            help="The classes that pixels in no polygon may have. Default: they are not judged.",
        ),
    ] = None,
    aoi: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_LABELS, help="Polygons outside of which nothing is judged."),
    ] = None,
    ignore: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_LABELS, help="Polygons in which nothing is judged."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE=NAME",
            rich_help_panel=_LABELS,
            help="What a value of the mask is called, repeatable. Default: what the file says.",
        ),
    ] = None,
    tolerance: Annotated[
        str,
        typer.Option(
            metavar="Npx|Nm", rich_help_panel=_MEASURE, help="Tolerance of the boundary score."
        ),
    ] = "3px",
    objects: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS,...|none",
            rich_help_panel=_MEASURE,
            help="Classes whose objects are matched. Default: building.",
        ),
    ] = None,
    iou: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, rich_help_panel=_MEASURE, help="Least IoU of matching objects."
        ),
    ] = 0.5,
    min_object: Annotated[
        float,
        typer.Option(
            metavar="M2", min=0, rich_help_panel=_MEASURE, help="Leave out objects below this size."
        ),
    ] = 0.0,
    bidx: running.Bidx = None,
    resolution: running.Resolution = "model",
    threshold: running.Thresholds = None,
    tile_size: running.TileSize = None,
    margin: running.Margin = "auto",
    merge: running.Merging = None,
    tta: running.Symmetries = None,
    device: running.Device = "auto",
    precision: running.Precision = "auto",
    runtime: running.Library = "auto",
    memory: running.Memory = None,
    workers: running.Workers = None,
    dask: running.Scheduler = None,
    thresholds: Annotated[
        bool,
        typer.Option(
            "--thresholds",
            rich_help_panel=_TUNE,
            help="Find the probability of each class from which calling it gives the best F1.",
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.safetensors",
            rich_help_panel=_TUNE,
            help="Write a copy of the model with the thresholds found.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", rich_help_panel=_TUNE, help="Replace a model file that exists."
        ),
    ] = False,
    quiet: results.Quiet = False,
) -> None:
    """Measure a mask, or a model on a scene, against labels."""
    from geounet.files import check_target
    from geounet.jobs.evaluate import (
        EvaluateOptions,
        ModelRun,
        evaluate_mask,
        evaluate_model,
        write_report,
    )
    from geounet.jobs.execute import dask_client
    from geounet.jobs.plan import SegmentOptions
    from geounet.jobs.thresholds import check_copy, save_thresholds
    from geounet.jobs.tiling import Merge
    from geounet.model.bundle import load_bundle
    from geounet.model.runtime import Engine, Precision
    from geounet.symmetry import Tta
    from geounet_cli import parse
    from geounet_cli.progress import console_listener
    from geounet_cli.scores import print_scores

    if thresholds and model is None:
        raise typer.BadParameter(
            "needs a model (-m), since a mask holds no probabilities", param_hint="--thresholds"
        )
    if save and not thresholds:
        raise typer.BadParameter("saves thresholds, so it needs --thresholds", param_hint="--save")
    if overwrite and not save:
        raise typer.BadParameter("replaces a model file (--save)", param_hint="--overwrite")
    if model is None:
        why = "is for a model (-m) that segments the scene; a mask is measured as it is"
        parse.refuse_given(context, _OF_A_RUN, why)
    else:
        parse.refuse_given(context, ["name"], "is for a mask; a model (-m) names its classes")
    threads = parse.workers(workers, dask)
    size, unit = parse.tolerance(tolerance)
    options = EvaluateOptions(
        tolerance=size,
        unit=unit,
        objects=None if objects is None else () if objects == "none" else parse.names(objects),
        iou=iou,
        min_object=min_object,
    )
    for path in (output, picture):
        if path:
            check_target(path)
    what = _truth(truth, labels or [], column, outside, (aoi, ignore))
    if model is None:
        result = evaluate_mask(scene, what, options, picture, dict(parse.value_names(name or [])))
    else:
        choices = SegmentOptions(
            bidx=parse.bands(bidx),
            tile_size=tile_size,
            margin=parse.margin(margin),
            merge=parse.choice(merge, Merge, "--merge"),
            tta=parse.choice(tta, Tta, "--tta"),
            resolution=parse.resolution(resolution),
            device=parse.device(device),
            precision=parse.choice(precision, Precision, "--precision"),
            runtime=parse.choice(runtime, Engine, "--runtime"),
            memory=parse.size(memory),
            thresholds=parse.thresholds(threshold or []),
        )
        bundle = load_bundle(model)
        if save:
            check_copy(save, bundle, overwrite)
        with console_listener(quiet) as listener, dask_client(dask, threads) as client:
            run = ModelRun(bundle, client, choices, listener, thresholds)
            result = evaluate_model(scene, run, what, options, picture)
    if not quiet:
        print_scores(result)
    if output:
        write_report(output, result)
    if save and result.thresholds:
        save_thresholds(save, bundle, result.thresholds.values, overwrite)
        if not quiet:
            typer.echo(f"{save}: the model with these thresholds")


def _truth(
    path: Path,
    labels: list[str],
    column: str | None,
    outside: str | None,
    areas: tuple[Path | None, Path | None],
) -> "Truth":
    from geounet.jobs.truth import Truth, read_table
    from geounet.labels.source import LabelFiles
    from geounet_cli import parse

    if len(labels) == 1 and labels[0].endswith(".toml"):
        table = dict(read_table(Path(labels[0])))
    else:
        table = parse.label_table(labels)
    beyond = tuple(part.strip() for part in outside.split("+")) if outside else ()
    return Truth(LabelFiles(path, column, *areas), table, beyond)
