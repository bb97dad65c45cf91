"""How functions are compiled: once per machine, without the lock of the interpreter.

What a first run waits for is numba's own work, so nothing is generated that nobody calls: no entry
for C, and none for Python where only other compiled functions call. Division by zero is left to
IEEE arithmetic; branches that raise would be compiled with every division.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_ALL: dict[str, Any] = {
    "cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True,
}  # fmt: skip
_INNER: dict[str, Any] = {**_ALL, "no_cpython_wrapper": True}


def kernel(function: Function) -> Function:
    """Decorate a function that Python calls."""
    compiled: Function = njit(**_ALL)(function)
    return compiled


def inner(function: Function) -> Function:
    """Decorate a function that only compiled ones call; from Python it cannot be called."""
    compiled: Function = njit(**_INNER)(function)
    return compiled
