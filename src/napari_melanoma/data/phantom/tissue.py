"""What absorbs, scatters and rises in a patch of skin; the elements of a phantom add to it, the camera looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_melanoma.core.geometry import Box
from napari_melanoma.data.phantom.plane import Map


@dataclass
class Tissue:
    """Maps of the skin, float32 (row, column), changed in place while a phantom is drawn.

    ``melanin`` and ``blood`` are optical densities in green (natural logarithm), ``veil`` is the share (0 to 1) of
    light that comes from scattering above the pigment, ``relief_mm`` the height of the surface; ``base`` holds melanin
    and blood of the skin before anything was added.
    """

    melanin: Map
    blood: Map
    veil: Map
    relief_mm: Map
    base: tuple[float, float]

    @classmethod
    def blank(cls, shape: tuple[int, int], melanin: float, blood: float) -> Tissue:
        """Make even, flat skin.

        Without veil or relief.
        """
        flat = np.zeros(shape, np.float32)
        return cls(flat + np.float32(melanin), flat + np.float32(blood), flat, flat.copy(), (melanin, blood))

    def crop(self, box: Box) -> Tissue:
        """Give a view of a part; changes to it are changes to the whole.

        ``box``: which pixels.
        """
        part = box.slices
        return Tissue(self.melanin[part], self.blood[part], self.veil[part], self.relief_mm[part], self.base)
