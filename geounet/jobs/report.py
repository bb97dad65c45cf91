"""What a job says while it runs and when it is done."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from geounet.errors import GeounetError, unforeseen
from geounet.jobs.options import ClassSummary
from geounet.jobs.outputs import Outputs
from geounet.raster.scene import Scene

COMPILING = "first polygons of this kind on this machine: compiling takes a minute or less, once"
"""Said before a wait that happens once."""


class Preflight(Protocol):
    """What is known of a scene's job before it runs."""

    @property
    def scene(self) -> Scene:
        """The raster at hand."""

    @property
    def pixels(self) -> int:
        """Pixels of the results."""

    @property
    def steps(self) -> int:
        """Parts of about equal work that progress is counted in."""

    def describe(self) -> str:
        """One line: what will be done, and what it takes."""


@dataclass(frozen=True)
class Report:
    """What became of one scene."""

    scene: str
    """The scene's path."""
    outputs: Outputs | None = None
    """Files that stand at the end; None after a failure."""
    classes: tuple[ClassSummary, ...] = ()
    """Per class of the polygons: count and area. Empty without polygons or when skipped."""
    seconds: float = 0.0
    """Wall time."""
    skipped: bool = False
    """True if the results were complete already."""
    error: GeounetError | None = None
    """Why the scene failed."""
    notices: tuple[str, ...] = ()
    """What the user should know about the results."""


@dataclass(frozen=True)
class Listener:
    """How a caller follows the job; every part may be left out."""

    planned: Callable[[Preflight], None] = lambda plan: None
    """Called before a scene is started."""
    noted: Callable[[str], None] = lambda text: None
    """Called with what a waiting user should know."""
    advanced: Callable[[int, int], None] = lambda done, total: None
    """Called with the scene's finished and total steps."""
    finished: Callable[[Report], None] = lambda report: None
    """Called when a scene is done, skipped or failed."""


def reported(scene: str, job: Callable[[], Report], listener: Listener) -> Report:
    """What became of a scene, told to the listener too; an error becomes a report.

    So does an error that nobody foresaw: the other scenes are done all the same. Its traceback goes
    to the log, for those who look for the cause.
    """
    try:
        report = job()
    except BrokenPipeError:
        raise  # nobody reads our output any more
    except GeounetError as error:
        report = Report(scene, error=error)
    except Exception as error:
        logging.getLogger(__name__).debug("%s failed", scene, exc_info=True)
        report = Report(scene, error=GeounetError(f"{scene}: {unforeseen(error)}"))
    listener.finished(report)
    return report
