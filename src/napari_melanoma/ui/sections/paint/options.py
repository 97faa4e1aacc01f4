"""The options of the Paint section: the features by which cells are classified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_melanoma.slides.tissue_classifier.classifier import DEFAULT_SOURCES, TissueFitOptions
from napari_melanoma.slides.tissue_classifier.feature_sources import SHIPPED_SOURCES
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import WrappedLabel, column, fill_column, form_layout, named, section

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.style import ThemedIcons

AUTOMATIC, FEATURES_SETTING = "automatic", "paint/features"
FEATURES = dict(
    zip((AUTOMATIC, *SHIPPED_SOURCES), (AUTOMATIC, "ImageNet", "texture", "ImageNet and texture"), strict=True)
)
FEATURES_TIP = (
    "Features of each cell. automatic: those that predict left-out strokes best; the choice and the "
    "accuracy of all are stated below. Others: only these are used, also in the saved model"
)


class OptionsRow(QWidget):
    """The collapsible row of the options. ``changed``: the user has selected other features."""

    changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self.features_box = named(NoWheelComboBox(), "paint_features", "Features", FEATURES_TIP)
        for features, text in FEATURES.items():
            self.features_box.addItem(text, features)
        stored = self.features_box.findData(settings.get(FEATURES_SETTING, AUTOMATIC))
        self.features_box.setCurrentIndex(max(0, stored))
        self.choice_label = named(WrappedLabel(), "paint_choice", "Chosen features and classifier")
        self.choice_label.setToolTip("")
        self.choice_label.setProperty("quiet", True)
        fields = QWidget()
        form_layout(fields).addRow(QLabel("features"), self.features_box)
        content = column(fields, self.choice_label)
        self.frame = section("Options", "paint_options", content, settings, is_open=False)
        icons.add_sections(self.frame)
        fill_column(self, self.frame)
        self.features_box.currentIndexChanged.connect(
            lambda _: settings.set(FEATURES_SETTING, self.features_box.currentData())
        )
        self.features_box.currentIndexChanged.connect(lambda _: self.changed.emit())

    @property
    def fit(self) -> TissueFitOptions:
        """The options with which the command line fits the same classifier."""
        features = self.features_box.currentData()
        return TissueFitOptions(sources=DEFAULT_SOURCES if features == AUTOMATIC else (features,))
