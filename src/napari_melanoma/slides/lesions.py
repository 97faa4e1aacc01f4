"""Detect, measure and classify the lesions of a slide on its probability maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.formatting import format_class
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import Polygon, Ring, as_array, as_ring, joint_box
from napari_melanoma.data.class_names import BENIGN, MALIGNANT, UNSPECIFIC, find_lesion_classes, read_class_name
from napari_melanoma.imaging.masks import bounding_box, fill_mask_holes, label_components
from napari_melanoma.imaging.measurements import crofton_perimeter
from napari_melanoma.slides.outlines import cell_polygons, covered_cells, rasterize_polygons

LesionClass = Literal["malignant", "benign"]
LESION_CLASSES = {*get_args(LesionClass)}
LesionOrigin = Literal["found", "merged", "split", "classed", "drawn", "refined"]
LabelOrigin = Literal["model", "reader"]
WHOLE_MAP = (slice(None), slice(None))
POSITIVE = "positive"  # in lower case: a class that heatmap and lesions show by default
LESION_COLUMNS = (  # of lesions.csv
    "index",
    "label",
    "probability",
    "presence",
    "malignancy",
    "area_mm2",
    "perimeter_mm",
    "height_mm",
    "width_mm",
    "area_px",
    "perimeter_px",
    "extent",
    "tissue_share",
    "seed_row_px",
    "seed_column_px",
    "origin",
    "label_origin",
)

SlideEnd = tuple[float, float]  # (row, column) of the end of the slide, in pixels of the finest level


class LesionConfig(Config):
    """Criteria for lesions of a slide and for their malignancy."""

    low: float = Field(
        0.4,
        title="Lower threshold",
        ge=0,
        le=1,
        description="a lesion extends as far as the probability is at least this",
    )
    high: float = Field(
        0.6, title="Upper threshold", ge=0, le=1, description="its maximum probability is at least this"
    )
    smoothing_um: float = Field(
        0.0, title="Smoothing (µm)", ge=0, description="sigma of a Gaussian filter of the map; 0 = off"
    )
    join_um: float = Field(
        0.0, title="Join parts within (µm)", ge=0, description="parts closer to each other than this are one lesion"
    )
    min_area_mm2: float = Field(
        0.0, title="Minimum area (mm²)", ge=0, description="smaller lesions are removed; ignored without a pixel size"
    )
    fill_holes: bool = Field(False, description="enclosed areas are part of the lesion")
    malignant_from: float = Field(
        0.5,
        title="Malignant from (share)",
        ge=0,
        le=1,
        description="a lesion is malignant if at least this share of its probability is malignant",
    )
    score: Literal["mean", "maximum"] = Field(
        "mean",
        title="Lesion probability",
        description="probability of a lesion: mean of its tiles weighted by their tissue, or maximum",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be above high ({self.high})")
        return self


@dataclass(frozen=True)
class LesionMaps:
    """Maps for detecting and measuring lesions, all on the same cells.

    ``presence``: float (row, column), probability of a lesion; NaN where unknown. ``malignancy``: float (row, column),
    probability that a lesion is malignant; by default ``presence``. ``tissue``: float (row, column), share of tissue in
    each cell; by default 1 where the probability is known. ``label``: class of all lesions; if empty, each is
    classified as malignant or benign. ``slide_end``: the last cells may extend beyond it, as ``end`` of ``SlideMaps``.
    """

    presence: NDArray[np.float32]
    placement: MapPlacement
    malignancy: NDArray[np.float32] | None = None
    tissue: NDArray[np.float32] | None = None
    label: str = ""
    slide_end: SlideEnd | None = None

    @property
    def target(self) -> NDArray[np.float32]:
        """Probability of a malignant lesion or of the target class, as in the heatmap."""
        return self.presence if self.malignancy is None else self.presence * self.malignancy

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.presence.shape
        return rows, columns

    def weight(self, part: tuple[slice, slice] = WHOLE_MAP) -> NDArray[np.float32]:
        """Return the share of tissue in each cell of a part of the map, float32 (row, column); 0 where unknown."""
        known = np.isfinite(self.presence[part]).astype(np.float32)
        return known if self.tissue is None else self.tissue[part] * known

    @cached_property  # measuring each of many lesions needs it
    def tissue_cells(self) -> float:
        """Amount of tissue on the whole slide, in cells."""
        return float(self.weight().sum(dtype=np.float64))


@dataclass(frozen=True)
class SlideLesion:
    """One lesion; values in mm are None without a scale, those in px are in pixels of the finest level.

    - ``index``: its number on the slide, from 1
    - ``label``: malignant, benign, or the target class; ``label_origin``: whether a reader has set it
    - ``probability``: that of a malignant lesion or of the target class
    - ``presence``: mean probability that there is a lesion
    - ``id``: of the object in another program, such as QuPath; ``others``: the GeoJSON properties that it has added,
      among them measurements and metadata
    - ``extent``: share of its axis-aligned box that it fills
    - ``tissue_share``: share of the analyzed tissue of the slide that is in it
    - ``seed``: (row, column) of the highest probability
    - ``malignancy``: probability that it is malignant, given that it is a lesion, which decides the label: the mean
      probability of a malignant lesion divided by ``presence``; NaN if the model does not separate malignant from
      benign lesions
    """

    index: int
    label: str
    probability: float
    presence: float
    area_px: float
    perimeter_px: float
    area_mm2: float | None
    perimeter_mm: float | None
    height_mm: float | None
    width_mm: float | None
    extent: float
    tissue_share: float
    seed: tuple[float, float]
    polygons: tuple[Polygon, ...]
    origin: LesionOrigin = "found"
    malignancy: float = math.nan
    label_origin: LabelOrigin = "model"
    id: str = ""
    others: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def class_probability(self) -> float:
        """The number to show beside the class: ``malignancy``, or else ``probability``."""
        return self.probability if math.isnan(self.malignancy) else self.malignancy

    @property
    def box(self) -> Box:
        """Box around the lesion, in pixels of the finest level."""
        return joint_box(self.polygons)


@dataclass(frozen=True)
class CellRegion:
    """Some cells of a map: a mask, bool (row, column), and the position of its first cell on the map."""

    top: int
    left: int
    mask: NDArray[np.bool_]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the mask on the map."""
        return Box(self.top, self.left, *self.mask.shape).slices

    def place(self, whole: MapPlacement) -> MapPlacement:
        """Return the position of the cells on the slide; ``whole``: that of the map."""
        return replace(whole, top=whole.top + self.top * whole.step_y, left=whole.left + self.left * whole.step_x)


