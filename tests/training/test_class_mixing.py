"""Images of a classifier are mixed together with their labels; their keys alone determine the partners."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_melanoma.training.data_preparation import ClassPart
from napari_melanoma.training.loader import ClassBatch, MixupSampler, TrainingViews
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.tasks.classification import ClassAugmentation

Change = Callable[..., TrainRecipe]
COUNT, SIDE = 12, 64
KEYS = np.stack([np.full(8, 3), np.arange(8) + 5 * COUNT], axis=1)


class Pixels:
    """Images of one gray value each, which identifies them."""

    def __len__(self) -> int:
        return COUNT

    def read(self, places: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return images and masks."""
        grey = (20 * np.asarray(places) + 10).astype(np.uint8)[:, None, None, None]
        return np.tile(grey, (1, 3, SIDE, SIDE)), np.zeros((len(grey), 1, SIDE, SIDE), np.uint8)


def varied(recipe: TrainRecipe, keys: np.ndarray[Any, Any]) -> ClassBatch:
    """Return a batch as input of the network."""
    part = ClassPart(np.arange(COUNT) % 3, None, np.zeros(COUNT, np.int64), np.linspace(0.1, 4, COUNT))
    classes = SimpleNamespace(
        names=("a", "b", "c"), encoding=None, train=part, unlabelled=np.zeros(0, np.int64), domains=("one",)
    )
    views = TrainingViews(SimpleNamespace(train=Pixels(), classes=classes, unlabelled=None), recipe)  # type: ignore[arg-type]
    return ClassAugmentation(recipe)(views[keys])


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_results_are_independent_of_the_batch(how: str, class_recipe: TrainRecipe, change: Change) -> None:
    recipe = change(class_recipe, classification={how: 0.6})
    whole, halves = varied(recipe, KEYS), [varied(recipe, KEYS[part]) for part in (slice(0, 3), slice(3, 8))]
    assert torch.equal(whole.shares, torch.cat([half.shares for half in halves]))
    assert torch.allclose(whole.images, torch.cat([half.images for half in halves]), atol=1e-3)
    assert whole.images.shape == (8, 3, SIDE, SIDE)
    assert len(whole.partner_shares) == 0


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_labels_are_mixed_in_the_shares_of_the_pixels(how: str, class_recipe: TrainRecipe, change: Change) -> None:
    recipe = change(class_recipe, classification={how: 0.6})
    mixing, shares = MixupSampler(recipe), varied(recipe, KEYS).shares
    chosen, partners = mixing.select(KEYS), mixing.draw_partners(KEYS, COUNT)
    assert 0 < len(chosen) < len(KEYS)
    assert (partners != KEYS[chosen, 1] % COUNT).all()
    assert torch.allclose(shares.sum(1), torch.ones(8))
    lent = mixing.blend_masks(KEYS[chosen], SIDE).mean(axis=(1, 2))
    assert (lent <= 0.5).all()
    for place, partner, share in zip(chosen, partners, lent, strict=True):
        expected = np.zeros(3)
        expected[KEYS[place, 1] % COUNT % 3] += 1 - share
        expected[partner % 3] += share
        np.testing.assert_allclose(shares[place].numpy(), expected, atol=1e-5)
    others = np.setdiff1d(np.arange(8), chosen)
    assert (shares[others].max(1).values == 1).all()


def test_nothing_is_mixed_by_default(class_recipe: TrainRecipe) -> None:
    assert (varied(class_recipe, KEYS).shares.max(1).values == 1).all()
    assert len(MixupSampler(class_recipe).draw_partners(KEYS, COUNT)) == 0
