"""The Prediction section of a photograph: its verdict, charts and heatmap controls, or why there is none."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
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

from napari_melanoma.core.formatting import capitalize, format_class, to_sentence
from napari_melanoma.data.table_schema import field_title, format_field_value
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.session.photograph_predictions import HEATMAP_METHODS, PERCENT
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.charts import MIN_CHANGE_SCALE, Bar, BarChart
from napari_melanoma.ui.widgets.dock_layout import AnswerCard
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, fill_column, named, row, show_text, state_label
from napari_melanoma.ui.widgets.validity import NoticeLabel, ValidityNotice

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.events import Event

    from napari_melanoma.classification.prediction import ClassPrediction, Contribution, NearestCase
    from napari_melanoma.ui.session.open_photograph import HeatmapKey, PredictionHeatmap
    from napari_melanoma.ui.session.photograph import PhotographSession

NOT_ANALYZED = "Class probabilities follow from the segmented lesion."
NEXT_STEP = "Press Analyze to segment, measure and classify the lesion."
NO_PREDICTION, NO_CLASSIFIER = "No prediction for this lesion.", "No prediction: no classifier is selected."
HIDDEN = "Not shown while the photograph is not in view."
SAVED = "Saved with an earlier result"
OTHER_SHOWN = "Press <i>Analyze</i> for a prediction of the segmented lesion."  # besides other predictions
NO_MODEL_SELECTED = "Select a <i>classifier</i> to predict the diagnosis."
OUTDATED = "Outdated: a new prediction is being computed"
STOPPED = "Canceled. There is no prediction for this lesion."
HEATMAP_STOPPED = "Canceled. There is no heatmap for this prediction."
OUTDATED_DELAY_MS = 200  # the text does not change for faster updates
MAX_CLASSES = 7  # with a row of their own; the others share one row
MIN_SHOWN_CHANGE = 0.005  # half of the last digit shown


class PhotographHeatmapLayer:
    """Shows the heatmap of the prediction in one layer, and requests it.

    A layer that the user hides, removes or fades in napari's list of layers changes the options.
    """

    def __init__(self, session: PhotographSession) -> None:
        self._session, self._options = session, session.services.predictions.heatmap_options
        self._shown: PredictionHeatmap | None = None
        self._requested: HeatmapKey | None = None
        self._layer: Image | None = None  # of which changes are followed
        self._is_visible = False  # after the last update
        # Later, as the photograph is hidden or removed with its layers, in any order.
        self._timer = DebounceTimer(session.owner, 0)
        self._timer.timeout.connect(self._follow_layer)
        session.follow(session.viewer.layers.events.removed, self._on_removed)
        for signal in (session.events.prediction, session.events.heatmap, self._options.changed):
            session.follow(signal, self._update)
        session.follow(session.displayed.changed, self._on_displayed)
        session.follow(session.image.events.visible, self._on_image)
        self._update()

    def _on_displayed(self) -> None:
        self._shown = self._requested = None  # shows the layer again, which was hidden with the photograph
        self._update()

    def _on_image(self, event: Event) -> None:
        if self._session.image.visible:
            self._shown = None  # shows the layer again, which was hidden with the photograph for a slide
            self._update()

    def _update(self) -> None:
        session, options, heatmap = self._session, self._options.value, self._session.heatmap
        if not (session.is_open and session.displayed.value):
            return
        key = options.make_key(session.prediction)
        is_known = key is not None and heatmap is not None and heatmap.applies_to(key)
        previous, self._shown = self._shown, heatmap if is_known else None
        values = None if self._shown is None else self._shown.values
        layer = photographs.find_layer(session.viewer, session.image, "heatmap")
        if values is not None and (layer is None or self._shown is not previous):
            layer = layers.show_heatmap(session.viewer, session.image, values, options.opacity / PERCENT)
        elif layer is not None and values is None and (is_known or key is None or key.method != "cam"):
            layer.visible = False  # kept, to be shown again for the same prediction; until a fast one it stays visible
        layers.fade_heatmaps(session.viewer, options.opacity / PERCENT)
        self._is_visible = layer is not None and layer.visible
        if layer is not None and layer != self._layer:
            self._layer = layer
            for event in (layer.events.visible, layer.events.opacity):
                session.follow(event, self._on_layer)
        requested, self._requested = self._requested, None if is_known else key
        if self._requested is not None and self._requested != requested:
            session.services.predictions.request_heatmap(session)

    def _on_layer(self, event: Event) -> None:
        self._timer.start()

    def _on_removed(self, event: Event) -> None:
        if event.value == self._layer:
            self._timer.start()

    def _follow_layer(self) -> None:
        """Change the options as the user has changed the layer; one that is hidden with its photograph is no choice."""
        session, opacity = self._session, self._options.value.opacity
        if not (session.is_open and session.displayed.value and session.image.visible):
            return
        layer = photographs.find_layer(session.viewer, session.image, "heatmap")
        changes: dict[str, Any] = {}
        if (is_visible := layer is not None and layer.visible) != self._is_visible:
            changes["is_shown"] = is_visible
        if layer is not None and layer.opacity != opacity / PERCENT:
            changes["opacity"] = round(PERCENT * layer.opacity)
        if changes:
            self._options.edit(**changes)


def find_prediction(session: PhotographSession) -> tuple[ClassPrediction | None, bool]:
    """Return the last prediction of a photograph by the selected classifier, and whether it is up to date."""
    outcome = session.prediction
    is_current = session.current_prediction is not None and not session.is_mask_changing
    is_of_model = session.prediction_key is not None and session.prediction_key.model == session.classifier
    if outcome is None or not (is_current or (is_of_model and outcome.key.model == session.classifier)):
        return None, is_current
    return outcome.prediction, is_current


class PredictionSummary(PhotographSection):
    """The answer of the dock, which does not scroll: the prediction, or what to do for one."""

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._answer = AnswerCard("prediction_summary", "Prediction")
        self.add(self._answer)
        self._delay_timer = DebounceTimer(self, OUTDATED_DELAY_MS)
        self._delay_timer.timeout.connect(self._show_answer)
        events = session.events
        for signal in (events.prediction, events.prediction_key, events.saved_prediction, events.classifier):
            self.follow(signal, self._update)
        for signal in (events.is_mask_edited, session.patient_changed, session.shown, session.services.hidden.changed):
            self.follow(signal, self._update)
        self._update()
        self._delay_timer.flush()

    def _update(self) -> None:
        prediction, is_current = find_prediction(self.session)
        self._answer.setEnabled(is_current)
        if not self._delay_timer.isActive():
            self._delay_timer.start()
        if is_current or prediction is None:
            self._delay_timer.flush()

    def _show_answer(self) -> None:
        (prediction, is_current), saved = find_prediction(self.session), self.session.saved_prediction
        if self.session.services.hidden.value:
            self._answer.set_hint(HIDDEN)
        elif prediction is not None:
            self._show_prediction(prediction, "" if is_current else OUTDATED)
        elif saved is not None:
            self._show_prediction(saved.prediction, SAVED)
        else:
            self._answer.set_hint(self._describe_next())

    def _show_prediction(self, prediction: ClassPrediction, note: str) -> None:
        """Show a prediction; ``note``: why it is not of the current lesion, empty if it is."""
        self._answer.show_headline(prediction.headline, note)

    def _describe_next(self) -> str:
        if self.session.lesion is None:
            return NEXT_STEP
        return NO_CLASSIFIER if not self.session.classifier else NO_PREDICTION


class PredictionSection(PhotographSection):
    """Shows the prediction of a photograph, and the controls of its heatmap."""

    parts = (PhotographHeatmapLayer,)

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._predictions, self._icons = session.services.predictions, session.services.icons
        self._heatmap = HeatmapControls(session, self._explain_missing_heatmap)
        self._panel = PredictionPanel(self._icons, self._heatmap)
        self.add(self._panel)
        for label in (self._panel.hint, self._heatmap.notice.label):
            label.linkActivated.connect(self._on_link)
        events = session.events
        for signal in (events.prediction, events.prediction_key, events.saved_prediction, events.pending_options):
            self.follow(signal, self._update)
        for signal in (events.classifier, events.is_mask_edited, session.patient_changed, session.shown):
            self.follow(signal, self._update)
        self.follow(user_data().models_changed, self._update)
        for slot in (self._update_live, self._update):
            self.follow(session.workspace.live_predictions.changed, slot)
        for signal in (events.prediction, events.heatmap, self._predictions.heatmap_options.changed):
            self.follow(signal, self._heatmap.update_options)
        self._update()
        self._update_live()

    def _update(self) -> None:
        """Show the last prediction, also one that is outdated; else a saved one, and why there is none."""
        session, panel = self.session, self._panel
        prediction, is_current = find_prediction(session)
        if prediction is not None:
            panel.show_prediction(prediction, is_pending=not is_current)
            return
        reason, saved = self._explain_missing(is_current=is_current), session.saved_prediction
        if saved is None:
            panel.show_message(reason)
        else:
            digest = None if session.lesion is None else session.lesion.mask_digest
            row, modality = session.patient_data.row, session.source.modality
            note = saved.describe_status(session.classifier, digest, row, modality)
            panel.show_saved_prediction(saved.prediction, note, reason)

    def _explain_missing(self, *, is_current: bool) -> str:
        """Explain why there is no prediction, as rich text."""
        session, link = self.session, self._icons.link
        if not session.classifier:
            add = f"{link('train', 'Train one')}, or add one with <i>napari-melanoma models import</i>"
            is_any = self._predictions.has_models
            return NO_MODEL_SELECTED if is_any else f"No classification model is installed. {add}."
        if session.prediction_key is None:
            return OTHER_SHOWN if session.saved_prediction is not None or self._live_text else NOT_ANALYZED
        if not is_current or session.prediction is None:
            return "Predicting ..."
        return f"{html.escape(capitalize(session.prediction.error)) or STOPPED} {link('again', 'Predict again')}"

    def _explain_missing_heatmap(self, heatmap: PredictionHeatmap) -> str:
        """Explain why no heatmap can be seen, as rich text; empty if there is one."""
        from napari_melanoma.classification.prediction import EMPTY_HEATMAP

        if heatmap.values is None:
            error = html.escape(to_sentence(heatmap.error)) or HEATMAP_STOPPED
            return f"{error} {self._icons.link('heatmap', 'Compute again')}"
        target = class_title(heatmap.key.target).lower()
        return "" if heatmap.values.any() else html.escape(to_sentence(EMPTY_HEATMAP.format(target=target)))

    @property
    def _live_text(self) -> str:
        path, predictions = self.session.path, self.session.workspace.live_predictions
        return "" if path is None else predictions.value.get(path, "")

    def _update_live(self) -> None:
        show_text(self._panel.live, self._live_text)

    def _on_link(self, link: str) -> None:
        if link == "again":
            self._predictions.repeat(self.session)
        elif link == "heatmap":
            self.session.heatmap = None  # its layer requests it again
        else:
            self.session.services.status.link_activated.emit(link)


def class_title(word: str) -> str:
    """Return the title of a class from the taxonomy of diagnoses, else the capitalized name."""
    taxonomy = load_taxonomy("diagnosis")
    return taxonomy.title(word) if word in taxonomy.entries else capitalize(format_class(word.replace("_", " ")))


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
            item = QTreeWidgetItem([class_title(case.diagnosis), case.image_id, f"{case.distance:.2f}"])
            item.setToolTip(1, case.image_id)
            item.setTextAlignment(2, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.addTopLevelItem(item)
        self.setColumnHidden(1, not any(case.image_id for case in cases))
        rows = max(0, self.sizeHintForRow(0)) * len(cases)
        self.setFixedHeight(self.header().sizeHint().height() + rows + 2 * self.frameWidth())


class PredictionPanel(QWidget):
    """Shows a prediction, or why there is none, but not its headline, which the answer of the dock states."""

    def __init__(self, icons: ThemedIcons, heatmap: QWidget | None = None) -> None:
        super().__init__()
        named(self, "prediction_content", "Prediction").setToolTip("")
        self.hint = named(WrappedLabel(), "prediction_hint", "Why there is no prediction")
        self.hint.setProperty("quiet", True)
        self.hint.setToolTip("")
        self.hint.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.saved_notice = NoticeLabel("prediction_saved", "Saved prediction")
        self.live = state_label("prediction_live", "Predictions while diagnoses are given", quiet=True)
        self.live.hide()
        self.warning = NoticeLabel("prediction_warning", "Warnings")
        self.classes = BarChart(icons, "prediction_classes", "Class probabilities")
        self.operating_point_text = state_label("prediction_threshold", "Decision threshold", quiet=True)
        self.contributions_title = state_label("prediction_effects_title", "Effect of the patient data", quiet=True)
        self.contributions_title.setText("Effect of the patient data")
        self.contributions = BarChart(icons, "prediction_effects", "Effect of each field")
        self.form_text = state_label("prediction_without_metadata_text", "Prediction without patient data", quiet=True)
        self.nearest_title = state_label("nearest_title", "Most similar training cases", quiet=True)
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
        for widget in (self.live, self.details):
            column.addWidget(widget)
        self.show_message("")

    def show_message(self, message: str) -> None:
        """Show why there is no prediction."""
        self.saved_notice.set_text("")
        self.hint.setText(message)
        self.hint.setVisible(bool(message))
        self.details.hide()

    def show_saved_prediction(self, prediction: ClassPrediction, note: str, message: str) -> None:
        """Show a saved prediction with a ``note`` about it, and a ``message`` why there is no new one."""
        self.show_prediction(prediction, is_pending=True)
        self.hint.setText(message)
        self.hint.show()
        self.saved_notice.set_text(note)

    def show_prediction(self, prediction: ClassPrediction, *, is_pending: bool) -> None:
        """Show a prediction; ``is_pending``: it is not of the current lesion."""
        self.hint.hide()
        self.saved_notice.set_text("")
        self.details.setEnabled(not is_pending)
        self.validity.show_validity(prediction.validity, (prediction.model.fingerprint, prediction.probabilities))
        self.validity.headline_label.hide()  # the answer of the dock states it
        self.classes.show_rows(class_bars(prediction))
        show_text(self.operating_point_text, format_operating_point(prediction))
        self.warning.set_text(format_warnings(prediction))
        rows, end = contribution_bars(prediction)
        self.contributions_title.setVisible(bool(rows))
        self.contributions.show_rows(rows, -end, end)
        self.form_text.setText(describe_form_use(prediction))
        self.form_text.setVisible(bool(describe_form_use(prediction)))
        self.nearest_title.setVisible(bool(prediction.neighbours))
        self.nearest.setVisible(bool(prediction.neighbours))
        self.nearest.show_cases(prediction.neighbours)
        self.details.show()


class HeatmapControls(QWidget):
    """Check box, method, class and opacity of the heatmap.

    ``explain``: returns why no heatmap can be seen, as rich text, as an empty one looks as if it were missing.
    """

    def __init__(self, session: PhotographSession, explain: Callable[[PredictionHeatmap], str]) -> None:
        super().__init__()
        self._session, self._options, self._explain = session, session.services.predictions.heatmap_options, explain
        named(self, "heatmap_controls", "Heatmap").setToolTip("")
        tip = "Show the image regions that contribute to the prediction as a layer"
        self._check = named(QCheckBox("Heatmap"), "heatmap", "Heatmap", tip)
        self._methods = named(NoWheelComboBox(), "heatmap_method", "Heatmap method", "Heatmap method")
        for index, (name, (title, tooltip)) in enumerate(HEATMAP_METHODS.items()):
            self._methods.addItem(title, name)
            self._methods.setItemData(index, tooltip, Qt.ItemDataRole.ToolTipRole)
        self._classes = named(NoWheelComboBox(), "heatmap_class", "Class that the heatmap explains")
        for combo in (self._methods, self._classes):
            combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._class_row = row(QLabel("For"), self._classes, stretch=1)
        self._shown_classes: dict[str, str] = {}  # name to text
        self._slider = named(QSlider(Qt.Orientation.Horizontal), "heatmap_opacity", "Heatmap opacity")
        self._slider.setRange(0, PERCENT)
        self.notice = NoticeLabel("heatmap_notice", "Note on the heatmap")
        self.notice.label.setTextFormat(Qt.TextFormat.RichText)  # with a link
        self.notice.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self._opacity_row = row(QLabel("Opacity"), self._slider, stretch=1)
        rows = (row(self._check, self._methods, stretch=1), self._class_row, self._opacity_row)
        fill_column(self, *rows, self.notice, spacing=4)
        self.layout().setContentsMargins(0, 2, 0, 0)
        edit = self._options.edit
        self._check.toggled.connect(lambda on: edit(is_shown=on))
        self._methods.activated.connect(lambda _: edit(method=self._methods.currentData()))
        self._classes.activated.connect(lambda _: edit(target=self._classes.currentData()))
        self._slider.valueChanged.connect(lambda value: edit(opacity=value))
        self.update_options()

    def update_options(self) -> None:
        """Show the options, the classes to choose from, and why there is no heatmap."""
        options, outcome, heatmap = self._options.value, self._session.prediction, self._session.heatmap
        blockers = [QSignalBlocker(part) for part in (self._check, self._slider)]
        self._check.setChecked(options.is_shown)
        self._slider.setValue(options.opacity)
        for blocker in blockers:
            blocker.unblock()
        self._methods.setCurrentIndex(self._methods.findData(options.method))
        prediction = None if outcome is None else outcome.prediction
        names = () if prediction is None else prediction.classes
        predicted = "" if prediction is None else class_title(prediction.predicted)
        classes = {"": f"{predicted} (predicted)"} | {name: class_title(name) for name in names}
        if classes != self._shown_classes:
            self._shown_classes = classes
            self._classes.clear()
            for name, title in classes.items():
                self._classes.addItem(title, name)
        self._classes.setCurrentIndex(max(0, self._classes.findData(options.target)))
        self._class_row.setVisible(options.is_shown and bool(names))
        for part in (self._methods, self._opacity_row):
            part.setVisible(options.is_shown)
        key = options.make_key(outcome)
        is_known = heatmap is not None and key is not None and heatmap.applies_to(key)
        self.notice.set_text(self._explain(heatmap) if heatmap is not None and is_known else "")


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


def format_headline(prediction: ClassPrediction) -> str:
    """Format the headline, and what cannot be ruled out, as sentences."""
    return to_sentence(prediction.headline.statement)


def format_operating_point(prediction: ClassPrediction) -> str:
    """Describe the decision threshold in a sentence; empty if the model has none."""
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
    """Format the prediction for a list: ``melanoma 0.31``, or ``Not valid``, and its mark, without the interval."""
    from napari_melanoma.core.validity import NOT_VALID

    validity = prediction.validity
    if validity.valid:
        assumed = "; type assumed" if "modality_uncertain" in validity.codes else ""
        return f"{prediction.positive} {prediction.probability:.{prediction.digits}f}{assumed}"
    return f"{NOT_VALID}: out of distribution" if validity.codes[0] == "out_of_distribution" else NOT_VALID
