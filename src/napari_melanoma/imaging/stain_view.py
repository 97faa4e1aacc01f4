"""How the colors of a slide are displayed: single stains, brightness, contrast and gamma. Analyses are not affected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

StainView = Literal["scan", "hematoxylin_he", "eosin_he", "residual_he", "hematoxylin_dab", "dab_dab", "residual_dab"]
STAIN_VIEWS: dict[StainView, str] = {
    "scan": "as scanned",
    "hematoxylin_he": "hematoxylin (H&E)",
    "eosin_he": "eosin (H&E)",
    "residual_he": "residual (H&E)",
    "hematoxylin_dab": "hematoxylin (H-DAB)",
    "dab_dab": "DAB (H-DAB)",
    "residual_dab": "residual (H-DAB)",
}
# Optical density of each stain in red, green and blue (Ruifrok and Johnston 2001).
HEMATOXYLIN, EOSIN, DAB = (0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776)
COUNTERSTAINS = {"he": EOSIN, "dab": DAB}
BITS = 6  # of each channel in the table of a stain: 2 MB, which stays in the processor's cache
LIMITS = {"brightness": (-1.0, 1.0), "contrast": (0.2, 5.0), "gamma": (0.2, 5.0)}


@dataclass(frozen=True)
class DisplayColors:
    """How the colors of a brightfield slide are displayed.

    ``brightness`` is added, as a share of white; ``contrast`` is the factor of the difference from middle gray;
    ``gamma`` above 1 darkens the middle tones.
    """

    stain: StainView = "scan"
    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0

    @classmethod
    def parse(cls, values: Any) -> DisplayColors:  # noqa: ANN401 - any JSON value
        """Read the values in a file; missing or invalid values are replaced by their defaults."""
        stored = values if isinstance(values, dict) else {}
        stain: StainView = next((view for view in STAIN_VIEWS if view == stored.get("stain")), "scan")
        numbers = {name: _parse_number(stored.get(name), limits) for name, limits in LIMITS.items()}
        valid = {name: number for name, number in numbers.items() if number is not None}
        return cls(stain, **valid)

    @property
    def is_default(self) -> bool:
        return self == DisplayColors()

    def apply(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the displayed colors.

        ``rgb``: uint8 (..., channel=3). Returns uint8 of the same shape; the input itself if nothing is changed.
        """
        levels = _level_table(self.brightness, self.contrast, self.gamma)
        if self.stain == "scan":
            return rgb if levels is None else levels[rgb]
        from napari_melanoma.imaging.stain import look_up_colors

        table = _stain_table(self.stain)
        return look_up_colors(rgb, table if levels is None else levels[table], BITS)


def _parse_number(value: Any, limits: tuple[float, float]) -> float | None:  # noqa: ANN401 - any JSON value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and limits[0] <= value <= limits[1] else None


@lru_cache(maxsize=8)
def _level_table(brightness: float, contrast: float, gamma: float) -> NDArray[np.uint8] | None:
    """Return the displayed value for each of the 256 values of a channel; None if nothing changes."""
    if (brightness, contrast, gamma) == (0.0, 1.0, 1.0):
        return None
    shares = ((np.arange(256) / 255 - 0.5) * contrast + 0.5 + brightness).clip(0, 1) ** gamma
    return np.rint(255 * shares).astype(np.uint8)


@lru_cache(maxsize=4)
def _stain_table(view: StainView) -> NDArray[np.uint8]:
    """Return the displayed color for each color of the scan if one stain is shown alone: uint8 (index, channel=3).

    A stain has its own color on white. The residual, which neither stain explains, such as melanin in H&E, is gray.
    """
    from napari_melanoma.imaging.stain import optical_density, table_levels

    stain, kind = view.split("_")
    basis = np.array([HEMATOXYLIN, COUNTERSTAINS[kind], (0.0, 0.0, 0.0)])
    basis /= np.linalg.norm(basis, axis=1, keepdims=True).clip(1e-12)
    basis[2] = np.cross(basis[0], basis[1])
    basis[2] /= np.linalg.norm(basis[2])
    row = {"hematoxylin": 0, "residual": 2}.get(stain, 1)
    levels = np.linspace(0, 255, 1 << BITS)
    colors = levels[table_levels(np.arange(1 << (3 * BITS)), BITS)]
    amounts = optical_density(colors) @ np.linalg.inv(basis)[:, row]
    display_stain = np.full(3, 3**-0.5) if row == 2 else basis[row]
    density = np.abs(amounts) if row == 2 else amounts.clip(0)
    return np.rint(255 * np.exp(-density[:, None] * display_stain)).astype(np.uint8)
