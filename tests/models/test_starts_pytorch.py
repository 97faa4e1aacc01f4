"""Files of common PyTorch ports: their names match our tensors, and no code in them is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.checkpoint_conversion import load_weights_file, read_weights
from napari_melanoma.models.published_encoders import load_imagenet_weights
from napari_melanoma.models.zoo import build_network, find_encoder

if TYPE_CHECKING:
    from torch import Tensor, nn

PARAMETERS = ("weight", "bias", "running_mean", "running_var")
MOBILENET = {"width": 0.25, "divisor": 8, "head_channels": 8}
XCEPTION = {"width": 0.03, "decoder_channels": 8}


def known_values(name: str, options: dict[str, Any]) -> dict[str, Tensor]:
    """Return the state of a network, in which every number differs from that of a new network."""
    state = build_network(name, options).state_dict()
    return {key: value.uniform_(0.5, 1.5) if value.is_floating_point() else value for key, value in state.items()}


def torchvision_names(truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of an encoder under the names of torchvision's MobileNetV2."""
    first = {"depthwise": "0", "project.conv": "1", "project.norm": "2"}
    others = {"expand": "0", "depthwise": "1", "project.conv": "2", "project.norm": "3"}
    found = {}
    for key, value in truth.items():
        if at := re.fullmatch(r"encoder\.stem\.(conv|norm)\.(\w+)", key):
            found[f"features.0.{'0' if at[1] == 'conv' else '1'}.{at[2]}"] = value
        if at := re.fullmatch(r"encoder\.blocks\.(\d+)\.(\w+)\.(conv|norm)\.(\w+)", key):
            steps = others if int(at[1]) else first
            place = steps.get(f"{at[2]}.{at[3]}") or f"{steps[at[2]]}.{'0' if at[3] == 'conv' else '1'}"
            found[f"features.{int(at[1]) + 1}.conv.{place}.{at[4]}"] = value
    return found


