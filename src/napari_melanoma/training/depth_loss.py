"""The loss of a depth that is told beside the class; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import smooth_l1_loss

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork
    from napari_melanoma.training.depth_learning import DepthConfig

SUREST = -6.0  # logarithm of the least variance: a twentieth of the spread of all depths


class DepthLoss(nn.Module):
    """Compares the depth that a network tells with what was measured, on the network's own scale."""

    def __init__(self, config: DepthConfig) -> None:
        super().__init__()
        self._config = config

    def forward(self, network: BiomarkerNetwork, told: Tensor, mm: Tensor) -> Tensor:
        """Give what is added to the loss of the class, a scalar.

        ``told``: float (batch, 1 or 2), as ``told_depth`` gives it. ``mm``: float (batch,), NaN where nobody measured:
        those count nothing.
        """
        known = ~mm.isnan()
        true = network.standardised(mm.nan_to_num())
        if self._config.loss == "gaussian_nll":
            logarithm = told[:, 1].clamp(min=SUREST)
            each = 0.5 * (logarithm + (told[:, 0] - true).square() * (-logarithm).exp())
        else:
            each = smooth_l1_loss(told[:, 0], true, reduction="none")
        # Multiplied and not left out: every weight has a gradient, whichever cases a batch holds.
        return self._config.weight * (each * known).sum() / known.sum().clamp(min=1)
