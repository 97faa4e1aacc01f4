"""The panel of the Paint section: accuracy by leaving out strokes, confusions, areas and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.widgets.charts import BarChart
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named

if TYPE_CHECKING:
    from napari_melanoma.ui.sections.paint.resolve import PanelView
    from napari_melanoma.ui.widgets.style import ThemedIcons


class PaintPanel(QWidget):
    """Strokes and cells of each class, how well left-out strokes are predicted, and what to paint next."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.chart = BarChart(icons, "paint_accuracy", "Accuracy of the classes")
        self.confusion_label = _label("paint_confusions", "Confusions of classes")
        self.area_label = _label("paint_areas", "Areas of the classes")
        self.warning_label = _label("paint_warnings", "What the accuracy does not cover")
        for name, is_set in (("quiet", False), ("fault", True)):
            self.warning_label.setProperty(name, is_set)
        fill_column(self, self.warning_label, self.chart, self.confusion_label, self.area_label)

    def show_view(self, view: PanelView) -> None:
        """Show a validation."""
        self.chart.show_rows(view.rows)
        texts = (view.confusions, view.areas, view.warnings)
        labels = (self.confusion_label, self.area_label, self.warning_label)
        for label, text in zip(labels, texts, strict=True):
            label.setText(text)
            label.setVisible(bool(text))


def _label(name: str, accessible_name: str) -> WrappedLabel:
    label = named(WrappedLabel(), name, accessible_name)
    label.setToolTip("")
    label.setProperty("quiet", True)
    label.hide()
    return label
