"""Options about results, the same for every command that makes polygons."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geounet.errors import GeounetError

if TYPE_CHECKING:
    from geounet.jobs.report import Report

WRITE = "Results"
CLEAN = "Clean-up of polygons"

Folder = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        rich_help_panel=WRITE,
        help="Folder for the results. Default: beside each input.",
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--format",
        metavar="gpkg|shp|parquet|fgb|geojson",
        rich_help_panel=WRITE,
        help="Vector formats: repeatable, or gpkg,shp. Default: gpkg.",
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=CLASS,...",
        rich_help_panel=WRITE,
        help="Join classes for polygons, such as terrain=land,vegetation,road.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", rich_help_panel=WRITE, help="Make polygons of these only."),
]
DstCrs = Annotated[
    str | None,
    typer.Option(
        metavar="CRS",
        rich_help_panel=WRITE,
        help="CRS of the polygons, such as EPSG:4326. Default: the raster's.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        rich_help_panel=WRITE,
        help="Replace results. Without it complete ones are skipped.",
    ),
]


def _finite(value: float | None) -> float | None:
    """Refuse what Typer takes for a number >= 0: inf and nan."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


MinArea = Annotated[
    float | None,
    typer.Option(
        metavar="M2",
        min=0,
        callback=_finite,
        rich_help_panel=CLEAN,
        help="Merge regions smaller than this into a neighbour, measured before outlines change."
        " Default: as the legend says, which for masks from elsewhere is nothing.",
    ),
]
MinHole = Annotated[
    float,
    typer.Option(
        metavar="M2",
        min=0,
        callback=_finite,
        rich_help_panel=CLEAN,
        help="Fill holes smaller than this.",
    ),
]
Simplify = Annotated[
    float | None,
    typer.Option(
        metavar="METRES",
        min=0,
        callback=_finite,
        rich_help_panel=CLEAN,
        help="Tolerance of the outlines. Default: two pixels. 0 with --no-square and --no-smooth"
        " keeps every pixel corner.",
    ),
]
Square = Annotated[
    bool,
    typer.Option("--square/--no-square", rich_help_panel=CLEAN, help="Right angles for buildings."),
]
Smooth = Annotated[
    bool,
    typer.Option(
        "--smooth/--no-smooth",
        rich_help_panel=CLEAN,
        help="Rounded outlines for water, and what else the legend says.",
    ),
]
Connectivity = Annotated[
    int,
    typer.Option(
        metavar="4|8",
        rich_help_panel=CLEAN,
        help="8: pixels of a class that touch at a corner count as one region for --min-area.",
    ),
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print the link of Dask's status page.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]


def end(reports: "Sequence[Report]", noun: str) -> None:
    """Exit with 1 if any failed, naming them where there were several.

    Raises:
        GeounetError: several inputs, of which some failed.
        typer.Exit: the only input failed; its error has been printed.
    """
    failed = [report for report in reports if report.error]
    if failed and len(reports) > 1:
        names = ", ".join(report.scene for report in failed)
        raise GeounetError(f"{len(failed)} of {len(reports)} {noun} failed: {names}")
    if failed:
        raise typer.Exit(1)
