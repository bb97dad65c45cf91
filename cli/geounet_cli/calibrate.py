"""``geounet calibrate``: how much context a model needs around a tile."""

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a .safetensors file.")],
    scene: Annotated[str, typer.Argument(help="A real scene of at least a few megapixels.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Measure margin against exactness, and store the smallest margin that keeps the promise."""
    from geounet.jobs.calibrate import calibrated
    from geounet.jobs.plan import SegmentOptions
    from geounet.model.bundle import load_bundle

    options = SegmentOptions(device=device, precision=precision)
    bundle = calibrated(scene, load_bundle(model), output, options)
    typer.echo("margin px  pixels that differ from the exact margin")
    for margin, share in bundle.spec.margin_curve:
        chosen = "  <- default" if margin == bundle.spec.margin else ""
        typer.echo(f"{margin:>9}  {share:.2e}{chosen}")
    typer.echo(f"{output}: margin {bundle.spec.margin} px, exact from {bundle.spec.reach} px")
