"""P3's network: image features with spatial attention, a depth module and clinical metadata; imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from napari_melanoma.core.prediction_config import DepthInputConfig, DepthScale, TabularShape
from napari_melanoma.models.blocks.bags import GatedAttention
from napari_melanoma.models.blocks.classifier import ClassifierNetwork, FusionBlock, LayeredHead, RowNorm, pool_maps
from napari_melanoma.models.blocks.options import BiomarkerConfig, FusionConfig
from napari_melanoma.models.blocks.timm_encoder import MeanColor, TimmEncoder


class BiomarkerNetwork(ClassifierNetwork):
    """A classifier of image, depth and clinical metadata, which also predicts the depth.

    The deepest maps are the encoder's, weighted by attention, followed by the depth maps: one whose mean is the
    standardized depth and, for heteroscedastic networks, one whose mean is the logarithm of its variance. So the
    deepest maps contain everything from which class and depth are computed.
    """

    def __init__(self, config: BiomarkerConfig) -> None:
        encoder_options = (config.encoder, config.output_stride, config.levels_left_off)
        encoder = TimmEncoder(*encoder_options) if config.needs_encoder else MeanColor()
        narrowed = config.image_maps if config.use_image else 0
        image_features = (narrowed or encoder.features) if config.use_image or not config.predicts_depth else 0
        fusion = BranchFusion(image_features, config)
        head = LayeredHead(fusion.width, config.hidden, config.classes, config.head_dropout)
        uses_inputs = config.use_table or config.measured is not None
        super().__init__(encoder, fusion, head, config.tabular if uses_inputs else TabularShape())
        self.image_features = image_features
        self.narrow = ChannelReduction(encoder.features, narrowed) if narrowed else None
        attention_options = (config.attention_kernel, config.attention_shares, config.attention_start)
        self.attention = SpatialAttention(*attention_options) if config.uses_attention else None
        self.depth: nn.Module | None = None
        if config.predicts_depth:
            outputs = 2 if config.heteroscedastic else 1
            shape = (config.depth_channels, config.depth_grid, outputs, config.depth_normalisation)
            is_pooled = config.depth_module == "attention"
            self.depth = DepthAttention(encoder.features, outputs) if is_pooled else DepthConvolutions(*shape)
        self.scale = config.depth_scale

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return feature maps, the deepest last: weighted by attention and followed by the depth maps.

        ``images``: normalized float (batch, 3, row, column), of constant scale if depth is predicted. Returns maps of
        float (batch, channel, row, column).
        """
        *before, deepest = cast("list[Tensor]", self.encoder(images))
        weighted = deepest if self.narrow is None else self.narrow(deepest)
        weighted = weighted if self.attention is None else self.attention(weighted)
        if self.depth is None:
            return [*before, weighted]
        depth = self.depth(images, deepest)
        if not self.image_features:
            return [*before, depth]
        return [*before, torch.cat([weighted, resize_map(depth, weighted)], dim=1)]

    @property
    def predicts_depth(self) -> bool:
        return self.depth is not None

    @property
    def image_maps(self) -> int:
        """Number of the deepest maps that describe the image; the depth maps follow."""
        return self.image_features

    @property
    def has_spatial_attention(self) -> bool:
        return self.attention is not None

    def predict_depth(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict the depth from feature maps.

        Returns float (batch, 1 or 2): standardized depth and, for heteroscedastic networks, the logarithm of its
        variance.
        """
        return pool_maps(maps[-1][:, self.image_features :])

    def compute_attention(self, images: Tensor) -> Tensor | None:
        """Return the spatial attention weights.

        ``images``: normalized float (batch, 3, row, column). Returns float (batch, 1, row, column) in [0, 1]; None
        without attention.
        """
        if self.attention is None:
            return None
        deepest: Tensor = self.encoder(images)[-1]
        return self.attention.weights(deepest if self.narrow is None else self.narrow(deepest))

    def to_mm(self, depth: Tensor) -> Tensor:
        """Convert standardized depths to mm, 0 or more."""
        return depth_to_mm(depth, self.scale)

    def standardize(self, mm: Tensor) -> Tensor:
        """Convert mm to standardized depths."""
        return standardize_depth(mm, self.scale)


class DepthInput(nn.Module):
    """Encodes the depth as inputs of the classifier: as a number, one-hot by bins, or both.

    A measured depth, if it is known, takes precedence over the predicted one.
    """

    def __init__(self, config: BiomarkerConfig) -> None:
        super().__init__()
        self._scale, self._encoding = config.depth_scale, config.depth_encoding
        self._measured = config.measured if config.depth_source == "measured" else None
        self.register_buffer("edges", torch.tensor(config.depth_edges), persistent=False)
        bins = 0 if self._encoding == "number" else len(config.depth_edges) + 1
        self.width = bins + (self._encoding != "one_hot")

    edges: Tensor

    def forward(self, predicted: Tensor, continuous: Tensor | None) -> Tensor:
        """Return the inputs, float (batch, width).

        ``predicted``: standardized depth predicted from the image, float (batch, 1). ``continuous``: float (batch,
        input), including the measured depth if there is one.
        """
        depth = (
            predicted
            if self._measured is None or continuous is None
            else self._insert_measured(predicted, continuous, self._measured)
        )
        parts = [] if self._encoding == "one_hot" else [depth]
        if self._encoding != "number":
            above = (depth_to_mm(depth, self._scale) >= self.edges).to(depth.dtype)
            ones = torch.ones_like(depth)
            parts.append(torch.cat([ones, above], dim=1) - torch.cat([above, 0 * ones], dim=1))
        return torch.cat(parts, dim=1)

    def _insert_measured(self, predicted: Tensor, continuous: Tensor, config: DepthInputConfig) -> Tensor:
        """Return the measured depth on the network's scale, or the predicted one if it is unknown."""
        first = config.place  # the measured depth; the next input indicates that it is unknown
        number, unknown = continuous[:, first : first + 1], continuous[:, first + 1 : first + 2]
        measured = standardize_depth(number * config.std + config.mean, self._scale)
        return torch.where(unknown < 0.5, measured.to(predicted.dtype), predicted)


class BranchFusion(FusionBlock):
    """Concatenates the enabled branches: image features, depth and clinical metadata."""

    def __init__(self, features: int, config: BiomarkerConfig) -> None:
        measured = config.measured if config.depth_source == "measured" else None
        shape = config.tabular if config.use_table else TabularShape()
        if measured and config.use_table:  # two of the numbers belong to the measured depth
            shape = shape.model_copy(update={"continuous": shape.continuous - 2})
        super().__init__(features, FusionConfig(tabular=shape))
        self._image = features if config.use_image else 0
        self._depth_map = features
        self._depth_index = measured.place if measured else None
        self.depth = DepthInput(config) if config.predicts_depth and config.depth_source != "none" else None
        self.image_dropout = nn.Dropout(config.image_dropout)
        self.image_norm = RowNorm(features) if config.image_normalised and self._image else nn.Identity()
        self._gain = config.image_gain
        self.width = self._image + shape.width + (self.depth.width if self.depth else 0)

    def forward(self, maps: Tensor, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Return vectors, float (batch, width), from the deepest maps and both types of tabular inputs."""
        means = pool_maps(maps)
        parts = [self._gain * self.image_dropout(self.image_norm(means[:, : self._image]))] if self._image else []
        if self.depth is not None:
            parts.append(self.depth(means[:, self._depth_map : self._depth_map + 1], continuous))
        if self.table is not None and self.table.width:
            parts.append(self.table(self._without_measured_depth(continuous), categories))
        return torch.cat(parts, dim=1)

    def _without_measured_depth(self, continuous: Tensor | None) -> Tensor | None:
        """Return the numeric inputs without the two that belong to the measured depth."""
        if continuous is None or self._depth_index is None:
            return continuous
        return torch.cat([continuous[:, : self._depth_index], continuous[:, self._depth_index + 2 :]], dim=1)


def depth_to_mm(depth: Tensor, scale: DepthScale) -> Tensor:
    """Convert standardized depths to mm, 0 or more."""
    value = depth * scale.std + scale.mean
    return (torch.expm1(value) if scale.log else value).clamp(min=0)


def standardize_depth(mm: Tensor, scale: DepthScale) -> Tensor:
    """Convert mm to standardized depths, on the scale of a network."""
    value = mm.clamp(min=0)
    return ((torch.log1p(value) if scale.log else value) - scale.mean) / scale.std


FILTER_SIZE = 3  # side of a convolution; not stated in P3
POOL_SIZE = 2  # side and stride of a max-pool
ATTENTION_FEATURES = 128  # features per position in the depth attention


class DepthConvolutions(nn.Module):
    """P3's percolation depth module: convolutions with max-pooling and ReLU, then a regression over all positions.

    The regression is a linear layer, which needs a fixed number of values: so the last maps are averaged over a grid.
    """

    def __init__(self, channels: Sequence[int], grid: int, outputs: int, normalization: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            layers.append(nn.Conv2d(before, after, FILTER_SIZE, padding=FILTER_SIZE // 2))
            layers += [nn.BatchNorm2d(after)] if normalization else []
            layers += [nn.MaxPool2d(POOL_SIZE), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.grid = grid
        self.weight = nn.Parameter(torch.randn(outputs, channels[-1], grid, grid) / (channels[-1] ** 0.5 * grid))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Return the contribution of each grid position.

        ``images``: normalized float (batch, 3, row, column). Returns float (batch, output, row, column); the mean
        over the positions is the depth.
        """
        pooled = pool_to_grid(self.layers(images), self.grid)
        return (pooled[:, None] * self.weight).sum(dim=2) * self.grid**2 + self.bias  # the mean equals a linear layer


def pool_to_grid(maps: Tensor, side: int) -> Tensor:
    """Average maps (batch, channel, row, column) over the cells of a square grid, as ``adaptive_avg_pool2d`` does.

    On Apple's GPUs that function cannot pool cells of different sizes.
    """
    is_even = all(size % side == 0 for size in maps.shape[-2:])
    return adaptive_avg_pool2d(maps, side) if is_even or maps.device.type != "mps" else _multiply_by_weights(maps, side)


def _multiply_by_weights(maps: Tensor, side: int) -> Tensor:
    """Average maps over the cells of a square grid, as a product of matrices."""
    rows, columns = (_cell_weights(size, side).to(maps) for size in maps.shape[-2:])
    return torch.einsum("gr,bcrk,hk->bcgh", rows, maps, columns)


def _cell_weights(size: int, cells: int) -> Tensor:
    """Return the weight of each position in the mean of each cell, (cell, position)."""
    weights = torch.zeros(cells, size)
    for cell in range(cells):
        first, end = cell * size // cells, -(-(cell + 1) * size // cells)
        weights[cell, first:end] = 1 / (end - first)
    return weights


class DepthAttention(nn.Module):
    """Attention pooling of the encoder's deepest maps: the depth is a weighted mean over their positions.

    Gated attention of Ilse et al. 2018, arXiv:1802.04712, equation 9, with positions as instances.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(features, ATTENTION_FEATURES), nn.ReLU())
        self.attention = GatedAttention(ATTENTION_FEATURES, ATTENTION_FEATURES, 1, True)
        self.tell = nn.Linear(ATTENTION_FEATURES, outputs)  # the name is a key of stored weights

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Return the contribution of each map position.

        ``maps``: the encoder's deepest, float (batch, channel, row, column). Returns float (batch, output, row,
        column); the mean over the positions is the depth.
        """
        positions = self.project(maps.flatten(2).transpose(1, 2))
        weights = self.attention(positions).softmax(dim=1)
        depth = self.tell(positions) * weights * positions.shape[1]
        return depth.transpose(1, 2).unflatten(2, maps.shape[-2:])


def resize_map(depth_map: Tensor, like: Tensor) -> Tensor:
    """Resize a map to the size of another and keep its mean.

    ``depth_map``: float (batch, output, row, column). ``like``: float (batch, channel, row, column), of the target
    size. Returns float (batch, output, row, column).
    """
    resized = interpolate(depth_map, like.shape[-2:], mode="bilinear", align_corners=False)
    return resized + (depth_map.mean(dim=(2, 3), keepdim=True) - resized.mean(dim=(2, 3), keepdim=True))


class SpatialAttention(nn.Module):
    """Weights the positions of maps: ``A(x) = sigmoid(W . concat(avgpool(x), maxpool(x)))``, ``x' = A(x) x``.

    P3, equations 1 and 2. P3 does not state the extent of W; here the maps are pooled over the channels and W is a
    convolution, as in Woo et al. 2018 (arXiv:1807.06521).
    """

    def __init__(self, kernel: int, shares: bool = False, start: float = 0.0) -> None:
        super().__init__()
        self._shares = shares
        self.weigh = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        nn.init.zeros_(self.weigh.weight)
        nn.init.constant_(self.weigh.weight[..., kernel // 2, kernel // 2], start)

    def weights(self, maps: Tensor) -> Tensor:
        """Return A(x).

        ``maps``: float (batch, channel, row, column). Returns float (batch, 1, row, column), each between 0 and 1.
        """
        pooled = torch.cat([maps.mean(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)], dim=1)
        logits: Tensor = self.weigh(pooled)
        return logits.sigmoid()

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``A(x) x``; input and output are (batch, channel, row, column)."""
        weights = self.weights(maps)
        return maps * (weights / weights.mean(dim=(2, 3), keepdim=True) if self._shares else weights)


class ChannelReduction(nn.Sequential):
    """Reduces the maps of an encoder to fewer, non-negative maps: a 1 x 1 convolution, normalization and ReLU.

    Some encoders have no final ReLU, and the mean and maximum of values of either sign are a poor measure of the
    strength of features at a position.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__(nn.Conv2d(features, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
