"""The panel of the Paint section: accuracy by leaving out strokes, confusions, learning curve and advice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.widgets.charts import BarChart, CurvePoint, SmallCurve
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named

if TYPE_CHECKING:
    from napari_melanoma.slides.tissue_classifier.validation import Validation
    from napari_melanoma.ui.sections.paint.resolve import PanelView
    from napari_melanoma.ui.widgets.style import ThemedIcons


class PaintPanel(QWidget):
    """Strokes and cells of each class, how well left-out strokes are predicted, and what to paint next."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.chart = BarChart(icons, "paint_accuracy", "Accuracy of the classes")
        self.curve = SmallCurve(icons, "paint_curve", "Balanced accuracy", "strokes of each class")
        self.confusion_label = _label("paint_confusions", "Confusions of classes")
        self.area_label = _label("paint_areas", "Areas of the classes")
        self.warning_label = _label("paint_warnings", "What the accuracy does not cover")
        self.choice_label = _label("paint_choice", "Chosen features and classifier")
        fill_column(
            self,
            self.chart,
            self.confusion_label,
            self.curve,
            self.area_label,
            self.warning_label,
            self.choice_label,
        )

    def show_view(self, view: PanelView, validation: Validation | None) -> None:
        """Show a validation; ``view``: its texts."""
        self.chart.show_rows(view.rows)
        texts = (view.confusions, view.areas, view.warnings, view.choice)
        labels = (self.confusion_label, self.area_label, self.warning_label, self.choice_label)
        for label, text in zip(labels, texts, strict=True):
            label.setText(text)
            label.setVisible(bool(text))
        points = () if validation is None else validation.curve
        self.curve.show_points([CurvePoint(one.strokes, one.mean, one.low, one.high) for one in points])


def _label(name: str, accessible_name: str) -> WrappedLabel:
    label = named(WrappedLabel(), name, accessible_name)
    label.setToolTip("")
    label.setProperty("quiet", True)
    label.hide()
    return label
