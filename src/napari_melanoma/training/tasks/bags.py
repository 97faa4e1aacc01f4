"""Classification of whole slides as a Lightning module; imports torch, so import it inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_melanoma.training.callbacks import DistributedRows
from napari_melanoma.training.losses import make_class_loss
from napari_melanoma.training.monitor import MONITORS
from napari_melanoma.training.tasks.classification import balanced_accuracy, class_weights, macro_auc
from napari_melanoma.training.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from napari_melanoma.data.bags import Bag
    from napari_melanoma.models.blocks.bags import BagNetwork, PooledBag
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.bags import BagBatch
    from napari_melanoma.training.recipe import TrainRecipe


class BagTask(Task):
    """A network trained to classify slides from the embeddings of their tiles.

    After each epoch ``metrics`` holds ``loss``, ``tuning_loss``, ``tuning_auc`` and ``tuning_accuracy``; validation
    uses all tiles of a slide.

    ``network``: maps a bag to logits (class,).
    """

    network: BagNetwork
    _weights: Tensor | None

    def __init__(self, network: BagNetwork, recipe: TrainRecipe, bundle: BundleConfig, counts: Sequence[int]) -> None:
        super().__init__(network, recipe, bundle)
        assert recipe.classification is not None
        self._config = recipe.classification
        self._classes = len(bundle.classes)
        self._positive = bundle.classes.index(self._config.positive)
        weights = class_weights(counts) if self._config.class_weight == "balanced" else None
        self.register_buffer("_weights", weights, persistent=False)
        self._tuning = DistributedRows(2 * self._classes)

    def pool(self, bag: Bag) -> PooledBag:
        """Return the logits, the embedding of the slide, and the weights of all its tiles."""
        return self.network.pool_chunks(_tensors(bag))

    def loss(self, logits: Tensor, shares: Tensor) -> Tensor:
        config = self._config
        return make_class_loss(self.recipe.loss, self._weights, config.focal_gamma, config.label_smoothing)(
            logits, shares
        )

    def batch_loss(self, batch: BagBatch) -> Tensor:
        """Compute the loss of some tiles of each slide."""
        return self.loss(torch.stack([self.network(tiles) for tiles in batch.bags]), batch.shares)

    def validation_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Store the predictions; processes with fewer slides get empty batches at the end."""
        if len(batch.bags):
            logits = torch.stack([self.pool(bag).logits for bag in batch.bags])
            self._tuning.add(batch.keys[:, 1], torch.cat([logits, batch.shares.to(logits.device)], dim=1))

    def on_validation_epoch_start(self) -> None:
        """Discard the predictions of an interrupted validation."""
        self._tuning = DistributedRows(2 * self._classes)

    def on_validation_epoch_end(self) -> None:
        """Evaluate all validation slides at once."""
        logits, shares = self._tuning.gather(self.device).split(self._classes, dim=1)
        loss = float(self.loss(logits.to(self.device), shares.to(self.device)))
        labels, probabilities = shares.argmax(1).numpy(), logits.double().softmax(1).numpy()
        measured = (macro_auc(probabilities, labels, self._positive), balanced_accuracy(probabilities, labels))
        names = [name for name, _ in MONITORS["classification"].measures]
        self.metrics = {"tuning_loss": loss, **dict(zip(names, measured, strict=True))}


def _tensors(bag: Bag) -> Iterator[Tensor]:
    """Tiles of a slide in chunks."""
    for embeddings in bag.iter_embeddings():
        yield torch.from_numpy(embeddings)
