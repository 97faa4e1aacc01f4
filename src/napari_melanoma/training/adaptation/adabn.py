"""AdaBN: the statistics of batch normalisation measured anew on the domain that a network goes to; needs torch.

Li et al. 2018, doi:10.1016/j.patcog.2018.03.005.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.core.errors import ConfigError, DataSetError

if TYPE_CHECKING:
    from torch import Tensor

BATCH_NORM_LAYERS = (
    nn.BatchNorm2d,
    nn.BatchNorm3d,
)  # those of rows belong to the table, which such batches do not carry


def update_batch_norm_statistics(network: nn.Module, batches: Iterable[Sequence[Tensor]]) -> int:
    """Replace the statistics of batch normalisation by those of other images; no weight changes."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, BATCH_NORM_LAYERS) and module.running_mean is not None
    ]
    if not norms:
        raise ConfigError("adabn needs an encoder with batch normalisation, this one has none. Choose another method.")
    before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    count = 0
    with ExitStack() as stack, torch.no_grad():
        stack.callback(network.train, network.training)
        network.eval()
        for norm in norms:
            _reset_statistics(norm, stack)
        for batch in batches:
            network(*batch)
            count += 1
    if not count:
        for norm, state in zip(norms, before, strict=True):
            norm.load_state_dict(state)
        raise DataSetError("adabn needs images of the domain that it goes to, found none. Name a data set in `to`.")
    return count


def _reset_statistics(norm: nn.Module, stack: ExitStack) -> None:
    """Let a normalisation forget its statistics, and take the mean over all batches that come."""
    stack.callback(setattr, norm, "momentum", norm.momentum)
    norm.reset_running_stats()  # type: ignore[operator] # torch types the methods of modules as tensors
    norm.momentum = None  # type: ignore[assignment] # torch's word for a mean over all
    norm.train()
