"""Which sections of a dock are shown: those of daily work and those with content; all others with *More sections*."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import CollapsibleSection, tool_button

TIP = "Show also the sections that are rarely used. One with content is always shown"


class SectionDock(QWidget):
    """A dock that hosts sections; ``name``: starts the names of shortcuts and of frames, such as ``slide``.

    ``choice``: which sections are shown. ``first_sections``: titles of those that may be expanded at first.
    """

    name: str
    settings: DockSettings
    choice: SectionChoice
    first_sections: tuple[str, ...] = ()

    def list_places(self) -> Mapping[str, QWidget]:
        """Return where sections are shown, from top to bottom, by title: frames, or widgets with a layout."""
        raise NotImplementedError

    def list_default(self) -> Collection[str]:
        """Return the titles of the sections that are always shown; by default all."""
        return self.list_places()

    def add_section(self, frame: CollapsibleSection) -> None:
        """Add the frame of a section for which the dock has no place."""
        raise NotImplementedError


class SectionChoice(QObject):
    """Shows the sections of daily work, and those with content; ``button`` shows the others, too, and is remembered.

    A section that is not shown is collapsed, so that nothing opens it; it is shown when a shortcut or a tab of the
    reading mode expands it. ``find_content``: returns the titles of the sections with stored values. ``changed``: other
    sections are shown.
    """

    changed = Signal()

    def __init__(self, dock: SectionDock) -> None:
        super().__init__(dock)
        self.find_content: Callable[[], Collection[str]] = lambda: ()
        self._dock, self._setting = dock, f"{dock.name}/more_sections"
        self.button = tool_button("more_sections", "More sections", TIP, "More sections", checkable=True)
        self.button.setChecked(dock.settings.get(self._setting, False))
        self.button.toggled.connect(self._on_more)
        self._hidden: dict[str, bool] = {}  # by title, whether the section was expanded before
        self._revealed: set[str] = set()  # shown for a shortcut, until the dock is closed
        self._unneeded: set[str] = set()  # not shown for the displayed image
        self._watched: set[str] = set()

    def list_frames(self) -> dict[str, CollapsibleSection]:
        """Return the collapsible sections by title, from top to bottom."""
        return {title: one for title, one in self._dock.list_places().items() if isinstance(one, CollapsibleSection)}

    def is_hidden(self, title: str) -> bool:
        """Whether a section is among those that the button shows, and not shown now."""
        return title in self._hidden

    def set_needed(self, title: str, is_needed: bool) -> None:
        """Show a section only while it is needed, such as patient data for a model that uses them."""
        (self._unneeded.discard if is_needed else self._unneeded.add)(title)
        self.update()

    def update(self) -> None:
        """Show or hide sections; call this after sections were added or have new content."""
        frames, is_changed = self.list_frames(), False
        listed = {*self._dock.list_default(), *self.find_content(), *self._revealed}
        shown = {title for title in frames if self.button.isChecked() or title in listed}
        for title, frame in frames.items():
            if title not in self._watched:
                self._watched.add(title)
                frame.toggled.connect(partial(self._on_toggled, title))
            if title not in shown:
                self._hide(title, frame)
            elif self._hidden.pop(title, False):
                frame.expand()
            is_visible = title in shown and title not in self._unneeded
            if is_visible == frame.isHidden():
                frame.setVisible(is_visible)
                is_changed = True
        has_more = not listed >= frames.keys()
        if has_more == self.button.isHidden() and self.button.parentWidget() is not None:
            self.button.setVisible(has_more)
        if is_changed:
            self.changed.emit()

    def _hide(self, title: str, frame: CollapsibleSection) -> None:
        if title not in self._hidden:
            self._hidden[title] = frame.is_expanded
        if frame.is_expanded:
            frame.blockSignals(True)  # this is not the user's choice
            frame.collapse()
            frame.blockSignals(False)

    def _on_toggled(self, title: str, expanded: bool) -> None:
        if expanded and title in self._hidden:
            self._hidden[title] = False  # it is expanded already
            self._revealed.add(title)
            self.update()

    def _on_more(self, is_shown: bool) -> None:
        self._dock.settings.set(self._setting, is_shown)
        self.update()
