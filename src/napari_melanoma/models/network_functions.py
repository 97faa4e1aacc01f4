"""The functions of a bundle's network that predictions call, as modules with named inputs and outputs; imports torch.

torch runs them as they are, and ``graphs`` writes each of them as an ONNX graph: both back ends compute the same.
``PhotographNetwork``, at the end, is what a file for other programs contains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from napari_melanoma.core.prediction_config import TabularShape
from napari_melanoma.imaging.preprocessing import VIEWS
from napari_melanoma.imaging.prompts import PROMPT_MAPS
from napari_melanoma.models import CATEGORIES, CONTINUOUS, DENSE_STEP, IMAGE
from napari_melanoma.models.blocks.bags import BagNetwork
from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork
from napari_melanoma.models.blocks.classifier import ClassifierNetwork
from napari_melanoma.models.blocks.prompted import PromptedUNet
from napari_melanoma.models.blocks.test_time_augmentation import (
    classify_views,
    encode_views,
    make_views,
    predict_depth_of_views,
    repeat_for_views,
    segment_views,
)
from napari_melanoma.models.blocks.timm_encoder import CellNetwork
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.zoo import find_encoder

EXAMPLES = 2  # examples for recording: torch would take a batch of one for a constant
NOISE_IMAGES = 4  # for measuring the offset of receptive fields


class NetworkFunction(nn.Module):
    """A function of a network.

    ``inputs``: names of the arguments of ``forward``, in order. The first axis of each may have any length, except for
    those named in ``fixed``. ``outputs``: names of the results.
    """

    inputs: tuple[str, ...] = (IMAGE,)
    outputs: ClassVar[tuple[str, ...]]
    fixed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()


class Segment(NetworkFunction):
    """Logits, float32 (batch, class, row, column), of normalized images, float32 (batch, 3, row, column)."""

    outputs = ("logits",)

    def forward(self, image: Tensor) -> Tensor:
        """Run the network."""
        logits: Tensor = self.network(image)
        return logits.float()


class SegmentViews(NetworkFunction):
    """Mean logits over the views of a model, and those of each view, float32 (batch, view, class, row, column)."""

    outputs = ("logits", "views")

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__(network)
        self._count = count

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network on normalized images, float32 (batch, 3, row, column)."""
        views = segment_views(self.network, image, self._count).float()
        return views.mean(1), views


class Cells(NetworkFunction):
    """Class probabilities of tiles, averaged over cells of ``DENSE_STEP`` pixels.

    Returns float32 (batch, class, row, column) of normalized images, float32 (batch, 3, row, column).
    """

    outputs = ("cells",)

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__(network)
        self._multiclass = classes > 1

    def forward(self, image: Tensor) -> Tensor:
        """Run the network; one class has a sigmoid, several a softmax."""
        logits: Tensor = self.network(image).float()
        return avg_pool2d(_softmax(logits) if self._multiclass else logits.sigmoid(), DENSE_STEP)


class CellClasses(NetworkFunction):
    """Class probabilities of the cells of tiles without their margin, of a network of cells.

    Returns float32 (batch, class, row, column) of normalized images, float32 (batch, 3, row, column).
    """

    outputs = ("cells",)

    def __init__(self, network: nn.Module, classes: int, margin: int) -> None:
        super().__init__(network)
        self._multiclass, self._margin = classes > 1, margin

    def forward(self, image: Tensor) -> Tensor:
        """Run the network; the margin, in cells, is context only."""
        inside = slice(self._margin, -self._margin or None)
        logits: Tensor = cast("CellNetwork", self.network).classify_cells(image).float()
        logits = logits[:, :, inside, inside]
        return _softmax(logits) if self._multiclass else logits.sigmoid()


def _softmax(logits: Tensor) -> Tensor:
    """Return the softmax over classes, axis 1; in graphs as exponentials and their sum.

    With five classes, these take ONNX Runtime a seventh of the time of its softmax, and torch three times that of its.
    """
    if not torch.compiler.is_compiling():  # which includes torch.export
        return logits.softmax(dim=1)
    exponentials = (logits - logits.amax(dim=1, keepdim=True)).exp()
    return exponentials / exponentials.sum(dim=1, keepdim=True)


class MeanEmbedding(NetworkFunction):
    """Mean of the deepest maps of the encoder, (batch, feature), of normalized images (batch, 3, row, column)."""

    outputs = ("embedding",)

    def forward(self, image: Tensor) -> Tensor:
        """Run the encoder."""
        maps = self.network(image)
        deepest: Tensor = maps[-1] if isinstance(maps, list | tuple) else maps
        return deepest.float().mean(dim=(2, 3))


