"""``geounet package``: a checkpoint to a model file and its STAC item."""

from pathlib import Path
from typing import Annotated

import typer


def package(
    checkpoint: Annotated[Path, typer.Argument(help="best.pt or last.pt of a training run.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The model file to write, NAME.safetensors.")
    ],
    scene: Annotated[
        str | None,
        typer.Option(help="A real scene to measure the margin curve with, as calibrate does."),
    ] = None,
    margin: Annotated[
        int, typer.Option(min=0, help="Default context in pixels, where no scene is given.")
    ] = 64,
    machine: Annotated[
        str | None, typer.Option(help="What the run was trained on, for the card.")
    ] = None,
    before: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint of a stage that the run started from, repeatable."),
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(help="Model that the run started from: write the mean of both weights."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model file and a STAC item that exist.")
    ] = False,
) -> None:
    """Write averaged weights and measured facts as a model file, and its STAC item beside it."""
    import os

    from geounet.files import check_free
    from geounet.jobs import package as job

    for path in (output, output.with_suffix(".json")):
        check_free(path, overwrite)
    options = job.PackageOptions(
        machine=machine or f"{os.cpu_count()} CPU cores",
        margin=margin,
        before=before or (),
        average=average,
        scene=scene,
        device=device,
    )
    bundle, item = job.package(checkpoint, output, options)
    spec = bundle.spec
    exact = f"exact from {spec.radius} px" if spec.exact else "exact at no margin"
    typer.echo(
        f"{output}: {len(bundle.weights) / 1e6:.1f} MB, margin {spec.margin} px, {exact},"
        f" {spec.bytes_per_pixel} bytes per pixel"
    )
    for name, scores in spec.card["accuracy_iou"].items():
        figures = ", ".join(f"{key} {value:.2f}" for key, value in scores.items() if key != "gsd")
        typer.echo(f"  IoU {name}: {figures}")
    typer.echo(f"{item}: STAC item")
