"""Sections: parts of a dock for one open slide, each a folder.

A package that installs a section names it in the group ``napari_melanoma.sections``: the name of the entry point is the
title, its object a class without arguments that is derived from ``Section``.
"""

from __future__ import annotations

from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.plugins import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.session.document import DocumentKind
    from napari_melanoma.ui.session.slide import SlideSession

# The sections of this package by title, written as entry points are
OWN = {
    "Depth": "napari_melanoma.ui.sections.depth.section:DepthSection",
    "Display": "napari_melanoma.ui.sections.display.section:DisplaySection",
    "Measure": "napari_melanoma.ui.sections.measure.section:MeasureSection",
    "Paint": "napari_melanoma.ui.sections.paint.section:PaintSection",
    "Regions": "napari_melanoma.ui.sections.regions.section:RegionsSection",
    "Risk": "napari_melanoma.ui.sections.risk.section:RiskSection",
}


class Section:
    """A part of a dock for one open slide; it knows neither the dock nor other sections.

    One object serves one slide after another. ``documents``: have been read when ``show`` and ``open`` are called.
    ``tools``: names of tools, which have the keyboard shortcuts ``slide.<name>`` and call ``toggle_tool``.
    """

    documents: tuple[DocumentKind[Any], ...] = ()
    tools: tuple[str, ...] = ()

    def show(self, session: SlideSession) -> None:
        """Show what is stored for a slide on the canvas, before ``open`` and also while the section is collapsed."""

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a session, when the section is first expanded."""
        raise NotImplementedError

    def toggle_tool(self, name: str) -> None:
        """Start a tool, or stop it if it is active; the section is open."""

    def close(self) -> None:
        """Disconnect all signals and stop all tools and tasks; the caller deletes the widgets.

        ``session.flushing`` was emitted before, to apply pending input. Layers of stored values stay with their slide;
        layers of previews are removed. Keep no reference to the session: its slide may be closed.
        """


def find_sections() -> Mapping[str, Callable[[], Section]]:
    """Return what creates the installed sections by title, imported; takes 0.1 s, so call it in a thread."""
    from napari_melanoma.ui.sections.guarded import GuardedSection

    return {
        title: create if (plugin := SECTIONS.find_plugin(title)) is None else partial(GuardedSection, plugin, create)
        for title, create in SECTIONS.members.items()
    }


def _list_own() -> dict[str, Callable[[], Section]]:
    return {title: resolve_name(value) for title, value in OWN.items()}


def _convert(title: str, found: object) -> Callable[[], Section]:
    if not (isinstance(found, type) and issubclass(found, Section)):
        raise TypeError(f"expected a class derived from {__name__}.Section, found {found!r}")
    return found


SECTIONS: Family[Callable[[], Section]] = Family("sections", _list_own, _convert, lambda section: "")
