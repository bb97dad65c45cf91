"""From the painted town to a picture: cast shadows, blur, haze, vignetting and sensor noise."""

import numpy as np

from geounet.train.town.dice import Dice


def shadows(elevation: np.ndarray, gsd: float, sun: float, slope: float) -> np.ndarray:
    """Light that reaches each pixel, float32 ``(height, width, 3)``, shadow bluish and dark.

    Args:
        elevation: metres above the ground, ``(height, width)``.
        gsd: metres per pixel.
        sun: direction towards the sun in the picture, radians from +x to +y.
        slope: tangent of the sun's elevation.
    """
    reach = float(elevation.max(initial=0.0)) / slope
    step = max(gsd, reach / 60)
    dark = np.zeros(elevation.shape, bool)
    padded = int(reach / gsd) + 2
    wide = np.pad(elevation, padded)
    height, width = elevation.shape
    for distance in np.arange(step, reach + step, step):
        row = padded + round(distance * np.sin(sun) / gsd)
        col = padded + round(distance * np.cos(sun) / gsd)
        if not (0 <= row <= 2 * padded and 0 <= col <= 2 * padded):
            break
        towards = wide[row : row + height, col : col + width]
        dark |= towards - distance * slope > elevation + 0.3
    light = np.ones((height, width, 3), np.float32)
    light[dark] = (0.42, 0.46, 0.54)
    return light


def expose(dice: Dice, rgb: np.ndarray) -> np.ndarray:
    """Reflectance ``(height, width, 3)`` to an 8-bit picture ``(3, height, width)``."""
    rng = dice.rng
    height, width = rgb.shape[:2]
    # Point spread of optics and sampling: about 0.6 pixels, whatever the ground sample distance.
    sharp = float(rng.uniform(0.5, 0.75))
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / sharp) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    picture: np.ndarray = rgb.astype(np.float32).transpose(2, 0, 1)
    for axis in (1, 2):
        pad = [(0, 0)] * 3
        pad[axis] = (2, 2)
        wide = np.pad(picture, pad, mode="edge")
        size = picture.shape[axis]
        taps = [wide.take(np.arange(k, k + size), axis=axis) * kernel[k] for k in range(5)]
        picture = taps[0] + taps[1] + taps[2] + taps[3] + taps[4]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    picture *= 1 - rng.uniform(0.02, 0.08) * (across**2 + down**2)
    haze = rng.uniform(0.02, 0.08) + 0.012 * dice.noise(200)
    air = np.array([0.86, 0.93, 1.0], np.float32)[:, None, None]
    gain = (rng.uniform(0.95, 1.15) * rng.uniform(0.96, 1.04, 3)).astype(np.float32)[:, None, None]
    picture = gain * (picture * (1 - haze) + 0.8 * haze * air)
    picture = np.clip(picture, 0, 1) ** np.float32(rng.uniform(0.75, 0.95))
    # Photon noise grows with the signal, read-out noise does not.
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    picture += noise * np.sqrt(0.008**2 + 0.0002 * picture)
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8))
