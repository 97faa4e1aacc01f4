"""A small bundle with random weights, made once."""

from __future__ import annotations

import pytest

from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A bundle that can be loaded in no time and answers nonsense."""
    import torch

    from napari_melanoma.models.zoo import build_network

    torch.manual_seed(0)
    options = {"encoder": "mobilenetv3_small_050", "decoder_channels": 16}
    config = BundleConfig(name="tiny", title="Random", architecture="deeplabv3plus", options=options, input_size=64)
    network = build_network(config.architecture, options)
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", config, network, "# tiny\n")
