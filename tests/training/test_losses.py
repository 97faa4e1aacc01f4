"""Losses: values computed by hand, gradients, weights, smoothing, and images without a lesion."""

from __future__ import annotations

import math
from inspect import signature
from typing import TYPE_CHECKING, NamedTuple

import pytest

from napari_melanoma.core import plugins
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.training.losses import LossSpec, list_loss, losses, make_class_loss, make_loss

if TYPE_CHECKING:
    from torch import Tensor

NAMES = tuple(name for name, known in losses().items() if known.spec.task == "segmentation")
CLASS_NAMES = tuple(name for name, known in losses().items() if known.spec.task == "classification")
SURE = 40.0  # a logit whose probability is 0 or 1


class Case(NamedTuple):
    """One image of few pixels: probabilities and target, and each loss as computed by hand."""

    name: str
    probability: tuple[float, ...]
    target: tuple[float, ...]
    ce: float
    dice: float  # the index that the losses contain
    jaccard: float
    tversky: float


# The indices count one more pixel of agreement above and below.
CASES = [
    # TP 1/2, FN 1/2, FP 3/4, sum of both 9/4.
    Case("half right", (1 / 2, 3 / 4), (1, 0), math.log(8) / 2, 2 / 3.25, 1.5 / 2.75, 1.5 / (1.5 + 0.35 + 0.225)),
    # TP 2, nothing else, sum of both 4.
    Case("all right", (1, 1, 0, 0), (1, 1, 0, 0), 0, 1, 1, 1),
    # Nothing common; FN 1.75, FP 0.25, sum of both 2.25.
    Case(
        "mostly missed", (1 / 8, 1 / 8, 1 / 4), (1, 1, 0), math.log(64 * 4 / 3) / 3, 1.5 / 3.5, 1.25 / 3.25, 1.25 / 2.55
    ),
    # No lesion: TP and FN 0, FP 1, sum of both 1.
    Case("skin alone", (1 / 4,) * 4, (0,) * 4, math.log(4 / 3), 1 / 2, 1 / 2, 1 / 1.3),
    # A border pixel that is half lesion: TP 1/4, FN 1/4, FP 1/4, sum of both 1.
    Case("half lesion", (1 / 2,), (1 / 2,), math.log(2), 1.5 / 2, 1.25 / 1.75, 1.25 / (1.25 + 0.25)),
]

BY_HAND = {
    "ce": lambda case: case.ce,
    "bce": lambda case: case.ce,
    "soft_dice": lambda case: 1 - case.dice,
    "soft_jaccard": lambda case: 1 - case.jaccard,
    "bce_dice": lambda case: case.ce + 1 - case.dice,
    "ce_dice": lambda case: case.ce + 1 - case.dice,
    "ce_log_dice": lambda case: case.ce - math.log(case.dice),
    "ce_log_jaccard": lambda case: case.ce - math.log(case.jaccard),
    "focal_tversky": lambda case: (1 - case.tversky) ** 0.75,
}


def logits_of(probability: tuple[float, ...]) -> Tensor:
    import torch

    values = [math.log(p / (1 - p)) if 0 < p < 1 else math.copysign(SURE, p - 0.5) for p in probability]
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def target_of(target: tuple[float, ...]) -> Tensor:
    import torch

    return torch.tensor(target, dtype=torch.float64).view(1, 1, 1, -1)


class ClassCase(NamedTuple):
    """One lesion of two classes: probabilities, shares of the classes, and each loss as computed by hand."""

    name: str
    probability: tuple[float, float]
    shares: tuple[float, float]
    entropy: float
    focal: float  # with gamma 2


CLASS_CASES = [
    ClassCase("undecided", (1 / 2, 1 / 2), (0, 1), math.log(2), math.log(2) / 4),
    ClassCase("nearly right", (1 / 10, 9 / 10), (0, 1), math.log(10 / 9), math.log(10 / 9) / 100),
    ClassCase("wrong", (3 / 4, 1 / 4), (0, 1), math.log(4), math.log(4) * 9 / 16),
    ClassCase("the other class", (3 / 4, 1 / 4), (1, 0), math.log(4 / 3), math.log(4 / 3) / 16),
    # Blended with another image: 3/4 of the label is one class, 1/4 the other.
    ClassCase("blended", (1 / 2, 1 / 2), (3 / 4, 1 / 4), math.log(2), math.log(2) / 4),
]
CLASSES_BY_HAND = {
    "cross_entropy": lambda case: case.entropy,
    "bce_one": lambda case: case.entropy,
    "focal": lambda case: case.focal,
}


