"""A frozen encoder looks at each image once where images are shown as they are, and learning goes on as without it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_melanoma.training.recipe import AugmentationConfig, TrainRecipe
from napari_melanoma.training.remembering import is_still, remember, sees_the_same

STILL = {
    **{name: 0 for name, field in AugmentationConfig.model_fields.items() if isinstance(field.default, int | float)},
    "scale": (1.0, 1.0),
    "aspect": 1.0,
    "flip": False,
}


class Counting(nn.Module):
    """An encoder that counts the images it looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.looked = nn.Conv2d(3, 4, 3), 0

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.looked += len(images)
        return [images, self.layer(images)]


def test_each_image_is_looked_at_once_and_gives_the_same() -> None:
    encoder, images = Counting().requires_grad_(False).eval(), torch.rand(6, 3, 8, 8)
    plain = encoder(images)[-1]
    remember(encoder)
    first, again, mixed = encoder(images[:4])[-1], encoder(images[:4])[-1], encoder(images[[5, 0, 4]])[-1]
    assert encoder.looked == 6 + 4 + 2
    assert torch.allclose(first, plain[:4], atol=1e-6)
    assert torch.equal(first, again)
    assert torch.allclose(mixed, plain[[5, 0, 4]], atol=1e-6)
    assert {*encoder.state_dict()} == {"layer.weight", "layer.bias"}


def test_there_is_a_most_of_what_is_remembered() -> None:
    encoder, images = Counting().requires_grad_(False).eval(), torch.rand(4, 3, 8, 8)
    remember(encoder, most_bytes=2 * encoder(images)[-1][0].nbytes)
    expected = encoder(images)[-1]
    assert torch.allclose(encoder(images)[-1], expected, atol=1e-6)
    assert encoder.looked == 4 + 4 + 2


def recipe(augmentation: dict[str, object], **asked: object) -> TrainRecipe:
    values = {"task": "classification", "data": {"datasets": ["any"]}, "augmentation": augmentation}
    return TrainRecipe.model_validate({**values, "classification": {"freeze_encoder": True, **asked}})


@pytest.mark.parametrize("name", [name for name in STILL if name != "aspect"])
def test_an_image_that_is_varied_is_never_the_same(name: str) -> None:
    varied = {**STILL, name: {"scale": (0.9, 1.0), "flip": True}.get(name, 0.1)}
    assert not is_still(AugmentationConfig.model_validate(varied))


def test_an_encoder_that_learns_or_sees_mixtures_remembers_nothing() -> None:
    assert sees_the_same(recipe(STILL))
    assert not sees_the_same(recipe({}))
    assert not sees_the_same(recipe(STILL, freeze_encoder=False))
    assert not sees_the_same(recipe(STILL, mixup=0.5))
