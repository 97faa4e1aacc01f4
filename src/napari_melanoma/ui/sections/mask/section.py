"""The sections Mask and Region of interest of a photograph: options, tools and Labels layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.sections.mask.clicks import HINT, LesionClickTool, PromptCanvasTool, PromptLayer
from napari_melanoma.ui.sections.mask.proposals import ProposalTool
from napari_melanoma.ui.sections.mask.tools import MaskTools
from napari_melanoma.ui.session.analyzed_lesion import describe_other_lesions
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.prompting import FIND_ALL, PendingPrompt
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.shortcuts import CanvasKeys, format_key
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.number_box import DecimalBox, set_spin_box_value
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import (
    CollapsibleSection,
    ThemedIcons,
    column,
    form_layout,
    more_button,
    named,
    row,
    set_shown,
    show_text,
    state_label,
    tool_button,
)
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer


CHOOSE_MESSAGE = "Click the lesion to select."
CORRECTED = "Corrected manually."
PROTECTED_NOTICE = "Threshold and refinement are off."
NOT_PREDICTED_NOTICE = "Not predicted by a model: analyze the photograph to use threshold and refinement."
SLIDER_STEPS = 100
THUMBNAIL_PX = 96
FIELD_PX = 76  # Qt's default is wider and would push the thumbnail out of view
OTHER_LESIONS_ADVICE = (
    "Measurements and prediction refer to the mask only. For another lesion, use the tool 'Select lesion' "
    f"({format_key('lesion.choose')}); to include all, clear 'Largest only'."
)
LABELS_TIP = (
    "Use a Labels layer as the mask of this photograph: painted by you, or made by another plugin. Several labels are "
    "several lesions."
)


class MaskSection(PhotographSection):
    """Corrects the mask of a photograph: by options, brushes, strokes, clicks, or a Labels layer."""

    tools = ("click", "inside", "outside", "apply", "paint", "erase", "choose")
    parts = (PromptLayer,)

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._services = session.services
        self._mask = MaskControls(session)
        self._tools = MaskTools(session)
        self._labels = LabelsTool(session.viewer, self._services.icons)
        self._proposals = ProposalTool(session, partial(self._services.prompts.choose, session))
        self._canvas = PromptCanvasTool(session.viewer, self._on_prompt, self._choose_at, self._switch_clicks_off)
        self._click_tool = LesionClickTool(session.viewer, self._on_chosen)
        self.column.setSpacing(5)
        self.add(self._mask, self._tools, self._labels, self._mask.state)  # what comes and goes stands last
        keys: dict[str, Callable[[], object]] = {
            "lesion.next_mask": partial(self._proposals.step, 1),
            "lesion.previous_mask": partial(self._proposals.step, -1),
            "lesion.leave_clicks": self._switch_clicks_off,
        }
        self._keys = CanvasKeys(self, keys)
        self._connect(session)
        self._on_displayed(session.displayed.value)
        self._show_proposals()

    def toggle_tool(self, name: str) -> None:
        self._tools.buttons[name].click()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Let what comes and goes move no tool, also where the section grows upwards, as in the Review dock."""
        super().showEvent(event)
        frame = self.parentWidget()
        while frame is not None and not isinstance(frame, CollapsibleSection):
            frame = frame.parentWidget()
        grows_up = frame is not None and frame.grows_up
        direction = QBoxLayout.Direction.BottomToTop if grows_up else QBoxLayout.Direction.TopToBottom
        for part in (self, self._tools):
            part.layout().setDirection(direction)

    def _on_displayed(self, is_displayed: bool) -> None:
        """Stop the tools before another photograph is displayed."""
        if is_displayed:
            self._proposals.start()
        else:
            self._switch_clicks_off()
            self._tools.stop()
            self._proposals.stop()

    def _connect(self, session: PhotographSession) -> None:
        services, mask = self._services, self._mask
        buttons = self._tools.buttons
        self._tools.activated.connect(self._switch_clicks_off)
        buttons["choose"].toggled.connect(self._on_choose)
        buttons["click"].toggled.connect(self._on_clicks)
        buttons["click"].toggled.connect(self._keys.set_active)
        buttons["find_lesions"].clicked.connect(lambda: services.prompts.add(session, FIND_ALL))
        self._labels.chosen.connect(self._on_labels)
        connect, events = self.follow, session.events
        connect(session.commit_requested, mask.debounce.flush)
        connect(session.displayed.changed, self._on_displayed)
        connect(session.shown, self._show_proposals)
        for signal in (session.shown, events.pending_options, services.options.edited, services.options.changed):
            connect(signal, mask.update_options)
        connect(session.shown, self._tools.update_enabled)
        connect(services.options.changed, self._on_options)
        connect(services.labels.adopted, self._on_adopted)
        for event in (session.viewer.layers.events.inserted, session.viewer.layers.events.removed):
            connect(event, self._labels.update_visibility)

    def _on_options(self) -> None:
        if self._tools.buttons["click"].isChecked():  # another model may have been selected
            self._services.prompts.encode(self.session)

    def _on_choose(self, on: bool) -> None:
        status = self._services.status
        if on and self.session.masked_lesion is not None:
            self._proposals.stop()
            status.show_message(CHOOSE_MESSAGE)
            self._click_tool.start(self.session.image)
        else:
            self._click_tool.stop()
            status.end_message(CHOOSE_MESSAGE)
            if self.session.displayed.value:
                self._proposals.start()

    def _on_chosen(self, point: tuple[int, int]) -> None:
        self._tools.buttons["choose"].setChecked(False)
        lesion, status = self.session.masked_lesion, self._services.status
        if lesion is None:
            return
        if not lesion.result.is_predicted:
            status.show_briefly("The mask was not predicted by a model. Analyze the photograph first.")
        elif lesion.corrected:
            status.show_briefly(
                "The mask was corrected manually. Reset to the predicted mask first, then select a lesion."
            )
        else:
            status.show_message("")
            self._services.controller.rederive(self.session, point)

    def _on_clicks(self, on: bool) -> None:
        status = self._services.status
        if on:
            self._tools.stop()
            status.show_message(HINT)
            self._start_clicks()
            self._services.prompts.encode(self.session)
        else:
            self._canvas.stop()
            status.end_message(HINT)

    def _switch_clicks_off(self) -> None:
        self._tools.buttons["click"].setChecked(False)

    def _start_clicks(self) -> None:
        self._canvas.start(self.session.image)

    def _on_prompt(self, prompt: PromptOptions) -> None:
        new_lesion = self._tools.buttons["new_lesion"]
        self._services.prompts.add(self.session, PendingPrompt(prompt, new_lesion.isChecked()))
        new_lesion.setChecked(False)

    def _choose_at(self, position: tuple[float, ...]) -> bool:
        """Choose a proposed mask by a click on its outline, unless the click begins another lesion."""
        return not self._tools.buttons["new_lesion"].isChecked() and self._proposals.choose_at(position)

    def _show_proposals(self) -> None:
        self._proposals.update()
        if self._tools.buttons["click"].isChecked():
            self._start_clicks()

    def _on_labels(self, labels: Labels) -> None:
        self._switch_clicks_off()
        self._services.labels.adopt(self.session, labels)

    def _on_adopted(self, session: PhotographSession, message: str) -> None:
        """Report the new mask, and select it, so that Ctrl+Z undoes the step."""
        if session is self.session:
            session.viewer.layers.selection.active = session.mask
            self._services.status.show_message(message)


