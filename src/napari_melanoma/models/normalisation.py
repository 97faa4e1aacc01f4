"""Weights of a network whose batch normalisation adds another epsilon to the variance, made to compute the same here.

Official DeepLab files were made with 1e-3 in the encoder, most PyTorch files with 1e-5. Where a variance is small, as
it is behind convolutions channel by channel, that is another network; the factor gamma takes the difference up exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Find every batch normalisation of a network.

    By name, in the order in which the network has them.
    """
    from torch import nn

    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def refitted(
    weights: Mapping[str, Tensor], norms: Mapping[str, nn.BatchNorm2d], epsilons: Mapping[str, float]
) -> dict[str, Tensor]:
    """Change the factors of batch normalisation so that ``gamma / sqrt(variance + epsilon)`` stays what it was.

    Returns the same where nothing differs, or where factor and variance are not both there.
    """
    changed = dict(weights)
    for name, norm in norms.items():
        gamma, variance = weights.get(f"{name}.weight"), weights.get(f"{name}.running_var")
        if gamma is None or variance is None or norm.eps == epsilons[name]:
            continue
        exact = variance.double()
        factor = ((exact + norm.eps) / (exact + epsilons[name])).sqrt()
        changed[f"{name}.weight"] = (gamma.double() * factor).to(gamma.dtype)
    return changed
