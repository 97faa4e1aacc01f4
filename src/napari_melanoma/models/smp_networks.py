"""Build networks of segmentation-models-pytorch, with encoders of that library or of timm."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

TIMM_PREFIX = "tu-"  # prefix of timm encoders in segmentation-models-pytorch


def find_encoder_name(encoder: str) -> str:
    """Return the name of an encoder in segmentation-models-pytorch: its own, or that in timm with a prefix."""
    import timm
    from segmentation_models_pytorch.encoders import get_encoder_names

    smp_names = get_encoder_names()
    timm_name = encoder.removeprefix(TIMM_PREFIX)
    if encoder in smp_names:
        return encoder
    if timm.is_model(timm_name):
        return f"{TIMM_PREFIX}{timm_name}"
    similar = get_close_matches(timm_name, {*smp_names, *timm.list_models()}, n=3)
    hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
    raise ConfigError(f"neither segmentation-models-pytorch nor timm has an encoder named '{encoder}'.{hint}")


def build_smp(network: Callable[..., nn.Module], encoder: str, classes: int, **arguments: Any) -> nn.Module:  # noqa: ANN401 - arguments of that network
    """Build a network of segmentation-models-pytorch with random weights.

    Maps float (batch, 3, row, column) to logits (batch, class, row, column).
    """
    name = find_encoder_name(encoder)
    try:
        return _build(network, encoder_name=name, encoder_weights=None, in_channels=3, classes=classes, **arguments)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        title = getattr(network, "__name__", str(network))
        given = f" with {arguments}" if arguments else ""
        raise ConfigError(
            f"segmentation-models-pytorch cannot build {title} over '{encoder}'{given}: {error}. "
            "Choose another encoder, or remove its arguments."
        ) from error


def _build(network: Callable[..., nn.Module], **arguments: Any) -> nn.Module:  # noqa: ANN401 - arguments of that network
    """Build on the current device; if that is "meta" and the network reads values of its tensors, build on the CPU."""
    import torch

    try:
        return network(**arguments)
    except RuntimeError as error:
        if "meta tensors" not in str(error):
            raise
        with torch.device("cpu"):
            return network(**arguments).to("meta")
