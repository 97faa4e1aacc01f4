"""Fourier mixing: an image gets the low frequencies of another domain, its tint and light, and keeps its own shapes.

Yang and Soatto 2020, doi:10.1109/CVPR42600.2020.00414; needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

BRIGHTEST = 255.0


def swap_amplitudes(images: Tensor, partners: Tensor, reach: float) -> Tensor:
    """Give images the amplitudes of their partners where frequencies are low; phases stay.

    ``images``, ``partners``: (batch, channel, row, column), both uint8, or both float in [0, 255]. Of the same dtype
    and shape, in [0, 255].
    """
    with torch.autocast(images.device.type, enabled=False):
        own, other = torch.fft.fft2(images.float()), torch.fft.fft2(partners.float())
        low = _low(images.shape[-2:], reach, images)
        swapped = torch.polar(torch.where(low, other.abs(), own.abs()), own.angle())
        mixed = torch.fft.ifft2(swapped).real.clamp(0, BRIGHTEST)
    return mixed.to(images.dtype) if images.is_floating_point() else mixed.round().to(images.dtype)


def _low(sides: torch.Size, reach: float, like: Tensor) -> Tensor:
    """Bool (row, column) of a transform: whether a frequency is within reach of the mean."""
    within = int(reach * min(sides))
    rows, columns = (torch.fft.fftfreq(side, 1 / side, device=like.device).abs() <= within for side in sides)
    return rows[:, None] & columns[None, :]
