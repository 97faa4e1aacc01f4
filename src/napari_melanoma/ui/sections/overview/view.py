"""The controls of the Overview section: position, bookmarks, scale bar, history of views, magnification, rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.sections.overview.resolve import (
    parse_position,
    rename_bookmark,
    resolve_magnification,
    resolve_position,
)
from napari_melanoma.ui.session.navigation import (
    add_bookmark,
    get_magnification,
    get_native_magnification,
    magnify,
    normalize_angle,
    rotate,
    show_actual_pixels,
    show_bookmark,
)
from napari_melanoma.ui.viewer.camera import (
    CameraWidget,
    find_canvas,
    format_position,
    get_scale_bar,
    get_visible_region,
)
from napari_melanoma.ui.viewer.shortcuts import format_key, is_delete_key
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.number_box import DecimalBox, set_spin_box_value
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import fill_column, fit_rows, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.slides.notes import Bookmark, SlideNotes
    from napari_melanoma.ui.session.open_slide import SessionServices
    from napari_melanoma.ui.session.slide import SlideSession

MAX_ROWS = 5  # visible bookmarks
STEPS = (1, 2, 4, 5, 10, 20, 40)
QUARTER_TURN = 90.0  # degrees
SCALE_BAR_SETTING = "slide/scale_bar"


class NavigationPanel(CameraWidget):
    """Scale bar, position, and list of bookmarks: click to go there, F2 to rename, Delete to remove."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.services.viewer, session.slide)
        self._session, self._services, self._slide = session, session.services, session.slide
        self._bookmarks: tuple[Bookmark, ...] = ()  # that the list shows
        texts, has_scale = resolve_position(self._slide.info), self._slide.info.pixel_size is not None
        self._position_label = named(quiet_label(), "place", "Position of the view", "Center of the view: x, y")
        self._position_label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._field = named(QLineEdit(), "go_to", "Go to", texts.tip)
        self._field.setPlaceholderText(texts.placeholder)
        go = named(QPushButton("Go"), "go", "Go", "Go there (Enter)")
        scale_bar_check = named(QCheckBox("Scale bar"), "scale_bar", "Scale bar", texts.scale_bar_tip)
        scale_bar_check.setEnabled(has_scale)
        scale_bar_check.setChecked(has_scale and is_scale_bar_wanted(self._services))
        add = tool_button("bookmark", "Bookmark", f"Bookmark the view ({format_key('slide.bookmark')})", "Bookmark")
        self._services.icons.add(add, "plus")
        tip = "Click to go there, F2 to rename, Delete to remove; saved with the results of the slide"
        self.list = named(QListWidget(), "bookmarks", "Bookmarks", tip)
        self.list.setFixedHeight(0)
        fill_column(
            self,
            row(scale_bar_check, self._position_label, stretch=1),
            row(self._field, go, add, stretch=0),
            self.list,
        )
        self._field.returnPressed.connect(self._on_go)
        go.clicked.connect(self._on_go)
        add.clicked.connect(lambda: add_bookmark(session))
        scale_bar_check.toggled.connect(self._on_scale_bar)
        self.list.itemClicked.connect(self._on_chosen)
        self.list.itemActivated.connect(self._on_chosen)
        self.list.itemChanged.connect(self._on_renamed)
        self.list.installEventFilter(self)
        follow(self, session.notes.changed, self._on_notes)
        self._on_notes(session.notes.value)
        self.list.setCurrentRow(-1)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Remove the selected bookmark with the Delete key."""
        if not is_delete_key(event):
            return False
        index = self.list.currentRow()
        if index >= 0:
            self._edit((*self._bookmarks[:index], *self._bookmarks[index + 1 :]))
        return True

    def show_view(self) -> None:
        center = get_visible_region(self._services.viewer, self._slide).center
        self._position_label.setText(format_position(self._slide, center))

    def _on_notes(self, notes: SlideNotes) -> None:
        self.update_view()  # which may be rotated
        if notes.bookmarks == self._bookmarks:
            return
        was_added, self._bookmarks = notes.bookmarks[:-1] == self._bookmarks, notes.bookmarks
        self.list.blockSignals(True)
        self.list.clear()
        for bookmark in notes.bookmarks:
            item = QListWidgetItem(bookmark.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.list.addItem(item)
        self.list.blockSignals(False)
        self.list.setVisible(bool(notes.bookmarks))
        fit_rows(self.list, min(len(notes.bookmarks), MAX_ROWS))
        if was_added:
            self.list.setCurrentRow(self.list.count() - 1)

    def _edit(self, bookmarks: tuple[Bookmark, ...]) -> None:
        self._session.edit_notes(lambda notes: replace(notes, bookmarks=bookmarks))

    def _on_chosen(self, item: QListWidgetItem) -> None:
        show_bookmark(self._session, self._bookmarks[self.list.row(item)])

    def _on_renamed(self, item: QListWidgetItem) -> None:
        index = self.list.row(item)
        bookmarks = rename_bookmark(self._bookmarks, index, item.text())
        self._bookmarks = ()  # show the name again, also if it is the same
        self._edit(bookmarks)
        self._on_notes(self._session.notes.value)

    def _on_go(self) -> None:
        """Go to the position that was entered, or show why that is not possible."""
        status, text = self._services.status, self._field.text()
        if not text.strip():
            return
        try:
            center_view(self._services.viewer, self._slide, parse_position(self._slide, text))
        except MelanomaError as error:
            status.show_until(describe_failure(error), self._field.textChanged)
            return
        window = self._services.main_window
        canvas = None if window is None else find_canvas(window)
        if canvas is not None:
            canvas.setFocus()  # so that the next keys move the view, as after a click on a lesion

    def _on_scale_bar(self, on: bool) -> None:
        self._services.settings.set(SCALE_BAR_SETTING, on)
        update_scale_bar(self._services)


def is_scale_bar_wanted(services: SessionServices) -> bool:
    return bool(services.settings.get(SCALE_BAR_SETTING, True))


def update_scale_bar(services: SessionServices) -> None:
    """Show or hide the scale bar. The first call takes long, because napari creates the scale bar then."""
    bar = get_scale_bar(services.viewer)
    if bar.position == "bottom_right":
        bar.position = "bottom_left"  # napari's notifications, such as errors, cover the other corner
    bar.visible = is_scale_bar_wanted(services)


class ViewButtons(QWidget):
    """Buttons for 1:1, the previous and the next view."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__()
        self._history = history = session.view_history
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        key = format_key("slide.actual_pixels")
        actual = tool_button("actual_pixels", "1:1", f"One screen pixel for each pixel of the scan ({key})", "1:1")
        actual.clicked.connect(lambda: show_actual_pixels(session.services, session.slide))
        layout.addWidget(actual)
        back, forward = format_key("slide.back"), format_key("slide.forward")
        self._buttons = {
            -1: tool_button("view_back", "Previous view", f"Previous view ({back}, or the mouse's back button)", "←"),
            1: tool_button("view_forward", "Next view", f"Next view ({forward}, or the mouse's forward button)", "→"),
        }
        for direction, button in self._buttons.items():
            button.clicked.connect(lambda _=False, direction=direction: history.step(direction))
            layout.addWidget(button)
        follow(self, history.changed, self._on_changed)
        self._on_changed()

    def _on_changed(self) -> None:
        for direction, button in self._buttons.items():
            button.setEnabled(self._history.trail.can_step(direction))


