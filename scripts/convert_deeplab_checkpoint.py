"""Convert an official DeepLabv3+ checkpoint of TensorFlow to a weights file that a training can start from.

The published archive must be unpacked. TensorFlow is needed for this alone, so use an environment of its own:

    tar xf deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz
    uv run scripts/convert_deeplab_checkpoint.py deeplabv3_mnv2_pascal_train_aug/model.ckpt-30000 mobilenet.safetensors
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "safetensors", "tensorflow-cpu"]
# ///

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNIT = r"xception_\d+/(entry|middle|exit)_flow/block(\d+)/unit_(\d+)/xception_module/"
TAILS = {
    "weights": "conv.weight",
    "depthwise_weights": "conv.weight",
    "BatchNorm/gamma": "norm.weight",
    "BatchNorm/beta": "norm.bias",
    "BatchNorm/moving_mean": "norm.running_mean",
    "BatchNorm/moving_variance": "norm.running_var",
}
LOGITS = {"logits/semantic/weights": "logits.weight", "logits/semantic/biases": "logits.bias"}


def unit_name(match: re.Match[str]) -> str:
    """Return our name of an Xception unit: the middle flow is a block of many units, other flows are blocks of one."""
    flow, block, unit = match.group(1, 2, 3)
    return f"encoder.{flow}.{int(unit if flow == 'middle' else block) - 1}"


LAYERS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"xception_\d+/entry_flow/conv1_([12])", lambda m: f"encoder.stem.{int(m[1]) - 1}"),
    (UNIT + r"separable_conv(\d)_(\w+)", lambda m: f"{unit_name(m)}.separable.{int(m[4]) - 1}.{m[5]}"),
    (UNIT + "shortcut", lambda m: f"{unit_name(m)}.shortcut"),
    ("MobilenetV2/Conv", lambda _: "encoder.stem"),
    (r"MobilenetV2/expanded_conv/(\w+)", lambda m: f"encoder.blocks.0.{m[1]}"),
    (r"MobilenetV2/expanded_conv_(\d+)/(\w+)", lambda m: f"encoder.blocks.{m[1]}.{m[2]}"),
    ("image_pooling", lambda _: "aspp.image"),
    ("aspp0", lambda _: "aspp.point"),
    (r"aspp([123])_(\w+)", lambda m: f"aspp.atrous.{int(m[1]) - 1}.{m[2]}"),
    ("concat_projection", lambda _: "aspp.project"),
    ("decoder/feature_projection0", lambda _: "decoder.low_level"),
    (r"decoder/decoder_conv([01])_(\w+)", lambda m: f"decoder.fuse.{m[1]}.{m[2]}"),
)


def translate_name(name: str) -> str | None:
    """Return the name of a tensor in our networks; None for the state of the optimizer and the like."""
    if name in LOGITS:
        return LOGITS[name]
    split = re.fullmatch(rf"(.+?)/({'|'.join(TAILS)})", name)
    if split is None:
        return None
    for pattern, target in LAYERS:
        if match := re.fullmatch(pattern, split[1]):
            return f"{target(match)}.{TAILS[split[2]]}"
    return None


def to_pytorch_axes(name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Transpose a convolution: TensorFlow stores (row, column, in, out), or depthwise (row, column, channel, 1)."""
    if value.ndim != 4:
        return value
    order = (2, 3, 0, 1) if name.endswith("depthwise_weights") else (3, 2, 0, 1)
    return np.ascontiguousarray(value.transpose(order))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", help="path of the checkpoint without .index, such as folder/model.ckpt-30000")
    parser.add_argument("out", type=Path, help="the file to write, .safetensors")
    arguments = parser.parse_args()
    import tensorflow as tf
    from safetensors.numpy import save_file

    reader = tf.train.load_checkpoint(arguments.checkpoint)
    names = {name: parameter for name in reader.get_variable_to_shape_map() if (parameter := translate_name(name))}
    if not names:
        raise SystemExit(f"{arguments.checkpoint} has no tensor of DeepLabv3+ with MobileNetV2 or Xception.")
    tensors = {
        parameter: to_pytorch_axes(name, reader.get_tensor(name).astype(np.float32))
        for name, parameter in names.items()
    }
    save_file(tensors, arguments.out)
    sys.stdout.write(f"{len(tensors)} tensors are in {arguments.out}.\n")


if __name__ == "__main__":
    main()