def find_lesions(maps: LesionMaps, config: LesionConfig) -> tuple[SlideLesion, ...]:
    """Find the lesions of a slide: connected cells at or above ``low`` with at least one at or above ``high``.

    They are numbered from 1: benign ones last, then by size, the largest first.
    """
    from scipy import ndimage

    labels = label_lesions(maps, config)
    regions = [
        CellRegion(box[0].start, box[1].start, labels[box] == number)
        for number, box in enumerate(ndimage.find_objects(labels), start=1)
        if box is not None
    ]
    if config.fill_holes:
        regions = _fill_holes(regions, maps.shape)
    total = maps.tissue_cells
    lesions = [measure_region(region, maps, config, index=0, tissue=total) for region in regions]
    large = [lesion for lesion in lesions if lesion.area_mm2 is None or lesion.area_mm2 >= config.min_area_mm2]
    large.sort(key=lambda lesion: (lesion.label == "benign", -lesion.area_px, -lesion.probability))
    return tuple(replace(lesion, index=index) for index, lesion in enumerate(large, start=1))


def _fill_holes(regions: Sequence[CellRegion], shape: tuple[int, int]) -> list[CellRegion]:
    """Fill the holes of regions; those within a hole become part of the region around it."""
    filled = [replace(region, mask=fill_mask_holes(region.mask)) for region in regions]
    occupied, kept = np.zeros(shape, bool), set[int]()
    for number in sorted(range(len(filled)), key=lambda number: -np.count_nonzero(filled[number].mask)):
        region = filled[number]
        if not (occupied[region.slices] & region.mask).any():
            occupied[region.slices] |= region.mask
            kept.add(number)
    return [region for number, region in enumerate(filled) if number in kept]


