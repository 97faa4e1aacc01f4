"""The cache of a frozen encoder: each unchanged image is encoded once, with the same result of the training."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.loader import ClassBatch
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.tasks.classification import ClassAugmentation
from napari_melanoma.training.tasks.task import (
    cache_encoder,
    clear_encoder_caches,
    count_encoder_inputs,
    reuse_encoder_cache,
)

STILL = {
    **{name: 0 for name, field in AugmentationConfig.model_fields.items() if isinstance(field.default, int | float)},
    "scale": (1.0, 1.0),
    "aspect": 1.0,
    "flip": False,
}


class Counting(nn.Module):
    """An encoder that counts its input images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.looked = nn.Conv2d(3, 4, 3), 0

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.looked += len(images)
        return [images, self.layer(images)]


def test_each_image_is_encoded_once_with_the_same_result() -> None:
    encoder, images = Counting().requires_grad_(False).eval(), torch.rand(6, 3, 8, 8)
    plain = encoder(images)[-1]
    cache_encoder(encoder)
    first, again, mixed = encoder(images[:4])[-1], encoder(images[:4])[-1], encoder(images[[5, 0, 4]])[-1]
    assert encoder.looked == 6 + 4 + 2
    assert torch.allclose(first, plain[:4], atol=1e-6)
    assert torch.equal(first, again)
    assert torch.allclose(mixed, plain[[5, 0, 4]], atol=1e-6)
    assert {*encoder.state_dict()} == {"layer.weight", "layer.bias"}


def test_the_size_of_the_cache_is_limited() -> None:
    encoder, images = Counting().requires_grad_(False).eval(), torch.rand(4, 3, 8, 8)
    cache_encoder(encoder, max_bytes=2 * encoder(images)[-1][0].nbytes)
    expected = encoder(images)[-1]
    assert torch.allclose(encoder(images)[-1], expected, atol=1e-6)
    assert encoder.looked == 4 + 4 + 2


def test_encoders_with_the_same_weights_share_a_cache() -> None:
    first, images = Counting().requires_grad_(False).eval(), torch.rand(4, 3, 8, 8)
    twin, other = deepcopy(first), Counting().requires_grad_(False).eval()
    expected = other(images)[-1]
    for encoder in (first, twin, other):
        cache_encoder(encoder)
    seen = first(images)[-1]
    assert torch.equal(twin(images)[-1], seen)
    assert torch.allclose(other(images)[-1], expected, atol=1e-6)
    assert (first.looked, twin.looked, other.looked) == (4, 0, 8)


def test_encoders_of_other_strides_have_separate_caches() -> None:
    first, images = Counting().requires_grad_(False).eval(), torch.rand(2, 3, 9, 9)
    other = deepcopy(first)
    other.layer.stride = (2, 2)
    for encoder in (first, other):
        cache_encoder(encoder)
    assert first(images)[-1].shape[-1] == 7
    assert other(images)[-1].shape[-1] == 4


def test_maps_cached_in_inference_can_be_trained_on() -> None:
    encoder, images = Counting().requires_grad_(False).eval(), torch.rand(2, 3, 8, 8)
    head = nn.Conv2d(4, 1, 1)
    cache_encoder(encoder)
    with torch.inference_mode():
        encoder(images.clone())
    head(encoder(images)[-1]).sum().backward()
    assert encoder.looked == 2
    assert head.weight.grad is not None


def test_weights_loaded_later_identify_the_encoder() -> None:
    drawn, images = Counting().requires_grad_(False).eval(), torch.rand(2, 3, 8, 8)
    resumed, true = deepcopy(drawn), Counting().requires_grad_(False).eval()
    for encoder in (drawn, resumed, true):
        cache_encoder(encoder)
    resumed.load_state_dict(true.state_dict())
    first, second, third = (encoder(images)[-1] for encoder in (drawn, resumed, true))
    assert not torch.equal(first, second)
    assert torch.equal(second, third)
    assert (drawn.looked, resumed.looked, true.looked) == (2, 2, 0)


