"""The controls of the Case dock, with the pages of the selected lesion or image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_melanoma.case.model import FINDINGS, Case, CaseImage, CaseLesion, CaseRisk, number_lesions
from napari_melanoma.core.formatting import distinct_names, format_count, to_sentence
from napari_melanoma.data.body_sites import site_word
from napari_melanoma.data.table_schema import field_title, find_column, format_field_value
from napari_melanoma.reports.formatting import format_known_data, format_risk
from napari_melanoma.ui.body_map.widget import BodyMap, BodyMark
from napari_melanoma.ui.case.comparison import ComparisonView
from napari_melanoma.ui.case.controller import CaseSettings
from napari_melanoma.ui.case.tree import NEW_LESION, NO_LESION, PICTURE_PX, CaseTree, format_site
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.sections.prediction import PredictionPanel
from napari_melanoma.ui.viewer.docking import DeferredWidgets, DockPlacement
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.charts import BarChart
from napari_melanoma.ui.widgets.clinical_fields import (
    FINDINGS_FIELDS,
    IMAGE_FIELDS,
    LESION_FIELDS,
    PATIENT_FIELDS,
    CaseForm,
)
from napari_melanoma.ui.widgets.dock_layout import AnswerCard, DockParts, lay_out_dock
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.file_drop import FileDropHandler, Welcome
from napari_melanoma.ui.widgets.findings_form import FindingsForm
from napari_melanoma.ui.widgets.risk_bars import make_method_bars, make_risk_bars, make_share_bars
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import (
    CollapsibleSection,
    ThemedIcons,
    WrappedLabel,
    column,
    fill_column,
    named,
    quiet_label,
    row,
    scroll_area,
    section,
    section_title,
    tool_button,
)
from napari_melanoma.ui.widgets.thumbnails import ImageThumbnails
from napari_melanoma.ui.widgets.validity import NoticeLabel, ValidityNotice

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.case.results import CaseLesionPrediction


UNDO_KEY, REDO_KEY, OPEN_KEY, LESION_KEY, IMAGE_KEY = (
    format_key(f"case.{name}") for name in ("undo", "redo", "open", "add_lesion", "add_image")
)
OPEN_ONE_TIP = f"Open it in the viewer with its mask ({OPEN_KEY}; Enter or double click on an image)"
OPEN_SEVERAL_TIP = (
    f"Open them in the viewer, each with its mask ({OPEN_KEY}). A photograph that was never analyzed is analyzed when "
    "you show it."
)


class CaseControls(SectionDock):
    """All controls of the Case dock."""

    name = "case"
    settings: CaseSettings

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        named(self, "case_dock", "Case").setToolTip("")
        self.settings = CaseSettings()
        self.connections = Connections(self)
        DockPlacement(self, viewer, self.connections)
        self.icons = ThemedIcons(viewer, self, self.connections)
        self.welcome = CaseWelcome(self.icons)
        self.pictures = ImageThumbnails(2 * PICTURE_PX, self)
        self.title = named(create_heading(), "case_title", "Case")
        self.undo_button = tool_button("case_undo", "Undo", "", "↶")
        self.redo_button = tool_button("case_redo", "Redo", "", "↷")
        self.menu_button = tool_button("case_menu", "Case menu", "New, open, recent, add, close", "Case ▾")
        self.menu_button.setMenu(QMenu(self.menu_button))
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.notice = NoticeLabel("case_notice", "Notice")
        self.notice.label.setTextFormat(Qt.TextFormat.RichText)
        self.notice.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.patient_form = CaseForm("patient", PATIENT_FIELDS, "patient_form")
        self.tree = CaseTree(self.pictures.get)
        self.add_lesion_button = tool_button("add_lesion", "Add a lesion", f"A new lesion ({LESION_KEY})", "+ Lesion")
        self.add_image_button = tool_button(
            "add_image", "Add images", f"Add images, a folder, a table or DICOM ({IMAGE_KEY})"
        )
        self.add_image_button.setText("+ Image")
        self.predict_button = tool_button("case_answer", "Classify all lesions", "", "Classify")
        self.remove_button = tool_button(
            "case_remove", "Remove", "Remove the selection from the case (Delete); files are kept"
        )
        self.open_button = named(QPushButton("Open image"), "primary", "Open image")
        self.report_button = tool_button(
            "case_report", "Report", "Write the report of the case (HTML, optionally PDF)", "Report..."
        )
        self.tray_button = tool_button("case_tray", "Tray", "Show thumbnails of all images in the Tray", "Tray")
        self.answer = AnswerCard("case_headline", "Prediction for the selected lesion, or what to do next")
        self.lesion_page = LesionPage(self.icons, self.settings, self.answer)
        self.image_page = ImagePage()
        self.save_label = named(_create_elided_label(), "case_file", "Save state and location of the case")
        self.save_label.setProperty("quiet", True)
        self.status = StatusLine(self.icons)
        self.icons.add(self.remove_button, "delete")
        self.choice = SectionChoice(self)
        self.deferred = DeferredWidgets(self)
        self._lay_out()
        self.choice.update()
        self.drops = FileDropHandler(self)
        self.icons.apply()

    def list_places(self) -> dict[str, QWidget]:
        """Return the sections on a lesion, by title."""
        return {section_title(frame): frame for frame in self.lesion_page.sections}

    def add_section(self, frame: CollapsibleSection) -> None:
        """Add a section on a lesion below the others."""
        page = self.lesion_page
        self.icons.add_sections(frame)
        page.layout().insertWidget(page.layout().indexOf(page.sections[-1]) + 1, frame)
        page.sections = (*page.sections, frame)

    def _lay_out(self) -> None:
        self.patient_section = section("Patient", "case_patient", self.patient_form, self.settings, True)
        self.icons.add_sections(self.patient_section)
        self.lesion_page.layout().addWidget(row(self.choice.button))
        buttons = (self.add_lesion_button, self.add_image_button, self.remove_button)
        head = row(QLabel("<b>Lesions</b>"), *buttons, stretch=0)
        body = QWidget()
        fill_column(body, head, self.tree, self.patient_section, self.lesion_page, self.image_page)
        body.layout().setContentsMargins(6, 0, 4, 0)
        body.layout().addStretch(1)
        scroll = scroll_area(body, "case_scroll")
        scroll.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)  # pages differ in height
        for button in (self.predict_button, self.tray_button):
            button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self._stored = row(self.save_label, self.report_button, stretch=0)
        self._start_page = column(self.welcome)
        self._start_page.layout().setContentsMargins(6, 6, 6, 0)
        self._start_page.layout().addStretch(1)
        subject = row(
            self.title, self.lesion_page.title, self.undo_button, self.redo_button, self.menu_button, stretch=1
        )
        subject.layout().setStretch(0, 1)
        parts = DockParts(
            column(self._start_page, scroll, spacing=0),
            subject=[subject],
            act=[row(self.open_button, self.predict_button, self.tray_button, stretch=0)],
            answer=[self.answer],
            notices=[self.notice],
            footer=[self._stored, self.status],
        )
        self._scroll = scroll
        self._head, _ = lay_out_dock(self, parts)

    def update_visibility(self, is_open: bool) -> None:
        """Show the case, or the welcome page."""
        for part in (self.welcome, self._start_page):
            part.setVisible(not is_open)
        for part in (self._head, self._scroll, self._stored):
            part.setVisible(is_open)

    def update_actions(self, editable: bool, images: int, is_part: bool, undo_text: str, redo_text: str) -> None:
        """Enable the buttons, with the reason as tooltip where disabled.

        ``images``: number of selected images. ``is_part``: whether a lesion or image is selected. ``undo_text``,
        ``redo_text``: descriptions of the steps to undo and redo; empty if there are none.
        """
        for button, step, key in ((self.undo_button, undo_text, UNDO_KEY), (self.redo_button, redo_text, REDO_KEY)):
            name = button.accessibleName()
            button.setEnabled(editable and bool(step))
            button.setToolTip(f"{name}: {step} ({key})" if step else f"Nothing to {name.lower()} ({key})")
        for button in (self.add_lesion_button, self.add_image_button):
            button.setEnabled(editable)
        self.remove_button.setEnabled(editable and is_part)
        self.open_button.setEnabled(images > 0)
        self.open_button.setText("Open image" if images < 2 else f"Open {images:,} images")
        tip = OPEN_ONE_TIP if images < 2 else OPEN_SEVERAL_TIP
        self.open_button.setToolTip(tip if images else "Select an image, or a lesion with images")
        self.tree.set_editable(editable)

    def update_predict_button(self, reason: str) -> None:
        """Enable the button, or show the reason why it is disabled."""
        self.predict_button.setEnabled(not reason)
        tip = "Classify each lesion from all of its images, and compare it with the patient's other lesions"
        self.predict_button.setToolTip(f"{reason}." if reason else tip)


RECENT_LINK = "recent:"


class CaseWelcome(Welcome):
    """A drop area for the images of one patient."""

    def __init__(self, icons: ThemedIcons) -> None:
        self._recent: list[Path] = []
        super().__init__(icons)
        self.setAccessibleName("Drop the images of one patient here")
        self.setToolTip("A folder, images, a table (CSV) of images, DICOM files, or the folder of a case")

    def set_recent(self, folders: Sequence[Path]) -> None:
        """Set the list of recent cases."""
        self._recent = list(folders)[:5]
        self._update_text()

    def _update_text(self) -> None:
        """Write the text in the colors of the theme."""
        links = {name: self._icons.link(name, text) for name, text in LINKS.items()}
        recent = "<br>".join(self._icons.link(f"{RECENT_LINK}{path}", path.name) for path in self._recent)
        recent_cases = f"<p>Recent cases:<br>{recent}</p>" if recent else ""
        self._label.setText(
            "<p style='font-size: 14pt'>Drop the images of one patient here,</p>"
            f"<p style='font-size: 11pt'>or {links['folder']}, {links['open']}, {links['new']}, "
            f"or {links['sample']}.</p>"
            "<p>Lesions, sites and modalities are read from names, tables and headers; a note lists them. "
            f"All changes are saved automatically.</p>{recent_cases}"
        )


LINKS = {
    "folder": "choose their folder",
    "open": "open a case",
    "new": "create an empty one",
    "sample": "try the sample",
}

OPEN_HINT = "Open the image to see and to correct its mask."
SELECT_HINT = "Select a lesion to enter its site and findings, or an image."
EMPTY_NOTE = "The case is empty."
EMPTY_HINT = f"{EMPTY_NOTE} Drop images of the patient here, or add a lesion or images."
OUTDATED = "Outdated: the case has changed since ({}). Open the slide and estimate again in the section Risk."
CONFLICTING_FIELDS = "The case differs from the data used for this prediction: {}."
HISTOLOGY_NOTE = "Histology, as in the synoptic report of the lesion:"
LOCKED = "The findings are locked: {} has signed the synoptic report of the lesion. Reopen it to change them."
READ_ONLY = "The case cannot be changed."
SHARES = "Contribution of each part"


class LesionPage(QWidget):
    """Page of a lesion: prediction, risk, site, diagnosis and findings."""

    def __init__(self, icons: ThemedIcons, settings: DockSettings, answer: AnswerCard) -> None:
        super().__init__()
        self._answer = answer
        self.title = named(_create_elided_label(), "lesion_title", "Selected lesion")  # beside that of the case
        self.title.setProperty("quiet", True)
        self.lesion_id = ""
        self.body_map = BodyMap(icons)
        self.comparison_label = _create_label("lesion_odd", "How it compares with the patient's other lesions")
        self.prediction_section = PredictionPanel(icons)
        self.fusion_label = _create_label("case_fusion", "Photographs and slide")
        self.fusion_label.setProperty("quiet", True)
        prediction = QWidget()
        fill_column(prediction, self.comparison_label, self.prediction_section, self.fusion_label)
        diagnosis = CaseForm("lesion", LESION_FIELDS, "lesion_form")
        findings = CaseForm("lesion", FINDINGS_FIELDS, "findings_form")
        self.forms = (diagnosis, findings)
        self.histology = FindingsForm("lesion", FINDINGS)
        self.other_findings = _create_label("case_other_findings", "Findings of slides and of the synoptic report")
        self.other_findings.setProperty("quiet", True)
        entered = QWidget()
        fill_column(entered, findings, quiet_label(HISTOLOGY_NOTE), self.histology, self.other_findings)
        self.risk = CaseRiskSection(icons)
        self.comparison_view = ComparisonView()
        self.sections: tuple[CollapsibleSection, ...] = (
            section("Prediction", "case_answer", prediction, settings, True),
            section("Risk", "case_risk", self.risk, settings, True),
            section("Over time", "case_comparison", self.comparison_view, settings, True),
            section("Site", "case_place", self.body_map, settings, True),
            section("Diagnosis", "case_diagnosis", diagnosis, settings, True),
            section("Findings", "case_findings", entered, settings, False),
        )
        icons.add_sections(*self.sections)
        fill_column(self, *self.sections, spacing=2)

    def show_lesion(self, case: Case, lesion: CaseLesion, editable: bool) -> bool:
        """Show a lesion of a case, without its prediction; return whether there is a risk to show."""
        numbers = number_lesions(case)
        self.title.setText(f"Lesion {numbers[lesion.id]}: {format_site(lesion)}")
        self.title.setToolTip(self.title.text())
        marks = [
            BodyMark(one.id, numbers[one.id], site_word(one.site, one.sub_site), one.laterality, format_site(one))
            for one in case.lesions
        ]
        self.body_map.set_lesions(marks, lesion.id)
        self.body_map.set_site(site_word(lesion.site, lesion.sub_site), lesion.laterality)
        self.body_map.setEnabled(editable)
        for form in self.forms:
            form.show_part(lesion, editable)
        report = lesion.form
        lock = LOCKED.format(report.signed_by) if report.is_signed else "" if editable else READ_ONLY
        self.histology.show_report(report, lock, is_other=lesion.id != self.lesion_id)
        self.lesion_id = lesion.id
        texts = (describe_other_findings(lesion), *lesion.double_findings)
        self.other_findings.setText("\n".join(filter(None, texts)))
        self.other_findings.setVisible(bool(self.other_findings.text()))
        return self.risk.show_lesion(case, lesion)

    def show_prediction(
        self, prediction: CaseLesionPrediction | None, current: bool, reason: str, comparison: str = ""
    ) -> None:
        """Show the prediction for the lesion, or why there is none.

        ``current``: whether the prediction is up to date. ``reason``: why there is none, or how to update it.
        ``comparison``: how the lesion compares with the others.
        """
        if prediction is None:
            self._answer.set_hint(reason)
            return
        if current:
            self._answer.show_headline(prediction.prediction.headline)
        else:
            self._answer.set_hint(f"Outdated: the case has changed since. {reason}")
        images = format_count(len(prediction.image_ids), "image")
        self.comparison_label.setText(f"From {images}. {comparison}".strip())
        self.prediction_section.show_prediction(prediction.prediction, is_pending=not current)


def describe_other_findings(lesion: CaseLesion) -> str:
    """Describe the findings of a lesion in readings of its slides, a line for each reading; empty for none."""
    from napari_melanoma.depth.synoptic import describe_finding
    from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME

    found: dict[str, list[str]] = {}
    names = distinct_names([image.path for image in lesion.images])
    for image in lesion.images:
        for reading in (one for one in image.readings.readings if one.when):
            texts = {FIELDS_BY_NAME[name].label.lower(): describe_finding(reading, name) for name in FINDINGS}
            author = f"{names[image.path]}, reading by {reading.reader or '(no name)'}"
            found[author] = [f"{label} {text}" for label, text in texts.items() if text != "unknown"]
    return "\n".join(f"{author}: {', '.join(texts)}." for author, texts in found.items() if texts)


class ImagePage(QWidget):
    """Page of an image: its lesion and acquisition."""

    lesion_chosen = Signal(str)  # id of a lesion, NO_LESION or NEW_LESION

    def __init__(self) -> None:
        super().__init__()
        self.title = named(create_heading(), "image_title", "Selected image")
        self.title.setToolTip("")
        self.lesion_combo = named(
            NoWheelComboBox(), "image_lesion", "Lesion", "The lesion of this image; same as dragging it there"
        )
        self.lesion_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.form = CaseForm("image", IMAGE_FIELDS, "image_form")
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 0, 0)  # as in a section
        column.setSpacing(4)
        column.addWidget(self.title)
        column.addWidget(quiet_label("Lesion"))
        column.addWidget(self.lesion_combo)
        column.addWidget(self.form)
        self.lesion_combo.activated.connect(self._on_lesion)

    def show_image(self, case: Case, lesion: CaseLesion | None, image: CaseImage, editable: bool) -> None:
        """Show an image; ``lesion``: the lesion that it is assigned to, or None."""
        self.title.setText(distinct_names([one.path for _, one in case.iterate_images()])[image.path])
        self.title.setToolTip(str(image.path))
        self.lesion_combo.clear()
        numbers = number_lesions(case)
        for other in case.lesions:
            self.lesion_combo.addItem(f"{numbers[other.id]}  {format_site(other)}", other.id)
        self.lesion_combo.addItem("Not assigned", NO_LESION)
        self.lesion_combo.addItem("New lesion", NEW_LESION)
        self.lesion_combo.setCurrentIndex(self.lesion_combo.findData(NO_LESION if lesion is None else lesion.id))
        self.lesion_combo.setEnabled(editable)
        self.form.show_part(image, editable)

    def _on_lesion(self, index: int) -> None:
        self.lesion_chosen.emit(str(self.lesion_combo.currentData()))


def create_heading() -> QElidingLabel:
    """Create a bold plain-text title, elided in the middle if necessary."""
    label = _create_elided_label()
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def _create_elided_label() -> QElidingLabel:
    """Create a plain-text label of one line, cut at its end if necessary."""
    label = QElidingLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


class CaseRiskSection(QWidget):
    """Risk prediction as bars and text."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.outdated_label = NoticeLabel("case_risk_old", "Changes since the prediction")
        self.verdict = _create_label("case_risk_verdict", "Risk in words")
        self.verdict.setProperty("loud", True)
        self.caution = NoticeLabel("case_risk_caution", "Limitations of the prediction")
        self.bar = BarChart(icons, "case_risk_bar", "Probability of metastasis with its interval")
        self.title = _create_label("case_risk_parts", SHARES)
        self.title.setText(SHARES)
        self.shares = BarChart(icons, "case_risk_shares", SHARES)
        self.other_methods = BarChart(icons, "case_risk_comparators", "Predictions of other methods")
        self.basis_label = _create_label("case_risk_about", "Inputs of the prediction")
        self.basis_label.setProperty("quiet", True)
        numbers = (self.verdict, self.bar, self.other_methods, self.title, self.shares)
        self.validity = ValidityNotice(icons, "case_risk", *numbers)
        self.validity.insert_limits(self.caution)
        fill_column(self, self.outdated_label, self.validity, self.basis_label)

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
        self.verdict.setText(to_sentence(risk.verdict if validity.valid else format_risk(values)))
        conflicts = []
        for name, (stored, used) in find_overruled_fields(case, lesion, image, risk).items():
            used_text = f"{_format_cell(name, used)} was used" if used else "it was treated as unknown"
            conflicts.append(f"{field_title(name).lower()} is {_format_cell(name, stored)}, but {used_text}")
        conflict = [CONFLICTING_FIELDS.format("; ".join(conflicts))] if conflicts else []
        self.caution.set_text("\n".join([*conflict, *map(to_sentence, risk.warnings)]))
        self.bar.show_rows(make_risk_bars(values))
        self.other_methods.show_rows(make_method_bars(values))
        rows, end = make_share_bars(values)
        self.shares.show_rows(rows, -end, end)
        for part in (self.title, self.shares):
            part.setVisible(bool(rows))
        self.basis_label.setText(_describe_basis(image.path.name, risk))
        return True


def _format_cell(name: str, cell: str) -> str:
    """Format a stored value with its unit."""
    column = find_column(name)
    if column is None:
        return cell
    return f"{format_field_value(name, cell)} {column.unit}".rstrip()


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


def _create_label(name: str, accessible_name: str) -> WrappedLabel:
    """Create a label without tooltip, which would repeat its text."""
    label = named(WrappedLabel(), name, accessible_name)
    label.setToolTip("")
    return label
