"""Official files of classifiers (timm, torchvision) are loaded into the encoder, with the same feature maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models import published_encoders
from napari_melanoma.models.published_encoders import find_imagenet_name, imagenet_normalization, load_imagenet_weights
from napari_melanoma.models.weights_files import load_weights_file
from napari_melanoma.models.zoo import build_network, find_encoder

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def of_timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def of_torchvision(name: str) -> nn.Module:
    import torchvision

    return getattr(torchvision.models, name)()


def stages(network: Any, images: Tensor) -> Tensor:
    """Return the deepest maps of a network of timm with a stem and stages."""
    return network.stages(network.stem(images))


def body(network: nn.Module, images: Tensor) -> Tensor:
    """Return the deepest maps of a ResNet of torchvision, before its pooling."""
    for part in list(network.children())[:-2]:
        images = part(images)
    return images


@dataclass(frozen=True)
class Published:
    """A file of a known form: its network, and the maps of that network."""

    name: str
    suffix: str
    make: Callable[[str], nn.Module]
    deepest: Callable[[Any, Tensor], Tensor]
    side: int = 96
    wrapped: bool = False


PUBLISHED = [
    Published("resnet18", ".safetensors", of_timm, lambda network, images: network.forward_features(images)),
    Published("efficientformerv2_s0", ".safetensors", of_timm, stages, side=224),
    Published("convnext_atto", ".bin", of_timm, stages),
    Published(
        "tf_efficientnet_lite0",
        ".bin",
        of_timm,
        lambda network, images: network.blocks(network.bn1(network.conv_stem(images))),
    ),
    Published("resnet18", ".pth", of_torchvision, body, wrapped=True),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case.name}-{case.make.__name__}")
def test_an_official_file_gives_the_maps_of_its_network(case: Published, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    reference = case.make(case.name).eval()
    path = tmp_path / f"model{case.suffix}"
    if case.suffix == ".safetensors":
        save_file(reference.state_dict(), path)
    else:
        state = reference.state_dict()
        torch.save({"model": state, "opt": {"state": [], "hypers": [{"lr": 1e-3}]}} if case.wrapped else state, path)
    torch.manual_seed(4)
    network: Any = build_network("image_tabular", {"encoder": case.name}).eval()
    report = load_weights_file(network, path)
    total = sum(not name.endswith("num_batches_tracked") for name in network.state_dict())
    assert report.startswith(f"start: {total - 2} of the network's {total} tensors are from model{case.suffix}")
    assert "not in the file and therefore randomly initialized: head.1.weight, head.1.bias" in report
    images = torch.randn(1, 3, case.side, case.side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.encode(images)[-1], case.deepest(reference, images))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save(of_torchvision("resnet18").state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(
        BundleError, match=r"resnet18\.pth does not fit this network: it contains 0% of the encoder's tensors"
    ):
        load_weights_file(
            build_network("image_tabular", {"encoder": "tf_efficientnet_lite0"}), tmp_path / "resnet18.pth"
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
def test_the_packages_weights_are_those_of_the_published_network(name: str) -> None:
    import timm
    import torch

    network: Any = build_network("image_tabular", {"encoder": name}).eval()
    load_imagenet_weights(network.encoder, name)
    whole: Any = timm.create_model(name).eval()
    load_imagenet_weights(whole, name)
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = whole.blocks(whole.bn1(whole.conv_stem(images)))
        torch.testing.assert_close(network.encode(images)[-1], expected)


def test_weights_of_the_hub_are_used_if_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torch

    torch.manual_seed(3)
    hub = timm.create_model("efficientformerv2_s0").eval()
    requested = []

    def create(name: str, **arguments: Any) -> Any:
        requested.append((name, arguments))
        return hub

    network: Any = build_network("image_tabular", {"encoder": "efficientformerv2_s0"}).eval()
    monkeypatch.setattr(timm, "create_model", create)
    load_imagenet_weights(network.encoder, "efficientformerv2_s0")
    assert requested == [("efficientformerv2_s0", {"pretrained": True})]
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.encode(images)[-1], stages(hub, images))


def test_without_a_hub_the_message_names_packaged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    network = build_network("image_tabular", {"encoder": "resnet18"})
    encoder = find_encoder(network)
    assert encoder is not None

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(BundleError, match=r"resnet18 could not be downloaded .*with a package: tf_efficientnet_lite0"):
        load_imagenet_weights(encoder, "resnet18")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))) for name in published_encoders.PACKAGED),
        *((name, IMAGENET) for name in ("resnet50", "efficientformerv2_s2", "tu-resnet50", "mit_b0")),
    ],
)
def test_normalization_of_published_weights(name: str, expected: tuple[tuple[float, ...], ...]) -> None:
    assert imagenet_normalization(name) == expected


def test_the_table_alone_has_no_published_weights() -> None:
    assert find_imagenet_name("image_tabular", {"fusion": "tabular"}) is None
    assert find_imagenet_name("image_tabular", {}) == "tf_efficientnet_lite0"
