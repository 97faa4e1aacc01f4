"""Controls for the channels of a fluorescence slide: visibility, color, contrast limits and gamma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QObject, QSignalBlocker, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QSlider,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)
from superqt import QDoubleRangeSlider

from napari_melanoma.ui.viewer.channel_layers import get_channel_name, set_channel_color
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.widgets.dialogs import choose_color
from napari_melanoma.ui.widgets.number_box import set_spin_box_value
from napari_melanoma.ui.widgets.style import Connections, fill_column, form_layout, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.events import Event

    from napari_melanoma.io.geojson import Color

VISIBLE, COLOR, NAME = range(3)  # columns of the list
VISIBLE_ROWS, ROW_PX, SWATCH_PX, NUMBER_PX = 8, 22, 14, 50
RANGE_FACTOR = 4  # range of the limits slider in widths of the automatic limits; the full range is often mostly empty
GAMMA_STEPS, GAMMA_LIMITS = 100, (0.2, 2.0)  # as in napari's layer controls
MAX_LIMIT = 1e12  # largest contrast limit that can be entered
FLOAT_DIGITS = 3  # digits of the limits of floating-point intensities, relative to their range
HINT = "Click a color to change it. Double click a name to show that channel alone."
KEYS = "Space: show or hide; Enter or double click: this channel alone; click the color: change it"


class ChannelView(QWidget):
    """A list of the channels, and controls for contrast limits and gamma of the current one.

    All values are stored in the layers: the controls change the layers, whose events update the controls.
    """

    def __init__(self, layers: Sequence[Image]) -> None:
        super().__init__()
        self._layers = tuple(layers)
        self._ranges: dict[int, tuple[float, float]] = {}  # of the limits slider, by row
        self._events = Connections()
        self.destroyed.connect(self._events.close)
        self._create_list()
        self.all_button = tool_button("channels_all", "Show all channels", "", "all")
        self.none_button = tool_button("channels_none", "Hide all channels", "", "none")
        self.only_button = tool_button("channel_only", "Show only the current channel", "", "only")
        self.color_button = tool_button("channel_color", "Color of the current channel", "", "color ...")
        tip = "Contrast limits from the intensities of the channel, as when the slide was opened"
        self.auto_button = tool_button("channel_auto", "Automatic contrast limits", tip, "auto")
        self.low_box, self.high_box = _create_limit_box("low"), _create_limit_box("high")
        self.limits_slider = named(
            QDoubleRangeSlider(Qt.Orientation.Horizontal), "channel_limits", "Contrast limits of the current channel"
        )
        self.limits_slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it does not support keys; the number boxes do
        self.gamma_slider = named(QSlider(Qt.Orientation.Horizontal), "channel_gamma", "Gamma of the current channel")
        self.gamma_slider.setRange(*(round(limit * GAMMA_STEPS) for limit in GAMMA_LIMITS))
        self.gamma_label = named(QLabel(), "channel_gamma_value", "Value of gamma")
        self._lay_out()
        self._connect()
        self._show_channels()

    def _show_channels(self) -> None:
        with QSignalBlocker(self.list):
            for index, layer in enumerate(self._layers):
                item = QTreeWidgetItem(["", "", get_channel_name(layer)])
                item.setToolTip(NAME, f"{item.text(NAME)}\n{KEYS}")
                item.setSizeHint(NAME, QSize(0, ROW_PX))
                item.setToolTip(COLOR, f"Change the color of {item.text(NAME)}")
                self.list.addTopLevelItem(item)
                if not index:
                    self.list.setCurrentItem(item)
        for index, layer in enumerate(self._layers):
            self._update_row(index)
            for emitter in (layer.events.visible, layer.events.colormap):
                self._events.connect(emitter, self._on_row_event)
            for emitter in (layer.events.contrast_limits, layer.events.gamma):
                self._events.connect(emitter, self._on_intensity_event)
        row_count = min(VISIBLE_ROWS, len(self._layers))
        self.list.setFixedHeight(row_count * max(self.list.sizeHintForRow(0), ROW_PX) + 2 * self.list.frameWidth() + 2)
        for column in (VISIBLE, COLOR):
            self.list.resizeColumnToContents(column)
        self._update_current()

    def show_only(self, index: int) -> None:
        """Show one channel alone."""
        self._layers[index].visible = True  # first, because a slide without visible layers counts as hidden
        for other, layer in enumerate(self._layers):
            if other != index:
                layer.visible = False

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the keys of the list."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._on_key(event.key())
        return False

    def _create_list(self) -> None:
        self.list = named(QTreeWidget(), "channels", "Channels", KEYS)
        self.list.setColumnCount(3)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setIndentation(0)
        self.list.setUniformRowHeights(True)
        self.list.setAllColumnsShowFocus(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setExpandsOnDoubleClick(False)

    def _lay_out(self) -> None:
        form = QWidget()
        rows: QFormLayout = form_layout(form)
        rows.addRow(QLabel("limits"), row(self.low_box, self.high_box, self.auto_button))
        rows.addRow(QLabel(), self.limits_slider)
        rows.addRow(QLabel("gamma"), row(self.gamma_slider, self.gamma_label, stretch=0))
        visibility = (self.all_button, self.none_button, self.only_button)
        fill_column(
            self,
            self.list,
            row(*visibility, self.color_button),
            form,
            named(quiet_label(HINT), "channels_hint", "How to use the list"),
        )

    def _connect(self) -> None:
        self.list.itemChanged.connect(self._on_checked)
        self.list.itemClicked.connect(self._on_clicked)
        self.list.itemDoubleClicked.connect(self._on_double_clicked)
        self.list.currentItemChanged.connect(lambda *_: self._update_current())
        self.all_button.clicked.connect(lambda: self._set_all_visible(True))
        self.none_button.clicked.connect(lambda: self._set_all_visible(False))
        self.only_button.clicked.connect(lambda: self.show_only(self._index))
        self.color_button.clicked.connect(self._choose_color)
        self.auto_button.clicked.connect(self._set_automatic_limits)
        self.limits_slider.valueChanged.connect(self._on_limits_slider)
        self.low_box.valueChanged.connect(lambda low: self._set_limits(low, self._current_limits[1]))
        self.high_box.valueChanged.connect(lambda high: self._set_limits(self._current_limits[0], high))
        for box in (self.low_box, self.high_box):
            box.editingFinished.connect(self._update_current)
        self.gamma_slider.valueChanged.connect(self._set_gamma)
        self.list.installEventFilter(self)

    @property
    def _index(self) -> int:
        """The current row."""
        return max(0, self.list.indexOfTopLevelItem(self.list.currentItem()))

    def _on_key(self, key: int) -> bool:
        """Show or hide the current channel, or show it alone; return whether the key was one of these."""
        if key == Qt.Key.Key_Space:
            layer = self._layers[self._index]
            layer.visible = not layer.visible
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.show_only(self._index)
        else:
            return False
        return True

    def _on_checked(self, item: QTreeWidgetItem, column: int) -> None:
        layer = self._layers[self.list.indexOfTopLevelItem(item)]
        layer.visible = item.checkState(VISIBLE) == Qt.CheckState.Checked

    def _on_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        if column == COLOR:
            self._choose_color()

    def _on_double_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        if column == NAME:
            self.show_only(self.list.indexOfTopLevelItem(item))

    def _choose_color(self) -> None:
        layer = self._layers[self._index]
        choose_color(self, "channel_color_dialog", _display_color(layer), lambda color: set_channel_color(layer, color))

    def _set_all_visible(self, visible: bool) -> None:
        for layer in self._layers:
            layer.visible = visible

    def _set_automatic_limits(self) -> None:
        layer = self._layers[self._index]
        layer.contrast_limits = _automatic_limits(layer)

    @property
    def _current_limits(self) -> tuple[float, float]:
        low, high = self._layers[self._index].contrast_limits
        return float(low), float(high)

    def _on_limits_slider(self, values: tuple[float, float]) -> None:
        decimals = self.low_box.decimals()
        self._set_limits(*(round(value, decimals) for value in values))

    def _set_limits(self, low: float, high: float) -> None:
        if low < high:
            self._layers[self._index].contrast_limits = low, high

    def _set_gamma(self, step: int) -> None:
        self._layers[self._index].gamma = step / GAMMA_STEPS

    def _on_row_event(self, event: Event) -> None:
        for index in self._find_rows(event):
            self._update_row(index)

    def _on_intensity_event(self, event: Event) -> None:
        if self._index in self._find_rows(event):
            self._update_current()

    def _find_rows(self, event: Event) -> list[int]:
        return [index for index, layer in enumerate(self._layers) if layer == event.source]

    def _update_row(self, index: int) -> None:
        """Show visibility and color of a channel."""
        layer, item = self._layers[index], self.list.topLevelItem(index)
        with QSignalBlocker(self.list):
            item.setCheckState(VISIBLE, Qt.CheckState.Checked if layer.visible else Qt.CheckState.Unchecked)
            item.setIcon(COLOR, _color_icon(_display_color(layer)))
            item.setData(COLOR, Qt.ItemDataRole.AccessibleTextRole, QColor(*_display_color(layer)).name())

    def _update_current(self) -> None:
        """Show limits and gamma of the current channel."""
        layer, name = self._layers[self._index], get_channel_name(self._layers[self._index])
        limits = self._current_limits
        low, high = self._update_range(self._index, layer, limits)
        is_integer = np.issubdtype(layer.dtype, np.integer)
        decimals = 0 if is_integer else max(0, FLOAT_DIGITS - math.floor(math.log10(high - low)))
        for box, limit, side in zip((self.low_box, self.high_box), limits, ("Lower", "Upper"), strict=True):
            box.setAccessibleName(f"{side} contrast limit of {name}")
            with QSignalBlocker(box):
                box.setDecimals(decimals)
                box.setSingleStep(max(10.0**-decimals, (high - low) / 100))
                set_spin_box_value(box, limit)
        self.limits_slider.setAccessibleName(f"Contrast limits of {name}")
        self.gamma_slider.setAccessibleName(f"Gamma of {name}")
        self.gamma_label.setText(f"{layer.gamma:.2f}")
        with QSignalBlocker(self.limits_slider), QSignalBlocker(self.gamma_slider):
            self.limits_slider.setRange(low, high)
            self.limits_slider.setValue(limits)
            self.gamma_slider.setValue(round(layer.gamma * GAMMA_STEPS))

    def _update_range(self, index: int, layer: Image, limits: tuple[float, float]) -> tuple[float, float]:
        """Return the range of the slider: zero to a multiple of the automatic limits, extended by the current ones."""
        if index not in self._ranges:
            dark, bright = _automatic_limits(layer)
            self._ranges[index] = min(0.0, dark), dark + RANGE_FACTOR * (bright - dark)
        low, high = self._ranges[index]
        self._ranges[index] = min(low, limits[0]), max(high, limits[1])
        return self._ranges[index]


def _create_limit_box(name: str) -> QDoubleSpinBox:
    box = named(QDoubleSpinBox(), f"channel_{name}", f"{name} contrast limit")
    box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
    box.setKeyboardTracking(False)
    box.setRange(-MAX_LIMIT, MAX_LIMIT)
    box.setStyleSheet(f"QDoubleSpinBox {{ min-width: {NUMBER_PX}px; padding: 1px 5px; }}")  # napari's is too wide here
    return box


def _automatic_limits(layer: Image) -> tuple[float, float]:
    """Return the contrast limits that were computed when the slide was opened."""
    low, high = layer.metadata[METADATA_KEY]["automatic_limits"]
    return low, high


def _color_icon(color: Color) -> QIcon:
    """Draw a square with a border, which is visible around black and white in both themes."""
    swatch = QPixmap(SWATCH_PX, SWATCH_PX)
    swatch.fill(QColor(Qt.GlobalColor.gray))
    painter = QPainter(swatch)
    painter.fillRect(swatch.rect().adjusted(1, 1, -1, -1), QColor(*color))
    painter.end()
    icon = QIcon(swatch)
    icon.addPixmap(swatch, QIcon.Mode.Selected)  # otherwise Qt tints it
    return icon


def _display_color(layer: Image) -> Color:
    """Return the 8-bit RGB color of the highest intensities of a channel."""
    red, green, blue = (round(255 * float(value)) for value in layer.colormap.map(np.array([1.0]))[0, :3])
    return red, green, blue
