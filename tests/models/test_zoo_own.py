"""The networks of P2 and P4 that are defined here: their sizes and parts, and the predictions of the baselines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from napari_melanoma.models.zoo import build_network, count_parameters, find_encoder


@dataclass(frozen=True)
class Size:
    """A row of P4's table 2: millions of weights, with the default number of channels."""

    name: str
    millions: float
    options: dict[str, Any] = field(default_factory=dict)


SIZES = [
    Size("unet_p4", 8),
    Size("unet_p4", 8, {"upsampling": "nearest"}),
    Size("attention_unet", 32),
    Size("r2_unet", 6),
    Size("attention_r2_unet", 96),
    # The size with weights that are shared between the steps.
    Size("r2_unet", 2, {"shared": True}),
    Size("attention_r2_unet", 34, {"shared": True}),
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.name}-{size.options}")
def test_networks_have_the_sizes_of_the_paper(size: Size) -> None:
    assert count_parameters(size.name, size.options) == pytest.approx(size.millions * 1e6, rel=0.1)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_only_weights_of_their_own_grow_with_the_steps(steps: int) -> None:
    options = {"channels": 4, "depth": 1, "normalisation": False, "steps": steps}
    shared, own = (recurrent_weights({**options, "shared": shared}) for shared in (True, False))
    assert own == shared * (steps + 1)


def recurrent_weights(options: dict[str, Any]) -> int:
    network = build_network("r2_unet", options)
    return sum(value.numel() for name, value in network.named_parameters() if "recurrent" in name)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "bilinear"])
@pytest.mark.parametrize("name", ["unet_p4", "attention_r2_unet"])
def test_each_upsampling_and_depth_preserves_the_size(name: str, upsampling: str) -> None:
    import torch

    network = build_network(name, {"channels": 4, "depth": 2, "upsampling": upsampling, "normalisation": False}).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 40, 32)).shape == (1, 1, 40, 32)


def test_a_gate_weights_positions_by_the_level_below() -> None:
    import torch

    from napari_melanoma.models.blocks.convolutions import AttentionGate

    torch.manual_seed(0)
    gate, features, signal = AttentionGate(4, 8), torch.rand(1, 4, 6, 6), torch.randn(1, 8, 6, 6)
    with torch.inference_mode():
        weights = gate(features, signal) / features
    assert bool(((weights > 0) & (weights < 1)).all())
    assert float(weights.std(dim=1).max()) < 1e-6  # one weight per position, for all channels
    assert float(weights.std()) > 0


def test_a_decoding_block_of_p2_sees_its_own_and_the_shallower_encoder_block() -> None:
    network = build_network("unetpp_p2", {"channels": 8}).get_submodule("network")
    entering = [block[0][0].in_channels for block in network.get_submodule("join")]
    assert entering == [64 + 64 + 32, 32 + 32 + 16, 16 + 16 + 8, 8 + 8]


def test_the_simple_cnn_has_three_convolutions_and_two_fully_connected_layers() -> None:
    from torch import nn

    kinds = [type(part) for part in build_network("simple_cnn", {}).modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.Linear)) == (3, 2)


def test_images_of_odd_sizes_are_padded_by_their_border() -> None:
    import torch
    from torch.nn.functional import pad

    torch.manual_seed(0)
    network = build_network("unet_p4", {"channels": 4}).eval()
    image = torch.randn(1, 3, 33, 50)
    with torch.inference_mode():
        whole = network.get_submodule("network")(pad(image, (0, 14, 0, 31), mode="replicate"))
        assert torch.equal(network(image), whole[..., :33, :50])


def test_the_keys_of_a_state_do_not_show_the_padding() -> None:
    network = build_network("unet_p4", {"channels": 4})
    inner = network.get_submodule("network")
    assert list(network.state_dict()) == list(inner.state_dict())
    network.load_state_dict(inner.state_dict())


def test_a_network_of_one_piece_has_no_encoder_for_pretrained_weights() -> None:
    assert find_encoder(build_network("unet_p4", {"channels": 4})) is None


def test_the_random_baseline_is_uniform_and_differs_between_images() -> None:
    import torch

    images = torch.randn(2, 3, 160, 200, generator=torch.Generator().manual_seed(0))
    images[1] += 0.1
    first, again, other = (build_network("random", {"seed": seed})(images).sigmoid() for seed in (0, 0, 1))
    assert torch.equal(first, again)
    shares = np.histogram(first.numpy(), bins=10, range=(0, 1))[0] / first.numel()
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.01)
    for one, two in ((first[0], first[1]), (first, other), (first[..., 1:], first[..., :-1])):
        assert abs(np.corrcoef(one.numpy().ravel(), two.numpy().ravel())[0, 1]) < 0.02


def test_the_constant_baseline_predicts_skin_at_every_threshold() -> None:
    import torch

    logits = build_network("constant_negative", {})(torch.randn(2, 3, 33, 40))
    assert float(logits.sigmoid().max()) < 1e-3
