"""What published weights are called, and what the same tensor is called in our networks: one dialect a source.

Known are the official TensorFlow files of DeepLab and MobileNet, and the PyTorch ports that most people have:
VainF/DeepLabV3Plus-Pytorch, jfzhang95/pytorch-deeplab-xception, YudeWang/deeplabv3plus-pytorch and torchvision's own
MobileNetV2. Encoders of classifiers also have the names of timm's files, of torchvision's ResNets (which are timm's),
and of ResNets that fastai saved with ``learn.save``. What a port does otherwise than the original (dense instead of
separable branches, another order of what is joined) has no name here and stays behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Dialect = Callable[[str], str | None]
Rules = tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]

CONV, NORM = "conv", "norm"
PARAMETER = r"\.(weight|bias|running_mean|running_var)$"

_TENSORFLOW_TAILS = {
    "weights": "conv.weight",
    "depthwise_weights": "conv.weight",
    "BatchNorm/gamma": "norm.weight",
    "BatchNorm/beta": "norm.bias",
    "BatchNorm/moving_mean": "norm.running_mean",
    "BatchNorm/moving_variance": "norm.running_var",
}
_TENSORFLOW_TAIL = re.compile(rf"(.+?)/({'|'.join(_TENSORFLOW_TAILS)})")
_UNIT = r"xception_\d+/(entry|middle|exit)_flow/block(\d+)/unit_(\d+)/xception_module/"


def _before(text: str, by: int = 1) -> int:
    """Count from 0 what a name counts from ``by``."""
    return int(text) - by


def _unit(found: re.Match[str]) -> str:
    """Name a unit of Xception: the middle flow is one block of many units, the other flows many blocks of one."""
    flow, block, unit = found.group(1, 2, 3)
    return f"encoder.{flow}.{_before(unit if flow == 'middle' else block)}"


def _rules(*pairs: tuple[str, Callable[[re.Match[str]], str]]) -> Rules:
    return tuple((re.compile(pattern), place) for pattern, place in pairs)


def _first(rules: Rules, name: str) -> str | None:
    """Apply the first rule whose whole pattern fits."""
    for pattern, place in rules:
        if found := pattern.fullmatch(name):
            return place(found)
    return None


_TENSORFLOW = _rules(
    (r"xception_\d+/entry_flow/conv1_([12])", lambda m: f"encoder.stem.{_before(m[1])}"),
    (_UNIT + r"separable_conv(\d)_(\w+)", lambda m: f"{_unit(m)}.separable.{_before(m[4])}.{m[5]}"),
    (_UNIT + "shortcut", lambda m: f"{_unit(m)}.shortcut"),
    ("MobilenetV2/Conv", lambda _: "encoder.stem"),
    (r"MobilenetV2/expanded_conv/(\w+)", lambda m: f"encoder.blocks.0.{m[1]}"),
    (r"MobilenetV2/expanded_conv_(\d+)/(\w+)", lambda m: f"encoder.blocks.{m[1]}.{m[2]}"),
    ("image_pooling", lambda _: "aspp.image"),
    ("aspp0", lambda _: "aspp.point"),
    (r"aspp([123])_(\w+)", lambda m: f"aspp.atrous.{_before(m[1])}.{m[2]}"),
    ("concat_projection", lambda _: "aspp.project"),
    ("decoder/feature_projection0", lambda _: "decoder.low_level"),
    (r"decoder/decoder_conv([01])_(\w+)", lambda m: f"decoder.fuse.{m[1]}.{m[2]}"),
)


def from_tensorflow(name: str) -> str | None:
    """Translate a name of the official DeepLab and MobileNetV2 checkpoints.

    Our name; None for what a network does not hold, such as the optimiser's state.
    """
    if found := re.fullmatch(r"logits/semantic/(weight|bias)(?:e?s)", name):
        return f"logits.{found[1]}"
    found = _TENSORFLOW_TAIL.fullmatch(name)
    place = _first(_TENSORFLOW, found[1]) if found else None
    return f"{place}.{_TENSORFLOW_TAILS[found[2]]}" if found and place else None


def _port_unit(block: str) -> str:
    """Name a unit of Xception where a port counts all of them in a row: 3, then 16, then the first of the exit."""
    number = int(block)
    if number <= 3:
        return f"encoder.entry.{number - 1}"
    return f"encoder.middle.{number - 4}" if number < 20 else f"encoder.exit.{number - 20}"


def _port_third(block: str, place: str) -> str:
    """Name the one of a unit's three convolutions that a place of its sequence belongs to.

    Each has a ReLU before it and a normalisation after it; the first unit has no first ReLU.
    """
    return f"{_port_unit(block)}.separable.{(int(place) + (block == '1')) // 3}"


_STEPS = {
    "conv1": "depthwise.conv",
    "depthwise": "depthwise.conv",
    "bn": "depthwise.norm",
    "bn1": "depthwise.norm",
    "pointwise": "pointwise.conv",
    "bn2": "pointwise.norm",
}
_STEP = f"({'|'.join(_STEPS)})"
_PORT_XCEPTION = _rules(
    (r"conv([12])", lambda m: f"encoder.stem.{_before(m[1])}.conv"),
    (r"bn([12])", lambda m: f"encoder.stem.{_before(m[1])}.norm"),
    (r"block(\d+)\.skip", lambda m: f"{_port_unit(m[1])}.shortcut.conv"),
    (r"block(\d+)\.skipbn", lambda m: f"{_port_unit(m[1])}.shortcut.norm"),
    (rf"block(\d+)\.sepconv([123])\.{_STEP}", lambda m: f"{_port_unit(m[1])}.separable.{_before(m[2])}.{_STEPS[m[3]]}"),
    (rf"block(\d+)\.rep\.(\d+)\.{_STEP}", lambda m: f"{_port_third(m[1], m[2])}.{_STEPS[m[3]]}"),
    (r"block(\d+)\.rep\.(\d+)", lambda m: f"{_port_third(m[1], m[2])}.pointwise.norm"),
    (rf"conv([345])\.{_STEP}", lambda m: f"encoder.exit.1.separable.{_before(m[1], 3)}.{_STEPS[m[2]]}"),
    (r"bn([345])", lambda m: f"encoder.exit.1.separable.{_before(m[1], 3)}.pointwise.norm"),
)

# The steps of an inverted residual, and where torchvision's nested and older flat sequences have them.
_NESTED = {"0.0": "expand.conv", "0.1": "expand.norm", "1.0": "depthwise.conv", "1.1": "depthwise.norm"}
_NESTED |= {"2": "project.conv", "3": "project.norm"}
_NESTED_FIRST = {"0.0": "depthwise.conv", "0.1": "depthwise.norm", "1": "project.conv", "2": "project.norm"}
_FLAT = {"0": "expand.conv", "1": "expand.norm", "3": "depthwise.conv", "4": "depthwise.norm"}
_FLAT |= {"6": "project.conv", "7": "project.norm"}
_FLAT_FIRST = {"0": "depthwise.conv", "1": "depthwise.norm", "3": "project.conv", "4": "project.norm"}
_FEATURES = re.compile(r"(?:low_level_|high_level_)?features\.(\d+)\.(?:conv\.)?([\d.]+)")

_PORT_HEADS = _rules(
    (r"classifier\.aspp\.convs\.0\.([01])", lambda m: f"aspp.point.{(CONV, NORM)[int(m[1])]}"),
    (r"classifier\.aspp\.convs\.4\.([12])", lambda m: f"aspp.image.{(CONV, NORM)[_before(m[1])]}"),
    (r"classifier\.project\.([01])", lambda m: f"decoder.low_level.{(CONV, NORM)[int(m[1])]}"),
    (r"classifier\.classifier\.3", lambda _: "logits"),
    (r"aspp\.aspp1\.atrous_conv", lambda _: "aspp.point.conv"),
    (r"aspp\.aspp1\.bn", lambda _: "aspp.point.norm"),
    (r"aspp\.global_avg_pool\.([12])", lambda m: f"aspp.image.{(CONV, NORM)[_before(m[1])]}"),
    (r"decoder\.conv1", lambda _: "decoder.low_level.conv"),
    (r"decoder\.bn1", lambda _: "decoder.low_level.norm"),
    (r"decoder\.last_conv\.[68]", lambda _: "logits"),
)


def _port(encoder: Dialect) -> Dialect:
    """Make the dialect of PyTorch ports from how one of them names its encoder."""

    def translate(name: str) -> str | None:
        found = re.fullmatch(rf"(.+){PARAMETER}", name)
        if found is None:
            return None
        place = _first(_PORT_HEADS, found[1]) or encoder(found[1].removeprefix("backbone."))
        return f"{place}.{found[2]}" if place else None

    return translate


def _mobilenet(first: dict[str, str], others: dict[str, str]) -> Dialect:
    """Make the dialect of a MobileNetV2 from where the steps of its blocks stand; the first block does not widen."""

    def translate(name: str) -> str | None:
        found = _FEATURES.fullmatch(name)
        if found is None:
            return None
        number, place = int(found[1]), found[2]
        if number == 0:
            return {"0": "encoder.stem.conv", "1": "encoder.stem.norm"}.get(place)
        step = (first if number == 1 else others).get(place)
        return f"encoder.blocks.{number - 1}.{step}" if step else None

    return translate


def _below(prefix: str) -> Dialect:
    """Make the dialect of a file with the weights of one part of a network."""
    return lambda name: prefix + name


def _from_timm(name: str) -> str:
    """Name a tensor of a whole network of timm where an encoder holds the parts of its sequences by themselves."""
    return "encoder.model." + re.sub(r"^(stem|stages|layers|features)\.", r"\1_", name)


_FASTAI = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def _from_fastai(name: str) -> str | None:
    """Name a tensor of a ResNet that fastai has cut into a sequence: its body, at times below the part for images."""
    found = re.fullmatch(r"(?:cnn_model\.|image_model\.|encoder\.|0\.)?0\.(\d)\.(.+)", name)
    part = _FASTAI.get(found[1]) if found else None
    return f"encoder.model.{part}.{found[2]}" if found and part else None


DIALECTS: dict[str, Dialect] = {
    "our own names": lambda name: name,
    "an encoder": _below("encoder."),
    "an encoder of timm": _below("encoder.model."),
    "a network of timm": _from_timm,
    "a transformer of timm": _below("encoder.model.model."),
    "a ResNet of fastai": _from_fastai,
    "DeepLab for TensorFlow": from_tensorflow,
    "DeepLab with Xception for PyTorch": _port(lambda name: _first(_PORT_XCEPTION, name)),
    "MobileNetV2 for PyTorch": _port(_mobilenet(_NESTED_FIRST, _NESTED)),
    "MobileNetV2 for PyTorch, flat": _port(_mobilenet(_FLAT_FIRST, _FLAT)),
}

# What the networks of a dialect add to the variance in every batch normalisation, where ours do not the same.
EPSILONS: dict[str, float] = {
    "DeepLab with Xception for PyTorch": 1e-5,
    "MobileNetV2 for PyTorch": 1e-5,
    "MobileNetV2 for PyTorch, flat": 1e-5,
}
