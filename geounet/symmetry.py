"""The symmetries of the square: what test-time augmentation averages over."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Tta = Literal["flips", "d4"]
"""``flips``: the four reflections along rows and columns; ``d4``: all eight symmetries of the
square, the dihedral group D4."""


@dataclass(frozen=True)
class Symmetry:
    """A reflection and a rotation of the last two axes."""

    turns: int
    """Quarter turns counter-clockwise, 0 to 3."""
    flip: bool
    """Whether columns are reversed before the turn."""

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A view of ``(..., height, width)``; odd turns swap height and width."""
        return np.rot90(array[..., ::-1] if self.flip else array, self.turns, (-2, -1))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`apply`, a view."""
        turned = np.rot90(array, -self.turns, (-2, -1))
        return turned[..., ::-1] if self.flip else turned


SYMMETRIES: dict[Tta | None, tuple[Symmetry, ...]] = {
    None: (Symmetry(0, False),),
    "flips": tuple(Symmetry(turns, flip) for turns in (0, 2) for flip in (False, True)),
    "d4": tuple(Symmetry(turns, flip) for turns in range(4) for flip in (False, True)),
}
"""What each way averages over, the identity first."""
