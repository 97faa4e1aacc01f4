"""The loss of JPEG compression, computed for many images at once on the device where they lie; imports torch.

What is lost is all that is computed: colour of half the resolution, and the cosine coefficients of 8 x 8 blocks rounded
to multiples that the quality sets (ITU-T T.81). Nothing is encoded, as entropy coding loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate

from napari_melanoma.training.augment.looks import Look, on

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.augment.chances import Chances

BLOCK = 8
QUALITY = (30, 95)

# T.81, Annex K: the tables for luma and for colour, whose steps are those of quality 50.
LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
COLOR = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *[99] * 32,
)
# JFIF: luma and the differences of blue and red from it.
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
RGB = np.linalg.inv(YCBCR)


class Recompress(Look):
    """Sends images through JPEG, each of a quality of its own; their sides are multiples of 16."""

    name = "jpeg"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Lose what JPEG loses."""
        return recompress(images, np.floor(chance.between("quality", QUALITY[0], QUALITY[1] + 1)))


def recompress(images: Tensor, quality: NDArray[np.float64]) -> Tensor:
    """Lose what JPEG with colour of half the resolution loses, as most cameras and programs write it.

    ``images``: float32 (batch, 3, row, column) in [0, 255]; rows and columns are multiples of 16. ``quality``: float64
    (batch,), 1 to 99, as libjpeg counts it. Returns float32, alike; not clipped.
    """
    device = images.device
    planes = torch.einsum("pc,bcyx->bpyx", on(device, YCBCR), images)
    luma = _lose(planes[:, :1] - 128, steps(LUMA, quality)) + 128
    color = _lose(avg_pool2d(planes[:, 1:], 2), steps(COLOR, quality))
    whole = interpolate(color, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.einsum("cp,bpyx->bcyx", on(device, RGB), torch.cat([luma, whole], dim=1))


def steps(table: tuple[int, ...], quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a table to qualities, as libjpeg does.

    ``quality``: float64 (batch,), 1 to 99. Returns float64 (batch, 64): multiples to which the coefficients are
    rounded.
    """
    percent = np.where(quality < 50, np.floor(5000 / quality), 200 - 2 * quality)
    return np.clip(np.floor((np.array(table) * percent[:, None] + 50) / 100), 1, 255)


def _lose(planes: Tensor, step: NDArray[np.float64]) -> Tensor:
    """Round the cosine coefficients of the blocks of planes (batch, plane, row, column)."""
    batch, count, rows, columns = planes.shape
    cosines = on(planes.device, _cosines())
    blocks = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4).reshape(batch, -1, BLOCK**2)
    width = on(planes.device, step)[:, None]
    rounded = ((blocks @ cosines.T) / width).round_() * width
    restored = (rounded @ cosines).view(batch, count, rows // BLOCK, columns // BLOCK, BLOCK, BLOCK)
    return restored.transpose(3, 4).reshape(batch, count, rows, columns)


def _cosines() -> NDArray[np.float64]:
    """Matrix (64, 64) from the pixels of a block to its coefficients; orthonormal, so its transpose leads back."""
    place = np.arange(BLOCK)
    line = np.cos(np.pi * (2 * place[None] + 1) * place[:, None] / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    line[0] /= np.sqrt(2)
    return np.kron(line, line)
