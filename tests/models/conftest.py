"""A small bundle with random weights, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.models.bundle import BundleConfig, BundleInfo, write_bundle
from napari_melanoma.models.zoo import build_network

TINY = BundleConfig(
    name="tiny",
    title="Random weights",
    architecture="deeplabv3plus",
    options={"encoder": "mobilenetv3_small_050", "decoder_channels": 16},
    input_size=64,
)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A bundle that can be loaded in no time and answers nonsense."""
    import torch

    torch.manual_seed(0)
    network = build_network(TINY.architecture, TINY.options)
    return write_bundle(Path(tmp_path_factory.mktemp("bundles")) / "tiny", TINY, network, "# tiny\n")
