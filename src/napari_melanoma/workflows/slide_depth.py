"""The Breslow thickness of an analysed slide: measured section by section, and how ``result.json`` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_melanoma.analysis.breslow.candidate import DepthCandidate, ranked
from napari_melanoma.analysis.breslow.candidates import NO_TISSUE, NO_TUMOUR, measure_depth
from napari_melanoma.analysis.breslow.category import straddles, t_category
from napari_melanoma.analysis.breslow.clark import clark_estimate
from napari_melanoma.analysis.breslow.config import DepthConfig
from napari_melanoma.analysis.breslow.interval import IntervalLaw, known_laws
from napari_melanoma.analysis.breslow.roles import ClassRoles, tells_naevi
from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.validity import PredictionFacts, Validity
from napari_melanoma.io.slide_folder import validity_in
from napari_melanoma.workflows.slide_depth_parts import DepthMap, SectionFound, sections_of

if TYPE_CHECKING:
    from napari_melanoma.analysis.slide_lesions import SlideLesion
    from napari_melanoma.core.geometry import Box
    from napari_melanoma.core.runs import RunContext

NOTHING: dict[str, Any] = {"breslow_mm": None, "breslow_interval_mm": None, "t_category": None, "depth": None}
NO_LAW = "no interval: this model was not tried on slides of known thickness, so that its errors are not known"
UNLIKE = (
    "the slide is unlike those that the model learnt from: the thickness may mean nothing, and its interval may be too "
    "narrow"
)
COARSER = "section {} is large: measured on cells of {:.1f} micrometres"
STRADDLES = "the interval reaches {}: the category is not sure"
CUT_OFF = "the lesion is cut off, and may be thicker where nothing is seen of it: the category is {} or higher"
EACH = "the thickest section counts: {}"
NAEVI_TOO = "this model draws naevi and melanomas as one: the thickest lesion is measured, whichever it is"
NO_LETTER = "ulceration is not known: the category may lack its letter"


def slide_depth(
    found: DepthMap, lesions: Sequence[SlideLesion], run: RunContext, validity: Validity | None = None
) -> dict[str, Any]:
    """Measure the thickness of the lesions of each section.

    Returns ``breslow_mm``, ``breslow_interval_mm``, ``t_category`` and ``depth`` of ``result.json``: all None where the
    model does not draw what is needed; where the slide has nothing to measure, ``depth`` says in its notes why.
    """
    if ClassRoles.of(found.classes) is None:
        return dict(NOTHING)
    own, law = validity or Validity(), known_laws().get(found.weights)
    try:
        candidates, notes = _measured(found, run, law, familiar="out_of_distribution" not in own.codes)
    except ScaleMissing as error:
        return {**NOTHING, "depth": {"validity": own.to_json(), **_told((), [str(error)])}}
    told = _answer([_with_lesion(one, lesions) for one in candidates], notes)
    error_known = PredictionFacts("the model", calibrated=law is not None).validity()
    told["depth"] = {"validity": own.with_reasons(error_known).to_json(), **told["depth"]}
    return told


def depth_in_words(content: Mapping[str, Any]) -> str:
    """Say what a result tells of the depth, in a line.

    Empty where depth was not looked for.
    """
    told = content.get("depth")
    if not told:
        return ""
    validity = Validity.from_json(told.get("validity")) or validity_in(content)
    if not validity.valid:
        return validity.headline("")
    return validity.headline(_thickness_in_words(content, told))


def _thickness_in_words(content: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """Thickness, category and notes of a prediction that is valid."""
    if content["breslow_mm"] is None:
        return f"no Breslow thickness: {'; '.join(told['notes']) or 'nothing to measure'}"
    interval = content["breslow_interval_mm"]
    least, what = ("at least ", " of what is seen") if told["at_least"] else ("", "")
    within = f" (90 % interval{what} {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    clark = f", Clark level {told['clark_estimate']} by estimate" if told["clark_estimate"] else ""
    thick = f"Breslow thickness {least}{content['breslow_mm']:.2f} mm{within}, {least}{content['t_category']}{clark}"
    return "; ".join([thick, *told["notes"]])


def _measured(
    found: DepthMap, run: RunContext, law: IntervalLaw | None, *, familiar: bool
) -> tuple[tuple[DepthCandidate, ...], list[str]]:
    """Measure section after section, each in the part of the map that its lesions need."""
    config = DepthConfig()
    sections = sections_of(found, config)
    candidates: list[DepthCandidate] = []
    notes: list[str] = [] if sections else [NO_TISSUE]
    for one in run.track(sections, "Measuring the thickness"):
        measured, why = _of_section(found, one, config, law)
        candidates += measured
        notes += why
    if candidates:
        notes += [UNLIKE] * (not familiar) + [NO_LAW] * (law is None) + [NAEVI_TOO] * (not tells_naevi(found.classes))
    return ranked(candidates), list(dict.fromkeys(notes))


def _of_section(
    found: DepthMap, one: SectionFound, config: DepthConfig, law: IntervalLaw | None
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
        cells.append(place.step_y / found.place.step_y)
    if not candidates:
        return [], missing or [NO_TUMOUR.format(number)]
    coarse = max(cells) * max(found.place.cell_um or (0.0,))
    return candidates, [COARSER.format(number, coarse)] if max(cells) > 1 else []


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
    category = t_category(best.mm, best.ulcerated)
    return {
        "breslow_mm": round(best.mm, 4),
        "breslow_interval_mm": best.as_json()["interval_mm"],
        "t_category": category,
        "depth": _told(candidates, [*_of_each(candidates), *notes, *_unsure(best, category)]),
    }


def _of_each(candidates: Sequence[DepthCandidate]) -> list[str]:
    """Say how thick the lesions of each section are, where several have one."""
    best = {one.section: one.mm for one in reversed(candidates)}
    if len(best) < 2:
        return []
    return [EACH.format(", ".join(f"{best[place]:.2f} mm in section {place + 1}" for place in sorted(best)))]


def _unsure(best: DepthCandidate, category: str) -> list[str]:
    """Say which other categories there may be."""
    reached = straddles(best.interval_mm, best.ulcerated) if best.interval_mm else ()
    if best.at_least:
        return [CUT_OFF.format(reached[0] if reached else category)]
    return [STRADDLES.format(" and ".join([", ".join(reached[:-1]), reached[-1]]))] if reached else []


def _told(candidates: Sequence[DepthCandidate], notes: Sequence[str]) -> dict[str, Any]:
    """Candidates and all that a reader should know of them."""
    best = candidates[0] if candidates else None
    clark = None if best is None else clark_estimate(1000 * best.below_epidermis_mm, best.at_least)
    return {
        "candidates": [one.as_json() for one in candidates],
        "notes": [*(best.notes if best else ()), *notes],
        "ulceration": best.ulcerated if best else None,
        "ulcer_mm": round(best.ulcer_mm, 4) if best else None,
        "ulcer_share": best.as_json()["ulcer_share"] if best else None,
        "at_least": best.at_least if best else None,
        "clark_estimate": clark.level if clark else None,
        "clark_reason": clark.reason if clark else None,
    }