class CellFeatures(NetworkFunction):
    """Features of the cells of tiles, float32 (batch, feature, cell row, cell column), of normalized images."""

    outputs = ("features",)

    def forward(self, image: Tensor) -> Tensor:
        """Run the network."""
        features: Tensor = self.network(image)
        return features.float()


class Textures(NetworkFunction):
    """Texture features, float32 (batch, feature), of normalized images, float32 (batch, 3, row, column)."""

    outputs = ("textures",)

    def forward(self, image: Tensor) -> Tensor:
        """Run the encoder."""
        from napari_melanoma.models.blocks.timm_encoder import texture_features

        return texture_features(self.network(image), image.shape[-1])


class EncodePrompted(NetworkFunction):
    """Features of a photograph for prompts, from the finest to the deepest level."""

    outputs = tuple(f"level_{index}" for index in range(5))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run the encoder."""
        return tuple(cast("PromptedUNet", self.network).encode(image))


class DecodePrompts(NetworkFunction):
    """Logits of each hypothesis, float32 (batch, hypothesis, row, column), and the logits of their qualities."""

    inputs = (*EncodePrompted.outputs, "maps")
    outputs = ("logits", "quality")
    fixed = EncodePrompted.outputs  # one photograph, of which the features are repeated for each set of prompts

    def forward(
        self, level_0: Tensor, level_1: Tensor, level_2: Tensor, level_3: Tensor, level_4: Tensor, maps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the decoder; ``maps``: float32 (batch, ``PROMPT_MAPS``, row, column)."""
        levels = (level_0, level_1, level_2, level_3, level_4)
        decoded = cast("PromptedUNet", self.network).decode(
            [level.expand(maps.shape[0], -1, -1, -1) for level in levels], maps
        )
        return decoded.logits.float(), decoded.quality.float()


class ViewsFunction(NetworkFunction):
    """A function of the views of normalized images, see ``make_views``."""

    def __init__(self, network: nn.Module, *, augmented: bool) -> None:
        super().__init__(network)
        self.augmented = augmented


class EncodeLesion(ViewsFunction):
    """The deepest maps (batch, view, channel, row, column) and the mean embedding (batch, feature) of images."""

    outputs = ("deepest", "embedding")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the encoder."""
        deepest, embedding = encode_views(cast("ClassifierNetwork", self.network), image, augmented=self.augmented)
        return deepest.float(), embedding.float()


class Attention(ViewsFunction):
    """Spatial attention, float32 (batch, view, row, column), of images."""

    outputs = ("attention",)

    def forward(self, image: Tensor) -> Tensor:
        """Run the encoder and the attention."""
        views = make_views(image, len(VIEWS) if self.augmented else 1)
        weights = cast("ClassifierNetwork", self.network).compute_attention(views.flatten(0, 1))
        assert weights is not None  # the function of networks with attention only
        return weights[:, 0].unflatten(0, (-1, views.shape[1])).float()


class Depth(NetworkFunction):
    """Standardized depth and, for heteroscedastic networks, the logarithm of its variance: float32 (batch, 1 or 2)."""

    inputs = ("deepest",)
    outputs = ("depth",)

    def forward(self, deepest: Tensor) -> Tensor:
        """Run the depth head on the deepest maps."""
        depth = predict_depth_of_views(cast("BiomarkerNetwork", self.network), deepest)
        assert depth is not None  # the function of networks with a depth module only
        return depth.float()


class TabularFunction(NetworkFunction):
    """A function of the deepest maps of all views and of the tabular inputs that the network has."""

    outputs = ("logits",)

    def __init__(self, network: ClassifierNetwork) -> None:
        super().__init__(network)
        self.inputs = ("deepest", *_tabular_names(network.tabular))

    def classify(self, deepest: Tensor, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Return logits, float32 (batch, class); inputs that the network has but that are not given are empty."""
        none = deepest.new_zeros((deepest.shape[0], 0))
        continuous = none if continuous is None else continuous
        categories = none.long() if categories is None else categories
        return classify_views(cast("ClassifierNetwork", self.network), deepest, continuous, categories).float()


