"""The contract that every architecture of the zoo keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models.zoo import architectures, build_network, encoder_of

TINY_ENCODER = {"encoder": "mobilenetv3_small_050"}


@dataclass(frozen=True)
class Case:
    """A member of the zoo at a size that tests can afford."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("deeplabv3plus", {**TINY_ENCODER, "decoder_channels": 16}),
    Case("unet", {**TINY_ENCODER, "decoder_channels": [16, 16, 8, 8, 8]}),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_architecture_is_covered() -> None:
    assert {case.name for case in CASES} == set(architectures())


@each_case
def test_logits_have_the_size_of_the_image(case: Case) -> None:
    import torch

    network = build_network(case.name, case.options).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 64, 96)


@each_case
def test_learns_four_images_by_heart(case: Case) -> None:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 64) * 0.2
    masks = torch.zeros(4, 1, 64, 64)
    for index in range(4):
        masks[index, :, 8 * index : 8 * index + 32, 16:48] = 1
    images += 2 * masks - 1
    network = build_network(case.name, case.options).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        binary_cross_entropy_with_logits(network(images), masks).backward()
        optimiser.step()
    with torch.inference_mode():
        found = network(images) > 0
    assert (found == masks.bool()).float().mean() > 0.95


@each_case
def test_has_an_encoder_that_pretrained_weights_fit(case: Case) -> None:
    assert encoder_of(build_network(case.name, case.options)) is not None


@each_case
def test_says_where_it_comes_from(case: Case) -> None:
    assert "doi:" in architectures()[case.name].spec.reference


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(BundleError, match=r"no architecture named 'vgg'.*deeplabv3plus, unet"):
        build_network("vgg", {})


def test_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown key 'depth'"):
        build_network("deeplabv3plus", {"depth": 4})
