"""Weights files of safetensors and ``torch.save``: their names match our tensors, and no code in them is executed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.published_encoders import load_imagenet_weights
from napari_melanoma.models.weights_files import load_weights_file, read_weights
from napari_melanoma.models.zoo import build_network, find_encoder

if TYPE_CHECKING:
    from torch import Tensor, nn

MOBILENET = {"width": 0.25, "divisor": 8, "head_channels": 8}


def known_values(name: str, options: dict[str, Any]) -> dict[str, Tensor]:
    """Return the state of a network, in which every number differs from that of a new network."""
    state = build_network(name, options).state_dict()
    return {key: value.uniform_(0.5, 1.5) if value.is_floating_point() else value for key, value in state.items()}


def learnt_norms(network: nn.Module) -> nn.Module:
    """Set batch normalization to factors and statistics as after a training; some variances are small."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.copy_(10 ** torch.empty_like(module.running_var).uniform_(-3.5, 0.5))
            module.running_mean.normal_(0, 0.1)
            module.weight.data.uniform_(0.02, 0.05)
    return network


def test_imagenet_weights_give_the_same_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm adds another epsilon to variances than our encoder does."""
    import timm
    import torch

    torch.manual_seed(0)
    reference = learnt_norms(timm.create_model("mobilenetv2_050").eval())
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: reference)
    encoder = find_encoder(build_network("deeplabv3plus_mobilenetv2", {**MOBILENET, "width": 0.5, "output_stride": 32}))
    assert encoder is not None
    load_imagenet_weights(encoder.eval(), "mobilenetv2_050")
    images = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        expected = reference.blocks(reference.bn1(reference.conv_stem(images)))
        torch.testing.assert_close(encoder(images)[1], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("form", ["state dict", "wrapped", "safetensors", "an encoder alone"])
def test_our_own_networks_start_from_each_others_files(form: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    truth = known_values("deeplabv3plus_mobilenetv2", MOBILENET)
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
    if form == "safetensors":
        save_file(truth, path)
    elif form == "an encoder alone":
        torch.save({key.removeprefix("encoder."): v for key, v in truth.items() if key.startswith("encoder.")}, path)
    else:
        torch.save({"model": truth} if form == "wrapped" else truth, path)
    network = build_network("deeplabv3plus_mobilenetv2", MOBILENET)
    report = load_weights_file(network, path)
    if form == "an encoder alone":
        assert "not in the file and therefore randomly initialized: aspp.image.conv.weight" in report
    else:
        assert "random" not in report
    key = "encoder.blocks.3.expand.conv.weight"
    assert bool((network.state_dict()[key] == truth[key]).all())


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_contains_code_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": Trap(tmp_path / "ran")}, tmp_path / "trap.pth")
    with pytest.raises(BundleError, match=r"contains more than weights \(\S*getattr\) and would execute") as refusal:
        read_weights(tmp_path / "trap.pth")
    assert str(refusal.value).isprintable()
    assert not (tmp_path / "ran").exists()


WEIGHTS = {f"conv{number}.weight": number for number in range(3)}


@pytest.mark.parametrize(
    ("outside", "within"), [({"epoch": 3}, "state_dict"), ({"a": 1, "b": 2}, "model"), ({"epoch": 3}, "net")]
)
def test_counters_and_prefixes_are_ignored(outside: dict[str, int], within: str, tmp_path: Path) -> None:
    import torch

    weights = {f"module.{name}": torch.full((2,), float(value)) for name, value in WEIGHTS.items()}
    counted = {name: torch.tensor(value) for name, value in outside.items()}
    torch.save({**counted, within: weights}, tmp_path / "saved.pth")
    assert read_weights(tmp_path / "saved.pth").keys() == WEIGHTS.keys()


CONTENTS = {
    "no weights": {"epoch": 3},
    "a list": [1, 2, 3],
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_without_weights_is_refused(content: str, tmp_path: Path) -> None:
    import torch

    torch.save(CONTENTS[content], tmp_path / "other.pth")
    with pytest.raises(BundleError, match="contains no weights"):
        read_weights(tmp_path / "other.pth")


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors"])
def test_random_bytes_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(range(200)))
    with pytest.raises(BundleError, match="noise"):
        read_weights(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no weights file .*gone\.pth was found"):
        read_weights(tmp_path / "gone.pth")


def test_another_width_is_refused_with_the_difference(tmp_path: Path) -> None:
    import torch

    torch.save(known_values("deeplabv3plus_mobilenetv2", {**MOBILENET, "width": 0.5}), tmp_path / "wide.pth")
    network = build_network("deeplabv3plus_mobilenetv2", MOBILENET)
    with pytest.raises(BundleError, match=r"wide\.pth does not fit.*encoder.*different shape.*Select the architecture"):
        load_weights_file(network, tmp_path / "wide.pth")
