"""Entry point: the list of commands, and the one place where errors become a line and a code."""

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from geounet import __version__
from geounet.errors import GeounetError, unforeseen
from geounet_cli.calibrate import calibrate
from geounet_cli.evaluate import evaluate
from geounet_cli.models import models
from geounet_cli.package import package
from geounet_cli.plain import Command, Commands
from geounet_cli.segment import segment
from geounet_cli.train import train
from geounet_cli.vectorize import vectorize

app = typer.Typer(
    name="geounet",
    cls=Commands,
    help="Satellite and aerial scenes to georeferenced masks and clean polygons.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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


for _command in (segment, vectorize, models, calibrate, train, evaluate, package):
    app.command(cls=Command)(_command)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 a job failed (one line on standard error says why), 2 wrong usage,
    130 interrupted or terminated. ``--debug`` anywhere on the line shows the traceback instead.
    """
    # Arrow's own allocator keeps a batch's memory for the next; many sizes come and go here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
        _show_tracebacks()
    _print_any_name()
    _accept_scenes_without_place()
    try:
        with _kept_out("geopandas", "pandas"), _terminated_like_interrupted():
            app()
    except GeounetError as error:
        if debug:
            raise
        _fail(str(error), 1)
    except BrokenPipeError:
        os._exit(1)  # the reader of our output has gone; nothing can be said
    except Exception as error:
        if debug:
            raise
        _fail(unforeseen(error), 1)


def _show_tracebacks() -> None:
    """Print those that jobs only log, since they go on with the next scene."""
    log = logging.getLogger("geounet")
    log.setLevel(logging.DEBUG)
    log.addHandler(logging.StreamHandler())


def _print_any_name() -> None:
    """File names may hold letters that the terminal cannot show; those are printed as codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _accept_scenes_without_place() -> None:
    """Silence rasterio's warnings of them for good: geounet has a line of its own, and threads that
    silence them for a while undo each other's filters.
    """
    for start in ("Dataset has no geotransform", "The given matrix is equal to Affine.identity"):
        warnings.filterwarnings("ignore", start)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM would end the process at once, and hidden files of the results would stay."""

    def interrupt(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # `timeout` sends it twice: let the first clean up
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _kept_out(*names: str) -> Iterator[None]:
    """Let these packages look as if they were not installed.

    pyogrio imports geopandas, and with it pandas, only to see whether it is there: half a second
    that no command has a use for.
    """
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None stops an import
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
