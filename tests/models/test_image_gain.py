"""The gain of image features scales them before fusion, but not those of depth and patient."""

from __future__ import annotations

import torch

from napari_melanoma.models.zoo import build_network

OPTIONS = {
    "encoder": "test_efficientnet",
    "depth_channels": (4, 4, 8),
    "depth_grid": 4,
    "hidden": (16, 8),
    "tabular": {"continuous": 2},
}


def test_only_image_features_are_multiplied() -> None:
    plain, small = (build_network("biomarker", {**OPTIONS, "image_gain": gain}).eval() for gain in (1.0, 0.25))
    small.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        maps, row = plain.encode(torch.rand(3, 3, 64, 64)), torch.rand(3, 2)
        whole, less = (network.fusion(maps[-1], row, None) for network in (plain, small))
    at = plain.image_features
    assert torch.allclose(less[:, :at], 0.25 * whole[:, :at])
    assert torch.equal(less[:, at:], whole[:, at:])
