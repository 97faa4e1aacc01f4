"""Two slides of a case side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QDockWidget, QMainWindow, QVBoxLayout, QWidget

from napari_melanoma.ui.slide.slide_description import slide_display_name
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar
from napari_melanoma.ui.viewer.docking import place_next_to_canvas
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari.layers import Image
    from superqt import QCollapsible

    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

HINT = "Open two slides: the other one is shown beside the first."
ALIGN = "Bring the same place to the middle of both views, then press align here."
WIDEN_MS = 100
OVERLAYS: tuple[slide_layers.Role, ...] = ("heatmap", "lesions")  # of the slide beside that are shown on it
NO_SCALE = "Only slides with a scale, or both without, can go together."


class SideBySideView(QWidget):
    """Which slide beside the first, and whether the views go together.

    ``shown``: the user wants the second view, or no longer.
    """

    show_toggled = Signal(bool)
    slide_chosen = Signal()
    align_requested = Signal()
    link_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.slide_combo = named(
            NoWheelComboBox(), "beside_slide", "Slide beside", "Which slide is shown beside this one"
        )
        self.show_button = tool_button(
            "beside_show", "Show beside", "Show it in a view of its own", "show", checkable=True
        )
        self.link_check = named(
            QCheckBox("move together"), "beside_link", "Move together", "The views pan and zoom together"
        )
        self.link_check.setChecked(True)
        tip = "Say that the middles of both views are the same place: the views keep that offset"
        self.align_button = tool_button("beside_align", "Align here", tip, "align here")
        self.hint_label = named(quiet_label(HINT), "beside_words", "How to compare")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (
            row(self.slide_combo, self.show_button, stretch=0),
            row(self.link_check, self.align_button),
            self.hint_label,
        ):
            layout.addWidget(widget)
        self.show_button.toggled.connect(self.show_toggled)
        self.slide_combo.activated.connect(lambda _: self.slide_chosen.emit())
        self.align_button.clicked.connect(self.align_requested)
        self.link_check.toggled.connect(self.link_toggled)

    def show_slides(self, slides: list[ViewerSlide]) -> None:
        """Offer slides."""
        kept = self.slide_combo.currentData()
        self.slide_combo.clear()
        for slide in slides:
            self.slide_combo.addItem(slide_display_name(slide.info), slide.identity)
        self.slide_combo.setCurrentIndex(max(0, self.slide_combo.findData(kept)))
        self.show_button.setEnabled(bool(slides))

    def show_state(self, on: bool, can_link: bool) -> None:
        """Show what can be done.

        ``on``: whether there is a second view.
        """
        self.link_check.setEnabled(can_link)
        self.align_button.setEnabled(on and can_link)
        self.hint_label.setText((ALIGN if can_link else NO_SCALE) if on else HINT)


class SideBySideController(QObject):
    """Makes the second view, and moves each when the other moves."""

    def __init__(self, context: SlideContext, section: QCollapsible, style_heatmap: Callable[[Image], None]) -> None:
        super().__init__(context)
        self._context, self._viewer, self._section = context, context.viewer, section
        self._style_heatmap = style_heatmap
        viewer, connections = context.viewer, context.connections
        self._view: SideBySideView | None = None
        self._slide: ViewerSlide | None = None
        self._model: Any = None  # the second view: napari's ViewerModel, its canvas, the dock around it
        self._canvas: Any = None
        self._dock_widget: Any = None
        self._other_identity = ""
        self._width = 0  # of the dock before there was a second view
        self._moving = False
        self.offset = (0.0, 0.0)  # (y, x) from a place in the first view to the same in the second, in its unit
        for events in (get_camera(viewer).events.center, get_camera(viewer).events.zoom):
            connections.connect(events, self._on_first)
        for emitter in (viewer.layers.events.inserted, viewer.layers.events.removed):
            connections.connect(emitter, self._on_layers)
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    @property
    def model(self) -> Any:  # noqa: ANN401 - napari moved it
        """Napari's model of the second view; None where there is none."""
        return self._model

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self._refresh()

    def _on_section_toggled(self, is_open: bool) -> None:
        """Make what is inside when somebody looks for the first time."""
        if is_open and self._view is None:
            self._view = view = SideBySideView()
            view.show_toggled.connect(self._on_shown)
            view.slide_chosen.connect(self._on_chosen)
            view.align_requested.connect(self._on_aligned)
            view.link_toggled.connect(self._on_first)
            self._section.content().layout().itemAt(0).widget().layout().addWidget(view)
            self._refresh()

    def _on_layers(self, event: object = None) -> None:
        self._refresh()
        self._copy_overlays()

    def _refresh(self) -> None:
        """Offer the slides that are open; a view of one that was closed goes."""
        if self._view is None:
            return
        slides = slide_layers.list_slides(self._viewer)
        mine = None if self._slide is None else self._slide.identity
        self._view.show_slides([one for one in slides if one.identity != mine])
        if self._model is not None and self._other_identity not in [one.identity for one in slides]:
            self._view.show_button.setChecked(False)
        elif self._model is not None:
            self._view.slide_combo.setCurrentIndex(self._view.slide_combo.findData(self._other_identity))
        self._view.show_state(self._model is not None, self._model is None or self._same_unit())

    def _on_shown(self, on: bool) -> None:
        if on and self._model is None:
            self._open_view()
        elif not on:
            self._close_view()
        self._refresh()

    def _open_view(self) -> None:
        """Make the second view."""
        from napari.components.viewer_model import ViewerModel
        from napari.qt import QtViewer

        own = self._find_dock_widget()
        self._width = 0 if own is None or own.isFloating() else own.width()
        self._model = ViewerModel()
        self._canvas = QtViewer(self._model)
        self._dock_widget = self._viewer.window.add_dock_widget(self._canvas, name="Slide beside", area="right")
        self._arrange_views()
        for events in (get_camera(self._model).events.center, get_camera(self._model).events.zoom):
            events.connect(self._on_second)
        self._show_other_slide()

    def _arrange_views(self) -> None:
        """Put the second view between the first and the dock, as wide as the first."""
        window, own = self._context.window, self._find_dock_widget()
        frames = [one for one in window.findChildren(QDockWidget) if one.isAncestorOf(self._canvas)]
        if isinstance(window, QMainWindow) and own is not None and frames and not own.isFloating():
            place_next_to_canvas(window, frames[0])
            QTimer.singleShot(WIDEN_MS, self._share_width)

    def _find_dock_widget(self) -> QDockWidget | None:
        """The frame of the dock."""
        own = self._context.dock.parent()
        while own is not None and not isinstance(own, QDockWidget):
            own = own.parent()
        return own

    def _restore_dock_width(self) -> None:
        """Give the first view back the room that Qt gave to the dock when the second view went."""
        window, own = self._context.window, self._find_dock_widget()
        if isinstance(window, QMainWindow) and own is not None and self._width and self._model is None:
            window.resizeDocks([own], [self._width], Qt.Orientation.Horizontal)

    def _share_width(self) -> None:
        """Give the second view half of the room of both, once Qt has laid it out."""
        window = self._context.window
        frames = [one for one in window.findChildren(QDockWidget) if self._canvas and one.isAncestorOf(self._canvas)]
        if isinstance(window, QMainWindow) and frames and window.centralWidget() is not None:
            room = frames[0].width() + window.centralWidget().width()
            window.resizeDocks([frames[0]], [room // 2], Qt.Orientation.Horizontal)

    def _close_view(self) -> None:
        """Take the second view away."""
        if self._model is None:
            return
        model, self._model, self._other_identity = self._model, None, ""
        for events in (get_camera(model).events.center, get_camera(model).events.zoom):
            events.disconnect(self._on_second)
        self._viewer.window.remove_dock_widget(self._dock_widget)
        model.layers.clear()
        self._canvas.close()
        self._canvas.deleteLater()
        self._canvas = self._dock_widget = None
        QTimer.singleShot(WIDEN_MS, self._restore_dock_width)

    def _show_other_slide(self) -> None:
        """Show the slide that was chosen, from the same open file."""
        from napari.layers import Layer

        view = self._view
        wanted = None if view is None else view.slide_combo.currentData()
        slide = next((one for one in slide_layers.list_slides(self._viewer) if one.identity == wanted), None)
        if slide is None or self._model is None:
            return
        self._moving = True
        self._other_identity, self.offset = slide.identity, (0.0, 0.0)
        self._model.layers.clear()
        for layer in slide.layers:
            copy = Layer.create(*layer.as_layer_data_tuple())
            copy.visible = True
            self._model.add_layer(copy)
        self._copy_overlays()
        self.set_scale_bar(self._context.settings.get("slide/scale_bar", True))
        self._model.reset_view()
        self._moving = False
        self._on_first()

    def _copy_overlays(self) -> None:
        """Show what was found on the slide beside, as far as it is known; what is there already stays."""
        from napari.layers import Layer

        slide = self._find_other_slide()
        if slide is None or self._model is None:
            return
        for role in OVERLAYS:
            made = slide_layers.find_layer(self._viewer, slide, role)
            if made is not None and slide_layers.find_layer(self._model, slide, role) is None:
                copy = Layer.create(*made.as_layer_data_tuple())
                copy.visible = True
                self._model.add_layer(copy)
        self.update_heatmap()

    def _find_other_slide(self) -> ViewerSlide | None:
        """The slide beside; None where there is none."""
        return next(
            (one for one in slide_layers.list_slides(self._viewer) if one.identity == self._other_identity), None
        )

    def update_heatmap(self) -> None:
        """Style the second view's heatmap as the controls of the dock do."""
        slide = self._find_other_slide()
        layer = None if slide is None or self._model is None else slide_layers.find_layer(self._model, slide, "heatmap")
        if layer is not None:
            self._style_heatmap(layer)

    def set_scale_bar(self, on: bool) -> None:
        """Show or hide the scale bar of the second view."""
        slide = self._find_other_slide()
        if self._model is not None:  # without a scale the unit of the layers is a stand-in
            get_scale_bar(self._model).visible = on and slide is not None and slide.info.pixel_size is not None

    def _on_chosen(self) -> None:
        self._show_other_slide()
        self._refresh()

    def _same_unit(self) -> bool:
        """Whether both slides have a scale, or neither."""
        other = self._find_other_slide()
        if self._slide is None or self._model is None or other is None:
            return False
        return (other.info.pixel_size is None) == (self._slide.info.pixel_size is None)

    def _is_linked(self) -> bool:
        linked = self._view is not None and self._view.link_check.isChecked()
        return self._model is not None and linked and not self._moving and self._same_unit()

    def _on_first(self, event: object = None) -> None:
        """The first view was moved: the second goes along."""
        if self._is_linked():
            self._sync_cameras(get_camera(self._viewer), get_camera(self._model), 1)

    def _on_second(self, event: object = None) -> None:
        """The second view was moved: the first goes along."""
        if self._is_linked():
            self._sync_cameras(get_camera(self._model), get_camera(self._viewer), -1)

    def _sync_cameras(self, leader: Any, follower: Any, sign: int) -> None:  # noqa: ANN401 - napari moved cameras
        self._moving = True
        try:
            y, x = leader.center[-2:]
            follower.zoom = leader.zoom
            follower.center = (*follower.center[:-2], y + sign * self.offset[0], x + sign * self.offset[1])
        finally:
            self._moving = False

    def _on_aligned(self) -> None:
        """What is in the middle of both views is the same place from now on."""
        if self._model is None or self._view is None:
            return
        first, second = get_camera(self._viewer).center[-2:], get_camera(self._model).center[-2:]
        self.offset = (float(second[0] - first[0]), float(second[1] - first[1]))
        self._view.link_check.setChecked(True)
        self._on_first()
        unit = "µm" if self._slide is not None and self._slide.info.pixel_size is not None else "px"
        said = f"{self.offset[1]:.4g}, {self.offset[0]:.4g} {unit} (x, y)"
        self._view.hint_label.setText(f"Aligned: the slide beside is shifted by {said}.")
