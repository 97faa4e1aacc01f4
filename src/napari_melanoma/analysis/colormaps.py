"""Heat drawn over a photograph in the colours of magma, without the library that these come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of matplotlib's magma (van der Walt and Smith, CC0) at 0, 1/8 ... 1: even steps of lightness, also for eyes that see
# fewer colours.
MAGMA = np.array(
    [
        (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
        (254, 194, 135), (252, 253, 191),
    ],
    float,
)  # fmt: skip
OPACITY = 0.6  # of the strongest heat


def draw_heatmap(rgb: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw heat over a photograph: the stronger, the less of the photograph is seen.

    ``rgb``: uint8 (row, column, channel=3). ``heat``: float32 (row, column) in [0, 1]. Returns uint8 (row, column,
    channel=3).
    """
    steps = np.linspace(0, 1, len(MAGMA))
    colour = np.stack([np.interp(heat, steps, channel) for channel in MAGMA.T], axis=-1)
    share = OPACITY * np.sqrt(np.clip(heat, 0, 1))[..., None]
    return np.rint(rgb * (1 - share) + colour * share).astype(np.uint8)
