"""The architectures: one file each, found by listing this folder; a file exports ``SPEC`` and ``build(config)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.config import Config, import_submodules
from napari_melanoma.core.errors import BundleError

if TYPE_CHECKING:
    from torch import nn

ArchitectureTask = Literal["segmentation", "classification", "bags"]


@dataclass(frozen=True)
class ArchitectureSpec:
    """What an architecture says of itself."""

    name: str
    title: str
    reference: str
    config: type[Config]
    small: dict[str, Any] = field(default_factory=dict, hash=False)
    task: ArchitectureTask = "segmentation"


@dataclass(frozen=True)
class Architecture:
    """A member of the zoo: what it says of itself and how it is built."""

    spec: ArchitectureSpec
    build: Callable[[Any], nn.Module]


@cache
def list_architectures() -> dict[str, Architecture]:
    """List the zoo; torch stays unimported until a network is built.

    By name, in alphabetical order.
    """
    modules = import_submodules(__name__, __path__, "SPEC", "build")
    found = {module.SPEC.name: Architecture(module.SPEC, module.build) for module in modules}
    return dict(sorted(found.items()))


def find_encoder(network: nn.Module) -> nn.Module | None:
    """Find the part of a network that ImageNet weights are for.

    Returns the encoder, or None where the network has no part of that kind.
    """
    from napari_melanoma.models.blocks.padding import PaddedNetwork

    inner = network.network if isinstance(network, PaddedNetwork) else network
    return dict(inner.named_children()).get("encoder")


def count_parameters(name: str, options: dict[str, Any]) -> int:
    """Count the weights of a network without making room for them.

    What learns, without the statistics of normalisation.
    """
    import torch

    with torch.device("meta"):
        network = build_network(name, options)
    return sum(parameter.numel() for parameter in network.parameters())


def build_network(name: str, options: dict[str, Any]) -> nn.Module:
    """Build a network with random weights.

    One of segmentation takes float (batch, 3, row, column) of any size and returns logits (batch, class, row, column)
    of that size. One of classification is a ``Classifier``: images with sides of 64 or more, float (batch, input) and
    int64 (batch, embedding) to logits (batch, class). One of bags takes the embeddings of a slide's tiles, float (tile,
    feature), and returns logits (class,).
    """
    known = list_architectures()
    if name not in known:
        raise BundleError(f"there is no architecture named '{name}' (known: {', '.join(known)}).")
    from napari_melanoma.models.blocks.padding import PaddedNetwork

    architecture = known[name]
    network = architecture.build(architecture.spec.config.parse(options, f"the options of '{name}'"))
    return PaddedNetwork(network) if architecture.spec.task == "segmentation" else network
