"""Errors that geounet raises on purpose, and a line for the others.

Every message is one line that names the file or parameter, the offending value and the next step;
the command line prints it as it stands and exits with code 1.
"""


class GeounetError(Exception):
    """Base of all errors that are the caller's to mend."""


class SceneError(GeounetError):
    """A raster cannot be opened, read, or used for what was asked."""


class ModelError(GeounetError):
    """A model file is missing, damaged, or does not fit the scene."""


class OutputError(GeounetError):
    """A result cannot be written where it was asked for."""


class ConfigError(GeounetError):
    """A parameter or a configuration file holds a value that cannot be used."""


class LabelError(GeounetError):
    """Labels are missing, contradict each other, or do not fit the scene."""


def unforeseen(error: Exception) -> str:
    """One line about an error that geounet did not raise on purpose."""
    reason = " ".join(str(error).split())
    kind = type(error).__name__
    return f"failed unexpectedly ({kind}{': ' if reason else ''}{reason}); --debug shows where"
