"""Weights between those that a run started from and those that it learnt: most of the gain, hardly any forgetting."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)


def keep_start(network: nn.Module, path: Path) -> None:
    """Keep the weights that a run starts from."""
    from safetensors.torch import save

    with atomic_file(path) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in network.state_dict().items()}))


def read_start(path: Path) -> dict[str, Tensor] | None:
    """Read the weights that a run started from.

    Name to value; None where the file has gone or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        log.warning("cannot read %s: %s", path, error)
        return None


def blend_with_start(network: nn.Module, start: Mapping[str, Tensor], share: float) -> None:
    """Move a network towards the weights that it started from (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903).

    ``share``: of what was learnt, 0 to 1.
    """
    import torch

    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(start[name].to(value), 1 - share)
