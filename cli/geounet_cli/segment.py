"""``geounet segment``: parse, build the options, call the job, print."""

from pathlib import Path
from typing import Annotated

import typer

from geounet_cli import results, running

_WHERE = "What to segment"


def segment(
    scenes: Annotated[
        list[str], typer.Argument(metavar="SCENE...", help="GeoTIFFs, folders or 'patterns'.")
    ],
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE",
            help="A shipped model's name or a .safetensors file.",
        ),
    ] = "landcover-rgb",
    bidx: running.Bidx = None,
    resolution: running.Resolution = "model",
    threshold: running.Thresholds = None,
    bbox: Annotated[
        str | None,
        typer.Option(
            metavar="W,S,E,N",
            rich_help_panel=_WHERE,
            help="This part only, in the scene's CRS or in that of --bbox-crs.",
        ),
    ] = None,
    bbox_crs: Annotated[
        str | None,
        typer.Option(
            metavar="CRS", rich_help_panel=_WHERE, help="CRS of --bbox, such as EPSG:4326."
        ),
    ] = None,
    aoi: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_WHERE,
            help="Polygons in any CRS: pixels outside get no data.",
        ),
    ] = None,
    output: results.Folder = None,
    formats: results.Formats = None,
    group: results.Groups = None,
    classes: results.Classes = None,
    dst_crs: results.DstCrs = None,
    min_area: results.MinArea = None,
    min_hole: results.MinHole = 0.0,
    simplify: results.Simplify = None,
    square: results.Square = True,
    smooth: results.Smooth = True,
    connectivity: results.Connectivity = 4,
    probabilities: Annotated[
        str | None,
        typer.Option(
            metavar="uint8|float16",
            rich_help_panel=results.WRITE,
            help="Write <stem>_probabilities.tif too, a band per class.",
        ),
    ] = None,
    no_polygons: Annotated[
        bool,
        typer.Option("--no-polygons", rich_help_panel=results.WRITE, help="Write the mask only."),
    ] = False,
    overwrite: results.Overwrite = False,
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
    verbose: results.Verbose = False,
    quiet: results.Quiet = False,
) -> None:
    """Segment scenes into <stem>_mask.tif and polygons, one layer per class."""
    from geounet.decision import Storage
    from geounet.jobs.catalog import find_scenes
    from geounet.jobs.execute import dask_client, status_page
    from geounet.jobs.extent import Extent
    from geounet.jobs.options import CleanUp, OutputOptions
    from geounet.jobs.plan import SegmentOptions
    from geounet.jobs.segment import segment_scenes
    from geounet.jobs.tiling import Merge
    from geounet.model.bundle import load_bundle
    from geounet.model.runtime import Engine, Precision
    from geounet.symmetry import Tta
    from geounet_cli import parse
    from geounet_cli.progress import console_listener

    options = SegmentOptions(
        bidx=parse.bands(bidx),
        tile_size=tile_size,
        margin=parse.margin(margin),
        merge=parse.choice(merge, Merge, "--merge"),
        tta=parse.choice(tta, Tta, "--tta"),
        resolution=parse.resolution(resolution),
        extent=Extent(
            parse.bbox(bbox, bbox_crs),
            parse.crs(bbox_crs, "--bbox-crs"),
            str(aoi) if aoi else None,
        ),
        device=parse.device(device),
        precision=parse.choice(precision, Precision, "--precision"),
        runtime=parse.choice(runtime, Engine, "--runtime"),
        memory=parse.size(memory),
        thresholds=parse.thresholds(threshold or []),
    )
    wanted = OutputOptions(
        folder=output,
        polygons=not no_polygons,
        probabilities=parse.choice(probabilities, Storage, "--probabilities"),
        formats=parse.formats(formats or ["gpkg"]),
        overwrite=overwrite,
        groups=parse.groups(group or []),
        classes=parse.names(classes),
        clean=CleanUp(
            min_area, min_hole, simplify, square, smooth, parse.connectivity(connectivity)
        ),
        dst_crs=parse.crs(dst_crs, "--dst-crs"),
    )
    threads = parse.workers(workers, dask)
    paths = find_scenes(scenes)
    bundle = load_bundle(model)
    with console_listener(quiet) as listener, dask_client(dask, threads) as client:
        if verbose:
            typer.echo(f"Dask's status page: {status_page(client)}")
        reports = segment_scenes(paths, bundle, client, options, wanted, listener)
    results.end(reports, "scenes")
