"""Measurements of what makes a photograph difficult to segment: hair, other spots, red skin, low contrast, cropping."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.imaging.color import black_around_view, find_view, lesion_and_ring, to_lab
from napari_melanoma.imaging.hair import hair_mask
from napari_melanoma.metrics.overlap import border_pixels

HAIR_SIDE, SPOT_SIDE = 512, 192  # pixels: shorter side of the grid for hairs, longer side of that for spots
SPOT_DEPTH = 9.0  # difference from the surrounding skin in L*
MIN_SPOT_DIAMETER = 5.0  # pixels of the grid
MIN_SPOT_FILL = 0.5  # filled share of the square around a spot
BORDER_MARGIN = 0.08  # share of the diameter: spots this close to the lesion are part of its border


@dataclass(frozen=True)
class DifficultyTrait:
    """A trait that makes a photograph difficult: name and label of its measurement, and the limit at which it applies.

    ``above``: whether it applies from the limit upward, or below the limit.
    """

    name: str
    label: str
    limit: float
    above: bool
    explanation: str

    def applies_to(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether images with these values have the trait; False for NaN."""
        return values >= self.limit if self.above else values < self.limit


DIFFICULTY_TRAITS: tuple[DifficultyTrait, ...] = (
    DifficultyTrait("hair_share", "hair", 0.01, True, "Share of the view covered by dark hairs"),
    DifficultyTrait(
        "other_spots", "other spots nearby", 1.0, True, "Dark round spots that do not belong to the lesion"
    ),
    DifficultyTrait("skin_redness", "red skin", 20.0, True, "Mean a* of the skin around the lesion"),
    DifficultyTrait(
        "contrast",
        "low contrast",
        15.0,
        False,
        "Color difference (CIE 1976) between the lesion and the surrounding skin",
    ),
    DifficultyTrait(
        "edge_share", "touching the image's edge", 0.02, True, "Share of the lesion's border on the image's edge"
    ),
)


def measure_difficulty(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Measure what makes a photograph difficult to segment, given the true mask.

    The traits are those of the failures in P4 (hair, nearby moles, red skin, unclear borders), and whether the lesion
    is cropped by the image.

    ``rgb``: photograph, uint8, (row, column, channel=3). ``mask``: reference, bool (row, column). Returns the value
    of each of ``DIFFICULTY_TRAITS`` by name; NaN where undefined, as mostly for an empty mask.
    """
    measurements = {"hair_share": measure_hair_share(rgb, mask)}
    if not mask.any():
        return measurements | dict.fromkeys(("other_spots", "skin_redness", "contrast", "edge_share"), math.nan)
    lesion, ring, lab = lesion_and_ring(mask, rgb)
    redness = contrast = math.nan
    if ring.any():
        around = lab[ring].mean(axis=0)
        redness = float(around[1])
        contrast = float(np.linalg.norm(lab[lesion].mean(axis=0) - around))
    spots = float(count_other_spots(rgb, mask))
    return measurements | {
        "other_spots": spots,
        "skin_redness": redness,
        "contrast": contrast,
        "edge_share": measure_edge_share(mask),
    }


def measure_hair_share(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Measure the share of the view covered by dark hairs (``hair.hair_mask``), without black and padding around it.

    ``rgb``: photograph, uint8, (row, column, channel=3). ``mask``: the lesion, bool (row, column). Returns the share
    in [0, 1]; NaN if no part of the photograph can show skin.
    """
    small = _downscale(rgb, HAIR_SIDE / min(rgb.shape[:2]))
    view = find_view(small, _downscale_mask(mask, small))
    return float(hair_mask(small)[view].mean()) if view.any() else math.nan


def count_other_spots(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> int:
    """Count the dark round spots that do not belong to the lesion, such as nearby moles.

    A spot is darker than the surrounding skin, about as high as wide, and at least 2.6 % of the photograph's longer
    side in diameter; hairs are too long, and spots at the edge of the photograph are ignored.

    ``rgb``: photograph, uint8, (row, column, channel=3). ``mask``: the lesion, bool (row, column).
    """
    from scipy import ndimage

    small = _downscale(rgb, SPOT_SIDE / max(rgb.shape[:2]))
    light = ndimage.median_filter(to_lab(small)[..., 0], 5)  # hairs are narrower
    lesion = _downscale_mask(mask, small)
    diameter = math.sqrt(4 * np.count_nonzero(lesion) / math.pi)
    skin = ndimage.distance_transform_edt(~lesion) > max(2.0, BORDER_MARGIN * diameter)
    skin &= ~black_around_view(small, lesion)
    labels, _ = ndimage.label((_skin_lightness(light, skin) - light > SPOT_DEPTH) & skin)
    return sum(
        _is_spot(labels[box] == index, box, labels.shape)
        for index, box in enumerate(ndimage.find_objects(labels), start=1)
    )


def measure_edge_share(mask: NDArray[np.bool_]) -> float:
    """Measure the share of a lesion's border on the edge of the image, where the lesion is cropped.

    ``mask``: bool (row, column). In [0, 1]; NaN for an empty mask.
    """
    line = border_pixels(mask)
    total = np.count_nonzero(line)
    return float(1 - np.count_nonzero(line[1:-1, 1:-1]) / total) if total else math.nan


def _skin_lightness(light: NDArray[np.float32], skin: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the lightness of the skin without spots: a wide mean of skin pixels, which follows uneven light."""
    from scipy import ndimage

    sigma = SPOT_SIDE / 12
    weight = ndimage.gaussian_filter(skin.astype(np.float32), sigma)
    return ndimage.gaussian_filter(np.where(skin, light, 0), sigma) / np.maximum(weight, 1e-3)


def _is_spot(spot: NDArray[np.bool_], box: tuple[slice, slice], shape: tuple[int, int]) -> bool:
    """Return whether a dark component is a mole, and not a hair, a ruler mark, a dark corner or noise.

    ``spot``: bool (row, column), in its bounding ``box``. ``shape``: of the photograph.
    """
    inside = all(part.start > 0 and part.stop < length for part, length in zip(box, shape, strict=True))
    area = np.count_nonzero(spot)
    return inside and area >= max(math.pi / 4 * MIN_SPOT_DIAMETER**2, MIN_SPOT_FILL * max(spot.shape) ** 2)


def _downscale_mask(mask: NDArray[np.bool_], small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    from PIL import Image

    size = (small.shape[1], small.shape[0])
    return np.asarray(Image.fromarray(mask.view(np.uint8) * 255).resize(size, Image.Resampling.BOX)) > 0


def _downscale(rgb: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Downscale a photograph by averaging; smaller ones are unchanged."""
    from PIL import Image

    if scale >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BOX))
