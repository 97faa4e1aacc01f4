"""Candidates for the Breslow thickness of a slide, the likeliest first, and what could not be measured and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.breslow.candidate import APART, DepthCandidate, DepthFindings, ranked
from napari_melanoma.analysis.breslow.config import DepthConfig
from napari_melanoma.analysis.breslow.interval import DepthFeatures, IntervalLaw
from napari_melanoma.analysis.breslow.lesions import Growth, growths, invasive
from napari_melanoma.analysis.breslow.maps import TissueMaps, refined, tissues_of
from napari_melanoma.analysis.breslow.rim import covered_rim, why_no_surface
from napari_melanoma.analysis.breslow.scale import checked_cell_um
from napari_melanoma.analysis.breslow.sections import Section, find_sections
from napari_melanoma.analysis.breslow.surface import Surface, find_surface
from napari_melanoma.analysis.breslow.thickness import beneath, bounds, cut_off, thickest
from napari_melanoma.analysis.breslow.ulcer import find_ulcer

if TYPE_CHECKING:
    from napari_melanoma.core.placement import MapPlace

NO_TISSUE = "no tissue was found"
NO_TUMOUR = "no invasive tumour was found in section {}"
IN_SITU = "section {} has nests within the epidermis alone: a melanoma in situ has no thickness"
ULCERATED = "ulcerated: measured from the ulcer's base where the deepest cells lie below it"
CUT_OFF = "at least: the lesion reaches the end of the section, or of what was analysed"
BODY_ALONE = "without the nests beside its body"
FAR_NESTS = "with nests further off"
DETACHED = "lies apart from the surface: perhaps no primary melanoma"
THICK_EPIDERMIS = "the epidermis is {:.2f} mm thick on average: where the cut is oblique, the thickness is too great"
THICK_MM = 0.25


def breslow_candidates(
    maps: TissueMaps, place: MapPlace, config: DepthConfig | None = None, law: IntervalLaw | None = None
) -> tuple[DepthCandidate, ...]:
    """Measure the Breslow thickness on a map of a slide; ``measure_depth`` also says what could not be measured.

    ``place``: where the cells lie; with its pixel size. Returns the likeliest first; empty where nothing can be
    measured.
    """
    return measure_depth(maps, place, config, law).candidates


def measure_depth(
    maps: TissueMaps,
    place: MapPlace,
    config: DepthConfig | None = None,
    law: IntervalLaw | None = None,
    section: int | None = None,
) -> DepthFindings:
    """Measure from the top of the granular layer, or an ulcer's base, to the deepest invasive cells, straight down.

    Down is at a right angle to the skin beside the lesion (Gershenwald et al. 2017, doi:10.3322/caac.21409). Each
    section is measured by itself. An oblique cut makes all layers thicker; nothing here corrects for that.

    ``place``: where the cells lie; with its pixel size. In the order of ``ranked``.
    """
    config = config or DepthConfig()
    checked_cell_um(place, maps.probability.shape[1:])
    maps, place = refined(maps, place)
    cell_um = checked_cell_um(place, maps.probability.shape[1:])
    sections = find_sections(tissues_of(maps, cell_um), cell_um, config)
    if not sections:
        return DepthFindings((), (NO_TISSUE,))
    found: list[DepthCandidate] = []
    notes: list[str] = []
    for one in sections:
        numbered = one if section is None else replace(one, index=section)
        measured, why = _measure_section(numbered, config)
        found += measured
        notes += why
    return DepthFindings(ranked(_placed(one, place, law) for one in found), tuple(dict.fromkeys(notes)))


def _measure_section(section: Section, config: DepthConfig) -> tuple[list[DepthCandidate], list[str]]:
    """Measure the lesions of a section, or say why not."""
    parts, in_situ = invasive(section, config)
    lesions = growths(section, parts, config)
    if not lesions:
        return [], [(IN_SITU if in_situ.any() else NO_TUMOUR).format(section.index + 1)]
    rim = covered_rim(section)
    why = why_no_surface(section, rim)
    if why:
        return [], [why]
    measured = (_measure_lesion(section, find_surface(section, rim, one.near, config), one, config) for one in lesions)
    return [one for lesion in measured for one in lesion], []


def _measure_lesion(section: Section, surface: Surface, growth: Growth, config: DepthConfig) -> list[DepthCandidate]:
    """Measure a lesion: as it is, then without the nests around it and with those further off, where that differs."""
    ulcer = find_ulcer(section, surface, growth.near, config)
    at_least = cut_off(section, surface, growth.near, config)
    low, high = bounds(section, surface, growth)
    detached = float(beneath(section, surface, growth.near)[1].min()) > config.detached_um
    skin_um = surface.epidermis_um
    notes = [CUT_OFF] * at_least + [ULCERATED] * bool(ulcer.present) + [DETACHED] * detached
    notes += [THICK_EPIDERMIS.format(skin_um / 1000)] * (skin_um > 1000 * THICK_MM)
    area_mm2 = float(np.count_nonzero(growth.near) * section.cell_um2) / 1e6
    found: list[DepthCandidate] = []
    whole = growth.near if thickest(section, surface, growth.near).um < 1000 * config.faint_from_mm else growth.possible
    for way, (cells, said) in enumerate(((whole, ""), (growth.body, BODY_ALONE), (growth.far, FAR_NESTS))):
        line = thickest(section, surface, cells)
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
            way=way + APART * detached,
            notes=(*notes, said) if said else tuple(notes),
        )
        found.append(candidate)
    return found


def _placed(one: DepthCandidate, place: MapPlace, law: IntervalLaw | None) -> DepthCandidate:
    """Turn the ends from micrometres on the map into pixels of the slide, and give the interval."""
    cell = place.cell_um
    assert cell is not None
    surface, deepest = place.to_slide(np.array([one.surface, one.deepest]) / cell).tolist()
    interval = None if law is None else law.interval(one.features)
    return replace(one, surface=tuple(surface), deepest=tuple(deepest), interval_mm=interval)
