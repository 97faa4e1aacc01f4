"""Segmentation networks of the zoo that were overfitted to two images, and the operations of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from napari_melanoma.models.zoo import build_network, list_architectures

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE = 64
MOST_STEPS = 80
BY_HEART = 0.97
# Places of the arguments of aten::convolution
PADDING, DILATION, TRANSPOSED, GROUPS = 4, 5, 6, 8


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


@pytest.fixture(scope="session")
def steps_of() -> Callable[..., set[str]]:
    """Return a function that lists the operators of torch that a network uses for some inputs.

    Convolutions also have names for padding, dilation and groups.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: set[str] = set()

        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = operator.overloadpacket.__name__.removesuffix("_")
            self.names |= name_convolution(args) if name == "convolution" else {name}
            return operator(*args, **(kwargs or {}))

    def listed(network: nn.Module, *inputs: Tensor) -> set[str]:
        with torch.no_grad(), Recorder() as recorder:
            network(*inputs)
        return recorder.names

    return listed


@pytest.fixture(scope="session")
def plain_encoder() -> Callable[[Sequence[int], Sequence[int]], nn.Module]:
    """Return a function that creates an encoder with one convolution for each map: their channels and strides.

    An export takes time for each layer, and most layers of an encoder repeat the same operations. One convolution
    before all maps is depthwise, dilated and padded.
    """
    from torch import nn

    class Levels(nn.Module):
        def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
            super().__init__()
            self.output_stride = strides[-1]
            self.depthwise = nn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3)
            self.levels = nn.ModuleList(
                nn.Identity()
                if stride == 1
                else nn.Sequential(nn.Conv2d(3, count, 1, stride), nn.BatchNorm2d(count), activation())
                for count, stride, activation in zip(channels, strides, cycle((nn.SiLU, nn.ReLU6)), strict=False)
            )

        def forward(self, images: Tensor) -> list[Tensor]:
            filtered = self.depthwise(images)
            return [level(filtered) for level in self.levels]

    return Levels


def name_convolution(arguments: Sequence[Any]) -> set[str]:
    """Name a convolution, and its padding, dilation and groups."""
    name = "conv_transpose" if arguments[TRANSPOSED] else "conv"
    features = {
        "padded": max(arguments[PADDING]) > 0,
        "dilated": max(arguments[DILATION]) > 1,
        "grouped": arguments[GROUPS] > 1,
    }
    return {name, *(f"{name}_{feature}" for feature, is_used in features.items() if is_used)}