def label_lesions(maps: LesionMaps, config: LesionConfig) -> NDArray[np.int32]:
    """Label the cells of each lesion, including lesions below the minimum area, without filling holes.

    Returns int32 (row, column); 0 for cells outside lesions.
    """
    presence = _smooth_presence(maps, config.smoothing_um)
    above_low = presence >= config.low
    labels, count = _label_parts(above_low, maps.placement, config.join_um)
    reaches_high = np.zeros(count + 1, bool)
    reaches_high[labels[presence >= config.high]] = True
    reaches_high[0] = False
    numbers = np.cumsum(reaches_high) * reaches_high
    return numbers[labels].astype(np.int32)


def measure_region(
    region: CellRegion, maps: LesionMaps, config: LesionConfig, *, index: int, tissue: float
) -> SlideLesion:
    """Measure and classify a region as a lesion.

    ``index``: number of the lesion. ``tissue``: amount of tissue on the whole slide, in cells.
    """
    place, mask = maps.placement, region.mask
    target, weight = maps.target[region.slices], maps.weight(region.slices)
    inside, presence = target[mask], maps.presence[region.slices][mask]
    probability = _score(inside, weight[mask], config.score)
    share = probability if maps.malignancy is None else _malignant_share(inside, presence, weight[mask])
    peak = np.unravel_index(np.where(mask & np.isfinite(target), target, -1.0).argmax(), mask.shape)
    placement = region.place(place)
    corners = np.minimum(placement.to_slide([peak, np.add(peak, 1)]), maps.slide_end or math.inf)
    seed = corners.mean(axis=0)
    um, cells = place.cell_um, ClippedCells.clip(mask, placement, maps.slide_end)
    height, width = cells.box
    return SlideLesion(
        index=index,
        label=maps.label or ("malignant" if share >= config.malignant_from else "benign"),
        probability=probability,
        presence=_score(presence, weight[mask], "mean"),
        area_px=cells.area * place.cell_area_px,
        perimeter_px=cells.perimeter((place.step_y, place.step_x)),
        area_mm2=None if um is None else cells.area * um[0] * um[1] / 1e6,
        perimeter_mm=None if um is None else cells.perimeter((um[0] / 1e3, um[1] / 1e3)),
        height_mm=None if um is None else height * um[0] / 1e3,
        width_mm=None if um is None else width * um[1] / 1e3,
        extent=cells.area / (height * width),
        tissue_share=float(weight[mask].sum(dtype=np.float64)) / tissue if tissue else 0.0,
        seed=(float(seed[0]), float(seed[1])),
        polygons=tuple(clip_to_slide_end(polygon, maps.slide_end) for polygon in cell_polygons(mask, placement)),
        malignancy=math.nan if maps.label else share,
    )


def region_from_polygons(polygons: Sequence[Polygon], maps: LesionMaps) -> CellRegion:
    """Return the cells whose centers lie within polygons; ``polygons``: at least one, in pixels of the finest level."""
    polygons = [extend_past_slide_end(polygon, maps.placement, maps.shape, maps.slide_end) for polygon in polygons]
    window = covered_cells(joint_box(tuple(polygons)), maps.placement, Box(0, 0, *maps.shape))
    return CellRegion(window.top, window.left, rasterize_polygons(polygons, maps.placement, window))


def lesions_table(lesions: Sequence[SlideLesion]) -> list[dict[str, object]]:
    """Return the rows of ``lesions.csv`` with ``LESION_COLUMNS``."""
    rows = []
    for lesion in lesions:
        values = {name: getattr(lesion, name, None) for name in LESION_COLUMNS}
        rows.append({**values, "seed_row_px": lesion.seed[0], "seed_column_px": lesion.seed[1]})
    return rows


def _score(values: NDArray[np.float32], weights: NDArray[np.float32], method: str) -> float:
    """Combine the probabilities of the cells of a lesion by the mean or maximum; NaN if all are unknown."""
    known = np.isfinite(values)
    values, weights = values[known].astype(np.float64), weights[known].astype(np.float64)
    if not len(values):
        return float("nan")
    if method == "maximum":
        return float(values.max())
    return float(np.average(values, weights=weights if weights.sum() > 0 else None))


