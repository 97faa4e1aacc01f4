"""Keys and mouse on the canvas while a slide is shown.

A Qt event filter on the canvas handles them, since Tab and "+" do not reach napari. ``KEY_TABLE`` states what each key
does: the keys of the reading work with every tool of the docks, and napari's keys that would replace such a tool by one
of its own are ignored meanwhile. In layers that are not part of a slide, napari's keys come first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QPointF, Qt, Signal
from qtpy.QtGui import QCursor, QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QAbstractButton, QApplication, QWidget

from napari_melanoma.core.formatting import format_class
from napari_melanoma.ui.session.document import HistoryStep
from napari_melanoma.ui.session.navigation import find_pixel_zoom, find_zoom, show_bookmark
from napari_melanoma.ui.slide.context import SlideContext
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import center_on_canvas, find_canvas, get_zoom, pan_view, zoom_about
from napari_melanoma.ui.viewer.shape_layers import UNFINISHED
from napari_melanoma.ui.viewer.shortcuts import IGNORED_MODIFIERS, focus_entered_canvas, list_keys, name_key
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, find_slide_identity
from napari_melanoma.ui.viewer.view_memory import fit_view, zoom_to_polygons
from napari_melanoma.ui.widgets.pending import commit_typed
from napari_melanoma.ui.widgets.signals import Connections

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.hosted_sections import HostedSections

QUARTER, WHOLE = 0.25, 1.0  # shares of the view by which keys pan
# Directions (rows, columns), in the order of the keys in the shortcuts: left, right, up, down.
DIRECTIONS = ((0, -1), (0, 1), (-1, 0), (1, 0))
MAGNIFICATIONS = (2, 4, 10, 20, 40)
ZOOM_STEP = 2**0.5
VIEW_STEPS = {Qt.MouseButton.BackButton: -1, Qt.MouseButton.ForwardButton: 1}

LEAVE, CLASS_PREFIX = "slide.leave_reading", "Ctrl+"
# Undo and redo by key. Ctrl+Y is the 3D view in napari, in which a slide is blurred and no tool works.
HISTORY_KEYS: dict[str, HistoryStep] = {"Ctrl+Z": "undo", "Ctrl+Shift+Z": "redo", "Ctrl+Y": "redo"}
LAYER_KEYS: dict[HistoryStep, str] = {"undo": "Ctrl+Z", "redo": "Ctrl+Shift+Z"}  # bound by layers with tools
# ``view``: no tool is active. ``tool``: a tool of the dock is. ``shape``: it has an unfinished shape. ``other``: the
# active layer is not part of a slide, such as the user's own Labels layer.
KeyState = Literal["view", "tool", "shape", "other"]
NAPARI, NOTHING = "napari", "nothing"  # leave the key to napari; ignore it
READING_KEYS = (
    *("slide.pan", "slide.page", "slide.zoom_in", "slide.zoom_out", "slide.magnify", "slide.actual_pixels"),
    *("slide.whole", "slide.next_stop", "slide.previous_stop", "slide.overlays"),
)
# Pan while held; remove what is selected; finish a shape; draw a square; size of the brush
EDITING_KEYS = ("Space", "Delete", "Backspace", "Return", "Enter", "Shift", "[", "]")
KEY_TABLE: dict[str, dict[KeyState, str]] = {
    **{
        key: dict.fromkeys(("view", "tool", "shape", "other"), name) for name in READING_KEYS for key in list_keys(name)
    },
    **dict.fromkeys(EDITING_KEYS, dict.fromkeys(("view", "tool", "shape", "other"), NAPARI)),
    "Escape": {"view": LEAVE, "tool": LEAVE, "shape": NAPARI, "other": LEAVE},
}
OTHER_KEYS: dict[KeyState, str] = {"view": NAPARI, "tool": NOTHING, "shape": NOTHING, "other": NAPARI}


def resolve_key(key: str, state: KeyState, *, is_bound: bool) -> str:
    """Return the shortcut that a key triggers, or ``NAPARI`` or ``NOTHING``.

    ``is_bound``: napari has a function for the key in the active layer.
    """
    if not is_bound and key not in KEY_TABLE:
        return NAPARI  # such as the keys of the viewer
    return NAPARI if state == "other" and is_bound else KEY_TABLE.get(key, OTHER_KEYS)[state]


class ReadingKeys(QObject):
    """Handle keys and mouse on the canvas while a slide is shown.

    ``view_step_requested``: the Back (-1) or Forward (1) button of the mouse was pressed.
    """

    view_step_requested = Signal(int)

    def __init__(
        self,
        context: SlideContext,
        targets: NavigationTargets,
        leave_reading: Callable[[], bool],
    ) -> None:
        super().__init__(context)
        self._context, self._viewer, self._targets = context, context.viewer, targets
        self._leave_reading = leave_reading
        self._canvas: QWidget | None = None
        self.actions = self._list_actions()
        context.connections.connect(self._viewer.events.help, self._on_help)
        context.waiting.opened.connect(self.watch_canvas)  # now the dock is in a window

    @property
    def _slide(self) -> ViewerSlide | None:
        return self._context.slide

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle a key or mouse event; return whether Qt should ignore it from now on."""
        if event is None or self._slide is None:
            return False
        kind = event.type()
        if kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            return self._on_key(event)
        if not self._slide.is_shown:
            return False
        if kind == QEvent.Type.Enter:
            focus_entered_canvas(self._canvas)
        if kind == QEvent.Type.MouseButtonPress and isinstance(event, QMouseEvent) and event.button() in VIEW_STEPS:
            self.view_step_requested.emit(VIEW_STEPS[event.button()])
            return True
        if kind == QEvent.Type.MouseButtonDblClick and isinstance(event, QMouseEvent):
            return self._on_double_click(event)
        return False

    def _list_actions(self) -> dict[str, Callable[[], object]]:
        """Return the actions by key; an action that returns False leaves its key to napari."""
        actions: dict[str, Callable[[], object]] = {}
        for name, share in (("slide.pan", QUARTER), ("slide.page", WHOLE)):
            for key, (rows, columns) in zip(list_keys(name), DIRECTIONS, strict=True):
                actions[key] = partial(pan_view, self._viewer, share * rows, share * columns)
        for key, step in zip(list_keys("slide.magnify"), MAGNIFICATIONS, strict=True):
            actions[key] = partial(self._magnify, step)
        named_actions: dict[str, Callable[[], object]] = {
            "slide.zoom_in": partial(self._zoom, ZOOM_STEP),
            "slide.zoom_out": partial(self._zoom, 1 / ZOOM_STEP),
            "slide.actual_pixels": self._show_actual_pixels,
            "slide.whole": partial(fit_view, self._viewer),
            "slide.next_stop": partial(self._targets.step, 1),
            "slide.previous_stop": partial(self._targets.step, -1),
            "slide.overlays": self._toggle_overlays,
            "slide.leave_reading": self._on_escape,
        }
        for name, action in named_actions.items():
            actions |= dict.fromkeys(list_keys(name), action)
        return actions

    def watch_canvas(self) -> None:
        """Watch the canvas of the window that contains the dock, after another slide was displayed."""
        window = self._context.main_window
        if window is not None:
            slide_layers.hide_unlisted(window)
        canvas = find_canvas(window) if self._slide is not None and window is not None else None
        if canvas is not self._canvas:
            if self._canvas is not None:
                with suppress(RuntimeError):  # it was deleted with its window
                    self._canvas.removeEventFilter(self)
            if canvas is not None:
                canvas.installEventFilter(self)
            self._canvas = canvas
        focus = QApplication.focusWidget()
        if canvas is not None and focus is not None and focus.isAncestorOf(canvas):
            # When napari has just started, the pointer may be on the canvas already: there is no enter event.
            canvas.setFocus(Qt.FocusReason.OtherFocusReason)

    def _on_help(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Remove napari's hints about keys, which have another meaning on a slide, from its status bar."""
        active = self._viewer.layers.selection.active
        if event.value and find_slide_identity(self._viewer, active) is not None:
            active.help = self._viewer.help = ""

    def _on_key(self, event: QKeyEvent) -> bool:
        commit_typed()  # the key acts on it
        name, slide, active = self._name_key(event), self._slide, self._viewer.layers.selection.active
        if name in HISTORY_KEYS:
            return self._step_history(HISTORY_KEYS[name], active)
        if name.startswith(CLASS_PREFIX):
            self._context.class_key_pressed.emit(int(name.removeprefix(CLASS_PREFIX)))
            return True
        resolved = resolve_key(
            name, self._find_state(active), is_bound=active is not None and self._is_bound(active, name)
        )
        if resolved in (NAPARI, NOTHING):
            return resolved == NOTHING
        if resolved != LEAVE and (slide is None or not slide.is_shown):
            return False  # the reading mode can be left also while a photograph hides the slide
        return self.actions[name]() is not False

    def _step_history(self, step: HistoryStep, active: Layer | None) -> bool:
        """Undo or redo with the layer's own history or the slide's; return False to leave the key to napari."""
        from napari.layers import Labels
        from napari.utils.key_bindings import coerce_keybinding

        if self._slide is None or not self._slide.is_shown or self._find_state(active) == "other":
            return False
        layer: Any = getattr(active, "__wrapped__", active)
        bound = None if layer is None else layer.keymap.get(coerce_keybinding(LAYER_KEYS[step]))
        if bound is not None:
            bound(layer)
        elif isinstance(layer, Labels) and layer.editable:
            getattr(layer, step)()
        elif self._context.session is not None:
            getattr(self._context.session.annotations, step)()
        return True

    def _find_state(self, active: Layer | None) -> KeyState:
        """Return the state that decides what a key does."""
        if active is not None and find_slide_identity(self._viewer, active) is None:
            return "other"
        if self._find_tool() is None:
            return "view"
        # While a shape is unfinished, Escape and Enter finish it; napari does not publish whether one is.
        is_creating = getattr(getattr(active, "__wrapped__", active), "_is_creating", False)
        return "shape" if is_creating or (active is not None and active.metadata.get(UNFINISHED)) else "tool"

    def _find_tool(self) -> QAbstractButton | None:
        """Return the button of the active tool; None if none is active."""
        buttons = [button for button in self._context.tool_buttons if isalive(button)]
        self._context.tool_buttons[:] = buttons  # without those of slides that were closed
        return next((button for button in buttons if button.isChecked()), None)

    def _on_escape(self) -> bool:
        """End the active tool, or leave the reading mode if there is none."""
        tool = self._find_tool()
        if tool is None:
            return self._leave_reading()
        tool.click()
        return True

    def _name_key(self, event: QKeyEvent) -> str:
        """Return the key as declared, also of ``HISTORY_KEYS``, with Shift if an action is declared for it."""
        name, is_shifted = name_key(event), bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if event.modifiers() & IGNORED_MODIFIERS == Qt.KeyboardModifier.ControlModifier:
            if event.key() == Qt.Key.Key_Z:
                return "Ctrl+Shift+Z" if is_shifted else "Ctrl+Z"
            if event.key() == Qt.Key.Key_Y:
                return "Ctrl+Y"
            if Qt.Key.Key_1 <= event.key() <= Qt.Key.Key_9:
                return f"{CLASS_PREFIX}{event.key() - Qt.Key.Key_0}"
        with_shift = f"Shift+{name}"
        return with_shift if is_shifted and with_shift in self.actions else name

    def _is_bound(self, layer: Layer, key: str) -> bool:
        """Return whether a key is bound to a layer; the bindings of the slide's own image layers do not count."""
        from napari.layers import Image
        from napari.utils.key_bindings import coerce_keybinding

        layer = getattr(layer, "__wrapped__", layer)
        if not key:
            return False
        if isinstance(layer, Image) and find_slide_identity(self._viewer, layer) is not None:
            return False
        keymaps = (layer.keymap, *(getattr(kind, "class_keymap", {}) for kind in type(layer).__mro__))
        binding = coerce_keybinding(key)
        return any(binding in keymap for keymap in keymaps)

    def _show_actual_pixels(self) -> None:
        if self._slide is not None:
            self._zoom(find_pixel_zoom(self._context, self._slide) / get_zoom(self._viewer))

    def _magnify(self, magnification: float) -> None:
        zoom = None if self._slide is None else find_zoom(self._context, self._slide, magnification)
        if zoom is not None:
            self._zoom(zoom / get_zoom(self._viewer))

    def _toggle_overlays(self) -> None:
        """Hide everything that lies on the slide, or show it again as it was."""
        if self._slide is not None:
            kept = None if self._find_tool() is None else self._viewer.layers.selection.active
            is_hidden = slide_layers.toggle_overlays(self._viewer, self._slide, kept)
            message = f"Overlays are hidden; {list_keys('slide.overlays')[0]} shows them."
            status = self._context.status
            (status.show_message if is_hidden else status.end_message)(message)

    def _zoom(self, factor: float) -> None:
        """Zoom at the mouse pointer, or at the center if the pointer is not on the canvas."""
        canvas = self._canvas
        if canvas is not None:
            pointer = canvas.mapFromGlobal(QCursor.pos())
            is_inside = canvas.rect().contains(pointer)
            center = canvas.height() / 2, canvas.width() / 2
            zoom_about(self._viewer, factor, (pointer.y(), pointer.x()) if is_inside else center)

    def _on_double_click(self, event: QMouseEvent) -> bool:
        """Center the view at the pointer, unless a tool is active, where a double click has another meaning."""
        active: Any = self._viewer.layers.selection.active
        is_plain = event.button() == Qt.MouseButton.LeftButton and not event.modifiers()
        if not is_plain or not (active is None or str(active.mode) == "pan_zoom"):
            return False
        pointer: QPointF = event.position()
        center_on_canvas(self._viewer, (pointer.y(), pointer.x()))
        return True


class NavigationTargets(QObject):
    """Step through the stops on a slide, in a circle: its lesions, then its regions, then its bookmarks."""

    def __init__(self, context: SlideContext, hosted: HostedSections) -> None:
        super().__init__(context)
        self._context, self._hosted = context, hosted
        self._current: tuple[str, object] | None = None  # kind and identity of the last stop
        self._connections = Connections(context.dock)
        hosted.session_changed.connect(self._on_session)

    def _on_session(self, session: SlideSession | None) -> None:
        """Start at the first stop of another slide."""
        self._current = None
        self._connections.end()
        if session is not None:
            self._connections.connect(session.selected_lesions.changed, self._on_selected)

    def step(self, direction: int) -> bool:
        """Go to the next (1) or previous (-1) stop; return False if there is none."""
        targets = self._list_targets()
        if not targets:
            return False
        keys = list(targets)
        if self._current in targets:
            index = (keys.index(self._current) + direction) % len(keys)
        else:
            index = 0 if direction > 0 else len(keys) - 1
        self._current = keys[index]
        show, text = targets[keys[index]]
        show()
        kind = keys[index][0]
        number = [key for key in keys if key[0] == kind].index(keys[index]) + 1
        total = sum(key[0] == kind for key in keys)
        self._context.status.show_briefly(f"{kind} {number} of {total}: {text}.")
        return True

    def _list_targets(self) -> dict[tuple[str, object], tuple[Callable[[], object], str]]:
        """Return for each stop, by kind and identity, the function that shows it and its name."""
        session = self._hosted.session
        stops: dict[tuple[str, object], tuple[Callable[[], object], str]] = {}
        if session is None:
            return stops
        for lesion in session.lesions.shown_lesions:
            stops["Lesion", lesion.index] = partial(self._show_lesion, session, lesion), format_class(lesion.label)
        for region in session.regions.value:
            zoom = partial(zoom_to_polygons, self._context.viewer, session.slide, region.polygons)
            stops["Region", region.id] = zoom, region.class_name or "no class"
        for bookmark in session.notes.value.bookmarks:
            stops["Bookmark", bookmark] = partial(show_bookmark, session, bookmark), bookmark.name
        return stops

    def _show_lesion(self, session: SlideSession, lesion: SlideLesion) -> None:
        """Zoom to a lesion, and select its row."""
        zoom_to_polygons(self._context.viewer, session.slide, lesion.polygons)
        session.selected_lesions.set((lesion.index,))

    def _on_selected(self, indices: tuple[int, ...]) -> None:
        if len(indices) == 1:
            self._current = ("Lesion", indices[0])
