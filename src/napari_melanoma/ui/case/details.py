"""What is known of the lesion or the image at hand: place on the body, findings, modality; each may be unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_melanoma.core.counting import counted
from napari_melanoma.data.case.model import Case, CaseImage, CaseLesion
from napari_melanoma.ui.answer.section import AnswerSection
from napari_melanoma.ui.body.map import BodyMap
from napari_melanoma.ui.body.words import word_of
from napari_melanoma.ui.case import words
from napari_melanoma.ui.case.form import FINDINGS, IMAGE, LESION, CaseForm
from napari_melanoma.ui.case.risk import RiskSection
from napari_melanoma.ui.case.rows import LOOSE
from napari_melanoma.ui.editors import StillCombo
from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, section, tool
from napari_melanoma.ui.settings import Settings
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.workflows.case_answer import LesionAnswer

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