class MagnificationButtons(CameraWidget):
    """Buttons for magnifications, and the magnification of the view."""

    def __init__(self, session: SlideSession, steps: Sequence[int] = STEPS) -> None:
        super().__init__(session.services.viewer, session.slide)
        named(self, "magnification", "Magnification")
        self._services, self._slide = session.services, session.slide
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
            button.clicked.connect(partial(self._on_clicked, step))
            layout.addWidget(button)
        layout.addStretch(1)
        layout.addWidget(self._value_label)
        self.update_view()

    def _on_clicked(self, step: int, checked: bool = False) -> None:
        magnify(self._services, self._slide, step)
        self.update_view()

    def show_view(self) -> None:
        native, magnification = get_native_magnification(self._slide), get_magnification(self._services, self._slide)
        texts = resolve_magnification(native, magnification, tuple(self._buttons))
        self._value_label.setText(texts.value)
        self._value_label.setToolTip(texts.value_tip)
        for step, button in self._buttons.items():
            button.setEnabled(native is not None)
            button.setChecked(step in texts.checked)
            button.setToolTip(texts.tips[step])


class RotationControls(QWidget):
    """Buttons for quarter turns, and a field for the angle in degrees clockwise from the scanned orientation."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__()
        named(self, "rotation", "Rotation of the view")
        self._session = session
        left = tool_button("rotate_left", "Rotate left", "Rotate the view by 90° to the left", "↺ 90°")
        right = tool_button("rotate_right", "Rotate right", "Rotate the view by 90° to the right", "↻ 90°")
        tip = "Degrees clockwise from the scanned orientation; saved and exported data are not rotated"
        self._angle = named(DecimalBox(), "rotation_angle", "Angle of the view", tip)
        self._angle.setRange(-180.0, 180.0)
        self._angle.setDecimals(0)
        self._angle.setSingleStep(5.0)
        self._angle.setSuffix("°")
        self._angle.setWrapping(True)
        self._angle.setKeyboardTracking(False)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (QLabel("Rotate"), left, right, self._angle):
            layout.addWidget(widget)
        layout.addStretch(1)
        left.clicked.connect(lambda: rotate(session, self._angle.value() - QUARTER_TURN))
        right.clicked.connect(lambda: rotate(session, self._angle.value() + QUARTER_TURN))
        self._angle.valueChanged.connect(partial(rotate, session))
        follow(self, session.rotated, self._show_angle)
        self._show_angle()

    def _show_angle(self) -> None:
        self._angle.blockSignals(True)
        set_spin_box_value(self._angle, normalize_angle(self._session.slide.angle))
        self._angle.blockSignals(False)
