"""Where an answer comes from: whether it is shown, by which method, and how strongly."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from napari_melanoma.ui.answer.words import class_title
from napari_melanoma.ui.editors import StillCombo
from napari_melanoma.ui.look import named, row
from napari_melanoma.ui.settings import Settings

METHODS = {
    "grad_cam": ("Grad-CAM", "Which places of the network's last map raise the answer. Quick."),
    "cam": ("CAM", "What the network's head says of each place by itself. Quick."),
    "occlusion": ("Occlusion", "How much is lost where a patch is covered. Takes a few seconds."),
    "integrated_gradients": ("Integrated gradients", "Which pixels the answer rests on. Takes a few seconds."),
}
STEPS, USUAL = 100, 60


class HeatmapControls(QWidget):
    """A tick, a list of methods and a slider, remembered for the next day."""

    wanted = Signal()
    faded = Signal(float)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        named(self, "heatmap_controls", "Heatmap").setToolTip("")
        self._settings = settings
        tip = "Show as a layer which places of the picture the answer comes from"
        self.check = named(QCheckBox("heatmap"), "heatmap", "Heatmap", tip)
        self.combo = named(StillCombo(), "heatmap_method", "Method of the heatmap", "How it is found")
        self.combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for place, (name, (title, about)) in enumerate(METHODS.items()):
            self.combo.addItem(title, name)
            self.combo.setItemData(place, about, Qt.ItemDataRole.ToolTipRole)
        tip = "Of which class it is shown what speaks for it"
        self.classes = named(StillCombo(), "heatmap_class", "Class that the heatmap explains", tip)
        self.classes.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._known: tuple[str, ...] = ()
        self.slider = named(QSlider(Qt.Orientation.Horizontal), "heatmap_opacity", "Opacity of the heatmap")
        self.slider.setRange(0, STEPS)
        self.slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.check.setChecked(settings.kept("lesion/heatmap", False))
        self.combo.setCurrentIndex(max(0, self.combo.findData(settings.kept("lesion/heatmap_method", "grad_cam"))))
        self.slider.setValue(settings.kept("lesion/heatmap_opacity", USUAL))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.check, self.combo, stretch=1))
        self._which = row(QLabel("for"), self.classes, stretch=1)
        self._which.hide()
        layout.addWidget(self._which)
        layout.addWidget(row(QLabel("opacity"), self.slider, stretch=1))
        self.check.toggled.connect(self._on_changed)
        self.combo.activated.connect(self._on_changed)
        self.classes.activated.connect(self._on_changed)
        self.slider.valueChanged.connect(self._on_slider)
        self._show_state()

    @property
    def method(self) -> str:
        """How the heatmap is found; empty where none is wanted."""
        return str(self.combo.currentData()) if self.check.isChecked() else ""

    @property
    def target(self) -> str:
        """The class that the heatmap explains; empty for the positive one where there are only two."""
        return str(self.classes.currentData() or "")

    def show_classes(self, classes: tuple[str, ...], positive: str) -> None:
        """Offer a choice of more than two classes; of two, what speaks for one speaks against the other."""
        several = classes if len(classes) > 2 else ()
        if several != self._known:
            self._known = several
            self.classes.clear()
            for name in several:
                self.classes.addItem(class_title(name), name)
            self.classes.setCurrentIndex(max(0, self.classes.findData(positive)))
            self._which.setVisible(bool(several))

    @property
    def opacity(self) -> float:
        """Of the hottest place, in [0, 1]."""
        return float(self.slider.value() / STEPS)

    def _on_changed(self, _: object = None) -> None:
        self._settings.keep("lesion/heatmap", self.check.isChecked())
        self._settings.keep("lesion/heatmap_method", str(self.combo.currentData()))
        self._show_state()
        self.wanted.emit()

    def _on_slider(self, value: int) -> None:
        self._settings.keep("lesion/heatmap_opacity", value)
        self.faded.emit(self.opacity)

    def _show_state(self) -> None:
        on = self.check.isChecked()
        self.combo.setEnabled(on)
        self.classes.setEnabled(on)
        self.slider.setEnabled(on)
