"""Pages of the selected lesion or image, and the lesion's risk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_melanoma.case.model import Case, CaseImage, CaseLesion
from napari_melanoma.core.formatting import format_count
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.reports.risk_section import format_known_data, format_probability, to_sentence
from napari_melanoma.ui.body_map.chart import site_word
from napari_melanoma.ui.body_map.widget import BodyMap
from napari_melanoma.ui.case import formatting
from napari_melanoma.ui.case.tree import NO_LESION
from napari_melanoma.ui.lesion.prediction_view import NoticeLabel, PredictionSection, field_title
from napari_melanoma.ui.slide.risk import view as bars
from napari_melanoma.ui.widgets.charts import BarChart
from napari_melanoma.ui.widgets.clinical_fields import FINDINGS_FIELDS, IMAGE_FIELDS, LESION_FIELDS, CaseForm
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, quiet_label, row, section, tool_button
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_melanoma.case.model import CaseRisk
    from napari_melanoma.case.predictions import CaseLesionPrediction

NEW_LESION = "new"
OUTDATED = "Outdated: the case has changed since ({}). Open the slide and estimate again in the section Risk."
CONFLICTING_FIELDS = "The case differs from the data used for this prediction: {}."
SHARES = "Contribution of each part"


class LesionPage(QWidget):
    """Page of a lesion: prediction, risk, site, diagnosis and findings."""

    def __init__(self, icons: ThemedIcons, settings: DockSettings) -> None:
        super().__init__()
        self.title = named(create_heading(), "lesion_title", "Selected lesion")
        self.title.setToolTip("")
        self.confirm_button = tool_button(
            "lesion_confirm", "Confirm the guesses", "Confirm all guessed values", "confirm"
        )
        self.body_map = BodyMap(icons)
        self.comparison_label = named(WrappedLabel(), "lesion_odd", "How it compares with the patient's other lesions")
        self.comparison_label.setToolTip("")
        self.prediction_section = PredictionSection(icons)
        prediction = QWidget()
        layout = QVBoxLayout(prediction)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.comparison_label)
        layout.addWidget(self.prediction_section)
        diagnosis, findings = (
            CaseForm("lesion", LESION_FIELDS, "lesion_form"),
            CaseForm("lesion", FINDINGS_FIELDS, "findings_form"),
        )
        self.forms = (diagnosis, findings)
        self.risk = CaseRiskSection(icons)
        self._risk_section = section("Risk", "case_risk", self.risk, settings, True)
        self._sections = (
            section("Prediction", "case_answer", prediction, settings, True),
            self._risk_section,
            section("Site", "case_place", self.body_map, settings, True),
            section("Diagnosis", "case_diagnosis", diagnosis, settings, True),
            section("Findings", "case_findings", findings, settings, False),
        )
        icons.add_sections(*self._sections)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(row(self.title, self.confirm_button, stretch=0))
        for part in self._sections:
            column.addWidget(part)

    def show_lesion(self, case: Case, lesion: CaseLesion, editable: bool) -> None:
        """Show a lesion."""
        self.title.setText(f"Lesion {formatting.number_lesions(case)[lesion.id]}: {formatting.format_site(lesion)}")
        self.body_map.set_lesions(formatting.create_body_marks(case), lesion.id)
        self.body_map.set_site(site_word(lesion.site, lesion.sub_site), lesion.laterality)
        self.body_map.setEnabled(editable)
        for form in self.forms:
            form.show_part(lesion, editable)
        self._risk_section.setVisible(self.risk.show_lesion(case, lesion))
        update_confirm_button(self.confirm_button, len(lesion.guesses), editable)

    def show_prediction(self, prediction: CaseLesionPrediction | None, current: bool, reason: str) -> None:
        """Show the prediction for the lesion, or why there is none."""
        if prediction is None:
            self.comparison_label.hide()
            self.prediction_section.show_message(reason)
            return
        images = format_count(len(prediction.image_ids), "image")
        outlier = "" if prediction.outlier is None else f" It is {prediction.outlier.description}."
        self.comparison_label.setText(
            f"From {images}.{outlier}" if current else f"Outdated: the case has changed since. {reason}"
        )
        self.comparison_label.show()
        self.prediction_section.show_prediction(prediction.prediction, is_pending=not current)


class ImagePage(QWidget):
    """Page of an image: its lesion and acquisition."""

    lesion_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.title = named(create_heading(), "image_title", "Selected image")
        self.title.setToolTip("")
        self.confirm_button = tool_button(
            "image_confirm", "Confirm the guesses", "Confirm all guessed values", "confirm"
        )
        self.lesion_combo = named(
            NoWheelComboBox(), "image_lesion", "Lesion", "The lesion of this image; same as dragging it there"
        )
        self.lesion_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.form = CaseForm("image", IMAGE_FIELDS, "image_form")
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 0, 0)  # as in a section
        column.setSpacing(4)
        column.addWidget(row(self.title, self.confirm_button, stretch=0))
        column.addWidget(quiet_label("Lesion"))
        column.addWidget(self.lesion_combo)
        column.addWidget(self.form)
        self.lesion_combo.activated.connect(self._on_lesion)

    def show_image(self, case: Case, lesion: CaseLesion | None, image: CaseImage, editable: bool) -> None:
        """Show an image."""
        self.title.setText(image.path.name)
        self.title.setToolTip(str(image.path))
        self.lesion_combo.clear()
        numbers = formatting.number_lesions(case)
        for one in case.lesions:
            guess = " ?" if one is lesion and "lesion" in image.guesses else ""
            self.lesion_combo.addItem(
                f"{numbers[one.id]}  {formatting.format_site(one).removesuffix(' ?')}{guess}", one.id
            )
        self.lesion_combo.addItem("Not assigned", NO_LESION)
        self.lesion_combo.addItem("New lesion", NEW_LESION)
        self.lesion_combo.setCurrentIndex(self.lesion_combo.findData(NO_LESION if lesion is None else lesion.id))
        self.lesion_combo.setEnabled(editable)
        self.form.show_part(image, editable)
        update_confirm_button(self.confirm_button, len(image.guesses), editable)

    def _on_lesion(self, index: int) -> None:
        self.lesion_chosen.emit(str(self.lesion_combo.currentData()))


def create_heading() -> QElidingLabel:
    """Create a bold plain-text title, elided if necessary."""
    label = QElidingLabel()
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def update_confirm_button(button: QAbstractButton, count: int, editable: bool) -> None:
    """Show the number of guesses to confirm; hidden without guesses."""
    button.setText(f"{format_count(count, 'guess')} ✓")
    button.setVisible(count > 0)
    button.setEnabled(editable)


class CaseRiskSection(QWidget):
    """Risk prediction as bars and text."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.outdated_label = NoticeLabel("case_risk_old", "Changes since the prediction")
        self.verdict = _create_line("case_risk_verdict", "Risk in words")
        self.verdict.setProperty("loud", True)
        self.caution = NoticeLabel("case_risk_caution", "Limitations of the prediction")
        self.bar = BarChart(icons, "case_risk_bar", "Probability of metastasis with its interval")
        self.title = _create_line("case_risk_parts", SHARES)
        self.title.setText(SHARES)
        self.shares = BarChart(icons, "case_risk_shares", SHARES)
        self.other_methods = BarChart(icons, "case_risk_beside", "Predictions of other methods")
        self.basis_label = _create_line("case_risk_about", "Inputs of the prediction")
        self.basis_label.setProperty("quiet", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        numbers = (self.verdict, self.bar, self.other_methods, self.title, self.shares)
        self.validity = ValidityNotice(icons, "case_risk", *numbers)
        for part in (self.outdated_label, self.validity, self.caution, self.basis_label):
            column.addWidget(part)

    def show_lesion(self, case: Case, lesion: CaseLesion) -> bool:
        """Show the risk of a lesion; return False if there is none."""
        from napari_melanoma.case.results import find_changed_fields, find_overruled_fields, latest_risk, risk_to_json

        latest = latest_risk(lesion)
        if latest is None:
            return False
        image, risk = latest
        changes = [field_title(name).lower() for name in find_changed_fields(case, lesion, image, risk)]
        values = risk_to_json(risk)
        self.outdated_label.set_text(OUTDATED.format(", ".join(changes)) if changes else "")
        for part in (self.verdict, self.bar, self.other_methods, self.shares):
            part.setEnabled(not changes)
        validity = risk.known_validity
        self.validity.show_validity(validity, (risk.path, risk.created))
        self.verdict.setText(to_sentence(risk.verdict if validity.valid else format_probability(values)))
        conflicts = _format_conflicts(find_overruled_fields(case, lesion, image, risk))
        self.caution.set_text("\n".join([*conflicts, *map(to_sentence, risk.warnings)]))
        self.bar.show_rows(bars.make_risk_bars(values))
        self.other_methods.show_rows(bars.make_method_bars(values))
        rows, end = bars.make_share_bars(values)
        self.shares.show_rows(rows, -end, end)
        for part in (self.title, self.shares):
            part.setVisible(bool(rows))
        self.basis_label.setText(_describe_basis(image.path.name, risk))
        return True


def _format_conflicts(cells: Mapping[str, tuple[str, str]]) -> list[str]:
    """Describe the values of the case, and the values used instead."""
    parts = []
    for name, (stored, used) in cells.items():
        used_text = f"{_format_cell(name, used)} was used" if used else "it was treated as unknown"
        parts.append(f"{field_title(name).lower()} is {_format_cell(name, stored)}, but {used_text}")
    return [CONFLICTING_FIELDS.format("; ".join(parts))] if parts else []


def _format_cell(name: str, cell: str) -> str:
    """Format a stored value with its unit."""
    column = find_column(name)
    if column is None:
        return cell
    text = {"1": "yes", "0": "no"}.get(cell, cell) if column.kind == "yes_no" else cell
    return f"{text} {column.unit}".rstrip()


def _describe_basis(slide: str, risk: CaseRisk) -> str:
    """Describe the inputs of a prediction."""
    missing = ", ".join(field_title(name).lower() for name in risk.missing)
    parts = (
        to_sentence(risk.depth) if risk.depth else "",
        f"Known: {format_known_data(risk.known)}." if risk.known else "",
        f"Unknown: {missing}." if missing else "",
        f"From {slide}, by {risk.model}. Research use only; not for diagnosis.",
    )
    return " ".join(filter(None, parts))


def _create_line(name: str, label_text: str) -> WrappedLabel:
    label = named(WrappedLabel(), name, label_text)
    label.setToolTip("")
    return label
