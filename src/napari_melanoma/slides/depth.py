"""Breslow thickness of an analyzed slide, measured for each section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.map_placement import MapPlacement
from napari_melanoma.core.validity import Validity, ValidityInputs, read_slide_validity
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

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.slides.maps import SlideMaps

NO_DEPTH: dict[str, Any] = {"breslow_mm": None, "breslow_interval_mm": None, "t_category": None, "depth": None}
NO_INTERVAL = "no interval: the errors of this model on slides of known thickness are unknown"
OUT_OF_DISTRIBUTION = (
    "the slide is out of distribution for the model: the thickness may be meaningless, and its interval too narrow"
)
COARSER = "section {} is large: measured on cells of {:.1f} micrometers"
STRADDLES = "the interval covers {}: the category is uncertain"
CUT_OFF = "the lesion is incomplete and may be thicker outside the section: the category is {} or higher"
THICKEST_OF_SECTION = "thickness of the thickest section: {}"
NO_NEVUS_CLASS = "this model does not separate nevi from melanomas: the thickest lesion of either type is measured"
ULCERATION_UNKNOWN = "ulceration is unknown: the category may lack its letter"

MAX_CELLS = 9_000_000  # measured at once: about 400 MB of memory
STRIP_ROWS = 512  # rows read at once
COARSE_UM = 12.0  # cells on which sections and lesions are found first
# Of the size of a lesion: extra margin around it, beyond the adjacent skin that defines the direction down.
LESION_MARGIN_SHARE = 0.5


@dataclass(frozen=True)
class DepthMap:
    """The stitched map of a dense model: uint8 (class, row, column), its position on the slide, and its classes.

    ``weights`` is the hash of the weights of the model, which selects the interval model; ``overview`` is a downsampled
    map that fits into memory.
    """

    values: zarr.Array
    placement: MapPlacement
    classes: tuple[str, ...]
    weights: str
    overview: SlideMaps

    @classmethod
    def from_store(cls, values: zarr.Array, small: SlideMaps, classes: tuple[str, ...], weights: str) -> DepthMap:
        """Create it from the array of a store and its downsampled map."""
        step = -(-values.shape[1] // small.probability.shape[1])
        place = replace(small.placement, step_y=small.placement.step_y / step, step_x=small.placement.step_x / step)
        return cls(values, place, classes, weights, small)

    @property
    def step(self) -> int:
        """Number of map cells along the side of an overview cell."""
        return -(-self.values.shape[1] // self.overview.probability.shape[1])


@dataclass(frozen=True)
class LesionSection:
    """A section on coarse cells of ``step`` map cells, and the non-overlapping ``boxes`` around its lesions."""

    section: SkinSection
    boxes: tuple[Box, ...]
    step: int

    def read(self, found: DepthMap, part: Box) -> tuple[TissueMaps, MapPlacement]:
        """Read a part of the map with lesions of the section, without other sections.

        Returns the part and its position; it is downsampled if it is larger than ``MAX_CELLS``.
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
        """Coarse cells of the box in or next to the section."""
        near = dilate(self.section.whole, 2 * max(self.section.cell_um), self.section.cell_um)
        top, left = part.top - self.section.top, part.left - self.section.left
        own: NDArray[np.bool_] = near[top : top + part.height, left : left + part.width]
        return own


def measure_slide_depth(
    found: DepthMap, lesions: Sequence[SlideLesion], run: RunContext, validity: Validity | None = None
) -> dict[str, Any]:
    """Measure the thickness of the lesions in each section.

    Returns ``breslow_mm``, ``breslow_interval_mm``, ``t_category`` and ``depth`` of ``result.json``: all None if the
    model lacks the required classes; the notes in ``depth`` explain missing measurements.
    """
    if ClassRoles.from_names(found.classes) is None:
        return dict(NO_DEPTH)
    own, interval_model = validity or Validity(), load_interval_models().get(found.weights)
    try:
        candidates, notes = _measure_sections(
            found, run, interval_model, in_distribution="out_of_distribution" not in own.codes
        )
    except ScaleMissing as error:
        return {**NO_DEPTH, "depth": {"validity": own.to_json(), **_candidates_content((), [str(error)])}}
    depth_values = _depth_content([_assign_lesion(one, lesions) for one in candidates], notes)
    calibration = ValidityInputs("the model", calibrated=interval_model is not None).check()
    reasons = own.with_reasons(calibration).to_json()
    depth_values["depth"] = {"validity": reasons, **depth_values["depth"]}
    return depth_values


def describe_depth(content: Mapping[str, Any]) -> str:
    """Summarize the depth of a result in one line; empty if depth was not measured."""
    depth = content.get("depth")
    if not depth:
        return ""
    validity = Validity.from_json(depth.get("validity")) or read_slide_validity(content)
    if not validity.valid:
        return validity.headline("")
    return validity.headline(_describe_thickness(content, depth))


def _describe_thickness(content: Mapping[str, Any], depth: Mapping[str, Any]) -> str:
    """Thickness, category and notes of a valid prediction."""
    if content["breslow_mm"] is None:
        return f"no Breslow thickness: {'; '.join(depth['notes']) or 'nothing to measure'}"
    interval = content["breslow_interval_mm"]
    least, what = ("at least ", " of the visible part") if depth["at_least"] else ("", "")
    within = f" (90 % interval{what} {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    clark = f", estimated Clark level {depth['clark_estimate']}" if depth["clark_estimate"] else ""
    thick = f"Breslow thickness {least}{content['breslow_mm']:.2f} mm{within}, {least}{content['t_category']}{clark}"
    return "; ".join([thick, *depth["notes"]])


