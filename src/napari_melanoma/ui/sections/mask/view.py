"""The widgets of the Mask and Region of interest sections: options, brushes, strokes and Labels layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.roi_config import RoiConfig
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.ui.sections.mask.resolve import MaskView
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.number_box import set_spin_box_value
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    form_layout,
    more_button,
    named,
    quiet_label,
    row,
    tool_button,
)
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer
    from qtpy.QtGui import QAction

    from napari_melanoma.imaging.masks import Roi
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph
    from napari_melanoma.ui.widgets.settings import DockSettings

SLIDER_STEPS = 100
THUMBNAIL_PX = 96
FIELD_PX = 76  # Qt's default is wider and would push the thumbnail out of view
INSIDE, OUTSIDE = 1, 2  # labels of strokes
EDITED_ROLES: tuple[photographs.Role, ...] = ("mask", "scribbles")
LABELS_TIP = (
    "Use a Labels layer as the mask of this photograph: painted by you, or made by another plugin. Several labels are "
    "several lesions."
)
TOOL_KEYS = {name: format_key(f"lesion.{name}") for name in ("inside", "outside", "apply", "paint", "erase", "choose")}


class MaskControls(QWidget):
    """Controls of threshold and refinement.

    ``edited``: emitted at each change. ``changing``: emitted at each change of the threshold. ``changed``: emitted
    after a pause, or when a refinement option is switched.
    """

    edited = Signal()
    changing = Signal()
    changed = Signal()
    revert_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._view = MaskView()
        self.threshold: float | None = None  # None for the model's default
        tip = "Pixels with at least this probability are lesion. The contour is updated while you move the slider."
        self._slider = named(QSlider(Qt.Orientation.Horizontal), "threshold_slider", "Threshold", tip)
        self._slider.setRange(1, SLIDER_STEPS - 1)
        self._box = named(QDoubleSpinBox(), "threshold", "Threshold value", tip)
        self._box.setRange(1 / SLIDER_STEPS, 1 - 1 / SLIDER_STEPS)
        self._box.setSingleStep(1 / SLIDER_STEPS)
        self._box.setDecimals(2)
        self._box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self._box.setFixedWidth(52)
        self._reset = tool_button(
            "threshold_reset", "Default threshold", "Reset to the model's default threshold", "reset"
        )
        self._largest = named(QCheckBox("largest only"), "largest_only", "Keep the largest lesion only")
        self._largest.setToolTip("Keep one lesion: the largest, or the selected one. If off, keep all detected ones.")
        self._fill = named(QCheckBox("fill"), "fill_holes", "Fill holes", "Fill holes inside the border")
        self._smooth = named(QCheckBox("smooth"), "smooth", "Smooth border", "Smooth the probability first")
        self._notice = self._make_corrected_notice()
        layout = form_layout(self)
        self._lesion_count_label = quiet_label()
        self._lesion_count_label.setObjectName("several_lesions")
        self._lesion_count_label.hide()
        layout.addRow(self._notice)
        layout.addRow(self._lesion_count_label)
        layout.addRow("threshold", row(self._slider, self._box, self._reset, stretch=0))
        layout.addRow(row(self._largest, self._fill, self._smooth))
        self.debounce = DebounceTimer(self)
        self.debounce.timeout.connect(self.changed)
        self.show_view(self._view)
        self._slider.valueChanged.connect(self._on_slider)
        self._box.valueChanged.connect(self._on_box)
        self._reset.clicked.connect(self._on_reset)
        for check in (self._largest, self._fill, self._smooth):
            check.toggled.connect(self._on_check)

    @property
    def refinement(self) -> RefinementConfig:
        """The refinement options in the controls."""
        shown = self._view.options.refinement
        smoothing = shown.smoothing or RefinementConfig().smoothing
        return shown.model_copy(
            update={
                "largest_only": self._largest.isChecked(),
                "fill_holes": self._fill.isChecked(),
                "smoothing": smoothing if self._smooth.isChecked() else 0.0,
            }
        )

    def show_view(self, view: MaskView) -> None:
        """Show the state of a mask without emitting signals; a disabled change is dropped."""
        self._view, self.threshold, refinement = view, view.options.threshold, view.options.refinement
        if view.notice:
            self.debounce.stop()
        checks = {
            self._largest: refinement.largest_only,
            self._fill: refinement.fill_holes,
            self._smooth: refinement.smoothing > 0,
        }
        for control in (*checks, self._slider, self._box):
            control.blockSignals(True)
            control.setEnabled(not view.notice)
        for check, value in checks.items():
            check.setChecked(value)
        self._slider.setValue(round(SLIDER_STEPS * view.threshold))
        set_spin_box_value(self._box, view.threshold)
        for control in (*checks, self._slider, self._box):
            control.blockSignals(False)
        self._reset.setEnabled(view.can_reset)
        self._notice_label.setText(view.notice)
        self._revert_button.setVisible(view.can_revert)
        self._notice.setVisible(bool(view.notice))
        self._lesion_count_label.setText(view.other_lesions)
        self._lesion_count_label.setVisible(bool(view.other_lesions))

    def _make_corrected_notice(self) -> QWidget:
        notice = QFrame()
        notice.setObjectName("notice")
        self._notice_label = quiet_label()
        self._revert_button = named(
            QPushButton("Reset to predicted mask"),
            "revert",
            "Reset to predicted mask",
            "Replace your corrections by the predicted mask. Ctrl+Z restores them.",
        )
        self._revert_button.clicked.connect(self.revert_requested)
        layout = QVBoxLayout(notice)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._notice_label)
        layout.addWidget(self._revert_button)
        notice.hide()
        return notice

    def _on_slider(self, position: int) -> None:
        self._set_threshold(position / SLIDER_STEPS)

    def _on_box(self, value: float) -> None:
        self._set_threshold(round(value, 2))

    def _on_reset(self) -> None:
        self._set_threshold(None)

    def _set_threshold(self, threshold: float | None) -> None:
        self.threshold = threshold
        self.edited.emit()
        self.changing.emit()
        self.debounce.start()

    def _on_check(self) -> None:
        self.debounce.stop()
        self.edited.emit()
        self.changed.emit()


class RoiControls(QWidget):
    """Controls of margin, background and side length of the ROI, with a thumbnail.

    ``edited``: emitted at each change. ``changed``: emitted after a pause.
    """

    edited = Signal()
    changed = Signal()

    def __init__(self, settings: DockSettings) -> None:
        super().__init__()
        self.config = RoiConfig()
        self._margin = named(
            QDoubleSpinBox(), "margin", "Margin", "Added on each side, in % of the lesion's longer side"
        )
        self._margin.setRange(0, 200)
        self._margin.setDecimals(1)
        self._margin.setSuffix(" %")
        self._background = named(
            NoWheelComboBox(), "background", "Background", "Skin around the lesion in the ROI image"
        )
        self._background.addItem("black", "zero")
        self._background.addItem("keep skin", "keep")
        self._side = named(QSpinBox(), "side", "Side", "Side length of the ROI image after resizing")
        self._side.setRange(8, 4096)
        self._side.setSuffix(" px")
        self._picture = named(QLabel(), "roi_picture", "Region of interest", "The ROI image as it is saved")
        self._picture.setFixedSize(THUMBNAIL_PX, THUMBNAIL_PX)
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        fields = QWidget()
        rows, more_fields = form_layout(fields), QWidget()
        more_rows = form_layout(more_fields)
        rows.addRow("margin", self._margin)
        rows.addRow("", more_button("roi", "background and side of the image", settings, more_fields))
        rows.addRow(more_fields)
        more_rows.addRow("background", self._background)
        more_rows.addRow("side", self._side)
        for field in (self._margin, self._background, self._side):
            field.setMinimumWidth(FIELD_PX)
        columns = QHBoxLayout()
        columns.addWidget(fields, 1)
        columns.addWidget(self._picture)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(columns)
        self.debounce = DebounceTimer(self)
        self.debounce.timeout.connect(self.changed)
        self.show_config(self.config)
        self._margin.valueChanged.connect(self._on_changed)
        self._background.currentIndexChanged.connect(self._on_changed)
        self._side.valueChanged.connect(self._on_changed)

    def show_config(self, config: RoiConfig) -> None:
        """Show options without emitting signals."""
        for control in (self._margin, self._background, self._side):
            control.blockSignals(True)
        set_spin_box_value(self._margin, 100 * config.margin)
        self._background.setCurrentIndex(self._background.findData(config.background))
        set_spin_box_value(self._side, config.side_px)
        for control in (self._margin, self._background, self._side):
            control.blockSignals(False)
        self.config = config

    def show_roi(self, roi: Roi | None) -> None:
        """Show the thumbnail of the ROI."""
        if roi is None:
            self._picture.clear()
            return
        size = THUMBNAIL_PX
        smooth = Qt.TransformationMode.SmoothTransformation
        picture = QPixmap.fromImage(to_qimage(roi.image))
        self._picture.setPixmap(picture.scaled(size, size, Qt.AspectRatioMode.KeepAspectRatio, smooth))

    def _on_changed(self) -> None:
        self.config = self.config.model_copy(
            update={
                "margin": round(self._margin.value() / 100, 4),
                "background": self._background.currentData(),
                "side_px": self._side.value(),
            }
        )
        self.edited.emit()
        self.debounce.start()


class CorrectionTools(QWidget):
    """Buttons for brushes, strokes and selecting a lesion.

    ``activated``: emitted when one of these tools is switched on, so that other tools are switched off.
    """

    activated = Signal()
    scribbles_added = Signal(object)  # Labels
    apply_requested = Signal()
    choose_toggled = Signal(bool)

    def __init__(self, session: HostedPhotograph) -> None:
        super().__init__()
        self._session, icons = session, session.services.icons
        self.buttons = {
            "paint": tool_button("paint", "Paint", f"Paint; [ and ] change the brush size ({TOOL_KEYS['paint']})"),
            "erase": tool_button("erase", "Erase", f"Erase; [ and ] change the brush size ({TOOL_KEYS['erase']})"),
            "choose": tool_button(
                "choose",
                "Select lesion",
                f"Select one of several lesions with a click ({TOOL_KEYS['choose']})",
                "Select lesion",
                checkable=True,
            ),
            "inside": tool_button(
                "inside", "Stroke inside", f"Draw strokes inside the lesion ({TOOL_KEYS['inside']})", "inside"
            ),
            "outside": tool_button(
                "outside", "Stroke outside", f"Draw strokes outside the lesion ({TOOL_KEYS['outside']})", "outside"
            ),
            "apply": tool_button(
                "apply", "Apply strokes", f"Update the mask from the strokes ({TOOL_KEYS['apply']})", "apply"
            ),
            "clear": tool_button("clear", "Clear strokes", "Remove all strokes"),
        }
        for name, icon in {"paint": "paint", "erase": "erase", "choose": "picker", "clear": "delete"}.items():
            icons.add(self.buttons[name], icon)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        scribbles = row(QLabel("scribble"), *(self.buttons[name] for name in ("inside", "outside", "apply", "clear")))
        self._more = more_button(
            "scribbles", "strokes inside and outside the lesion", session.services.settings, scribbles
        )
        corrections = (self.buttons[name] for name in ("paint", "erase", "choose"))
        layout.addWidget(row(QLabel("correct"), *corrections, self._more))
        layout.addWidget(scribbles)
        self.buttons["paint"].clicked.connect(lambda: self._activate_tool(self._find_layer("mask"), 1, "paint"))
        self.buttons["erase"].clicked.connect(lambda: self._activate_tool(self._find_layer("mask"), 0, "erase"))
        self.buttons["choose"].toggled.connect(self._on_choose)
        self.buttons["inside"].clicked.connect(lambda: self._scribble(INSIDE))
        self.buttons["outside"].clicked.connect(lambda: self._scribble(OUTSIDE))
        self.buttons["apply"].clicked.connect(self._on_apply)
        self.buttons["clear"].clicked.connect(self._on_clear)

    def stop(self) -> None:
        """Switch the tools off."""
        self.buttons["choose"].setChecked(False)
        for role in EDITED_ROLES:
            if (labels := self._find_layer(role)) is not None:
                labels.mode = "pan_zoom"

    def _activate_tool(self, labels: Labels | None, label: int, mode: str) -> None:
        """Select a layer, and set its label and tool."""
        if labels is None:
            return
        self.buttons["choose"].setChecked(False)
        self.activated.emit()
        labels.visible = True
        self._session.viewer.layers.selection.active = labels
        if label:
            labels.selected_label = label
        labels.mode = mode

    def _find_layer(self, role: photographs.Role) -> Labels | None:
        session = self._session
        return photographs.find_layer(session.viewer, session.image, role) if session.is_open else None

    def _on_choose(self, on: bool) -> None:
        if on:
            self.activated.emit()
        self.choose_toggled.emit(on)

    def _scribble(self, label: int) -> None:
        strokes = layers.get_scribbles_layer(self._session.viewer, self._session.image)
        self.scribbles_added.emit(strokes)
        self._more.setChecked(True)  # also by its key
        self._activate_tool(strokes, label, "paint")

    def _on_apply(self) -> None:
        self.activated.emit()
        self.apply_requested.emit()
        mask = self._find_layer("mask")
        if mask is not None:
            mask.mode = "pan_zoom"
            self._session.viewer.layers.selection.active = mask  # so that Ctrl+Z undoes the update

    def _on_clear(self) -> None:
        strokes = self._find_layer("scribbles")
        if strokes is not None:
            layers.clear_strokes(strokes)


class LabelsTool(QWidget):
    """The button that makes a Labels layer the mask; hidden if no layer of the user or of another plugin is open."""

    chosen = Signal(object)  # Labels

    def __init__(self, viewer: Viewer, icons: ThemedIcons) -> None:
        super().__init__()
        self._viewer = viewer
        self._button = tool_button("use_labels", "Use a Labels layer", LABELS_TIP, "Use a Labels layer ...")
        icons.add(self._button, "new_labels")
        self._menu = named(QMenu(self), "labels_layers", "Labels layers")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(QLabel("import"), self._button))
        self._button.clicked.connect(self._on_clicked)
        self._menu.triggered.connect(self._on_triggered)
        if not photographs.list_foreign_labels(viewer):
            self.hide()

    def update_visibility(self, event: object = None) -> None:
        """Show the button if there are Labels layers that were not made here."""
        self.setVisible(bool(photographs.list_foreign_labels(self._viewer)))

    def _on_clicked(self) -> None:
        """Use the only layer, or list the layers in a menu."""
        candidates = photographs.list_foreign_labels(self._viewer)
        if len(candidates) == 1:
            self.chosen.emit(candidates[0])
            return
        self._menu.clear()
        for layer in candidates[::-1]:  # the topmost first, as in napari's list
            self._menu.addAction(layer.name.replace("&", "&&")).setData(layer.name)
        self._menu.popup(self._button.mapToGlobal(self._button.rect().bottomLeft()))

    def _on_triggered(self, action: QAction) -> None:
        if action.data() in self._viewer.layers:
            self.chosen.emit(self._viewer.layers[action.data()])
