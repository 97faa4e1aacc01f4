"""The mask's tools and the scale in the Review dock: parts of the Lesion dock, while that dock is not in view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QApplication, QBoxLayout, QWidget

from napari_melanoma.ui.viewer.docking import find_frame
from napari_melanoma.ui.viewer.shortcuts import SHORTCUTS, add_shortcut
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import at_end, follow
from napari_melanoma.ui.widgets.style import CollapsibleSection, column, fill_column, quiet_label, show_text

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion.dock import LesionDock
    from napari_melanoma.ui.library.dock import LibraryDock
    from napari_melanoma.ui.library.review_photographs import ReviewOpener

NO_PHOTOGRAPH = "The tools to correct the mask appear here once a photograph is open."
SETTLE_MS = 50  # until docks are laid out
IN_LESION_DOCK = "The tools to correct the mask are in the Lesion dock, which is open."


class MaskPane(QWidget):
    """Shows the section Mask of the Lesion dock, and returns it when that dock comes into view.

    There is one section for both docks, so that a tool is never on twice. ``notices``: place for the notices of the
    scale, which are taken along. ``message``, ``failed``: a message or an error of the Lesion dock while it is not in
    view; of messages, those since a tool was used on the photograph.
    """

    message = Signal(str)
    failed = Signal(str)

    def __init__(self, dock: LibraryDock, opener: ReviewOpener) -> None:
        super().__init__()
        self._dock, self._opener = dock, opener
        self._section: CollapsibleSection | None = None  # that is shown here
        self._places: dict[QWidget, QWidget] = {}  # what is where a widget that is shown here was in the Lesion dock
        self._was_expanded = True
        self._uses_tools = False
        self._timer = DebounceTimer(self, SETTLE_MS)
        self._timer.timeout.connect(self._update)
        self._hint = quiet_label(NO_PHOTOGRAPH)
        self.notices = column()
        fill_column(self, self._hint)
        names = [name for name, key in SHORTCUTS.items() if (key.dock, key.context) == ("Lesion", "window")]
        self._keys = [add_shortcut(dock, name, partial(self._forward_key, name)) for name in names]
        self._enable_keys()
        opener.dock_connected.connect(self._on_connected)
        opener.dock_closed.connect(self._on_closed)
        opener.requested.connect(self._on_requested)
        QApplication.instance().focusChanged.connect(self._on_focus)
        at_end(dock, self._return_section)

    @property
    def _lesion_dock(self) -> LesionDock | None:
        return self._opener.connected_dock

    def _on_connected(self) -> None:
        dock = self._lesion_dock
        assert dock is not None
        dock.status.repeaters.append(self._dock.status)
        follow(self, dock.hidden.changed, lambda reason: self.notices.setVisible(not reason))
        dock.status.message_changed.connect(self._on_message)
        for frame in filter(None, map(find_frame, (dock, self._dock))):
            frame.visibilityChanged.connect(self._on_visibility)
        dock.deferred.run_after(self._update)

    def _on_visibility(self, visible: bool) -> None:
        self._timer.start()  # Qt lays the docks out after the signal

    def _is_in_view(self) -> bool:
        """Whether the Lesion dock is in view."""
        return self._lesion_dock is not None and not self._lesion_dock.visibleRegion().isEmpty()

    def _update(self) -> None:
        """Show the section here unless the Lesion dock is in view."""
        if self._lesion_dock is not None and not self._is_in_view():
            self._take_section(self._lesion_dock)
        else:
            self._return_section()
        text = NO_PHOTOGRAPH if self._lesion_dock is None else IN_LESION_DOCK
        show_text(self._hint, "" if self._section is not None else text)
        self._enable_keys()

    def _enable_keys(self) -> None:
        """Take the keys of the Lesion dock only with its section."""
        for key in self._keys:
            key.setEnabled(self._section is not None)

    def _take_section(self, dock: LesionDock) -> None:
        section = dock.list_places().get("Mask")
        parent = None if section is None else section.parentWidget()
        if self._section is not None or not isinstance(section, CollapsibleSection) or parent is None:
            return
        if parent is dock.deferred.holder:  # it has no place in the dock yet
            return
        self._take(section, self)
        for notice in (dock.picker.ruler, dock.scale_notice):
            self._take(notice, self.notices)
        self._section, self._was_expanded = section, section.is_expanded
        section.title_button.hide()
        section.grows_up = True
        section.expand()
        section.show()

    def _take(self, widget: QWidget, holder: QWidget) -> None:
        parent, self._places[widget] = widget.parentWidget(), QWidget()
        assert parent is not None
        _replace(parent, widget, self._places[widget])
        self._places[widget].hide()
        holder.layout().addWidget(widget)

    def _return_section(self) -> None:
        section, self._section = self._section, None
        if section is not None and isalive(section):
            section.title_button.show()
            section.grows_up = False
            if not self._was_expanded:
                section.collapse()
        for widget, place in self._places.items():
            parent = place.parentWidget() if isalive(place) else None
            if parent is not None:
                _replace(parent, place, widget)
                place.deleteLater()
            elif isalive(widget):  # the Lesion dock was closed
                widget.deleteLater()
        self._places.clear()
        if section is not None and isalive(section):
            section.show()

    def _on_closed(self) -> None:
        self._return_section()
        self._update()

    def _forward_key(self, name: str) -> None:
        """Let a key of the Lesion dock act, which Qt ignores while that dock is hidden."""
        dock = self._lesion_dock
        for shortcut in () if dock is None else dock.findChildren(QShortcut, name):
            self._uses_tools = True
            shortcut.activated.emit()

    def _on_requested(self) -> None:
        """Another photograph is opened: no tool was used on it yet."""
        self._uses_tools = False
        if (focus := QApplication.focusWidget()) is not None and self.isAncestorOf(focus):
            focus.clearFocus()

    def _on_focus(self, _: QWidget | None, focused: QWidget | None) -> None:
        if focused is not None and any(part.isAncestorOf(focused) for part in (self, self.notices)):
            self._uses_tools = True

    def _on_message(self, text: str) -> None:
        dock = self._lesion_dock
        if dock is None or self._is_in_view():
            return
        if dock.status.has_error:
            self.failed.emit(text)
        elif self._uses_tools:
            self.message.emit(text)


def _replace(parent: QWidget, widget: QWidget, other: QWidget) -> None:
    """Put another widget into the place of one in a layout of a widget.

    Not by ``QLayout.replaceWidget``: the item that it returns outlives the change, and Qt then keeps old heights.
    """
    layout = next(one for one in parent.findChildren(QBoxLayout) if one.indexOf(widget) >= 0)
    index = layout.indexOf(widget)
    stretch = layout.stretch(index)
    layout.removeWidget(widget)
    layout.insertWidget(index, other, stretch)
