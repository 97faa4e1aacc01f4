"""Image and mask move together, and the seed decides how."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.training.augment import Augmentation
from napari_melanoma.training.recipe import AugmentationConfig

ALWAYS = AugmentationConfig(
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur_probability=0,
    sharpen_probability=0,
    coarse_probability=0,
    jpeg_probability=0,
    noise_probability=0,
)


def _disk() -> tuple[object, object]:
    import torch

    rows, columns = np.mgrid[:80, :80]
    mask = ((rows - 30) ** 2 / 400 + (columns - 45) ** 2 / 200) < 1
    rgb = np.where(mask[None], 0, 255).astype(np.uint8).repeat(3, 0)
    return torch.from_numpy(rgb), torch.from_numpy(mask[None].astype(np.uint8) * 255)


@pytest.mark.parametrize("seed", range(12))
def test_mask_follows_image(seed: int) -> None:
    import torch

    augment = Augmentation(ALWAYS, 64)
    torch.manual_seed(seed)
    image, mask = augment(*_disk())
    assert image.shape == (3, 64, 64)
    assert mask.shape == (1, 64, 64)
    dark = image[0] < 128
    assert (dark == (mask[0] > 127)).float().mean() > 0.995


@pytest.mark.parametrize("field", [name for name in AugmentationConfig.model_fields if name.endswith("_probability")])
def test_each_change_of_look_leaves_type_and_size(field: str) -> None:
    import torch

    augment = Augmentation(ALWAYS.model_copy(update={field: 1.0}), 64)
    torch.manual_seed(0)
    image, mask = augment(*_disk())
    assert image.dtype == mask.dtype == torch.uint8
    assert image.shape == (3, 64, 64)
    assert set(mask.unique().tolist()) <= {0, 255}


def test_the_seed_decides() -> None:
    import torch

    augment = Augmentation(AugmentationConfig(), 64)
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(augment(*_disk())[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
