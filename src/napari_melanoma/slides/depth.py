"""The Breslow thickness of an analyzed slide, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.candidates import (
    NO_TISSUE,
    NO_TUMOR,
    DepthCandidate,
    DepthIntervalModel,
    estimate_clark_level,
    load_interval_models,
    measure_depth,
    rank_candidates,
)
from napari_melanoma.depth.category import categories_in_interval, t_category
from napari_melanoma.depth.geometry import SkinSection, dilate, find_sections, remove_small_parts
from napari_melanoma.depth.maps import (
    ClassRoles,
    DepthMeasurementConfig,
    TissueMaps,
    block_means,
    check_cell_um,
    classify_tissue,
    has_nevus_class,
)
from napari_melanoma.imaging.masks import grow_box, label_components
from napari_melanoma.io.results import read_slide_validity

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.slides.maps import SlideMaps

NO_DEPTH: dict[str, Any] = {"breslow_mm": None, "breslow_interval_mm": None, "t_category": None, "depth": None}
NO_INTERVAL = "no interval: this model was not tried on slides of known thickness, so that its errors are not known"
OUT_OF_DISTRIBUTION = (
    "the slide is unlike those that the model learnt from: the thickness may mean nothing, and its interval may be too "
    "narrow"
)
COARSER = "section {} is large: measured on cells of {:.1f} micrometers"
STRADDLES = "the interval reaches {}: the category is not sure"
CUT_OFF = "the lesion is cut off, and may be thicker where nothing is seen of it: the category is {} or higher"
THICKEST_OF_SECTION = "the thickest section counts: {}"
NO_NEVUS_CLASS = "this model draws nevi and melanomas as one: the thickest lesion is measured, whichever it is"
ULCERATION_UNKNOWN = "ulceration is not known: the category may lack its letter"


def measure_slide_depth(
    found: DepthMap, lesions: Sequence[SlideLesion], run: RunContext, validity: Validity | None = None
) -> dict[str, Any]:
    """Measure the thickness of the lesions of each section.

    Returns ``breslow_mm``, ``breslow_interval_mm``, ``t_category`` and ``depth`` of ``result.json``: all None where the
    model does not draw what is needed; where the slide has nothing to measure, ``depth`` says in its notes why.
    """
    if ClassRoles.from_names(found.classes) is None:
        return dict(NO_DEPTH)
    own, law = validity or Validity(), load_interval_models().get(found.weights)
    try:
        candidates, notes = _measure_sections(found, run, law, familiar="out_of_distribution" not in own.codes)
    except ScaleMissing as error:
        return {**NO_DEPTH, "depth": {"validity": own.to_json(), **_candidates_content((), [str(error)])}}
    told = _depth_content([_assign_lesion(one, lesions) for one in candidates], notes)
    error_known = ValidityInputs("the model", calibrated=law is not None).check()
    told["depth"] = {"validity": own.with_reasons(error_known).to_json(), **told["depth"]}
    return told


def describe_depth(content: Mapping[str, Any]) -> str:
    """Return what a result tells of the depth, in a line.

    Empty where depth was not looked for.
    """
    told = content.get("depth")
    if not told:
        return ""
    validity = Validity.from_json(told.get("validity")) or read_slide_validity(content)
    if not validity.valid:
        return validity.headline("")
    return validity.headline(_describe_thickness(content, told))


def _describe_thickness(content: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """Thickness, category and notes of a prediction that is valid."""
    if content["breslow_mm"] is None:
        return f"no Breslow thickness: {'; '.join(told['notes']) or 'nothing to measure'}"
    interval = content["breslow_interval_mm"]
    least, what = ("at least ", " of what is seen") if told["at_least"] else ("", "")
    within = f" (90 % interval{what} {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    clark = f", Clark level {told['clark_estimate']} by estimate" if told["clark_estimate"] else ""
    thick = f"Breslow thickness {least}{content['breslow_mm']:.2f} mm{within}, {least}{content['t_category']}{clark}"
    return "; ".join([thick, *told["notes"]])


def _measure_sections(
    found: DepthMap, run: RunContext, law: DepthIntervalModel | None, *, familiar: bool
) -> tuple[tuple[DepthCandidate, ...], list[str]]:
    """Measure section after section, each in the part of the map that its lesions need."""
    config = DepthMeasurementConfig()
    sections = find_lesion_sections(found, config)
    candidates: list[DepthCandidate] = []
    notes: list[str] = [] if sections else [NO_TISSUE]
    for one in run.track(sections, "Measuring the thickness"):
        measured, why = _measure_section(found, one, config, law)
        candidates += measured
        notes += why
    if candidates:
        notes += (
            [OUT_OF_DISTRIBUTION] * (not familiar)
            + [NO_INTERVAL] * (law is None)
            + [NO_NEVUS_CLASS] * (not has_nevus_class(found.classes))
        )
    return rank_candidates(candidates), list(dict.fromkeys(notes))


def _measure_section(
    found: DepthMap, one: LesionSection, config: DepthMeasurementConfig, law: DepthIntervalModel | None
) -> tuple[list[DepthCandidate], list[str]]:
    """Measure a section; why there is nothing is of interest where there is nothing at all."""
    number = one.section.index + 1
    candidates: list[DepthCandidate] = []
    missing: list[str] = []
    cells: list[float] = []
    for box in one.boxes:
        maps, place = one.read(found, box)
        measured = measure_depth(maps, place, config, law, one.section.index)
        candidates += measured.candidates
        missing += measured.notes
        cells.append(place.step_y / found.placement.step_y)
    if not candidates:
        return [], missing or [NO_TUMOR.format(number)]
    coarse = max(cells) * max(found.placement.cell_um or (0.0,))
    return candidates, [COARSER.format(number, coarse)] if max(cells) > 1 else []


def _assign_lesion(one: DepthCandidate, lesions: Sequence[SlideLesion]) -> DepthCandidate:
    """Return which lesion of the slide a candidate belongs to: the largest around its deepest point."""
    around = [lesion for lesion in lesions if _is_near_box(lesion.box, one.deepest)]
    best = max(around, key=lambda lesion: lesion.area_px, default=None)
    return replace(one, lesion=None if best is None else best.index)


def _is_near_box(box: Box, point: tuple[float, float]) -> bool:
    """Whether a point lies in a box, or at most its quarter beside it."""
    rows, columns = box.height / 4, box.width / 4
    inside = box.top - rows <= point[0] <= box.top + box.height + rows
    return inside and box.left - columns <= point[1] <= box.left + box.width + columns


def _depth_content(candidates: Sequence[DepthCandidate], notes: list[str]) -> dict[str, Any]:
    """What ``result.json`` says: the likeliest candidate is the slide's."""
    if not candidates:
        return {**NO_DEPTH, "depth": _candidates_content((), notes)}
    best = candidates[0]
    if best.ulcerated is None:
        notes = [*notes, ULCERATION_UNKNOWN]
    category = t_category(best.mm, best.ulcerated)
    return {
        "breslow_mm": round(best.mm, 4),
        "breslow_interval_mm": best.to_json()["interval_mm"],
        "t_category": category,
        "depth": _candidates_content(
            candidates, [*_describe_sections(candidates), *notes, *_describe_other_categories(best, category)]
        ),
    }


