"""What models that draw have in common: a bundle's network on its device; torch is imported when one is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.precision import best_device

if TYPE_CHECKING:
    from torch import nn


class DrawingModel(ABC):
    """A bundle's network, ready to say something of each pixel."""

    def __init__(self, info: BundleInfo, network: nn.Module, device: str = "cpu") -> None:
        import torch

        self.info = info
        self.device = device
        self._network = network.to(memory_format=torch.channels_last).to(device)

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        """Load a bundle's weights."""
        cls.refuse(info)
        return cls(info, load_network(info), device or best_device())

    @staticmethod
    @abstractmethod
    def refuse(info: BundleInfo) -> None:
        """Refuse a model that does something else."""