def test_clearing_the_encoder_caches_empties_them() -> None:
    encoder, images = Counting().requires_grad_(False).eval(), torch.rand(2, 3, 8, 8)
    cache_encoder(encoder, max_bytes=encoder(images)[-1].nbytes)
    encoder.looked = 0
    before = encoder(images)[-1]
    clear_encoder_caches()
    assert torch.equal(encoder(images)[-1], before)
    encoder(images)
    assert encoder.looked == 4, "there is space again"


def test_an_existing_cache_is_reused() -> None:
    learning, images = Counting().requires_grad_(False).eval(), torch.rand(3, 3, 8, 8)
    evaluated, other = deepcopy(learning), Counting().requires_grad_(False).eval()
    cache_encoder(learning)
    learning(images)
    for encoder in (evaluated, other):
        reuse_encoder_cache(encoder)
        encoder(images)
        encoder(images)
    assert (evaluated.looked, other.looked) == (0, 6)


def recipe(augmentation: dict[str, object], **requested: object) -> TrainRecipe:
    values = {"task": "classification", "data": {"datasets": ["any"]}, "augmentation": augmentation}
    return TrainRecipe.model_validate({**values, "classification": {"freeze_encoder": True, **requested}})


@pytest.mark.parametrize("name", [name for name in STILL if name not in ("aspect", "flip")])
def test_augmented_images_are_not_cached(name: str) -> None:
    varied = {**STILL, name: {"scale": (0.9, 1.0), "vertical_flip": True}.get(name, 0.1)}
    assert not AugmentationConfig.model_validate(varied).is_off


def test_a_trained_encoder_or_one_with_mixed_images_has_no_cache() -> None:
    assert count_encoder_inputs(recipe(STILL)) == 1
    assert count_encoder_inputs(recipe({**STILL, "flip": True})) == 2
    assert count_encoder_inputs(recipe({})) == 0
    assert count_encoder_inputs(recipe({}, augmented_versions=3)) == 3
    assert count_encoder_inputs(recipe(STILL, freeze_encoder=False)) == 0
    assert count_encoder_inputs(recipe(STILL, mixup=0.5)) == 0
    with pytest.raises(ValueError, match="augmented_versions needs a frozen encoder"):
        recipe({}, freeze_encoder=False, augmented_versions=3)


def test_a_cache_of_half_precision_is_separate() -> None:
    encoder, images = Counting().requires_grad_(False).eval(), torch.rand(3, 3, 8, 8)
    whole, half = deepcopy(encoder), deepcopy(encoder)
    cache_encoder(whole)
    cache_encoder(half, half=True)
    exact, first, again = whole(images)[-1], half(images)[-1], half(images)[-1]
    assert (whole.looked, half.looked) == (3, 3)
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert torch.allclose(first, exact, atol=1e-3)
    assert not torch.equal(first, exact)


def batch(pixels: torch.Tensor, epoch: int, *places: int) -> ClassBatch:
    """Return some images of an epoch, by their indices in a data set."""
    keys, none = np.array([(epoch, place) for place in places]), torch.zeros(len(places), 0)
    masks = torch.zeros(len(places), 1, *pixels.shape[2:], dtype=torch.uint8)
    shares, nan = torch.eye(2)[torch.zeros(len(places), dtype=torch.int64)], torch.full((len(places),), torch.nan)
    return ClassBatch(pixels, masks, keys, shares, none, none.long(), torch.zeros(len(places)), shares[:0], nan)


@pytest.mark.parametrize("versions", [0, 3])
def test_an_image_has_the_same_versions_in_all_epochs_and_folds(versions: int) -> None:
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen: list[set[bytes]] = [set(), set()]
    for seed in (1, 2):  # two folds, in which the images have different indices
        run = recipe({"flip": True}, augmented_versions=versions).model_copy(update={"seed": seed})
        model = run.model.model_copy(update={"input_size": 32})
        augment = ClassAugmentation(run.model_copy(update={"model": model}))
        for epoch in range(12):
            for number, image in enumerate(augment(batch(pixels, epoch, seed, 7)).images):
                seen[number].add(image.numpy().tobytes())
    assert [len(each) for each in seen] == [versions or 24] * 2
    assert seen[0].isdisjoint(seen[1])
