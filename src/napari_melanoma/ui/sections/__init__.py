"""Sections: parts of a dock for one open slide, each a folder, found through an entry point of Python.

A package that installs a section names it in the group ``napari_melanoma.sections``: the name of the entry point is the
title, its object a class without arguments that follows ``Section``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_melanoma.core.plugins import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.session.slide import SlideSession


class Section(Protocol):
    """A part of a dock for one open slide; it knows neither the dock nor other sections."""

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a session; connect to its signals and add layers to its viewer."""

    def close(self) -> None:
        """Disconnect all signals, stop all tasks and remove all layers; the caller deletes the widgets."""


def find_sections() -> Mapping[str, Callable[[], Section]]:
    """Return the classes of the installed sections by title, imported; takes 0.1 s, so call it in a thread."""
    return SECTIONS.members


def _convert(title: str, found: object) -> Callable[[], Section]:
    if not isinstance(found, type) or not all(callable(getattr(found, name, None)) for name in ("open", "close")):
        raise TypeError(f"expected a class with the methods open(session) and close(), found {found!r}")
    return found


# The sections of this package are entry points, too.
SECTIONS: Family[Callable[[], Section]] = Family("sections", dict, _convert, lambda section: "")
