"""*Sections ...*: which sections of a dock are shown; the user's choice is stored in the settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QVBoxLayout, QWidget

from napari_melanoma.ui.widgets.style import (
    CollapsibleSection,
    WrappedLabel,
    named,
    quiet_label,
    row,
    tool_button,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from napari_melanoma.ui.widgets.settings import DockSettings

EXPLANATION = (
    "A section also appears when it has content, and with the shortcut of its tool. "
    "A section that is not shown keeps what is stored in it."
)
CONTENT = "has content"


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
        """Return the titles of the sections that are shown unless the user has hidden them; at first all."""
        return self.list_places()

    def add_section(self, frame: CollapsibleSection) -> None:
        """Add the frame of a section for which the dock has no place."""
        raise NotImplementedError


class SectionChoice(QObject):
    """Shows the sections that the user has chosen; ``button`` opens a dialog that lists all.

    A hidden section is collapsed, so that nothing opens it; it is shown when a shortcut or a tab of the reading mode
    expands it. ``find_content``: returns the titles of the sections with stored values, which are shown unless the user
    has hidden them. ``changed``: other sections are shown.
    """

    changed = Signal()

    def __init__(self, dock: SectionDock) -> None:
        super().__init__(dock)
        self.find_content: Callable[[], Collection[str]] = lambda: ()
        self.button = tool_button("choose_sections", "Sections", "", "Sections ...")
        self.button.clicked.connect(self._open_dialog)
        self._dock = dock
        self._hidden: dict[str, bool] = {}  # by title, whether the section was expanded before
        self._revealed: set[str] = set()  # shown for a shortcut, until the dock is closed
        self._unneeded: set[str] = set()  # not shown for the displayed image
        self._watched: set[str] = set()

    def list_frames(self) -> dict[str, CollapsibleSection]:
        """Return the sections that can be chosen, by title, from top to bottom."""
        return {title: one for title, one in self._dock.list_places().items() if isinstance(one, CollapsibleSection)}

    def is_hidden(self, title: str) -> bool:
        """Whether a section is not shown by the user's choice."""
        return title in self._hidden

    def set_needed(self, title: str, is_needed: bool) -> None:
        """Show a section only while it is needed, such as patient data for a model that uses them."""
        (self._unneeded.discard if is_needed else self._unneeded.add)(title)
        self.update()

    def choose(self, title: str, is_shown: bool) -> None:
        """Show or hide a section from now on."""
        self._dock.settings.set(f"{self._dock.name}/sections", {**self._chosen, title: is_shown})
        self._revealed.discard(title)
        self.update()

    def update(self) -> None:
        """Show the chosen sections, and hide the others; call this after sections were added or have new content."""
        frames, chosen, is_changed = self.list_frames(), self._chosen, False
        default = {*self._dock.list_default(), *self.find_content()}
        shown = {title for title in frames if chosen.get(title, title in default)} | self._revealed
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
        count = len(self._hidden)
        self.button.setToolTip(f"Choose which sections are shown; {count} of {len(frames)} are not shown")
        if is_changed:
            self.changed.emit()

    @property
    def _chosen(self) -> dict[str, bool]:
        stored: dict[str, Any] = self._dock.settings.get(f"{self._dock.name}/sections", {})
        return {title: is_shown is True for title, is_shown in stored.items()}

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

    def _open_dialog(self) -> None:
        if self._dock.window().findChild(SectionDialog) is not None:
            return  # clicked twice
        dialog = SectionDialog(self, self.find_content(), self._dock.window())
        dialog.setWindowTitle(f"Sections of the {self._dock.accessibleName()} dock")
        dialog.open()


class SectionDialog(QDialog):
    """Lists the sections of a dock; each check box takes effect at once."""

    def __init__(self, choice: SectionChoice, with_content: Collection[str], window: QWidget) -> None:
        super().__init__(window)
        self.setObjectName("sections_dialog")
        self.boxes = {
            title: named(QCheckBox(title), f"show_{title}", f"Show {title}") for title in choice.list_frames()
        }
        rows = [
            row(box, quiet_label(CONTENT if title in with_content else ""), stretch=0)
            for title, box in self.boxes.items()
        ]
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for widget in (WrappedLabel(EXPLANATION), *rows, buttons):
            layout.addWidget(widget)
        self.setMinimumWidth(320)
        self.finished.connect(self.deleteLater)
        for title, box in self.boxes.items():
            box.setChecked(not choice.is_hidden(title))
            box.toggled.connect(partial(choice.choose, title))
