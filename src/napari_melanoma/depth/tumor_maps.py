"""Input of a thickness measurement: tissue maps of a model, masks of tissue and tumor, scale checks and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.geometry import MAX_ASPECT, SLIDE_UM, UM_PER_MM, MapPlacement, PixelSize, format_scale

MALIGNANT_NAMES = ("melanoma", "malignant", "tumour", "tumor")
BENIGN_NAMES = ("benign", "naevus", "nevus")
PREVAILING_WINDOW_UM = 60.0  # standard deviation of the Gaussian over which melanoma and nevus are compared
COARSE_UM = 10.0  # size of the cells on which they are compared
FINE_UM = 8.0  # approximate size of interpolated cells
MIN_MAP_MM, MAX_MAP_MM = 0.05, 200.0  # a slide is 75 mm long, the largest ones 150
PIXEL_SIZE_MISSING = (
    "pixel size is missing: a thickness in mm requires micrometers per pixel, and this slide file has none. Set "
    "it under Scale in the Slide dock (Python: pixel_size_um, command line: --mpp)."
)


@dataclass(frozen=True)
class TissueMaps:
    """Probabilities that a model predicted for the cells of a map.

    ``probability``: (class, row, column), uint8 up to 255 or float up to 1. ``classes``: their names, in
    the same order.

    Cells without a prediction (NaN, or 0 in all classes) count as background.
    """

    probability: NDArray[Any]
    classes: tuple[str, ...]

    @property
    def roles(self) -> ClassRoles:
        """Roles of the classes; raise if a class that the measurement requires is missing."""
        roles = ClassRoles.from_names(self.classes)
        if roles is None:
            raise InputError(
                f"a thickness requires a map with the classes background, epidermis and melanoma (or tumor); this "
                f"one has {', '.join(self.classes)}. Analyze the slide with a model that predicts these."
            )
        return roles


@dataclass(frozen=True)
class TissueMasks:
    """Masks of a map, all (row, column).

    ``tumor``: cells that are most likely melanoma or nevus, where melanoma prevails in the neighborhood.
    ``tumor_probability``: probability of melanoma plus that of nevus, up to 255; 0 where nevus prevails.
    """

    tissue: NDArray[np.bool_]
    epidermis: NDArray[np.bool_]
    tumor: NDArray[np.bool_]
    tumor_probability: NDArray[np.uint8]


def classify_tissue(maps: TissueMaps, cell_um: tuple[float, float]) -> TissueMasks:
    """Classify the cells of a map as tissue, epidermis and tumor by the most likely class.

    Melanoma and nevus compete with the other classes as one class, a lesion. A lesion cell is tumor if melanoma
    prevails in the neighborhood.

    ``cell_um``: height and width of a cell in micrometers.
    """
    roles, values = maps.roles, _to_uint8(maps.probability)
    lesion = values[roles.malignant]
    if roles.benign >= 0:
        lesion = np.minimum(lesion.astype(np.uint16) + values[roles.benign], 255).astype(np.uint8)
    best, tissue = values[roles.background].copy(), np.zeros(lesion.shape, bool)
    if roles.keratin >= 0:
        np.maximum(best, values[roles.keratin], out=best)
    for index in range(len(values)):
        if index not in (roles.background, roles.keratin, roles.malignant, roles.benign):
            tissue |= values[index] > best
            np.maximum(best, values[index], out=best)
    tumor = lesion > best
    epidermis = (values[roles.epidermis] == best) & tissue & ~tumor
    tissue |= tumor
    if roles.benign >= 0:
        melanoma = _melanoma_prevails(values[roles.malignant], values[roles.benign], cell_um)
        tumor &= melanoma
        lesion = np.where(melanoma, lesion, 0).astype(np.uint8)
    return TissueMasks(tissue, epidermis, tumor, lesion)


def block_means(values: NDArray[Any], steps: Sequence[int]) -> NDArray[np.float32]:
    """Average over blocks of cells; the last blocks are padded with the values at the edge.

    ``values``: numbers (..., row, column). ``steps``: height and width of a block in cells. Returns float32
    (..., row, column).
    """
    *others, rows, columns = values.shape
    padding = [(0, 0)] * len(others) + [(0, -side % step) for side, step in zip((rows, columns), steps, strict=True)]
    blocks = (-(-rows // steps[0]), steps[0], -(-columns // steps[1]), steps[1])
    return np.pad(values, padding, mode="edge").reshape(*others, *blocks).mean(axis=(-3, -1), dtype=np.float32)


def _melanoma_prevails(
    malignant: NDArray[np.uint8], benign: NDArray[np.uint8], cell_um: tuple[float, float]
) -> NDArray[np.bool_]:
    """Mask where melanoma is at least as likely as nevus in the neighborhood; computed on coarse cells for speed."""
    from scipy import ndimage

    steps = [max(1, round(COARSE_UM / um)) for um in cell_um]
    sigma = [PREVAILING_WINDOW_UM / (um * step) for um, step in zip(cell_um, steps, strict=True)]
    melanoma, nevus = (ndimage.gaussian_filter(block_means(values, steps), sigma) for values in (malignant, benign))
    coarse = melanoma >= nevus
    rows, columns = malignant.shape
    return np.repeat(np.repeat(coarse, steps[0], axis=0)[:rows], steps[1], axis=1)[:, :columns]


def interpolate_maps(maps: TissueMaps, place: MapPlacement) -> tuple[TissueMaps, MapPlacement]:
    """Interpolate coarse maps linearly, so that borders between classes do not follow the edges of the cells.

    ``place``: position of the map on the slide, with the pixel size. Returns the map with cells of about ``FINE_UM``,
    and its position; the same objects if the cells are small enough already.
    """
    from scipy import ndimage

    cell = place.cell_um
    assert cell is not None
    factors = [max(1, round(um / FINE_UM)) for um in cell]
    if max(factors) == 1:
        return maps, place
    values = _to_uint8(maps.probability)
    finer = [ndimage.zoom(layer, factors, order=1, mode="nearest", grid_mode=True) for layer in values]
    steps = place.step_y / factors[0], place.step_x / factors[1]
    return TissueMaps(np.stack(finer), maps.classes), replace(place, step_y=steps[0], step_x=steps[1])


def _to_uint8(probability: NDArray[Any]) -> NDArray[np.uint8]:
    if probability.dtype == np.uint8:
        return probability
    return np.rint(255 * np.clip(np.nan_to_num(probability), 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class ClassRoles:
    """Index of the class for each role.

    ``benign``, ``keratin``: -1 where the model has no class of benign lesions, or of keratin, which lies above the
    surface from which a thickness is measured, as glass does.
    """

    background: int
    epidermis: int
    malignant: int
    benign: int = -1
    keratin: int = -1

    @classmethod
    def from_names(cls, classes: Sequence[str]) -> Self | None:
        """Match classes by name; None if background, epidermis or tumor is missing."""
        names = [name.lower() for name in classes]
        background, epidermis = _first_match(names, ("background", "glass")), _first_match(names, ("epidermis",))
        malignant, benign = _first_match(names, MALIGNANT_NAMES), _first_match(names, BENIGN_NAMES)
        if min(background, epidermis, malignant) < 0:
            return None
        return cls(background, epidermis, malignant, benign, _first_match(names, ("keratin",)))


def has_nevus_class(classes: Sequence[str]) -> bool:
    """Whether a model has a nevus class, so that nevi are not measured as melanomas."""
    roles = ClassRoles.from_names(classes)
    return roles is not None and roles.benign >= 0


def _first_match(names: Sequence[str], candidates: Sequence[str]) -> int:
    """Index of the first candidate among the names; -1 where there is none."""
    return next((names.index(name) for name in candidates if name in names), -1)


def check_cell_um(place: MapPlacement, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return height and width of the cells of a map in micrometers; raise if the scale is missing or implausible."""
    size, cell = place.pixel_size, place.cell_um
    if size is None or cell is None:
        raise ScaleMissing(PIXEL_SIZE_MISSING)
    sides = shape[0] * cell[0] / UM_PER_MM, shape[1] * cell[1] / UM_PER_MM
    reason = describe_implausible_size(size, sides)
    if not reason and max(sides) < MIN_MAP_MM:
        reason = implausible_size_message(size, sides)
    if reason:
        raise ScaleMissing(f"{reason} No thickness was measured.")
    return cell


