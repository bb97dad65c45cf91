"""``geounet train``: a network from annotated scenes, as a TOML file describes it."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="TOML file, such as configs/landcover-rgb.toml.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder of checkpoint, log and curves.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")
    ] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="Draw augmented windows and their labels (PNG); trains only with --out."),
    ] = None,
) -> None:
    """Train a network; stop it at any time and go on with --resume.

    On several GPUs: torchrun --nproc-per-node=N -m geounet.train CONFIG --out DIR.
    """
    if out is None and preview is None:
        raise typer.BadParameter("name the run's folder", param_hint="--out")
    if resume and out is None:
        raise typer.BadParameter("needs --out", param_hint="--resume")
    from geounet.train.config import load_config

    settings = load_config(config)
    if preview is not None:
        from geounet.train.preview import contact_sheet
        from geounet.train.run import enough_memory

        with enough_memory(settings.fit):
            count = contact_sheet(settings, preview)
        typer.echo(f"{preview}: {count} windows")
    if out is not None:
        from geounet.train.fit import CHECKPOINT
        from geounet.train.run import run

        try:
            state = run(settings, out, resume, lambda line: typer.echo(line, err=True))
        except KeyboardInterrupt:
            if not (out / CHECKPOINT).is_file():
                raise
            typer.echo(
                f"interrupted; {out / CHECKPOINT} is at most {settings.fit.save_minutes:g} minutes"
                " old, go on from it with --resume",
                err=True,
            )
            raise typer.Exit(130) from None
        typer.echo(f"{out / CHECKPOINT}: {state.step} steps, {state.seconds / 60:.1f} minutes")
