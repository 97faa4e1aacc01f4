"""The Prediction section of the Lesion dock, its words and heatmap controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFrame,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QSlider,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.validity import NOT_VALID
from napari_melanoma.data.table_schema import column_named
from napari_melanoma.data.taxonomy import taxonomy
from napari_melanoma.ui.widgets.charts import Bar, Bars
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import ThemedIcons, Words, named, row
from napari_melanoma.ui.widgets.settings import Settings
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import Answer, Contribution, Neighbour

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
            item = QTreeWidgetItem([class_title(case.diagnosis), case.image_id, f"{case.distance:.3g}"])
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
        self.verdict.setText(verdict(answer) if answer.validity.valid else f"{answer.number}.")
        self.classes.show_rows(class_bars(answer))
        _say(self.side, side(answer))
        self.warning.say(warnings(answer))
        rows, end = change_bars(answer)
        self.why.setVisible(bool(rows))
        self.changes.show_rows(rows, -end, end)
        _say(self.form, about_form(answer))
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


METHODS = {
    "grad_cam": ("Grad-CAM", "Which places of the network's last map raise the answer. Quick."),
    "cam": ("CAM", "What the network's head says of each place by itself. Quick."),
    "occlusion": ("Occlusion", "How much is lost where a patch is covered. Takes a few seconds."),
    "integrated_gradients": ("Integrated gradients", "Which pixels the answer rests on. Takes a few seconds."),
}
STEPS, USUAL = 100, 60


class HeatmapControls(QWidget):
    """A tick, a list of methods and a slider, remembered for the next day."""

    wanted = Signal()
    faded = Signal(float)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        named(self, "heatmap_controls", "Heatmap").setToolTip("")
        self._settings = settings
        tip = "Show as a layer which places of the picture the answer comes from"
        self.check = named(QCheckBox("heatmap"), "heatmap", "Heatmap", tip)
        self.combo = named(StillCombo(), "heatmap_method", "Method of the heatmap", "How it is found")
        self.combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for place, (name, (title, about)) in enumerate(METHODS.items()):
            self.combo.addItem(title, name)
            self.combo.setItemData(place, about, Qt.ItemDataRole.ToolTipRole)
        tip = "Of which class it is shown what speaks for it"
        self.classes = named(StillCombo(), "heatmap_class", "Class that the heatmap explains", tip)
        self.classes.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._known: tuple[str, ...] = ()
        self.slider = named(QSlider(Qt.Orientation.Horizontal), "heatmap_opacity", "Opacity of the heatmap")
        self.slider.setRange(0, STEPS)
        self.slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.check.setChecked(settings.kept("lesion/heatmap", False))
        self.combo.setCurrentIndex(max(0, self.combo.findData(settings.kept("lesion/heatmap_method", "grad_cam"))))
        self.slider.setValue(settings.kept("lesion/heatmap_opacity", USUAL))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.check, self.combo, stretch=1))
        self._which = row(QLabel("for"), self.classes, stretch=1)
        self._which.hide()
        layout.addWidget(self._which)
        layout.addWidget(row(QLabel("opacity"), self.slider, stretch=1))
        self.check.toggled.connect(self._on_changed)
        self.combo.activated.connect(self._on_changed)
        self.classes.activated.connect(self._on_changed)
        self.slider.valueChanged.connect(self._on_slider)
        self._show_state()

    @property
    def method(self) -> str:
        """How the heatmap is found; empty where none is wanted."""
        return str(self.combo.currentData()) if self.check.isChecked() else ""

    @property
    def target(self) -> str:
        """The class that the heatmap explains; empty for the positive one where there are only two."""
        return str(self.classes.currentData() or "")

    def show_classes(self, classes: tuple[str, ...], positive: str) -> None:
        """Offer a choice of more than two classes; of two, what speaks for one speaks against the other."""
        several = classes if len(classes) > 2 else ()
        if several != self._known:
            self._known = several
            self.classes.clear()
            for name in several:
                self.classes.addItem(class_title(name), name)
            self.classes.setCurrentIndex(max(0, self.classes.findData(positive)))
            self._which.setVisible(bool(several))

    @property
    def opacity(self) -> float:
        """Of the hottest place, in [0, 1]."""
        return float(self.slider.value() / STEPS)

    def _on_changed(self, _: object = None) -> None:
        self._settings.keep("lesion/heatmap", self.check.isChecked())
        self._settings.keep("lesion/heatmap_method", str(self.combo.currentData()))
        self._show_state()
        self.wanted.emit()

    def _on_slider(self, value: int) -> None:
        self._settings.keep("lesion/heatmap_opacity", value)
        self.faded.emit(self.opacity)

    def _show_state(self) -> None:
        on = self.check.isChecked()
        self.combo.setEnabled(on)
        self.classes.setEnabled(on)
        self.slider.setEnabled(on)


MOST_CLASSES = 7  # rows; what is left is one row more
LEAST_CHANGE = 0.02  # the scale of changes is never finer: a hundredth must not look like much
SHOWN_CHANGE = 0.005  # half of the last digit that is said


def class_title(word: str) -> str:
    """Say how people read a class.

    Returns as the taxonomy of diagnoses has it; else the word with spaces, its first letter a capital.
    """
    known = taxonomy("diagnosis")
    return known.title(word) if word in known.entries else _capital(word.replace("_", " "))


def field_title(name: str) -> str:
    """Say how people read a column."""
    column = column_named(name)
    return name.replace("_", " ").capitalize() if column is None else column.title


def class_bars(answer: Answer) -> list[Bar]:
    """Give a row for each class, the likeliest first; of many, the last rows are one.

    On a scale from 0 to 1; faint where the class can be ruled out.
    """
    order = sorted(zip(answer.classes, answer.probabilities, strict=True), key=lambda pair: -pair[1])
    if len(order) > MOST_CLASSES + 1:
        first = [pair for pair in order if pair[0] == answer.positive] + [
            pair for pair in order if pair[0] != answer.positive
        ]
        kept = set(first[:MOST_CLASSES])
        seen = [pair for pair in order if pair in kept]
    else:
        seen = order
    rows = [_class_bar(answer, name, probability) for name, probability in seen]
    left = len(order) - len(seen)
    if left:
        rest = sum(probability for name, probability in order) - sum(probability for name, probability in seen)
        tip = ", ".join(f"{class_title(name)} {value:.2f}" for name, value in order if (name, value) not in seen)
        rows.append(Bar(f"{left} others", f"{rest:.2f}", rest, faint=True, tip=tip))
    return rows


def _class_bar(answer: Answer, name: str, probability: float) -> Bar:
    """The row of one class."""
    asked, possible = name == answer.positive, name in answer.possible
    point = answer.operating_point if asked else None
    interval = answer.interval if asked else None
    told = [f"{class_title(name)}: probability {probability:.3f}"]
    if interval is not None:
        told[0] += f" ({interval[0]:.3f} to {interval[1]:.3f})"
    if answer.calibrated:
        said = "cannot be ruled out" if possible else "is ruled out"
        told.append(f"It {said} at {_percent(answer.coverage)} coverage.")
    if point is not None:
        told.append(f"Dotted line: the cut at {point.cut:.2f}.")
    mark = None if point is None else point.cut
    faint = answer.calibrated and not possible
    return Bar(class_title(name), f"{probability:.2f}", probability, interval, mark, asked, faint, "\n".join(told))


def change_bars(answer: Answer) -> tuple[list[Bar], float]:
    """Give a row for each column of the form: how much it adds to the probability of the class that is asked about.

    Returns list of Bar, the largest change first and columns that nobody filled in last; and the end of the scale,
    which goes as far to both sides.
    """
    changes = sorted(answer.contributions, key=lambda change: -abs(change.change))
    rows = [_change_bar(answer, change) for change in changes]
    rows += [
        Bar(field_title(name), "not known", faint=True, tip=f"{field_title(name)}: fill it in to see what it changes.")
        for name in answer.missing
    ]
    return rows, max((abs(change.change) for change in changes), default=0.0) * 1.1 + LEAST_CHANGE


def _change_bar(answer: Answer, change: Contribution) -> Bar:
    """The row of one column."""
    title, without = field_title(change.field), answer.probability - change.change
    said = "0" if abs(change.change) < SHOWN_CHANGE else f"{change.change:+.2f}".replace("-", "\N{MINUS SIGN}")
    tip = (
        f"If {title.lower()} were unknown, {class_title(answer.positive).lower()} would be {without:.2f} instead of "
        f"{answer.probability:.2f}."
    )
    return Bar(f"{title} {value_words(change.field, change.value)}", said, change.change, tip=tip)


def value_words(name: str, value: str) -> str:
    """Say what stands in a column.

    In lower case, as within a sentence.
    """
    column = column_named(name)
    if column is None or column.kind not in ("word", "yes_no"):
        return value
    words = taxonomy(column.taxonomy or "yes_no")
    return words.title(value).lower() if value in words.entries else value


def verdict(answer: Answer) -> str:
    """Say the answer in a sentence, its first letter a capital.

    Such as ``Inconclusive: melanoma 0.31 (95 % interval 0.20–0.44).``, or why it is not valid.
    """
    return _sentence(answer.verdict)


def side(answer: Answer) -> str:
    """Say on which side of the operating point the answer lies.

    A sentence; empty where the model has no operating point.
    """
    return _sentence(answer.side)


def warnings(answer: Answer) -> str:
    """Say what to be careful about.

    A sentence a line; empty where there is nothing to warn of.
    """
    return "\n".join(_sentence(said) for said in answer.warnings)


def about_form(answer: Answer) -> str:
    """Say what the picture alone would say, and what of the form went unused.

    Empty where the model looks at the picture alone and nothing was filled in.
    """
    said = []
    if answer.contributions:
        said.append(f"From the picture alone {class_title(answer.positive).lower()} would be {answer.from_image:.2f}.")
    if answer.unused:
        names = ", ".join(field_title(name).lower() for name in answer.unused)
        said.append(f"Not used by this model: {names}.")
    return " ".join(said)


def short(answer: Answer) -> str:
    """Say the answer in a few words for a row of a list.

    Such as ``melanoma 0.31 (95 % interval 0.20–0.44)``, or ``Not valid``.
    """
    return answer.number if answer.validity.valid else NOT_VALID


def _sentence(words: str) -> str:
    return f"{_capital(words).rstrip('.')}." if words else ""


def _capital(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
