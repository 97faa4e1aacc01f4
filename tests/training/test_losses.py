"""Losses against values computed by hand."""

from __future__ import annotations

import math

import pytest

from napari_melanoma.training.losses import LOSSES, WEIGHTED, make_loss

# Two pixels: probability 1/2 and 3/4, target 1 and 0.
CROSS_ENTROPY = (math.log(2) + math.log(4)) / 2
DICE = 1 - (2 * 0.5 + 1) / (2.25 + 1)
JACCARD = 1 - (0.5 + 1) / (2.25 - 0.5 + 1)
EXPECTED = {"bce": CROSS_ENTROPY, "soft_dice": DICE, "soft_jaccard": JACCARD, "bce_dice": CROSS_ENTROPY + DICE}


def test_every_loss_is_covered() -> None:
    assert set(EXPECTED) == set(LOSSES)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_value(name: str) -> None:
    import torch

    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64).view(1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 2)
    assert float(LOSSES[name](logits, target)) == pytest.approx(EXPECTED[name])


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_gradient(name: str) -> None:
    import torch

    torch.manual_seed(0)
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 1, 3, 3, dtype=torch.float64) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, target), (logits,))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_image_without_lesion_can_be_learnt(name: str) -> None:
    import torch

    target = torch.zeros(1, 1, 4, 4)
    right, wrong = torch.full_like(target, -20.0), torch.full_like(target, 20.0)
    assert float(LOSSES[name](right, target)) < 0.01
    assert float(LOSSES[name](wrong, target)) > 0.5


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_weight_of_lesion(name: str) -> None:
    import torch

    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64).view(1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 2)
    added = 2 * math.log(2) / 2 if name in WEIGHTED else 0.0  # the one pixel of lesion counts three times
    assert float(make_loss(name, 3.0)(logits, target)) == pytest.approx(EXPECTED[name] + added)
    assert float(make_loss(name)(logits, target)) == pytest.approx(EXPECTED[name])
