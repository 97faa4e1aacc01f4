"""The Answer section of the Lesion dock: what a classifier says, how sure it is, and why; shown, nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from napari_melanoma.ui.answer import words
from napari_melanoma.ui.bars import Bars
from napari_melanoma.ui.look import ThemedIcons, named
from napari_melanoma.ui.validity import ValidityNotice
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.workflows.answer import Answer, Neighbour

LEAST_ROW_PX = 18
PATIENCE_MS = 200  # what is computed sooner is not announced, so that nothing jumps


class Notice(QFrame):
    """A sentence with the colour of a warning at its side; hidden while there is none."""

    def __init__(self, name: str, spoken: str) -> None:
        super().__init__()
        self.setObjectName("notice")
        self.words = named(Words(), name, spoken)
        self.words.setToolTip("")
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self.words)
        self.hide()

    def say(self, text: str) -> None:
        """Show a sentence."""
        self.words.setText(text)
        self.setVisible(bool(text))


class Nearest(QTreeWidget):
    """Training cases that look alike: what each was, its name, and how far away it is."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "nearest", "Training cases that look alike").setToolTip("")
        self.setHeaderLabels(["What it was", "Image", "Distance"])
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

    def show_cases(self, cases: Sequence[Neighbour]) -> None:
        """Show cases."""
        self.clear()
        for case in cases:
            item = QTreeWidgetItem([words.class_title(case.diagnosis), case.image_id, f"{case.distance:.3g}"])
            item.setToolTip(1, case.image_id)
            item.setTextAlignment(2, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.addTopLevelItem(item)
        self.setColumnHidden(1, not any(case.image_id for case in cases))
        height = self.header().sizeHint().height() + sum(
            max(self.sizeHintForRow(row), LEAST_ROW_PX) for row in range(len(cases))
        )
        self.setFixedHeight(height + 2 * self.frameWidth() + 2)


class AnswerSection(QWidget):
    """Shows an answer, or why there is none."""

    def __init__(self, icons: ThemedIcons, heatmap: QWidget | None = None) -> None:
        super().__init__()
        named(self, "answer_section_content", "Answer").setToolTip("")
        self.hint = named(Words(), "answer_hint", "Why there is no answer")
        self.hint.setProperty("quiet", True)
        self.hint.setToolTip("")
        self.hint.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.earlier = Notice("answer_earlier", "Saved before")
        self.warning = Notice("answer_warning", "What to be careful about")
        self.verdict = named(Words(), "answer_verdict", "Answer in words")
        self.verdict.setProperty("loud", True)
        self.verdict.setToolTip("")
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.classes = Bars(icons, "answer_bars", "Probabilities of the classes")
        self.side = _quiet("answer_side", "On which side of the operating point")
        self.why = _quiet("answer_why_title", "What the patient's data change")
        self.why.setText("What the patient's data change")
        self.changes = Bars(icons, "answer_changes", "What each field of the form adds")
        self.form = _quiet("answer_form_words", "What the picture alone says")
        self.alike = _quiet("nearest_title", "Training cases that look alike")
        self.alike.setText("Training cases that look most like it")
        self.nearest = Nearest()
        self.about = QWidget()
        inner = QVBoxLayout(self.about)
        column = QVBoxLayout(self)
        for layout in (inner, column):
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(4)
        said: tuple[QWidget, ...] = (self.verdict, self.classes, self.side, self.warning)
        explained = () if heatmap is None else (heatmap,)
        parts = (*said, *explained, self.why, self.changes, self.form, self.alike, self.nearest)
        self.validity = ValidityNotice(icons, "answer", *parts)
        inner.addWidget(self.validity)
        column.addWidget(self.hint)
        column.addWidget(self.earlier)
        column.addWidget(self.about)
        self._outdated = ""
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(lambda: self.earlier.say(self._outdated))
        self.show_none("")

    def show_none(self, why: str) -> None:
        """Show why there is no answer."""
        self._mark("")
        self.hint.setText(why)
        self.hint.setVisible(bool(why))
        self.about.hide()

    def show_earlier(self, answer: Answer, note: str, why: str) -> None:
        """Show an answer that was saved before, as one of before."""
        self.show_answer(answer, awaited=True)
        self.hint.setText(why)
        self.hint.show()
        self.earlier.say(note)

    def show_answer(self, answer: Answer, *, awaited: bool, outdated: str = "") -> None:
        """Show an answer."""
        self.hint.hide()
        self._mark(outdated)
        self.about.setEnabled(not awaited)
        self.validity.show_validity(answer.validity, (answer.model.fingerprint, answer.classes))
        self.verdict.setText(words.verdict(answer) if answer.validity.valid else f"{answer.number}.")
        self.classes.show_rows(words.class_bars(answer))
        _say(self.side, words.side(answer))
        self.warning.say(words.warnings(answer))
        rows, end = words.change_bars(answer)
        self.why.setVisible(bool(rows))
        self.changes.show_rows(rows, -end, end)
        _say(self.form, words.about_form(answer))
        self.alike.setVisible(bool(answer.neighbours))
        self.nearest.setVisible(bool(answer.neighbours))
        self.nearest.show_cases(answer.neighbours)
        self.about.show()

    def _mark(self, outdated: str) -> None:
        """Mark what is shown as outdated, after a moment."""
        if outdated and outdated == self._outdated:
            return
        self._outdated = outdated
        self.earlier.say("")
        if outdated:
            self._patience.start()
        else:
            self._patience.stop()


def _quiet(name: str, spoken: str) -> Words:
    """A line that is good to know, and is not cut."""
    label = named(Words(), name, spoken)
    label.setProperty("quiet", True)
    label.setToolTip("")
    return label


def _say(label: Words, text: str) -> None:
    label.setText(text)
    label.setVisible(bool(text))
