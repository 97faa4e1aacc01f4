"""Candidates for the Breslow thickness of a slide, the likeliest first, and what could not be measured and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.breslow.config import DepthConfig
from napari_melanoma.analysis.breslow.interval import DepthFeatures, IntervalLaw
from napari_melanoma.analysis.breslow.lesions import Growth, growths, invasive
from napari_melanoma.analysis.breslow.maps import TissueMaps, tissues_of
from napari_melanoma.analysis.breslow.scale import checked_cell_um
from napari_melanoma.analysis.breslow.sections import Section, find_sections
from napari_melanoma.analysis.breslow.surface import Surface, find_surface, why_no_surface
from napari_melanoma.analysis.breslow.thickness import Line, beneath, bounds, cut_off, thickest, ulcer_mm

if TYPE_CHECKING:
    from napari_melanoma.core.placement import MapPlace

NO_TISSUE = "no tissue was found"
NO_TUMOUR = "no tumour was found in section {}"
IN_SITU = "section {} has nests within the epidermis alone: a melanoma in situ has no thickness"
ULCERATED = "measured from the ulcer's base"
CUT_OFF = "at least: the lesion reaches the end of the section"
BODY_ALONE = "without the nests beside its body"
FAR_NESTS = "with nests further off"
DETACHED = "lies apart from the surface: perhaps no primary melanoma"
THICK_EPIDERMIS = (
    "section {}: the epidermis is {:.2f} mm thick on average; the cut may be oblique, and the thickness too great"
)
THICK_MM = 0.3
SMALL_SHARE = 0.1  # of the largest lesion's area: what is smaller comes after the others


@dataclass(frozen=True)
class DepthCandidate:
    """One way to measure: ends as (row, column) in pixels of the finest level, thickness in mm.

    ``interval_mm`` is None where the errors of the model are not known, ``at_least`` says that the lesion is cut off,
    ``section`` counts from 0, ``lesion`` is the number of a lesion of the slide, ``below_epidermis_mm`` how far the
    deepest cell lies below the lower border of the epidermis, ``ulcer_mm`` how far that is missing.
    """

    surface: tuple[float, float]
    deepest: tuple[float, float]
    mm: float
    features: DepthFeatures
    section: int
    at_least: bool
    ulcerated: bool | None
    ulcer_mm: float
    below_epidermis_mm: float | None
    interval_mm: tuple[float, float] | None = None
    lesion: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DepthFindings:
    """Candidates of a map, the likeliest first, and ``notes`` of what was not measured."""

    candidates: tuple[DepthCandidate, ...]
    notes: tuple[str, ...]


def breslow_candidates(
    maps: TissueMaps, place: MapPlace, config: DepthConfig | None = None, law: IntervalLaw | None = None
) -> tuple[DepthCandidate, ...]:
    """Measure the Breslow thickness on a map of a slide; ``measure_depth`` also says what could not be measured.

    Parameters
    ----------
    maps : TissueMaps
        What each cell is.
    place : MapPlace
        Where the cells lie; with its pixel size.
    config : DepthConfig, optional
        What counts as what.
    law : IntervalLaw, optional
        Of the model that made the map.

    Returns
    -------
    tuple of DepthCandidate
        The likeliest first; empty where nothing can be measured.

    Raises
    ------
    ScaleMissing, InputError
        As ``measure_depth``.
    """
    return measure_depth(maps, place, config, law).candidates


def measure_depth(
    maps: TissueMaps, place: MapPlace, config: DepthConfig | None = None, law: IntervalLaw | None = None
) -> DepthFindings:
    """Measure from the top of the granular layer, or an ulcer's base, to the deepest invasive cells, straight down.

    Down is at a right angle to the skin beside the lesion (Gershenwald et al. 2017, doi:10.3322/caac.21409). Each
    section is measured by itself. An oblique cut makes all layers thicker; nothing here corrects for that.

    Parameters
    ----------
    maps : TissueMaps
        What each cell is.
    place : MapPlace
        Where the cells lie; with its pixel size.
    config : DepthConfig, optional
        What counts as what.
    law : IntervalLaw, optional
        Of the model that made the map.

    Returns
    -------
    DepthFindings
        Lesions of all sections that hang together with the surface come first, the thickest of them at the top.

    Raises
    ------
    ScaleMissing
        Where the pixel size is not known or cannot be true.
    InputError
        Where a class is missing.
    """
    config = config or DepthConfig()
    cell_um = checked_cell_um(place, maps.probability.shape[1:])
    sections = find_sections(tissues_of(maps, cell_um), cell_um, config)
    if not sections:
        return DepthFindings((), (NO_TISSUE,))
    found: list[_Measured] = []
    notes: list[str] = []
    for section in sections:
        measured, why = _measure_section(section, config)
        found += measured
        notes += why
    ordered = _ranked(found)
    return DepthFindings(tuple(_placed(one, place, law) for one in ordered), tuple(notes))


@dataclass(frozen=True)
class _Measured:
    """A candidate before it is placed on the slide; ``rank`` is 0 for what is likeliest."""

    line: Line
    candidate: DepthCandidate
    area_um2: float
    rank: int


def _measure_section(section: Section, config: DepthConfig) -> tuple[list[_Measured], list[str]]:
    """Measure the lesions of a section, or say why not."""
    parts, in_situ = invasive(section, config)
    lesions = growths(section, parts, config)
    if not lesions:
        return [], [(IN_SITU if in_situ.any() else NO_TUMOUR).format(section.index + 1)]
    why = why_no_surface(section)
    if why:
        return [], [why]
    notes = []
    points, _ = section.covered_rim
    mean_mm = np.count_nonzero(section.epidermis) * section.cell_um2 / (len(points) * max(section.cell_um)) / 1000
    if mean_mm > THICK_MM:
        notes.append(THICK_EPIDERMIS.format(section.index + 1, mean_mm))
    found = [one for growth in lesions for one in _measure_lesion(section, growth, config)]
    return found, notes


def _measure_lesion(section: Section, growth: Growth, config: DepthConfig) -> list[_Measured]:
    """Measure a lesion: as it is, then without the nests around it and with those further off, where that differs."""
    surface = find_surface(section, growth.near, config)
    ulcer = ulcer_mm(section, surface, growth.near, config)
    at_least = cut_off(section, surface, growth.near, config)
    area = float(np.count_nonzero(growth.near) * section.cell_um2)
    low, high = bounds(section, surface, growth)
    detached = float(beneath(section, surface, growth.near)[1].min()) > config.detached_um
    notes = [*([CUT_OFF] if at_least else []), *([ULCERATED] if ulcer else []), *([DETACHED] if detached else [])]
    found: list[_Measured] = []
    for rank, (cells, said) in enumerate(((growth.near, ""), (growth.body, BODY_ALONE), (growth.far, FAR_NESTS))):
        line = thickest(section, surface, cells)
        if any(abs(line.um - other.line.um) < 1000 * config.different_mm for other in found):
            continue
        features = DepthFeatures(line.um / 1000, min(low, line.um) / 1000, max(high, line.um) / 1000)
        below = _below_epidermis(section, surface, line)
        candidate = DepthCandidate(
            (0, 0),
            (0, 0),
            line.um / 1000,
            features,
            section.index,
            at_least,
            ulcer > 0,
            ulcer,
            below,
            notes=tuple([*notes, said] if said else notes),
        )
        found.append(_Measured(line, candidate, area, rank + 3 * detached))
    return found


def _below_epidermis(section: Section, surface: Surface, line: Line) -> float | None:
    """How far the deepest cell lies below the usual lower border of the epidermis, in mm."""
    points, _ = section.covered_rim
    if not len(points):
        return None
    thick = np.count_nonzero(section.epidermis) * section.cell_um2 / (len(points) * max(section.cell_um))
    return float(max(line.um - thick, 0.0)) / 1000


def _ranked(found: list[_Measured]) -> list[_Measured]:
    """The likeliest first: what hangs together with the surface and is no small lesion, of those the thickest."""
    largest = max((one.area_um2 for one in found if one.rank == 0), default=0.0)
    return sorted(found, key=lambda one: (one.rank + 6 * (one.area_um2 < SMALL_SHARE * largest), -one.line.um))


def _placed(one: _Measured, place: MapPlace, law: IntervalLaw | None) -> DepthCandidate:
    """Give a candidate with its ends on the slide, and its interval."""
    cell = place.cell_um
    assert cell is not None
    ends = place.to_slide(np.array([one.line.surface, one.line.deepest]) / cell).tolist()
    interval = None if law is None else law.interval(one.candidate.features)
    return replace(one.candidate, surface=tuple(ends[0]), deepest=tuple(ends[1]), interval_mm=interval)