def _describe_sections(candidates: Sequence[DepthCandidate]) -> list[str]:
    """Return how thick the lesions of each section are, where several have one."""
    best = {one.section: one.mm for one in reversed(candidates)}
    if len(best) < 2:
        return []
    return [
        THICKEST_OF_SECTION.format(", ".join(f"{best[place]:.2f} mm in section {place + 1}" for place in sorted(best)))
    ]


def _describe_other_categories(best: DepthCandidate, category: str) -> list[str]:
    """Return which other categories there may be."""
    reached = categories_in_interval(best.interval_mm, best.ulcerated) if best.interval_mm else ()
    if best.at_least:
        return [CUT_OFF.format(reached[0] if reached else category)]
    return [STRADDLES.format(" and ".join([", ".join(reached[:-1]), reached[-1]]))] if reached else []


def _candidates_content(candidates: Sequence[DepthCandidate], notes: Sequence[str]) -> dict[str, Any]:
    """Candidates and all that a reader should know of them."""
    best = candidates[0] if candidates else None
    clark = None if best is None else estimate_clark_level(1000 * best.below_epidermis_mm, best.at_least)
    return {
        "candidates": [one.to_json() for one in candidates],
        "notes": [*(best.notes if best else ()), *notes],
        "ulceration": best.ulcerated if best else None,
        "ulcer_mm": round(best.ulcer_mm, 4) if best else None,
        "ulcer_share": best.to_json()["ulcer_share"] if best else None,
        "at_least": best.at_least if best else None,
        "clark_estimate": clark.level if clark else None,
        "clark_reason": clark.reason if clark else None,
    }


MAX_CELLS = 9_000_000  # of what is measured at once: about 400 MB at work
STRIP_ROWS = 512  # rows that are read at once
COARSE_UM = 12.0  # cells on which sections and lesions are found first
LESION_MARGIN_SHARE = (
    0.5  # of a lesion's size: so much around it is looked at beyond the skin that says which way is down
)


