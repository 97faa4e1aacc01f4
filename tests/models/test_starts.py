"""Encoder names, model sizes as in the papers, and ImageNet weights for the project's own networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.models.published_encoders import find_imagenet_name, load_imagenet_weights
from napari_melanoma.models.weights_files import find_weights_file, fingerprint_weights
from napari_melanoma.models.zoo import build_network, count_parameters, find_encoder
from napari_melanoma.models.zoo.smp import SmpArchitecture, find_encoder_name
from napari_melanoma.training.recipe import TrainRecipe

PAPERS = [
    ("deeplabv3plus_mobilenetv2_full", {"width": 1.0}, 2.7e6),
    ("deeplabv3plus_mobilenetv2_full", {"width": 0.35}, 0.87e6),
    ("deeplabv3plus_xception", {"output_stride": 16}, 41e6),
    ("deeplabv3plus_xception", {"output_stride": 8}, 41e6),
    ("deeplabv3plus_mobilenetv2", {"width": 1.0}, 2e6),
    ("deeplabv3plus_mobilenetv2", {"width": 0.35}, 0.4e6),
    ("segformer", {"encoder": "mit_b0"}, 3.8e6),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "expected"), PAPERS)
def test_number_of_weights_matches_the_paper(name: str, options: dict[str, Any], expected: float) -> None:
    assert count_parameters(name, options) == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [8, 16])
def test_the_output_stride_is_that_of_the_deepest_features(stride: int) -> None:
    import torch

    with torch.device("meta"):
        for name, options in (
            ("deeplabv3plus_xception", {"width": 0.03, "middle": 1}),
            ("deeplabv3plus_mobilenetv2", {}),
        ):
            encoder = find_encoder(build_network(name, {**options, "output_stride": stride}))
            assert encoder is not None
            answer = encoder(torch.zeros(1, 3, 64, 64))
            low, deep = answer if isinstance(answer, tuple) else (None, answer)
            assert deep.shape[-2:] == (64 // stride, 64 // stride)
            assert low is None or low.shape[-2:] == (16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("network", get_args(SmpArchitecture))
def test_each_library_network_predicts(network: str) -> None:
    import torch

    encoder = "vit_tiny_patch16_224" if network == "DPT" else "mobilenetv3_small_050"
    built = build_network("smp", {"network": network, "encoder": encoder, "classes": 2}).eval()
    with torch.inference_mode():
        answer = built(torch.randn(1, 3, 128, 101, generator=torch.Generator().manual_seed(0)))
    assert answer.shape == (1, 2, 128, 101)
    assert bool(answer.isfinite().all())


@pytest.mark.parametrize(("arguments", "least"), [({}, 128), ({"encoder_output_stride": 32}, 256)])
def test_a_network_that_needs_large_images_is_reported(arguments: dict[str, Any], least: int) -> None:
    import torch

    options = {"network": "PAN", "encoder": "resnet18", "arguments": arguments}
    model = {"architecture": "smp", "options": options, "start": "none"}
    refusal = f"smp needs an input_size of {least} or more"
    with pytest.raises(ConfigError, match=refusal):
        TrainRecipe.parse({"data": {"datasets": ["x"]}, "model": {**model, "input_size": least - 32}}, "the test")
    TrainRecipe.parse({"data": {"datasets": ["x"]}, "model": {**model, "input_size": least}}, "the test")
    with torch.device("meta"):
        network = build_network("smp", options).eval()
        assert network(torch.zeros(1, 3, least, least)).shape == (1, 1, least, least)
        with pytest.raises(RuntimeError, match="too small"):
            network(torch.zeros(1, 3, least - 32, least - 32))


NAMES = {
    "resnet34": "resnet34",
    "mit_b0": "mit_b0",
    "tf_efficientnet_lite0": "tu-tf_efficientnet_lite0",
    "tu-resnet34": "tu-resnet34",
}


@pytest.mark.parametrize("name", NAMES)
def test_encoders_have_the_names_of_either_library(name: str) -> None:
    assert find_encoder_name(name) == NAMES[name]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"encoder": "resnet35"}, "has an encoder named 'resnet35'. Did you mean resnet"),
    ({"arguments": {"flavour": 1}}, "cannot build FPN over .*flavour"),
    ({"arguments": {"encoder_weights": "imagenet"}}, "encoder_weights cannot be set here"),
    ({"network": "VGG"}, "'Unet'"),
]


@pytest.mark.parametrize(("options", "message"), FAULTS)
def test_impossible_networks_of_the_library_are_reported(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network("smp", options)


PUBLISHED = [
    ("deeplabv3plus_mobilenetv2", {}),
    ("deeplabv3plus_mobilenetv2", {"width": 0.5, "divisor": 8}),
    ("deeplabv3plus_mobilenetv2", {"width": 1.4, "divisor": 8}),
    ("deeplabv3plus_xception", {}),
    ("deeplabv3plus_xception", {"middle": 8}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), PUBLISHED)
def test_published_encoders_match_in_order(name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torch

    make, requested = timm.create_model, []

    def published_one(title: str, *, pretrained: bool) -> torch.nn.Module:
        requested.append((title, pretrained))
        return make(title.split(".")[0], pretrained=False)

    monkeypatch.setattr(timm, "create_model", published_one)
    with torch.device("meta"):
        encoder = find_encoder(build_network(name, options))
        published = find_imagenet_name(name, options)
        assert encoder is not None
        assert published is not None
        load_imagenet_weights(encoder, published)  # raises where a shape differs
    assert requested == [(published, True)]


@pytest.mark.parametrize("options", [{"width": 0.35}, {"width": 0.5}])
def test_unusual_widths_have_no_published_weights(options: dict[str, Any]) -> None:
    assert find_imagenet_name("deeplabv3plus_mobilenetv2", options) is None


def test_an_encoder_of_the_library_is_fetched_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from segmentation_models_pytorch import encoders

    make = encoders.get_encoder
    encoder = find_encoder(build_network("smp", {"encoder": "mobilenet_v2"}))
    assert encoder is not None
    requested = []

    def published(name: str, *, weights: str) -> object:
        requested.append((name, weights))
        return make(name, weights=None)

    monkeypatch.setattr(encoders, "get_encoder", published)
    before = encoder.state_dict()["features.3.conv.0.0.weight"].clone()
    load_imagenet_weights(encoder, "mobilenet_v2")
    assert requested == [("mobilenet_v2", "imagenet")]
    assert not bool((encoder.state_dict()["features.3.conv.0.0.weight"] == before).any())
    monkeypatch.setattr(encoders, "get_encoder", lambda *_, **__: (_ for _ in ()).throw(ConnectionError()))
    with pytest.raises(BundleError, match=r"mobilenet_v2 could not be downloaded \(ConnectionError\)"):
        load_imagenet_weights(encoder, "mobilenet_v2")


@pytest.mark.parametrize("start", ["imagenet", "none", "lesion-small", "my.model-2"])
def test_values_and_names_are_not_files(start: str) -> None:
    assert find_weights_file(start) is None


def test_a_file_with_the_name_of_a_model_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lesion-small", "imagenet", "mine"):
        Path(name).write_bytes(b"anything")
    assert find_weights_file("lesion-small") is None
    assert find_weights_file("imagenet") is None
    assert find_weights_file(str(tmp_path / "lesion-small")) == tmp_path / "lesion-small"
    assert find_weights_file("mine") == Path("mine")


def test_the_weights_of_a_bundle_are_a_file_and_the_bundle_is_not(tiny_folder: Path) -> None:
    assert find_weights_file(str(tiny_folder)) is None
    assert find_weights_file(str(tiny_folder / "model.safetensors")) == tiny_folder / "model.safetensors"


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """Create a folder that looks like a bundle."""
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_file_is_identified_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    before = fingerprint_weights(path)
    path.write_bytes(b"two")
    assert fingerprint_weights(path) != before
    with pytest.raises(BundleError, match=r"cannot read weights from .*none\.pt: .* Select an existing file"):
        fingerprint_weights(tmp_path / "none.pt")
