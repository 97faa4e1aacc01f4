"""The Breslow thickness of an analysed slide: which parts of its map are measured, and how ``result.json`` says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.breslow.candidate import DepthCandidate, ranked
from napari_melanoma.analysis.breslow.candidates import NO_TISSUE, NO_TUMOUR, measure_depth
from napari_melanoma.analysis.breslow.category import straddles, t_category
from napari_melanoma.analysis.breslow.clark import clark_estimate
from napari_melanoma.analysis.breslow.config import DepthConfig
from napari_melanoma.analysis.breslow.interval import IntervalLaw, known_laws
from napari_melanoma.analysis.breslow.maps import ClassRoles, TissueMaps, means, tissues_of
from napari_melanoma.analysis.breslow.scale import checked_cell_um
from napari_melanoma.analysis.breslow.sections import Section, find_sections, widened, without_specks
from napari_melanoma.analysis.masks import bounding_box, grown
from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlace

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.analysis.slide_lesions import SlideLesion
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.workflows.slide_maps import SlideMaps

MOST_CELLS = 9_000_000  # of what is measured at once: about 400 MB at work
STRIP = 512  # rows that are read at once
COARSE_UM = 12.0  # cells on which sections and lesions are found first
NOTHING: dict[str, Any] = {"breslow_mm": None, "breslow_interval_mm": None, "t_category": None, "depth": None}
NO_LAW = "no interval: this model was not tried on slides of known thickness, so that its errors are not known"
COARSER = "section {} is large: measured on cells of {:.1f} micrometres"
BESIDE = 0.5  # of a lesion's size: so much around it is looked at beyond the skin that says which way is down
STRADDLES = "the interval reaches {}: the category is not sure"
NO_LETTER = "ulceration is not known: the category may lack its letter"


@dataclass(frozen=True)
class DepthMap:
    """The stitched map of a dense model: ``map`` of the store, uint8 (class, row, column), where it lies, its classes.

    ``model`` is the model's name, by which its intervals are known.
    """

    values: zarr.Array
    place: MapPlace
    classes: tuple[str, ...]
    model: str

    @classmethod
    def of(cls, values: zarr.Array, small: SlideMaps, classes: tuple[str, ...], model: str) -> DepthMap:
        """Take the map that smaller maps are means of.

        Parameters
        ----------
        values : zarr.Array
            The map.
        small : SlideMaps
            As ``stitched_maps`` gives it.
        classes : tuple of str
            In their order.
        model : str
            Name.

        Returns
        -------
        DepthMap
            With the place of the map's own cells.
        """
        step = -(-values.shape[1] // small.probability.shape[1])
        place = replace(small.place, step_y=small.place.step_y / step, step_x=small.place.step_x / step)
        return cls(values, place, classes, model)


def slide_depth(found: DepthMap, small: SlideMaps, lesions: Sequence[SlideLesion], run: RunContext) -> dict[str, Any]:
    """Measure the thickness of the lesions of each section.

    Parameters
    ----------
    found : DepthMap
        What is measured on, part by part.
    small : SlideMaps
        The same on cells that fit into memory.
    lesions : sequence of SlideLesion
        Of the slide, to say which of them a candidate belongs to.
    run : RunContext
        Asked between sections whether to go on.

    Returns
    -------
    dict
        ``breslow_mm``, ``breslow_interval_mm``, ``t_category`` and ``depth`` of ``result.json``: all None where the
        model does not draw what is needed; where the slide has nothing to measure, ``depth`` says in its notes why.

    Raises
    ------
    Cancelled
        Where the user stopped it.
    """
    if ClassRoles.of(found.classes) is None:
        return dict(NOTHING)
    try:
        candidates, notes = _measured(found, small, run)
    except ScaleMissing as error:
        return {**NOTHING, "depth": _told((), [str(error)])}
    return _answer([_with_lesion(one, lesions) for one in candidates], notes)


def _measured(found: DepthMap, small: SlideMaps, run: RunContext) -> tuple[tuple[DepthCandidate, ...], list[str]]:
    """Measure section after section, each in the part of the map that its lesions need."""
    config, law = DepthConfig(), known_laws().get(found.model)
    checked_cell_um(found.place, found.values.shape[1:])
    coarse, place, step = _coarse(small, found.classes)
    cell_um = checked_cell_um(place, coarse.probability.shape[1:])
    sections = find_sections(tissues_of(coarse, cell_um), cell_um, config)
    candidates: list[DepthCandidate] = []
    notes: list[str] = [] if sections else [NO_TISSUE]
    fine = step * -(-found.values.shape[1] // small.probability.shape[1])
    for section in run.track(sections, "Measuring the thickness"):
        part = _part(section, config)
        if part is None:
            notes.append(NO_TUMOUR.format(section.index + 1))
            continue
        measured, why = _measured_part(found, section, part, fine, law)
        candidates += measured
        notes += why
    if law is None and candidates:
        notes.append(NO_LAW)
    return ranked(candidates), notes


def _measured_part(
    found: DepthMap, section: Section, part: Box, fine: int, law: IntervalLaw | None
) -> tuple[tuple[DepthCandidate, ...], list[str]]:
    """Measure a part of a section; ``fine`` is how many cells of the map a coarse cell has along a side."""
    box = _cut(Box(*(fine * side for side in (part.top, part.left, part.height, part.width))), found.values.shape)
    step = max(1, int(np.ceil(np.sqrt(box.height * box.width / MOST_CELLS))))
    values = _read(found.values, box, step)
    own = np.repeat(np.repeat(_own(section, part), fine, axis=0), fine, axis=1)
    values *= own[: box.height : step, : box.width : step][: values.shape[1], : values.shape[2]]
    place = found.place
    top, left = place.to_slide((box.top, box.left)).tolist()
    cut = MapPlace(top, left, place.step_y * step, place.step_x * step, place.pixel_size)
    result = measure_depth(TissueMaps(values, found.classes), cut, law=law, section=section.index)
    cell = cut.cell_um
    coarser = [COARSER.format(section.index + 1, max(cell))] if step > 1 and cell else []
    return result.candidates, [*result.notes, *coarser]


def _coarse(small: SlideMaps, classes: tuple[str, ...]) -> tuple[TissueMaps, MapPlace, int]:
    """Means of the maps on cells of about ``COARSE_UM``, and how many of their cells one has along a side."""
    cell = small.place.cell_um
    step = max(1, int(COARSE_UM / max(cell))) if cell else 1
    layers = [np.rint(255 * means(np.nan_to_num(layer), (step, step))) for layer in small.probability]
    place = replace(small.place, step_y=small.place.step_y * step, step_x=small.place.step_x * step)
    return TissueMaps(np.stack(layers).astype(np.uint8), classes), place, step


def _part(section: Section, config: DepthConfig) -> Box | None:
    """Part of the map that holds the lesions of a section and the skin beside them; None where there is no lesion."""
    tumour = without_specks(section.tumour, config.min_lesion_um2 / 4 / section.cell_um2)
    box = bounding_box(tumour)
    if box is None:
        return None
    sides_um = box.height * section.cell_um[0], box.width * section.cell_um[1]
    margin = BESIDE * max(sides_um) + 1000 * config.window_mm
    wide = grown(box, round(margin / min(section.cell_um)), section.whole.shape)
    return Box(wide.top + section.top, wide.left + section.left, wide.height, wide.width)


def _own(section: Section, part: Box) -> NDArray[np.bool_]:
    """Cells of a part that belong to a section, and those around it, but to no other."""
    near = widened(section.whole, 2 * max(section.cell_um), section.cell_um)
    top, left = part.top - section.top, part.left - section.left
    own: NDArray[np.bool_] = near[top : top + part.height, left : left + part.width]
    return own


def _cut(box: Box, shape: tuple[int, ...]) -> Box:
    """The part of a box that lies on the map."""
    height, width = min(box.height, shape[1] - box.top), min(box.width, shape[2] - box.left)
    return Box(box.top, box.left, height, width)


def _read(values: zarr.Array, box: Box, step: int) -> NDArray[np.uint8]:
    """Read a part of the map, a strip at a time; means over squares of ``step`` cells."""
    columns, strips = slice(box.left, box.left + box.width), []
    height = max(step, STRIP // step * step)
    for top in range(box.top, box.top + box.height, height):
        strip = np.asarray(values[:, top : min(top + height, box.top + box.height), columns])
        strips.append(strip if step == 1 else np.stack([np.rint(means(layer, (step, step))) for layer in strip]))
    return np.concatenate(strips, axis=1).astype(np.uint8)


def _with_lesion(one: DepthCandidate, lesions: Sequence[SlideLesion]) -> DepthCandidate:
    """Say which lesion of the slide a candidate belongs to: the largest around its deepest point."""
    around = [lesion for lesion in lesions if _holds(lesion.box, one.deepest)]
    best = max(around, key=lambda lesion: lesion.area_px, default=None)
    return replace(one, lesion=None if best is None else best.index)


def _holds(box: Box, point: tuple[float, float]) -> bool:
    """Whether a point lies in a box, or at most its quarter beside it."""
    rows, columns = box.height / 4, box.width / 4
    inside = box.top - rows <= point[0] <= box.top + box.height + rows
    return inside and box.left - columns <= point[1] <= box.left + box.width + columns


def _answer(candidates: Sequence[DepthCandidate], notes: list[str]) -> dict[str, Any]:
    """What ``result.json`` says: the likeliest candidate is the slide's."""
    if not candidates:
        return {**NOTHING, "depth": _told((), notes)}
    best = candidates[0]
    if best.ulcerated is None:
        notes = [*notes, NO_LETTER]
    reached = straddles(best.interval_mm, best.ulcerated) if best.interval_mm else ()
    if reached:
        notes = [*notes, STRADDLES.format(" and ".join([", ".join(reached[:-1]), reached[-1]]))]
    return {
        "breslow_mm": round(best.mm, 4),
        "breslow_interval_mm": best.as_json()["interval_mm"],
        "t_category": t_category(best.mm, best.ulcerated),
        "depth": _told(candidates, notes),
    }


def _told(candidates: Sequence[DepthCandidate], notes: Sequence[str]) -> dict[str, Any]:
    """Candidates and all that a reader should know of them."""
    best = candidates[0] if candidates else None
    clark = None if best is None else clark_estimate(1000 * best.below_epidermis_mm, best.at_least)
    return {
        "candidates": [one.as_json() for one in candidates],
        "notes": [*(best.notes if best else ()), *notes],
        "ulceration": best.ulcerated if best else None,
        "ulcer_mm": round(best.ulcer_mm, 4) if best else None,
        "at_least": best.at_least if best else None,
        "clark_estimate": clark.level if clark else None,
        "clark_reason": clark.reason if clark else None,
    }
