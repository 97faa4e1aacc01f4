"""The layer of the counted points of a slide, with the tool that adds points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.ui.sections.measure.points import COUNT_CLASSES
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shape_layers import HALF, bind_keys, get_data_action, to_rgba
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR, load_classes

if TYPE_CHECKING:
    from napari.layers import Points

    from napari_melanoma.slides.counts import CountedPoints
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

ROLE: slide_layers.Role = "counts"
CLASS_FEATURE = "class"
MARK_UM, MARK_PX = 12.0, (9, 60)  # size of a mark on the slide, and its limits in pixels of the screen


class CountLayer(QObject):
    """Show the points of a session, and apply what the user adds, moves or removes in napari.

    ``left``: the user left the tool, by a change of the mode in napari or by selecting another layer.
    """

    left = Signal()

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.owner)
        self._session, self._slide, self._viewer = session, session.slide, session.services.viewer
        self._settings, self._document = session.services.settings, session.document(COUNT_DOCUMENT)
        self._is_active = self._is_writing = False  # the tool is active; changes of the layer are those of this class
        self._next_class = ""
        session.follow(self._document.changed, self.show)
        session.follow(session.displayed.changed, self.stop_tool)
        session.follow(self._viewer.layers.selection.events.active, self._on_active)
        if (layer := self._find_layer()) is not None:
            self._connect_layer(layer)
        self.show()

    def show(self) -> None:
        """Draw the points in the colors of their classes."""
        import numpy as np

        points, layer = self._document.value, self._find_layer()
        if layer is None and points:
            layer = self._create_layer()
        if layer is None:
            return
        colors = {one.name: one.color for one in load_classes(self._settings, COUNT_CLASSES)}
        self._is_writing = True
        layer.selected_data = set()
        if points != _read(layer):
            layer.data = np.array([point.at for point in points], np.float64).reshape(-1, 2) - HALF
            layer.features = {CLASS_FEATURE: np.array([point.class_name for point in points], object)}
        if points:
            layer.border_color = [to_rgba(colors.get(point.class_name, DEFAULT_COLOR)) for point in points]
        layer.feature_defaults = {CLASS_FEATURE: self._next_class}
        self._is_writing = False

    def start_tool(self, region_class: RegionClass) -> None:
        """Start the tool that adds a point of a class with each click."""
        self._is_active = False
        layer = self._find_layer() or self._create_layer()
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "add"
        self._is_active = True
        self.set_class(region_class)

    def stop_tool(self) -> None:
        """Stop the tool, if it is active."""
        was_active, self._is_active = self._is_active, False
        layer = self._find_layer()
        if was_active and layer is not None:
            layer.mode = "pan_zoom"
            if self._viewer.layers.selection.active == layer:
                self._viewer.layers.selection.active = self._slide.layers[-1]

    def set_class(self, region_class: RegionClass) -> None:
        """Set the class of the points that are added next."""
        layer, self._next_class = self._find_layer(), region_class.name
        if layer is not None:
            self._is_writing = True
            layer.selected_data = set()  # otherwise napari also changes the selected points
            layer.current_border_color = to_rgba(region_class.color)
            layer.feature_defaults = {CLASS_FEATURE: region_class.name}
            self._is_writing = False

    def _find_layer(self) -> Points | None:
        layer: Points | None = slide_layers.find_layer(self._viewer, self._slide, ROLE)
        return layer

    def _create_layer(self) -> Points:
        slide = self._slide
        layer: Points = slide_layers.get_or_add_layer(self._viewer, slide, ROLE, lambda: _create_layer(slide))
        self._connect_layer(layer)
        return layer

    def _connect_layer(self, layer: Points) -> None:
        self._session.follow(layer.events.data, self._on_data)
        self._session.follow(layer.events.mode, self._on_mode)
        bind_keys(layer, {"Control-Z": self._document.undo, "Control-Shift-Z": self._document.redo})

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if not self._is_writing and get_data_action(event) in ("added", "changed", "removed"):
            QTimer.singleShot(0, self._apply)  # after napari has finished the change

    def _apply(self) -> None:
        layer = self._find_layer()
        if layer is not None:
            points = _read(layer)
            self._document.apply(lambda _: points)

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """React to a change of the tool in napari's layer controls; the space bar pans with any tool."""
        if self._is_active and str(event.source.mode) not in ("add", "pan_zoom"):
            self._is_active = False
            self.left.emit()

    def _on_active(self, event: object) -> None:
        if self._is_active and self._viewer.layers.selection.active != self._find_layer():
            self._is_active = False
            self.left.emit()


def _read(layer: Points) -> CountedPoints:
    """Return the points of a layer."""
    from napari_melanoma.slides.counts import CountedPoint

    names = layer.features[CLASS_FEATURE] if CLASS_FEATURE in layer.features else [""] * len(layer.data)
    return tuple(
        CountedPoint(str(name), (round(float(position[-2]) + HALF, 2), round(float(position[-1]) + HALF, 2)))
        for name, position in zip(names, layer.data, strict=True)
    )


def _create_layer(slide: ViewerSlide) -> Points:
    import numpy as np
    from napari.layers import Points

    return Points(
        ndim=2,
        size=MARK_UM / slide.pixel_um[1],
        face_color="transparent",
        border_width=0.15,
        features={CLASS_FEATURE: np.array([], object)},
        canvas_size_limits=MARK_PX,
    )
