"""How the mask is made from the probability: threshold with preview, refinement, and which lesion is meant."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFrame, QPushButton, QSlider, QVBoxLayout, QWidget

from napari_melanoma.analysis.refinement import RefinementConfig
from napari_melanoma.ui.for_all import ForAll
from napari_melanoma.ui.look import ThemedIcons, form, named, quiet, row, tool
from napari_melanoma.ui.number_box import show_value
from napari_melanoma.ui.settling import Settling

STEPS = 100


class MaskControls(QWidget):
    """Threshold and refinement."""

    moved = Signal()
    settled = Signal()
    reverted = Signal()

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._refinement = RefinementConfig()
        self._threshold: float | None = None
        self._own = 0.5
        tip = "Where the probability is at or above it is lesion. The contour follows while you move it."
        self._slider = named(QSlider(Qt.Orientation.Horizontal), "threshold_slider", "Threshold", tip)
        self._slider.setRange(1, STEPS - 1)
        self._box = named(QDoubleSpinBox(), "threshold", "Threshold value", tip)
        self._box.setRange(1 / STEPS, 1 - 1 / STEPS)
        self._box.setSingleStep(1 / STEPS)
        self._box.setDecimals(2)
        self._box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self._box.setFixedWidth(52)
        self._reset = tool("threshold_reset", "The model's own threshold", "Back to the model's own threshold", "reset")
        self._largest = named(QCheckBox("largest only"), "largest_only", "Keep the largest lesion only")
        self._largest.setToolTip("Keep one lesion: the largest, or the one you chose. Off: all that were found.")
        self._fill = named(QCheckBox("fill"), "fill_holes", "Fill holes", "Fill holes inside the border")
        self._smooth = named(QCheckBox("smooth"), "smooth", "Smooth border", "Smooth the probability first")
        self._notice = self._corrected_notice()
        self.for_all = ForAll("mask_for_all", "threshold and refinement")
        layout = form(self)
        self._several = quiet()
        self._several.setObjectName("several_lesions")
        self._several.hide()
        layout.addRow(self._notice)
        layout.addRow(self._several)
        layout.addRow("threshold", row(self._slider, self._box, self._reset, stretch=0))
        layout.addRow(row(self._largest, self._fill, self._smooth))
        layout.addRow(self.for_all)
        self.settling = Settling(self)
        self.settling.timeout.connect(self.settled)
        self.set_values(None, self._refinement)
        self._slider.valueChanged.connect(self._on_slider)
        self._box.valueChanged.connect(self._on_box)
        self._reset.clicked.connect(self._on_reset)
        for check in (self._largest, self._fill, self._smooth):
            check.toggled.connect(self._on_check)

    @property
    def threshold(self) -> float | None:
        """The threshold, or None for the model's own."""
        return self._threshold

    @property
    def refinement(self) -> RefinementConfig:
        """The refinement as it is shown."""
        smoothing = self._refinement.smoothing or RefinementConfig().smoothing
        return self._refinement.model_copy(
            update={
                "largest_only": self._largest.isChecked(),
                "fill_holes": self._fill.isChecked(),
                "smoothing": smoothing if self._smooth.isChecked() else 0.0,
            }
        )

    def set_values(self, threshold: float | None, refinement: RefinementConfig) -> None:
        """Show options without telling anybody; what was to be told of others is forgotten."""
        self.settling.stop()
        self._threshold = threshold
        self._refinement = refinement
        checks = {
            self._largest: refinement.largest_only,
            self._fill: refinement.fill_holes,
            self._smooth: refinement.smoothing > 0,
        }
        for check, value in checks.items():
            check.blockSignals(True)
            check.setChecked(value)
            check.blockSignals(False)
        self._show_threshold()

    def set_own(self, threshold: float) -> None:
        """Say what the model's own threshold is."""
        self._own = threshold
        self._show_threshold()

    def set_several(self, text: str) -> None:
        """Say how many lesions were found, where there are several."""
        self._several.setText(text)
        self._several.setVisible(bool(text))

    def set_corrected(self, corrected: bool) -> None:
        """Switch the controls off while the mask is one that was drawn by hand: they would replace it."""
        if corrected:
            self.settling.stop()
        self._notice.setVisible(corrected)
        for control in (self._slider, self._box, self._reset, self._largest, self._fill, self._smooth):
            control.setEnabled(not corrected)
        self._show_threshold()

    def _corrected_notice(self) -> QWidget:
        notice = QFrame()
        notice.setObjectName("notice")
        words = quiet("Corrected by hand. Threshold and refinement would replace your drawing.")
        back = named(
            QPushButton("Back to the model's mask"),
            "revert",
            "Back to the model's mask",
            "Make the mask from the model's answer again. Ctrl+Z brings your drawing back.",
        )
        back.clicked.connect(self.reverted)
        layout = QVBoxLayout(notice)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(words)
        layout.addWidget(back)
        notice.hide()
        return notice

    def _show_threshold(self) -> None:
        value = self._own if self._threshold is None else self._threshold
        for control in (self._slider, self._box):
            control.blockSignals(True)
        self._slider.setValue(round(STEPS * value))
        show_value(self._box, value)
        for control in (self._slider, self._box):
            control.blockSignals(False)
        self._reset.setEnabled(self._threshold is not None and self._slider.isEnabled())

    def _on_slider(self, position: int) -> None:
        self._take(position / STEPS)

    def _on_box(self, value: float) -> None:
        self._take(round(value, 2))

    def _on_reset(self) -> None:
        self._take(None)

    def _take(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._show_threshold()
        self.moved.emit()
        self.settling.start()

    def _on_check(self) -> None:
        self._refinement = self.refinement
        self.settling.stop()
        self.settled.emit()
