"""Access of tests to the Regions section of the displayed slide, and to its regions."""

from __future__ import annotations

from napari_melanoma.ui.sections.regions.canvas import RegionCanvas
from napari_melanoma.ui.session.annotations import select_regions


def document(person):
    """The regions of the displayed slide with their history."""
    return person.dock.sections.hosted.session.regions


def regions(person):
    return document(person).value


def are_read(person):
    """Return whether the regions of the displayed slide have been read."""
    session = person.dock.sections.hosted.session
    return session is not None and session.regions.is_ready


def selected(person):
    return person.dock.sections.hosted.session.selected_regions.value


def selects(person, *ids):
    select_regions(person.dock.sections.hosted.session.selected_regions, ids)


def section(person):
    """The open section of the displayed slide, with the tools on the canvas."""
    return person.dock.sections.hosted.sections["Regions"].widget


def view(person):
    return section(person)


def opens_section(person):
    """Expand the section when the regions have been read."""
    person.until(lambda: are_read(person) and "Regions" in person.dock.sections.hosted.sections)
    person.opens_section("Regions")
    person.waits()


def tools(person):
    """The tools on the canvas."""
    return person.session.part(RegionCanvas)
