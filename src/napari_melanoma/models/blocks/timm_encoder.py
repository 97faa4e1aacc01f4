"""Encoders of timm for our networks, readouts of histology encoders, and texture features; imports torch.

The deepest maps of an encoder describe content and ignore texture: in them, tiles of real and synthetic slides are
close to each other. Maps at an eighth of the side still respond to fibers and nuclei, which separates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.torch_inference import memory_layout

CHANNELS_LAST = "NHWC"  # format of the maps of window transformers
STRIDE = 32  # downsampling factor of the deepest maps of nearly all encoders
HEADS = 8  # of the attention pooling


class TimmEncoder(nn.Module):
    """A network of timm without its head, with random weights.

    If the position embeddings are for one image size (EfficientFormerV2, vision transformers), images are resized to
    that size, so that published weights remain valid. ``left_off``: number of the last levels to omit.
    """

    def __init__(self, name: str, output_stride: int = STRIDE, left_off: int = 0) -> None:
        super().__init__()
        self.name = name
        arguments: dict[str, Any] = {} if output_stride == STRIDE else {"output_stride": output_stride}
        self.model = _create_model(name, arguments)
        if left_off:
            self.model = _create_shortened(name, arguments, self.model, left_off)
        feature_info: Any = self.model.feature_info
        self.features: int = feature_info.channels()[-1]
        self.side = _find_fixed_side(name)
        self._is_channels_last = str(getattr(self.model, "output_fmt", "")).endswith(CHANNELS_LAST)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return feature maps, the deepest last, each (batch, channel, row, column), of images (batch, 3, ...)."""
        if self.side is not None and images.shape[-2:] != (self.side, self.side):
            images = interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        maps = self.model(images)
        if not self._is_channels_last:
            return list(maps)
        return [level.permute(0, 3, 1, 2).contiguous(memory_format=memory_layout(level.device)) for level in maps]


