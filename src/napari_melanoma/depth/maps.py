"""Tissue maps of a section: scale, class roles and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError, ScaleMissing

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.core.placement import MapPlacement

BENIGN_NAMES = ("benign", "naevus", "nevus")
PREVAILING_WINDOW_UM = 60.0  # over which naevus and melanoma are weighed against each other
COARSE_UM = 10.0
FINE_UM = 8.0


@dataclass(frozen=True)
class TissueMaps:
    """Probability of each class of each cell, (class, row, column): uint8 up to 255, or float up to 1.

    Cells of which nothing is known (not-a-number, or 0 in all classes) count as background.
    """

    probability: NDArray[Any]
    classes: tuple[str, ...]

    @classmethod
    def from_labels(cls, labels: NDArray[np.integer], classes: Sequence[str]) -> Self:
        """Take a label image for a map that is sure of itself.

        ``labels``: integers (row, column): index into ``classes``. Returns uint8.
        """
        sure = labels[None] == np.arange(len(classes))[:, None, None]
        return cls(sure.astype(np.uint8) * np.uint8(255), tuple(classes))

    @property
    def roles(self) -> ClassRoles:
        """Which class is what."""
        roles = ClassRoles.from_names(self.classes)
        if roles is None:
            raise InputError(
                f"a thickness needs a map with the classes background, epidermis and melanoma (or tumour), and this "
                f"one has {', '.join(self.classes)}: analyse the slide with a model that draws these."
            )
        return roles


@dataclass(frozen=True)
class TissueMasks:
    """What is where, all (row, column): bool ``tissue``, ``epidermis``, ``tumour``; ``chance`` of tumour, uint8.

    ``tumour`` is what is more like melanoma than like a naevus; ``chance`` is up to 255, and counts naevus too where
    melanoma prevails around.
    """

    tissue: NDArray[np.bool_]
    epidermis: NDArray[np.bool_]
    tumor: NDArray[np.bool_]
    tumor_probability: NDArray[np.uint8]


def classify_tissue(maps: TissueMaps, cell_um: tuple[float, float]) -> TissueMasks:
    """Decide what each cell is: the likeliest class, and of lesions the one that prevails around.

    ``cell_um``: height and width of a cell in micrometres.
    """
    roles, values = maps.roles, _as_bytes(maps.probability)
    lesion = values[roles.malignant]
    if roles.benign >= 0:
        lesion = np.minimum(lesion.astype(np.uint16) + values[roles.benign], 255).astype(np.uint8)
    best, tissue = values[roles.background].copy(), np.zeros(lesion.shape, bool)
    for index in range(len(values)):
        if index not in (roles.background, roles.malignant, roles.benign):
            tissue |= values[index] > best
            np.maximum(best, values[index], out=best)
    tumour = lesion > best
    epidermis = (values[roles.epidermis] == best) & tissue & ~tumour
    tissue |= tumour
    if roles.benign >= 0:
        melanoma = _melanoma_prevails(values[roles.malignant], values[roles.benign], cell_um)
        tumour &= melanoma
        lesion = np.where(melanoma, lesion, 0).astype(np.uint8)
    return TissueMasks(tissue, epidermis, tumour, lesion)


def block_means(values: NDArray[Any], steps: Sequence[int]) -> NDArray[np.float32]:
    """Take means over blocks of cells; those at the far edges are of what there is.

    ``values``: numbers (row, column). Returns float32 (row, column).
    """
    below, beside = (-side % step for side, step in zip(values.shape, steps, strict=True))
    padded = np.pad(values, ((0, below), (0, beside)), mode="edge")
    rows, columns = padded.shape[0] // steps[0], padded.shape[1] // steps[1]
    return padded.reshape(rows, steps[0], columns, steps[1]).mean(axis=(1, 3), dtype=np.float32)


def _melanoma_prevails(
    malignant: NDArray[np.uint8], benign: NDArray[np.uint8], cell_um: tuple[float, float]
) -> NDArray[np.bool_]:
    """Where melanoma outweighs naevus, over all that is near; reckoned on coarse cells, for it is smooth."""
    from scipy import ndimage

    steps = [max(1, round(COARSE_UM / um)) for um in cell_um]
    sigma = [PREVAILING_WINDOW_UM / (um * step) for um, step in zip(cell_um, steps, strict=True)]
    near = [ndimage.gaussian_filter(block_means(values, steps), sigma) for values in (malignant, benign)]
    coarse = near[0] >= near[1]
    rows, columns = malignant.shape
    return np.repeat(np.repeat(coarse, steps[0], axis=0)[:rows], steps[1], axis=1)[:, :columns]


def interpolate_maps(maps: TissueMaps, place: MapPlacement) -> tuple[TissueMaps, MapPlacement]:
    """Interpolate coarse maps, so that borders lie between cells where probabilities say so.

    ``place``: where it lies; with its pixel size. Returns the same on cells of at most ``FINE_UM``, linear between the
    centres of the cells that were there.
    """
    from scipy import ndimage

    cell = place.cell_um
    assert cell is not None
    times = [max(1, round(um / FINE_UM)) for um in cell]
    if max(times) == 1:
        return maps, place
    values = _as_bytes(maps.probability)
    finer = [ndimage.zoom(layer, times, order=1, mode="nearest", grid_mode=True) for layer in values]
    steps = place.step_y / times[0], place.step_x / times[1]
    return TissueMaps(np.stack(finer), maps.classes), replace(place, step_y=steps[0], step_x=steps[1])


def _as_bytes(probability: NDArray[Any]) -> NDArray[np.uint8]:
    """Probabilities up to 255."""
    if probability.dtype == np.uint8:
        return probability
    return np.rint(255 * np.clip(np.nan_to_num(probability), 0, 1)).astype(np.uint8)


MALIGNANT_NAMES = ("melanoma", "malignant", "tumour", "tumor")


@dataclass(frozen=True)
class ClassRoles:
    """Which class is what, by index; ``benign`` is -1 where the model knows no benign lesion."""

    background: int
    epidermis: int
    malignant: int
    benign: int = -1

    @classmethod
    def from_names(cls, classes: Sequence[str]) -> Self | None:
        """Find them by their names.

        None where background, epidermis or tumour is not among them.
        """
        names = [name.lower() for name in classes]
        background, epidermis = _first_match(names, ("background", "glass")), _first_match(names, ("epidermis",))
        malignant, benign = _first_match(names, MALIGNANT_NAMES), _first_match(names, BENIGN_NAMES)
        if min(background, epidermis, malignant) < 0:
            return None
        return cls(background, epidermis, malignant, benign)


def has_nevus_class(classes: Sequence[str]) -> bool:
    """Say whether a model knows naevi, so that these are not taken for melanomas."""
    roles = ClassRoles.from_names(classes)
    return roles is not None and roles.benign >= 0


def _first_match(names: Sequence[str], wanted: Sequence[str]) -> int:
    """Index of the first name that is wanted, those wanted more first; -1 where none is there."""
    return next((names.index(name) for name in wanted if name in names), -1)


UM = 1000.0  # in a millimetre
PLAUSIBLE_UM = (0.05, 20.0)  # a pixel of a slide at 200 times and at half a time
MIN_MAP_MM, MAX_MAP_MM = 0.05, 200.0  # a slide is 75 mm long, the largest ones 150
MAX_ASPECT = 4.0
PIXEL_SIZE_MISSING = (
    "pixel size is missing: a thickness in mm needs micrometres per pixel, and this slide carries none. Set "
    "it under Scale in the Slide dock (command line: --mpp)."
)


def check_cell_um(place: MapPlacement, shape: tuple[int, ...]) -> tuple[float, float]:
    """Give the size of a map's cells.

    Height and width in micrometres.
    """
    size, cell = place.pixel_size, place.cell_um
    if size is None or cell is None:
        raise ScaleMissing(PIXEL_SIZE_MISSING)
    sides = shape[0] * cell[0] / UM, shape[1] * cell[1] / UM
    if why := describe_implausible_size(size, sides) or (
        "" if max(sides) >= MIN_MAP_MM else implausible_size_message(size, sides)
    ):
        raise ScaleMissing(f"{why} No thickness was measured.")
    return cell


def describe_implausible_size(size: PixelSize, sides_mm: tuple[float, float]) -> str:
    """Say why a pixel size cannot be that of a slide.

    What is wrong and what to do; empty where nothing is.
    """
    low, high = PLAUSIBLE_UM
    good = low <= min(size.y_um, size.x_um) and max(size.y_um, size.x_um) <= high
    even = max(size.y_um / size.x_um, size.x_um / size.y_um) <= MAX_ASPECT
    return "" if good and even and max(sides_mm) <= MAX_MAP_MM else implausible_size_message(size, sides_mm)


def implausible_size_message(size: PixelSize, sides_mm: tuple[float, float]) -> str:
    """Say that a pixel size cannot be true."""
    low, high = PLAUSIBLE_UM
    return (
        f"a pixel size of {size.y_um:g} x {size.x_um:g} micrometres cannot be true ({size.source}): the slide, or what "
        f"is analysed of it, would be {sides_mm[0]:.4g} x {sides_mm[1]:.4g} mm. Slides have {low:g} to {high:g}, about "
        "alike both ways: a factor of 1000 is one unit taken for another. Set the true one under Scale in the "
        "Slide dock (command line: --mpp)."
    )


class DepthMeasurementConfig(Config):
    """Lengths are in micrometres on the section, areas in square micrometres unless they say otherwise."""

    min_section_mm2: float = Field(0.02, gt=0, description="smaller pieces of tissue are no section")
    min_epidermis_um2: float = Field(2500, gt=0, description="smaller patches of epidermis are taken for errors")
    min_lesion_um2: float = Field(5000, gt=0, description="tumour that is smaller in all is not measured")
    min_nest_um2: float = Field(250, gt=0, description="smaller nests are taken for specks")
    nest_gap_um: float = Field(60, gt=0, description="nests belong to a lesion across gaps of at most this")
    far_gap_um: float = Field(300, gt=0, description="nests across gaps up to this make a second candidate")
    in_situ_um2: float = Field(6000, gt=0, description="nests up to this may lie within the epidermis")
    in_situ_contact: float = Field(0.4, gt=0, le=1, description="and do where this share of their border meets it")
    detached_um: float = Field(
        250, gt=0, description="a lesion whose top lies deeper than this may be none of the skin"
    )
    cover_um: float = Field(150, gt=0, description="epidermis belongs to the surface up to this far below the glass")
    ulcer_um: float = Field(120, gt=0, description="epidermis missing over less than this of the tumour is no ulcer")
    edge_um: float = Field(30, gt=0, description="so much of the tumour at the section's end makes it 'at least'")
    window_mm: float = Field(2.0, gt=0, description="adjacent skin on each side that says which way is down")
    faint_from_mm: float = Field(1.0, gt=0, description="from here on a lesion reaches as far as tumour is possible")
    different_mm: float = Field(0.02, gt=0, description="candidates of a lesion that differ by less are one")
