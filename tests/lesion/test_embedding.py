"""Embeddings by the encoder of a bundle: similar images are close, and each image is embedded independently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import BundleError
from napari_melanoma.lesion import feature_table
from napari_melanoma.lesion.feature_table import Embedder
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.models.inference import TorchNetwork
from napari_melanoma.models.zoo import build_network, list_architectures


def test_pictures_are_embedded_each_by_itself(tiny_bundle: BundleInfo) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    other = np.full((64, 64, 3), 200, np.uint8)
    embedder = Embedder.load(tiny_bundle, "cpu")
    found = embedder.embed([picture, other, picture])
    assert found.dtype == np.float32
    assert found.ndim == 2
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)
    np.testing.assert_allclose(embedder.embed([other])[0], found[1], rtol=1e-3, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert embedder.embed([]).shape[0] == 0


@pytest.mark.parametrize("name", ["deeplabv3plus_mobilenetv2", "deeplabv3plus_xception"])
def test_encoders_with_other_output_shapes(name: str) -> None:
    """One gives the deepest features alone, one a pair."""
    network = build_network(name, list_architectures()[name].spec.small).eval()
    config = BundleConfig(name="b", title="B", architecture=name, input_size=32)
    found = Embedder(BundleInfo(Path(), config), TorchNetwork(network, config)).vectors(
        [np.zeros((32, 32, 3), np.uint8)] * 2
    )
    assert found.shape == (2, {"deeplabv3plus_mobilenetv2": 112, "deeplabv3plus_xception": 256}[name])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_a_network_without_an_encoder_is_refused(tiny_bundle: BundleInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(tiny_bundle, config=tiny_bundle.config.model_copy(update={"architecture": "simple_cnn"}))
    network = TorchNetwork(build_network("simple_cnn", {}).eval(), plain.config)
    monkeypatch.setattr(feature_table, "load_inference", lambda info, device: network)
    with pytest.raises(BundleError, match=r"'tiny' \(simple_cnn\) has no encoder .* such as lesion-small"):
        Embedder.load(plain)
