"""Measure the depth (Breslow thickness) of a slide and estimate its Clark level, from the maps of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.core.polygons import to_shape
from napari_melanoma.core.validity import Validity, ValidityInputs, ValidityReason, read_validity
from napari_melanoma.depth.breslow_candidates import (
    NO_TISSUE,
    NO_TUMOR,
    DepthCandidate,
    DepthIntervalModel,
    load_interval_models,
    measure_depth,
    rank_candidates,
)
from napari_melanoma.depth.geometry import SkinSection, dilate, find_sections, remove_small_parts
from napari_melanoma.depth.t_category import (
    categories_in_interval,
    format_ends,
    format_thickness,
    is_lower_bound,
    t_category,
)
from napari_melanoma.depth.tumor_maps import (
    ClassRoles,
    DepthMeasurementConfig,
    TissueMaps,
    block_means,
    check_cell_um,
    classify_tissue,
    has_nevus_class,
)
from napari_melanoma.imaging.masks import grow_box, label_components
from napari_melanoma.slides.lesions import SlideLesion
from napari_melanoma.slides.maps import SlideMaps

if TYPE_CHECKING:
    import zarr


# Depths below the epidermis that approximate layers: maps do not show the border of papillary and reticular dermis.
PAPILLARY_UM, RETICULAR_UM = 170.0, 250.0
FAT_UM = 1300.0  # deeper cells may lie in the fat, which the map does not separate from the dermis


@dataclass(frozen=True)
class ClarkEstimate:
    """Clark level 2 to 4, or None; ``reason`` is the basis of the estimate, or why there is none."""

    level: int | None
    reason: str


def estimate_clark_level(below_um: float, at_least: bool) -> ClarkEstimate:
    """Estimate the Clark level from the distance of the deepest cells to the epidermis.

    ``below_um``: micrometers below the lower border of the epidermis. ``at_least``: the lesion is incomplete. Level 1,
    a melanoma in situ, and level 5, which requires the border of the fat, are never estimated.
    """
    distance = f"{below_um / 1000:.2f} mm below the epidermis"
    if at_least:
        return ClarkEstimate(None, f"{distance} or more: the lesion is incomplete")
    if below_um > FAT_UM:
        return ClarkEstimate(None, f"{distance}: possibly in the fat, which the map does not separate from the dermis")
    level = 4 if below_um > RETICULAR_UM else 3 if below_um > PAPILLARY_UM else 2
    return ClarkEstimate(level, f"{distance}; estimated from this distance only")


NO_DEPTH: dict[str, Any] = {"breslow_mm": None, "breslow_interval_mm": None, "t_category": None, "depth": None}
PAINTED = (
    "suggestion from a painted classifier, not measured by a reader. The squares of its map are 32 µm wide; on 11 "
    "synthetic slides its error was up to 0.04 mm with the painted stain, and up to 0.5 mm with others"
)
MISSING_ROLES = (
    "the tissue classifier has no class for {}, from which the thickness is measured. Paint it, and select it in 'Save "
    "as model...' (command line: --role)"
)
NO_INTERVAL = "no interval: the errors of this model on slides of known thickness are unknown"
OUT_OF_DISTRIBUTION = (
    "the slide is out of distribution for the model: the thickness may be meaningless, and its interval too narrow"
)
COARSER = "section {} is large: measured on cells of {:.1f} micrometers"
SEVERAL_CATEGORIES = "the interval covers {}: the category is uncertain"
CUT_OFF = "the lesion is incomplete and may be thicker outside the section: the category is {} or higher"
THICKNESS_BY_SECTION = "thickness by section: {}"
NO_NEVUS_CLASS = "this model does not separate nevi from melanomas: the thickest lesion of either type is measured"
ULCERATION_UNKNOWN = "ulceration is unknown: the category may lack its letter"

MAX_CELLS = 9_000_000  # cells measured at once, which needs about 400 MB of memory
STRIP_ROWS = 512  # rows read at once
COARSE_UM = 12.0  # size of the cells on which sections and lesions are found first
LESION_MARGIN_SHARE = 0.5  # of the size of a lesion: margin that is added to the skin beside it


@dataclass(frozen=True)
class DepthMap:
    """The stitched map of a dense model.

    ``values``: uint8 (class, row, column). ``weights``: hash of the model's weights, which selects the interval model.
    ``overview``: the map, downsampled to fit into memory. ``painted``: the model is a tissue classifier.
    """

    values: zarr.Array | NDArray[np.uint8]
    classes: tuple[str, ...]
    weights: str
    overview: SlideMaps
    painted: bool = False

    @property
    def placement(self) -> MapPlacement:
        """Position of the map on the slide."""
        coarse, step = self.overview.placement, self.overview.step
        return replace(coarse, step_y=coarse.step_y / step, step_x=coarse.step_x / step)


@dataclass(frozen=True)
class SectionLesions:
    """A section of tissue on coarse cells, and boxes around its lesions.

    ``boxes``: in coarse cells; they do not overlap. ``step``: number of map cells along the side of a coarse cell.
    """

    section: SkinSection
    boxes: tuple[Box, ...]
    step: int

    def read(self, depth_map: DepthMap, box: Box) -> tuple[TissueMaps, MapPlacement]:
        """Read the part of the map in one of the boxes, with cells of other sections set to 0.

        Returns the part and its position; it is downsampled if it is larger than ``MAX_CELLS``.
        """
        sides = (self.step * side for side in (box.top, box.left, box.height, box.width))
        part, shape = Box(*sides), depth_map.values.shape
        part = Box(part.top, part.left, min(part.height, shape[1] - part.top), min(part.width, shape[2] - part.left))
        step = max(1, int(np.ceil(np.sqrt(part.height * part.width / MAX_CELLS))))
        values = _read_strips(depth_map.values, part, step)
        coarse_cells = np.arange(values.shape[1]) * step // self.step, np.arange(values.shape[2]) * step // self.step
        values *= self._own_cells(box)[np.ix_(*coarse_cells)]
        whole = depth_map.placement
        top, left = whole.to_slide((part.top, part.left)).tolist()
        placement = MapPlacement(top, left, whole.step_y * step, whole.step_x * step, whole.pixel_size)
        return TissueMaps(values, depth_map.classes), placement

    def _own_cells(self, box: Box) -> NDArray[np.bool_]:
        """Return which coarse cells of a box lie in or next to the section."""
        wide = dilate(self.section.whole, 2 * max(self.section.cell_um), self.section.cell_um)
        top, left = box.top - self.section.top, box.left - self.section.left
        own: NDArray[np.bool_] = wide[top : top + box.height, left : left + box.width]
        return own


def measure_slide_depth(
    depth_map: DepthMap, lesions: Sequence[SlideLesion], run: RunContext, validity: Validity | None = None
) -> dict[str, Any]:
    """Measure the thickness of the lesions in each section.

    ``lesions``: those detected on the slide; each candidate is assigned to one of them. ``validity``: that of the slide
    analysis. Returns ``breslow_mm``, ``breslow_interval_mm``, ``t_category`` and ``depth`` of ``result.json``: all None
    if the model lacks the required classes; the notes in ``depth`` explain missing measurements.
    """
    validity = validity or Validity()
    if ClassRoles.from_names(depth_map.classes) is None:
        return _explain_missing_classes(depth_map, validity)
    interval_model = load_interval_models().get(depth_map.weights)
    try:
        candidates, notes = _measure_sections(
            depth_map, run, interval_model, in_distribution="out_of_distribution" not in validity.codes
        )
    except ScaleMissing as error:
        return {**NO_DEPTH, "depth": {"validity": validity.to_json(), **_candidates_content((), [str(error)])}}
    size = depth_map.placement.pixel_size
    depth_values = _depth_content([_assign_lesion(one, lesions, size) for one in candidates], notes)
    if depth_map.painted:
        calibration = Validity(reasons=(ValidityReason(code="painted", severity="caution", text=PAINTED),))
    else:
        calibration = ValidityInputs("the model", calibrated=interval_model is not None).check()
    reasons = validity.with_reasons(calibration).to_json()
    depth_values["depth"] = {"validity": reasons, **depth_values["depth"]}
    return depth_values


def _explain_missing_classes(depth_map: DepthMap, validity: Validity) -> dict[str, Any]:
    """Return no depth; for a tissue classifier with a tumor, the notes state which other classes it lacks."""
    missing = [role for role in ("epidermis", "background") if role not in depth_map.classes]
    if not depth_map.painted or "tumor" not in depth_map.classes:
        return dict(NO_DEPTH)
    note = MISSING_ROLES.format(" and ".join(missing))
    return {**NO_DEPTH, "depth": {"validity": validity.to_json(), **_candidates_content((), [note])}}


def describe_depth(content: Mapping[str, Any]) -> str:
    """Summarize the depth of a result in one line; empty if depth was not measured."""
    depth = content.get("depth")
    if not depth:
        return ""
    validity = Validity.from_json(depth.get("validity")) or read_validity(content)
    if not validity.valid:
        return validity.headline("")
    return validity.headline(_describe_thickness(content, depth))


def _describe_thickness(content: Mapping[str, Any], depth: Mapping[str, Any]) -> str:
    """Describe thickness, category and notes of a valid result."""
    if content["breslow_mm"] is None:
        return f"no Breslow thickness: {'; '.join(depth['notes']) or 'nothing to measure'}"
    interval = content["breslow_interval_mm"]
    at_least, of_part = ("at least ", " of the visible part") if depth["at_least"] else ("", "")
    within = f" (90 % interval{of_part} {format_ends(interval)})" if interval else ""
    clark = f", estimated Clark level {depth['clark_estimate']}" if depth["clark_estimate"] else ""
    thickness = f"Breslow thickness {at_least}{format_thickness(content['breslow_mm'])}{within}"
    category = content["t_category"]
    bound = "at least " if is_lower_bound(category, at_least=bool(depth["at_least"])) else ""
    return "; ".join([f"{thickness}, {bound}{category}{clark}", *depth["notes"]])


def _measure_sections(
    depth_map: DepthMap, run: RunContext, interval_model: DepthIntervalModel | None, *, in_distribution: bool
) -> tuple[tuple[DepthCandidate, ...], list[str]]:
    """Measure the sections one by one, each in the part of the map around its lesions."""
    config = DepthMeasurementConfig()
    sections = find_lesion_sections(depth_map, config)
    candidates: list[DepthCandidate] = []
    notes: list[str] = [] if sections else [NO_TISSUE]
    for section in run.track(sections, "Measuring the thickness"):
        measured, reasons = _measure_section(depth_map, section, config, interval_model)
        candidates += measured
        notes += reasons
    if candidates:
        notes += (
            [OUT_OF_DISTRIBUTION] * (not in_distribution)
            + [NO_INTERVAL] * (interval_model is None)
            + [NO_NEVUS_CLASS] * (not has_nevus_class(depth_map.classes))
        )
    return rank_candidates(candidates), list(dict.fromkeys(notes))


def _measure_section(
    depth_map: DepthMap,
    lesion_section: SectionLesions,
    config: DepthMeasurementConfig,
    interval_model: DepthIntervalModel | None,
) -> tuple[list[DepthCandidate], list[str]]:
    """Return the candidates of a section and notes; notes on single boxes only if no box has a candidate."""
    number = lesion_section.section.index + 1
    candidates: list[DepthCandidate] = []
    missing: list[str] = []
    downsampling: list[float] = []
    for box in lesion_section.boxes:
        maps, place = lesion_section.read(depth_map, box)
        index, end = lesion_section.section.index, depth_map.overview.end
        measured = measure_depth(maps, place, config, interval_model, index, end)
        candidates += measured.candidates
        missing += measured.notes
        downsampling.append(place.step_y / depth_map.placement.step_y)
    if not candidates:
        return [], missing or [NO_TUMOR.format(number)]
    coarsest_um = max(downsampling) * max(depth_map.placement.cell_um or (0.0,))
    return candidates, [COARSER.format(number, coarsest_um)] if max(downsampling) > 1 else []


def _assign_lesion(candidate: DepthCandidate, lesions: Sequence[SlideLesion], size: PixelSize | None) -> DepthCandidate:
    """Assign a candidate to the lesion that its deepest point is in, or else to the nearest whose box is close to it.

    Of several, it is the largest. ``size``: of a pixel of the finest level.
    """
    around = [lesion for lesion in lesions if _is_near_box(lesion.box, candidate.deepest)]
    best = min(around, key=lambda one: (_distance(one, candidate.deepest, size), -one.area_px), default=None)
    return replace(candidate, lesion=None if best is None else best.index)


def _distance(lesion: SlideLesion, point: tuple[float, float], size: PixelSize | None) -> float:
    """Return the distance of a point (row, column) from a lesion, 0 inside, in mm, or in pixels without a scale."""
    import shapely

    unit = (1.0, 1.0) if size is None else size.mm
    shapes = [shapely.transform(to_shape(polygon), lambda vertices: vertices * unit) for polygon in lesion.polygons]
    return float(shapely.distance(shapes, shapely.points(np.multiply(point, unit))).min())


def _is_near_box(box: Box, point: tuple[float, float]) -> bool:
    """Whether a point (row, column) lies in a box that is extended by a quarter of its size on each side."""
    rows, columns = box.height / 4, box.width / 4
    inside = box.top - rows <= point[0] <= box.top + box.height + rows
    return inside and box.left - columns <= point[1] <= box.left + box.width + columns


def _depth_content(candidates: Sequence[DepthCandidate], notes: list[str]) -> dict[str, Any]:
    """Return the values of ``result.json``; those of the slide are those of the first candidate."""
    if not candidates:
        return {**NO_DEPTH, "depth": _candidates_content((), notes)}
    best = _round_as_stored(candidates[0])
    if best.ulcerated is None:
        notes = [*notes, ULCERATION_UNKNOWN]
    category = t_category(best.mm, best.ulcerated)
    return {
        "breslow_mm": best.mm,
        "breslow_interval_mm": best.to_json()["interval_mm"],
        "t_category": category,
        "depth": _candidates_content(
            candidates, [*_describe_sections(candidates), *notes, *_describe_other_categories(best, category)]
        ),
    }


def _round_as_stored(candidate: DepthCandidate) -> DepthCandidate:
    """Return a candidate with the thickness that files contain, so that they state its category."""
    stored = candidate.to_json()
    interval = None if stored["interval_mm"] is None else tuple(stored["interval_mm"])
    return replace(candidate, mm=stored["mm"], interval_mm=interval)


def _describe_sections(candidates: Sequence[DepthCandidate]) -> list[str]:
    """Return a note with the thickness in each section, if several sections have a lesion."""
    best_mm = {candidate.section: candidate.mm for candidate in reversed(candidates)}  # the first of each section
    if len(best_mm) < 2:
        return []
    listed = ", ".join(f"{format_thickness(best_mm[index])} in section {index + 1}" for index in sorted(best_mm))
    return [THICKNESS_BY_SECTION.format(listed)]


def _describe_other_categories(best: DepthCandidate, category: str) -> list[str]:
    """Return a note on the other possible categories, if there are any."""
    categories = categories_in_interval(best.interval_mm, best.ulcerated) if best.interval_mm else ()
    if best.at_least:
        lowest = categories[0] if categories else category
        return [CUT_OFF.format(lowest)] if is_lower_bound(lowest, at_least=True) else []
    if not categories:
        return []
    return [SEVERAL_CATEGORIES.format(f"{', '.join(categories[:-1])} and {categories[-1]}")]


def _candidates_content(candidates: Sequence[DepthCandidate], notes: Sequence[str]) -> dict[str, Any]:
    """Return the value of ``depth`` in ``result.json``: the candidates, and the findings of the first one."""
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


def find_lesion_sections(depth_map: DepthMap, config: DepthMeasurementConfig) -> tuple[SectionLesions, ...]:
    """Find the sections of a slide and the boxes around their lesions on coarse cells."""
    check_cell_um(depth_map.placement, depth_map.values.shape[1:])
    coarse, cell_um, step = _coarse_maps(depth_map)
    sections = find_sections(classify_tissue(coarse, cell_um), cell_um, config)
    return tuple(SectionLesions(one, _lesion_boxes(one, config), step * depth_map.overview.step) for one in sections)


def _coarse_maps(depth_map: DepthMap) -> tuple[TissueMaps, tuple[float, float], int]:
    """Average the overview over cells of about ``COARSE_UM``.

    Returns the maps, height and width of their cells in micrometers, and the number of overview cells along a side.
    """
    overview = depth_map.overview
    cell_um = check_cell_um(overview.placement, overview.probability.shape[1:])
    step = max(1, int(COARSE_UM / max(cell_um)))
    maps = np.rint(255 * block_means(np.nan_to_num(overview.probability), (step, step)))
    return (
        TissueMaps(maps.astype(np.uint8), depth_map.classes),
        (cell_um[0] * step, cell_um[1] * step),
        step,
    )


def _lesion_boxes(section: SkinSection, config: DepthMeasurementConfig) -> tuple[Box, ...]:
    """Return boxes around the lesions of a section and the skin beside them; overlapping boxes are merged.

    The boxes are in coarse cells of the map, not of the section.
    """
    from scipy import ndimage

    tumor = remove_small_parts(section.tumor, config.min_lesion_um2 / 4 / section.cell_um2)
    labels, _ = label_components(dilate(tumor, config.far_gap_um / 2, section.cell_um))
    wide = np.zeros(labels.shape, bool)
    for rows, columns in ndimage.find_objects(labels):
        extent = max((rows.stop - rows.start) * section.cell_um[0], (columns.stop - columns.start) * section.cell_um[1])
        margin = round((LESION_MARGIN_SHARE * extent + 1000 * config.window_mm) / min(section.cell_um))
        box = Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        wide[grow_box(box, margin, labels.shape).slices] = True
    boxes = _merge_overlapping_boxes(wide)
    return tuple(Box(box.top + section.top, box.left + section.left, box.height, box.width) for box in boxes)


def _merge_overlapping_boxes(mask: NDArray[np.bool_]) -> list[Box]:
    """Return boxes around the parts of a mask, merged until none overlap."""
    from scipy import ndimage

    while True:
        labels, count = label_components(mask)
        boxed = np.zeros(mask.shape, bool)
        for part in ndimage.find_objects(labels):
            boxed[part] = True
        if label_components(boxed)[1] == count and (boxed == mask).all():
            return [
                Box(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
                for rows, columns in ndimage.find_objects(labels)
            ]
        mask = boxed


def _read_strips(values: zarr.Array | NDArray[np.uint8], box: Box, step: int) -> NDArray[np.uint8]:
    """Read a part of the map in strips, averaged over squares of ``step`` cells."""
    columns, strips = slice(box.left, box.left + box.width), []
    height = max(step, STRIP_ROWS // step * step)
    for top in range(box.top, box.top + box.height, height):
        strip = np.asarray(values[:, top : min(top + height, box.top + box.height), columns])
        strips.append(strip if step == 1 else np.rint(block_means(strip, (step, step))))
    return np.concatenate(strips, axis=1).astype(np.uint8)