def _tabular_names(shape: TabularShape) -> tuple[str, ...]:
    """Return the names of the tabular inputs that a network has."""
    has_inputs = {CONTINUOUS: shape.continuous > 0, CATEGORIES: len(shape.cardinalities) > 0}
    return tuple(name for name, has in has_inputs.items() if has)


class ClassifyLesion(TabularFunction):
    """Mean logits over the views, float32 (batch, class), of the deepest maps and tabular inputs."""

    def forward(self, deepest: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Run the head."""
        return self.classify(deepest, continuous, categories)


class ClassifyPositions(TabularFunction):
    """Logits of each position of the deepest maps alone, and of an empty one: (view * position + 1, class)."""

    fixed = ("deepest", CONTINUOUS, CATEGORIES)  # of one lesion

    def forward(self, deepest: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Run the head on maps of one position."""
        positions = deepest[0].permute(0, 2, 3, 1).flatten(0, 2)  # view by view, row by row
        every = torch.cat([positions, torch.zeros_like(positions[:1])])[:, None, :, None, None]
        tables = (None if table is None else table.expand(every.shape[0], -1) for table in (continuous, categories))
        return self.classify(every, *tables)


class ScoreTiles(NetworkFunction):
    """Projected embeddings, float32 (tile, feature), and attention scores, float32 (tile, head), of tiles of a bag."""

    inputs = ("tiles",)
    outputs = ("projected", "scores")

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Run what concerns single tiles; ``tiles``: float32 (tile, feature)."""
        return cast("BagNetwork", self.network).score_tiles(tiles)


class ClassifyBag(NetworkFunction):
    """Logits, float32 (bag, class), of pooled embeddings, float32 (bag, head * hidden), and tabular inputs."""

    outputs = ("logits",)

    def __init__(self, network: BagNetwork) -> None:
        super().__init__(network)
        self.inputs = ("embedding", *_tabular_names(network.tabular))

    def forward(self, embedding: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Run the head."""
        return cast("BagNetwork", self.network).classify(embedding, continuous, categories)


def list_functions(network: nn.Module, config: BundleConfig) -> dict[str, NetworkFunction]:
    """Return the functions of a bundle's network by name; ``network``: in evaluation mode."""
    if config.encoder is not None:
        return {"score": ScoreTiles(network), "classify": ClassifyBag(cast("BagNetwork", network))}
    functions: dict[str, NetworkFunction] = {}
    encoder = find_encoder(network)
    if encoder is not None:
        functions["embed"] = MeanEmbedding(encoder)
        if config.is_slide_model and config.novelty_threshold is not None:
            functions["textures"] = Textures(encoder)
    if config.task == "embedding":
        return functions | {"features": CellFeatures(network)}
    if config.task == "classification":
        augmented = config.classifier is not None and config.classifier.test_time_augmentation
        return functions | _list_classifier_functions(cast("ClassifierNetwork", network), augmented=augmented)
    if config.margin_px:
        return functions | {"cells": make_cells(network, config)}
    views = config.turned_views
    functions["segment"] = Segment(network) if views is None else SegmentViews(network, views)
    if config.tile is not None:
        functions["cells"] = make_cells(network, config)
    if config.answers_prompts:
        prompted = cast("Any", network).network
        functions |= {"encode": EncodePrompted(prompted), "decode": DecodePrompts(prompted)}
    return functions


def make_cells(network: nn.Module, config: BundleConfig) -> Cells | CellClasses:
    """Return the function for dense maps of a bundle's network; see ``list_functions``."""
    if not config.margin_px:
        return Cells(network, len(config.classes))
    inner = cast("Any", network).network
    return CellClasses(inner, len(config.classes), config.margin_px // inner.cell_px)


def _list_classifier_functions(network: ClassifierNetwork, *, augmented: bool) -> dict[str, NetworkFunction]:
    functions: dict[str, NetworkFunction] = {
        "encode": EncodeLesion(network, augmented=augmented),
        "classify": ClassifyLesion(network),
        "classify_positions": ClassifyPositions(network),
    }
    if network.predicts_depth:
        functions["depth"] = Depth(network)
    if network.has_spatial_attention:
        functions["attention"] = Attention(network, augmented=augmented)
    return functions


def make_examples(functions: Mapping[str, NetworkFunction], config: BundleConfig) -> dict[str, Tensor]:
    """Return an example of each input, for recording; fixed ones have a first axis of 1.

    ``functions``: from ``list_functions``, of a network on the CPU.
    """
    side = config.input_size
    image = torch.linspace(-1, 1, EXAMPLES * 3 * side * side).view(EXAMPLES, 3, side, side)
    examples = {IMAGE: image, "maps": torch.zeros(EXAMPLES, PROMPT_MAPS, side, side)}
    with torch.inference_mode():
        if "encode" in functions:
            outputs = functions["encode"](image)
            examples |= dict(zip(functions["encode"].outputs, outputs, strict=True))
    if "score" in functions:
        network = cast("BagNetwork", functions["score"].network)
        examples["tiles"] = torch.zeros(EXAMPLES, network.features)
        examples["embedding"] = torch.zeros(EXAMPLES, network.embedding_width)
    if "classify" in functions:
        shape = cast("ClassifierNetwork | BagNetwork", functions["classify"].network).tabular
        examples[CONTINUOUS] = torch.zeros(EXAMPLES, shape.continuous)
        examples[CATEGORIES] = torch.zeros(EXAMPLES, len(shape.cardinalities), dtype=torch.int64)
    return {
        name: example.clone() for name, example in examples.items()
    }  # tensors of the inference mode are not recorded


def measure_offset(network: nn.Module, config: BundleConfig, device: str = "cpu") -> float | None:
    """Measure the offset of a classifier's receptive fields from the centers of the cells of its deepest map.

    The padding of strided convolutions shifts receptive fields: in an input of 224 pixels, by 16 pixels to the upper
    left in a ResNet, by 16 to the lower right in networks from TensorFlow, and not at all in ConvNeXt. The offset is
    measured with noise as input, as the center of the squared gradient of the central positions; squaring suppresses
    weak contributions from the whole image.

    Returns the offset along both axes in pixels of the input, positive towards the lower right, at most half a cell;
    None for other networks.
    """
    if config.task != "classification" or config.encoder is not None:
        return None
    side = config.input_size
    noise = torch.randn(NOISE_IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
    images = noise.to(device).requires_grad_()
    offsets = []
    with torch.enable_grad():
        deepest = cast("ClassifierNetwork", network).encode(images)[-1]
        stride = side / deepest.shape[-1]
        for position in {deepest.shape[-1] // 2, (deepest.shape[-1] - 1) // 2}:
            activation = deepest[:, :, position, position].square().sum()
            gradient = torch.autograd.grad(activation, images, retain_graph=True)[0].square().sum(dim=1)
            for axis in (1, 2):
                weights = gradient.sum(dim=axis)
                center = (weights * torch.arange(side, device=device)).sum(dim=1) / weights.sum(dim=1)
                offsets.append(center - ((position + 0.5) * stride - 0.5))
    offset = float(torch.cat(offsets).nanmean())  # NaN where all gradients are 0
    return min(max(offset, -stride / 2), stride / 2) if offset == offset else 0.0


class PhotographNetwork(nn.Module):
    """A bundle's network with everything around it that other programs would have to repeat.

    This is the normalization, the mean over turned and mirrored images and, for a classifier, temperature, bias and
    softmax.
    """

    mean: Tensor
    std: Tensor
    bias: Tensor

    def __init__(self, network: nn.Module, config: BundleConfig) -> None:
        super().__init__()
        classifier = config.classifier
        self.network = network
        self.tabular: TabularShape | None = getattr(network, "tabular", None)
        self.views: int = config.turned_views or 1
        if classifier is not None and classifier.test_time_augmentation:
            self.views = len(VIEWS)
        self.temperature = None if classifier is None else classifier.temperature
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1))
        bias = classifier.bias if classifier is not None else ()
        self.register_buffer("bias", torch.tensor(bias or (0.0,)))
        self.eval()

    def forward(self, images: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Return the values for a batch of images.

        ``images``: uint8 RGB (batch, row, column, channel=3). ``continuous``: float (batch, input). ``categories``:
        int64 (batch, embedding). Returns logits, float (batch, class, row, column), or the calibrated probabilities of
        a classifier, float (batch, class).
        """
        pixels = (images.permute(0, 3, 1, 2).float() / 255.0 - self.mean) / self.std
        if self.temperature is None:
            return segment_views(self.network, pixels, self.views).mean(1)
        views = make_views(pixels, self.views)
        given = {"continuous": continuous, "categories": categories}
        table = {name: repeat_for_views(values, views.shape[1]) for name, values in given.items() if values is not None}
        logits: Tensor = self.network(views.flatten(0, 1), **table).unflatten(0, (-1, views.shape[1])).mean(1)
        return (logits / self.temperature + self.bias).softmax(1)
