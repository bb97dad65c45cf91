"""Entry point: the list of commands, and the one place where errors become a line and a code."""

import os
import sys
from typing import Annotated

import typer

from geounet import __version__
from geounet.errors import GeounetError

app = typer.Typer(
    name="geounet",
    help="Satellite and aerial scenes to georeferenced masks and clean polygons.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"geounet {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


from geounet_cli import models, segment  # noqa: E402, F401 (each registers its command)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 a job failed (one line on standard error says why), 2 wrong usage,
    130 interrupted. ``--debug`` anywhere on the line shows the traceback instead.
    """
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except GeounetError as error:
        if debug:
            raise
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted; nothing was written under the final names", code=130)
    except BrokenPipeError:
        os._exit(1)  # the reader of our output has gone; nothing can be said


def fail(message: str, code: int = 1) -> None:
    """Print an error line and exit."""
    typer.echo(f"error: {message}", err=True)
    raise SystemExit(code)
