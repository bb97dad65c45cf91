"""How functions are compiled: once per machine, without the lock of the interpreter.

What a first run waits for is numba's own work, so nothing is generated that nobody calls: no entry
for C, and none for Python where only other compiled functions call. Division by zero is left to
IEEE arithmetic; branches that raise would be compiled with every division. Python's search for
garbage waits until a function is compiled: a tenth of the time would go into looking at what numba
is still working on.
"""

import gc
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])

_ALL: dict[str, Any] = {
    "cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True,
}  # fmt: skip
_INNER: dict[str, Any] = {**_ALL, "no_cpython_wrapper": True}


class _Uncollected(event.Listener):
    """Holds the collection of garbage back while functions are compiled, which numba does one at a
    time; a function is compiled within another.
    """

    def __init__(self) -> None:
        self._collecting: list[bool] = []

    def on_start(self, _: event.Event) -> None:
        self._collecting.append(gc.isenabled())
        gc.disable()

    def on_end(self, _: event.Event) -> None:
        if self._collecting.pop():
            gc.enable()


event.register("numba:compile", _Uncollected())


def kernel(function: Function) -> Function:
    """Decorate a function that Python calls."""
    compiled: Function = njit(**_ALL)(function)
    return compiled


def inner(function: Function) -> Function:
    """Decorate a function that only compiled ones call; from Python it cannot be called."""
    compiled: Function = njit(**_INNER)(function)
    return compiled


def once(function: Function) -> Function:
    """Decorate a function that a single compiled one calls, at one place: it becomes a part of it.

    Compiled for itself, it would bring all that it calls along, to be optimised in it and again in
    its caller.
    """
    compiled: Function = njit(**_INNER, inline="always")(function)
    return compiled
