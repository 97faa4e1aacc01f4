"""Redraws the border of a lesion from a few strokes, the network's probability and the colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSIDE = 1
OUTSIDE = 2


def redraw(
    probability: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    scribbles: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """Redraw the border of a lesion so that it follows strokes drawn inside and outside.

    Parameters
    ----------
    probability : numpy.ndarray
        The network's answer, float32 in [0, 1], (row, column).
    rgb : numpy.ndarray
        Photograph, uint8, (row, column, channel=3).
    mask : numpy.ndarray
        Boolean, (row, column): the border to start from.
    scribbles : numpy.ndarray
        uint8, (row, column): 0 no stroke, ``INSIDE`` or ``OUTSIDE``.

    Returns
    -------
    numpy.ndarray
        Boolean, same shape: true on every inside stroke, false on every outside stroke; equal to ``mask`` where there
        are no strokes.
    """
    redrawn = mask.copy()
    redrawn[scribbles == INSIDE] = True
    redrawn[scribbles == OUTSIDE] = False
    return redrawn
