"""Which parts of the tumour of a section are measured together: a body, nests near it, none within the epidermis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.breslow.sections import without_specks
from napari_melanoma.analysis.masks import bounding_box, components, grown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.breslow.config import DepthConfig
    from napari_melanoma.analysis.breslow.sections import Section

    Bools = NDArray[np.bool_]

UNSURE = 64  # of 255: tumour that is but possible
FEW = 0.2  # of a lesion's area: what is larger is a lesion of its own, not its nest


@dataclass(frozen=True)
class Growth:
    """A lesion as it may be measured, all bool (row, column) within the section's box.

    ``body`` is its largest part, ``near`` has the nests beside it too, ``far`` also those further off; ``possible``
    has all that may be part of ``near``: what is more or less likely tumour right beside it, or hangs together with it.
    """

    body: Bools
    near: Bools
    far: Bools
    possible: Bools


def invasive(section: Section, config: DepthConfig) -> tuple[NDArray[np.int32], Bools]:
    """Number the parts of the tumour that lie below the epidermis.

    Returns int32 (row, column): 0 where there is none. Returns bool (row, column): nests within the epidermis, and at
    the junction.
    """
    from scipy import ndimage

    labels, count = components(section.tumour)
    area = np.bincount(labels.ravel(), minlength=count + 1) * section.cell_um2
    within = np.zeros(count + 1, bool)
    boxes = ndimage.find_objects(labels)
    for number in np.flatnonzero((area >= config.min_nest_um2) & (area <= config.in_situ_um2)).tolist():
        if number and boxes[number - 1] is not None:
            rows, columns = (slice(max(0, part.start - 2), part.stop + 2) for part in boxes[number - 1])
            own = labels[rows, columns] == number
            ring = ndimage.binary_dilation(own, np.ones((3, 3), bool), iterations=2) & ~own
            within[number] = section.epidermis[rows, columns][ring].mean() >= config.in_situ_contact
    keep = (area >= config.min_nest_um2) & ~within
    keep[0] = False
    in_situ: Bools = within[labels]
    return np.where(keep[labels], labels, 0).astype(np.int32), in_situ


def growths(section: Section, parts: NDArray[np.int32], config: DepthConfig) -> tuple[Growth, ...]:
    """Group the parts of the tumour into lesions.

    ``parts``: int32 (row, column), of ``invasive``. Returns the largest first.
    """
    groups = _grouped(parts > 0, config.nest_gap_um, section.cell_um)
    areas = np.bincount(groups.ravel()) * section.cell_um2
    areas[0] = 0
    found = []
    for number in np.argsort(-areas, kind="stable"):
        if areas[number] < config.min_lesion_um2:
            break
        found.append(_growth(section, parts, groups, int(number), config))
    return tuple(found)


def _growth(
    section: Section, parts: NDArray[np.int32], groups: NDArray[np.int32], number: int, config: DepthConfig
) -> Growth:
    """Put a lesion together."""
    near = groups == number
    sizes = np.bincount(parts[near])
    sizes[0] = 0
    away = _distance(near, config.far_gap_um, section.cell_um)
    reached = np.unique(groups[away <= config.far_gap_um])
    areas = np.bincount(groups.ravel())
    nests = [other for other in reached.tolist() if other not in (0, number) and areas[other] < FEW * areas[number]]
    unsure = without_specks(section.chance >= UNSURE, config.min_nest_um2 / section.cell_um2)
    unsure = unsure & (away <= config.far_gap_um) | near
    linked, _ = components(unsure)
    reaches = np.zeros(linked.max() + 1, bool)
    reaches[linked[near]] = True
    possible = reaches[linked] | (unsure & (away <= config.nest_gap_um))
    return Growth(parts == sizes.argmax(), near, near | np.isin(groups, nests), possible)


def _grouped(mask: Bools, gap_um: float, cell_um: tuple[float, float]) -> NDArray[np.int32]:
    """Number the parts of a mask, those across a gap of at most this by one number."""
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    labels, _ = components(_distance(mask, gap_um, cell_um) <= gap_um / 2)
    return np.where(mask, labels, 0).astype(np.int32)


def _distance(mask: Bools, reach_um: float, cell_um: tuple[float, float]) -> NDArray[np.float32]:
    """Distance from a mask in micrometres, right up to a reach and infinite further off."""
    from scipy import ndimage

    box = bounding_box(mask)
    assert box is not None
    part = grown(box, int(np.ceil(reach_um / min(cell_um))) + 1, mask.shape).slices
    away = np.full(mask.shape, np.inf, np.float32)
    away[part] = ndimage.distance_transform_edt(~mask[part], sampling=cell_um)
    return away
