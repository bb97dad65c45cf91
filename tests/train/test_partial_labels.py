import numpy as np
import pytest
import torch
from torch.nn import functional

from geounet.train.loss import allowed_planes, partial_label_loss


def brute_force(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Both terms, pixel by pixel and class by class, in float64."""
    count, classes, height, width = logits.shape
    losses = []
    hit, said, true = np.zeros(classes), np.zeros(classes), np.zeros(classes)
    for n in range(count):
        for row in range(height):
            for col in range(width):
                bits = int(labels[n, row, col])
                allowed = [c for c in range(classes) if bits >> c & 1]
                if not allowed:
                    continue
                raw = np.exp(logits[n, :, row, col].astype(np.float64))
                share = raw / raw.sum()
                losses.append(-np.log(share[allowed].sum()))
                for c in range(classes):
                    if allowed == [c]:
                        hit[c] += share[c]
                        said[c] += share[c]
                        true[c] += 1
                    elif c not in allowed:
                        said[c] += share[c]
    dice = [1 - (2 * hit[c] + 1) / (said[c] + true[c] + 1) for c in range(classes) if true[c]]
    return float(np.mean(losses)) if losses else 0.0, float(np.mean(dice)) if dice else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_loss_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (2, 4, 5, 7)).astype(np.float32)
    labels = rng.integers(0, 16, (2, 5, 7)).astype(np.uint8)
    loss = partial_label_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    expected = brute_force(logits, labels)
    assert loss.cross_entropy.item() == pytest.approx(expected[0], rel=1e-5)
    assert loss.dice.item() == pytest.approx(expected[1], rel=1e-5)


def test_full_labels_give_the_ordinary_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(2, 5, 6, 9), torch.randint(0, 5, (2, 6, 9))
    labels = torch.bitwise_left_shift(torch.ones_like(classes), classes).to(torch.uint8)
    loss = partial_label_loss(logits, labels)
    assert loss.cross_entropy.item() == pytest.approx(
        functional.cross_entropy(logits, classes).item(), rel=1e-5
    )


def test_a_label_that_allows_everything_teaches_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = partial_label_loss(logits, torch.full((1, 4, 4), 0b111, dtype=torch.uint8))
    (loss.cross_entropy + loss.dice).backward()
    assert loss.cross_entropy.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_ignored_pixels_and_extreme_logits_keep_the_gradient_finite() -> None:
    logits = torch.tensor([[-300.0, 300.0], [300.0, -300.0], [0.0, 0.0]]).reshape(1, 3, 1, 2)
    logits.requires_grad_()
    loss = partial_label_loss(logits, torch.tensor([[[0b001, 0]]], dtype=torch.uint8))
    (loss.cross_entropy + loss.dice).backward()
    assert loss.cross_entropy.item() == pytest.approx(600, rel=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[..., 1] == 0).all()


def test_all_pixels_ignored_is_zero_not_nan() -> None:
    loss = partial_label_loss(torch.randn(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8))
    assert (loss.cross_entropy.item(), loss.dice.item()) == (0, 0)


def test_planes() -> None:
    planes = allowed_planes(torch.tensor([[[0b101]]], dtype=torch.uint8), 4)
    assert planes[0, :, 0, 0].tolist() == [True, False, True, False]


def test_class_weights_are_those_of_the_ordinary_cross_entropy() -> None:
    torch.manual_seed(1)
    logits, classes = torch.randn(2, 5, 6, 9), torch.randint(0, 5, (2, 6, 9))
    weights = torch.tensor([1.0, 2.5, 1.0, 0.5, 4.0])
    labels = torch.bitwise_left_shift(torch.ones_like(classes), classes).to(torch.uint8)
    loss = partial_label_loss(logits, labels, weights)
    assert loss.cross_entropy.item() == pytest.approx(
        functional.cross_entropy(logits, classes, weights).item(), rel=1e-5
    )
