"""A picture of labels, prediction and errors side by side, gathered from strips."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geounet.files import write_whole
from geounet.legend import Legend
from geounet.metrics import IGNORED, alone

_SIDE = 1200  # pixels of a panel, at most
_WHITE, _OPEN, _MISSING, _WRONG = (255, 255, 255), (190, 190, 190), (60, 60, 60), (215, 25, 28)
_GAP, _TEXT = 12, 16
_PALE = 0.25  # how much of its class's colour a right pixel keeps


class ErrorMap:
    """Three panels: labels, prediction, errors.

    A scene too large for its panel is reduced by the mean colour of square blocks, so that the
    share of wrong pixels in a block shows as a tint; nothing is skipped.
    """

    def __init__(self, shape: tuple[int, int], legend: Legend, allowed: np.ndarray) -> None:
        """
        Args:
            shape: rows and columns of the mask.
            legend: the classes.
            allowed: bool ``(labels, classes)``, see :class:`~geounet.metrics.PartialConfusion`.
        """
        self._legend = legend
        self._block = max(1, math.ceil(max(shape) / _SIDE))
        rows, cols = (math.ceil(size / self._block) for size in shape)
        self._sums = np.zeros((3, rows, cols, 3), np.uint64)
        self._counts = np.zeros((rows, cols), np.uint64)
        self._row = 0
        colors = np.array([item.color for item in legend], np.uint8)
        self._truth = np.full((256, 3), _OPEN, np.uint8)
        self._truth[IGNORED] = _WHITE
        for code, index in np.argwhere(alone(allowed)):
            self._truth[code] = colors[index]
        self._found = np.full((256, 3), _MISSING, np.uint8)
        self._found[: len(colors)] = colors
        pale = (_PALE * colors + (1 - _PALE) * 255).astype(np.uint8)
        # Colour by label and prediction; the last row and column stand for 255.
        self._errors = np.full((256, 256, 3), _WHITE, np.uint8)
        self._errors[: len(allowed), : len(colors)] = np.where(
            allowed[..., None], pale[None], np.array(_WRONG, np.uint8)
        )
        self._errors[: len(allowed), IGNORED] = _MISSING

    def push(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Take uint8 ``(n, width)`` labels and predicted classes, 255 where there are none."""
        rows = np.arange(self._row, self._row + len(labels)) // self._block
        self._row += len(labels)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        places = rows[starts]
        cols = np.arange(0, labels.shape[1], self._block)

        def blocks(values: np.ndarray) -> np.ndarray:
            partial = np.add.reduceat(values, cols, axis=1, dtype=np.uint64)
            summed: np.ndarray = np.add.reduceat(partial, starts, axis=0)
            return summed

        for panel, colors in enumerate(
            (self._truth[labels], self._found[predicted], self._errors[labels, predicted])
        ):
            self._sums[panel, places] += blocks(colors)
        self._counts[places] += blocks(np.ones(labels.shape, np.uint8))

    def panels(self) -> np.ndarray:
        """Labels, prediction, errors: uint8 ``(3, rows, columns, 3)``."""
        count = np.maximum(self._counts, 1)[None, :, :, None]
        mean: np.ndarray = ((self._sums + count // 2) // count).astype(np.uint8)
        return mean

    def write(self, path: Path) -> None:
        """Write the panels and a key as PNG, whole or not at all."""
        panels = self.panels()
        rows, cols = panels.shape[1:3]
        font = ImageFont.load_default(_TEXT)
        key = _key(self._legend, font, 3 * cols + 4 * _GAP)
        head = _TEXT + 2 * _GAP
        picture = Image.new("RGB", (3 * cols + 4 * _GAP, head + rows + _GAP + key.height), _WHITE)
        draw = ImageDraw.Draw(picture)
        for number, (title, panel) in enumerate(
            zip(("labels", "prediction", "errors"), panels, strict=True)
        ):
            left = _GAP + number * (cols + _GAP)
            draw.text((left, _GAP), title, (0, 0, 0), font)
            picture.paste(Image.fromarray(panel), (left, head))
            draw.rectangle((left - 1, head - 1, left + cols, head + rows), outline=_OPEN)
        picture.paste(key, (0, head + rows + _GAP))
        stream = io.BytesIO()
        picture.save(stream, format="PNG", optimize=True)
        write_whole(path, stream.getvalue())


def _key(
    legend: Legend, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int
) -> Image.Image:
    """What the colours mean, in as many lines as ``width`` asks for."""
    entries = [(item.color, item.name) for item in legend]
    entries += [
        (_WRONG, "wrong (right: its class, pale)"), (_OPEN, "label allows several classes"),
        (_WHITE, "no label"), (_MISSING, "no prediction"),
    ]  # fmt: skip
    places, x, y = [], _GAP, 0
    for color, text in entries:
        length = _TEXT + 6 + int(font.getlength(text)) + 2 * _GAP
        if x > _GAP and x + length > width:
            x, y = _GAP, y + _TEXT + _GAP
        places.append((x, y, color, text))
        x += length
    picture = Image.new("RGB", (width, y + _TEXT + 2 * _GAP), _WHITE)
    draw = ImageDraw.Draw(picture)
    for x, y, color, text in places:
        draw.rectangle((x, y + 2, x + _TEXT - 2, y + _TEXT), fill=color, outline=(0, 0, 0))
        draw.text((x + _TEXT + 6, y), text, (0, 0, 0), font)
    return picture
