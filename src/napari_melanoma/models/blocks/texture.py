"""How the surface of a picture looks to an encoder: the means of its fine maps; imports torch late.

The deepest maps say what a picture shows, and have learnt to overlook how: a tile of a real slide lies among tiles of
synthetic ones there. At an eighth of the side an encoder still sees fibres and nuclei, and tells both apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import Tensor

DOWNSAMPLING = (
    8  # of the side: tried on real and phantom slides, finer maps and deeper ones tell less (docs/how-to/training.md)
)
COLOR_CHANNELS = 3  # some encoders give the picture itself first


def texture_features(maps: Tensor | Sequence[Tensor], side: int) -> Tensor:
    """Give pictures as one vector each.

    ``maps``: of an encoder, the finest first: each (batch, channel, row, column). ``side``: of the pictures that it
    looked at, in pixels. Returns float32 (batch, channel): means of the deepest of the maps that have an eighth of the
    side or more, of the deepest of all where none has.
    """
    every: list[Tensor] = list(maps) if isinstance(maps, list | tuple) else [cast("Tensor", maps)]
    fine = [each for each in every if each.shape[1] > COLOR_CHANNELS and each.shape[-1] * DOWNSAMPLING >= side]
    found: Tensor = (fine or every)[-1].float().mean(dim=(2, 3))
    return found