def vainf(truth: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the content of VainF's file: the encoder in two parts, another head, and the state of its training."""
    import torch

    def part(name: str) -> str:
        return "low_level_features" if int(name.split(".")[1]) < 4 else "high_level_features"

    state = {f"backbone.{n.replace('features', part(n), 1)}": v for n, v in torchvision_names(truth).items()}
    for tail in PARAMETERS:
        if tail == "weight":
            state["classifier.aspp.convs.0.0.weight"] = truth["aspp.point.conv.weight"]
            state["classifier.aspp.convs.4.1.weight"] = truth["aspp.image.conv.weight"]
        state[f"classifier.aspp.convs.0.1.{tail}"] = truth[f"aspp.point.norm.{tail}"]
        state[f"classifier.aspp.convs.4.2.{tail}"] = truth[f"aspp.image.norm.{tail}"]
    state |= {
        "classifier.classifier.3.weight": torch.zeros(21, 8, 1, 1),
        "classifier.classifier.3.bias": torch.zeros(21),
    }
    return {"cur_itrs": 30_000, "model_state": state, "best_score": np.float64(0.71), "scheduler_state": {"power": 0.9}}


def jfzhang_mobilenet(truth: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the content of jfzhang95's file: flat sequences, all tensors twice, saved in parallel training."""
    flat = {"0.0": "0", "0.1": "1", "1.0": "3", "1.1": "4", "2": "6", "3": "7"}
    flat_first = {"0.0": "0", "0.1": "1", "1": "3", "2": "4"}
    state = {}
    for name, value in torchvision_names(truth).items():
        if at := re.fullmatch(r"features\.(\d+)\.conv\.([\d.]+)\.(\w+)", name):
            name = f"features.{at[1]}.conv.{(flat_first if at[1] == '1' else flat)[at[2]]}.{at[3]}"
        part = "low_level_features" if int(name.split(".")[1]) < 4 else "high_level_features"
        state |= {f"module.backbone.{name}": value, f"module.backbone.{name.replace('features', part, 1)}": value}
    state |= {"module.aspp.aspp1.atrous_conv.weight": truth["aspp.point.conv.weight"]}
    state |= {f"module.aspp.aspp1.bn.{tail}": truth[f"aspp.point.norm.{tail}"] for tail in PARAMETERS}
    state |= {"module.aspp.global_avg_pool.1.weight": truth["aspp.image.conv.weight"]}
    state |= {f"module.aspp.global_avg_pool.2.{tail}": truth[f"aspp.image.norm.{tail}"] for tail in PARAMETERS}
    return {"epoch": 50, "state_dict": state, "best_pred": 0.7}


def units() -> Iterator[tuple[int, str]]:
    """Return the blocks that ports of Xception number consecutively, and our units."""
    yield from ((number, f"encoder.entry.{number - 1}") for number in (1, 2, 3))
    yield from ((number, f"encoder.middle.{number - 4}") for number in range(4, 20))
    yield 20, "encoder.exit.0"


def tensors_of(truth: Mapping[str, Tensor], there: str, here: str) -> dict[str, Tensor]:
    """Return the tensors of one convolution or normalization under other names."""
    return {f"{there}.{tail}": truth[f"{here}.{tail}"] for tail in PARAMETERS if f"{here}.{tail}" in truth}


def yudewang(truth: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the content of YudeWang's encoder file: three named separable convolutions per block."""
    steps = {
        "depthwise": "depthwise.conv",
        "bn1": "depthwise.norm",
        "pointwise": "pointwise.conv",
        "bn2": "pointwise.norm",
    }
    pairs = [
        (f"{kind}{n}", f"encoder.stem.{n - 1}.{ours}")
        for n in (1, 2)
        for kind, ours in (("conv", "conv"), ("bn", "norm"))
    ]
    for number, unit in units():
        pairs += [(f"block{number}.skip", f"{unit}.shortcut.conv"), (f"block{number}.skipbn", f"{unit}.shortcut.norm")]
        pairs += [
            (f"block{number}.sepconv{k}.{theirs}", f"{unit}.separable.{k - 1}.{ours}")
            for k in (1, 2, 3)
            for theirs, ours in steps.items()
        ]
    pairs += [
        (f"conv{k}.{theirs}", f"encoder.exit.1.separable.{k - 3}.{ours}")
        for k in (3, 4, 5)
        for theirs, ours in steps.items()
    ]
    return {name: value for there, here in pairs for name, value in tensors_of(truth, there, here).items()}


def jfzhang_xception(truth: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return jfzhang95's Xception: sequences of ReLU, separable convolution, norm; the first has no first ReLU."""
    steps = {"conv1": "depthwise.conv", "bn": "depthwise.norm", "pointwise": "pointwise.conv"}
    pairs = [
        (f"{kind}{n}", f"encoder.stem.{n - 1}.{ours}")
        for n in (1, 2)
        for kind, ours in (("conv", "conv"), ("bn", "norm"))
    ]
    for number, unit in units():
        pairs += [(f"block{number}.skip", f"{unit}.shortcut.conv"), (f"block{number}.skipbn", f"{unit}.shortcut.norm")]
        strided = number in (1, 2, 3, 20)
        places = [place - (number == 1) for place in (1, 4, 6 if strided else 7)]
        for third, place in enumerate(places):
            ours = f"{unit}.separable.{third}"
            pairs += [(f"block{number}.rep.{place}.{theirs}", f"{ours}.{step}") for theirs, step in steps.items()]
            pairs += [] if third == 2 and strided else [(f"block{number}.rep.{place + 1}", f"{ours}.pointwise.norm")]
    for k in (3, 4, 5):
        ours = f"encoder.exit.1.separable.{k - 3}"
        pairs += [(f"conv{k}.{theirs}", f"{ours}.{step}") for theirs, step in steps.items()]
        pairs += [(f"bn{k}", f"{ours}.pointwise.norm")]
    state = {name: value for there, here in pairs for name, value in tensors_of(truth, there, here).items()}
    return {"state_dict": {f"module.backbone.{name}": value for name, value in state.items()}}


HEAD_ELSEWHERE = ["aspp.project", "logits"]  # joined from other branches there, and for other classes
NO_HEAD = ["aspp", "decoder", "logits"]
# Where jfzhang95 has a stride, no normalisation follows the convolution.
BARE = [f"encoder.{unit}.separable.2.pointwise.norm" for unit in ("entry.0", "entry.1", "entry.2", "exit.0")]
PORTS = {
    "torchvision": (torchvision_names, "deeplabv3plus_mobilenetv2", MOBILENET, ["aspp", "logits"]),
    "VainF": (vainf, "deeplabv3plus_mobilenetv2", MOBILENET, HEAD_ELSEWHERE),
    "jfzhang95 MobileNetV2": (jfzhang_mobilenet, "deeplabv3plus_mobilenetv2", MOBILENET, HEAD_ELSEWHERE),
    "YudeWang": (yudewang, "deeplabv3plus_xception", XCEPTION, NO_HEAD),
    "jfzhang95 Xception": (jfzhang_xception, "deeplabv3plus_xception", XCEPTION, [*BARE, *NO_HEAD]),
}


def trunk_factor(key: str, truth: Mapping[str, Tensor]) -> Tensor | float:
    """Return the factor between ports, which add 1e-5 to variances, and our encoders and the official ones (1e-3)."""
    if not (key.startswith("encoder.") and key.endswith("norm.weight")):
        return 1.0
    variance = truth[key.replace("weight", "running_var")]
    return ((variance + 1e-3) / (variance + 1e-5)).sqrt()


@pytest.mark.parametrize("port", PORTS)
def test_a_port_loads_all_tensors_that_it_shares_with_the_original(port: str, tmp_path: Path) -> None:
    import torch

    write, name, options, elsewhere = PORTS[port]
    truth = known_values(name, options)
    torch.save(write(truth), tmp_path / "published.pth")
    network = build_network(name, options)
    report = load_weights_file(network, tmp_path / "published.pth")
    found = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    expected = {key: value * trunk_factor(key, truth) for key, value in truth.items()}
    other = [key for key, value in found.items() if not torch.allclose(value, expected[key], rtol=1e-6)]
    assert [key for key in other if not key.startswith(tuple(elsewhere))] == []
    assert all(any(key.startswith(part) for key in other) for part in elsewhere)
    assert f"{len(found) - len(other)} of the network's {len(found)} tensors are from published.pth" in report


def test_the_encoder_computes_what_torchvision_computes(tmp_path: Path) -> None:
    import torch
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    theirs = learnt_norms(mobilenet_v2(width_mult=0.25).eval())
    torch.save(theirs.state_dict(), tmp_path / "mobilenet.pth")
    network = build_network("deeplabv3plus_mobilenetv2", {**MOBILENET, "output_stride": 32}).eval()
    load_weights_file(network, tmp_path / "mobilenet.pth")
    encoder = find_encoder(network)
    assert encoder is not None
    images = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(images)[1], theirs.features[:-1](images))


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
    theirs = learnt_norms(timm.create_model("mobilenetv2_050").eval())
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: theirs)
    encoder = find_encoder(build_network("deeplabv3plus_mobilenetv2", {**MOBILENET, "width": 0.5, "output_stride": 32}))
    assert encoder is not None
    load_imagenet_weights(encoder.eval(), "mobilenetv2_050")
    images = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        expected = theirs.blocks(theirs.bn1(theirs.conv_stem(images)))
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
    ("beside", "within"), [({"epoch": 3}, "state_dict"), ({"a": 1, "b": 2}, "model"), ({"epoch": 3}, "net")]
)
def test_counters_next_to_the_weights_are_ignored(beside: dict[str, int], within: str, tmp_path: Path) -> None:
    import torch

    weights = {name: torch.full((2,), float(value)) for name, value in WEIGHTS.items()}
    counted = {name: torch.tensor(value) for name, value in beside.items()}
    torch.save({**counted, within: {"model": weights}}, tmp_path / "saved.pth")
    assert read_weights(tmp_path / "saved.pth").keys() == WEIGHTS.keys()


def test_recursive_wrappers_are_refused(tmp_path: Path) -> None:
    import torch

    content: dict[str, Any] = {"epoch": 3}
    content["model"] = content
    torch.save(content, tmp_path / "loop.pth")
    with pytest.raises(BundleError, match="contains no weights"):
        read_weights(tmp_path / "loop.pth")


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
