"""The widgets of the Prediction section: texts, charts and heatmap controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QSlider,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.formatting import to_sentence
from napari_melanoma.data.table_schema import field_title, format_field_value
from napari_melanoma.ui.sections.prediction.resolve import class_title
from napari_melanoma.ui.session.heatmap_options import HEATMAP_METHODS, PERCENT
from napari_melanoma.ui.widgets.charts import MIN_CHANGE_SCALE, Bar, BarChart
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, fill_column, named, row
from napari_melanoma.ui.widgets.validity import NoticeLabel, ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction, Contribution, NearestCase
    from napari_melanoma.ui.sections.prediction.resolve import HeatmapView, PredictionView

MIN_ROW_PX = 18
OUTDATED_DELAY_MS = 200  # the note is not shown for faster updates, so that the layout does not jump
MAX_CLASSES = 7  # with a row of their own; the others share one row
MIN_SHOWN_CHANGE = 0.005  # half of the last digit shown


class NearestCasesTable(QTreeWidget):
    """The most similar training cases: diagnosis, image and distance."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "nearest", "Most similar training cases").setToolTip("")
        self.setHeaderLabels(["Diagnosis", "Image", "Distance"])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)

    def show_cases(self, cases: Sequence[NearestCase]) -> None:
        """List the cases; the column of images is hidden if none is known."""
        self.clear()
        for case in cases:
            item = QTreeWidgetItem([class_title(case.diagnosis), case.image_id, f"{case.distance:.3g}"])
            item.setToolTip(1, case.image_id)
            item.setTextAlignment(2, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.addTopLevelItem(item)
        self.setColumnHidden(1, not any(case.image_id for case in cases))
        height = self.header().sizeHint().height() + sum(
            max(self.sizeHintForRow(row), MIN_ROW_PX) for row in range(len(cases))
        )
        self.setFixedHeight(height + 2 * self.frameWidth() + 2)


class PredictionPanel(QWidget):
    """Shows a prediction, or why there is none."""

    def __init__(self, icons: ThemedIcons, heatmap: QWidget | None = None) -> None:
        super().__init__()
        named(self, "prediction_content", "Prediction").setToolTip("")
        self.hint = named(WrappedLabel(), "prediction_hint", "Why there is no prediction")
        self.hint.setProperty("quiet", True)
        self.hint.setToolTip("")
        self.hint.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.saved_notice = NoticeLabel("prediction_saved", "Saved prediction")
        self.live = _make_quiet_label("prediction_live", "Predictions while diagnoses are given")
        self.live.hide()
        self.warning = NoticeLabel("prediction_warning", "Warnings")
        self.verdict = named(WrappedLabel(), "prediction_verdict", "Prediction as text")
        self.verdict.setProperty("loud", True)
        self.verdict.setToolTip("")
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.classes = BarChart(icons, "prediction_classes", "Class probabilities")
        self.operating_point_text = _make_quiet_label("prediction_threshold", "Decision threshold")
        self.contributions_title = _make_quiet_label("prediction_effects_title", "Effect of the patient data")
        self.contributions_title.setText("Effect of the patient data")
        self.contributions = BarChart(icons, "prediction_effects", "Effect of each field")
        self.form_text = _make_quiet_label("prediction_without_metadata_text", "Prediction without patient data")
        self.nearest_title = _make_quiet_label("nearest_title", "Most similar training cases")
        self.nearest_title.setText("Most similar training cases")
        self.nearest = NearestCasesTable()
        self.details = QWidget()
        inner = QVBoxLayout(self.details)
        column = QVBoxLayout(self)
        for layout in (inner, column):
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(4)
        heatmap_controls: tuple[QWidget, ...] = () if heatmap is None else (heatmap,)
        parts = (
            self.verdict,
            self.classes,
            *heatmap_controls,  # above the texts that change with the patient data, so that it does not move
            self.operating_point_text,
            self.warning,
            self.contributions_title,
            self.contributions,
            self.form_text,
            self.nearest_title,
            self.nearest,
        )
        self.validity = ValidityNotice(icons, "prediction", *parts)
        inner.addWidget(self.validity)
        column.addWidget(self.hint)
        column.addWidget(self.saved_notice)
        column.addWidget(self.live)
        column.addWidget(self.details)
        self._outdated = ""
        self._delay_timer = QTimer(self)
        self._delay_timer.setSingleShot(True)
        self._delay_timer.setInterval(OUTDATED_DELAY_MS)
        self._delay_timer.timeout.connect(lambda: self.saved_notice.set_text(self._outdated))
        self.show_message("")

    def show_view(self, view: PredictionView) -> None:
        """Show a prediction, a saved one, or why there is none."""
        if view.prediction is None:
            self.show_message(view.reason)
        elif view.reason:
            self.show_saved_prediction(view.prediction, view.note, view.reason)
        else:
            self.show_prediction(view.prediction, is_pending=not view.is_current, outdated=view.note)

    def show_live(self, text: str) -> None:
        """Show the predictions of a photograph that is being labeled; empty for others."""
        _set_label_text(self.live, text)

    def show_message(self, message: str) -> None:
        """Show why there is no prediction."""
        self._mark_outdated("")
        self.hint.setText(message)
        self.hint.setVisible(bool(message))
        self.details.hide()

    def show_saved_prediction(self, prediction: ClassPrediction, note: str, message: str) -> None:
        """Show a saved prediction with a ``note`` about it, and a ``message`` why there is no new one."""
        self.show_prediction(prediction, is_pending=True)
        self.hint.setText(message)
        self.hint.show()
        self.saved_notice.set_text(note)

    def show_prediction(self, prediction: ClassPrediction, *, is_pending: bool, outdated: str = "") -> None:
        """Show a prediction; ``outdated``: a note that the inputs have changed, shown after a delay."""
        self.hint.hide()
        self._mark_outdated(outdated)
        self.details.setEnabled(not is_pending)
        self.validity.show_validity(prediction.validity, (prediction.model.fingerprint, prediction.probabilities))
        self.verdict.setText(
            format_verdict(prediction) if prediction.validity.valid else f"{prediction.probability_text}."
        )
        self.classes.show_rows(class_bars(prediction))
        _set_label_text(self.operating_point_text, format_operating_point(prediction))
        self.warning.set_text(format_warnings(prediction))
        rows, end = contribution_bars(prediction)
        self.contributions_title.setVisible(bool(rows))
        self.contributions.show_rows(rows, -end, end)
        _set_label_text(self.form_text, describe_form_use(prediction))
        self.nearest_title.setVisible(bool(prediction.neighbours))
        self.nearest.setVisible(bool(prediction.neighbours))
        self.nearest.show_cases(prediction.neighbours)
        self.details.show()

    def _mark_outdated(self, outdated: str) -> None:
        """Show a note that the prediction is outdated after a delay; empty removes it."""
        if outdated and outdated == self._outdated:
            return
        self._outdated = outdated
        self.saved_notice.set_text("")
        if outdated:
            self._delay_timer.start()
        else:
            self._delay_timer.stop()


def _make_quiet_label(name: str, accessible_name: str) -> WrappedLabel:
    label = named(WrappedLabel(), name, accessible_name)
    label.setProperty("quiet", True)
    label.setToolTip("")
    return label


def _set_label_text(label: WrappedLabel, text: str) -> None:
    label.setText(text)
    label.setVisible(bool(text))


class HeatmapControls(QWidget):
    """Check box, method, class and opacity of the heatmap; ``edited``: name and value of a field of the options."""

    edited = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "heatmap_controls", "Heatmap").setToolTip("")
        tip = "Show the image regions that contribute to the prediction as a layer"
        self._check = named(QCheckBox("heatmap"), "heatmap", "Heatmap", tip)
        self._methods = named(NoWheelComboBox(), "heatmap_method", "Heatmap method", "Heatmap method")
        self._methods.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for index, (name, (title, tooltip)) in enumerate(HEATMAP_METHODS.items()):
            self._methods.addItem(title, name)
            self._methods.setItemData(index, tooltip, Qt.ItemDataRole.ToolTipRole)
        self._classes = named(NoWheelComboBox(), "heatmap_class", "Class that the heatmap explains")
        self._classes.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._class_row = row(QLabel("for"), self._classes, stretch=1)
        self._shown_classes: dict[str, str] = {}  # name to text
        self._slider = named(QSlider(Qt.Orientation.Horizontal), "heatmap_opacity", "Heatmap opacity")
        self._slider.setRange(0, PERCENT)
        self.notice = NoticeLabel("heatmap_notice", "Note on the heatmap")
        self.notice.label.setTextFormat(Qt.TextFormat.RichText)  # with a link
        self.notice.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        rows = (row(self._check, self._methods, stretch=1), self._class_row)
        fill_column(self, *rows, row(QLabel("opacity"), self._slider, stretch=1), self.notice, spacing=4)
        self.layout().setContentsMargins(0, 2, 0, 0)
        self._check.toggled.connect(lambda on: self.edited.emit("is_shown", on))
        self._methods.activated.connect(lambda _: self.edited.emit("method", self._methods.currentData()))
        self._classes.activated.connect(lambda _: self.edited.emit("target", self._classes.currentData()))
        self._slider.valueChanged.connect(lambda value: self.edited.emit("opacity", value))

    def show_view(self, view: HeatmapView) -> None:
        """Show the options, the classes to choose from, and why there is no heatmap."""
        options = view.options
        blockers = [QSignalBlocker(part) for part in (self._check, self._slider)]
        self._check.setChecked(options.is_shown)
        self._slider.setValue(options.opacity)
        for blocker in blockers:
            blocker.unblock()
        self._methods.setCurrentIndex(self._methods.findData(options.method))
        classes = {
            "": f"{class_title(view.predicted)} (predicted)",
            **{name: class_title(name) for name in view.classes},
        }
        if classes != self._shown_classes:
            self._shown_classes = classes
            self._classes.clear()
            for name, title in classes.items():
                self._classes.addItem(title, name)
        self._classes.setCurrentIndex(max(0, self._classes.findData(options.target)))
        self._class_row.setVisible(bool(view.classes))
        for part in (self._methods, self._classes, self._slider):
            part.setEnabled(options.is_shown)
        self.notice.set_text(view.notice)


