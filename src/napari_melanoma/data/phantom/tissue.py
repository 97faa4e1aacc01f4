"""What absorbs, scatters and rises in a patch of skin; the elements of a phantom add to it, the camera looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_melanoma.core.geometry import Box
from napari_melanoma.data.phantom.plane import Field


@dataclass
class Tissue:
    """Maps of the skin, float32 (row, column), changed in place while a phantom is drawn.

    ``melanin`` and ``blood`` are optical densities in green (natural logarithm), ``veil`` is the share (0 to 1) of
    light that comes from scattering above the pigment, ``relief_mm`` the height of the surface; ``base`` holds melanin
    and blood of the skin before anything was added.
    """

    melanin: Field
    blood: Field
    veil: Field
    relief_mm: Field
    base: tuple[float, float]

    @classmethod
    def blank(cls, shape: tuple[int, int], melanin: float, blood: float) -> Tissue:
        """Even, flat skin."""
        maps = (np.full(shape, value, np.float32) for value in (melanin, blood, 0, 0))
        return cls(*maps, base=(melanin, blood))

    def crop(self, box: Box) -> Tissue:
        """A view of a part; changes to it are changes to the whole."""
        maps = (field[box.slices] for field in (self.melanin, self.blood, self.veil, self.relief_mm))
        return Tissue(*maps, base=self.base)
