"""Methods of domain adaptation: adversarial, CORAL, Fourier mixing, pseudo-labels and AdaBN; imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.models.blocks.classifier import RowNorm

RAMP_STEEPNESS = 10.0  # gamma in Ganin et al. 2016
MAX_INTENSITY = 255.0
BATCH_NORM_LAYERS = (nn.BatchNorm2d, nn.BatchNorm3d)  # BatchNorm1d normalizes tabular inputs, which these batches lack


class _GradientReversal(torch.autograd.Function):
    """Identity in the forward pass; the backward pass negates and scales the gradient."""

    @staticmethod
    def forward(context: Any, features: Tensor, strength: float) -> Tensor:  # noqa: ANN401 - torch's own context
        context.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own context
        return -context.strength * gradient, None


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """Return the features unchanged; the backward pass multiplies their gradient by minus ``strength``."""
    unchanged: Tensor = _GradientReversal.apply(features, strength)
    return unchanged


def ramp_up(progress: float) -> float:
    """Return the strength of gradient reversal: 2 / (1 + exp(-10 progress)) - 1, as in Ganin et al. 2016.

    It is 0 at the start and near 1 from the middle on: an early reversal would disturb features that are not trained
    yet.

    ``progress``: share of the training that is done, 0 to 1.
    """
    return 2 / (1 + math.exp(-RAMP_STEEPNESS * progress)) - 1


class DomainAdversary(nn.Module):
    """A domain classifier behind a gradient reversal (Ganin et al. 2016).

    Training minimizes its loss with respect to its own layers and maximizes it with respect to the features.
    ``strength`` scales the reversed gradient and follows ``ramp_up`` during training.
    """

    def __init__(self, features: int, domains: int = 2, hidden: int = 64) -> None:
        super().__init__()
        self.strength = 1.0
        self.layers = nn.Sequential(nn.Linear(features, hidden), RowNorm(hidden), nn.ReLU(), nn.Linear(hidden, domains))

    def forward(self, features: Tensor, domains: Tensor) -> Tensor:
        """Return the cross-entropy of the predicted domains, a scalar.

        ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0.
        """
        return cross_entropy(self.layers(reverse_gradient(features, self.strength)).float(), domains)


def coral_loss(features: Tensor, domains: Tensor) -> Tensor:
    """Return the distance between the feature covariances of two domains, averaged over all pairs of domains.

    The distance is the squared Frobenius norm of the difference, divided by four times the squared number of features
    (Sun and Saenko 2016). Domains with fewer than two images in the batch are skipped; 0 for fewer than two domains.

    ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0. Returns a scalar.
    """
    present, counts = torch.unique(domains, return_counts=True)
    covariances = [_covariance(features[domains == domain]) for domain in present[counts > 1]]
    distances = [(first - second).square().sum() for first, second in combinations(covariances, 2)]
    if not distances:
        return 0 * features.float().sum()
    return torch.stack(distances).mean() / (4 * features.shape[1] ** 2)


def _covariance(features: Tensor) -> Tensor:
    """Return the covariance of features, float32 (feature, feature), for any precision of the input."""
    with torch.autocast(features.device.type, enabled=False):
        centered = features.float() - features.float().mean(dim=0)
        return centered.T @ centered / (len(features) - 1)


def swap_amplitudes(images: Tensor, partners: Tensor, reach: float) -> Tensor:
    """Replace the low-frequency amplitudes of images by those of their partners and keep the phases.

    ``images``, ``partners``: (batch, channel, row, column), both uint8 or both float in [0, 255]. ``reach``:
    highest exchanged frequency, as a share of the shorter side. The result has the same dtype, shape and range.
    """
    with torch.autocast(images.device.type, enabled=False):
        spectrum, partner_spectrum = torch.fft.fft2(images.float()), torch.fft.fft2(partners.float())
        low = _low_frequency_mask(images.shape[-2:], reach, images)
        mixed_spectrum = torch.polar(torch.where(low, partner_spectrum.abs(), spectrum.abs()), spectrum.angle())
        mixed = torch.fft.ifft2(mixed_spectrum).real.clamp(0, MAX_INTENSITY)
    return mixed.to(images.dtype) if images.is_floating_point() else mixed.round().to(images.dtype)


def _low_frequency_mask(sides: torch.Size, reach: float, like: Tensor) -> Tensor:
    """Return which frequencies of a transform are exchanged, bool (row, column)."""
    within = int(reach * min(sides))
    rows, columns = (torch.fft.fftfreq(side, 1 / side, device=like.device).abs() <= within for side in sides)
    return rows[:, None] & columns[None, :]


def pseudo_label_loss(logits: Tensor, min_probability: float) -> Tensor:
    """Return the cross-entropy of confident predictions with their own most probable class as label.

    The sum is divided by the number of all images, so that a few confident predictions have little weight; 0 without
    confident predictions.

    ``logits``: float (image, class) of unlabeled images. ``min_probability``: of the most probable class.
    """
    with torch.no_grad():
        probability, label = logits.softmax(1).max(1)
    losses = cross_entropy(logits, label, reduction="none")
    return losses[probability >= min_probability].sum() / max(1, len(logits))


def update_batch_norm_statistics(network: nn.Module, batches: Iterable[Sequence[Tensor]]) -> int:
    """Replace the statistics of batch normalization by those of other images (AdaBN); weights do not change.

    Li et al. 2018, doi:10.1016/j.patcog.2018.03.005.

    ``batches``: arguments of the network for each batch. Returns the number of batches.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, BATCH_NORM_LAYERS) and module.running_mean is not None
    ]
    if not norms:
        raise ConfigError(
            "adabn needs an encoder with batch normalization, but this one has none. Choose another method."
        )
    before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    count = 0
    with ExitStack() as stack, torch.no_grad():
        stack.callback(network.train, network.training)
        network.eval()
        for norm in norms:
            _reset_statistics(norm, stack)
        for batch in batches:
            network(*batch)
            count += 1
    if not count:
        for norm, state in zip(norms, before, strict=True):
            norm.load_state_dict(state)
        raise DataSetError("adabn needs images of the target domain, found none. Set a data set in `to`.")
    return count


def _reset_statistics(norm: nn.Module, stack: ExitStack) -> None:
    """Reset the statistics of a normalization layer and average them over all following batches."""
    stack.callback(setattr, norm, "momentum", norm.momentum)
    norm.reset_running_stats()  # type: ignore[operator] # torch types the methods of modules as tensors
    norm.momentum = None  # type: ignore[assignment] # None: cumulative average
    norm.train()
