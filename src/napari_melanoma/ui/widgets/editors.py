"""The editors of a configuration form, one for each type of value; also combo boxes that ignore the mouse wheel."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QFocusEvent, QHelpEvent, QHideEvent, QKeyEvent, QPaintEvent, QPalette, QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolTip,
    QWidget,
)

from napari_melanoma.core.errors import MalformedFile
from napari_melanoma.core.parsing import parse_toml
from napari_melanoma.core.paths import expand_user
from napari_melanoma.ui.widgets.dialogs import choose_file
from napari_melanoma.ui.widgets.number_box import Bounds, NumberBox, format_number
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import add_clear_button, named, reserve_space, tool_button
from napari_melanoma.ui.widgets.wheel import guard_wheel

TEXT_MARGIN_PX = 4  # of a combo box, on both sides together
MIN_LETTERS, MAX_LETTERS = 6, 20  # width of a combo box in characters; a wider one would not fit in a narrow dock
LINES = 4  # height of a table of options
SETTLE_MS = 800  # after the last key, the item of a closed list counts as chosen
TABLE_PX = 220
MIN_WIDTH_PX = 90
NUMBER_PX = 104  # shows 0.0001 between its arrows
TEXT_PX = 160  # minimum width of a line of text; a label that is too long is put above it
UNCLEAR_COMMA = re.compile(r"(?<![\d.])(\d+),(\d+)(?![\d.])")  # of decimals, or between two numbers
WORD_PATTERN = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))(,|$)')


class Editor(QWidget):
    """A widget that edits one value."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(4)

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the field holds
        """The value in the control; undefined if there is an error."""
        raise NotImplementedError

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        raise NotImplementedError

    def normalize(self, value: Any) -> Any:  # noqa: ANN401 - whatever the field holds
        """Convert a value to the form that ``value`` returns."""
        return value

    @property
    def fault(self) -> str:
        """The error message; empty if the value is valid."""
        return ""

    @property
    def control(self) -> QWidget:
        """The widget that gets the focus and the names of the field."""
        return next(child for child in self.children() if isinstance(child, QWidget))

    @property
    def controls(self) -> list[QWidget]:
        """All widgets that get the focus."""
        return [self.control]


class NumberEditor(Editor):
    """Edits a number."""

    def __init__(self, is_integer: bool, bounds: Bounds) -> None:
        super().__init__()
        self._box = NumberBox(is_integer, bounds)
        self._box.setMinimumWidth(NUMBER_PX)
        self._box.changed.connect(self.changed)
        self._row.addWidget(self._box, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The number."""
        return self._box.value

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._box.value = value

    @property
    def fault(self) -> str:
        """The error message; empty if the text is valid."""
        return self._box.fault


class ValueOrWordEditor(Editor):
    """Edits a value that a checkable button replaces by a word, such as ``auto``, or by None."""

    def __init__(self, editor: Editor, word: str | None) -> None:
        super().__init__()
        self._editor = editor
        self._word = word
        title = "none" if word is None else word
        self._button = tool_button(f"{title}_word", title, f"Use '{title}' instead of a value", title, checkable=True)
        self._button.toggled.connect(self._on_toggled)
        editor.changed.connect(self.changed)
        self._row.addWidget(editor, 1)
        self._row.addWidget(self._button)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The value or the word."""
        return self._word if self._button.isChecked() else self._editor.value

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        is_word = value == self._word
        if not is_word:
            self._editor.value = value
        self._button.blockSignals(True)
        self._button.setChecked(is_word)
        self._button.blockSignals(False)
        self._editor.setEnabled(not is_word)

    @property
    def fault(self) -> str:
        """The error message of the value; empty if the word is used."""
        return "" if self._button.isChecked() else self._editor.fault

    @property
    def control(self) -> QWidget:
        return self._editor.control

    def _on_toggled(self, is_word: bool) -> None:
        self._editor.setEnabled(not is_word)
        self.changed.emit()


class ReaderField(QLineEdit):
    """The name of the reader, which is entered once and then shown in all sections until ``change_button`` is pressed.

    ``name``: object name.
    """

    def __init__(self, name: str, tip: str, placeholder: str = "your name") -> None:
        super().__init__()
        named(self, name, "Your name as a reader", tip)
        self.setPlaceholderText(placeholder)
        change = "Change the reader, in all sections"
        self.change_button = tool_button(f"{name}_change", change, change, "✎")
        reserve_space(self.change_button)
        self.change_button.clicked.connect(self._on_change)
        self.editingFinished.connect(lambda: self._fix(self.name))
        self._previous = ""  # while it is changed
        self._fix("")

    @property
    def name(self) -> str:
        """The name; empty if not given."""
        return str(self.text().strip())

    def show_name(self, name: str) -> None:
        """Show the name that was entered in a section."""
        self.setText(name)
        self._fix(name)

    def _fix(self, name: str) -> None:
        self.setReadOnly(bool(name))
        self._previous = "" if name else self._previous
        self.change_button.setVisible(bool(name))

    def _on_change(self) -> None:
        self._previous = self.name
        self._fix("")
        self.setFocus()
        self.selectAll()

    def event(self, event: QEvent) -> bool:
        """Keep the name with Escape, which is no shortcut of the dock then."""
        is_override, is_press = (event.type() == one for one in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress))
        is_escape = isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape and not self.isReadOnly()
        if not (is_escape and self._previous and (is_override or is_press)):
            return bool(super().event(event))
        event.accept()
        if is_press:
            self.show_name(self._previous)
        return True


