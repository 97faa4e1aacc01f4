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
from napari_melanoma.depth.maps import (
    DepthMeasurementConfig,
    TissueMaps,
    check_cell_um,
    classify_tissue,
    interpolate_maps,
)

if TYPE_CHECKING:
    from napari_melanoma.core.placement import MapPlacement

NO_TISSUE = "no tissue was found"
NO_TUMOR = "no invasive tumour was found in section {}"
IN_SITU = "section {} has nests within the epidermis alone: a melanoma in situ has no thickness"
ULCERATED = "ulcerated: measured from the ulcer's base where the deepest cells lie below it"
CUT_OFF = "at least: the lesion reaches the end of the section, or of what was analysed"
WITHOUT_NESTS = "without the nests beside its body"
FAR_NESTS = "with nests further off"
DETACHED = "lies apart from the surface: perhaps no primary melanoma"
THICK_EPIDERMIS = "the epidermis is {:.2f} mm thick on average: where the cut is oblique, the thickness is too great"
THICK_MM = 0.25


def breslow_candidates(
    maps: TissueMaps,
    place: MapPlacement,
    config: DepthMeasurementConfig | None = None,
    interval_model: DepthIntervalModel | None = None,
) -> tuple[DepthCandidate, ...]:
    """Measure the Breslow thickness on a map of a slide; ``measure_depth`` also says what could not be measured.

    ``place``: where the cells lie; with its pixel size. Returns the likeliest first; empty where nothing can be
    measured.
    """
    return measure_depth(maps, place, config, interval_model).candidates


