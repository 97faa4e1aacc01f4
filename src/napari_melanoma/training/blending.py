"""Weights between those that a run started from and those that it learnt: most of the gain, hardly any forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import TrainingError
from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from torch import nn


def keep_start(network: nn.Module, path: Path) -> None:
    """Keep the weights that a run starts from.

    Parameters
    ----------
    network : torch.nn.Module
        Before it learns.
    path : pathlib.Path
        A safetensors file, written atomically.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from safetensors.torch import save

    with atomic_file(path) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in network.state_dict().items()}))


def blend_with_start(network: nn.Module, path: Path, share: float) -> None:
    """Move a network towards the weights that it started from (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903).

    Parameters
    ----------
    network : torch.nn.Module
        As it has learnt; changed in place. Counters stay as they are.
    path : pathlib.Path
        What ``keep_start`` wrote.
    share : float
        Of what was learnt, 0 to 1.

    Raises
    ------
    TrainingError
        Where the file has gone or is damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        start = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"cannot read {path}, the weights that the run started from: {error}. Train again, or set blend = 1."
        ) from error
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(start[name].to(value), 1 - share)
