"""Losses for labels that may leave several classes open.

A label is a set of classes, stored as the bits of a byte: bit ``i`` says that the pixel may be of
class ``i``. One bit is an ordinary label, several a partial one ("not a building"), none means that
the pixel is ignored. With full labels every loss here is the ordinary one.

Which pixels count:

- ``cross_entropy`` and ``focal``: all that are not ignored, by the sum of the probabilities of the
  allowed classes (Cour, Sapp & Taskar 2011, learning from partial labels; for segmentation: the
  marginal loss of Shi et al. 2021);
- ``dice``, ``iou`` and ``tversky``: for class ``c`` those of which it is known whether they are of
  class ``c``, that is labelled ``{c}`` or with ``c`` left out;
- ``lovasz``: those labelled with one class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geounet.train.ranks import total

_UNLABELLED = 255


def allowed_planes(labels: Tensor, classes: int) -> Tensor:
    """Bits to planes: uint8 ``(n, h, w)`` -> bool ``(n, classes, h, w)``."""
    bits = torch.arange(classes, dtype=torch.uint8, device=labels.device)
    shifted = labels[:, None] >> bits[None, :, None, None]
    return (shifted & 1).bool()


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a network said of a batch, and what is known of it; sums go over all processes."""

    logits: Tensor
    """float32 ``(n, classes, h, w)``."""
    labels: Tensor
    """uint8 ``(n, h, w)``, bit ``i`` set where class ``i`` is allowed."""
    class_weights: Tensor | None = None
    """float ``(classes,)``, the weight in ``cross_entropy`` and ``focal`` of a pixel labelled with
    that one class (``wc`` of the U-Net paper); pixels with partial labels have weight 1."""
    boundary: Tensor | None = None
    """float ``(n, h, w)``, added to that weight: see :mod:`geounet.train.weightmap`."""
    focus: float = 2.0
    """Exponent gamma of ``focal``."""
    tversky: tuple[float, float] = (0.3, 0.7)
    """Weights of false positives and false negatives in ``tversky``."""

    @cached_property
    def allowed(self) -> Tensor:
        """Bool ``(n, classes, h, w)``."""
        return allowed_planes(self.labels, self.logits.shape[1])

    @cached_property
    def yes(self) -> Tensor:
        """Bool ``(n, classes, h, w)``: known to be of the class."""
        return self.allowed & (self.allowed.sum(1, keepdim=True) == 1)

    @cached_property
    def probability(self) -> Tensor:
        """Float ``(n, classes, h, w)``."""
        return self.logits.softmax(1)

    @cached_property
    def surprise(self) -> Tensor:
        """Float ``(n, h, w)``: minus the log of the allowed classes' probability; 0 if ignored."""
        # Log-sum-exp over the allowed classes minus the same over all: stable where exp would not
        # be. Ignored pixels take part with every class allowed, so that no infinity enters the
        # gradient.
        used = self.labels != 0
        open_to = self.logits.masked_fill(~(self.allowed | ~used[:, None]), -torch.inf)
        return torch.logsumexp(self.logits, 1) - torch.logsumexp(open_to, 1)

    @cached_property
    def share(self) -> Tensor:
        """Float ``(n, h, w)``: the weight of each pixel, 0 where ignored."""
        used = self.labels != 0
        share = used.float()
        if self.class_weights is not None:
            share = share + (self.yes * (self.class_weights - 1)[:, None, None]).sum(1)
        if self.boundary is not None:
            share = share + self.boundary * used
        return share

    @cached_property
    def overlap(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Per class, over known pixels: probability on true ones, all of it, true pixels, present.

        The last is bool: classes without a true pixel have no score.
        """
        known = (self.yes | ~self.allowed) & (self.labels != 0)[:, None]
        axes = (0, 2, 3)
        hit = total((self.probability * self.yes).sum(axes))
        said = total((self.probability * known).sum(axes))
        true = total(self.yes.sum(axes))
        return hit, said, true, true > 0

    def mean_of_present(self, loss: Tensor) -> Tensor:
        """Mean over the classes that occur; 0 if none does."""
        present = self.overlap[3]
        return (loss * present).sum() / present.sum().clamp(min=1)


def _cross_entropy(evidence: Evidence) -> Tensor:
    """Weighted mean of the surprise; 0 if every pixel is ignored."""
    return _weighted_mean(evidence, evidence.surprise)


def _focal(evidence: Evidence) -> Tensor:
    """The same, times ``(1 - p) ** gamma`` (Lin et al. 2017)."""
    doubt = (1 - torch.exp(-evidence.surprise)).clamp(min=0)
    return _weighted_mean(evidence, evidence.surprise * doubt**evidence.focus)


def _weighted_mean(evidence: Evidence, loss: Tensor) -> Tensor:
    return total((loss * evidence.share).sum()) / total(evidence.share.sum()).clamp(min=1e-6)


def _dice(evidence: Evidence) -> Tensor:
    """1 - Dice (Milletari et al. 2016, without squares), mean over the classes that occur."""
    hit, said, true, _ = evidence.overlap
    return evidence.mean_of_present(1 - (2 * hit + 1) / (said + true + 1))


def _iou(evidence: Evidence) -> Tensor:
    """1 - intersection over union (Rahman & Wang 2016), mean over the classes that occur."""
    hit, said, true, _ = evidence.overlap
    return evidence.mean_of_present(1 - (hit + 1) / (said + true - hit + 1))


def _tversky(evidence: Evidence) -> Tensor:
    """1 - Tversky index (Salehi et al. 2017), mean over the classes that occur."""
    hit, said, true, _ = evidence.overlap
    wrong, missed = evidence.tversky
    union = hit + wrong * (said - hit) + missed * (true - hit)
    return evidence.mean_of_present(1 - (hit + 1) / (union + 1))


def _lovasz(evidence: Evidence) -> Tensor:
    """Lovasz softmax (Berman et al. 2018); with several processes the mean of each one's."""
    from segmentation_models_pytorch.losses import LovaszLoss

    single = evidence.yes.any(1)
    if not single.any():
        return evidence.logits.sum() * 0
    target = evidence.yes.int().argmax(1).masked_fill(~single, _UNLABELLED)
    loss: Tensor = LovaszLoss("multiclass", ignore_index=_UNLABELLED)(evidence.logits, target)
    return loss


TERMS: Mapping[str, Callable[[Evidence], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "dice": _dice,
    "iou": _iou,
    "lovasz": _lovasz,
    "focal": _focal,
    "tversky": _tversky,
}
"""Name in ``fit.loss`` -> scalar with gradient."""