def class_bars(prediction: ClassPrediction) -> list[Bar]:
    """Return one row for each class, the most probable first; of many classes, the least probable ones share a row.

    The scale is 0 to 1. Classes outside the prediction set are faint; the positive class always has its own row.
    """
    ranked = sorted(zip(prediction.classes, prediction.probabilities, strict=True), key=lambda pair: -pair[1])
    shown = ranked
    if len(ranked) > MAX_CLASSES + 1:
        shown = sorted(ranked, key=lambda pair: pair[0] != prediction.positive)[:MAX_CLASSES]
    rows = [_class_bar(prediction, *pair) for pair in ranked if pair in shown]
    others = [pair for pair in ranked if pair not in shown]
    if others:
        total = sum(probability for _, probability in others)
        tip = ", ".join(f"{class_title(name)} {probability:.2f}" for name, probability in others)
        rows.append(Bar(f"{len(others)} others", f"{total:.2f}", total, faint=True, tip=tip))
    return rows


def _class_bar(prediction: ClassPrediction, name: str, probability: float) -> Bar:
    is_positive, possible = name == prediction.positive, name in prediction.possible
    point = prediction.operating_point if is_positive else None
    interval = prediction.interval if is_positive else None
    digits = prediction.digits if is_positive else 2
    lines = [f"{class_title(name)}: probability {probability:.{max(3, digits)}f}"]
    if interval is not None:
        lines[0] += f" ({interval[0]:.3f} to {interval[1]:.3f})"
    if prediction.calibrated:
        lines.append(_describe_membership(class_title(name).lower(), possible, prediction.coverage))
    if point is not None:
        lines.append(f"Dotted line: decision threshold {point.threshold:.{digits}f}.")
    mark = None if point is None else point.threshold
    faint = prediction.calibrated and not possible
    tip = "\n".join(lines)
    return Bar(class_title(name), f"{probability:.{digits}f}", probability, interval, mark, is_positive, faint, tip)


