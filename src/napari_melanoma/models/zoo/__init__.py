"""The architectures of networks: functions with ``@list_network`` in the modules of this package, one for each family.

Other packages add a module with ``SPEC`` and ``build(config)``. Torch is imported only when a network is built.

P1 to P4 are the papers in ``extensions.papers.papers``.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.packages import require_torch
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.plugins import module_family

if TYPE_CHECKING:
    from torch import nn

ArchitectureTask = Literal["segmentation", "classification", "bags", "embedding"]
OutputMaps = Annotated[int, Computed(), Field(ge=1, description="number of output maps")]
P2_REFERENCE = "Zell, Fusion of U-Net++ and ResNet50 Models for Melanoma Diagnosis from Dermoscopic Images"


@dataclass(frozen=True)
class ArchitectureSpec:
    """Metadata of an architecture.

    ``config`` is the type of its options; ``small`` are options of a small network, for tests.
    """

    name: str
    title: str
    reference: str
    config: type[Config]
    small: dict[str, Any] = field(default_factory=dict, hash=False)
    task: ArchitectureTask = "segmentation"
    answers_prompts: bool = False


@dataclass(frozen=True)
class Architecture:
    """An architecture of the zoo: its metadata and its build function."""

    spec: ArchitectureSpec
    build: Callable[[Any], nn.Module]


def list_network(spec: ArchitectureSpec) -> Callable[[Callable[[Any], nn.Module]], Architecture]:
    """Make an architecture of the decorated function, which builds a network with random weights."""
    return partial(Architecture, spec)


def _list_own() -> Iterator[Architecture]:
    for entry in pkgutil.iter_modules(__path__):
        values = vars(import_module(f"{__name__}.{entry.name}")).values()
        yield from (value for value in values if isinstance(value, Architecture))


NETWORKS = module_family("networks", "", ArchitectureSpec, "build", Architecture, list_others=_list_own)


def list_architectures() -> Mapping[str, Architecture]:
    """Return the architectures by name, in alphabetical order, then those of plug-ins."""
    return NETWORKS.members


def answers_prompts(architecture: object) -> bool:
    listed = list_architectures().get(architecture) if isinstance(architecture, str) else None
    return listed is not None and listed.spec.answers_prompts


def find_encoder(network: nn.Module) -> nn.Module | None:
    """Return the encoder of a network, which may have published weights; None if it has none.

    That of an ensemble is the encoder of its first member.
    """
    from napari_melanoma.models.blocks.convolutions import PaddedNetwork

    members = getattr(network, "members", None)
    if members is not None:
        return find_encoder(members[0])
    inner = network.network if isinstance(network, PaddedNetwork) else network
    return dict(inner.named_children()).get("encoder")


def count_parameters(name: str, options: dict[str, Any]) -> int:
    """Count the trainable weights of a network without allocating them."""
    return _count_parameters(name, json.dumps(options, sort_keys=True))


@cache  # a plan of experiments counts the weights of the same few networks for each row and fold
def _count_parameters(name: str, options: str) -> int:
    require_torch("counting the parameters of a network")
    import torch

    with torch.device("meta"):
        network = build_network(name, parse_json(options, "the options of a network"))
    return sum(parameter.numel() for parameter in network.parameters())


def build_network(name: str, options: dict[str, Any]) -> nn.Module:
    """Build a network with random weights.

    A segmentation network maps float (batch, 3, row, column) of any size to logits (batch, class, row, column) of that
    size. A classification network is a ``ClassifierNetwork``: images with sides of 64 or more, float (batch, input) and
    int64 (batch, embedding) to logits (batch, class). A bag network maps the embeddings of a slide's tiles, float
    (tile, feature), to logits (class,). An embedding network maps images to features of cells, float (batch, feature,
    cell row, cell column).
    """
    architectures = list_architectures()
    if name not in architectures:
        reason = NETWORKS.explain_unknown(name) or f"available: {', '.join(architectures)}"
        raise BundleError(f"no architecture is named '{name}' ({reason}).")
    from napari_melanoma.models.blocks.convolutions import PaddedNetwork

    architecture = architectures[name]
    network = architecture.build(architecture.spec.config.parse(options, f"the options of '{name}'"))
    return PaddedNetwork(network) if architecture.spec.task == "segmentation" else network