def measure_depth(
    maps: TissueMaps,
    place: MapPlacement,
    config: DepthMeasurementConfig | None = None,
    interval_model: DepthIntervalModel | None = None,
    section: int | None = None,
) -> DepthFindings:
    """Measure from the top of the granular layer, or an ulcer's base, to the deepest invasive cells, straight down.

    Down is at a right angle to the skin beside the lesion (Gershenwald et al. 2017, doi:10.3322/caac.21409). Each
    section is measured by itself. An oblique cut makes all layers thicker; nothing here corrects for that.

    ``place``: where the cells lie; with its pixel size. In the order of ``ranked``.
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
    for one in sections:
        numbered = one if section is None else replace(one, index=section)
        measured, why = _measure_section(numbered, config)
        found += measured
        notes += why
    return DepthFindings(
        rank_candidates(_to_slide_pixels(one, place, interval_model) for one in found), tuple(dict.fromkeys(notes))
    )


def _measure_section(section: SkinSection, config: DepthMeasurementConfig) -> tuple[list[DepthCandidate], list[str]]:
    """Measure the lesions of a section, or say why not."""
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
    """Measure a lesion: as it is, then without the nests around it and with those further off, where that differs."""
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
    for way, (cells, said) in enumerate(((whole, ""), (growth.body, WITHOUT_NESTS), (growth.far, FAR_NESTS))):
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
            notes=(*notes, said) if said else tuple(notes),
        )
        found.append(candidate)
    return found


def _to_slide_pixels(one: DepthCandidate, place: MapPlacement, law: DepthIntervalModel | None) -> DepthCandidate:
    """Turn the ends from micrometres on the map into pixels of the slide, and give the interval."""
    cell = place.cell_um
    assert cell is not None
    surface, deepest = place.to_slide(np.array([one.surface, one.deepest]) / cell).tolist()
    interval = None if law is None else law.interval(one.features)
    return replace(one, surface=tuple(surface), deepest=tuple(deepest), interval_mm=interval)


# Depths below the epidermis that stand for layers: nobody draws the border of papillary and reticular dermis on a map.
PAPILLARY_UM, RETICULAR_UM = 170.0, 250.0
FAT_UM = 1300.0  # from here on the deepest cells may lie in the fat, which is not told from the dermis


@dataclass(frozen=True)
class ClarkEstimate:
    """Level 2 to 4, or None; ``reason`` says how it was told, or why it was not."""

    level: int | None
    reason: str


def estimate_clark_level(below_um: float, at_least: bool) -> ClarkEstimate:
    """Estimate a level by how far the deepest cells lie below the epidermis.

    ``below_um``: from the lower border of the epidermis, in micrometres. None of 1, which is a melanoma in situ, or of
    5, which cannot be told without the fat.
    """
    told = f"{below_um / 1000:.2f} mm below the epidermis"
    if at_least:
        return ClarkEstimate(None, f"{told} or more: the lesion is cut off")
    if below_um > FAT_UM:
        return ClarkEstimate(None, f"{told}: may be in the fat, which the map does not tell from the dermis")
    level = 4 if below_um > RETICULAR_UM else 3 if below_um > PAPILLARY_UM else 2
    return ClarkEstimate(level, f"{told}; layers are told by this distance alone")


MIN_CASES = 40  # slides of known truth that a law may rest on
INTERVALS_FILE = "intervals.json"
MIN_SCALE_MM = 0.005


@dataclass(frozen=True)
class DepthFeatures:
    """What says how hard a measurement was: thickness, and that of the nearly certain and of all possible tumour."""

    mm: float
    low_mm: float
    high_mm: float

    @property
    def spread_mm(self) -> float:
        """How far apart the certain and the possible are."""
        return max(self.high_mm - self.low_mm, 0.0)


@dataclass(frozen=True)
class DepthIntervalModel:
    """How wide an interval is: ``scale`` (constant in mm, share of the thickness, share of the spread) times limits.

    ``less`` and ``more`` are how many scales the truth may lie below and above; ``cases`` says on how many slides of
    ``made_of`` they were found.
    """

    coverage: float
    scale: tuple[float, float, float]
    less: float
    more: float
    cases: int
    made_of: str

    def interval(self, features: DepthFeatures) -> tuple[float, float]:
        """Give the interval of a measurement.

        Least and greatest thickness in mm, 0 at the least.
        """
        scale = _scale(features, self.scale)
        return max(features.mm - self.less * scale, 0.0), features.mm + self.more * scale


def calibrate_intervals(
    truth_mm: Sequence[float], features: Sequence[DepthFeatures], coverage: float = 0.9, made_of: str = ""
) -> DepthIntervalModel:
    """Make a law from slides whose thickness is known (split conformal prediction, normalised; arXiv:2107.07511).

    Covers at least so much of further slides on average, where these are drawn alike.
    """
    if len(truth_mm) != len(features) or len(features) < MIN_CASES:
        raise ValueError(f"needs {MIN_CASES} slides with truth and measurement, got {len(truth_mm)}, {len(features)}")
    errors = np.asarray(truth_mm, np.float64) - [one.mm for one in features]
    scale = _fit_scale(np.abs(errors), features)
    scores = errors / [_scale(one, scale) for one in features]
    tail = (1 - coverage) / 2
    less, more = _limit(-scores, tail), _limit(scores, tail)
    return DepthIntervalModel(coverage, scale, max(less, 0.0), max(more, 0.0), len(errors), made_of)


def interval_models_to_json(laws: dict[str, DepthIntervalModel]) -> str:
    """Write laws as ``intervals.json`` has them."""
    return json.dumps({weights: asdict(law) for weights, law in laws.items()}, indent=2) + "\n"


@cache
def load_interval_models() -> dict[str, DepthIntervalModel]:
    """Give the laws that come with the program.

    SHA-256 of a model's weights file, as ``BundleInfo.fingerprint`` gives it, to its law.
    """
    text = resources.files(__package__).joinpath(INTERVALS_FILE).read_text(encoding="utf-8")
    laws = parse_json(text, INTERVALS_FILE)
    return {weights: DepthIntervalModel(**{**law, "scale": tuple(law["scale"])}) for weights, law in laws.items()}


def _scale(features: DepthFeatures, scale: tuple[float, float, float]) -> float:
    """How far a measurement may be off, as a multiple of nothing in particular."""
    return max(scale[0] + scale[1] * features.mm + scale[2] * features.spread_mm, MIN_SCALE_MM)


def _fit_scale(errors: np.ndarray, features: Sequence[DepthFeatures]) -> tuple[float, float, float]:
    """Least squares of the size of errors without negative parts; a few large errors have less say by the root."""
    from scipy.optimize import nnls

    columns = np.array([(1.0, one.mm, one.spread_mm) for one in features])
    likely = np.minimum(errors, np.quantile(errors, 0.95))
    found = nnls(columns, likely)[0].tolist()
    return found[0], found[1], found[2]


def _limit(scores: np.ndarray, tail: float) -> float:
    """Quantile of the scores that leaves a tail, by the rule of split conformal prediction."""
    rank = math.ceil((len(scores) + 1) * (1 - tail))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


DETACHED_OFFSET = 3
SMALL_SHARE = 0.1  # of the largest lesion's area: what is smaller comes after the others


@dataclass(frozen=True)
class DepthCandidate:
    """One way to measure: ends as (row, column) in pixels of the finest level, thickness in mm.

    ``interval_mm`` is None where the errors of the model are not known, ``at_least`` says that the lesion is cut off,
    ``ulcerated`` is None where that cannot be seen. ``section`` counts from 0, ``lesion`` is the number of a lesion of
    the slide. ``below_epidermis_mm`` is how far the deepest cell lies below the lower border of the epidermis,
    ``ulcer_mm`` over how much of the lesion that is missing, ``ulcer_share`` over which share of the surface right over
    it; None where that cannot be seen. ``lesion_mm2`` is the area of the lesion. ``way`` says how it is measured: 0 as
    it is, 1 without the nests beside it, 2 with nests further off, and ``APART`` more where it lies apart from the
    surface.
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
        """Give it as ``result.json`` has it.

        Numbers of mm with four decimals, positions with two.
        """
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
    """Candidates of a map, the likeliest first, and ``notes`` of what was not measured or may mislead."""

    candidates: tuple[DepthCandidate, ...]
    notes: tuple[str, ...]


def rank_candidates(candidates: Iterable[DepthCandidate]) -> tuple[DepthCandidate, ...]:
    """Put the likeliest first: what hangs together with the surface and is no small lesion, of those the thickest."""
    known = tuple(candidates)
    largest = max((one.lesion_mm2 for one in known if one.way == 0), default=0.0)
    small = 2 * DETACHED_OFFSET
    return tuple(sorted(known, key=lambda one: (one.way + small * (one.lesion_mm2 < SMALL_SHARE * largest), -one.mm)))
