"""What hides a part of the picture: the dark corners of an instrument, and squares that are cut out; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_melanoma.training.augment.looks import Chosen, Look, on, pixel_centres

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.training.augment.chances import Chances

OFF_CENTRE = 0.06  # of the side, at most
STOP = (0.4, 0.6)  # radius at which the light begins to fade, of the side; the corners are at 0.71
SOFTNESS = (0.01, 0.3)  # of the side: from the rim of a dermatoscope to the fading of a lens
DARKNESS = (0.4, 1.4)  # of the light; above 1 is black
SEEN = 1 / 16  # of the light: with less of it nobody can draw a border
COVER = (0.1, 0.3)  # sides of what is cut out


class Vignette(Chosen):
    """Darkens the corners; where hardly any light is left there is no lesion to be found, and the mask says so."""

    name = "vignette"

    def _befall(self, images: Tensor, masks: Tensor, places: Tensor, chance: Chances) -> None:
        """Darken images, and clear their masks where it is dark."""
        light = light_left(images, chance)
        images[places] *= light
        masks[places] *= light >= SEEN


def light_left(images: Tensor, chance: Chances) -> Tensor:
    """Say how much of the light each pixel keeps.

    ``images``: float32 (any, 3, row, column), for its size and place. Returns float32 (image, 1, row, column) in [0,
    1].
    """
    rows, columns = pixel_centres(images)
    row, column, stop, softness, darkness = (
        on(images.device, chance.between(name, *ends))[:, None, None]
        for name, ends in (
            ("stop_y", (0.5 - OFF_CENTRE, 0.5 + OFF_CENTRE)),
            ("stop_x", (0.5 - OFF_CENTRE, 0.5 + OFF_CENTRE)),
            ("stop", STOP),
            ("softness", SOFTNESS),
            ("darkness", DARKNESS),
        )
    )
    beyond = ((((rows - row) ** 2 + (columns - column) ** 2).sqrt_() - stop) / softness).clamp_(0, 1)
    return (1 - darkness * beyond**2 * (3 - 2 * beyond)).clamp_(0, 1)[:, None]


class Cutout(Look):
    """Covers a square with the mean colour of the image (DeVries and Taylor 2017, arXiv:1708.04552).

    The mask stays: what is hidden is to be inferred from what lies around it.
    """

    name = "cutout"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Cover a square of each image."""
        rows, columns = pixel_centres(images)
        side, row, column = (
            on(images.device, chance.between(name, *ends))[:, None, None]
            for name, ends in (("cover_side", COVER), ("cover_y", (0, 1)), ("cover_x", (0, 1)))
        )
        hidden = ((rows - row).abs() < side / 2) & ((columns - column).abs() < side / 2)
        return torch.where(hidden[:, None], images.mean((2, 3), keepdim=True), images)
