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

    Parameters
    ----------
    encoder : torch.nn.Module
        Float (batch, 3, row, column) to maps, the deepest last.
    fusion : FusionBlock
        Deepest maps and row to one vector.
    head : torch.nn.Module
        The vector to logits.
    tabular : TabularShape
        The inputs from the table; the attribute is empty where the fusion leaves the table aside.
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

        Parameters
        ----------
        images : torch.Tensor
            Normalised float (batch, 3, row, column).

        Returns
        -------
        torch.Tensor or None
            Float (batch, 1, row, column) in [0, 1]; None where it has none.
        """
        return None

    def forward(self, images: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Give logits, float (batch, class).

        Parameters
        ----------
        images : torch.Tensor
            Normalised float (batch, 3, row, column), sides of 64 or more.
        continuous : torch.Tensor or None
            Float (batch, input); None where the table gives none.
        categories : torch.Tensor or None
            int64 (batch, embedding); None where the table gives none.
        """
        return self.decide(self.encode(images), continuous, categories)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Give maps of features.

        Parameters
        ----------
        images : torch.Tensor
            Normalised float (batch, 3, row, column).

        Returns
        -------
        list of torch.Tensor
            The deepest last, each float (batch, channel, row, column).
        """
        maps: list[Tensor] = self.encoder(images)
        return maps

    def decide(
        self, maps: Sequence[Tensor], continuous: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """Answer for maps that are there already, with whatever rows of the table.

        Parameters
        ----------
        maps : sequence of torch.Tensor
            What ``encode`` gave; the deepest is looked at alone.
        continuous : torch.Tensor or None
            Float (batch, input); None where the table gives none.
        categories : torch.Tensor or None
            int64 (batch, embedding); None where the table gives none.

        Returns
        -------
        torch.Tensor
            Logits, float (batch, class).
        """
        logits: Tensor = self.head(self.fusion(maps[-1], continuous, categories))
        return logits

    def embed(self, maps: Sequence[Tensor]) -> Tensor:
        """Give the image as one vector, before the table has a say.

        Parameters
        ----------
        maps : sequence of torch.Tensor
            What ``encode`` gave.

        Returns
        -------
        torch.Tensor
            The means of the deepest maps, float (batch, feature).
        """
        return pooled(maps[-1])
