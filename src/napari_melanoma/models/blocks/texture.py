"""Texture of an image as the means of fine encoder maps; imports torch inside functions.

The deepest maps of an encoder describe content and ignore texture: in them, tiles of real slides are close to tiles of
synthetic ones. At an eighth of the side an encoder still responds to fibers and nuclei, which separates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import Tensor

# Factor of the side; on real and phantom slides, finer and deeper maps separate less (docs/how-to/training.md).
DOWNSAMPLING = 8
COLOR_CHANNELS = 3  # some encoders return the image itself first


def texture_features(maps: Tensor | Sequence[Tensor], side: int) -> Tensor:
    """Return images as one texture vector each.

    ``maps``: of an encoder, the finest first, each (batch, channel, row, column). ``side``: of its input images, in
    pixels. Returns float32 (batch, channel): means of the deepest maps with at least an eighth of the side, or of the
    deepest of all if there are none.
    """
    every: list[Tensor] = list(maps) if isinstance(maps, list | tuple) else [cast("Tensor", maps)]
    fine = [each for each in every if each.shape[1] > COLOR_CHANNELS and each.shape[-1] * DOWNSAMPLING >= side]
    found: Tensor = (fine or every)[-1].float().mean(dim=(2, 3))
    return found