def _measure_sections(
    found: DepthMap, run: RunContext, interval_model: DepthIntervalModel | None, *, in_distribution: bool
) -> tuple[tuple[DepthCandidate, ...], list[str]]:
    """Measure the sections one by one, each in the part of the map around its lesions."""
    config = DepthMeasurementConfig()
    sections = find_lesion_sections(found, config)
    candidates: list[DepthCandidate] = []
    notes: list[str] = [] if sections else [NO_TISSUE]
    for one in run.track(sections, "Measuring the thickness"):
        measured, reasons = _measure_section(found, one, config, interval_model)
        candidates += measured
        notes += reasons
    if candidates:
        notes += (
            [OUT_OF_DISTRIBUTION] * (not in_distribution)
            + [NO_INTERVAL] * (interval_model is None)
            + [NO_NEVUS_CLASS] * (not has_nevus_class(found.classes))
        )
    return rank_candidates(candidates), list(dict.fromkeys(notes))


def _measure_section(
    found: DepthMap, one: LesionSection, config: DepthMeasurementConfig, interval_model: DepthIntervalModel | None
) -> tuple[list[DepthCandidate], list[str]]:
    """Measure a section; notes on single boxes are returned only if the section has no candidate."""
    number = one.section.index + 1
    candidates: list[DepthCandidate] = []
    missing: list[str] = []
    cells: list[float] = []
    for box in one.boxes:
        maps, place = one.read(found, box)
        measured = measure_depth(maps, place, config, interval_model, one.section.index)
        candidates += measured.candidates
        missing += measured.notes
        cells.append(place.step_y / found.placement.step_y)
    if not candidates:
        return [], missing or [NO_TUMOR.format(number)]
    coarse = max(cells) * max(found.placement.cell_um or (0.0,))
    return candidates, [COARSER.format(number, coarse)] if max(cells) > 1 else []


def _assign_lesion(one: DepthCandidate, lesions: Sequence[SlideLesion]) -> DepthCandidate:
    """Assign a candidate to a lesion of the slide: the largest around its deepest point."""
    around = [lesion for lesion in lesions if _is_near_box(lesion.box, one.deepest)]
    best = max(around, key=lambda lesion: lesion.area_px, default=None)
    return replace(one, lesion=None if best is None else best.index)


def _is_near_box(box: Box, point: tuple[float, float]) -> bool:
    """Whether a point lies in a box that is extended by a quarter of its size on each side."""
    rows, columns = box.height / 4, box.width / 4
    inside = box.top - rows <= point[0] <= box.top + box.height + rows
    return inside and box.left - columns <= point[1] <= box.left + box.width + columns


def _depth_content(candidates: Sequence[DepthCandidate], notes: list[str]) -> dict[str, Any]:
    """The values of ``result.json``: the first candidate is that of the slide."""
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
    """Return the thickness of each section, if several have a lesion."""
    best = {one.section: one.mm for one in reversed(candidates)}
    if len(best) < 2:
        return []
    return [
        THICKEST_OF_SECTION.format(", ".join(f"{best[index]:.2f} mm in section {index + 1}" for index in sorted(best)))
    ]


def _describe_other_categories(best: DepthCandidate, category: str) -> list[str]:
    """Return the other possible categories."""
    reached = categories_in_interval(best.interval_mm, best.ulcerated) if best.interval_mm else ()
    if best.at_least:
        return [CUT_OFF.format(reached[0] if reached else category)]
    return [STRADDLES.format(" and ".join([", ".join(reached[:-1]), reached[-1]]))] if reached else []


def _candidates_content(candidates: Sequence[DepthCandidate], notes: Sequence[str]) -> dict[str, Any]:
    """Candidates with their notes and estimates."""
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


def find_lesion_sections(found: DepthMap, config: DepthMeasurementConfig) -> tuple[LesionSection, ...]:
    """Find the sections of a slide and the positions of their lesions."""
    check_cell_um(found.placement, found.values.shape[1:])
    coarse, cell_um, step = _coarse_maps(found)
    sections = find_sections(classify_tissue(coarse, cell_um), cell_um, config)
    return tuple(LesionSection(one, _lesion_boxes(one, config), step * found.step) for one in sections)


def _coarse_maps(found: DepthMap) -> tuple[TissueMaps, tuple[float, float], int]:
    """Means of the maps on cells of about ``COARSE_UM``, their size, and the number of overview cells along a side."""
    small = found.overview
    cell = check_cell_um(small.placement, small.probability.shape[1:])
    step = max(1, int(COARSE_UM / max(cell)))
    layers = [np.rint(255 * block_means(np.nan_to_num(layer), (step, step))) for layer in small.probability]
    return TissueMaps(np.stack(layers).astype(np.uint8), found.classes), (cell[0] * step, cell[1] * step), step


def _lesion_boxes(section: SkinSection, config: DepthMeasurementConfig) -> tuple[Box, ...]:
    """Boxes around the lesions of a section and the skin beside them; overlapping boxes are merged."""
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
    """Boxes around the parts of a mask, merged until none overlap."""
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
    """The part of a box within the map."""
    height, width = min(box.height, shape[1] - box.top), min(box.width, shape[2] - box.left)
    return Box(box.top, box.left, height, width)


def _read_strips(values: zarr.Array, box: Box, step: int) -> NDArray[np.uint8]:
    """Read a part of the map in strips, averaged over squares of ``step`` cells."""
    columns, strips = slice(box.left, box.left + box.width), []
    height = max(step, STRIP_ROWS // step * step)
    for top in range(box.top, box.top + box.height, height):
        strip = np.asarray(values[:, top : min(top + height, box.top + box.height), columns])
        strips.append(strip if step == 1 else np.stack([np.rint(block_means(layer, (step, step))) for layer in strip]))
    return np.concatenate(strips, axis=1).astype(np.uint8)