def _malignant_share(target: NDArray[np.float32], presence: NDArray[np.float32], weights: NDArray[np.float32]) -> float:
    """Return the share of the probability of a lesion that is malignant, over all its cells; NaN if it is unknown."""
    known = np.isfinite(target)
    lesion = _score(presence[known], weights[known], "mean")
    return _score(target[known], weights[known], "mean") / lesion if lesion > 0 else math.nan


def _smooth_presence(maps: LesionMaps, sigma_um: float) -> NDArray[np.float32]:
    """Smooth ``presence`` by normalized convolution of the known cells; unknown cells are 0."""
    known = np.isfinite(maps.presence)
    presence = np.where(known, maps.presence, 0).astype(np.float32)
    um = maps.placement.cell_um
    if not sigma_um or um is None:
        return presence
    from scipy import ndimage

    sigma = (sigma_um / um[0], sigma_um / um[1])
    smooth = ndimage.gaussian_filter(presence, sigma, mode="constant")
    weight = ndimage.gaussian_filter(known.astype(np.float32), sigma, mode="constant")
    return np.where(known, smooth / np.maximum(weight, 1e-6), 0).astype(np.float32)


def _label_parts(mask: NDArray[np.bool_], place: MapPlacement, gap_um: float) -> tuple[NDArray[np.int32], int]:
    """Label the parts of a mask as ``label_components`` does; parts up to ``gap_um`` apart get one label."""
    labels, count = label_components(mask)
    um = place.cell_um
    if not gap_um or um is None or count < 2:
        return labels, count
    from scipy import ndimage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # The shortest way between two parts is where the cells that are nearest to one and to the other touch.
    nearest = ndimage.distance_transform_edt(~mask, sampling=um, return_distances=False, return_indices=True)
    pairs = [np.zeros((2, 0), np.int32)]
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one, other = (nearest[:, row:, :], nearest[:, : -row or None, :])
        one = one[:, :, column:] if column >= 0 else one[:, :, :column]
        other = other[:, :, : -column or None] if column >= 0 else other[:, :, -column:]
        between = np.stack([labels[tuple(one)], labels[tuple(other)]])
        gaps = [(np.abs(a - b) - 1).clip(0) * side for a, b, side in zip(one, other, um, strict=True)]
        pairs.append(between[:, np.hypot(*gaps) <= gap_um * (1 + 1e-9)])
    first, second = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count + 1, count + 1))
    parts, part = connected_components(graph, directed=False)  # the background is a part of its own, the first one
    return part.astype(np.int32)[labels], parts - 1


@dataclass(frozen=True)
class ClippedCells:
    """Cells of a map, the last of which may extend beyond the end of the slide.

    ``mask``: bool (row, column), at least one cell. ``rows``, ``columns``: float64 (row,) and (column,), the share of
    each that lies on the slide: 1, except at the end.
    """

    mask: NDArray[np.bool_]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]

    @classmethod
    def clip(cls, mask: NDArray[np.bool_], place: MapPlacement, end: SlideEnd | None) -> ClippedCells:
        """Clip cells at the end of the slide; nothing is clipped if ``end`` is None."""
        rows, columns = (np.arange(length, dtype=np.float64) for length in mask.shape)
        if end is None:
            return cls(mask, np.ones_like(rows), np.ones_like(columns))
        last = place.to_map(end)
        return cls(mask, (last[0] - rows).clip(0, 1), (last[1] - columns).clip(0, 1))

    @property
    def area(self) -> float:
        """Area in cells."""
        return float(self.rows @ self.mask @ self.columns)

    @property
    def box(self) -> tuple[float, float]:
        """Height and width of the axis-aligned box around the cells, in cells."""
        box = bounding_box(self.mask)
        assert box is not None, "there is at least one cell"
        rows, columns = box.slices
        return float(self.rows[rows].sum()), float(self.columns[columns].sum())

    def perimeter(self, step: tuple[float, float]) -> float:
        """Return the length of the border by Crofton's formula, corrected for the shorter sides of clipped cells.

        ``step``: height and width of a whole cell, in the unit of the result.
        """
        beyond = _runs(self.mask) @ (1 - self.rows) * step[0] + _runs(self.mask.T) @ (1 - self.columns) * step[1]
        return crofton_perimeter(self.mask, step) - 2 * float(beyond)


