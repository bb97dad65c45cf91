"""``geounet vectorize``: parse, build the options, call the job, print."""

from typing import Annotated

import typer

from geounet_cli import results

_MEANING = "What the values mean"


def vectorize(
    masks: Annotated[
        list[str],
        typer.Argument(metavar="MASK...", help="Class masks: GeoTIFFs, folders or 'patterns'."),
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE=NAME",
            rich_help_panel=_MEANING,
            help="What a value is called, such as 255=building; repeatable.",
        ),
    ] = None,
    nodata: Annotated[
        list[int] | None,
        typer.Option(
            metavar="VALUE",
            rich_help_panel=_MEANING,
            help="A value without polygons, besides the file's nodata value; repeatable.",
        ),
    ] = None,
    output: results.Folder = None,
    formats: results.Formats = None,
    group: results.Groups = None,
    classes: results.Classes = None,
    dst_crs: results.DstCrs = None,
    overwrite: results.Overwrite = False,
    min_area: results.MinArea = None,
    min_hole: results.MinHole = 0.0,
    simplify: results.Simplify = None,
    square: results.Square = True,
    smooth: results.Smooth = True,
    connectivity: results.Connectivity = 4,
    quiet: results.Quiet = False,
) -> None:
    """Make polygons of any class mask, one layer per class."""
    from geounet.jobs.catalog import find_masks
    from geounet.jobs.options import CleanUp, OutputOptions
    from geounet.jobs.vectorize import MaskOptions, vectorize_masks
    from geounet_cli import parse
    from geounet_cli.progress import console_listener

    options = MaskOptions(parse.value_names(name or []), tuple(nodata or ()))
    wanted = OutputOptions(
        folder=output,
        formats=parse.formats(formats or ["gpkg"]),
        overwrite=overwrite,
        groups=parse.groups(group or []),
        classes=parse.names(classes),
        clean=CleanUp(
            min_area, min_hole, simplify, square, smooth, parse.connectivity(connectivity)
        ),
        dst_crs=parse.crs(dst_crs, "--dst-crs"),
    )
    with console_listener(quiet) as listener:
        reports = vectorize_masks(find_masks(masks), options, wanted, listener)
    results.end(reports, "masks")
