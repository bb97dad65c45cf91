"""``geounet models``: what ships inside the package, with its measured accuracy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from geounet.model.architectures import Cost


def models() -> None:
    """List the shipped models, what they were measured to do, and the networks to train."""
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
    _networks()


def _networks() -> None:
    """Cost and exactness of every architecture."""
    from geounet.model.architectures import ARCHITECTURES, SMP

    typer.echo("\nNetworks to train, for three bands and five classes (network.arch):")
    typer.echo(f"  {'':<18}{'parameters':>10}  {'GFLOP/Mpx':>9}  tiling")
    for name, own in ARCHITECTURES.items():
        typer.echo(f"  {name:<18}{_cost(own.cost)}  exact        {own.summary}")
    for name, known in SMP.items():
        tiling = "exact" if known.exact else "approximate"
        typer.echo(f"  {name:<18}{_cost(known.cost)}  {tiling:<11}  with encoder {known.encoder}")


def _cost(cost: "Cost") -> str:
    return f"{cost.parameters / 1e6:>8.2f} M  {cost.gflop:>9.4g}"


def _scores(scores: Mapping[str, float]) -> str:
    """The classes' scores; the mean only where it is of several classes."""
    classes = {key: value for key, value in scores.items() if key not in ("gsd", "miou")}
    parts = [f"{key} {value:.2f}" for key, value in classes.items()]
    if len(classes) > 1 and "miou" in scores:
        parts.append(f"mean {scores['miou']:.2f}")
    return ", ".join(parts)
