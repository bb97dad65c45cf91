"""Random fields for the synthetic town: smooth noise and values that depend on integer keys."""

import numpy as np


class Dice:
    """A seeded source of random fields of one scene's size."""

    def __init__(self, seed: int, shape: tuple[int, int], gsd: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = shape
        self.gsd = gsd
        self._table = self.rng.random(1 << 14).astype(np.float32)

    def noise(self, scale: float) -> np.ndarray:
        """Smooth noise of unit variance: a cubic B-spline over white noise every ``scale`` metres.

        Returns:
            float32 of the scene's shape.
        """
        step = max(scale / self.gsd, 1.0)
        size = [int(extent / step) + 5 for extent in self.shape]
        grid = self.rng.standard_normal(size).astype(np.float32)
        phase = self.rng.uniform(0, 1, 2)
        for axis, extent in enumerate(self.shape):
            position = np.arange(extent) / step + phase[axis]
            first = position.astype(np.int64)
            t = (position - first).astype(np.float32)
            # The four weights of a uniform cubic B-spline; they sum to one.
            weights = (
                (1 - t) ** 3 / 6,
                (3 * t**3 - 6 * t**2 + 4) / 6,
                (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
                t**3 / 6,
            )
            view = (slice(None), None) if axis == 0 else (None, slice(None))
            taps = [grid.take(first + tap, axis=axis) * weights[tap][view] for tap in range(4)]
            grid = taps[0] + taps[1] + taps[2] + taps[3]
        # 0.479 is the mean of the weights' squared sum along one axis: the variance left by both
        # axes is its square.
        return np.asarray(grid / np.float32(0.479))

    def lookup(self, key: np.ndarray, i: np.ndarray, j: np.ndarray, salt: int = 0) -> np.ndarray:
        """A random float32 in 0..1 for each triple of integers, the same for equal triples."""
        mixed = (
            key.astype(np.int64) * 7919 + i.astype(np.int64) * 104729 + j.astype(np.int64) * 611953
        )
        mixed = (mixed + salt * 2971) * 2654435761
        return np.asarray(self._table[(mixed >> 13) & (self._table.size - 1)])

    def color(self, base: tuple[float, float, float], spread: float) -> np.ndarray:
        """``base`` (reflectance 0..1) shifted in brightness and a little in hue."""
        shift = self.rng.uniform(-spread, spread) + self.rng.uniform(-spread, spread, 3) / 4
        return np.asarray(np.asarray(base) + shift)
