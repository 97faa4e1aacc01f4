"""Sections of the Case dock on the selected lesion that packages add, each created when it is first expanded.

The name of an entry point of the group ``napari_melanoma.lesion_sections`` is the title, its object a class without
arguments that is derived from ``LesionSection``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.core.plugins import Family, describe_plugin_error, list_plugins
from napari_melanoma.ui.widgets.style import add_to_section

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.case.controls import LesionPage
    from napari_melanoma.ui.widgets.settings import DockSettings

FAMILY = "lesion_sections"


class LesionSection:
    """A section on the selected lesion; one object serves the lesions of one case."""

    def open(self, controller: CaseController, settings: DockSettings) -> QWidget:
        """Return the widgets. ``controller``: has the case, and methods that edit it."""
        raise NotImplementedError

    def show_lesion(self, lesion: CaseLesion, *, is_other: bool) -> None:
        """Show a lesion, also after each change of the case; ``is_other``: another one than before."""
        raise NotImplementedError

    def flush(self) -> None:
        """Apply what is being typed, before another lesion is shown and before the case is saved."""


def _convert(title: str, found: object) -> Callable[[], LesionSection]:
    if not (isinstance(found, type) and issubclass(found, LesionSection)):
        raise TypeError(f"expected a class derived from {__name__}.LesionSection, found {found!r}")
    return found


LESION_SECTIONS: Family[Callable[[], LesionSection]] = Family(FAMILY, dict, _convert, lambda section: "")


class LesionSections(QObject):
    """Show the selected lesion in all sections that were expanded."""

    def __init__(self, page: LesionPage, controller: CaseController, settings: DockSettings) -> None:
        super().__init__(controller)
        self._controller, self._settings = controller, settings
        titles = dict.fromkeys(plugin.name for plugin in list_plugins() if plugin.family == FAMILY)
        self._frames = {title: page.find_section(title, settings) for title in titles}
        self._open: dict[str, tuple[LesionSection, QWidget]] = {}  # by title
        self._lesion: CaseLesion | None = None
        for frame in self._frames.values():
            frame.toggled.connect(self._open_sections)
        controller.saver.flush_requested.connect(self.flush)

    def show_lesion(self, lesion: CaseLesion) -> None:
        """Show a lesion, or its changed values."""
        is_other = self._lesion is None or lesion.id != self._lesion.id
        if is_other:
            self.flush()  # unfinished input belongs to the previous lesion
        self._lesion = lesion
        for section, _ in tuple(self._open.values()):
            section.show_lesion(lesion, is_other=is_other)
        self._open_sections()

    def flush(self) -> None:
        """Apply what is being typed."""
        for section, _ in tuple(self._open.values()):
            section.flush()

    def reset(self) -> None:
        """Remove the widgets: another case was opened, whose lesions have the same ids."""
        for _, widget in self._open.values():
            widget.deleteLater()
        self._open, self._lesion = {}, None

    def _open_sections(self) -> None:
        for title, frame in self._frames.items():
            if self._lesion is not None and title not in self._open and frame.isExpanded():
                try:
                    section = LESION_SECTIONS.members[title]()
                    widget = section.open(self._controller, self._settings)
                    add_to_section(frame, widget)
                    section.show_lesion(self._lesion, is_other=True)
                except Exception as error:  # noqa: BLE001 - of any package
                    self._report(title, error)
                else:
                    self._open[title] = section, widget

    def _report(self, title: str, error: Exception) -> None:
        """Show why a section of a plug-in cannot be opened."""
        plugin = LESION_SECTIONS.find_plugin(title)
        reasons = (reason for plugin, reason in LESION_SECTIONS.errors.items() if plugin.name == title)
        reason = next(reasons, None) or (plugin and plugin.make_error(describe_plugin_error(error)))
        if reason is None:
            raise error
        self._controller.failed.emit(reason)
