"""The buttons of the tools that correct the mask of a photograph: clicks, brushes, strokes, and selecting a lesion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QToolButton, QWidget

from napari_melanoma.ui.sections.mask.clicks import HINT
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.style import fill_column, more_button, row, theme_icon, tool_button

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_melanoma.ui.session.photograph import PhotographSession

EDITED_ROLES: tuple[photographs.Role, ...] = ("mask", "scribbles")


class Brush(NamedTuple):
    """A tool that draws on a Labels layer; ``label``: of what it draws, None to erase."""

    role: photographs.Role
    mode: str
    label: int | None


BRUSHES = {
    "paint": Brush("mask", "paint", 1),
    "erase": Brush("mask", "erase", None),
    "inside": Brush("scribbles", "paint", 1),
    "outside": Brush("scribbles", "paint", 2),
}
STROKE_COLORS = {"inside": layers.BLUE, "outside": layers.ORANGE}


class Tool(NamedTuple):
    """A button: the name of the tool, what it does, the icon, and the text for a tool without one of its own."""

    name: str
    tip: str
    icon: str = ""
    text: str = ""
    has_key: bool = True
    is_checkable: bool = True


TOOLS = {
    "click": Tool("Correct by clicks", f"{HINT} Ctrl+Z undoes the last", "direct"),
    "new_lesion": Tool(
        "Another lesion", "The next click starts it. A box outside all lesions does so, too", "plus", has_key=False
    ),
    "find_lesions": Tool(
        "Find all lesions", "Propose them; a right-click removes one", "zoom", has_key=False, is_checkable=False
    ),
    "paint": Tool("Paint", "Draw on the mask; [ and ] change the brush size", "paint"),
    "erase": Tool("Erase", "Erase on the mask; [ and ] change the brush size", "erase"),
    "choose": Tool("Select lesion", "Select one of several lesions with a click", "picker"),
    "inside": Tool("Stroke inside", "Draw strokes inside the lesion", text="Inside"),
    "outside": Tool("Stroke outside", "Draw strokes outside the lesion", text="Outside"),
    "apply": Tool("Apply strokes", "Update the mask from the strokes", "check", "Apply", is_checkable=False),
    "clear": Tool("Clear strokes", "Remove all strokes", "delete", has_key=False, is_checkable=False),
}


class MaskTools(QWidget):
    """Buttons for clicks, brushes, selecting a lesion and strokes; a brush ends when its button is pressed again.

    ``activated``: a tool other than the clicks was switched on, so that these are switched off.
    """

    activated = Signal()

    def __init__(self, session: PhotographSession) -> None:
        super().__init__()
        self._session, self._controller = session, session.services.controller
        self._watched: WeakSet[Layer] = WeakSet()
        self.buttons = {name: _create_button(name) for name in TOOLS}
        for name, tool in TOOLS.items():
            if tool.icon:
                session.services.icons.add(self.buttons[name], tool.icon)
        for name, color in STROKE_COLORS.items():
            self.buttons[name].setIcon(theme_icon("circle", color))
        get = self.buttons.__getitem__
        strokes = row(*map(get, ("inside", "outside", "apply", "clear")))
        contents = "strokes inside and outside the lesion"
        self._more = more_button("scribbles", contents, session.services.settings, strokes)
        tools = map(get, ("click", "new_lesion", "find_lesions", "paint", "erase", "choose"))
        fill_column(self, row(*tools, self._more), strokes)
        for name in BRUSHES:
            self.buttons[name].clicked.connect(partial(self._on_brush, name))
        self.buttons["choose"].toggled.connect(self._on_choose)
        self.buttons["apply"].clicked.connect(self._on_apply)
        self.buttons["clear"].clicked.connect(self._on_clear)
        follow(self, session.viewer.layers.selection.events.active, self._on_active)
        self.update_enabled()
        self._on_active()

    def update_enabled(self) -> None:
        """Enable the tools that need a mask once the photograph is analyzed."""
        is_analyzed = self._session.lesion is not None
        for name in (*BRUSHES, "choose", "apply", "clear"):
            self.buttons[name].setEnabled(is_analyzed)
        self._more.setEnabled(is_analyzed)

    def stop(self) -> None:
        """End brushes, strokes and selecting a lesion."""
        self.buttons["choose"].setChecked(False)
        for role in EDITED_ROLES:
            if (labels := self._find_layer(role)) is not None and str(labels.mode) in ("paint", "erase"):
                labels.mode = "pan_zoom"

    def _find_layer(self, role: photographs.Role) -> Labels | None:
        session = self._session
        return photographs.find_layer(session.viewer, session.image, role) if session.is_open else None

    def _find_active_brush(self) -> str:
        """Return the name of the brush that draws now; empty for none."""
        active = self._session.viewer.layers.selection.active
        for name, (role, mode, label) in BRUSHES.items():
            is_brush = active is not None and active == self._find_layer(role) and str(active.mode) == mode
            if is_brush and label in (None, active.selected_label):
                return name
        return ""

    def _on_active(self, event: object = None) -> None:
        """Follow the mode of the active layer, which napari's own buttons change, too."""
        active = self._session.viewer.layers.selection.active
        layer = getattr(active, "__wrapped__", active)
        if layer is not None and layer not in self._watched and active in map(self._find_layer, EDITED_ROLES):
            self._watched.add(layer)
            for emitter in (layer.events.mode, layer.events.selected_label):
                follow(self, emitter, self._show_active_brush)
        self._show_active_brush()

    def _show_active_brush(self, event: object = None) -> None:
        active = self._find_active_brush()
        for name in BRUSHES:
            self.buttons[name].setChecked(name == active)

    def _on_brush(self, name: str) -> None:
        """Start a brush, or end it if it is active."""
        brush, is_active = BRUSHES[name], self._find_active_brush() == name
        labels = self._find_layer(brush.role)
        if brush.role == "scribbles":
            self._more.setChecked(True)  # also by its key
            labels = layers.get_scribbles_layer(self._session.viewer, self._session.image)
        self.stop()
        if labels is not None and not is_active:
            self.activated.emit()
            labels.visible = True
            self._session.viewer.layers.selection.active = labels
            if brush.label is not None:
                labels.selected_label = brush.label
            labels.mode = brush.mode
        self._show_active_brush()

    def _on_choose(self, on: bool) -> None:
        if on:
            self.activated.emit()

    def _on_apply(self) -> None:
        self.activated.emit()
        self.stop()
        if self._session.masked_lesion is not None:
            self._controller.redraw(self._session)
        if (mask := self._find_layer("mask")) is not None:
            self._session.viewer.layers.selection.active = mask  # so that Ctrl+Z undoes the update

    def _on_clear(self) -> None:
        if (strokes := self._find_layer("scribbles")) is not None:
            layers.clear_strokes(strokes)


def _create_button(name: str) -> QToolButton:
    tool = TOOLS[name]
    key = f" ({format_key(f'lesion.{name}')})" if tool.has_key else ""
    return tool_button(name, tool.name, f"{tool.name}{key}: {tool.tip}", tool.text, checkable=tool.is_checkable)
