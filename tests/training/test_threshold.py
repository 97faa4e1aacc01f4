"""The threshold of a bundle: three rules, on validation images whose pixels are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.runs.bundling import choose_threshold
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from torch import Tensor

Change = Callable[..., TrainRecipe]

SIDE = 10
LESION, HALO, SKIN = 0.9, 0.6, 0.1
PARENT = {"name": "older", "fingerprint": "0" * 64}


class Reader:
    """Replaces a network: the probability of a pixel is its value."""

    device = "cpu"

    def eval(self) -> None:
        """Do nothing."""

    def __call__(self, images: Tensor) -> Tensor:
        return (images[:, :1].float() / 255).logit()


def batches(count: int, rows_of_halo: int) -> Iterator[tuple[Tensor, Tensor, None]]:
    """Return images with three rows of lesion and a halo without lesion, one per batch."""
    import torch

    for _ in range(count):
        image = torch.full((1, 3, SIDE, SIDE), SKIN)
        image[:, :, :3] = LESION
        image[:, :, 3 : 3 + rows_of_halo] = HALO
        mask = torch.zeros(1, 1, SIDE, SIDE)
        mask[:, :, :3] = 255
        yield (image * 255).round(), mask, None


def chosen(recipe: TrainRecipe, *, parent: float | None, count: int = 4, halo: int = 3) -> BundleConfig:
    known: dict[str, Any] = {"threshold": parent} if parent else {}
    config = BundleConfig(
        name="new", title="New", architecture="none", provenance={"parent": PARENT if parent else None}, **known
    )
    return choose_threshold(Reader(), list(batches(count, halo)), recipe, config, RunContext())


CASES = [
    # rule, parent's threshold, images, expected threshold and Jaccard; 30 pixels of lesion, 30 of halo
    ("best", None, 4, 0.61, 1.0),
    ("best", 0.52, 4, 0.61, 1.0),  # the threshold of the parent is not used
    ("best", 0.52, 1, 0.61, 1.0),
    ("steady", None, 4, 0.61, 1.0),
    ("steady", 0.52, 4, 0.61, 1.0),  # better on every image
    ("steady", 0.52, 1, 0.52, 0.5),  # one image proves nothing
    ("steady", 0.7, 4, 0.7, 1.0),
    ("steady", 0.3, 1, 0.3, 0.5),  # below all of the fifty
    ("steady", 0.375, 1, 0.375, 0.5),  # not rounded
    ("steady", 0.004, 1, 0.004, 0.3),
    ("half", None, 4, 0.5, 0.5),
    ("half", 0.7, 4, 0.5, 0.5),
]


@pytest.mark.parametrize(("rule", "parent", "count", "threshold", "jaccard"), CASES)
def test_rule(
    rule: str, parent: float | None, count: int, threshold: float, jaccard: float, recipe: TrainRecipe, change: Change
) -> None:
    found = chosen(change(recipe, threshold_rule=rule), parent=parent, count=count)
    assert found.threshold == threshold
    assert found.provenance["validation_jaccard"] == jaccard
    assert found.provenance["threshold_rule"] == rule


def test_the_lowest_threshold_breaks_a_tie(recipe: TrainRecipe, change: Change) -> None:
    assert chosen(change(recipe, threshold_rule="best"), parent=0.9, halo=0).threshold == 0.5


def test_the_choice_can_be_cancelled(recipe: TrainRecipe) -> None:
    run = RunContext()
    run.cancel()
    config = BundleConfig(name="new", title="New", architecture="none", provenance={"parent": None})
    with pytest.raises(Cancelled):
        choose_threshold(Reader(), list(batches(1, 0)), recipe, config, run)
