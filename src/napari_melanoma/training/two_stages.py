"""Learning in two stages: image and depth first, then the head over all that was learnt; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from napari_melanoma.training.second_loss import embedding_width

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.classifier import Classifier

LATER = ("fusion", "head")  # parts of a network that learn in both stages


class FirstStage(nn.Module):
    """A head of its own, by which the image learns the class in the first stage; no part of the model.

    The network's head learns beside it from the start, without a say in what the image learns, so that each epoch has
    answers that can be measured. In the second stage it learns alone. Of a network that tells a depth, this head gets
    the features of the image and not the depth: what that explains of the class, the image would not learn to see.
    """

    def __init__(self, network: Classifier, classes: int, epochs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self._features = network.image_maps or embedding_width(network)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self._features, classes))
        self._epochs = epochs

    def is_over(self, epoch: int) -> bool:
        """Say whether an epoch is of the second stage."""
        return epoch >= self._epochs

    def forward(self, features: Tensor) -> Tensor:
        """Give logits, float (batch, class), of the image alone, float (batch, feature); the depth stands last."""
        found: Tensor = self.head(features[:, : self._features])
        return found


def hold(network: Classifier) -> None:
    """Put all but the head out of learning's mode: statistics and dropout stay as in use."""
    for name, part in network.named_children():
        if name not in LATER:
            part.eval()
