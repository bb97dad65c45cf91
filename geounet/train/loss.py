"""Cross-entropy and Dice for labels that may leave several classes open.

A label is a set of classes, stored as the bits of a byte: bit ``i`` says that the pixel may be of
class ``i``. One bit is an ordinary label, several a partial one ("not a building"), none means that
the pixel is ignored. The cross-entropy of a pixel is ``-log(sum of the allowed probabilities)``
(Cour, Sapp & Taskar 2011, learning from partial labels; for segmentation: the marginal loss of
Shi et al. 2021). With full labels it is the ordinary cross-entropy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """The two terms, both scalars with gradient."""

    cross_entropy: Tensor
    """Weighted mean over the pixels that are not ignored; 0 if there are none."""
    dice: Tensor
    """Mean over the classes with labelled pixels of 1 - Dice; 0 if there are none."""


def allowed_planes(labels: Tensor, classes: int) -> Tensor:
    """Bits to planes: uint8 ``(n, h, w)`` -> bool ``(n, classes, h, w)``."""
    bits = torch.arange(classes, dtype=torch.uint8, device=labels.device)
    shifted = labels[:, None] >> bits[None, :, None, None]
    return (shifted & 1).bool()


def partial_label_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Loss:
    """Both terms of the loss.

    The soft Dice of class ``c`` (Milletari et al. 2016, without squares) is taken over all pixels
    of the batch at which it is known whether they are of class ``c``: those labelled ``{c}`` and
    those whose label leaves ``c`` out. Classes without a pixel labelled ``{c}`` have no Dice.

    Args:
        logits: float ``(n, classes, h, w)``.
        labels: uint8 ``(n, h, w)``, bit ``i`` set where class ``i`` is allowed.
        weights: float ``(classes,)``, the weight in the cross-entropy of a pixel labelled with that
            one class (``wc`` of the U-Net paper); pixels with partial labels have weight 1.
    """
    logits = logits.float()
    allowed = allowed_planes(labels, logits.shape[1])
    known_yes = allowed & (allowed.sum(1, keepdim=True) == 1)
    used = labels != 0
    # Log-sum-exp over the allowed classes minus the same over all: stable where exp would not be.
    # Ignored pixels take part with every class allowed, so that no infinity enters the gradient.
    open_to = logits.masked_fill(~(allowed | ~used[:, None]), -torch.inf)
    loss = torch.logsumexp(logits, 1) - torch.logsumexp(open_to, 1)
    share = used.float()
    if weights is not None:
        share = share + (known_yes * (weights - 1)[:, None, None]).sum(1)
    cross_entropy = (loss * share).sum() / share.sum().clamp(min=1e-6)

    known = (known_yes | ~allowed) & used[:, None]
    probability = logits.softmax(1)
    axes = (0, 2, 3)
    hit = (probability * known_yes).sum(axes)
    size = (probability * known).sum(axes) + known_yes.sum(axes)
    present = known_yes.sum(axes) > 0
    dice = ((1 - (2 * hit + 1) / (size + 1)) * present).sum() / present.sum().clamp(min=1)
    return Loss(cross_entropy, dice)
