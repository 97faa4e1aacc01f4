"""What the layers of all kinds of annotations on a slide share: tools, unfinished shapes, and changes by the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QObject, Signal

from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shape_layers import (
    bind_keys,
    end_shape,
    get_data_action,
    is_slide_open,
    line_width,
    repair_features,
    select_slide,
)
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari_melanoma.ui.session.document import Edited
    from napari_melanoma.ui.session.slide import SlideSession


class AnnotationLayer(QObject):
    """Draws the annotations of one kind on a slide, and applies what the user draws, moves or removes in napari.

    There is no layer until the first annotation is shown or drawn. A subclass creates the layer (``create``), draws the
    annotations in it (``draw``), and applies the user's changes (``read``) when napari has finished them and no shape
    is unfinished.

    ``region_class``: of what is drawn. ``modes``: of napari's layer, by the name of a tool. ``tool``: that is active,
    empty for none; ``tool_changed`` emits it. ``stays_selected``: the layer stays selected when its tool ends.
    """

    tool_changed = Signal(str)
    role: ClassVar[slide_layers.Role]
    modes: ClassVar[Mapping[str, str]]
    stays_selected: ClassVar[bool] = False

    def __init__(self, session: SlideSession, document: Edited[Any]) -> None:
        super().__init__(session.owner)
        self.session, self.slide, self.viewer = session, session.slide, session.services.viewer
        self.document, self.tool = document, ""
        self.region_class = RegionClass("", DEFAULT_COLOR)
        self.keys: dict[str, Callable[[], None]] = {
            "Control-Z": session.annotations.undo,
            "Control-Shift-Z": session.annotations.redo,
        }
        self._unfinished = ""  # mode in which an unfinished shape is drawn
        self._is_writing = False  # changes of the layer are those of this class
        self._connected: Any = None  # the layer whose events are connected
        self._read_timer = DebounceTimer(self, 0)  # napari must have finished the change
        self._read_timer.timeout.connect(self._read)
        session.follow(document.changed, self.show)
        session.follow(session.commit_requested.drawn, self.flush)
        session.follow(session.displayed.changed, self.stop)
        session.follow(self.viewer.layers.selection.events.active, self._on_active)

    @property
    def layer(self) -> Any:  # noqa: ANN401 - Shapes or Points
        """The layer; None if there is none."""
        return slide_layers.find_layer(self.viewer, self.slide, self.role)

    @property
    def line_width(self) -> float:
        """Width of lines at the current zoom, in pixels of the finest level."""
        return line_width(self.viewer, self.slide, self.role)

    def create(self) -> Any:  # noqa: ANN401 - Shapes or Points
        raise NotImplementedError

    def draw(self, layer: Any) -> None:  # noqa: ANN401 - Shapes or Points
        raise NotImplementedError

    def read(self, layer: Any) -> None:  # noqa: ANN401 - Shapes or Points
        """Apply what the user has changed in the layer."""
        raise NotImplementedError

    def prepare(self, layer: Any) -> None:  # noqa: ANN401 - Shapes or Points
        """Set the class, color or kind of what is drawn next."""

    def connect_layer(self, layer: Any) -> None:  # noqa: ANN401 - Shapes or Points
        self.session.follow(layer.events.data, self._on_data)
        self.session.follow(layer.events.mode, self._on_mode)
        bind_keys(layer, self.keys)

    def add_mouse_callback(self, layer: Any, callback: Callable[..., object]) -> None:  # noqa: ANN401
        """Call a function for presses on a layer until the slide is closed."""
        layer.mouse_drag_callbacks.append(callback)
        self.session.at_end(partial(layer.mouse_drag_callbacks.remove, callback))

    def ensure_layer(self) -> Any:  # noqa: ANN401 - Shapes or Points
        """Return the layer; create it if there is none."""
        layer = slide_layers.get_or_add_layer(self.viewer, self.slide, self.role, self.create)
        if layer != self._connected:
            self._connected = layer
            self.connect_layer(layer)
            with self.writing():
                self.prepare(layer)
        return layer

    def show(self, _: object = None) -> None:
        """Draw the annotations; this ends an unfinished shape."""
        if is_slide_open(self.viewer, self.slide) and (self.document.value or self.layer is not None):
            layer = self.ensure_layer()
            self._end_shape()
            with self.writing():
                self.draw(layer)
                self.prepare(layer)

    def set_class(self, region_class: RegionClass) -> None:
        """Draw annotations of another class."""
        self.region_class = region_class
        if (layer := self.layer) is not None:
            with self.writing():
                self.prepare(layer)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Change the layer without the changes being taken for those of the user."""
        self._is_writing = True
        try:
            yield
        finally:
            self._is_writing = False

    def toggle_tool(self, name: str) -> None:
        """Start a tool, or stop it if it is active."""
        self.set_tool("" if name == self.tool else name)

    def stop(self, _: object = None) -> None:
        """Stop the active tool; what was drawn is kept."""
        if self.tool:
            self.set_tool("")

    def set_tool(self, name: str) -> None:
        """Start a tool, or only stop the active one (empty name)."""
        self.flush()  # an unfinished shape ends with the tool that it was drawn with
        previous, self.tool = self.tool, ""  # changes until the end are not those of the user
        if name and is_slide_open(self.viewer, self.slide):
            layer = self.ensure_layer()
            layer.visible = True
            self.viewer.layers.selection.active = layer
            layer.mode = self.modes[name]
            self.tool = name
        elif previous and (layer := self.layer) is not None:
            layer.mode = "pan_zoom"
            if self.viewer.layers.selection.active == layer and not self.stays_selected:
                select_slide(self.viewer, self.slide)
        self.tool_changed.emit(self.tool)

    def flush(self) -> None:
        """Apply what was just drawn; an unfinished shape ends."""
        self._end_shape()
        self._read_timer.flush()

    def _end_shape(self) -> None:
        layer = self.layer
        if layer is not None and self._unfinished:
            end_shape(layer, self._unfinished)
        self._unfinished = ""

    def _read(self) -> None:
        layer = self.layer
        if layer is not None and not self._unfinished:
            self.read(layer)

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        action = get_data_action(event)
        if self._is_writing:
            return
        if action == "adding":
            with self.writing():
                self.prepare(event.source)
            self._unfinished = str(event.source.mode)
        elif action in ("added", "changed", "removed"):
            self._unfinished = ""
            repair_features(event.source)
            self._read_timer.start()

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Update the tool when it is changed in napari's layer controls; the space bar pans with any tool."""
        self._end_shape()
        if self.tool in self.modes and str(event.source.mode) not in (self.modes[self.tool], "pan_zoom"):
            self.tool = ""
            self.tool_changed.emit("")

    def _on_active(self, _: object) -> None:
        """Stop the tool when another layer is selected."""
        if self.viewer.layers.selection.active == self.layer:
            self.set_class(self.region_class)
        elif self.tool in self.modes:
            self.set_tool("")
