"""The headline of a slide: what its map shows of the class that the reader has chosen, or what to do next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from napari_melanoma.core.formatting import capitalize, format_class, format_count
from napari_melanoma.core.headline import Headline
from napari_melanoma.core.validity import read_validity
from napari_melanoma.slides.lesions import LESION_CLASSES, SlideLesion, area_noun, lesions_table
from napari_melanoma.slides.results import (
    NOT_TUMOR,
    describe_class_areas,
    describe_other_scores,
    describe_slide_score,
    lacks_tumor,
    score_method,
)

NO_RESULTS = "Analyze the slide with a model, or paint its classes"
NO_CLASS = "Choose a class to see its areas"
Row = Mapping[str, Any]  # of ``lesions_table``


def describe_slide_answer(
    content: Mapping[str, Any],
    target: str = "",
    lesions: Sequence[SlideLesion] | None = None,
    highest: float | None = None,
    *,
    is_shown_anyway: bool = False,
) -> Headline:
    """Describe the areas of a class on a slide; without results or class, the parts state what to do next.

    Such as "Adnexa: 8 areas, 0.107 mm² (4.9 % of the analyzed area)", with the part "Highest on the map 0.70".

    ``content``: that of ``result.json``; empty before an analysis. ``target``: the chosen class; by default that of the
    results. ``lesions``: the detected areas of this class; by default those in ``content`` if they are of this class.
    ``highest``: highest probability of this class on the map; by default that in ``content``, if it is stored.
    ``is_shown_anyway``: the reader has requested the numbers of a result that is not valid.
    """
    if not content:
        return Headline("", (NO_RESULTS,))
    validity = read_validity(content)
    if (invalid := validity.invalid_headline) is not None and not is_shown_anyway:
        return invalid
    target = target or str(content.get("target") or "")
    if not target:
        found = _describe_without_class(content)
    elif score_method(content) == "attention":
        found = Headline(capitalize(describe_slide_score(content)))
    else:
        found = _describe_class(content, target, _find_rows(content, target, lesions), highest)
    text = capitalize(validity.headline(found.text)) if validity.valid else found.text
    return Headline(text, found.parts, found.tone, found.detail)


def _describe_without_class(content: Mapping[str, Any]) -> Headline:
    """Describe results without a class of interest: the areas of all classes, the largest first, or other numbers."""
    areas = content.get("areas") or {}
    if not areas:
        return Headline("Analyzed: the model of these results detects no areas")
    ranked = sorted(areas, key=lambda name: -float(areas[name]["percent"] or 0))
    texts = (describe_class_areas({name: areas[name]}).partition(" of the")[0] for name in ranked)
    return Headline(f"{NOT_TUMOR}{NO_CLASS.lower()}" if lacks_tumor(content) else NO_CLASS, tuple(texts))


def _find_rows(content: Mapping[str, Any], target: str, lesions: Sequence[SlideLesion] | None) -> Sequence[Row] | None:
    """Return the detected areas of a class; None if they are not known."""
    if lesions is not None:
        return lesions_table(lesions)
    return content.get("lesions") if target == content.get("target") else None


def _describe_class(
    content: Mapping[str, Any], target: str, rows: Sequence[Row] | None, highest: float | None
) -> Headline:
    name, noun = capitalize(format_class(target)), area_noun(target)
    if highest is None:
        stored = ((content.get("scores") or {}).get("maximum") or {}).get(target)
        highest = None if stored is None else float(stored)
    peak = "" if highest is None or not math.isfinite(highest) else f"Highest on the map {highest:.2f}"
    if rows is None:
        found = f"{noun}s are being detected"
    elif rows:
        found = f"{format_count(len(rows), noun)}{_describe_area(content, rows)}"
    else:
        found = f"no {noun} at this threshold"
    score = describe_slide_score(content) if target == content.get("target") and score_method(content) else ""
    others = describe_other_scores(content) if score else ""
    return Headline(f"{name}: {found}", tuple(_list_parts(content, rows or (), peak, score)), detail=others)


def _describe_area(content: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the joint area, such as ``, 0.107 mm² (4.9 % of the tissue)``; empty if it is unknown."""
    areas, shares = ([row.get(name) for row in rows] for name in ("area_mm2", "tissue_share"))
    area = "" if None in areas else f", {sum(map(float, areas)):.3g} mm²"  # type: ignore[arg-type]
    if any(share is None or not math.isfinite(share) for share in shares):
        return area
    # All cells of a stitched map count as tissue
    is_dense = (content.get("model") or {}).get("kind") == "dense"
    percent = f"{100 * sum(map(float, shares)):.1f} % of the {'analyzed area' if is_dense else 'tissue'}"  # type: ignore[arg-type]
    return f"{area} ({percent})" if area else f", {percent}"


def _list_parts(content: Mapping[str, Any], rows: Sequence[Row], peak: str, score: str) -> Iterator[str]:
    """Yield the highest probability, how many lesions are malignant, that of the slide, and that it is no tumor."""
    if peak:
        yield peak
    labels = Counter(str(row.get("label") or "") for row in rows)
    if rows and labels.keys() <= LESION_CLASSES:
        yield f"{labels['malignant']} malignant"
    if score:
        yield f"slide: {score}"
    if lacks_tumor(content) and content.get("areas"):
        yield NOT_TUMOR.rstrip(": ")
