"""The script that converts DeepLab's checkpoints names every tensor of our networks, in PyTorch's axis order."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.models.weights_files import load_weights_file
from napari_melanoma.models.zoo import build_network

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import convert_deeplab_checkpoint as script


def xception_names(middle: int) -> Iterator[tuple[str, str]]:
    """Return the names of the same convolution in the official checkpoint and in our network."""
    flows = {"entry": [(block, 1, block - 1) for block in (1, 2, 3)], "exit": [(1, 1, 0), (2, 1, 1)]}
    flows["middle"] = [(1, unit, unit - 1) for unit in range(1, middle + 1)]
    yield from ((f"xception_65/entry_flow/conv1_{number}", f"encoder.stem.{number - 1}") for number in (1, 2))
    for flow, units in flows.items():
        for in_block, unit, own in units:
            there, here = (
                f"xception_65/{flow}_flow/block{in_block}/unit_{unit}/xception_module",
                f"encoder.{flow}.{own}",
            )
            if flow == "entry" or (flow, own) == ("exit", 0):
                yield f"{there}/shortcut", f"{here}.shortcut"
            for number in (1, 2, 3):
                for step in ("depthwise", "pointwise"):
                    yield f"{there}/separable_conv{number}_{step}", f"{here}.separable.{number - 1}.{step}"
    yield "image_pooling", "aspp.image"
    yield "aspp0", "aspp.point"
    yield "concat_projection", "aspp.project"
    yield "decoder/feature_projection0", "decoder.low_level"
    for step in ("depthwise", "pointwise"):
        yield from ((f"aspp{number}_{step}", f"aspp.atrous.{number - 1}.{step}") for number in (1, 2, 3))
        yield from ((f"decoder/decoder_conv{number}_{step}", f"decoder.fuse.{number}.{step}") for number in (0, 1))


def mobilenet_names() -> Iterator[tuple[str, str]]:
    """Return these names for MobileNetV2 with the reduced head."""
    yield "MobilenetV2/Conv", "encoder.stem"
    for number in range(17):
        there = f"MobilenetV2/expanded_conv{f'_{number}' if number else ''}"
        steps = ("expand", "depthwise", "project") if number else ("depthwise", "project")
        yield from ((f"{there}/{step}", f"encoder.blocks.{number}.{step}") for step in steps)
    yield "image_pooling", "aspp.image"
    yield "aspp0", "aspp.point"
    yield "concat_projection", "aspp.project"


TAILS = {
    "BatchNorm/gamma": "norm.weight",
    "BatchNorm/beta": "norm.bias",
    "BatchNorm/moving_mean": "norm.running_mean",
    "BatchNorm/moving_variance": "norm.running_var",
}
NETWORKS = {
    "deeplabv3plus_xception": ({"width": 0.03, "middle": 2, "decoder_channels": 8}, list(xception_names(2))),
    "deeplabv3plus_mobilenetv2": ({"width": 0.1, "head_channels": 8}, list(mobilenet_names())),
}


def official_tensors(state: Mapping[str, Any], names: list[tuple[str, str]]) -> dict[str, NDArray[np.float32]]:
    """Return a network's state under the official names, in TensorFlow's order, with 21 classes and an optimizer."""
    found = {}
    for there, here in names:
        kernel, tail = state[f"{here}.conv.weight"].numpy(), "weights"
        order = (2, 3, 1, 0)
        if there.endswith("depthwise"):
            order, tail = (2, 3, 0, 1), "depthwise_weights"
        found[f"{there}/{tail}"] = np.ascontiguousarray(kernel.transpose(order))
        found[f"{there}/{tail}/Momentum"] = np.zeros(3, np.float32)
        found |= {f"{there}/{reference}": state[f"{here}.{own}"].numpy() for reference, own in TAILS.items()}
    head = np.zeros((1, 1, state["logits.weight"].shape[1], 21), np.float32)
    return found | {"logits/semantic/weights": head, "logits/semantic/biases": np.zeros(21, np.float32)}


def convert(tensors: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write the converted tensors; reading the checkpoint itself is left to TensorFlow."""
    from safetensors.numpy import save_file

    names = {name: own for name in tensors if (own := script.translate_name(name))}
    save_file({own: script.to_pytorch_axes(name, tensors[name]) for name, own in names.items()}, path)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_checkpoint_fills_every_tensor_except_the_classes(name: str, tmp_path: Path) -> None:
    options, names = NETWORKS[name]
    truth = {
        key: value.uniform_(0.5, 1.5) if value.is_floating_point() else value
        for key, value in build_network(name, options).state_dict().items()
    }
    convert(official_tensors(truth, names), tmp_path / "converted.safetensors")
    network = build_network(name, options)
    report = load_weights_file(network, tmp_path / "converted.safetensors")
    found = network.state_dict()
    other = [
        key
        for key in truth
        if key.split(".")[-1] != "num_batches_tracked" and not bool((found[key] == truth[key]).all())
    ]
    assert other == ["logits.weight", "logits.bias"]
    assert "logits.weight is (21, 8, 1, 1) in the file, (1, 8, 1, 1) in the network" in report
    assert "not in the file" not in report


def test_a_converted_checkpoint_fills_the_encoder_of_the_full_decoder(tmp_path: Path) -> None:
    options, names = NETWORKS["deeplabv3plus_mobilenetv2"]
    truth = build_network("deeplabv3plus_mobilenetv2", options).state_dict()
    convert(official_tensors(truth, names), tmp_path / "converted.safetensors")
    network = build_network("deeplabv3plus_mobilenetv2_full", options)
    load_weights_file(network, tmp_path / "converted.safetensors")
    found = network.state_dict()
    for key in (key for key in truth if key.startswith(("encoder.", "aspp.image.", "aspp.point."))):
        assert key.endswith("num_batches_tracked") or bool((found[key] == truth[key]).all()), key