def clip_to_slide_end(polygon: Polygon, end: SlideEnd | None) -> Polygon:
    """Clip an outline along cells at the end of the slide; return the same object if ``end`` is None."""
    if end is None:
        return polygon

    def clipped(ring: Ring) -> Ring:
        return as_ring(np.minimum(as_array(ring), end))

    return Polygon(clipped(polygon.outer), tuple(clipped(hole) for hole in polygon.holes))


def extend_past_slide_end(
    polygon: Polygon, place: MapPlacement, shape: tuple[int, int], end: SlideEnd | None
) -> Polygon:
    """Extend an outline that ends at the end of the slide to whole cells: the inverse of ``clip_to_slide_end``.

    ``shape``: rows and columns of the map.
    """
    if end is None:
        return polygon
    map_end = np.maximum(place.to_slide(shape), end)

    def extended(ring: Ring) -> Ring:
        vertices = as_array(ring)
        return as_ring(np.where((vertices >= end) & (vertices < map_end), map_end, vertices))

    return Polygon(extended(polygon.outer), tuple(extended(hole) for hole in polygon.holes))


def _runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the runs of cells in each row."""
    return np.diff(mask.astype(np.int8), axis=1, prepend=0).clip(min=0).sum(axis=1)


def is_lesion_class(name: str) -> bool:
    """Whether a class names a lesion, such as melanoma, nevus or tumor; not structures and unknown names."""
    return read_class_name(name) in (*MALIGNANT, *BENIGN, *UNSPECIFIC) or name.lower() == POSITIVE


def area_noun(label: str) -> str:
    """Return what a detected area is called, ``lesion`` or ``area``; ``label``: its class, empty if none is stated."""
    return "lesion" if is_lesion_area(label) else "area"


def is_lesion_area(label: str) -> bool:
    """Whether a detected area is that of a lesion; ``label``: its class, empty if none is stated."""
    return not label or is_lesion_class(label)


def default_lesion_class(classes: Sequence[str]) -> str:
    """Return the class for detecting lesions if the user has not selected one; empty if it is open which.

    See ``find_lesion_classes``.
    """
    found = find_lesion_classes(classes)
    return found[0] if len(found) == 1 else ""


def build_lesion_maps(
    probability: NDArray[np.float32],
    place: MapPlacement,
    classes: Sequence[str],
    target: str,
    *,
    is_dense: bool,
    tissue: NDArray[np.float32] | None = None,
    end: SlideEnd | None = None,
) -> LesionMaps:
    """Build the maps for detecting lesions.

    If the model has a benign lesion class, benign lesions are detected as well. If it does not separate malignant from
    benign lesions (an unspecific target, or a segmentation model with a single lesion class), or if the target is no
    lesion, such as epidermis, lesions are labeled with the name of the target.

    ``probability``: float32 (class, row, column); NaN where unknown. ``target``: class that lesions are detected with.
    ``is_dense``: the map is that of a segmentation model. ``tissue``: float32 (row, column), share of tissue in each
    cell.
    """
    target_probability = np.ascontiguousarray(probability[list(classes).index(target)])
    meanings = [read_class_name(name) for name in classes]
    target_meaning = meanings[list(classes).index(target)]
    benign = [index for index, name in enumerate(classes) if meanings[index] in BENIGN and name != target]
    unspecific, is_malignant = target_meaning in UNSPECIFIC, target_meaning in MALIGNANT
    if not (unspecific or is_malignant) or (not benign and (is_dense or unspecific)):
        return LesionMaps(target_probability, place, tissue=tissue, label=format_class(target), slide_end=end)
    if not benign or (not is_dense and len(classes) == 2):
        return LesionMaps(target_probability, place, tissue=tissue, slide_end=end)
    presence = target_probability + probability[benign].sum(axis=0)
    share = np.where(presence > 0, target_probability / np.maximum(presence, 1e-6), 0).astype(np.float32)
    return LesionMaps(presence, place, malignancy=share, tissue=tissue, slide_end=end)
