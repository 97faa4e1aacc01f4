"""What is known of the selected lesion or image, and the lesion's risk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_melanoma.case.model import Case, CaseImage, CaseLesion
from napari_melanoma.core.wording import counted
from napari_melanoma.data.table_schema import column_named
from napari_melanoma.reports.risk_section import known_words, number_words, sentence
from napari_melanoma.ui.body_map.chart import word_of
from napari_melanoma.ui.body_map.widget import BodyMap
from napari_melanoma.ui.case import words
from napari_melanoma.ui.case.tree import LOOSE
from napari_melanoma.ui.lesion.prediction_view import AnswerSection, Notice, field_title
from napari_melanoma.ui.slide.risk import view as bars
from napari_melanoma.ui.widgets.charts import Bars
from napari_melanoma.ui.widgets.clinical_fields import FINDINGS, IMAGE, LESION, CaseForm
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import ThemedIcons, Words, named, quiet, row, section, tool
from napari_melanoma.ui.widgets.settings import Settings
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_melanoma.case.model import CaseRisk
    from napari_melanoma.case.predictions import LesionAnswer

NEW = "new"


class LesionPage(QWidget):
    """One lesion: where it is, and what was found."""

    def __init__(self, icons: ThemedIcons, settings: Settings) -> None:
        super().__init__()
        self.title = named(heading(), "lesion_title", "Lesion at hand")
        self.title.setToolTip("")
        self.confirm = tool("lesion_confirm", "Confirm the guesses", "All that was guessed of it is right", "confirm")
        self.body = BodyMap(icons)
        self.odd = named(Words(), "lesion_odd", "How it compares with the patient's other lesions")
        self.odd.setToolTip("")
        self.answer = AnswerSection(icons)
        said = QWidget()
        both = QVBoxLayout(said)
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(4)
        both.addWidget(self.odd)
        both.addWidget(self.answer)
        about, findings = CaseForm("lesion", LESION, "lesion_form"), CaseForm("lesion", FINDINGS, "findings_form")
        self.forms = (about, findings)
        self.risk = RiskSection(icons)
        self._risk_fold = section("Risk", "case_risk", self.risk, settings, True)
        self._folds = (
            section("Answer", "case_answer", said, settings, True),
            self._risk_fold,
            section("Place", "case_place", self.body, settings, True),
            section("Diagnosis", "case_diagnosis", about, settings, True),
            section("Findings", "case_findings", findings, settings, False),
        )
        icons.fold(*self._folds)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(row(self.title, self.confirm, stretch=0))
        for fold in self._folds:
            column.addWidget(fold)

    def show_lesion(self, case: Case, lesion: CaseLesion, editable: bool) -> None:
        """Show a lesion."""
        self.title.setText(f"Lesion {words.numbers(case)[lesion.id]}: {words.place(lesion)}")
        self.body.set_lesions(words.marks(case), lesion.id)
        self.body.set_site(word_of(lesion.site, lesion.sub_site), lesion.laterality)
        self.body.setEnabled(editable)
        for form in self.forms:
            form.show_part(lesion, editable)
        self._risk_fold.setVisible(self.risk.show_lesion(case, lesion))
        show_guesses(self.confirm, len(lesion.guesses), editable)

    def show_answer(self, told: LesionAnswer | None, current: bool, why_none: str) -> None:
        """Show what a classifier says of the lesion."""
        if told is None:
            self.odd.hide()
            self.answer.show_none(why_none)
            return
        of = counted(len(told.image_ids), "image")
        odd = "" if told.odd is None else f" It is {told.odd.sentence}."
        self.odd.setText(f"From {of}.{odd}" if current else f"Of before: the case was changed since. {why_none}")
        self.odd.show()
        self.answer.show_answer(told.answer, awaited=not current)


class ImagePage(QWidget):
    """One image: how it was taken, and of which lesion it is."""

    lesion_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.title = named(heading(), "image_title", "Image at hand")
        self.title.setToolTip("")
        self.confirm = tool("image_confirm", "Confirm the guesses", "All that was guessed of it is right", "confirm")
        self.lesion = named(
            StillCombo(), "image_lesion", "Lesion", "Which lesion it shows; the same as to drag it there"
        )
        self.lesion.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.form = CaseForm("image", IMAGE, "image_form")
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 0, 0)  # as what is in a section
        column.setSpacing(4)
        column.addWidget(row(self.title, self.confirm, stretch=0))
        column.addWidget(quiet("Lesion"))
        column.addWidget(self.lesion)
        column.addWidget(self.form)
        self.lesion.activated.connect(self._on_lesion)

    def show_image(self, case: Case, lesion: CaseLesion | None, image: CaseImage, editable: bool) -> None:
        """Show an image."""
        self.title.setText(image.path.name)
        self.title.setToolTip(str(image.path))
        self.lesion.clear()
        numbers = words.numbers(case)
        for one in case.lesions:
            guess = " ?" if one is lesion and "lesion" in image.guesses else ""
            self.lesion.addItem(f"{numbers[one.id]}  {words.place(one).removesuffix(' ?')}{guess}", one.id)
        self.lesion.addItem("No lesion yet", LOOSE)
        self.lesion.addItem("A new lesion", NEW)
        self.lesion.setCurrentIndex(self.lesion.findData(LOOSE if lesion is None else lesion.id))
        self.lesion.setEnabled(editable)
        self.form.show_part(image, editable)
        show_guesses(self.confirm, len(image.guesses), editable)

    def _on_lesion(self, index: int) -> None:
        self.lesion_chosen.emit(str(self.lesion.currentData()))


def heading() -> QElidingLabel:
    """Make a title that is cut with dots where there is no room for all of it.

    Bold, plain text.
    """
    label = QElidingLabel()
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def show_guesses(button: QAbstractButton, count: int, editable: bool) -> None:
    """Offer to confirm what was guessed."""
    button.setText(f"{counted(count, 'guess')} ✓")
    button.setVisible(count > 0)
    button.setEnabled(editable)


OLD = "Of before: the case says otherwise now ({}). Open the slide, and estimate again in the fold Risk."
OTHERWISE = "The case says otherwise than what this answer rests on: {}."
SHARES = "What each part changes"


class RiskSection(QWidget):
    """The answer as bars, and below it in words."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.old = Notice("case_risk_old", "What is another since")
        self.verdict = _line("case_risk_verdict", "Risk in words")
        self.verdict.setProperty("loud", True)
        self.caution = Notice("case_risk_caution", "What to know before relying on it")
        self.bar = Bars(icons, "case_risk_bar", "Probability of metastasis with its interval")
        self.title = _line("case_risk_parts", SHARES)
        self.title.setText(SHARES)
        self.shares = Bars(icons, "case_risk_shares", SHARES)
        self.beside = Bars(icons, "case_risk_beside", "What other methods say")
        self.about = _line("case_risk_about", "What it rests on")
        self.about.setProperty("quiet", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        numbers = (self.verdict, self.bar, self.beside, self.title, self.shares)
        self.validity = ValidityNotice(icons, "case_risk", *numbers)
        for part in (self.old, self.validity, self.caution, self.about):
            column.addWidget(part)

    def show_lesion(self, case: Case, lesion: CaseLesion) -> bool:
        """Show the risk of a lesion."""
        from napari_melanoma.case.results import answer_of, changed_since, overruled, risk_of

        told = risk_of(lesion)
        if told is None:
            return False
        image, risk = told
        changes = [field_title(name).lower() for name in changed_since(case, lesion, image, risk)]
        answer = answer_of(risk)
        self.old.say(OLD.format(", ".join(changes)) if changes else "")
        for part in (self.verdict, self.bar, self.beside, self.shares):
            part.setEnabled(not changes)
        validity = risk.known_validity
        self.validity.show_validity(validity, (risk.path, risk.created))
        self.verdict.setText(sentence(risk.verdict if validity.valid else number_words(answer)))
        disagreed = _disagreed(overruled(case, lesion, image, risk))
        self.caution.say("\n".join([*disagreed, *map(sentence, risk.warnings)]))
        self.bar.show_rows(bars.answer_bars(answer))
        self.beside.show_rows(bars.beside_bars(answer))
        rows, end = bars.share_bars(answer)
        self.shares.show_rows(rows, -end, end)
        for part in (self.title, self.shares):
            part.setVisible(bool(rows))
        self.about.setText(_about(image.path.name, risk))
        return True


def _disagreed(cells: Mapping[str, tuple[str, str]]) -> list[str]:
    """What the case has, and what was used instead, in words."""
    parts = []
    for name, (has, used) in cells.items():
        instead = f"{_with_unit(name, used)} was used" if used else "it was taken as not known"
        parts.append(f"it has {field_title(name).lower()} {_with_unit(name, has)}, and {instead}")
    return [OTHERWISE.format("; ".join(parts))] if parts else []


def _with_unit(name: str, cell: str) -> str:
    """A cell as people read it."""
    column = column_named(name)
    if column is None:
        return cell
    said = {"1": "yes", "0": "no"}.get(cell, cell) if column.kind == "yes_no" else cell
    return f"{said} {column.unit}".rstrip()


def _about(slide: str, risk: CaseRisk) -> str:
    """What an answer rests on, in words."""
    missing = ", ".join(field_title(name).lower() for name in risk.missing)
    said = (
        sentence(risk.depth) if risk.depth else "",
        f"Known: {known_words(risk.known)}." if risk.known else "",
        f"Not known: {missing}." if missing else "",
        f"From {slide}, by {risk.model}. Research use only; not for diagnosis.",
    )
    return " ".join(filter(None, said))


def _line(name: str, spoken: str) -> Words:
    """A line that is not cut."""
    label = named(Words(), name, spoken)
    label.setToolTip("")
    return label
