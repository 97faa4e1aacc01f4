"""Navigation on the displayed slide: overview, position, bookmarks, scale bar, magnification and rotation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.ui.viewer import camera, slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region, shows_whole_slide
from napari_melanoma.ui.viewer.shortcuts import format_key, is_delete_key
from napari_melanoma.ui.viewer.view_memory import center_view, fit_view, is_in_view, zoom_to_polygons
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.number_box import set_spin_box_value
from napari_melanoma.ui.widgets.style import ThemedIcons, fill_column, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari.layers import Layer
    from qtpy.QtGui import QImage

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.overview import Overview
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide


OVERVIEW_PX = 640  # longer side of the picture in the overview
FOLLOW_MS = 30  # interval at which the shown position follows the camera
NOT_IN_VIEW = "The slide is not in view. Select it in the list of slides first."


class SlideNavigation(QObject):
    """Show the position of the camera in the overview and as numbers, and move the camera."""

    failed = Signal(object)

    def __init__(self, context: SlideContext, overview: Overview, panel: NavigationPanel) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._overview, self._panel = overview, panel
        self._slide: ViewerSlide | None = None
        self._position_error = ""
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_thumbnail)
        self._latest.failed.connect(self.failed)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self.update_position)
        events = camera.get_camera(self._viewer).events
        for emitter in (events.center, events.zoom):
            context.connections.connect(emitter, self._on_camera)
        overview.position_requested.connect(self._on_position_requested)
        panel.position_entered.connect(self._on_position_entered)
        panel.bookmark_activated.connect(self.show_bookmark)
        panel.bookmark_requested.connect(self.add_bookmark)
        panel.scale_bar_toggled.connect(self._on_scale_bar_toggled)
        panel.set_scale_bar(context.settings.get("slide/scale_bar", True))

    @property
    def bookmarks(self) -> tuple[Bookmark, ...]:
        """The bookmarks of the displayed slide."""
        return self._panel.bookmarks

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self._panel.position_field.clear()
        self._slide = slide
        origin = (0, 0) if slide is None else slide.info.origin
        self._panel.set_has_scale(slide is None or slide.info.pixel_size is not None, origin)
        self._overview.show_slide(slide)
        if slide is not None:
            work = partial(_read_thumbnail, slide.slide, slide.identity)
            self._latest.submit("overview", lambda: work)
            self._timer.start()

    def update_scale(self, slide: ViewerSlide) -> None:
        """Update position and overview after a change of the slide's scale."""
        self._slide = slide
        self._panel.set_has_scale(slide.info.pixel_size is not None, slide.info.origin)
        self.update_rotation()

    def update_position(self) -> None:
        """Show the position of the camera, unless the slide is hidden."""
        if self._slide is not None and self._slide.is_shown:
            center = camera.get_visible_region(self._viewer, self._slide).center
            height, width = camera.get_extent(self._viewer)
            self._overview.show_view(center, (height, width))
            self._panel.show_position(camera.format_position(self._slide, center))

    def update_rotation(self) -> None:
        """Rotate the overview with the slide."""
        self._overview.show_placement(self._slide)
        self.update_position()

    def add_bookmark(self) -> None:
        """Bookmark the view, unless another image is in view."""
        slide = self._slide
        if slide is not None and is_in_view(self._viewer, slide.layers):
            center = camera.get_visible_region(self._viewer, slide).center
            self._panel.add(Bookmark("place", *center, camera.get_view_width(self._viewer, slide)))
        elif slide is not None:
            self._context.status.show_briefly(NOT_IN_VIEW)

    def show_polygons(self, polygons: tuple[Polygon, ...]) -> None:
        """Zoom to polygons, in pixels of the finest level."""
        if self._slide is not None:
            zoom_to_polygons(self._viewer, self._slide, polygons)

    def _on_camera(self, event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _on_position_requested(self, row: float, column: float) -> None:
        if self._slide is not None:
            center_view(self._viewer, self._slide, (row, column))

    def _on_position_entered(self, text: str) -> None:
        if self._slide is None:
            return
        try:
            center_view(self._viewer, self._slide, parse_position(self._slide, text))
        except MelanomaError as error:
            self._position_error = str(error)
            self._context.status.show_message(self._position_error)
            return
        if self._context.status.text == self._position_error:  # the message is about an earlier input
            self._context.status.show_message("")
        window = self._context.main_window
        canvas = None if window is None else camera.find_canvas(window)
        if canvas is not None:
            canvas.setFocus()  # so that the next keys move the view, as after a click on a lesion

    def show_bookmark(self, bookmark: Bookmark) -> None:
        """Show a bookmarked view."""
        if self._slide is not None:
            center_view(self._viewer, self._slide, (bookmark.row, bookmark.column), bookmark.width_px)

    def _on_scale_bar_toggled(self, on: bool) -> None:
        self._context.settings.set("slide/scale_bar", on)
        self.update_scale_bar()

    def update_scale_bar(self) -> None:
        """Show or hide the scale bar. The first call takes long, because napari creates the scale bar then."""
        bar = camera.get_scale_bar(self._viewer)
        if bar.position == "bottom_right":
            bar.position = "bottom_left"  # napari's notifications, such as errors, cover the other corner
        bar.visible = self._panel.shows_scale_bar and self._slide is not None

    def _on_thumbnail(self, result: tuple[str, QImage]) -> None:
        identity, thumbnail = result
        if self._slide is not None and identity == self._slide.identity:
            self._overview.show_picture(thumbnail)


def _read_thumbnail(slide: TiledSlide, identity: str, run: RunContext) -> tuple[str, QImage]:
    """Read a thumbnail of a slide, in which damaged parts are marked; returned with the slide's identity."""
    from napari_melanoma.ui.widgets.thumbnails import to_qimage

    return identity, to_qimage(slide.thumbnail_around_damage(OVERVIEW_PX)[0])


class LayerRefresher(QObject):
    """Refresh layers in the GUI thread when a worker thread has loaded exact pixels."""

    _refresh_requested = Signal()

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        # Docks get short-lived proxies of layers: reference the layers themselves
        self._layers = [ref(getattr(layer, "__wrapped__", layer)) for layer in layers]
        self._refresh_requested.connect(self._refresh_layers, Qt.ConnectionType.QueuedConnection)

    def request_refresh(self) -> None:
        """Request a refresh; may be called in any thread."""
        self._refresh_requested.emit()

    def _refresh_layers(self) -> None:
        """Reload the layers; setting their data makes napari read the coarsest level again."""
        for layer in filter(None, (reference() for reference in self._layers)):
            layer.data = layer.data
            layer.refresh()


def refresh_when_loaded(slide: TiledSlide, layers: Sequence[Layer]) -> None:
    """Refresh the layers of a slide whenever exact pixels replace approximate ones."""
    refresher = LayerRefresher(layers)
    slide.add_watcher(refresher.request_refresh)
    refresher.request_refresh()  # exact pixels may have arrived while the layers were created


MAX_ROWS = 5  # visible bookmarks


class NavigationPanel(QWidget):
    """Scale bar, position, and list of bookmarks: click to go there, F2 to rename, Delete to remove.

    ``position_entered``: the text. ``bookmark_activated``: the ``Bookmark``. ``bookmark_requested``: for the view.
    """

    position_entered = Signal(str)
    bookmark_activated = Signal(object)
    bookmark_requested = Signal()
    bookmarks_edited = Signal()
    scale_bar_toggled = Signal(bool)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._bookmarks: list[Bookmark] = []
        self._position_label = named(quiet_label(), "place", "Position of the view", "Center of the view: x, y")
        self.position_field = named(QLineEdit(), "go_to", "Go to")
        go = named(QPushButton("Go"), "go", "Go", "Go there (Enter)")
        self.scale_bar_check = named(QCheckBox("scale bar"), "scale_bar", "Scale bar")
        self._has_scale, self._shows_scale_bar = True, False
        add = tool_button("bookmark", "Bookmark", f"Bookmark the view ({format_key('slide.bookmark')})", "bookmark")
        icons.add(add, "plus")
        tip = "Click to go there, F2 to rename, Delete to remove; saved with the results of the slide"
        self.list = named(QListWidget(), "bookmarks", "Bookmarks", tip)
        self.list.setFixedHeight(0)
        fill_column(
            self,
            row(self.scale_bar_check, self._position_label, stretch=1),
            row(self.position_field, go, add, stretch=0),
            self.list,
        )
        self._position_label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.position_field.returnPressed.connect(self._on_go)
        go.clicked.connect(self._on_go)
        add.clicked.connect(self.bookmark_requested)
        self.scale_bar_check.toggled.connect(self._on_scale_bar_toggled)
        self.list.itemClicked.connect(self._on_chosen)
        self.list.itemActivated.connect(self._on_chosen)
        self.list.itemChanged.connect(self._on_renamed)
        self.list.installEventFilter(self)
        self.set_has_scale(True)

    @property
    def shows_scale_bar(self) -> bool:
        """Whether the user wants a scale bar, which is shown if the slide has a scale."""
        return self._shows_scale_bar

    def set_has_scale(self, has_scale: bool, origin: tuple[int, int] = (0, 0)) -> None:
        """Enable the controls that require a scale, or show why they are disabled.

        ``origin``: row and column of the corner of the scanned area, from which QuPath counts.
        """
        self._has_scale, self._origin = has_scale, origin
        in_qupath = f" QuPath counts from x = {origin[1]}, y = {origin[0]} px." if origin != (0, 0) else ""
        self.position_field.setPlaceholderText("go to x, y mm" if has_scale else "go to x, y px")
        self.position_field.setToolTip(
            "Go to x, y in mm, or in pixels as 1200, 3400 px (Enter)"
            if has_scale
            else "Go to x, y in pixels, as 1200, 3400 (Enter). Coordinates in mm require a scale."
        )
        self.position_field.setToolTip(self.position_field.toolTip() + in_qupath)
        self.scale_bar_check.blockSignals(True)
        self.scale_bar_check.setEnabled(has_scale)
        self.scale_bar_check.setChecked(has_scale and self._shows_scale_bar)
        self.scale_bar_check.blockSignals(False)
        self.scale_bar_check.setToolTip(
            "Scale bar on the slide, in µm or mm"
            if has_scale
            else "Not available: the slide has no scale. Set it with Scale, the ruler next to the slide's name."
        )

    @property
    def bookmarks(self) -> tuple[Bookmark, ...]:
        """The current bookmarks."""
        return tuple(self._bookmarks)

    def show_bookmarks(self, bookmarks: tuple[Bookmark, ...]) -> None:
        """Replace the bookmarks."""
        self._bookmarks = list(bookmarks)
        self.list.blockSignals(True)
        self.list.clear()
        for bookmark in bookmarks:
            item = QListWidgetItem(bookmark.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.list.addItem(item)
        self.list.blockSignals(False)
        height = self.list.sizeHintForRow(0) if bookmarks else 0
        self.list.setFixedHeight(min(len(bookmarks), MAX_ROWS) * height + (6 if bookmarks else 0))

    def add(self, bookmark: Bookmark) -> None:
        """Add a bookmark; a number makes its name unique."""
        names = {other.name for other in self._bookmarks}
        number = next(number for number in range(1, len(names) + 2) if f"{bookmark.name} {number}" not in names)
        self.show_bookmarks((*self._bookmarks, replace(bookmark, name=f"{bookmark.name} {number}")))
        self.list.setCurrentRow(self.list.count() - 1)
        self.bookmarks_edited.emit()

    def show_position(self, text: str) -> None:
        """Show the position of the view."""
        self._position_label.setText(text)

    def remove_current(self) -> None:
        """Remove the selected bookmark."""
        index = self.list.currentRow()
        if 0 <= index < len(self._bookmarks):
            del self._bookmarks[index]
            self.show_bookmarks(self.bookmarks)
            self.bookmarks_edited.emit()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the Delete key in the list."""
        if is_delete_key(event):
            self.remove_current()
            return True
        return False

    def set_scale_bar(self, visible: bool) -> None:
        """Check or uncheck the scale bar."""
        self._shows_scale_bar = visible
        self.set_has_scale(self._has_scale, self._origin)

    def _on_scale_bar_toggled(self, on: bool) -> None:
        self._shows_scale_bar = on
        self.scale_bar_toggled.emit(on)

    def _on_go(self) -> None:
        if self.position_field.text().strip():
            self.position_entered.emit(self.position_field.text())

    def _on_chosen(self, item: QListWidgetItem) -> None:
        self.bookmark_activated.emit(self._bookmarks[self.list.row(item)])

    def _on_renamed(self, item: QListWidgetItem) -> None:
        index = self.list.row(item)
        name = item.text().strip() or self._bookmarks[index].name
        self._bookmarks[index] = replace(self._bookmarks[index], name=name)
        self.show_bookmarks(self.bookmarks)
        self.bookmarks_edited.emit()


UM_AT_1X = 10.0  # micrometers per screen pixel at 1x; a 20x scan has 0.5 µm per pixel
STEPS = (1, 2, 4, 5, 10, 20, 40)
TOLERANCE = 0.02  # relative difference below which the view has the magnification of a button
SCANNER_TOLERANCE = 1.1  # scanners report 40x for 0.23 to 0.27 µm per pixel
ZOOM_FOLLOW_MS = 50  # interval at which the shown magnification follows the camera
NO_SCALE = "Magnification requires the pixel size: set the scale with the ruler button at the top"


class MagnificationButtons(QWidget):
    """Buttons for magnifications, and the magnification of the view."""

    magnification_requested = Signal(float)

    def __init__(self, steps: Sequence[int] = STEPS) -> None:
        super().__init__()
        named(self, "magnification", "Magnification")
        self._value_label = named(quiet_label(), "magnification_now", "Magnification of the view")
        self._value_label.setWordWrap(False)
        self._value_label.setMinimumWidth(self._value_label.fontMetrics().horizontalAdvance("00.00x"))
        self._buttons = {
            step: tool_button(f"magnify_{step}", f"{step}x", "", f"{step}x", checkable=True) for step in steps
        }
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        for step, button in self._buttons.items():
            button.clicked.connect(lambda _=False, step=step: self.magnification_requested.emit(float(step)))
            layout.addWidget(button)
        layout.addStretch(1)
        layout.addWidget(self._value_label)

    def show_native(self, native: float | None) -> None:
        """Enable the buttons if there is a scale, and state which magnifications are beyond that of the scan.

        ``native``: magnification at which a pixel of the slide fills a pixel of the screen; None without a scale.
        """
        tip = f"Magnification of the view: 1x is {UM_AT_1X:g} µm per screen pixel"
        self._value_label.setToolTip(NO_SCALE if native is None else tip)
        for step, button in self._buttons.items():
            button.setEnabled(native is not None)
            is_beyond = native is not None and step > native * SCANNER_TOLERANCE
            note = f". The slide was scanned at {native:.3g}x: its pixels are enlarged" if is_beyond else ""
            button.setToolTip(NO_SCALE if native is None else f"Magnify {step}x, about the center of the view{note}")

    def show_magnification(self, magnification: float | None) -> None:
        """Show the magnification of the view."""
        self._value_label.setText("" if magnification is None else f"{magnification:.3g}x")
        for step, button in self._buttons.items():
            button.setChecked(magnification is not None and abs(magnification / step - 1) < TOLERANCE)


class MagnificationController(QObject):
    """Show the magnification of the view, and change it on request."""

    def __init__(self, context: SlideContext, buttons: MagnificationButtons) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._buttons: list[MagnificationButtons] = []
        self._slide: ViewerSlide | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(ZOOM_FOLLOW_MS)
        self._timer.timeout.connect(self.update_magnification)
        context.connections.connect(camera.get_camera(self._viewer).events.zoom, self._on_zoom)
        self.add_buttons(buttons)

    def add_buttons(self, buttons: MagnificationButtons) -> None:
        """Synchronize further buttons."""
        self._buttons.append(buttons)
        buttons.magnification_requested.connect(self.magnify)
        buttons.show_native(self._native)
        self.update_magnification()

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same one with another scale."""
        self._slide = slide
        for buttons in self._buttons:
            buttons.show_native(self._native)
        self.update_magnification()

    @property
    def _native(self) -> float | None:
        """Magnification at which a pixel of the slide fills a pixel of the screen; None without a scale."""
        size = None if self._slide is None else self._slide.info.pixel_size
        return None if size is None else UM_AT_1X / size.x_um

    def update_magnification(self) -> None:
        """Show the current magnification of the view."""
        has_scale = self._slide is not None and self._slide.info.pixel_size is not None
        for buttons in self._buttons:
            buttons.show_magnification(self._get_zoom() * UM_AT_1X if has_scale else None)

    def _on_zoom(self, event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def magnify(self, magnification: float) -> None:
        """Magnify the view about its center, also beyond the scan, or show why that is not possible."""
        if self._native is None:
            self._context.status.show_briefly(f"{NO_SCALE}.")
            return
        self._set_zoom(magnification / UM_AT_1X)

    def show_actual_pixels(self) -> None:
        """Show each pixel of the finest level on one pixel of the screen."""
        if self._slide is not None:
            self._set_zoom(1 / self._slide.pixel_um[1])

    def _get_zoom(self) -> float:
        """Return the screen pixels per micrometer."""
        return float(camera.get_camera(self._viewer).zoom) * self._context.pixel_ratio

    def _set_zoom(self, zoom: float) -> None:
        camera.get_camera(self._viewer).zoom = zoom / self._context.pixel_ratio
        self.update_magnification()


QUARTER_TURN, FULL_TURN = 90.0, 360.0  # degrees


class RotationControls(QWidget):
    """Buttons for quarter turns, and a field for the angle in degrees clockwise from the scanned orientation."""

    angle_requested = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        named(self, "rotation", "Rotation of the view")
        left = tool_button("rotate_left", "Rotate left", "Rotate the view by 90° to the left", "↺ 90°")
        right = tool_button("rotate_right", "Rotate right", "Rotate the view by 90° to the right", "↻ 90°")
        tip = "Degrees clockwise from the scanned orientation; saved and exported data are not rotated"
        self.angle = named(QDoubleSpinBox(), "rotation_angle", "Angle of the view", tip)
        self.angle.setRange(-180.0, 180.0)
        self.angle.setDecimals(0)
        self.angle.setSingleStep(5.0)
        self.angle.setSuffix("°")
        self.angle.setWrapping(True)
        self.angle.setKeyboardTracking(False)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (QLabel("rotate"), left, right, self.angle):
            layout.addWidget(widget)
        layout.addStretch(1)
        left.clicked.connect(lambda: self.angle_requested.emit(self.angle.value() - QUARTER_TURN))
        right.clicked.connect(lambda: self.angle_requested.emit(self.angle.value() + QUARTER_TURN))
        self.angle.valueChanged.connect(self.angle_requested)

    def show_angle(self, angle: float) -> None:
        """Show an angle in degrees clockwise, without rotating the slide."""
        self.angle.blockSignals(True)
        set_spin_box_value(self.angle, normalize_angle(angle))
        self.angle.blockSignals(False)


class RotationController(QObject):
    """Rotate the displayed slide about the center of the view; a view of the whole slide is fitted again.

    ``rotated``: the user changed the angle, which is then saved. ``view_changed``: the slide was rotated.
    """

    rotated = Signal()
    view_changed = Signal()

    def __init__(self, context: SlideContext, controls: RotationControls) -> None:
        super().__init__(context)
        self._context, self._viewer, self._controls = context, context.viewer, controls
        controls.angle_requested.connect(self._on_angle_requested)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._controls.show_angle(0.0 if slide is None else slide.angle)
        self._controls.setEnabled(slide is not None)

    def restore_angle(self, angle: float) -> None:
        """Rotate the slide to its saved angle, in degrees clockwise."""
        slide = self._context.slide
        if slide is not None and slide.angle != angle:
            self._rotate(slide, angle)

    def _on_angle_requested(self, angle: float) -> None:
        slide = self._context.slide
        if slide is not None:
            self._rotate(slide, normalize_angle(angle))
            self.rotated.emit()

    def _rotate(self, slide: ViewerSlide, angle: float) -> None:
        view = get_visible_region(self._viewer, slide)
        is_whole = shows_whole_slide(view, slide.size)
        slide_layers.set_angle(self._viewer, slide, angle)
        if is_in_view(self._viewer, slide.layers):
            if is_whole:
                fit_view(self._viewer, slide.layers)
            else:
                center_view(self._viewer, slide, view.center)
        self._controls.show_angle(slide.angle)
        self.view_changed.emit()


def normalize_angle(angle: float) -> float:
    """Return the same angle in degrees, above -180 and up to 180."""
    return FULL_TURN / 2 - (FULL_TURN / 2 - angle) % FULL_TURN


NUMBER = r"[-+]?\d+(?:\.\d*)?|[-+]?\.\d+"
POSITION_PATTERN = re.compile(rf"^\s*({NUMBER})\s*(?:,|;|\s|x)\s*({NUMBER})\s*(mm|um|µm|px|)\s*$", re.IGNORECASE)
DECIMAL_COMMA_NUMBER = r"[-+]?\d+(?:[.,]\d+)?"  # as in "3,2 1,08", where a comma without a space is no separator
DECIMAL_COMMA_PATTERN = re.compile(
    rf"^\s*({DECIMAL_COMMA_NUMBER})(?:\s*;\s*|,\s+|\s+)({DECIMAL_COMMA_NUMBER})\s*(mm|um|µm|px|)\s*$", re.IGNORECASE
)


def parse_position(slide: ViewerSlide, text: str) -> tuple[float, float]:
    """Parse coordinates typed by the user.

    ``text``: ``x, y`` with ``mm`` (the default if the slide has a scale), ``um`` or ``px``; with decimal commas ``x;
    y``. Returns (row, column) in pixels of the finest level.
    """
    match = POSITION_PATTERN.match(text) or DECIMAL_COMMA_PATTERN.match(text)
    has_scale = slide.info.pixel_size is not None
    if match is None:
        example = "mm, or in pixels: 1200, 3400 px" if has_scale else "pixels: 1200, 3400"
        raise InputError(f"'{text.strip()}' is not a position on the slide. Enter x, y in {example}.")
    x, y, unit = float(match[1].replace(",", ".")), float(match[2].replace(",", ".")), match[3].lower()
    unit = unit or ("mm" if has_scale else "px")
    if unit != "px":
        if not has_scale:
            raise InputError(f"this slide has no scale. Enter pixels, such as {x:g}, {y:g} px, or set the scale.")
        factor = 1000.0 if unit == "mm" else 1.0
        y, x = y * factor / slide.pixel_um[0], x * factor / slide.pixel_um[1]
    if not (0 <= y <= slide.size[0] and 0 <= x <= slide.size[1]):
        end = camera.format_position(slide, (float(slide.size[0]), float(slide.size[1])))
        raise InputError(f"{text.strip()} lies outside the slide, which ends at {end}.")
    return y, x
