"""Options about how a model runs, the same for every command that runs one."""

from typing import Annotated

import typer

RUN = "Speed and memory"
WHAT = "What the model sees"

Bidx = Annotated[
    str | None,
    typer.Option(
        "-b",
        "--bidx",
        metavar="N,N,N",
        rich_help_panel=WHAT,
        help="1-based bands for the model's inputs, such as 4,3,2.",
    ),
]
Resolution = Annotated[
    str,
    typer.Option(
        metavar="model|scene|METRES",
        rich_help_panel=WHAT,
        help="Ground sample distance to work at: model, scene, or metres.",
    ),
]
Thresholds = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS=P",
        rich_help_panel=WHAT,
        help="Probability from which a pixel is called CLASS, repeatable; none: the likeliest."
        " Default: the model's own.",
    ),
]
TileSize = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, rich_help_panel=RUN, help="Side of a tile in pixels, margins included."
    ),
]
Margin = Annotated[
    str,
    typer.Option(
        metavar="auto|exact|N",
        rich_help_panel=RUN,
        help="Context around a tile's core, in pixels.",
    ),
]
Merging = Annotated[
    str | None,
    typer.Option(
        metavar="crop|blend",
        rich_help_panel=RUN,
        help="One owner per pixel, or overlaps weighted together."
        " Default: crop; blend for networks that pool globally.",
    ),
]
Symmetries = Annotated[
    str | None,
    typer.Option(
        metavar="flips|d4",
        rich_help_panel=RUN,
        help="Average over 4 reflections or all 8 symmetries: 4 or 8 times the work.",
    ),
]
Device = Annotated[
    str,
    typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", rich_help_panel=RUN, help="Where it runs."),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|float32|bfloat16|float16",
        rich_help_panel=RUN,
        help="Numbers it computes in.",
    ),
]
Library = Annotated[
    str,
    typer.Option(
        metavar="auto|torch|torch-compile|onnx|openvino",
        rich_help_panel=RUN,
        help="Library that computes the network; auto: the fastest installed.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=RUN,
        help="Budget of the network's forward pass, such as 2GB.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, rich_help_panel=RUN, help="Threads of the local job."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", rich_help_panel=RUN, help="A running Dask scheduler."),
]
