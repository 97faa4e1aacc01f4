"""Networks for explanations: log odds as a function of the image alone, and the offset of heatmaps; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.models.blocks.test_time_augmentation import classify_views, encode_views

if TYPE_CHECKING:
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork


class ClassLogOdds(nn.Module):
    """Log odds of one class against the others, as a function of the image alone.

    Log odds are used instead of the logit, as a head with one output has a constant logit of 0 for the other class.

    ``table``: encoded clinical metadata, (1, input) and (1, embedding). ``target``: index of the class. ``augmented``:
    whether the logits are means over the views of the image.
    """

    def __init__(
        self,
        network: ClassifierNetwork,
        table: tuple[Tensor, Tensor],
        target: int,
        run: RunContext,
        *,
        augmented: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.augmented = augmented
        self.deepest = nn.Identity()  # for captum: a layer whose output is the deepest map, (batch * view, ...)
        self._table = table
        self._target = target
        self._run = run
        self._passes, self._expected = 0, 0

    def set_view_count(self, views: int) -> None:
        """Set the number of views that the explanation will evaluate, for its progress."""
        self._passes, self._expected = 0, views

    def forward(self, images: Tensor) -> Tensor:
        """Return log odds, float (batch,), of normalized images, float (batch, 3, row, column)."""
        self._run.check()
        deepest, _ = encode_views(self.network, images, augmented=self.augmented)
        log_odds = self._log_odds(self.deepest(deepest.flatten(0, 1)).unflatten(0, deepest.shape[:2]))
        self._passes += len(images)
        if self._expected:
            done = min(self._passes, self._expected)
            self._run.report(Progress(done, self._expected, "Preparing the explanation"))
        return log_odds

    def _log_odds(self, deepest: Tensor) -> Tensor:
        """Return the log odds of the deepest maps of the views, float (batch,)."""
        table = (part.expand(len(deepest), -1) for part in self._table)
        logits = classify_views(self.network, deepest, *table).float()
        other_logits = torch.cat([logits[:, : self._target], logits[:, self._target + 1 :]], dim=1)
        return logits[:, self._target] - torch.logsumexp(other_logits, dim=1)