class RoiSection(PhotographSection):
    """The region of interest of a photograph, with margin, background and side length."""

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._options = session.services.options
        self._margin = named(DecimalBox(), "margin", "Margin", "Added on each side, in % of the lesion's longer side")
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
        rows.addRow("Margin", self._margin)
        rows.addRow("", more_button("roi", "background and side of the image", session.services.settings, more_fields))
        rows.addRow(more_fields)
        more_rows.addRow("Background", self._background)
        more_rows.addRow("Side", self._side)
        for field in (self._margin, self._background, self._side):
            field.setMinimumWidth(FIELD_PX)
        columns = QHBoxLayout()
        columns.addWidget(fields, 1)
        columns.addWidget(self._picture)
        self.column.addLayout(columns)
        self._debounce = DebounceTimer(self)
        self._debounce.timeout.connect(self._remeasure)
        self._margin.valueChanged.connect(self._on_edited)
        self._background.currentIndexChanged.connect(self._on_edited)
        self._side.valueChanged.connect(self._on_edited)
        self.follow(session.commit_requested, self._debounce.flush)
        self.follow(session.shown, self._show_picture)
        for signal in (session.shown, session.events.pending_options, self._options.edited, self._options.changed):
            self.follow(signal, self._update)
        self._update()
        self._show_picture()

    def _update(self) -> None:
        config, controls = self._options.get(self.session).roi, (self._margin, self._background, self._side)
        for control in controls:
            control.blockSignals(True)
        set_spin_box_value(self._margin, 100 * config.margin)
        self._background.setCurrentIndex(self._background.findData(config.background))
        set_spin_box_value(self._side, config.side_px)
        for control in controls:
            control.blockSignals(False)

    def _show_picture(self) -> None:
        """Show the region of the current lesion; its options change at each step of a slider, the lesion later."""
        lesion = self.session.lesion
        self._picture.setVisible(lesion is not None and lesion.result.roi is not None)
        if lesion is None or lesion.result.roi is None:
            return
        size, smooth = THUMBNAIL_PX, Qt.TransformationMode.SmoothTransformation
        picture = QPixmap.fromImage(to_qimage(lesion.result.roi.image))
        self._picture.setPixmap(picture.scaled(size, size, Qt.AspectRatioMode.KeepAspectRatio, smooth))

    def _on_edited(self) -> None:
        options = self._options.get(self.session)
        changes = {
            "margin": round(self._margin.value() / 100, 4),
            "background": self._background.currentData(),
            "side_px": self._side.value(),
        }
        self._options.edit(self.session, options.model_copy(update={"roi": options.roi.model_copy(update=changes)}))
        self._debounce.start()

    def _remeasure(self) -> None:
        if self.session.masked_lesion is not None:
            self.session.services.controller.remeasure(self.session)


