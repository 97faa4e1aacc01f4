"""Losses of classification: values computed by hand, gradients, weights of classes, smoothing."""

from __future__ import annotations

import math
from inspect import signature
from typing import TYPE_CHECKING, NamedTuple

import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.training.losses import losses, make_class_loss

if TYPE_CHECKING:
    from torch import Tensor

NAMES = tuple(name for name, known in losses().items() if known.spec.task == "classification")


class Case(NamedTuple):
    """One lesion of two classes: probabilities, shares of the classes, and each loss as computed by hand."""

    name: str
    probability: tuple[float, float]
    shares: tuple[float, float]
    entropy: float
    focal: float  # with gamma 2


CASES = [
    Case("undecided", (1 / 2, 1 / 2), (0, 1), math.log(2), math.log(2) / 4),
    Case("nearly right", (1 / 10, 9 / 10), (0, 1), math.log(10 / 9), math.log(10 / 9) / 100),
    Case("wrong", (3 / 4, 1 / 4), (0, 1), math.log(4), math.log(4) * 9 / 16),
    Case("the other class", (3 / 4, 1 / 4), (1, 0), math.log(4 / 3), math.log(4 / 3) / 16),
    # Blended with another image: 3/4 of the label is one class, 1/4 the other.
    Case("blended", (1 / 2, 1 / 2), (3 / 4, 1 / 4), math.log(2), math.log(2) / 4),
]
BY_HAND = {
    "cross_entropy": lambda case: case.entropy,
    "bce_one": lambda case: case.entropy,
    "focal": lambda case: case.focal,
}


def rows(*given: tuple[float, ...]) -> Tensor:
    import torch

    return torch.tensor(given, dtype=torch.float64)


def logits_of(probability: tuple[float, ...]) -> Tensor:
    return rows(probability).log() + 0.7  # a constant offset has no effect


def test_every_loss_has_an_expected_value() -> None:
    assert set(BY_HAND) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_value(name: str, case: Case) -> None:
    found = make_class_loss(name)(logits_of(case.probability), rows(case.shares))
    assert float(found) == pytest.approx(BY_HAND[name](case), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_lesions_have_equal_weight(name: str) -> None:
    import torch

    one, other = CASES[1], CASES[2]
    logits = torch.cat([logits_of(one.probability), logits_of(other.probability)])
    expected = (BY_HAND[name](one) + BY_HAND[name](other)) / 2
    assert float(make_class_loss(name)(logits, rows(one.shares, other.shares))) == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_class_weights_multiply_the_loss(name: str) -> None:
    import torch

    loss = make_class_loss(name, torch.tensor([0.5, 3.0]))
    for case, weight in ((CASES[2], 3.0), (CASES[3], 0.5)):
        found = float(loss(logits_of(case.probability), rows(case.shares)))
        assert found == pytest.approx(weight * BY_HAND[name](case))


@pytest.mark.parametrize("name", NAMES)
def test_smoothing_distributes_a_share_of_the_label(name: str) -> None:
    import torch

    smoothed = make_class_loss(name, label_smoothing=0.2)
    logits = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sure, spread = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0, 1, 0]], torch.full((6, 2), 0.5, dtype=torch.float64)
    plain = make_class_loss(name)
    expected = 0.8 * plain(logits, sure) + 0.2 * plain(logits, spread)  # both are linear in the shares
    torch.testing.assert_close(smoothed(logits, sure), expected)
    assert float(smoothed(logits, sure)) != pytest.approx(float(plain(logits, sure)))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_gradient(name: str, gamma: float) -> None:
    import torch

    torch.manual_seed(0)
    logits = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    shares = torch.rand(4, 2, dtype=torch.float64)
    loss = make_class_loss(name, torch.tensor([0.7, 2.0]), gamma, 0.1)
    assert torch.autograd.gradcheck(lambda given: loss(given, shares / shares.sum(1, keepdim=True)), (logits,))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("sure", [-200.0, 200.0])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_give_finite_values(name: str, sure: float, gamma: float) -> None:
    import torch

    logits = torch.tensor([[0.0, sure], [sure, 0.0]], requires_grad=True)
    loss = make_class_loss(name, gamma=gamma)(logits, torch.eye(2))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_several_classes_are_distinguished(name: str) -> None:
    import torch

    loss, shares = make_class_loss(name), torch.eye(5)
    assert float(loss(20 * torch.eye(5), shares)) < 1e-6
    assert float(loss(20 * torch.eye(5).roll(1, 0), shares)) > 5


def test_cross_entropy_is_that_of_torch() -> None:
    import torch
    from torch.nn.functional import cross_entropy

    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    label = torch.arange(7) % 4
    found = make_class_loss("cross_entropy")(logits, torch.nn.functional.one_hot(label, 4).float())
    torch.testing.assert_close(found, cross_entropy(logits, label))


def test_p2s_loss_is_binary_cross_entropy_of_its_one_output() -> None:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, pad

    output = torch.randn(6, 1, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0.0, 1, 1, 0, 1, 0])
    shares = torch.stack([1 - label, label], dim=1)
    found = make_class_loss("bce_one")(pad(output, (1, 0)), shares)
    torch.testing.assert_close(found, binary_cross_entropy_with_logits(output[:, 0], label))


def test_p2s_loss_refuses_more_classes_than_two() -> None:
    import torch

    with pytest.raises(ConfigError, match=r"requires two classes, found 3\. Use cross_entropy"):
        make_class_loss("bce_one")(torch.zeros(2, 3), torch.zeros(2, 3))


def test_focal_loss_weights_difficult_lesions_more() -> None:
    import torch

    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    shares = torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    plain = make_class_loss("cross_entropy")(logits, shares)
    torch.testing.assert_close(make_class_loss("focal", gamma=0)(logits, shares), plain)
    easy, hard = CASES[1], CASES[2]
    ratio = {
        gamma: float(make_class_loss("focal", gamma=gamma)(logits_of(hard.probability), rows(hard.shares)))
        / float(make_class_loss("focal", gamma=gamma)(logits_of(easy.probability), rows(easy.shares)))
        for gamma in (0.0, 1.0, 3.0)
    }
    assert ratio[0.0] < ratio[1.0] < ratio[3.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_described(name: str) -> None:
    spec = losses()[name].spec
    assert spec.name == name
    assert spec.title
    assert any(mark in spec.reference for mark in ("doi:", "arXiv:", "section"))
    assert not spec.weighted
    arguments = ["logits", "shares", *(["gamma"] if spec.focused else [])]
    assert list(signature(losses()[name].function).parameters) == arguments
