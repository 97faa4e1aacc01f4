"""Label images in which only some pixels have a class: the others do not count, in training and evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_melanoma.imaging.masks import overlay_labels
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL, count_class_pairs
from napari_melanoma.training.augmentation import BatchAugmentation, one_hot
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.losses import losses, make_loss
from napari_melanoma.training.tasks.segmentation import ConfusionCounts

LABELS = torch.tensor([[0, 1, 2, 1], [UNLABELED_PIXEL] * 4], dtype=torch.uint8).view(1, 1, 2, 4)
LOGITS = torch.linspace(-2, 2, 24).sin().view(1, 3, 2, 4)


@pytest.mark.parametrize("name", [name for name, loss in losses().items() if loss.spec.multi_class])
def test_pixels_without_a_label_do_not_count_in_losses(name: str) -> None:
    loss = make_loss(name)
    partial = loss(LOGITS, one_hot(LABELS, 3).float())
    whole = loss(LOGITS[:, :, :1], one_hot(LABELS[:, :, :1], 3).float())
    assert float(partial) == pytest.approx(float(whole), rel=1e-6)


def test_pixels_without_a_label_do_not_count_in_metrics() -> None:
    predicted = LOGITS.argmax(1)
    counts = ConfusionCounts(3)
    counts.add(predicted, LABELS[:, 0])
    reduced = counts.reduce(torch.device("cpu"))
    assert reduced.sum() == 4
    assert (reduced == count_class_pairs(predicted.numpy(), LABELS[:, 0].numpy(), 3)).all()


def test_pixels_without_a_label_stay_without_one_in_augmentation() -> None:
    labels = np.full((1, 1, 32, 32), UNLABELED_PIXEL, np.uint8)
    labels[:, :, 8:24, 8:16], labels[:, :, 8:24, 16:24] = 0, 2
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    config = AugmentationConfig(scale=(1, 1), aspect=1, shift=0, elsewhere_probability=0)
    _, warped = BatchAugmentation(config, 32, 0, 3)(images, torch.from_numpy(labels), np.zeros((1, 2), np.int64))
    found, counts = np.unique(warped.numpy(), return_counts=True)
    assert found.tolist() == [0, 2, UNLABELED_PIXEL]
    assert counts.tolist() == pytest.approx([128, 128, 768], abs=24)


def test_pixels_without_a_label_are_transparent() -> None:
    rgb = np.full((1, 2, 3), 100, np.uint8)
    drawn = overlay_labels(rgb, np.array([[UNLABELED_PIXEL, 1]], np.uint8), 2)
    assert (drawn[0, 0] == 100).all()
    assert (drawn[0, 1] != 100).any()
