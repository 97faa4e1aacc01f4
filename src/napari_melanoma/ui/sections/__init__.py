"""Sections: parts of a dock for one open slide or photograph, or for the selected lesion of a case, each a folder.

A package that installs a section names it in the group ``napari_melanoma.sections``, or for the Case dock in
``napari_melanoma.lesion_sections``: the name of the entry point is the title, its object a class without arguments that
is derived from ``Section``, ``PhotographSection`` or ``LesionSection``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_melanoma.core.plugins import PACKAGE, Family
from napari_melanoma.ui.sections import base as sections_base
from napari_melanoma.ui.sections.base import ImageSection

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.session.case_lesion import LesionSession  # noqa: F401 - in the base class of LesionSection
    from napari_melanoma.ui.session.document import DocumentKind
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph  # noqa: F401 - in the base class of PhotographSection
    from napari_melanoma.ui.session.slide import SlideSession

Session = TypeVar("Session", contravariant=True)


class SectionBase(Generic[Session]):
    """A part of a dock for one open image; it knows neither the dock nor other sections.

    One object serves one image after another. ``tools``: names of tools, which have keyboard shortcuts such as
    ``slide.<name>`` and call ``toggle_tool``. ``documents``: of a slide, which have been read when ``show`` and
    ``open`` are called. ``awaited``: documents of other sections, of which this is true as well, or which could not be
    read. ``keeps_widget``: ``open`` returns the same widget each time, because creating it takes long.
    """

    documents: tuple[DocumentKind[Any], ...] = ()
    awaited: tuple[DocumentKind[Any], ...] = ()
    tools: tuple[str, ...] = ()
    keeps_widget: bool = False

    def show(self, session: Session) -> None:
        """Show what is stored for an image on the canvas, before ``open`` and also while the section is collapsed."""

    def open(self, session: Session) -> QWidget:
        """Return the widgets for a session, when the section is first expanded."""
        raise NotImplementedError

    def has_content(self, session: Session) -> bool:
        """Whether the section shows stored values of an image, as the list of hidden sections states."""
        return False

    def toggle_tool(self, name: str) -> None:
        """Start a tool, or stop it if it is active; the section is open."""

    def close(self) -> None:
        """Disconnect all signals and stop all tools and tasks; the caller deletes the widgets that are not kept.

        ``session.commit_requested`` was emitted before, to apply pending input. Layers of stored values stay with
        their image; layers of previews are removed. Keep no reference to the session: its image may be closed.
        """


class Section(SectionBase["SlideSession"]):
    """A section of the Slide dock."""

    def has_content(self, session: SlideSession) -> bool:
        """Whether a document of the section is not empty."""
        return any(session.document(kind).value != kind.empty for kind in self.documents)


class PhotographSection(SectionBase["HostedPhotograph"]):
    """A section of the Lesion dock."""


class LesionSection(SectionBase["LesionSession"]):
    """A section of the Case dock on the selected lesion."""


NEW: Mapping[type[Any], type[ImageSection[Any]]] = {
    Section: sections_base.SlideSection,
    PhotographSection: sections_base.PhotographSection,
    LesionSection: sections_base.LesionSection,
}

# The sections of this package by dock and title, written as entry points are
OWN: Mapping[type[SectionBase[Any]], Mapping[str, str]] = {
    Section: {
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
        "Region of interest": "napari_melanoma.ui.sections.mask.section:RoiSection",
    },
}


def find_sections(base: type[SectionBase[Session]]) -> Mapping[str, Any]:
    """Return what creates the installed sections of a dock by title; takes 0.1 s, so call it in a thread."""
    from napari_melanoma.ui.sections.guarded import GuardedSection

    family: Family[Any] = LESION_SECTIONS if issubclass(base, LesionSection) else SECTIONS
    return {title: resolve_name(name) for title, name in OWN.get(base, {}).items()} | {
        title: create if (plugin := family.find_plugin(title)) is None else GuardedSection(plugin, create)
        for title, create in family.members.items()
        if issubclass(create, (base, NEW[base]))
    }


def _convert(bases: tuple[type[Any], ...], title: str, found: object) -> type[Any]:
    if not (isinstance(found, type) and issubclass(found, (*bases, *(NEW[base] for base in bases)))):
        expected = " or ".join(NEW[base].__name__ for base in bases)
        raise TypeError(f"expected a class derived from {sections_base.__name__}.{expected}, found {found!r}")
    if any(title in OWN.get(base, {}) for base in bases if issubclass(found, (base, NEW[base]))):
        raise ValueError(f"expected a new name, found one that {PACKAGE} uses")
    return found


def _create_family(name: str, *bases: type[SectionBase[Any]]) -> Family[type[Any]]:
    return Family(name, dict, partial(_convert, bases), lambda section: "")


SECTIONS = _create_family("sections", Section, PhotographSection)
LESION_SECTIONS = _create_family("lesion_sections", LesionSection)
