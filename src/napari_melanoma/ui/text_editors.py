"""Controls for what is typed: text, words, numbers in a row, a table of options."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QLineEdit, QPlainTextEdit

from napari_melanoma.core.errors import MalformedFile
from napari_melanoma.core.parsing import parse_toml
from napari_melanoma.ui.editors import Editor
from napari_melanoma.ui.number_box import show
from napari_melanoma.ui.word_list import join_words, split_words

LINES = 4  # of a table of options
TABLE_PX = 220


class TextEditor(Editor):
    """A line of text."""

    def __init__(self, shortest: int = 0) -> None:
        super().__init__()
        self._shortest = shortest
        self._line = QLineEdit()
        self._line.textEdited.connect(self._on_edited)
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
        """Say that it is too short."""
        return "" if len(self.value) >= self._shortest else "is empty: type a few letters"

    def _on_edited(self, text: str) -> None:
        self.changed.emit()


class WordsEditor(TextEditor):
    """Several texts in one line, with commas between them; one that has a comma itself stands in quotes."""

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The texts."""
        return split_words(str(self._line.text()))

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._line.setText(join_words(value))
        self._line.setCursorPosition(0)

    @property
    def fault(self) -> str:
        """Say that there are too few."""
        return "" if len(self.value) >= self._shortest else "is empty: name at least one"


class NumbersEditor(TextEditor):
    """Any count of numbers in one line, with commas between them."""

    def __init__(self, whole: bool, shortest: int = 0) -> None:
        super().__init__(shortest)
        self._kind = int if whole else float

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The numbers, as far as they can be read."""
        return tuple(self._kind(word) for word in split_words(str(self._line.text())) if self._reads(word))

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._line.setText(", ".join(show(number) for number in value))

    @property
    def fault(self) -> str:
        """Say which is no number, or that there are too few."""
        wrong = [word for word in split_words(str(self._line.text())) if not self._reads(word)]
        if wrong:
            return f"'{wrong[0]}' is no {'whole number' if self._kind is int else 'number'}"
        return "" if len(self.value) >= self._shortest else "is empty: name at least one"

    def _reads(self, word: str) -> bool:
        try:
            self._kind(word)
        except ValueError:
            return False
        return True


class TableEditor(Editor):
    """Options whose names are not known here: a line of TOML each, ``decoder_channels = 64``."""

    def __init__(self) -> None:
        super().__init__()
        self._text = QPlainTextEdit()
        self._text.setPlaceholderText("name = value, one a line")
        self._text.setTabChangesFocus(True)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setFixedHeight(self._text.fontMetrics().lineSpacing() * LINES + 12)
        self._text.setMinimumWidth(TABLE_PX)
        self._text.textChanged.connect(self.changed)
        self._row.addWidget(self._text, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """A dict; empty where the text cannot be read."""
        return self._read()[0]

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        import tomli_w

        self._text.blockSignals(True)
        self._text.setPlainText(tomli_w.dumps(value).strip())
        self._text.blockSignals(False)

    @property
    def fault(self) -> str:
        """What a reader of TOML says of the text."""
        return self._read()[1]

    def _read(self) -> tuple[dict[str, Any], str]:
        try:
            text = self._text.document().toRawText()  # toPlainText makes plain blanks of hard ones
            return parse_toml(text.replace("\u2029", "\n"), "the options"), ""
        except MalformedFile as error:
            return {}, f'{error.reason}. Expected lines such as: decoder_channels = 64, encoder = "name"'