@dataclass(frozen=True)
class DepthMap:
    """The stitched map of a dense model: ``map`` of the store, uint8 (class, row, column), where it lies, its classes.

    ``weights`` is the hash of the model's, by which its intervals are known; ``small`` are means that fit into memory.
    """

    values: zarr.Array
    placement: MapPlacement
    classes: tuple[str, ...]
    weights: str
    overview: SlideMaps

    @classmethod
    def from_store(cls, values: zarr.Array, small: SlideMaps, classes: tuple[str, ...], weights: str) -> DepthMap:
        """Take the map that smaller maps are means of."""
        step = -(-values.shape[1] // small.probability.shape[1])
        place = replace(small.placement, step_y=small.placement.step_y / step, step_x=small.placement.step_x / step)
        return cls(values, place, classes, weights, small)

    @property
    def step(self) -> int:
        """How many cells of the map one of ``small`` has along a side."""
        return -(-self.values.shape[1] // self.overview.probability.shape[1])


def find_lesion_sections(found: DepthMap, config: DepthMeasurementConfig) -> tuple[LesionSection, ...]:
    """Find the sections of a slide, and where their lesions are."""
    check_cell_um(found.placement, found.values.shape[1:])
    coarse, cell_um, step = _coarse_maps(found)
    sections = find_sections(classify_tissue(coarse, cell_um), cell_um, config)
    return tuple(LesionSection(one, _lesion_boxes(one, config), step * found.step) for one in sections)


@dataclass(frozen=True)
class LesionSection:
    """A section on coarse cells of ``step`` map cells, and the ``boxes`` around its lesions, none of which overlap."""

    section: SkinSection
    boxes: tuple[Box, ...]
    step: int

    def read(self, found: DepthMap, part: Box) -> tuple[TissueMaps, MapPlacement]:
        """Read a part of the map with lesions of the section, what is of other sections left out.

        Returns the part and where it lies: coarser than the map where it would be larger than ``MOST_CELLS``.
        """
        sides = (self.step * side for side in (part.top, part.left, part.height, part.width))
        box = _clip_box(Box(*sides), found.values.shape)
        step = max(1, int(np.ceil(np.sqrt(box.height * box.width / MAX_CELLS))))
        values = _read_strips(found.values, box, step)
        near = np.arange(values.shape[1]) * step // self.step, np.arange(values.shape[2]) * step // self.step
        values *= self._own_cells(part)[np.ix_(*near)]
        place = found.placement
        top, left = place.to_slide((box.top, box.left)).tolist()
        cut = MapPlacement(top, left, place.step_y * step, place.step_x * step, place.pixel_size)
        return TissueMaps(values, found.classes), cut

    def _own_cells(self, part: Box) -> NDArray[np.bool_]:
        """Coarse cells of the box that belong to the section, and those around it, but to no other."""
        near = dilate(self.section.whole, 2 * max(self.section.cell_um), self.section.cell_um)
        top, left = part.top - self.section.top, part.left - self.section.left
        own: NDArray[np.bool_] = near[top : top + part.height, left : left + part.width]
        return own


def _coarse_maps(found: DepthMap) -> tuple[TissueMaps, tuple[float, float], int]:
    """Means of the maps on cells of about ``COARSE_UM``, their size, and how many of their cells one has."""
    small = found.overview
    cell = check_cell_um(small.placement, small.probability.shape[1:])
    step = max(1, int(COARSE_UM / max(cell)))
    layers = [np.rint(255 * block_means(np.nan_to_num(layer), (step, step))) for layer in small.probability]
    return TissueMaps(np.stack(layers).astype(np.uint8), found.classes), (cell[0] * step, cell[1] * step), step


def _lesion_boxes(section: SkinSection, config: DepthMeasurementConfig) -> tuple[Box, ...]:
    """Parts of the map that hold the lesions of a section and the skin beside them, those that overlap made one."""
    from scipy import ndimage

    tumour = remove_small_parts(section.tumor, config.min_lesion_um2 / 4 / section.cell_um2)
    labels, _ = label_components(dilate(tumour, config.far_gap_um / 2, section.cell_um))
    wide = np.zeros(labels.shape, bool)
    for rows, columns in ndimage.find_objects(labels):
        extent = max((rows.stop - rows.start) * section.cell_um[0], (columns.stop - columns.start) * section.cell_um[1])
        margin = round((LESION_MARGIN_SHARE * extent + 1000 * config.window_mm) / min(section.cell_um))
        box = Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        wide[grow_box(box, margin, labels.shape).slices] = True
    boxes = _merge_overlapping_boxes(wide)
    return tuple(Box(box.top + section.top, box.left + section.left, box.height, box.width) for box in boxes)


def _merge_overlapping_boxes(mask: NDArray[np.bool_]) -> list[Box]:
    """Boxes around the parts of a mask, grown into each other until none overlap."""
    from scipy import ndimage

    while True:
        labels, count = label_components(mask)
        whole = np.zeros(mask.shape, bool)
        for part in ndimage.find_objects(labels):
            whole[part] = True
        if label_components(whole)[1] == count and (whole == mask).all():
            found = ndimage.find_objects(labels)
            return [Box(r.start, c.start, r.stop - r.start, c.stop - c.start) for r, c in found]
        mask = whole


def _clip_box(box: Box, shape: tuple[int, ...]) -> Box:
    """The part of a box that lies on the map."""
    height, width = min(box.height, shape[1] - box.top), min(box.width, shape[2] - box.left)
    return Box(box.top, box.left, height, width)


def _read_strips(values: zarr.Array, box: Box, step: int) -> NDArray[np.uint8]:
    """Read a part of the map, a strip at a time; means over squares of ``step`` cells."""
    columns, strips = slice(box.left, box.left + box.width), []
    height = max(step, STRIP_ROWS // step * step)
    for top in range(box.top, box.top + box.height, height):
        strip = np.asarray(values[:, top : min(top + height, box.top + box.height), columns])
        strips.append(strip if step == 1 else np.stack([np.rint(block_means(layer, (step, step))) for layer in strip]))
    return np.concatenate(strips, axis=1).astype(np.uint8)
