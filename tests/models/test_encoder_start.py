"""A classifier starts from the encoder of a segmentation model: with the same maps, or with an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, load_network, write_bundle
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.published_encoders import load_encoder
from napari_melanoma.models.zoo import build_network, find_encoder

pytestmark = pytest.mark.slow


def bundle_of(folder: Path, architecture: str, **options: Any) -> BundleInfo:
    """A bundle with weights and statistics that differ from those of a new network."""
    import torch

    torch.manual_seed(1)
    network = build_network(architecture, options)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.add_(0.1 * torch.rand_like(value) if name.endswith("running_var") else 0.05 * torch.randn_like(value))
    config = BundleConfig(name="started", title="Started", architecture=architecture, options=options)
    return write_bundle(folder / "started", config, network, "# started\n")


def test_the_shipped_segmentation_model_gives_a_classifier_its_maps() -> None:
    import torch

    info = find_bundle("lesion-small")
    network: Any = build_network("image_tabular", {"output_stride": 16}).eval()
    report = load_encoder(network, info)
    assert report == "start: the encoder (240 tensors) is from 'lesion-small'; all other weights are random."
    encoder = find_encoder(load_network(info))
    assert encoder is not None
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = encoder(images), network.encode(images)
    assert len(found) == 5
    assert all(torch.equal(own, reference) for own, reference in zip(found, expected[-5:], strict=True))


def test_at_the_usual_stride_the_shallower_maps_are_the_same() -> None:
    import torch

    info = find_bundle("lesion-small")
    network: Any = build_network("image_tabular", {}).eval()
    load_encoder(network, info)
    encoder = find_encoder(load_network(info))
    assert encoder is not None
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = encoder(images)[-5:], network.encode(images)
    assert all(torch.equal(own, reference) for own, reference in zip(found[:4], expected[:4], strict=True))
    assert found[-1].shape[-1] == 3  # 96 / 32


def test_resnets_of_segmentation_models_pytorch_and_timm_agree(tmp_path: Path) -> None:
    import torch

    info = bundle_of(tmp_path, "smp", network="FPN", encoder="resnet18")
    network: Any = build_network("image_tabular", {"encoder": "resnet18"}).eval()
    load_encoder(network, info)
    encoder = find_encoder(load_network(info))
    assert encoder is not None
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.encode(images)[-1], encoder(images)[-1])


def test_a_classifier_shares_its_encoder_but_not_its_head(tmp_path: Path) -> None:
    import torch

    options = {"encoder": "test_efficientnet", "tabular": {"continuous": 2}}
    info = bundle_of(tmp_path, "image_tabular", **options)
    network: Any = build_network("image_tabular", {**options, "fusion": "film"})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_encoder(network, info)
    after, source = network.state_dict(), load_network(info).state_dict()
    for name, value in after.items():
        expected = source[name] if name.startswith("encoder.") else before[name]
        assert torch.equal(value, expected), name


def test_another_epsilon_of_normalization_gives_the_same_maps(tmp_path: Path) -> None:
    import torch
    from torch import nn

    info = bundle_of(tmp_path, "image_tabular", encoder="test_efficientnet")
    network: Any = build_network("image_tabular", {"encoder": "test_efficientnet"}).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-2
    load_encoder(network, info)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    source: Any = load_network(info)
    with torch.inference_mode():
        torch.testing.assert_close(network.encode(images)[-1], source.encode(images)[-1])


REFUSED = [
    ({"encoder": "tf_efficientnet_lite1"}, r"\(tf_efficientnet_lite0\) differs from the recipe's \(.*lite1\)"),
    ({"encoder": "resnet18"}, r"of 120 tensors fit\. Set model\.options\.encoder to the same name"),
    ({"fusion": "tabular", "tabular": {"continuous": 1}}, "the recipe's network has no encoder"),
]


@pytest.mark.parametrize(("options", "fault"), REFUSED, ids=str)
def test_another_encoder_is_refused_and_nothing_changed(options: dict[str, Any], fault: str) -> None:
    import torch

    network = build_network("image_tabular", options)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(BundleError, match=fault):
        load_encoder(network, find_bundle("lesion-small"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_bundle_without_an_encoder_is_refused(tmp_path: Path) -> None:
    info = bundle_of(tmp_path, "unet_p4", channels=4, depth=1)
    with pytest.raises(BundleError, match=r"the network of 'started' \(unet_p4\) has no encoder"):
        load_encoder(build_network("image_tabular", {"encoder": "test_efficientnet"}), info)
