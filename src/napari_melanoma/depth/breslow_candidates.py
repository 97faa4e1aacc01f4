"""Measure candidates for the Breslow thickness with prediction intervals, and estimate the Clark level."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from napari_melanoma.core.geometry import MapPlacement
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
from napari_melanoma.depth.t_category import round_measured_thickness
from napari_melanoma.depth.tumor_maps import (
    DepthMeasurementConfig,
    TissueMaps,
    check_cell_um,
    classify_tissue,
    interpolate_maps,
)
from napari_melanoma.metrics.calibration import conformal_quantile

NO_TISSUE = "no tissue was found"
NO_TUMOR = "no invasive tumor was found in section {}"
IN_SITU_ONLY = "section {} has nests within the epidermis only: a melanoma in situ has no thickness"
ULCERATED = "ulcerated: measured from the base of the ulcer where the deepest cells lie below it"
CUT_OFF = "lower bound: the lesion reaches the end of the section or of the analyzed region"
SURFACE_OUTSIDE = "lower bound: the surface above the deepest cells is outside the slide or the analyzed region"
WITHOUT_NESTS = "without the nests around its main part"
FAR_NESTS = "including more distant nests"
DETACHED = "not connected to the surface: possibly not a primary melanoma"
THICK_EPIDERMIS = "mean epidermal thickness is {:.2f} mm: an oblique section overestimates the thickness"
THICK_EPIDERMIS_MM = 0.25


MIN_CASES = 40  # slides of known thickness that the calibration of an interval model requires
INTERVALS_FILE = "intervals.json"
MIN_SCALE_MM = 0.005
DETACHED_OFFSET = 3  # added to ``DepthCandidate.way``
SMALL_SHARE = 0.1  # of the area of the largest lesion: smaller lesions are ranked last


@dataclass(frozen=True)
class DepthFeatures:
    """Predictors of the measurement error of a thickness.

    ``mm``: the measured thickness. ``low_mm``: thickness of the nearly certain tumor only. ``high_mm``: thickness of
    all possible tumor.
    """

    mm: float
    low_mm: float
    high_mm: float

    @property
    def spread_mm(self) -> float:
        """Difference between the possible and the nearly certain thickness."""
        return max(self.high_mm - self.low_mm, 0.0)


@dataclass(frozen=True)
class DepthIntervalModel:
    """Prediction intervals for the thicknesses that one tissue model measures; the entry of ``intervals.json``.

    The expected error in mm is linear in the features; ``scale`` has its coefficients: the constant in mm, the factor
    of the thickness and that of the spread. ``less`` and ``more``: how many expected errors the interval extends below
    and above the measured thickness. ``coverage``: share of slides whose interval contains the true thickness, 0 to 1.
    ``cases``: number of slides that the model was calibrated on. ``made_of``: where they are from.
    """

    coverage: float
    scale: tuple[float, float, float]
    less: float
    more: float
    cases: int
    made_of: str

    def interval(self, features: DepthFeatures) -> tuple[float, float]:
        """Return the ends of the interval in mm, not below 0."""
        error_mm = _expected_error_mm(features, self.scale)
        return max(features.mm - self.less * error_mm, 0.0), features.mm + self.more * error_mm


@dataclass(frozen=True)
class DepthCandidate:
    """A line along which the thickness of a lesion was measured, with the findings of that lesion.

    - ``surface``, ``deepest``: ends of the line, (row, column) in pixels of the finest level
    - ``mm``: its length, the thickness
    - ``section``: index of the section, from 0
    - ``at_least``: the lesion is incomplete, so it may be thicker
    - ``ulcerated``: None if it cannot be assessed
    - ``ulcer_mm``: length of the ulcer
    - ``below_epidermis_mm``: distance of the deepest cells to the lower border of the epidermis
    - ``lesion_mm2``: area of the lesion
    - ``way``: 0 for the lesion with the nests around it, 1 without these nests, 2 with more distant nests; plus
      ``DETACHED_OFFSET`` if the lesion is not connected to the surface
    - ``interval_mm``: prediction interval; None if the errors of the model are unknown
    - ``lesion``: number of the lesion on the slide, if the analysis has found lesions
    - ``ulcer_share``: share of the surface above the lesion without epidermis, 0 to 1; None if it cannot be assessed
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
            "mm": round_measured_thickness(self.mm, 4),
            "interval_mm": None
            if self.interval_mm is None
            else [round_measured_thickness(value, 4) for value in self.interval_mm],
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
    """Candidates of a map, the most likely first; ``notes`` state why other sections were not measured."""

    candidates: tuple[DepthCandidate, ...]
    notes: tuple[str, ...]


