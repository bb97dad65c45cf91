"""``geounet segment``: parse, build the options, call the job, print."""

from pathlib import Path
from typing import Annotated

import typer

from geounet.errors import GeounetError

_WHAT = "What to segment"
_WRITE = "Results"
_RUN = "Speed and memory"


def segment(
    scenes: Annotated[
        list[str], typer.Argument(metavar="SCENE...", help="GeoTIFFs, folders or 'patterns'.")
    ],
    model: Annotated[
        str, typer.Option("-m", "--model", help="A shipped model's name or a .safetensors file.")
    ] = "landcover-rgb",
    bidx: Annotated[
        str | None,
        typer.Option(
            "-b",
            "--bidx",
            metavar="N,N,N",
            rich_help_panel=_WHAT,
            help="1-based bands for the model's inputs, such as 4,3,2.",
        ),
    ] = None,
    resolution: Annotated[
        str,
        typer.Option(
            rich_help_panel=_WHAT,
            help="Ground sample distance to work at: model, scene, or metres.",
        ),
    ] = "model",
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=P",
            rich_help_panel=_WHAT,
            help="Probability from which a pixel is called CLASS, repeatable; none: the likeliest."
            " Default: the model's own.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            rich_help_panel=_WRITE,
            help="Folder for the results. Default: beside each scene.",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--format",
            metavar="gpkg|shp|parquet|fgb|geojson",
            rich_help_panel=_WRITE,
            help="Vector format, repeatable. Default: gpkg.",
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLASS,...",
            rich_help_panel=_WRITE,
            help="Join classes for polygons, such as terrain=land,vegetation,road.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", rich_help_panel=_WRITE, help="Make polygons of these only."
        ),
    ] = None,
    min_area: Annotated[
        float | None,
        typer.Option(
            metavar="M2",
            min=0,
            rich_help_panel=_WRITE,
            help="Merge regions smaller than this into a neighbour. Default: by class.",
        ),
    ] = None,
    simplify: Annotated[
        float | None,
        typer.Option(
            metavar="METRES",
            min=0,
            rich_help_panel=_WRITE,
            help="Tolerance of the outlines; 0 keeps every pixel corner.",
        ),
    ] = None,
    square: Annotated[
        bool,
        typer.Option(
            "--square/--no-square",
            rich_help_panel=_WRITE,
            help="Right angles for buildings, smooth outlines for water.",
        ),
    ] = True,
    no_polygons: Annotated[
        bool, typer.Option("--no-polygons", rich_help_panel=_WRITE, help="Write the mask only.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            rich_help_panel=_WRITE,
            help="Replace results. Without it complete ones are skipped.",
        ),
    ] = False,
    tile_size: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_RUN, help="Side of a tile in pixels, margins included."
        ),
    ] = None,
    margin: Annotated[
        str,
        typer.Option(
            metavar="auto|exact|N",
            rich_help_panel=_RUN,
            help="Context around a tile's core, in pixels.",
        ),
    ] = "auto",
    merge: Annotated[
        str | None,
        typer.Option(
            metavar="crop|blend",
            rich_help_panel=_RUN,
            help="One owner per pixel, or overlaps weighted together."
            " Default: crop; blend for networks that pool globally.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(rich_help_panel=_RUN, help="auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(rich_help_panel=_RUN, help="auto, float32, bfloat16 or float16.")
    ] = "auto",
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=_RUN,
            help="Budget of the network's forward pass, such as 2GB.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RUN, help="Threads of the local job.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", rich_help_panel=_RUN, help="A running Dask scheduler."),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:
    """Segment scenes into <stem>_mask.tif and polygons, one layer per class."""
    from geounet.jobs.catalog import find_scenes
    from geounet.jobs.execute import dask_client
    from geounet.jobs.options import OutputOptions
    from geounet.jobs.plan import SegmentOptions
    from geounet.jobs.segment import segment_scenes
    from geounet.jobs.tiling import Merge
    from geounet.model.bundle import load_bundle
    from geounet_cli import parse
    from geounet_cli.progress import console_listener

    options = SegmentOptions(
        bidx=parse.bands(bidx),
        tile_size=tile_size,
        margin=parse.margin(margin),
        merge=parse.choice(merge, Merge, "--merge"),
        resolution=parse.resolution(resolution),
        device=device,
        precision=precision,
        memory=parse.size(memory),
        thresholds=parse.thresholds(threshold or []),
    )
    results = OutputOptions(
        folder=output,
        polygons=not no_polygons,
        formats=tuple(dict.fromkeys(formats or ["gpkg"])),
        overwrite=overwrite,
        groups=parse.groups(group or []),
        classes=parse.names(classes),
        min_area=min_area,
        simplify=simplify,
        square=square,
    )
    paths = find_scenes(scenes)
    bundle = load_bundle(model)
    with console_listener(quiet) as listener, dask_client(dask, workers) as client:
        reports = segment_scenes(paths, bundle, client, options, results, listener)
    failed = [report for report in reports if report.error]
    if failed and len(reports) > 1:
        names = ", ".join(report.scene for report in failed)
        raise GeounetError(f"{len(failed)} of {len(reports)} scenes failed: {names}")
    if failed:
        raise typer.Exit(1)