class MaskControls(QWidget):
    """Controls of threshold and refinement: the contour follows at once, the mask after a pause.

    ``state``: why they are disabled, with the reset, and how many lesions were found.
    """

    def __init__(self, session: PhotographSession) -> None:
        super().__init__()
        self._session, self._options, self._controller = session, session.services.options, session.services.controller
        self._threshold: float | None = None  # None for the model's default
        tip = "Pixels with at least this probability are lesion. The contour is updated while you move the slider."
        self._slider = named(QSlider(Qt.Orientation.Horizontal), "threshold_slider", "Threshold", tip)
        self._slider.setRange(1, SLIDER_STEPS - 1)
        self._box = named(DecimalBox(), "threshold", "Threshold value", tip)
        self._box.setRange(1 / SLIDER_STEPS, 1 - 1 / SLIDER_STEPS)
        self._box.setSingleStep(1 / SLIDER_STEPS)
        self._box.setDecimals(2)
        self._box.setButtonSymbols(DecimalBox.ButtonSymbols.NoButtons)
        self._box.setFixedWidth(52)
        self._reset = tool_button(
            "threshold_reset", "Default threshold", "Reset to the model's default threshold", "Reset"
        )
        self._largest = named(QCheckBox("Largest only"), "largest_only", "Keep the largest lesion only")
        self._largest.setToolTip("Keep one lesion: the largest, or the selected one. If off, keep all detected ones.")
        self._fill = named(QCheckBox("Fill"), "fill_holes", "Fill holes", "Fill holes inside the border")
        self._smooth = named(QCheckBox("Smooth"), "smooth", "Smooth border", "Smooth the probability first")
        self.state = self._make_state()
        layout = form_layout(self)
        layout.addRow("Threshold", row(self._slider, self._box, self._reset, stretch=0))
        layout.addRow(row(self._largest, self._fill, self._smooth))
        self.debounce = DebounceTimer(self)
        self.debounce.timeout.connect(self._rederive)
        self.update_options()
        self._slider.valueChanged.connect(self._on_slider)
        self._box.valueChanged.connect(self._on_box)
        self._reset.clicked.connect(self._on_reset)
        for check in (self._largest, self._fill, self._smooth):
            check.toggled.connect(self._on_check)

    def update_options(self) -> None:
        """Show the options of the photograph; they are disabled for a mask that they would replace."""
        lesion, options = self._session.lesion, self._options.get(self._session)
        refinement, self._threshold = options.refinement, options.threshold
        notice, is_predicted = "", lesion is None or lesion.result.is_predicted
        if lesion is not None:
            self._options.default_threshold = lesion.result.model.threshold
            saved = "" if lesion.unsaved else self._session.saved_mask
            if not is_predicted:
                notice = f"{saved} {NOT_PREDICTED_NOTICE}".strip()
            elif lesion.corrected:
                notice = f"{saved or CORRECTED} {PROTECTED_NOTICE}"
        if notice:
            self.debounce.stop()
        checks = {
            self._largest: refinement.largest_only,
            self._fill: refinement.fill_holes,
            self._smooth: refinement.smoothing > 0,
        }
        for control in (*checks, self._slider, self._box):
            control.blockSignals(True)
            control.setEnabled(not notice)
        for check, value in checks.items():
            check.setChecked(value)
        threshold = self._options.default_threshold if options.threshold is None else options.threshold
        self._slider.setValue(round(SLIDER_STEPS * threshold))
        set_spin_box_value(self._box, threshold)
        for control in (*checks, self._slider, self._box):
            control.blockSignals(False)
        self._reset.setEnabled(options.threshold is not None and not notice)
        self._notice_label.setText(notice)
        set_shown(self._revert_button, bool(notice) and is_predicted)
        set_shown(self._notice, bool(notice))
        other_lesions = "" if lesion is None else describe_other_lesions(lesion.result)
        show_text(self._lesion_count_label, other_lesions and f"{other_lesions} {OTHER_LESIONS_ADVICE}")
        set_shown(self.state, bool(notice or other_lesions))

    def _make_state(self) -> QWidget:
        self._notice_label = state_label("mask_state", "State of the mask", quiet=True)
        self._revert_button = named(
            QPushButton("Reset mask"),
            "revert",
            "Reset to predicted mask",
            "Replace your corrections by the predicted mask. Ctrl+Z restores them.",
        )
        self._revert_button.clicked.connect(self._revert)
        self._revert_button.hide()
        self._lesion_count_label = state_label("several_lesions", "Other lesions", quiet=True)
        self._notice = row(self._notice_label, self._revert_button, stretch=0)
        return column(self._notice, self._lesion_count_label)

    def _on_slider(self, position: int) -> None:
        self._set_threshold(position / SLIDER_STEPS)

    def _on_box(self, value: float) -> None:
        self._set_threshold(round(value, 2))

    def _on_reset(self) -> None:
        self._set_threshold(None)

    def _set_threshold(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._store_options()
        lesion = self._session.masked_lesion
        if lesion is not None and not lesion.corrected:
            self._controller.preview(self._session)
        self.debounce.start()

    def _on_check(self) -> None:
        self.debounce.stop()
        self._store_options()
        self._rederive()

    def _store_options(self) -> None:
        options = self._options.get(self._session)
        smoothing = options.refinement.smoothing or RefinementConfig().smoothing
        changes = {
            "largest_only": self._largest.isChecked(),
            "fill_holes": self._fill.isChecked(),
            "smoothing": smoothing if self._smooth.isChecked() else 0.0,
        }
        refinement = options.refinement.model_copy(update=changes)
        changed = options.model_copy(update={"threshold": self._threshold, "refinement": refinement})
        self._options.edit(self._session, changed)

    def _rederive(self) -> None:
        lesion = self._session.masked_lesion
        if lesion is not None and not lesion.corrected:
            self._controller.rederive(self._session)

    def _revert(self) -> None:
        if self._session.masked_lesion is not None:
            self._controller.rederive(self._session)


class LabelsTool(QWidget):
    """The button that makes a Labels layer the mask; hidden if no layer of the user or of another plugin is open."""

    chosen = Signal(object)  # Labels

    def __init__(self, viewer: Viewer, icons: ThemedIcons) -> None:
        super().__init__()
        self._viewer = viewer
        self._button = tool_button("use_labels", "Use a Labels layer", LABELS_TIP, "Use a Labels layer...")
        icons.add(self._button, "new_labels")
        self._menu = named(QMenu(self), "labels_layers", "Labels layers")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self._button))
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
