import numpy as np
import pytest
import segmentation_models_pytorch.losses as smp
import torch
from torch.nn import functional

from geounet.train.config import LOSSES
from geounet.train.loss import TERMS, Evidence, allowed_planes


def brute_force(logits: np.ndarray, labels: np.ndarray, focus: float) -> dict[str, float]:
    """All losses but Lovasz, pixel by pixel and class by class, in float64."""
    count, classes, height, width = logits.shape
    entropies, focal = [], []
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
                chance = share[allowed].sum()
                entropies.append(-np.log(chance))
                focal.append(-(max(0.0, 1 - chance) ** focus) * np.log(chance))
                for c in range(classes):
                    if allowed == [c]:
                        hit[c] += share[c]
                        said[c] += share[c]
                        true[c] += 1
                    elif c not in allowed:
                        said[c] += share[c]
    wrong, missed = said - hit, true - hit
    ratios = {
        "dice": (2 * hit + 1) / (said + true + 1),
        "iou": (hit + 1) / (hit + wrong + missed + 1),
        "tversky": (hit + 1) / (hit + 0.3 * wrong + 0.7 * missed + 1),
    }
    means = {name: float(np.mean(1 - value[true > 0])) for name, value in ratios.items()}
    return {**means, "cross_entropy": float(np.mean(entropies)), "focal": float(np.mean(focal))}


@pytest.mark.parametrize("seed", range(4))
def test_loss_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (2, 4, 5, 7)).astype(np.float32)
    labels = rng.integers(0, 16, (2, 5, 7)).astype(np.uint8)
    evidence = Evidence(torch.from_numpy(logits), torch.from_numpy(labels), focus=1.5)
    for name, expected in brute_force(logits, labels, 1.5).items():
        assert TERMS[name](evidence).item() == pytest.approx(expected, rel=1e-5), name


def test_full_labels_give_the_ordinary_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(2, 5, 6, 9), torch.randint(0, 5, (2, 6, 9))
    labels = torch.bitwise_left_shift(torch.ones_like(classes), classes).to(torch.uint8)
    loss = TERMS["cross_entropy"](Evidence(logits, labels))
    assert loss.item() == pytest.approx(functional.cross_entropy(logits, classes).item(), rel=1e-5)


def test_a_label_that_allows_everything_teaches_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    evidence = Evidence(logits, torch.full((1, 4, 4), 0b111, dtype=torch.uint8))
    loss = torch.stack([term(evidence) for term in TERMS.values()])
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0] * len(TERMS), abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_ignored_pixels_and_extreme_logits_keep_the_gradient_finite() -> None:
    logits = torch.tensor([[-300.0, 300.0], [300.0, -300.0], [0.0, 0.0]]).reshape(1, 3, 1, 2)
    logits.requires_grad_()
    evidence = Evidence(logits, torch.tensor([[[0b001, 0]]], dtype=torch.uint8))
    torch.stack([term(evidence) for term in TERMS.values()]).sum().backward()
    assert TERMS["cross_entropy"](evidence).item() == pytest.approx(600, rel=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[..., 1] == 0).all()


def test_all_pixels_ignored_is_zero_not_nan() -> None:
    evidence = Evidence(torch.randn(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8))
    assert [term(evidence).item() for term in TERMS.values()] == [0] * len(TERMS)


def test_planes() -> None:
    planes = allowed_planes(torch.tensor([[[0b101]]], dtype=torch.uint8), 4)
    assert planes[0, :, 0, 0].tolist() == [True, False, True, False]


def test_class_weights_are_those_of_the_ordinary_cross_entropy() -> None:
    torch.manual_seed(1)
    logits, classes = torch.randn(2, 5, 6, 9), torch.randint(0, 5, (2, 6, 9))
    weights = torch.tensor([1.0, 2.5, 1.0, 0.5, 4.0])
    labels = torch.bitwise_left_shift(torch.ones_like(classes), classes).to(torch.uint8)
    loss = TERMS["cross_entropy"](Evidence(logits, labels, weights))
    assert loss.item() == pytest.approx(
        functional.cross_entropy(logits, classes, weights).item(), rel=1e-5
    )


def full_labels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, class indices and label sets of a batch in which every class occurs."""
    torch.manual_seed(2)
    classes = torch.randint(0, 4, (2, 8, 9))
    labels = torch.bitwise_left_shift(torch.ones_like(classes), classes).to(torch.uint8)
    return torch.randn(2, 4, 8, 9), classes, labels


def test_with_full_labels_they_are_those_of_smp() -> None:
    logits, classes, labels = full_labels()
    evidence = Evidence(logits, labels)
    ours = {
        "dice": smp.DiceLoss("multiclass", smooth=0.5),  # half of 1 in 2 hits + 1
        "iou": smp.JaccardLoss("multiclass", smooth=1.0),
        "tversky": smp.TverskyLoss("multiclass", smooth=1.0, alpha=0.3, beta=0.7),
        "lovasz": smp.LovaszLoss("multiclass"),
    }
    for name, reference in ours.items():
        expected = reference(logits, classes).item()
        assert TERMS[name](evidence).item() == pytest.approx(expected, rel=1e-5), name


def test_lovasz_leaves_partial_labels_out() -> None:
    logits, classes, labels = full_labels()
    labels[0, :4] = 0b0110
    labels[1, 2] = 0
    kept = (labels != 0b0110) & (labels != 0)
    flat = logits.permute(0, 2, 3, 1)[kept].T[None, :, None]
    expected = smp.LovaszLoss("multiclass")(flat, classes[kept][None, None])
    assert TERMS["lovasz"](Evidence(logits, labels)).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_boundary_weights_add_to_those_of_the_class() -> None:
    logits, classes, labels = full_labels()
    labels[0, 0] = 0
    weights = torch.tensor([1.0, 2.0, 1.0, 0.5])
    boundary = torch.rand(2, 8, 9) * 10
    share = (weights[classes] + boundary) * (labels != 0)
    each = functional.cross_entropy(logits, classes, reduction="none")
    loss = TERMS["cross_entropy"](Evidence(logits, labels, weights, boundary))
    assert loss.item() == pytest.approx(((each * share).sum() / share.sum()).item(), rel=1e-5)


def test_the_configuration_knows_every_term() -> None:
    assert tuple(TERMS) == LOSSES