class NoWheelComboBox(QComboBox):
    """A combo box of names: as narrow as its dock, with an ellipsis and a tooltip for names that do not fit.

    It ignores the mouse wheel until it is clicked. ``opening`` is emitted before the list opens. ``settled``: index of
    the item that the user has chosen: in the open list at once; while passing items of the closed list by keys or the
    wheel, when it stays for a moment or the focus leaves. ``elide_mode``: where a name that does not fit is cut.
    """

    opening = Signal()
    settled = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        guard_wheel(self)
        self.elide_mode = Qt.TextElideMode.ElideRight
        self._is_stepping = False
        self._passing_timer = DebounceTimer(self, SETTLE_MS)
        self._passing_timer.timeout.connect(lambda: self.settled.emit(self.currentIndex()))
        self.activated.connect(self._on_activated)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(MIN_LETTERS)

    @property
    def is_passing(self) -> bool:
        """Whether the user is passing items, so that the current one is not settled."""
        return self._passing_timer.isActive()

    def flush(self) -> None:
        """Settle on the current item: the user acts elsewhere."""
        self._passing_timer.flush()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Pass items by keys."""
        self._step(super().keyPressEvent, event)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Pass items by the wheel, if the box was clicked."""
        self._step(super().wheelEvent, event)

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Settle on the current item."""
        super().focusOutEvent(event)
        self.flush()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Settle on the current item."""
        super().hideEvent(event)
        self.flush()

    def _step(self, handle: Callable[[Any], None], event: QEvent) -> None:
        self._is_stepping = True
        try:
            handle(event)
        finally:
            self._is_stepping = False

    def _on_activated(self, index: int) -> None:
        if self._is_stepping:
            self._passing_timer.start()
        else:
            self._passing_timer.stop()
            self.settled.emit(index)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the text, or the placeholder without a selection, with an ellipsis where Qt would cut it off."""
        if self.isEditable():
            super().paintEvent(event)
            return
        option = self._style_option()
        option.currentText = self._elide(option)
        if self.currentIndex() < 0:
            option.palette.setBrush(QPalette.ColorRole.ButtonText, option.palette.placeholderText())
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def event(self, event: QEvent) -> bool:
        """Show the whole text above the tooltip if it does not fit."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip and self._is_elided():
            text = "\n".join(filter(None, (self._shown_text, self.toolTip())))
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return bool(super().event(event))

    def showPopup(self) -> None:  # noqa: N802 - Qt's name
        """Show the list, which may be updated first, as wide as its longest name."""
        self.opening.emit()
        view = self.view()
        bar = view.verticalScrollBar().sizeHint().width()
        view.setMinimumWidth(min(view.sizeHintForColumn(0) + bar, self.screen().availableGeometry().width() // 2))
        super().showPopup()

    def _style_option(self) -> QStyleOptionComboBox:
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        return option

    @property
    def _shown_text(self) -> str:
        return str(self.placeholderText() if self.currentIndex() < 0 else self.currentText())

    def _is_elided(self) -> bool:
        return not self.isEditable() and self._elide(self._style_option()) != self._shown_text

    def _elide(self, option: QStyleOptionComboBox) -> str:
        """Shorten the current text to the width of the field."""
        part = QStyle.SubControl.SC_ComboBoxEditField
        field = self.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, part, self)
        return str(self.fontMetrics().elidedText(self._shown_text, self.elide_mode, field.width() - TEXT_MARGIN_PX))


class ChoiceEditor(Editor):
    """Selects one of several words."""

    def __init__(self, choices: Sequence[Any], title: Callable[[Any], str] = str) -> None:
        super().__init__()
        self._combo = NoWheelComboBox()
        for choice in choices:
            shown = str(choice).replace("_", " ") if title is str else title(choice)
            self._combo.addItem(shown, choice)
        # Wide enough for whole names: those of three networks begin with DeepLabv3+.
        longest = max((len(self._combo.itemText(index)) for index in range(self._combo.count())), default=0)
        self._combo.setMinimumContentsLength(min(max(longest, MIN_LETTERS), MAX_LETTERS))
        self._combo.currentIndexChanged.connect(self.changed)
        self._row.addWidget(self._combo, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The selected word."""
        return self._combo.currentData()

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._combo.blockSignals(True)
        self._combo.setCurrentIndex(self._combo.findData(value))
        self._combo.blockSignals(False)


class CheckEditor(Editor):
    """A check box."""

    def __init__(self) -> None:
        super().__init__()
        self._check = QCheckBox()
        self._check.toggled.connect(self.changed)
        self._row.addWidget(self._check, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """Whether it is checked."""
        return self._check.isChecked()

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._check.blockSignals(True)
        self._check.setChecked(value)
        self._check.blockSignals(False)


class TupleEditor(Editor):
    """Edits a fixed number of values side by side."""

    def __init__(self, editors: Sequence[Editor]) -> None:
        super().__init__()
        self._editors = list(editors)
        for editor in editors:
            editor.changed.connect(self.changed)
            self._row.addWidget(editor, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The values, as a tuple."""
        return tuple(editor.value for editor in self._editors)

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        for editor, part in zip(self._editors, value, strict=True):
            editor.value = part

    @property
    def fault(self) -> str:
        """The first error message."""
        return next((editor.fault for editor in self._editors if editor.fault), "")

    @property
    def control(self) -> QWidget:
        """The first control."""
        return self._editors[0].control

    @property
    def controls(self) -> list[QWidget]:
        """Every control, from left to right."""
        return [control for editor in self._editors for control in editor.controls]


class TextEditor(Editor):
    """Edits a line of text."""

    def __init__(self, min_length: int = 0) -> None:
        super().__init__()
        self._min_length = min_length
        self._line = QLineEdit()
        self._line.setMinimumWidth(TEXT_PX)  # else the row of a long label leaves only a few letters
        self._line.textEdited.connect(self.changed)
        self._row.addWidget(self._line, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The text."""
        return str(self._line.text())

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._line.setText(value)
        self._line.setCursorPosition(0)

    @property
    def fault(self) -> str:
        """The error message if the text is too short."""
        return "" if len(self.value) >= self._min_length else "enter some text"


class TextListEditor(TextEditor):
    """Edits several texts in one line, separated by commas; a text that contains a comma is quoted."""

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The texts."""
        return split_texts(str(self._line.text()))

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._line.setText(join_texts(value))
        self._line.setCursorPosition(0)

    @property
    def fault(self) -> str:
        """The error message if there are too few texts."""
        return "" if len(self.value) >= self._min_length else "is empty: enter at least one"


class NumberListEditor(TextEditor):
    """Edits numbers in one line, separated by commas."""

    def __init__(self, is_integer: bool, min_length: int = 0) -> None:
        super().__init__(min_length)
        self._kind = int if is_integer else float

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The valid numbers."""
        return tuple(self._kind(word) for word in split_texts(str(self._line.text())) if self._is_number(word))

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._line.setText(", ".join(format_number(number) for number in value))

    @property
    def fault(self) -> str:
        """The error message if a text is not a number or there are too few numbers."""
        wrong = [word for word in split_texts(str(self._line.text())) if not self._is_number(word)]
        if wrong:
            return f"'{wrong[0]}' is not a {'whole number' if self._kind is int else 'number'}"
        if self._kind is float and (unclear := UNCLEAR_COMMA.search(str(self._line.text()))):
            first, second = unclear.groups()
            return f"'{unclear[0]}' is unclear: enter {first}.{second}, or {first}, {second} with a space"
        return "" if len(self.value) >= self._min_length else "is empty: enter at least one"

    def _is_number(self, word: str) -> bool:
        try:
            self._kind(word)
        except ValueError:
            return False
        return True


class TomlTableEditor(Editor):
    """Edits arbitrary options, one line of TOML each: ``decoder_channels = 64``."""

    def __init__(self) -> None:
        super().__init__()
        self._text = QPlainTextEdit()
        self._text.setPlaceholderText("name = value, one per line")
        self._text.setTabChangesFocus(True)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setFixedHeight(self._text.fontMetrics().lineSpacing() * LINES + 12)
        self._text.setMinimumWidth(TABLE_PX)
        self._text.textChanged.connect(self.changed)
        self._row.addWidget(self._text, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The options; empty if the text is not valid TOML."""
        return self._parse()[0]

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        import tomli_w

        self._text.blockSignals(True)
        self._text.setPlainText(tomli_w.dumps(value).strip())
        self._text.blockSignals(False)

    @property
    def fault(self) -> str:
        """The error message of the TOML parser."""
        return self._parse()[1]

    def _parse(self) -> tuple[dict[str, Any], str]:
        try:
            text = self._text.document().toRawText()  # toPlainText replaces non-breaking spaces
            return parse_toml(text.replace("\u2029", "\n"), "the options"), ""
        except MalformedFile as error:
            return {}, f'{error.reason}. Expected lines such as: decoder_channels = 64, encoder = "name"'


class PathEditor(Editor):
    """Edits the path of a file; empty for none."""

    def __init__(self) -> None:
        super().__init__()
        self._line = QLineEdit()
        self._line.setPlaceholderText("none")
        add_clear_button(self._line)
        self._line.setMinimumWidth(MIN_WIDTH_PX)
        self._button = tool_button("browse", "Choose a file", "Choose a file", "...")
        self._line.textChanged.connect(self._on_text)
        self._button.clicked.connect(self._on_browse)
        self._row.addWidget(self._line, 1)
        self._row.addWidget(self._button)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The path; None if the line is empty."""
        text = self._line.text().strip()
        return Path(text) if text else None

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._line.blockSignals(True)
        self._line.setText("" if value is None else str(value))
        self._line.setCursorPosition(0)
        self._line.setToolTip("" if value is None else str(value))
        self._line.blockSignals(False)

    @property
    def fault(self) -> str:
        """The error message if the file does not exist."""
        path = self.value
        return "" if path is None or expand_user(path).is_file() else "file not found"

    @property
    def controls(self) -> list[QWidget]:
        """The line, then the button."""
        return [self._line, self._button]

    def _on_text(self, text: str) -> None:
        self._line.setToolTip(text)
        self.changed.emit()

    def _on_browse(self) -> None:
        folder = self.value.parent if self.value is not None else None
        choose_file(self, "path_dialog", "Choose a file", (), lambda path: self._line.setText(str(path)), folder)


def split_texts(text: str) -> tuple[str, ...]:
    """Split a line into texts separated by commas; empty for an empty line."""
    words, position = [], 0
    while position < len(text):
        match = WORD_PATTERN.match(text, position)
        assert match is not None  # the second alternative matches anything
        quoted, plain, _ = match.groups()
        if quoted is not None:
            words.append(quoted.replace('""', '"'))
        elif plain.strip():
            words.append(plain.strip())
        position = match.end()
    return tuple(words)


def join_texts(words: Sequence[str]) -> str:
    """Join texts into one line, the inverse of ``split_texts``."""
    return ", ".join(_quote(word) for word in words)


def _quote(word: str) -> str:
    if word and word == word.strip() and not set(word) & set(',"'):
        return word
    doubled = word.replace('"', '""')
    return f'"{doubled}"'