def _describe_membership(name: str, possible: bool, coverage: float) -> str:
    """Explain why a class is in the prediction set, or is not."""
    from napari_melanoma.classification.prediction import format_rarity

    if possible:
        return f"In the prediction set with {100 * coverage:g} % coverage."
    return f"Unusual for {name}: {format_rarity(name, coverage)}."


def contribution_bars(prediction: ClassPrediction) -> tuple[list[Bar], float]:
    """Return one row for each field of the patient data, and the end of the symmetric scale.

    A row shows the effect of a field on the probability of the positive class; the largest effect comes first, unknown
    fields last.
    """
    changes = sorted(prediction.contributions, key=lambda change: -abs(change.change))
    rows = [_contribution_bar(prediction, change) for change in changes]
    rows += [
        Bar(field_title(name), "unknown", faint=True, tip=f"{field_title(name)}: enter a value to see its effect.")
        for name in prediction.missing
    ]
    return rows, max((abs(change.change) for change in changes), default=0.0) * 1.1 + MIN_CHANGE_SCALE


def _contribution_bar(prediction: ClassPrediction, change: Contribution) -> Bar:
    title, without = field_title(change.field), prediction.probability - change.change
    text = "0" if abs(change.change) < MIN_SHOWN_CHANGE else f"{change.change:+.2f}".replace("-", "\N{MINUS SIGN}")
    tip = (
        f"Without {title.lower()}, the probability of {class_title(prediction.positive).lower()} is {without:.2f} "
        f"instead of {prediction.probability:.2f}."
    )
    return Bar(f"{title} {format_field_value(change.field, change.value)}", text, change.change, tip=tip)


