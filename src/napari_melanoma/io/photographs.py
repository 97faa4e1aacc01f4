"""The photograph as every other part sees it, and the one function that reads it, whatever format it came in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.finding import SUFFIXES, find_photographs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "Modality", "Photograph", "find_photographs"]

Modality = Literal["dermoscopic", "macroscopic", "tbp_tile"]


@dataclass(frozen=True)
class Photograph:
    """An upright photograph in 8-bit sRGB.

    Parameters
    ----------
    rgb : numpy.ndarray
        uint8 (row, column, channel=3), sRGB, upright, contiguous.
    name : str
        The file's name without suffix; names layers and result folders.
    pixel_size : PixelSize, optional
        Micrometres per pixel, where the file states a real scale.
    modality : {"dermoscopic", "macroscopic", "tbp_tile"}, optional
        How it was taken, where the file states it.
    """

    rgb: NDArray[np.uint8]
    name: str
    pixel_size: PixelSize | None = None
    modality: Modality | None = None
