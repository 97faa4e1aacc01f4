"""Sections: parts of a dock for one open slide, each a folder, found through an entry point of Python.

A package that installs a section names it in the group ``napari_melanoma.sections``: the name of the entry point is the
title, its object a class without arguments that follows ``Section``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.session.slide import SlideSession

GROUP = "napari_melanoma.sections"


class Section(Protocol):
    """A part of a dock for one open slide; it knows neither the dock nor other sections."""

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a session; connect to its signals and add layers to its viewer."""

    def close(self) -> None:
        """Disconnect all signals, stop all tasks and remove all layers; the caller deletes the widgets."""


def find_sections() -> dict[str, Callable[[], Section]]:
    """Return the classes of the installed sections by title, imported; takes 0.1 s, so call it in a thread."""
    return {entry.name: entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}