def describe_implausible_size(size: PixelSize, sides_mm: tuple[float, float]) -> str:
    """Describe why a pixel size is implausible for a slide, and what to do; empty if it is plausible.

    ``sides_mm``: height and width of the slide, or of the map, at this pixel size.
    """
    low, high = SLIDE_UM
    in_range = low <= min(size.y_um, size.x_um) and max(size.y_um, size.x_um) <= high
    similar = max(size.y_um / size.x_um, size.x_um / size.y_um) <= MAX_ASPECT
    plausible = in_range and similar and max(sides_mm) <= MAX_MAP_MM
    return "" if plausible else implausible_size_message(size, sides_mm)


def implausible_size_message(size: PixelSize, sides_mm: tuple[float, float]) -> str:
    low, high = SLIDE_UM
    return (
        f"implausible pixel size {format_scale(size.y_um, size.x_um, 6)} micrometers ({size.source}): the slide or its "
        f"analyzed region would be {sides_mm[1]:.4g} x {sides_mm[0]:.4g} mm. Expected {low:g} to {high:g}, similar in "
        "both directions; a factor of 1000 suggests a wrong unit. Set the correct value under Scale in the Slide dock "
        "(Python: pixel_size_um, command line: --mpp)."
    )


class DepthMeasurementConfig(Config):
    """Parameters of the thickness measurement: lengths in micrometers, areas in square micrometers unless stated."""

    min_section_mm2: float = Field(0.02, gt=0, description="smaller pieces of tissue are not sections")
    min_epidermis_um2: float = Field(2500, gt=0, description="smaller patches of epidermis are removed as errors")
    min_lesion_um2: float = Field(5000, gt=0, description="tumors with a smaller total area are not measured")
    min_nest_um2: float = Field(250, gt=0, description="smaller nests are removed as specks")
    nest_gap_um: float = Field(60, gt=0, description="nests belong to the same lesion up to this gap")
    far_gap_um: float = Field(300, gt=0, description="nests up to this gap are included in a separate candidate")
    in_situ_um2: float = Field(6000, gt=0, description="larger nests are never intraepidermal")
    in_situ_contact: float = Field(0.4, gt=0, le=1, description="share of epidermis around an intraepidermal nest")
    detached_um: float = Field(
        250, gt=0, description="lesions whose top lies deeper than this are marked as not connected to the surface"
    )
    cover_um: float = Field(
        150, gt=0, description="epidermis up to this depth below the edge of the tissue forms the surface"
    )
    ulcer_um: float = Field(120, gt=0, description="shorter gaps of the epidermis above the tumor are not ulcers")
    edge_um: float = Field(
        30, gt=0, description="tumor along this length of the section's end makes the thickness a lower bound"
    )
    window_mm: float = Field(
        2.0, gt=0, description="length of skin on each side of the lesion that defines the direction down"
    )
    faint_from_mm: float = Field(1.0, gt=0, description="lesions from this thickness on include all possible tumor")
    different_mm: float = Field(0.02, gt=0, description="candidates of a lesion that differ by less count as the same")
