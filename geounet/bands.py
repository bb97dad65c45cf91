"""Scene values to network input: the one function that training and prediction share."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from geounet.errors import ConfigError
from geounet.memory import cached_rows


@dataclass(frozen=True)
class Stretch:
    """Linear map of each band's values to 0..1: ``low`` becomes 0, ``high`` becomes 1.

    For an 8-bit scene and a network trained on 8-bit scenes this is 0 and 255. Other value ranges
    (12-bit sensors, reflectances) are brought to the same footing by the scene's own percentiles.
    """

    low: tuple[float, ...]
    """Per band, in the scene's units."""
    high: tuple[float, ...]
    """Per band, above ``low``."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise ConfigError(f"stretch needs one low and high per band: {self.low}, {self.high}")
        for low, high in zip(self.low, self.high, strict=True):
            if not (high > low and math.isfinite(high - low)):
                raise ConfigError(f"stretch {low} .. {high} must be finite and ascending")


def percentile_stretch(data: np.ndarray, valid: np.ndarray, cut: float = 2.0) -> Stretch:
    """The stretch between the ``cut`` and ``100 - cut`` percentiles of the valid pixels, per band.

    Args:
        data: ``(bands, height, width)``, any real dtype.
        valid: bool ``(height, width)``.
        cut: percent of pixels cut off at each end.
    """
    low, high = [], []
    for band in data:
        values = band[valid]
        values = values[np.isfinite(values)]
        if values.size == 0:
            values = np.zeros(1, dtype=np.float64)
        lower, upper = np.percentile(values.astype(np.float64), (cut, 100.0 - cut))
        low.append(float(lower))
        # A constant band carries no information; any positive width maps it to a finite value.
        # The relative part keeps the width positive where 1 is below the value's resolution.
        high.append(float(upper) if upper > lower else float(lower + 1.0 + 1e-6 * abs(lower)))
    return Stretch(tuple(low), tuple(high))


def normalise(
    data: np.ndarray,
    valid: np.ndarray,
    stretch: Stretch,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> np.ndarray:
    """Stretch to 0..1, clip, and standardise: what the network sees.

    Args:
        data: ``(bands, height, width)``, any real dtype.
        valid: bool ``(height, width)``; pixels that are False become 0, the mean colour, as do
            single values that are NaN.
        stretch: value range per band.
        mean: per band, of values in 0..1.
        std: per band, > 0.

    Returns:
        float32 ``(bands, height, width)``, finite everywhere.
    """
    bands = data.shape[0]
    if not bands == len(stretch.low) == len(mean) == len(std):
        raise ConfigError(
            f"{bands} bands do not match stretch ({len(stretch.low)}), mean ({len(mean)})"
            f" and std ({len(std)})"
        )
    dtype = np.float32 if _float32_suffices(data.dtype, stretch) else np.float64
    out = np.empty(data.shape, dtype=np.float32)
    for band, (low, high) in enumerate(zip(stretch.low, stretch.high, strict=True)):
        start, width = dtype(low), dtype(high) - dtype(low)
        middle, spread = dtype(mean[band]), dtype(std[band])
        # Whole numbers that cannot leave the stretch, such as 8 bits from 0 to 255: two steps do.
        simple = (
            data.dtype.kind == "u"
            and dtype is np.float32
            and low == 0
            and np.iinfo(data.dtype).max <= high
        )
        for part in cached_rows(*valid.shape):
            if simple:
                # In three steps: a ufunc that casts as it multiplies takes half as long again.
                scaled = out[band, part]
                scaled[...] = data[band, part]
                scaled *= 1 / (width * spread)
                scaled -= middle / spread
                continue
            own: np.ndarray = data[band, part].astype(dtype)
            own -= start
            own /= width
            np.clip(own, 0.0, 1.0, out=own)
            own -= middle
            own /= spread
            out[band, part] = own
    if data.dtype.kind == "f":
        out[np.isnan(out)] = 0.0
    if not valid.all():
        out[:, ~valid] = 0.0
    return out


def _float32_suffices(dtype: np.dtype[Any], stretch: Stretch) -> bool:
    """Whether float32 holds the values exactly and the stretch to a thousandth of its width.

    A narrow stretch far from zero (heights of 1e6 that vary by 1) would lose its width to float32's
    24 bits; one beyond float32's range would overflow.
    """
    if dtype.itemsize > 2 and dtype != np.float32:
        return False
    return all(
        1e-30 < high - low < 1e30 and high - low > 1e-4 * max(abs(low), abs(high))
        for low, high in zip(stretch.low, stretch.high, strict=True)
    )
