"""Hairs, bubbles, dark corners and squares over an image; the mask is unchanged where the image is visible."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.training.appearance_augmentation import (
    CUTOUT_SIDE,
    MIN_LIGHT,
    Bubbles,
    Cutout,
    Hair,
    RandomAugmentation,
    Vignette,
    vignette_light,
)
from napari_melanoma.training.augmentation import BatchAugmentation
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.random_numbers import BatchRandomNumbers, draw_random_numbers

SIDE = 48
SKIN = 200.0
COVERS: list[type[RandomAugmentation]] = [Hair, Bubbles, Vignette, Cutout]


def chance(seed: int, count: int = 4) -> BatchRandomNumbers:
    return draw_random_numbers(seed, [(0, image) for image in range(count)])


def laid(cover: type[RandomAugmentation], drawn: BatchRandomNumbers) -> tuple[torch.Tensor, torch.Tensor]:
    """Cover uniform images with a mask of lesion everywhere; return both."""
    images = torch.full((len(drawn), 3, SIDE, SIDE), SKIN)
    masks = torch.full((len(drawn), 1, SIDE, SIDE), 255, dtype=torch.uint8)
    cover(AugmentationConfig(**{f"{cover.name}_probability": 1.0}))(images, masks, drawn)
    return images, masks


@pytest.mark.parametrize("cover", COVERS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32))
def test_colors_stay_colors_and_a_mask_is_cleared_only_in_the_dark(cover: type[RandomAugmentation], seed: int) -> None:
    images, masks = laid(cover, chance(seed))
    assert float(images.min()) >= 0
    assert float(images.max()) <= 255
    assert set(masks.unique().tolist()) <= {0, 255}
    dark = images.amax(1, keepdim=True) < MIN_LIGHT * SKIN
    assert torch.equal(masks == 0, dark if cover is Vignette else torch.zeros_like(dark))


def test_dark_pixels_of_label_images_have_no_label() -> None:
    """The first class is a tissue like the others, and pixels without a label stay without one."""
    config, drawn = AugmentationConfig(vignette_probability=1.0), chance(0, 12)
    labels = torch.tensor([0, 1, UNLABELED_PIXEL], dtype=torch.uint8)[torch.arange(SIDE) % 3]
    masks = labels.expand(len(drawn), 1, SIDE, SIDE).clone()
    images = torch.full((len(drawn), 3, SIDE, SIDE), SKIN)
    Vignette(config, classes=2)(images, masks, drawn)
    dark = images.amax(1, keepdim=True) < MIN_LIGHT * SKIN
    assert dark.any()
    assert (masks[dark] == UNLABELED_PIXEL).all()
    assert torch.equal(masks[~dark], labels.expand_as(masks)[~dark])
    _, warped = BatchAugmentation(config, SIDE, 0, classes=2)(
        torch.full((12, 3, SIDE, SIDE), 200, dtype=torch.uint8),
        torch.ones((12, 1, SIDE, SIDE), dtype=torch.uint8),
        np.stack([np.zeros(12, np.int64), np.arange(12)], axis=1),
    )
    assert set(warped.unique().tolist()) == {1, UNLABELED_PIXEL}


@pytest.mark.parametrize("cover", COVERS)
def test_coverage_of_an_image_is_independent_of_its_batch(cover: type[RandomAugmentation]) -> None:
    drawn = chance(3)
    together = laid(cover, drawn)[0]
    for place in range(4):
        assert torch.equal(laid(cover, drawn.subset(np.array([place])))[0][0], together[place])
    assert cover is Cutout or not torch.equal(together[0], together[1])  # a uniform image has no other mean


def test_hairs_are_thin_and_darken() -> None:
    images, _ = laid(Hair, chance(0, 12))
    covered = (images < SKIN - 4).any(1).float().mean((1, 2))
    assert covered.min() > 0.005
    assert covered.median() < 0.3
    assert (images <= SKIN + 0.01).all()


def test_bubbles_have_a_rim_brighter_and_a_ring_darker_than_the_skin() -> None:
    images, _ = laid(Bubbles, chance(1, 16))
    assert (images.amax((1, 2, 3)) > SKIN + 10).sum() >= 12  # some bubbles are outside
    assert (images.amin((1, 2, 3)) < SKIN - 10).sum() >= 12


def test_corners_are_darker_than_the_center() -> None:
    drawn = chance(0, 32)
    light = vignette_light(torch.zeros(32, 3, SIDE, SIDE), drawn)[:, 0]
    assert torch.equal(light[:, SIDE // 2, SIDE // 2], torch.ones(32))
    corners = torch.stack([light[:, row, column] for row in (0, -1) for column in (0, -1)])
    assert (corners.mean(0) < 0.9).float().mean() > 0.8
    assert (light[:, SIDE // 2].diff(dim=1)[:, : SIDE // 2 - 4] >= 0).all()  # brighter towards the middle


def test_a_square_is_masked_with_the_mean_color() -> None:
    images = torch.rand(20, 3, SIDE, SIDE) * 255
    before, drawn = images.clone(), chance(5, 20)
    Cutout(AugmentationConfig(cutout_probability=1))(images, torch.zeros(20, 1, SIDE, SIDE), drawn)
    changed = (images != before).any(1)
    for one, (image, mean) in zip(changed, zip(images, before.mean((2, 3)), strict=True), strict=True):
        rows, columns = one.any(1).sum(), one.any(0).sum()
        assert int(one.sum()) == int(rows * columns)
        assert max(rows, columns) <= CUTOUT_SIDE[1] * SIDE + 1
        torch.testing.assert_close(image[:, one].mean(1), mean, atol=1e-2, rtol=0)
