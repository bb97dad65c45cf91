"""``geounet calibrate``: how much context a model needs around a tile."""

from pathlib import Path
from typing import Annotated

import typer

from geounet_cli import running


def calibrate(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a .safetensors file.")],
    scene: Annotated[str, typer.Argument(help="A real scene of at least a few megapixels.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    device: running.Device = "auto",
    precision: running.Precision = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model file and a picture that exist.")
    ] = False,
) -> None:
    """Measure margin against exactness, store the smallest margin that keeps the promise, and plot
    the curve beside the model.
    """
    from geounet.files import check_free
    from geounet.jobs.calibrate import calibrated
    from geounet.jobs.margin_plot import draw_margin_curve
    from geounet.jobs.plan import SegmentOptions
    from geounet.jobs.thresholds import check_copy
    from geounet.model.bundle import load_bundle
    from geounet.model.runtime import Precision
    from geounet_cli import parse

    options = SegmentOptions(
        device=parse.device(device),
        precision=parse.choice(precision, Precision, "--precision"),
    )
    source, picture = load_bundle(model), output.with_suffix(".png")
    check_copy(output, source, overwrite)
    check_free(picture, overwrite)
    bundle = calibrated(scene, source, output, options)
    typer.echo("margin px  pixels that differ from the exact margin")
    for margin, share in bundle.spec.margin_curve:
        chosen = "  <- default" if margin == bundle.spec.margin else ""
        typer.echo(f"{margin:>9}  {share:.2e}{chosen}")
    if draw_margin_curve(picture, bundle.spec):
        typer.echo(f"{picture}: the curve")
    else:
        typer.echo("the curve is not drawn: matplotlib is not installed (pip install matplotlib)")
    typer.echo(f"{output}: margin {bundle.spec.margin} px, exact from {bundle.spec.reach} px")
