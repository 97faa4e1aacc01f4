"""The frame of every classifier: an encoder of images, a way to join them with a table, a head; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from napari_melanoma.core.tabular import TabularShape
from napari_melanoma.models.blocks.fusion import pooled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_melanoma.models.blocks.fusion import FusionBlock


class Classifier(nn.Module):
    """A network that tells the class of a lesion from its image and a row of a table.

    ``decide(encode(images), continuous, categories)`` is ``forward``; whoever asks again with another row keeps what
    ``encode`` gave.

    ``encoder``: float (batch, 3, row, column) to maps, the deepest last. ``head``: the vector to logits.
    """

    def __init__(self, encoder: nn.Module, fusion: FusionBlock, head: nn.Module, tabular: TabularShape) -> None:
        super().__init__()
        self.encoder = encoder
        self.fusion = fusion
        self.head = head
        self.tabular = tabular if fusion.table is not None else TabularShape()

    @property
    def tells_depth(self) -> bool:
        """Whether it tells a depth beside the class; ``BiomarkerNetwork`` does."""
        return False

    @property
    def image_maps(self) -> int:
        """How many of the deepest maps, the first, show the image; 0: all do."""
        return 0

    @property
    def weighs_places(self) -> bool:
        """Whether it has spatial attention."""
        return False

    def attended(self, images: Tensor) -> Tensor | None:
        """Give the weights of places, where it has spatial attention.

        ``images``: normalised float (batch, 3, row, column). Returns float (batch, 1, row, column) in [0, 1]; None
        where it has none.
        """
        return None

    def forward(self, images: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Give logits, float (batch, class).

        ``images``: normalised float (batch, 3, row, column), sides of 64 or more. ``continuous``: float (batch, input);
        None where the table gives none. ``categories``: int64 (batch, embedding); None where the table gives none.
        """
        return self.decide(self.encode(images), continuous, categories)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Give maps of features.

        ``images``: normalised float (batch, 3, row, column). Returns the deepest last, each float (batch, channel, row,
        column).
        """
        maps: list[Tensor] = self.encoder(images)
        return maps

    def decide(
        self, maps: Sequence[Tensor], continuous: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """Answer for maps that are there already, with whatever rows of the table.

        ``continuous``: float (batch, input); None where the table gives none. ``categories``: int64 (batch, embedding);
        None where the table gives none. Logits, float (batch, class).
        """
        logits: Tensor = self.head(self.fusion(maps[-1], continuous, categories))
        return logits

    def embed(self, maps: Sequence[Tensor]) -> Tensor:
        """Give the image as one vector, before the table has a say.

        Returns the means of the deepest maps, float (batch, feature).
        """
        return pooled(maps[-1])