def rows(*given: tuple[float, ...]) -> Tensor:
    import torch

    return torch.tensor(given, dtype=torch.float64)


def class_logits(probability: tuple[float, ...]) -> Tensor:
    return rows(probability).log() + 0.7  # a constant offset has no effect


def test_every_loss_has_an_expected_value() -> None:
    assert set(BY_HAND) == set(NAMES)
    assert set(CLASSES_BY_HAND) == set(CLASS_NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_value(name: str, case: Case) -> None:
    found = float(make_loss(name)(logits_of(case.probability), target_of(case.target)))
    slack = 4e-5 if name == "focal_tversky" else 1e-9  # its base is limited to a small positive number
    assert found == pytest.approx(BY_HAND[name](case), abs=slack)


@pytest.mark.parametrize("name", NAMES)
def test_images_have_equal_weight(name: str) -> None:
    import torch

    one, other = CASES[3], Case("wrong", (3 / 4,) * 4, (0,) * 4, math.log(4), 1 / 4, 1 / 4, 1 / 1.9)
    logits = torch.cat([logits_of(one.probability), logits_of(other.probability)])
    expected = (BY_HAND[name](one) + BY_HAND[name](other)) / 2
    assert float(make_loss(name)(logits, torch.zeros_like(logits))) == pytest.approx(expected)


@pytest.mark.parametrize("lesion_weight", [1.0, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_gradient(name: str, lesion_weight: float) -> None:
    import torch

    torch.manual_seed(0)
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 1, 3, 3, dtype=torch.float64)
    target[0] = (target[0] > 0.5).double()
    loss = make_loss(name, lesion_weight)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits,))


@pytest.mark.parametrize("sure", [-200.0, 200.0])
@pytest.mark.parametrize("lesion", [0.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_give_finite_values(name: str, lesion: float, sure: float) -> None:
    import torch

    logits = torch.full((1, 1, 64, 64), sure, requires_grad=True)
    loss = make_loss(name)(logits, torch.full_like(logits, lesion))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_lesion_has_a_gradient(name: str) -> None:
    import torch

    target = torch.zeros(1, 1, 4, 4)
    right, wrong = torch.full_like(target, -20.0), torch.full_like(target, 20.0)
    assert float(make_loss(name)(right, target)) < 0.01
    assert float(make_loss(name)(wrong, target)) > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_weight_of_lesion(name: str) -> None:
    case = CASES[0]
    logits, target = logits_of(case.probability), target_of(case.target)
    added = 2 * math.log(2) / 2 if losses()[name].spec.weighted else 0.0  # the pixel of lesion has a weight of three
    assert float(make_loss(name, 3.0)(logits, target)) == pytest.approx(BY_HAND[name](case) + added)


def test_cross_entropy_of_one_map_is_that_of_two_classes() -> None:
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 3, 3), (torch.rand(2, 1, 3, 3) > 0.5).float()
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    assert torch.allclose(make_loss("ce")(logits, target), cross_entropy(two, target[:, 0].long()))


SEVERAL = tuple(name for name in NAMES if losses()[name].spec.multi_class)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_classes_by_hand(name: str) -> None:
    """Three pixels of three classes, each with probability 1/2, the rest divided: the indices are 2/4 and 1/3."""
    import torch

    target = torch.eye(3, dtype=torch.float64).view(1, 3, 1, 3)
    logits = (0.25 + 0.25 * target).log()
    dice, jaccard = (2 * 0.5 + 1) / (1 + 1 + 1), (0.5 + 1) / (1 + 1 - 0.5 + 1)  # the one pixel of smoothing
    cross = math.log(2)
    expected = {
        "ce": cross,
        "soft_dice": 1 - dice,
        "soft_jaccard": 1 - jaccard,
        "ce_dice": cross + 1 - dice,
        "ce_log_dice": cross - math.log(dice),
        "ce_log_jaccard": cross - math.log(jaccard),
    }
    assert float(make_loss(name)(logits, target)) == pytest.approx(expected[name])


@pytest.mark.parametrize("name", SEVERAL)
def test_gradient_of_several_classes(name: str) -> None:
    import torch

    torch.manual_seed(0)
    logits = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 3, 3, 3, dtype=torch.float64).softmax(1)
    loss = make_loss(name, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits,))