class CellEncoder(nn.Module):
    """Features of the cells of a tile: the mean of the last ``joined`` levels of an encoder over each cell."""

    def __init__(self, encoder: TimmEncoder, joined: int, cell_px: int) -> None:
        super().__init__()
        self.encoder = encoder
        self._joined, self.cell_px = joined, cell_px

    def forward(self, images: Tensor) -> Tensor:
        """Return features, (batch, feature, cell row, cell column), of normalized images (batch, 3, row, column)."""
        columns = images.shape[-1] // self.cell_px
        levels = self.encoder(images)[-self._joined :]
        return torch.cat([avg_pool2d(level, level.shape[-1] // columns) for level in levels], dim=1)


class CellNetwork(CellEncoder):
    """Logits of the cells of a tile: linear in the features of each cell and of the squares around it.

    With the weights of an encoder and of a linear tissue classifier in its head, it predicts what that predicts.
    """

    def __init__(
        self, encoder: TimmEncoder, joined: int, cell_px: int, *, contexts: Sequence[int], classes: int
    ) -> None:
        super().__init__(encoder, joined, cell_px)
        self._contexts = contexts
        levels: Any = encoder.model.feature_info
        width = sum(levels.channels()[-joined:])
        self.head = nn.Conv2d(width * len(contexts), classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (batch, class, row, column), constant in cells, of normalized images (batch, 3, ...)."""
        return interpolate(self.classify_cells(images), scale_factor=float(self.cell_px))

    def classify_cells(self, images: Tensor) -> Tensor:
        """Return logits, (batch, class, cell row, cell column), of normalized images (batch, 3, row, column)."""
        features = super().forward(images)
        means = [avg_pool2d(features, side, 1, side // 2, count_include_pad=False) for side in self._contexts]
        logits: Tensor = self.head(torch.cat(means, dim=1))
        return logits


class MeanColor(nn.Module):
    """A substitute for an encoder in networks of tabular inputs only: the mean color of the image, without weights.

    It provides the maps and embeddings that code expects from every classifier.
    """

    features = 3

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map, (batch, 3, 1, 1), of images (batch, 3, row, column)."""
        return [images.mean(dim=(2, 3), keepdim=True)]


def _create_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build an encoder with timm; its errors are translated."""
    import timm

    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"timm has no encoder named '{name}'.{hint}")
    try:
        return timm.create_model(name, pretrained=False, features_only=True, **arguments)
    except (
        TypeError,
        ValueError,
        KeyError,
        RuntimeError,
        AttributeError,
        NotImplementedError,
        AssertionError,
    ) as error:
        given = f" with {arguments}" if arguments else ""
        raise ConfigError(
            f"timm cannot build '{name}'{given} as an encoder with feature maps: {error}. "
            "Choose another encoder, or set output_stride = 32."
        ) from error


def _create_shortened(name: str, arguments: dict[str, Any], whole: nn.Module, left_off: int) -> nn.Module:
    """Build an encoder without its last levels; ``whole`` is the same encoder with all levels."""
    feature_info: Any = whole.feature_info
    levels = len(feature_info.channels())
    if left_off >= levels:
        raise ConfigError(f"'{name}' has {levels} levels, of which {left_off} are to be omitted. Keep at least one.")
    model = _create_model(name, {**arguments, "out_indices": tuple(range(levels - left_off))})
    remove_unused_blocks(model)
    return model


def remove_unused_blocks(model: nn.Module) -> None:
    """Remove the blocks after the last level of maps, which timm keeps in EfficientNets."""
    used, blocks = getattr(model, "_stage_out_idx", None), getattr(model, "blocks", None)
    if used and isinstance(blocks, nn.Sequential):
        model.blocks = blocks[: max(used)]


def _find_fixed_side(name: str) -> int | None:
    """Return the side of the only supported image size; None if any size is supported."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return config.input_size[-1] if config and config.fixed_input_size else None


class ClassAndPatchTokens(nn.Module):
    """The class token concatenated with the mean of the patch tokens, as on Virchow's page (arXiv:2309.07778).

    ``trunk``: maps images to tokens (batch, token, width). ``prefix``: number of tokens before the patch tokens.
    """

    def __init__(self, trunk: nn.Module, prefix: int) -> None:
        super().__init__()
        self.trunk = trunk
        self._prefix = prefix

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings, (batch, 2 x width), of normalized images (batch, 3, row, column)."""
        tokens = self.trunk(images)
        return torch.cat([tokens[:, 0], tokens[:, self._prefix :].mean(1)], dim=-1)


class AttentionPooler(nn.Module):
    """Attention pooling of tokens with one trained query (CoCa, arXiv:2205.01917)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, features))
        self.attn = nn.MultiheadAttention(features, HEADS, kdim=width, vdim=width, batch_first=True)
        self.ln_q = nn.LayerNorm(features)
        self.ln_k = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return pooled features, (batch, feature), of tokens (batch, token, width)."""
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)
        pooled: Tensor = self.attn(query, keys, keys, need_weights=False)[0]
        return pooled[:, 0]


class ContrastiveEncoder(nn.Module):
    """Pooled tokens of an encoder that was trained with texts (CONCH), before their projection to the text space."""

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = AttentionPooler(features, int(trunk.embed_dim))  # type: ignore[arg-type]
        self.ln_contrast = nn.LayerNorm(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings, (batch, feature), of normalized images (batch, 3, row, column)."""
        pooled: Tensor = self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(images)))  # type: ignore[operator]
        return pooled


# Of the maps for texture; finer and deeper maps separate real from phantom slides less (docs/how-to/training.md)
DOWNSAMPLING = 8
COLOR_CHANNELS = 3  # some encoders return the image itself first


def texture_features(maps: Tensor | Sequence[Tensor], side: int) -> Tensor:
    """Return a texture vector for each image.

    ``maps``: maps of an encoder, the finest first, each (batch, channel, row, column). ``side``: side of the input
    images in pixels. Returns float32 (batch, channel): the means of the deepest maps with at least an eighth of that
    side, or of the deepest maps if there are none.
    """
    levels: list[Tensor] = list(maps) if isinstance(maps, list | tuple) else [cast("Tensor", maps)]
    fine = [level for level in levels if level.shape[1] > COLOR_CHANNELS and level.shape[-1] * DOWNSAMPLING >= side]
    texture: Tensor = (fine or levels)[-1].float().mean(dim=(2, 3))
    return texture
