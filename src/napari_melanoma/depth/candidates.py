"""Candidates for the Breslow thickness and the Clark level, with prediction intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.parsing import parse_json
from napari_melanoma.depth.geometry import (
    LesionExtent,
    SectionSurface,
    SkinSection,
    depth_below_surface,
    describe_missing_surface,
    find_covered_rim,
    find_sections,
    find_surface,
    find_ulceration,
    group_lesions,
    is_cut_off_by_section,
    label_invasive_parts,
    measure_thickest,
    thickness_bounds,
)
from napari_melanoma.depth.tumor_maps import (
    DepthMeasurementConfig,
    TissueMaps,
    check_cell_um,
    classify_tissue,
    interpolate_maps,
)

if TYPE_CHECKING:
    from napari_melanoma.core.map_placement import MapPlacement

NO_TISSUE = "no tissue was found"
NO_TUMOR = "no invasive tumor was found in section {}"
IN_SITU = "section {} has nests within the epidermis only: a melanoma in situ has no thickness"
ULCERATED = "ulcerated: measured from the base of the ulcer where the deepest cells lie below it"
CUT_OFF = "lower bound: the lesion reaches the end of the section or of the analyzed region"
WITHOUT_NESTS = "without the nests around its main part"
FAR_NESTS = "including more distant nests"
DETACHED = "not connected to the surface: possibly not a primary melanoma"
THICK_EPIDERMIS = "mean epidermal thickness is {:.2f} mm: an oblique section overestimates the thickness"
THICK_MM = 0.25

# Depths below the epidermis that approximate layers: maps do not show the border of papillary and reticular dermis.
PAPILLARY_UM, RETICULAR_UM = 170.0, 250.0
FAT_UM = 1300.0  # from here on the deepest cells may lie in the fat, which the map does not separate from the dermis

MIN_CASES = 40  # slides of known thickness that an interval model needs
INTERVALS_FILE = "intervals.json"
MIN_SCALE_MM = 0.005
DETACHED_OFFSET = 3
SMALL_SHARE = 0.1  # of the area of the largest lesion: smaller lesions are ranked after the others


@dataclass(frozen=True)
class DepthFeatures:
    """Predictors of the measurement error: thickness, and thickness of nearly certain and of all possible tumor."""

    mm: float
    low_mm: float
    high_mm: float

    @property
    def spread_mm(self) -> float:
        """Difference between the possible and the nearly certain thickness."""
        return max(self.high_mm - self.low_mm, 0.0)


@dataclass(frozen=True)
class DepthIntervalModel:
    """Width of intervals: ``scale`` (constant in mm, share of the thickness, share of the spread) times limits.

    ``less`` and ``more`` are the numbers of scales that the true thickness may lie below and above; ``cases`` is the
    number of slides from ``made_of`` that the model was calibrated on.
    """

    coverage: float
    scale: tuple[float, float, float]
    less: float
    more: float
    cases: int
    made_of: str

    def interval(self, features: DepthFeatures) -> tuple[float, float]:
        """Return the least and the greatest thickness in mm, not below 0."""
        scale = _scale(features, self.scale)
        return max(features.mm - self.less * scale, 0.0), features.mm + self.more * scale


@dataclass(frozen=True)
class DepthCandidate:
    """One way to measure: ends as (row, column) in pixels of the finest level, thickness in mm.

    ``interval_mm`` is None if the errors of the model are unknown, ``at_least`` is set where the lesion is
    incomplete, ``ulcerated`` is None if it cannot be assessed. ``section`` counts from 0, ``lesion`` is the number
    of a lesion of the slide. ``below_epidermis_mm`` is the distance of the deepest cell to the lower border of the
    epidermis, ``ulcer_mm`` the length of lesion without epidermis, ``ulcer_share`` the share of the surface above the
    lesion that has none; None if it cannot be assessed. ``lesion_mm2`` is the area of the lesion. ``way``: 0 for the
    lesion as it is, 1 without the nests around it, 2 with distant nests, plus ``DETACHED_OFFSET`` where the lesion is
    not connected to the surface.
    """

    surface: tuple[float, float]
    deepest: tuple[float, float]
    mm: float
    features: DepthFeatures
    section: int
    at_least: bool
    ulcerated: bool | None
    ulcer_mm: float
    below_epidermis_mm: float
    lesion_mm2: float
    way: int
    interval_mm: tuple[float, float] | None = None
    lesion: int | None = None
    notes: tuple[str, ...] = ()
    ulcer_share: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of ``result.json``: mm with four decimals, positions with two."""
        return {
            "surface": [round(value, 2) for value in self.surface],
            "deepest": [round(value, 2) for value in self.deepest],
            "mm": round(self.mm, 4),
            "interval_mm": None if self.interval_mm is None else [round(value, 4) for value in self.interval_mm],
            "at_least": self.at_least,
            "ulcerated": self.ulcerated,
            "ulcer_mm": round(self.ulcer_mm, 4),
            "ulcer_share": None if self.ulcer_share is None else round(self.ulcer_share, 4),
            "section": self.section,
            "lesion": self.lesion,
            "certain_mm": round(self.features.low_mm, 4),
            "possible_mm": round(self.features.high_mm, 4),
            "below_epidermis_mm": round(self.below_epidermis_mm, 4),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class DepthFindings:
    """Candidates of a map, the most likely first, and ``notes`` on what was not measured or may mislead."""

    candidates: tuple[DepthCandidate, ...]
    notes: tuple[str, ...]


def measure_depth(
    maps: TissueMaps,
    place: MapPlacement,
    config: DepthMeasurementConfig | None = None,
    interval_model: DepthIntervalModel | None = None,
    section: int | None = None,
) -> DepthFindings:
    """Measure from the top of the granular layer, or an ulcer's base, to the deepest invasive cells, straight down.

    Down is perpendicular to the skin beside the lesion (Gershenwald et al. 2017, doi:10.3322/caac.21409). Each section
    is measured separately. An oblique section makes all layers thicker; this is not corrected.

    ``place``: position of the map on the slide, with the pixel size. Candidates are sorted as by ``rank_candidates``.
    """
    config = config or DepthMeasurementConfig()
    check_cell_um(place, maps.probability.shape[1:])
    maps, place = interpolate_maps(maps, place)
    cell_um = check_cell_um(place, maps.probability.shape[1:])
    sections = find_sections(classify_tissue(maps, cell_um), cell_um, config)
    if not sections:
        return DepthFindings((), (NO_TISSUE,))
    found: list[DepthCandidate] = []
    notes: list[str] = []
    for part in sections:
        numbered = part if section is None else replace(part, index=section)
        measured, reasons = _measure_section(numbered, config)
        found += measured
        notes += reasons
    return DepthFindings(
        rank_candidates(_to_slide_pixels(one, place, interval_model) for one in found), tuple(dict.fromkeys(notes))
    )


def _measure_section(section: SkinSection, config: DepthMeasurementConfig) -> tuple[list[DepthCandidate], list[str]]:
    """Measure the lesions of a section, or return the reasons why this is not possible."""
    parts, in_situ = label_invasive_parts(section, config)
    lesions = group_lesions(section, parts, config)
    if not lesions:
        return [], [(IN_SITU if in_situ.any() else NO_TUMOR).format(section.index + 1)]
    rim = find_covered_rim(section)
    why = describe_missing_surface(section, rim)
    if why:
        return [], [why]
    measured = (_measure_lesion(section, find_surface(section, rim, one.near, config), one, config) for one in lesions)
    return [one for lesion in measured for one in lesion], []


def _measure_lesion(
    section: SkinSection, surface: SectionSurface, growth: LesionExtent, config: DepthMeasurementConfig
) -> list[DepthCandidate]:
    """Measure a lesion as it is; also without nearby nests and with distant nests where the result differs."""
    ulcer = find_ulceration(section, surface, growth.near, config)
    at_least = is_cut_off_by_section(section, surface, growth.near, config)
    low, high = thickness_bounds(section, surface, growth)
    detached = float(depth_below_surface(section, surface, growth.near)[1].min()) > config.detached_um
    skin_um = surface.epidermis_um
    notes = [CUT_OFF] * at_least + [ULCERATED] * bool(ulcer.present) + [DETACHED] * detached
    notes += [THICK_EPIDERMIS.format(skin_um / 1000)] * (skin_um > 1000 * THICK_MM)
    area_mm2 = float(np.count_nonzero(growth.near) * section.cell_um2) / 1e6
    found: list[DepthCandidate] = []
    whole = (
        growth.near
        if measure_thickest(section, surface, growth.near).um < 1000 * config.faint_from_mm
        else growth.possible
    )
    for way, (cells, note) in enumerate(((whole, ""), (growth.body, WITHOUT_NESTS), (growth.far, FAR_NESTS))):
        line = measure_thickest(section, surface, cells)
        if any(abs(line.um / 1000 - other.mm) < config.different_mm for other in found):
            continue
        candidate = DepthCandidate(
            surface=line.surface,
            deepest=line.deepest,
            mm=line.um / 1000,
            features=DepthFeatures(line.um / 1000, min(low, line.um) / 1000, max(high, line.um) / 1000),
            section=section.index,
            at_least=at_least,
            ulcerated=ulcer.present,
            ulcer_mm=ulcer.length_um / 1000,
            ulcer_share=ulcer.share,
            below_epidermis_mm=max(line.um - skin_um, 0.0) / 1000,
            lesion_mm2=area_mm2,
            way=way + DETACHED_OFFSET * detached,
            notes=(*notes, note) if note else tuple(notes),
        )
        found.append(candidate)
    return found


def _to_slide_pixels(one: DepthCandidate, place: MapPlacement, model: DepthIntervalModel | None) -> DepthCandidate:
    """Convert the ends from micrometers on the map to pixels of the slide, and add the prediction interval."""
    cell = place.cell_um
    assert cell is not None
    surface, deepest = place.to_slide(np.array([one.surface, one.deepest]) / cell).tolist()
    interval = None if model is None else model.interval(one.features)
    return replace(one, surface=tuple(surface), deepest=tuple(deepest), interval_mm=interval)


@dataclass(frozen=True)
class ClarkEstimate:
    """Clark level 2 to 4, or None; ``reason`` is the basis of the estimate, or why there is none."""

    level: int | None
    reason: str


def estimate_clark_level(below_um: float, at_least: bool) -> ClarkEstimate:
    """Estimate the Clark level from the distance of the deepest cells to the epidermis.

    ``below_um``: from the lower border of the epidermis, in micrometers. Level 1 is a melanoma in situ, and level 5
    needs the border of the fat; neither is estimated.
    """
    distance = f"{below_um / 1000:.2f} mm below the epidermis"
    if at_least:
        return ClarkEstimate(None, f"{distance} or more: the lesion is incomplete")
    if below_um > FAT_UM:
        return ClarkEstimate(None, f"{distance}: possibly in the fat, which the map does not separate from the dermis")
    level = 4 if below_um > RETICULAR_UM else 3 if below_um > PAPILLARY_UM else 2
    return ClarkEstimate(level, f"{distance}; estimated from this distance only")


def calibrate_intervals(
    truth_mm: Sequence[float], features: Sequence[DepthFeatures], coverage: float = 0.9, made_of: str = ""
) -> DepthIntervalModel:
    """Calibrate an interval model on slides of known thickness.

    Split conformal prediction, normalized (arXiv:2107.07511). Reaches the coverage on average on slides from the same
    distribution.
    """
    if len(truth_mm) != len(features) or len(features) < MIN_CASES:
        raise ValueError(f"needs {MIN_CASES} slides with truth and measurement, got {len(truth_mm)}, {len(features)}")
    errors = np.asarray(truth_mm, np.float64) - [one.mm for one in features]
    scale = _fit_scale(np.abs(errors), features)
    scores = errors / [_scale(one, scale) for one in features]
    tail = (1 - coverage) / 2
    less, more = _limit(-scores, tail), _limit(scores, tail)
    return DepthIntervalModel(coverage, scale, max(less, 0.0), max(more, 0.0), len(errors), made_of)


def interval_models_to_json(models: dict[str, DepthIntervalModel]) -> str:
    """Format interval models as the content of ``intervals.json``."""
    return json.dumps({weights: asdict(model) for weights, model in models.items()}, indent=2) + "\n"


@cache
def load_interval_models() -> dict[str, DepthIntervalModel]:
    """Load the interval models that are part of the package.

    Maps the SHA-256 of a model's weights file (``BundleInfo.fingerprint``) to its interval model.
    """
    text = resources.files(__package__).joinpath(INTERVALS_FILE).read_text(encoding="utf-8")
    models = parse_json(text, INTERVALS_FILE)
    return {weights: DepthIntervalModel(**{**one, "scale": tuple(one["scale"])}) for weights, one in models.items()}


def _scale(features: DepthFeatures, scale: tuple[float, float, float]) -> float:
    """Estimate the size of the error, in units that the limits of the model refer to."""
    return max(scale[0] + scale[1] * features.mm + scale[2] * features.spread_mm, MIN_SCALE_MM)


def _fit_scale(errors: np.ndarray, features: Sequence[DepthFeatures]) -> tuple[float, float, float]:
    """Fit the size of errors by non-negative least squares; errors above the 95th percentile are clipped."""
    from scipy.optimize import nnls

    columns = np.array([(1.0, one.mm, one.spread_mm) for one in features])
    likely = np.minimum(errors, np.quantile(errors, 0.95))
    found = nnls(columns, likely)[0].tolist()
    return found[0], found[1], found[2]


def _limit(scores: np.ndarray, tail: float) -> float:
    """Quantile of the scores by the rule of split conformal prediction."""
    rank = math.ceil((len(scores) + 1) * (1 - tail))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def rank_candidates(candidates: Iterable[DepthCandidate]) -> tuple[DepthCandidate, ...]:
    """Sort candidates by likelihood: connected to the surface and not small first, then by thickness."""
    known = tuple(candidates)
    largest = max((one.lesion_mm2 for one in known if one.way == 0), default=0.0)
    small = 2 * DETACHED_OFFSET
    return tuple(sorted(known, key=lambda one: (one.way + small * (one.lesion_mm2 < SMALL_SHARE * largest), -one.mm)))
