"""Draw what a margin costs in exactness."""

import io
from pathlib import Path

from geounet.files import write_whole
from geounet.jobs.tiling import PROMISE
from geounet.model.spec import ModelSpec

_FLOOR = 1e-7
"""A share of 0 is drawn here: a logarithmic axis has no 0."""


def draw_margin_curve(path: Path, spec: ModelSpec) -> bool:
    """Plot margin against the share of changed pixels as a PNG, whole or not at all.

    Args:
        path: the picture.
        spec: a calibrated model.

    Returns:
        False where matplotlib is not installed and nothing was drawn.

    Raises:
        OutputError: the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    margins = [margin for margin, _ in spec.margin_curve]
    shares = [max(share, _FLOOR) for _, share in spec.margin_curve]
    axes.semilogy(margins, shares, marker="o", label=f"cores of {spec.calibration_core} px")
    axes.set_ylim(_FLOOR / 2, 1)
    axes.axhline(PROMISE, linestyle="--", color="grey", label=f"promise, {PROMISE:.0e}")
    axes.axvline(spec.margin, linestyle=":", color="black", label=f"default, {spec.margin} px")
    axes.set(
        title=f"{spec.name}: exact from {spec.reach} px",
        xlabel="margin in pixels",
        ylabel="share of pixels that differ from the exact margin",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_whole(path, picture.getvalue())
    return True