def test_cross_entropy_of_several_classes_equals_that_of_torch() -> None:
    import torch
    from torch.nn.functional import cross_entropy, one_hot

    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 5, 5), torch.randint(4, (2, 5, 5))
    target = one_hot(labels, 4).permute(0, 3, 1, 2).float()
    assert torch.allclose(make_loss("ce")(logits, target), cross_entropy(logits, labels), atol=1e-6)
    weights = torch.tensor([1.0, 2.0, 3.0, 0.5])
    summed = cross_entropy(logits, labels, weights, reduction="none").mean()
    assert torch.allclose(make_loss("ce", weights)(logits, target), summed, atol=1e-6)


def test_focal_tversky_weights_missed_lesion_more() -> None:
    missed = make_loss("focal_tversky")(logits_of((0.5, 0.0)), target_of((1, 0)))
    too_much = make_loss("focal_tversky")(logits_of((1.0, 0.5)), target_of((1, 0)))
    assert float(missed) > float(too_much)


@pytest.mark.parametrize("name", [*NAMES, *CLASS_NAMES])
def test_a_loss_is_described(name: str) -> None:
    spec = losses()[name].spec
    assert spec.name == name
    assert spec.title
    assert any(mark in spec.reference for mark in ("doi:", "arXiv:", "section"))
    arguments = ["logits", "target"] if name in NAMES else ["logits", "shares"]
    arguments += ["lesion_weight"] if spec.weighted else []
    arguments += ["gamma"] if spec.focused else []
    assert list(signature(losses()[name].function).parameters) == arguments
    assert not (spec.focused if name in NAMES else spec.weighted)


@pytest.mark.parametrize("name", CLASS_NAMES)
@pytest.mark.parametrize("case", CLASS_CASES, ids=lambda case: case.name)
def test_value_of_classes(name: str, case: ClassCase) -> None:
    found = make_class_loss(name)(class_logits(case.probability), rows(case.shares))
    assert float(found) == pytest.approx(CLASSES_BY_HAND[name](case), abs=1e-9)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_lesions_have_equal_weight(name: str) -> None:
    import torch

    one, other = CLASS_CASES[1], CLASS_CASES[2]
    logits = torch.cat([class_logits(one.probability), class_logits(other.probability)])
    expected = (CLASSES_BY_HAND[name](one) + CLASSES_BY_HAND[name](other)) / 2
    assert float(make_class_loss(name)(logits, rows(one.shares, other.shares))) == pytest.approx(expected)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_class_weights_multiply_the_loss(name: str) -> None:
    import torch

    loss = make_class_loss(name, torch.tensor([0.5, 3.0]))
    for case, weight in ((CLASS_CASES[2], 3.0), (CLASS_CASES[3], 0.5)):
        found = float(loss(class_logits(case.probability), rows(case.shares)))
        assert found == pytest.approx(weight * CLASSES_BY_HAND[name](case))


@pytest.mark.parametrize("name", CLASS_NAMES)
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
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_gradient_of_classes(name: str, gamma: float) -> None:
    import torch

    torch.manual_seed(0)
    logits = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    shares = torch.rand(4, 2, dtype=torch.float64)
    loss = make_class_loss(name, torch.tensor([0.7, 2.0]), gamma, 0.1)
    assert torch.autograd.gradcheck(lambda given: loss(given, shares / shares.sum(1, keepdim=True)), (logits,))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("sure", [-200.0, 200.0])
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_extreme_logits_of_classes_give_finite_values(name: str, sure: float, gamma: float) -> None:
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
    easy, hard = CLASS_CASES[1], CLASS_CASES[2]
    ratio = {
        gamma: float(make_class_loss("focal", gamma=gamma)(class_logits(hard.probability), rows(hard.shares)))
        / float(make_class_loss("focal", gamma=gamma)(class_logits(easy.probability), rows(easy.shares)))
        for gamma in (0.0, 1.0, 3.0)
    }
    assert ratio[0.0] < ratio[1.0] < ratio[3.0]


def test_two_losses_cannot_have_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = list_loss(LossSpec(name="bce", title="Another", reference="none"))(losses()["ce"].function)
    monkeypatch.setattr("napari_melanoma.training.losses.other", other, raising=False)
    plugins.refresh()
    with pytest.raises(ConfigError, match=r"training\.losses has two objects of the same name"):
        losses()
    monkeypatch.undo()
    assert losses()["bce"] is not other
