"""Encoders of timm for our networks, convolutional or transformer, and texture from their fine maps; imports torch.

The deepest maps of an encoder describe content and ignore texture: in them, tiles of real slides are close to tiles of
synthetic ones. At an eighth of the side an encoder still responds to fibers and nuclei, which separates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.functional import interpolate

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.inference import memory_layout

if TYPE_CHECKING:
    from torch import Tensor


CHANNELS_LAST = "NHWC"  # format of the maps of window transformers
STRIDE = 32  # downsampling factor of the deepest maps of nearly all encoders
HEADS = 8


class TimmEncoder(nn.Module):
    """A network of timm without its head, with random weights.

    If its positions depend on one image size (EfficientFormerV2, vision transformers), images are resized to that size,
    so that published weights remain valid.
    """

    def __init__(self, name: str, output_stride: int = STRIDE, left_off: int = 0) -> None:
        super().__init__()
        self.name = name
        arguments: dict[str, Any] = {} if output_stride == STRIDE else {"output_stride": output_stride}
        self.model = _create_model(name, arguments)
        if left_off:
            self.model = _create_shortened(name, arguments, self.model, left_off)
        about: Any = self.model.feature_info
        self.features: int = about.channels()[-1]
        self.side = _find_fixed_side(name)
        self._last = str(getattr(self.model, "output_fmt", "")).endswith(CHANNELS_LAST)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return feature maps, the deepest last, each (batch, channel, row, column), of images (batch, 3, ...)."""
        if self.side is not None and not (not torch.jit.is_tracing() and images.shape[-2:] == (self.side, self.side)):
            images = interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        maps = self.model(images)
        if not self._last:
            return list(maps)
        return [level.permute(0, 3, 1, 2).contiguous(memory_format=memory_layout(level.device)) for level in maps]


class MeanColor(nn.Module):
    """A substitute for an encoder in networks of tabular inputs only: the mean color of the image, without weights.

    It provides maps and embeddings for code that expects them of every classifier.
    """

    features = 3

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map, (batch, 3, 1, 1), of images (batch, 3, row, column)."""
        return [images.mean(dim=(2, 3), keepdim=True)]


def _create_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build with timm, and explain its errors."""
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
    """Build the network without its last levels."""
    about: Any = whole.feature_info
    levels = len(about.channels())
    if left_off >= levels:
        raise ConfigError(f"'{name}' has {levels} levels, of which {left_off} are to be omitted. Keep at least one.")
    model = _create_model(name, {**arguments, "out_indices": tuple(range(levels - left_off))})
    used, blocks = getattr(model, "_stage_out_idx", None), getattr(model, "blocks", None)
    if used and isinstance(blocks, nn.Sequential):  # EfficientNets keep unused blocks
        model.blocks = blocks[: max(used)]
    return model


def _find_fixed_side(name: str) -> int | None:
    """Side of the only supported image size; None if any size is supported."""
    import timm

    known = timm.get_pretrained_cfg(name)
    return known.input_size[-1] if known and known.fixed_input_size else None


class ClassAndPatchTokens(nn.Module):
    """The class token concatenated with the mean of the patch tokens, as on Virchow's page (arXiv:2309.07778).

    ``trunk``: maps images to tokens (batch, token, width).
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
    """The pooled tokens of an encoder trained with texts, before the projection to their space (CONCH)."""

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = AttentionPooler(features, int(trunk.embed_dim))  # type: ignore[arg-type]
        self.ln_contrast = nn.LayerNorm(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings, (batch, feature), of normalized images (batch, 3, row, column)."""
        pooled: Tensor = self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(images)))  # type: ignore[operator]
        return pooled


# Factor of the side; on real and phantom slides, finer and deeper maps separate less (docs/how-to/training.md).
DOWNSAMPLING = 8
COLOR_CHANNELS = 3  # some encoders return the image itself first


def texture_features(maps: Tensor | Sequence[Tensor], side: int) -> Tensor:
    """Return images as one texture vector each.

    ``maps``: of an encoder, the finest first, each (batch, channel, row, column). ``side``: of its input images, in
    pixels. Returns float32 (batch, channel): means of the deepest maps with at least an eighth of the side, or of the
    deepest of all if there are none.
    """
    every: list[Tensor] = list(maps) if isinstance(maps, list | tuple) else [cast("Tensor", maps)]
    fine = [each for each in every if each.shape[1] > COLOR_CHANNELS and each.shape[-1] * DOWNSAMPLING >= side]
    found: Tensor = (fine or every)[-1].float().mean(dim=(2, 3))
    return found
