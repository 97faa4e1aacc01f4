"""Segmentation networks of the zoo that were overfitted to two images, and a reader of exported files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_melanoma.models.zoo import build_network, list_architectures

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE = 64
MOST_STEPS = 80
BY_HEART = 0.97


@dataclass(frozen=True)
class TwoImages:
    """Images and masks of a bright square on dark noise, at two positions."""

    images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Learnt:
    """A network of the zoo that was trained on two images until it reproduced their masks."""

    name: str
    network: nn.Module
    share_right: float

    @property
    def learns(self) -> bool:
        """Whether it has weights."""
        return any(True for _ in self.network.parameters())


class ExportedFile:
    """An exported ONNX file: its ``metadata`` and, called with tensors, its output."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path)
        self.metadata = self._session.get_modelmeta().custom_metadata_map["config.json"]

    def __call__(self, image: Tensor, **tables: Tensor) -> Tensor:
        """Return the output; inputs that the file does not have are ignored."""
        import torch

        given = {"image": image, **tables}
        inputs = {node.name: given[node.name].numpy() for node in self._session.get_inputs()}
        return torch.from_numpy(self._session.run(None, inputs)[0])


@pytest.fixture(scope="session")
def open_exported() -> type[ExportedFile]:
    """Return the reader of exported files."""
    return ExportedFile


@pytest.fixture(scope="session")
def two_images() -> TwoImages:
    """Return the two images and masks."""
    import torch

    masks = torch.zeros(2, 1, SIDE, SIDE)
    for index in range(2):
        masks[index, :, 24 * index : 24 * index + 32, 16:48] = 1
    noise = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return TwoImages(0.2 * noise + 2 * masks - 1, masks)


SEGMENTING = [name for name, known in list_architectures().items() if known.spec.task == "segmentation"]


@pytest.fixture(scope="module", params=SEGMENTING)
def learnt(request: pytest.FixtureRequest, two_images: TwoImages) -> Learnt:
    """Each network of the zoo, found by listing its folder."""
    import torch

    torch.manual_seed(0)
    network = build_network(request.param, list_architectures()[request.param].spec.small)
    share_right = train_network(network, two_images)
    network.eval().half().float()  # the precision of bundles
    return Learnt(request.param, network, share_right)


def train_network(network: nn.Module, two: TwoImages) -> float:
    """Train until nearly all pixels are correct; a network without weights is unchanged."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    weights = list(network.parameters())
    optimiser = torch.optim.AdamW(weights, lr=1e-2) if weights else None
    network.train()
    for _ in range(MOST_STEPS):
        logits = network(two.images)
        share_right = float(((logits > 0) == two.masks.bool()).float().mean())
        if share_right > BY_HEART or optimiser is None:
            break
        optimiser.zero_grad()
        binary_cross_entropy_with_logits(logits, two.masks).backward()
        optimiser.step()
    return share_right
