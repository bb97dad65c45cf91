"""``geounet models``: what ships inside the package, with its measured accuracy."""

from collections.abc import Mapping

import typer


def models() -> None:
    """List the shipped models and what they were measured to do."""
    from geounet.model.bundle import DEFAULT_MODEL, load_bundle, shipped_models

    for name in shipped_models():
        spec = load_bundle(name).spec
        default = " (default)" if name == DEFAULT_MODEL else ""
        typer.echo(f"{name}{default}: {spec.arch} {spec.encoder or ''}".rstrip())
        typer.echo(f"  bands       {', '.join(spec.bands)}, {spec.dtype}")
        typer.echo(f"  classes     {', '.join(spec.legend.names)}")
        typer.echo(f"  resolution  {spec.resolution:g} m")
        typer.echo(f"  margin      {spec.margin} px (exact from {spec.reach} px)")
        for place, scores in spec.card.get("accuracy_iou", {}).items():
            typer.echo(f"  IoU         {place}: {_scores(scores)}")
        for credit in spec.card.get("attribution", ()):
            typer.echo(f"  credit      {credit}")


def _scores(scores: Mapping[str, float]) -> str:
    """The classes' scores; the mean only where it is of several classes."""
    classes = {key: value for key, value in scores.items() if key not in ("gsd", "miou")}
    parts = [f"{key} {value:.2f}" for key, value in classes.items()]
    if len(classes) > 1 and "miou" in scores:
        parts.append(f"mean {scores['miou']:.2f}")
    return ", ".join(parts)
