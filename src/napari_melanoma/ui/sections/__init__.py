"""Sections: parts of a dock for one open slide or photograph, or for the selected lesion of a case.

A package that installs a section names it in the group ``napari_melanoma.sections``, or for the Case dock in
``napari_melanoma.lesion_sections``: the name of the entry point is the title, its object a class that is derived from
``SlideSection``, ``PhotographSection`` or ``LesionSection``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any

from napari_melanoma.core.plugins import PACKAGE, Family
from napari_melanoma.ui.sections.base import ImageSection, LesionSection, PhotographSection, SlideSection

# The sections of this package by dock and title, written as entry points are
OWN: Mapping[type[ImageSection[Any]], Mapping[str, str]] = {
    SlideSection: {
        "Depth": "napari_melanoma.ui.sections.depth.section:DepthSection",
        "Display": "napari_melanoma.ui.sections.display:DisplaySection",
        "Heatmap": "napari_melanoma.ui.sections.heatmap:HeatmapSection",
        "Lesions": "napari_melanoma.ui.sections.lesions.section:LesionsSection",
        "Measure": "napari_melanoma.ui.sections.measure.section:MeasureSection",
        "Overview": "napari_melanoma.ui.sections.overview.section:OverviewSection",
        "Paint": "napari_melanoma.ui.sections.paint.section:PaintSection",
        "Prediction": "napari_melanoma.ui.sections.slide_prediction:SlidePredictionSection",
        "Regions": "napari_melanoma.ui.sections.regions.section:RegionsSection",
        "Side by side": "napari_melanoma.ui.sections.side_by_side.section:SideBySideSection",
        "Tissue": "napari_melanoma.ui.sections.tissue:TissueSection",
    },
    PhotographSection: {
        "Corrections": "napari_melanoma.ui.sections.corrections:CorrectionsSection",
        "Mask": "napari_melanoma.ui.sections.mask.section:MaskSection",
        "Measurements": "napari_melanoma.ui.sections.measurements:MeasurementsSection",
        "Patient": "napari_melanoma.ui.sections.patient:PatientSection",
        "Prediction": "napari_melanoma.ui.sections.prediction:PredictionSection",
        "Prediction summary": "napari_melanoma.ui.sections.prediction:PredictionSummary",
        "Published": "napari_melanoma.ui.sections.published:PublishedSection",
        "Region of interest": "napari_melanoma.ui.sections.mask.section:RoiSection",
    },
}


def find_sections(base: type[ImageSection[Any]]) -> Mapping[str, Any]:
    """Return what creates the installed sections of a dock by title; takes 0.1 s, so call it in a thread."""
    from napari_melanoma.ui.sections.guarded import GuardedSection

    family: Family[Any] = LESION_SECTIONS if issubclass(base, LesionSection) else SECTIONS
    return {title: resolve_name(name) for title, name in OWN.get(base, {}).items()} | {
        title: create if (plugin := family.find_plugin(title)) is None else GuardedSection(plugin, create)
        for title, create in family.members.items()
        if issubclass(create, base)
    }


def _convert(bases: tuple[type[Any], ...], title: str, found: object) -> type[Any]:
    if not (isinstance(found, type) and issubclass(found, bases)):
        expected = " or ".join(base.__name__ for base in bases)
        raise TypeError(f"expected a class derived from {ImageSection.__module__}.{expected}, found {found!r}")
    if any(title in OWN.get(base, {}) for base in bases if issubclass(found, base)):
        raise ValueError(f"expected a new name, found one that {PACKAGE} uses")
    return found


def _create_family(name: str, *bases: type[ImageSection[Any]]) -> Family[type[Any]]:
    return Family(name, dict, partial(_convert, bases), lambda section: "")


SECTIONS = _create_family("sections", SlideSection, PhotographSection)
LESION_SECTIONS = _create_family("lesion_sections", LesionSection)