def format_verdict(prediction: ClassPrediction) -> str:
    """Format the prediction as a sentence, such as ``Inconclusive: melanoma 0.31 (95 % interval 0.20–0.44).``."""
    return to_sentence(prediction.verdict)


def format_operating_point(prediction: ClassPrediction) -> str:
    """Compare the prediction with the decision threshold in a sentence; empty if the model has none."""
    return to_sentence(prediction.threshold_text)


def format_warnings(prediction: ClassPrediction) -> str:
    """Return the warnings, one sentence in each line."""
    return "\n".join(to_sentence(warning) for warning in prediction.warnings)


def describe_form_use(prediction: ClassPrediction) -> str:
    """Describe the prediction without patient data, and fields that the model does not use; may be empty."""
    sentences = []
    if prediction.contributions:
        sentences.append(
            f"From the image only: {class_title(prediction.positive).lower()} {prediction.from_image:.2f}."
        )
    if prediction.unused:
        names = ", ".join(field_title(name).lower() for name in prediction.unused)
        sentences.append(f"Not used by this model: {names}.")
    return " ".join(sentences)


def format_short_verdict(prediction: ClassPrediction) -> str:
    """Format the prediction for a list: ``melanoma 0.31 (95 % interval 0.20–0.44)``, or ``Not valid``, and its mark."""
    from napari_melanoma.core.validity import NOT_VALID

    validity = prediction.validity
    if validity.valid:
        return f"{prediction.probability_text}{'; type assumed' if 'modality_uncertain' in validity.codes else ''}"
    return f"{NOT_VALID}: out of distribution" if validity.codes[0] == "out_of_distribution" else NOT_VALID