def measure_depth(
    maps: TissueMaps,
    place: MapPlacement,
    config: DepthMeasurementConfig | None = None,
    interval_model: DepthIntervalModel | None = None,
    section: int | None = None,
    end: tuple[float, float] | None = None,
) -> DepthFindings:
    """Measure the Breslow thickness of each lesion in each section of a map.

    The thickness is the distance from the top of the epidermis, or the base of an ulcer, to the deepest invasive cells,
    perpendicular to the skin beside the lesion (Gershenwald et al. 2017, doi:10.3322/caac.21409). An oblique section
    makes all layers thicker; this is not corrected.

    ``place``: position of the map on the slide, with the pixel size. ``section``: index for all sections of the map, if
    the map is a part of a slide; by default they are counted. ``end``: (row, column) of the end of the slide in pixels
    of the finest level, which the last cells may extend beyond. No line extends beyond the map or the slide. Candidates
    are sorted by ``rank_candidates``.
    """
    config = config or DepthMeasurementConfig()
    check_cell_um(place, maps.probability.shape[1:])
    maps, place = interpolate_maps(maps, place)
    cell_um = check_cell_um(place, maps.probability.shape[1:])
    sections = find_sections(classify_tissue(maps, cell_um), cell_um, config)
    if not sections:
        return DepthFindings((), (NO_TISSUE,))
    candidates: list[DepthCandidate] = []
    notes: list[str] = []
    shape = maps.probability.shape[1:]
    last = np.minimum(shape, shape if end is None else place.to_map(end)) * cell_um
    for part in sections:
        index = part.index if section is None else section
        numbered = replace(part, index=index, end_um=(float(last[0]), float(last[1])))
        measured, reasons = _measure_section(numbered, config)
        candidates += [_to_slide_pixels(candidate, place, interval_model) for candidate in measured]
        notes += reasons
    return DepthFindings(rank_candidates(candidates), tuple(dict.fromkeys(notes)))


def _measure_section(section: SkinSection, config: DepthMeasurementConfig) -> tuple[list[DepthCandidate], list[str]]:
    """Return the candidates of a section; if there are none, the reason."""
    parts, in_situ = label_invasive_parts(section, config)
    lesions = group_lesions(section, parts, config)
    if not lesions:
        return [], [(IN_SITU_ONLY if in_situ.any() else NO_TUMOR).format(section.index + 1)]
    rim = find_covered_rim(section)
    reason = describe_missing_surface(section, rim)
    if reason:
        return [], [reason]
    candidates = [
        candidate
        for lesion in lesions
        for candidate in _measure_lesion(section, find_surface(section, rim, lesion.near, config), lesion, config)
    ]
    return candidates, []


def _measure_lesion(
    section: SkinSection, surface: SectionSurface, lesion: LesionExtent, config: DepthMeasurementConfig
) -> list[DepthCandidate]:
    """Measure a lesion with the nests around it; also without them, and with distant nests, if the result differs.

    The ends of the lines are still y and x in micrometers on the map.
    """
    ulcer = find_ulceration(section, surface, lesion.near, config)
    at_least = is_cut_off_by_section(section, surface, lesion.near, config)
    low, high = thickness_bounds(section, surface, lesion)
    detached = float(depth_below_surface(section, surface, lesion.near)[1].min()) > config.detached_um
    epidermis_um = surface.epidermis_um
    notes = [ULCERATED] * bool(ulcer.present) + [DETACHED] * detached
    notes += [THICK_EPIDERMIS.format(epidermis_um / 1000)] * (epidermis_um > 1000 * THICK_EPIDERMIS_MM)
    area_mm2 = float(np.count_nonzero(lesion.near) * section.cell_um2) / 1e6
    candidates: list[DepthCandidate] = []
    thin = measure_thickest(section, surface, lesion.near).um < 1000 * config.faint_from_mm
    whole = lesion.near if thin else lesion.possible
    for way, (cells, note) in enumerate(((whole, ""), (lesion.body, WITHOUT_NESTS), (lesion.far, FAR_NESTS))):
        line = measure_thickest(section, surface, cells)
        if any(abs(line.um / 1000 - other.mm) < config.different_mm for other in candidates):
            continue
        bounds = [CUT_OFF] * at_least + [SURFACE_OUTSIDE] * line.is_cut
        candidate = DepthCandidate(
            surface=line.surface,
            deepest=line.deepest,
            mm=line.um / 1000,
            features=DepthFeatures(line.um / 1000, min(low, line.um) / 1000, max(high, line.um) / 1000),
            section=section.index,
            at_least=bool(bounds),
            ulcerated=ulcer.present,
            ulcer_mm=ulcer.length_um / 1000,
            ulcer_share=ulcer.share,
            below_epidermis_mm=max(line.um - epidermis_um, 0.0) / 1000,
            lesion_mm2=area_mm2,
            way=way + DETACHED_OFFSET * detached,
            notes=tuple(filter(None, (*bounds, *notes, note))),
        )
        candidates.append(candidate)
    return candidates


