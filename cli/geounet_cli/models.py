"""``geounet models``: what ships inside the package, with its measured accuracy."""

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
        typer.echo(f"  margin      {spec.margin} px (exact: {spec.radius} px)")
        for key, value in spec.card.items():
            if isinstance(value, str):
                typer.echo(f"  {key:<11} {value}")
