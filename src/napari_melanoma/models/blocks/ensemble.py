"""Ensembles: networks of one architecture as one network, whose logits are the means of theirs; imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from napari_melanoma.core.prediction_config import TabularShape
from napari_melanoma.models.blocks.classifier import ClassifierNetwork


class SegmentationEnsemble(nn.Module):
    """The mean logits of segmentation networks."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (batch, class, row, column), of normalized images, float (batch, 3, row, column)."""
        return torch.stack([member(images) for member in self.members]).mean(0)


class ClassifierEnsemble(ClassifierNetwork):
    """The mean calibrated logits of classifiers.

    The deepest maps of all members are concatenated along their channels, so that heatmaps and predictions with other
    tabular inputs work as those of one network. The embedding is that of the first member.
    """

    temperature: Tensor
    bias: Tensor

    def __init__(self, members: Sequence[ClassifierNetwork], classes: int) -> None:
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)
        self.tabular = _join_shapes([member.tabular for member in members])
        self.register_buffer("temperature", torch.ones(len(members)))
        self.register_buffer("bias", torch.zeros(len(members), classes))

    def _classifiers(self) -> list[ClassifierNetwork]:
        return [cast("ClassifierNetwork", member) for member in self.members]

    @property
    def has_spatial_attention(self) -> bool:
        return self._classifiers()[0].has_spatial_attention

    def compute_attention(self, images: Tensor) -> Tensor | None:
        """Return the mean attention weights; None without attention."""
        weights = [member.compute_attention(images) for member in self._classifiers()]
        return torch.stack([one for one in weights if one is not None]).mean(0) if self.has_spatial_attention else None

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the deepest maps of all members, (batch, member x channel, row, column), as the only maps."""
        return [torch.cat([member.encode(images)[-1] for member in self._classifiers()], dim=1)]

    def classify(
        self, maps: Sequence[Tensor], continuous: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """Return the mean of the calibrated logits of the members, float (batch, class)."""
        members, logits = self._classifiers(), []
        shapes = [member.tabular for member in members]
        numbers = _divide_columns(continuous, [shape.continuous for shape in shapes])
        words = _divide_columns(categories, [len(shape.cardinalities) for shape in shapes])
        for index, part in enumerate(self._divide(maps)):
            found = members[index].classify([part], numbers[index], words[index])
            logits.append(found / self.temperature[index] + self.bias[index])
        return torch.stack(logits).mean(0)

    def embed(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the embedding of the first member, float (batch, feature)."""
        return self._classifiers()[0].embed([self._divide(maps)[0]])

    def _divide(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the deepest maps of each member."""
        return list(maps[-1].chunk(len(self.members), dim=1))


def _join_shapes(shapes: Sequence[TabularShape]) -> TabularShape:
    """Return the shape of the tabular inputs of all members, one after the other."""
    return TabularShape(
        continuous=sum(shape.continuous for shape in shapes),
        cardinalities=tuple(count for shape in shapes for count in shape.cardinalities),
        widths=tuple(width for shape in shapes for width in shape.widths),
        silent=tuple(one for shape in shapes for one in shape.silent or (False,) * len(shape.cardinalities)),
    )


def _divide_columns(inputs: Tensor | None, widths: Sequence[int]) -> list[Tensor | None]:
    """Return the columns of each member, (batch, width); None without such inputs."""
    if inputs is None:
        return [None] * len(widths)
    starts = [sum(widths[:index]) for index in range(len(widths))]
    return [inputs[:, start : start + width] for start, width in zip(starts, widths, strict=True)]


def build_ensemble(members: Sequence[nn.Module], classes: int) -> nn.Module:
    """Combine networks of one architecture; ``classes``: number of logits of a classifier."""
    if isinstance(members[0], ClassifierNetwork):
        return ClassifierEnsemble([cast("ClassifierNetwork", member) for member in members], classes)
    return SegmentationEnsemble(members)
