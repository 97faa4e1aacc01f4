"""How the region of interest is cut, and what it looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_melanoma.core.region import RoiConfig
from napari_melanoma.ui.for_all import ForAll
from napari_melanoma.ui.look import form, named
from napari_melanoma.ui.number_box import show_value
from napari_melanoma.ui.settling import Settling

if TYPE_CHECKING:
    from napari_melanoma.analysis.roi import Roi

THUMBNAIL_PX = 96
FIELD_PX = 76  # Qt claims more, and would push what lies beside out of sight


class RoiControls(QWidget):
    """Margin, background and side, with the region beside them."""

    settled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._config = RoiConfig()
        self._margin = named(
            QDoubleSpinBox(), "margin", "Margin", "Added on each side, in % of the lesion's longer side"
        )
        self._margin.setRange(0, 200)
        self._margin.setDecimals(1)
        self._margin.setSuffix(" %")
        self._background = named(QComboBox(), "background", "Background", "The skin around the lesion in the image")
        self._background.addItem("black", "zero")
        self._background.addItem("keep skin", "keep")
        self._side = named(QSpinBox(), "side", "Side", "Side of the region's image after resizing")
        self._side.setRange(8, 4096)
        self._side.setSuffix(" px")
        self._picture = named(QLabel(), "roi_picture", "Region of interest", "The region of interest as it is saved")
        self._picture.setFixedSize(THUMBNAIL_PX, THUMBNAIL_PX)
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        fields = QWidget()
        rows = form(fields)
        rows.addRow("margin", self._margin)
        rows.addRow("background", self._background)
        rows.addRow("side", self._side)
        for field in (self._margin, self._background, self._side):
            field.setMinimumWidth(FIELD_PX)
        self.for_all = ForAll("roi_for_all", "region of interest")
        both = QHBoxLayout()
        both.addWidget(fields, 1)
        both.addWidget(self._picture)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(both)
        layout.addWidget(self.for_all)
        self.settling = Settling(self)
        self.settling.timeout.connect(self.settled)
        self.config = self._config
        self._margin.valueChanged.connect(self._on_changed)
        self._background.currentIndexChanged.connect(self._on_changed)
        self._side.valueChanged.connect(self._on_changed)

    @property
    def config(self) -> RoiConfig:
        """The options as they are shown; setting them tells nobody, also not of what was to be told of others."""
        return self._config

    @config.setter
    def config(self, config: RoiConfig) -> None:
        self.settling.stop()
        for control in (self._margin, self._background, self._side):
            control.blockSignals(True)
        show_value(self._margin, 100 * config.margin)
        self._background.setCurrentIndex(self._background.findData(config.background))
        show_value(self._side, config.side_px)
        for control in (self._margin, self._background, self._side):
            control.blockSignals(False)
        self._config = config

    def show_roi(self, roi: Roi | None) -> None:
        """Show the region's image."""
        if roi is None:
            self._picture.clear()
            return
        side = roi.image.shape[0]
        image = QImage(roi.image.tobytes(), side, side, 3 * side, QImage.Format.Format_RGB888)
        size = THUMBNAIL_PX
        smooth = Qt.TransformationMode.SmoothTransformation
        self._picture.setPixmap(QPixmap.fromImage(image).scaled(size, size, Qt.AspectRatioMode.KeepAspectRatio, smooth))

    def _on_changed(self) -> None:
        self._config = self._config.model_copy(
            update={
                "margin": round(self._margin.value() / 100, 4),
                "background": self._background.currentData(),
                "side_px": self._side.value(),
            }
        )
        self.settling.start()