def _to_slide_pixels(
    candidate: DepthCandidate, place: MapPlacement, model: DepthIntervalModel | None
) -> DepthCandidate:
    """Convert the ends from micrometers on the map to pixels of the slide, and add the prediction interval."""
    cell = place.cell_um
    assert cell is not None
    surface, deepest = place.to_slide(np.array([candidate.surface, candidate.deepest]) / cell).tolist()
    interval = None if model is None else model.interval(candidate.features)
    return replace(candidate, surface=tuple(surface), deepest=tuple(deepest), interval_mm=interval)


def calibrate_intervals(
    truth_mm: Sequence[float], features: Sequence[DepthFeatures], coverage: float = 0.9, made_of: str = ""
) -> DepthIntervalModel:
    """Calibrate an interval model on slides of known thickness.

    Normalized split conformal prediction (arXiv:2107.07511): on slides from the same distribution, the intervals reach
    the coverage on average.

    ``truth_mm``, ``features``: of each slide, at least ``MIN_CASES``. ``made_of``: where the slides are from.
    """
    if len(truth_mm) != len(features) or len(features) < MIN_CASES:
        raise ValueError(f"needs {MIN_CASES} slides with truth and measurement, got {len(truth_mm)}, {len(features)}")
    errors = np.asarray(truth_mm, np.float64) - [one.mm for one in features]
    scale = _fit_scale(np.abs(errors), features)
    scores = errors / [_expected_error_mm(one, scale) for one in features]
    one_sided = (1 + coverage) / 2
    less, more = conformal_quantile(-scores, one_sided), conformal_quantile(scores, one_sided)
    if math.isinf(less):
        raise ValueError(f"a coverage of {coverage:g} needs more slides with truth and measurement than {len(errors)}")
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
    entries = parse_json(text, INTERVALS_FILE)
    return {
        weights: DepthIntervalModel(**{**values, "scale": tuple(values["scale"])})
        for weights, values in entries.items()
    }


def _expected_error_mm(features: DepthFeatures, scale: tuple[float, float, float]) -> float:
    return max(scale[0] + scale[1] * features.mm + scale[2] * features.spread_mm, MIN_SCALE_MM)


def _fit_scale(errors: np.ndarray, features: Sequence[DepthFeatures]) -> tuple[float, float, float]:
    """Fit the expected error to errors clipped at their 95th percentile, by non-negative least squares."""
    from scipy.optimize import nnls

    columns = np.array([(1.0, one.mm, one.spread_mm) for one in features])
    clipped = np.minimum(errors, np.quantile(errors, 0.95))
    constant, per_mm, per_spread_mm = nnls(columns, clipped)[0].tolist()
    return constant, per_mm, per_spread_mm


def rank_candidates(candidates: Iterable[DepthCandidate]) -> tuple[DepthCandidate, ...]:
    """Sort candidates by likelihood: small lesions last, then by ``way``, then the thickest first."""
    unsorted = tuple(candidates)
    largest_mm2 = max((one.lesion_mm2 for one in unsorted if one.way == 0), default=0.0)

    def rank(candidate: DepthCandidate) -> tuple[bool, int, float]:
        return candidate.lesion_mm2 < SMALL_SHARE * largest_mm2, candidate.way, -candidate.mm

    return tuple(sorted(unsorted, key=rank))
