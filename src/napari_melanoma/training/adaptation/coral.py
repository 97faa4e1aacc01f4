"""CORAL: features of two domains learn to vary alike, by the distance of their covariances; needs torch.

Sun and Saenko 2016, doi:10.1007/978-3-319-49409-8_35.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def coral_loss(features: Tensor, domains: Tensor) -> Tensor:
    """Distance between the covariances of domains, the mean over all pairs of them.

    ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0; a domain of fewer than two in the
    batch has no covariance and is left out. A scalar: the squared Frobenius norm of the difference, over four times the
    square of the number of features; 0 where fewer than two domains are there.
    """
    known, counts = torch.unique(domains, return_counts=True)
    found = [_covariance(features[domains == domain]) for domain in known[counts > 1]]
    pairs = [(one - other).square().sum() for one, other in combinations(found, 2)]
    if not pairs:
        return 0 * features.float().sum()
    return torch.stack(pairs).mean() / (4 * features.shape[1] ** 2)


def _covariance(features: Tensor) -> Tensor:
    """Covariance of features, float32 (feature, feature), however imprecise they come."""
    with torch.autocast(features.device.type, enabled=False):
        apart = features.float() - features.float().mean(dim=0)
        return apart.T @ apart / (len(features) - 1)
