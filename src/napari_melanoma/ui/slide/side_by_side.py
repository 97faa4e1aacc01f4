"""The Side by side section of the Slide dock: a second slide in a second view, and its registration."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QDockWidget, QMainWindow, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar
from napari_melanoma.ui.viewer.docking import place_next_to_canvas
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import (
    Connections,
    add_to_section,
    fill_column,
    named,
    quiet_label,
    row,
    tool_button,
)

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Layer, Points
    from numpy.typing import NDArray
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.imaging.registration import Registration
    from napari_melanoma.slides.notes import SlideAlignment
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

HINT = "Open two slides to compare them side by side."
SHOW_HINT = "Press show to see the other slide beside this one."
ALIGN = (
    "Register the slides automatically or by landmarks, or center the same position in both views and press align here."
)
LANDMARKS = "Click the same structure in both views, in the same order: {} of at least 2. Press landmarks again to end."
REGISTERING = "Registering the slides ..."
WIDEN_MS = 100  # delay after which Qt has laid out the docks
NARROW_PX = 400  # a view below this width is too narrow
SIDE_AREAS = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
OVERLAYS: tuple[slide_layers.Role, ...] = ("heatmap", "lesions")  # layers that the second view shows too
NO_SCALE = "The views can be linked only if both slides have a scale, or neither."

# What an alignment depends on: identity and pixel size of the first slide, identity and pixel size of the second.
Pair = tuple[str, "PixelSize | None", str, "PixelSize | None"]


class SideBySideView(QWidget):
    """Controls to choose the second slide and to link the views."""

    show_toggled = Signal(bool)
    slide_chosen = Signal()
    align_requested = Signal()
    registration_requested = Signal()
    reset_requested = Signal()
    landmarks_toggled = Signal(bool)
    link_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.slide_combo = named(
            NoWheelComboBox(), "side_by_side_slide", "Second slide", "Slide to show next to this one"
        )
        self.show_button = tool_button(
            "side_by_side_show", "Show side by side", "Show it in a second view", "show", checkable=True
        )
        self.link_check = named(
            QCheckBox("move together"), "side_by_side_link", "Move together", "The views pan and zoom together"
        )
        self.link_check.setChecked(True)
        tip = "Treat the centers of both views as the same position, and keep that offset"
        self.align_button = tool_button("side_by_side_align", "Align here", tip, "align here")
        tip = "Find rotation, side and position of the second slide from the tissue in both; takes some seconds"
        self.register_button = tool_button("side_by_side_register", "Register automatically", tip, "register")
        tip = "Click the same structures in both views; from two of them, the slides are turned and shifted together"
        self.landmark_button = tool_button("side_by_side_landmarks", "Landmarks", tip, "landmarks", checkable=True)
        tip = "Discard the registration of these two slides, also the saved one"
        self.reset_button = tool_button("side_by_side_reset", "Reset the registration", tip, "reset")
        self.hint_label = named(quiet_label(HINT), "side_by_side_hint", "How to compare")
        fill_column(
            self,
            row(self.slide_combo, self.show_button, stretch=0),
            row(self.register_button, self.landmark_button, self.align_button, self.reset_button),
            row(self.link_check),
            self.hint_label,
        )
        self.show_button.toggled.connect(self.show_toggled)
        self.slide_combo.activated.connect(lambda _: self.slide_chosen.emit())
        self.align_button.clicked.connect(self.align_requested)
        self.register_button.clicked.connect(self.registration_requested)
        self.reset_button.clicked.connect(self.reset_requested)
        self.landmark_button.toggled.connect(self.landmarks_toggled)
        self.link_check.toggled.connect(self.link_toggled)

    def show_slides(self, slides: list[ViewerSlide]) -> None:
        """List the slides to choose from."""
        identity = self.slide_combo.currentData()
        self.slide_combo.clear()
        for slide in slides:
            self.slide_combo.addItem(slide_display_name(slide.info), slide.identity)
        self.slide_combo.setCurrentIndex(max(0, self.slide_combo.findData(identity)))
        self.show_button.setEnabled(bool(slides))

    def show_state(self, is_open: bool, can_link: bool, alignment: str) -> None:
        """Enable the controls that are possible.

        ``is_open``: the second view is open. ``can_link``: both slides have a scale, or neither. ``alignment``:
        description of the alignment, empty if there is none.
        """
        self.link_check.setEnabled(can_link)
        for button in (self.align_button, self.register_button, self.landmark_button):
            button.setEnabled(is_open and can_link)
        self.reset_button.setEnabled(is_open and can_link and bool(alignment))
        closed_hint = SHOW_HINT if self.slide_combo.count() else HINT
        self.hint_label.setText((alignment or ALIGN if can_link else NO_SCALE) if is_open else closed_hint)


class SideBySideController(QObject):
    """Create the second view, synchronize the cameras, and register the slides.

    The layers of the second slide are transformed to the first view: both cameras have the same center and zoom.
    Coordinates of a slide are (y, x) in µm, or in pixels without a scale, from the center of its first pixel.
    """

    failed = Signal(object)  # the exception
    narrow, closed = Signal(int), Signal()  # the width of each view in pixels; the second view was closed

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._viewer, self._section = context, context.viewer, section
        viewer, connections = context.viewer, context.connections
        connections.connect(viewer.events.theme, self._on_theme)
        get_scale_bar(viewer).events.visible.connect(self._show_scale_bar)
        self._slide_events = Connections()
        self._view: SideBySideView | None = None
        self._slide: ViewerSlide | None = None
        self.model: Any = None  # napari's model of the second view, with its canvas and dock widget
        self._canvas: Any = None
        self._dock_widget: Any = None
        self._other_identity = ""  # of the slide in the second view
        self._dock_width = 0  # before the second view was opened; 0 if the dock was floating
        self._is_syncing = False  # True while this class sets the cameras
        self._matrix: NDArray[np.float64] | None = None  # from coordinates of the second slide to those of the first
        self._alignment = ""  # description of the alignment, or of the current step; empty if there is none
        self._pair: Pair | None = None  # slides for which the matrix is valid
        self._landmarks: Landmarks | None = None
        self._jobs = LatestJobQueue(self)
        self._jobs.succeeded.connect(self._on_registered)
        self._jobs.failed.connect(lambda _: self._refresh())
        self._jobs.failed.connect(self.failed)
        for events in (get_camera(viewer).events.center, get_camera(viewer).events.zoom):
            connections.connect(events, self._on_first_camera)
        for emitter in (viewer.layers.events.inserted, viewer.layers.events.removed):
            connections.connect(emitter, self._on_layers)
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    def show(self, identity: str) -> None:
        """Show an open slide in the second view, which is opened if necessary."""
        self._section.expand(animate=False)
        assert self._view is not None  # created with the section
        self._view.slide_combo.setCurrentIndex(self._view.slide_combo.findData(identity))
        if self.model is None:
            self._view.show_button.setChecked(True)
        else:
            self._on_chosen()

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide in the first view."""
        self._slide = slide
        self._slide_events.close()
        if slide is not None:
            self._slide_events.connect(slide.layers[0].events.affine, self._on_rotated)
        if self.model is not None and self._pair != self._get_pair():
            self._rebuild()
        self._refresh()

    def _on_rotated(self, event: object = None) -> None:
        """Rotate the second view like the first."""
        self._transform_layers()
        self._on_first_camera()

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open and self._view is None:
            self._view = view = SideBySideView()
            view.show_toggled.connect(self._on_shown)
            view.slide_chosen.connect(self._on_chosen)
            view.align_requested.connect(self._on_aligned)
            view.registration_requested.connect(self._on_registration_requested)
            view.reset_requested.connect(self._on_reset)
            view.landmarks_toggled.connect(self._on_landmarks)
            view.link_toggled.connect(self._on_first_camera)
            add_to_section(self._section, view)
            self._refresh()

    def _on_layers(self, event: object = None) -> None:
        self._refresh()
        self._copy_overlays()

    def _refresh(self) -> None:
        """List the open slides, and close the view of a slide that was closed."""
        if self._view is None:
            return
        slides = slide_layers.list_slides(self._viewer)
        identity = None if self._slide is None else self._slide.identity
        self._view.show_slides([one for one in slides if one.identity != identity])
        if self.model is not None and self._other_identity not in [one.identity for one in slides]:
            self._view.show_button.setChecked(False)
        elif self.model is not None:
            self._view.slide_combo.setCurrentIndex(self._view.slide_combo.findData(self._other_identity))
        self._view.show_state(self.model is not None, self.model is None or self._have_same_unit(), self._alignment)

    def _on_shown(self, on: bool) -> None:
        if on and self.model is None:
            self._open_view()
        elif not on:
            self._close_view()
        self._refresh()

    def _open_view(self) -> None:
        """Open the second view, and show the selected slide in it."""
        from napari.components.viewer_model import ViewerModel
        from napari.qt import QtViewer

        frame = _find_frame(self._context.dock)
        self._dock_width = 0 if frame is None or frame.isFloating() else frame.width()
        self.model = ViewerModel()
        self.model.theme = self._viewer.theme
        self._canvas = QtViewer(self.model)
        self._dock_widget = self._viewer.window.add_dock_widget(self._canvas, name="Second slide", area="right")
        self._dock_widget.destroyed.connect(self._on_frame_closed)
        self._arrange_views()
        for events in (get_camera(self.model).events.center, get_camera(self.model).events.zoom):
            events.connect(self._on_second_camera)
        self._show_other_slide()

    def _on_theme(self, event: object) -> None:
        if self.model is not None:
            self.model.theme = self._viewer.theme

    def _arrange_views(self) -> None:
        """Place the second view between the first and the dock, with the same width."""
        window, own_frame = self._context.window, _find_frame(self._context.dock)
        view_frames = [one for one in window.findChildren(QDockWidget) if one.isAncestorOf(self._canvas)]
        if isinstance(window, QMainWindow) and own_frame is not None and view_frames and not own_frame.isFloating():
            place_next_to_canvas(window, view_frames[0])
            QTimer.singleShot(WIDEN_MS, self._equalize_widths)

    def widen_views(self) -> None:
        """Give both views the same width if one of them is too narrow, once Qt has laid them out."""
        QTimer.singleShot(WIDEN_MS, partial(self._equalize_widths, NARROW_PX))

    def _equalize_widths(self, limit: int | None = None) -> None:
        """Give both views the same width; emit ``narrow`` if it is too small. ``limit``: as in ``_share_width``."""
        window = self._context.window
        frames = [one for one in window.findChildren(QDockWidget) if self._canvas and one.isAncestorOf(self._canvas)]
        width = _share_width(window, frames[0], limit) if isinstance(window, QMainWindow) and frames else None
        if width is not None and width < NARROW_PX:
            self.narrow.emit(width)

    def _close_view(self) -> None:
        if self.model is None:
            return
        self._end_landmarks()
        model, self.model, self._other_identity = self.model, None, ""
        self._matrix, self._alignment = None, ""
        for events in (get_camera(model).events.center, get_camera(model).events.zoom):
            events.disconnect(self._on_second_camera)
        frame, self._dock_widget = self._dock_widget, None
        if frame is not None:
            self._viewer.window.remove_dock_widget(frame)
        model.layers.clear()
        self._canvas.close()
        self._canvas.deleteLater()
        self._canvas = None
        QTimer.singleShot(WIDEN_MS, partial(_restore_width, self._context.dock, self._dock_width))
        self.closed.emit()

    def _on_frame_closed(self) -> None:
        """Release the button after the user closed the frame of the view in its title bar."""
        was_closed, self._dock_widget = self._dock_widget is not None, None
        if was_closed and self._view is not None and isalive(self._view):
            self._view.show_button.setChecked(False)

    def _get_pair(self) -> Pair | None:
        """Return the two slides and their scales; None if the second view shows no slide."""
        other = self._find_other_slide()
        if self._slide is None or other is None:
            return None
        return (self._slide.identity, self._slide.info.pixel_size, other.identity, other.info.pixel_size)

    def _show_other_slide(self) -> None:
        """Show the slide that is selected in the list in the second view."""
        identity = None if self._view is None else self._view.slide_combo.currentData()
        if identity is not None and self.model is not None:
            self._other_identity = identity
            self._rebuild()

    def _rebuild(self) -> None:
        """Copy the layers of the second slide with its current scale, and restore its saved alignment."""
        slide = self._find_other_slide()
        if slide is None or self.model is None:
            return
        self._end_landmarks()
        self._is_syncing = True
        self.model.layers.clear()
        for layer in slide.layers:
            _add_copy(self.model, layer)
        self._reset_alignment()
        self._copy_overlays()
        self._show_scale_bar()
        self.model.reset_view()
        self._is_syncing = False
        self._on_first_camera()
        self.restore_alignment()

    def _copy_overlays(self) -> None:
        """Copy heatmap and lesions of the second slide, unless the second view shows them already."""
        slide = self._find_other_slide()
        if slide is None or self.model is None:
            return
        for role in OVERLAYS:
            layer = slide_layers.find_layer(self._viewer, slide, role)
            if layer is not None and slide_layers.find_layer(self.model, slide, role) is None:
                _add_copy(self.model, layer)
        self._transform_layers()
        self.update_heatmap()

    def _find_other_slide(self) -> ViewerSlide | None:
        """Return the slide in the second view; None if there is none."""
        return next(
            (one for one in slide_layers.list_slides(self._viewer) if one.identity == self._other_identity), None
        )

    def update_heatmap(self) -> None:
        """Display the heatmap of the second view as that of the first one."""
        slide, session = self._find_other_slide(), self._context.session
        layer = None if slide is None or self.model is None else slide_layers.find_layer(self.model, slide, "heatmap")
        if layer is not None and session is not None:
            session.heatmap_display.value.apply(layer)

    def _show_scale_bar(self, event: object = None) -> None:
        """Show or hide the scale bar of the second view, as in the first."""
        slide = self._find_other_slide()
        has_scale = slide is not None and slide.info.pixel_size is not None  # otherwise the units would be pixels
        if self.model is not None:
            get_scale_bar(self.model).visible = get_scale_bar(self._viewer).visible and has_scale

    def _on_chosen(self) -> None:
        self._show_other_slide()
        self._refresh()

    def _have_same_unit(self) -> bool:
        other = self._find_other_slide()
        if self._slide is None or self.model is None or other is None:
            return False
        return (other.info.pixel_size is None) == (self._slide.info.pixel_size is None)

    def _is_linked(self) -> bool:
        linked = self._view is not None and self._view.link_check.isChecked()
        return self.model is not None and linked and not self._is_syncing and self._have_same_unit()

    def _on_first_camera(self, event: object = None) -> None:
        """Move the second view with the first."""
        if self._is_linked():
            self._copy_camera(get_camera(self._viewer), get_camera(self.model))

    def _on_second_camera(self, event: object = None) -> None:
        """Move the first view with the second."""
        if self._is_linked():
            self._copy_camera(get_camera(self.model), get_camera(self._viewer))

    def _copy_camera(self, source: Any, target: Any) -> None:  # noqa: ANN401 - its module differs between versions
        self._is_syncing = True
        try:
            target.zoom = source.zoom
            target.center = (*target.center[:-2], *source.center[-2:])
        finally:
            self._is_syncing = False

    def _reset_alignment(self) -> None:
        """Remove the alignment, and show the second slide with its own rotation."""
        import numpy as np

        self._end_landmarks()
        other = self._find_other_slide()
        self._alignment = ""
        self._matrix, self._pair = None, self._get_pair()
        if self._slide is not None and other is not None:
            self._matrix = np.linalg.inv(self._slide.affine) @ np.array(other.affine)
        self._transform_layers()

    def _transform_layers(self) -> None:
        """Transform the layers of the second view into the coordinates of the first."""
        import numpy as np

        if self.model is None or self._matrix is None or self._slide is None:
            return
        affine = np.array(self._slide.affine) @ self._matrix
        for layer in self.model.layers:
            if not np.array_equal(layer.affine.affine_matrix[-3:, -3:], affine):
                layer.affine = affine
        if self._landmarks is not None:
            self._landmarks.layers[0].affine = np.array(self._slide.affine)

    def _set_alignment(self, matrix: NDArray[np.float64], text: str) -> None:
        """Apply an alignment to the second slide, and show the same position in both views."""
        self._matrix, self._alignment = matrix, text
        self._transform_layers()
        self._copy_camera(get_camera(self._viewer), get_camera(self.model))
        self._refresh()

    def restore_alignment(self) -> None:
        """Apply the alignment that is saved with the first slide, unless there is a newer one."""
        import numpy as np

        is_newer = bool(self._alignment) or self._landmarks is not None
        if is_newer or self.model is None:
            return
        saved = _find_saved_alignment(self._context, self._find_other_slide())
        if saved is not None:
            error = "" if saved.error is None else f"; remaining error {saved.error:.2g} {_get_unit(self._slide)}"
            self._set_alignment(np.array(saved.matrix), f"Registered earlier{error}. Press reset to discard it.")

    def _on_reset(self) -> None:
        """Discard the alignment, including the saved one."""
        other = self._find_other_slide()
        if self.model is not None and other is not None:
            self._reset_alignment()
            _replace_saved_alignment(self._context, other, None)
            self._refresh()

    def _on_aligned(self) -> None:
        """Shift the second slide so that the centers of both views are the same position."""
        import numpy as np

        if self.model is None or self._view is None or self._slide is None or self._matrix is None:
            return
        first, second = (get_camera(viewer).center[-2:] for viewer in (self._viewer, self.model))
        shift = np.eye(3)
        shift[:2, 2] = np.subtract(first, second)
        affine = np.array(self._slide.affine)
        moved = f"{shift[1, 2]:.4g}, {shift[0, 2]:.4g} {_get_unit(self._slide)} (x, y)"
        text = f"Aligned: the second slide was shifted by {moved}."
        self._set_alignment(np.linalg.inv(affine) @ shift @ affine @ self._matrix, text)
        _save_alignment(self._context, self._find_other_slide(), self._matrix)
        self._view.link_check.setChecked(True)

    def _on_registration_requested(self) -> None:
        """Register the slides in the background."""
        other, pair = self._find_other_slide(), self._get_pair()
        if self._slide is None or other is None or self._view is None or pair is None:
            return
        self._end_landmarks()
        self._view.hint_label.setText(REGISTERING)
        work = partial(_register, self._slide.slide, other.slide, pair)
        self._jobs.submit("register", lambda: work)

    def _on_registered(self, pair_and_registration: tuple[Pair, Registration]) -> None:
        pair, registration = pair_and_registration
        other = self._find_other_slide()
        if self._view is None or self._slide is None or other is None or pair != self._get_pair():
            return  # a slide or scale has changed since the request, or the second view was closed
        matrix = _shift_to_centers(registration.matrix, self._slide, other)
        self._set_alignment(matrix, _describe(registration, _get_unit(self._slide)))
        _save_alignment(self._context, other, self._matrix, registration.error)
        self._view.link_check.setChecked(True)

    def _on_landmarks(self, on: bool) -> None:
        """Start or stop setting landmarks."""
        other = self._find_other_slide()
        if not on or self.model is None or self._view is None or self._slide is None or other is None:
            self._end_landmarks()
            return
        self._view.link_check.setChecked(False)  # each view is moved to a structure by itself
        pictures = (self._slide.layers[0], self.model.layers[0])
        self._landmarks = Landmarks(self, (self._viewer, self.model), pictures)
        self._landmarks.changed.connect(self._on_landmarks_changed)
        self._alignment = LANDMARKS.format(0)
        self._refresh()

    def _on_landmarks_changed(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
        """Register the slides when both views have the same number of landmarks, at least two.

        ``first``, ``second``: as in ``Landmarks.changed``.
        """
        from napari_melanoma.imaging.registration import register_landmarks

        count = min(len(first), len(second))
        if count < 2 or len(first) != len(second):
            self._alignment = LANDMARKS.format(count)
            self._refresh()
            return
        try:
            has_scale = self._slide is None or self._slide.info.pixel_size is not None
            registration = register_landmarks(second, first, with_scale=not has_scale)
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._set_alignment(registration.matrix, _describe(registration, _get_unit(self._slide)))
            _save_alignment(self._context, self._find_other_slide(), self._matrix, registration.error)

    def _end_landmarks(self) -> None:
        """Remove the landmarks, and let the views move together again."""
        landmarks, self._landmarks = self._landmarks, None
        if landmarks is None or self._view is None:
            return
        is_registered = min(len(layer.data) for layer in landmarks.layers) > 1
        landmarks.remove()
        self._view.landmark_button.setChecked(False)
        if not is_registered:
            self._alignment = ""
        self._view.link_check.setChecked(True)
        self._refresh()


LANDMARK_COLOR = "#ffe100"
LANDMARK_PX = 14  # in screen pixels


class Landmarks(QObject):
    """Landmarks: points on the same structures in two views, numbered in a Points layer in each view."""

    changed = Signal(object, object)  # first and second positions, float (point, axis=2): (y, x) in data coordinates

    def __init__(self, parent: QObject, viewers: tuple[Any, Any], pictures: tuple[Layer, Layer]) -> None:
        super().__init__(parent)
        self._viewers = viewers
        self.layers = tuple(map(_add_landmark_layer, viewers, pictures))
        for layer in self.layers:
            layer.events.data.connect(self._on_data)

    def remove(self) -> None:
        """Remove the layers."""
        for viewer, layer in zip(self._viewers, self.layers, strict=True):
            layer.events.data.disconnect(self._on_data)
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        self.deleteLater()

    def _on_data(self, event: object = None) -> None:
        import numpy as np

        for layer in self.layers:
            _number_landmarks(layer)
        first, second = (np.array(layer.data, float).reshape(-1, 2) for layer in self.layers)
        self.changed.emit(first, second)


def _add_landmark_layer(viewer: Any, picture: Layer) -> Points:  # noqa: ANN401 - a viewer or its model
    """Add an empty layer with the coordinates of a slide, (y, x) in µm, or in pixels without a scale."""
    from napari.layers import Points

    layer = Points(
        ndim=2,
        name="landmarks",
        size=1,
        face_color="transparent",
        border_color=LANDMARK_COLOR,
        border_width=0.15,
        symbol="cross",
        canvas_size_limits=(LANDMARK_PX, LANDMARK_PX),
        features={"number": []},
        text={"string": "{number:.0f}", "color": LANDMARK_COLOR, "size": LANDMARK_PX, "anchor": "upper_left"},
        units=picture.units,
        affine=picture.affine.affine_matrix[-3:, -3:],
    )
    viewer.add_layer(layer)
    layer.feature_defaults = {"number": 1.0}
    layer.mode = "add"
    return layer


def _number_landmarks(layer: Points) -> None:
    """Number the points from 1 on, in their order."""
    numbers = [float(number) for number in range(1, len(layer.data) + 1)]
    if list(layer.features["number"]) != numbers:
        layer.features = {"number": numbers}
    layer.feature_defaults = {"number": len(numbers) + 1.0}


def _find_frame(dock: QWidget) -> QDockWidget | None:
    """Return the QDockWidget that contains a dock of this package."""
    ancestor = dock.parent()
    while ancestor is not None and not isinstance(ancestor, QDockWidget):
        ancestor = ancestor.parent()
    return ancestor


def _restore_width(dock: QWidget, width: int) -> None:
    """Restore the width of the dock, which Qt widens when the second view is closed; 0 if the dock was floating."""
    frame = _find_frame(dock) if isalive(dock) else None
    if frame is not None and width and isinstance(window := frame.parent(), QMainWindow):
        window.resizeDocks([frame], [width], Qt.Orientation.Horizontal)


def _share_width(window: QMainWindow, frame: QDockWidget, limit: int | None) -> int | None:
    """Give a dock and the canvas next to it the same width, and return that width.

    Do nothing and return None if they are not side by side, or if both are at least ``limit`` pixels wide.
    """
    canvas = window.centralWidget()
    if canvas is None or frame.isFloating() or window.dockWidgetArea(frame) not in SIDE_AREAS:
        return None
    widths = frame.width(), canvas.width()
    if limit is not None and min(widths) >= limit:
        return None
    width = int(sum(widths)) // 2
    window.resizeDocks([frame], [width], Qt.Orientation.Horizontal)
    return width


def _add_copy(model: Any, layer: Layer) -> None:  # noqa: ANN401 - its module differs between versions of napari
    """Add a visible copy of a layer to the second view; the data are shared."""
    from napari.layers import Layer

    copy = Layer.create(*layer.as_layer_data_tuple())
    copy.visible = True
    model.add_layer(copy)


def _get_unit(slide: ViewerSlide | None) -> str:
    return "px" if slide is None or slide.info.pixel_size is None else "µm"


def _find_saved_alignment(context: SlideContext, other: ViewerSlide | None) -> SlideAlignment | None:
    """Return the saved alignment with another slide; None if the scale of either slide has changed since."""
    slide, location = context.slide, context.location
    if slide is None or other is None or location is None or location.identity != slide.identity:
        return None
    saved = location.notes.alignments.get(other.info.fingerprint)
    return saved if saved is not None and saved.pixel_um == (*slide.pixel_um, *other.pixel_um) else None


def _save_alignment(
    context: SlideContext, other: ViewerSlide | None, matrix: NDArray[np.float64] | None, error: float | None = None
) -> None:
    """Save the alignment of another slide in the notes of the displayed one."""
    from napari_melanoma.slides.notes import SlideAlignment

    slide = context.slide
    if slide is not None and other is not None and matrix is not None:
        rows = tuple(map(tuple, matrix.tolist()))
        _replace_saved_alignment(context, other, SlideAlignment(rows, (*slide.pixel_um, *other.pixel_um), error))


def _replace_saved_alignment(context: SlideContext, other: ViewerSlide, alignment: SlideAlignment | None) -> None:
    """Replace the alignment of another slide in the notes of the displayed one; None removes it."""
    session, key = context.session, other.info.fingerprint
    if session is not None and key:
        alignments = {one: saved for one, saved in session.notes.value.alignments.items() if one != key}
        alignments |= {} if alignment is None else {key: alignment}
        session.edit_notes(lambda notes: replace(notes, alignments=alignments))


def _shift_to_centers(matrix: NDArray[np.float64], first: ViewerSlide, second: ViewerSlide) -> NDArray[np.float64]:
    """Convert a matrix for positions that count from the outer corners to one that counts from pixel centers."""
    import numpy as np

    shifted = matrix.copy()
    shifted[:2, 2] += shifted[:2, :2] @ np.divide(second.pixel_um, 2) - np.divide(first.pixel_um, 2)
    return shifted


def _describe(registration: Registration, unit: str) -> str:
    """Describe a registration with its error."""
    changes = [f"turned by {round(registration.rotation)}°"]
    changes += ["mirrored"] if registration.is_flipped else []
    changes += [f"scaled by {registration.scale:.3g}"] if abs(registration.scale - 1) > 0.001 else []
    source = f"{registration.count} landmarks"
    if registration.method == "images":
        source = f"{registration.count} of {registration.tried} parts of the tissue"
    error = "its error is known from three landmarks on"
    if registration.error is not None:
        error = f"remaining error {registration.error:.2g} {unit}"
    return f"Registered by {source}: {', '.join(changes)}; {error}."


def _register(first: TiledSlide, second: TiledSlide, pair: Pair, run: RunContext) -> tuple[Pair, Registration]:
    from napari_melanoma.slides.alignment import register_slides

    return pair, register_slides(first, second, pair[1], pair[3])
