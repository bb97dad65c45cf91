"""A contact sheet of what a run is trained on: augmented windows, their labels, their weights."""

import io
from pathlib import Path

import numpy as np

from geounet.files import write_whole
from geounet.legend import Legend
from geounet.train.config import TrainConfig
from geounet.train.load import load_pools
from geounet.train.samples import Batch, Sampler

WINDOWS = 24
"""Windows on a sheet, at least: whole batches are shown, from the first on."""
_ACROSS = 6
_GAP = 4  # pixels
_IGNORED = (0, 0, 0)


def contact_sheet(config: TrainConfig, out: Path) -> int:
    """Draw the windows of a run's first steps, and write them as a PNG, whole or not at all.

    Under each window stand its labels in the legend's colours, those that leave several classes
    open in a dimmed mean of them, ignored ones black; under these the weights between neighbouring
    objects, if the run has them.

    Args:
        config: the run.
        out: the picture.

    Returns:
        The number of windows.

    Raises:
        OutputError: the picture cannot be written.
    """
    from matplotlib.image import imsave

    sampler = Sampler(config, load_pools(config))
    columns = []
    for step in range(-(-WINDOWS // config.fit.batch)):
        batch = sampler.batch(step)
        columns += [_column(batch, index, config) for index in range(len(batch.images))]
    height, width = columns[0].shape[:2]
    rows = -(-len(columns) // _ACROSS)
    sheet = np.full(
        (rows * (height + 2 * _GAP), _ACROSS * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8
    )
    for number, column in enumerate(columns):
        row, col = divmod(number, _ACROSS)
        top, left = row * (height + 2 * _GAP), col * (width + _GAP)
        sheet[top : top + height, left : left + width] = column
    picture = io.BytesIO()
    imsave(picture, sheet, format="png")
    write_whole(out, picture.getvalue())
    return len(columns)


def _column(batch: Batch, index: int, config: TrainConfig) -> np.ndarray:
    """A window, its labels and its weights, one below the other: uint8 ``(h, w, 3)``."""
    network = config.network
    image = batch.images[index].numpy()
    mean, std = (np.array(values)[:, None, None] for values in (network.mean, network.std))
    shown = (image * std + mean)[[0, 1, 2] if len(image) > 2 else [0, 0, 0]]
    parts = [
        np.rint(shown.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0),
        _colours(Legend(config.legend))[batch.labels[index].numpy()],
    ]
    if batch.boundary is not None and config.fit.weight_map is not None:
        weight = batch.boundary[index].numpy() / config.fit.weight_map.w0
        grey = np.rint(weight.clip(0, 1) * 255).astype(np.uint8)
        parts.append(np.repeat(grey[..., None], 3, axis=2))
    line = np.full((_GAP // 2, image.shape[2], 3), 255, dtype=np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, line)][:-1])


def _colours(legend: Legend) -> np.ndarray:
    """Label set -> colour: uint8 ``(256, 3)``."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:] = _IGNORED
    for value in range(1, 2 ** len(legend)):
        colours = [item.color for bit, item in enumerate(legend) if value >> bit & 1]
        dim = 1.0 if len(colours) == 1 else 0.5
        table[value] = np.rint(np.mean(colours, axis=0) * dim)
    return table
