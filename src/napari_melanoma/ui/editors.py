"""One control for each kind of value that a configuration has: all say ``value``, ``fault`` and ``changed`` alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QWidget

from napari_melanoma.ui.look import tool
from napari_melanoma.ui.number_box import Bounds, NumberBox

LEAST_LETTERS, MOST_LETTERS = 6, 20  # that a list of words keeps room for; wider, it would not fit in a narrow dock


class Editor(QWidget):
    """A control for one value."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(4)

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the field holds
        """What the control shows; meaningless while there is a fault."""
        raise NotImplementedError

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        raise NotImplementedError

    def normal(self, value: Any) -> Any:  # noqa: ANN401 - whatever the field holds
        """Write a value as ``value`` gives it back."""
        return value

    @property
    def fault(self) -> str:
        """What is wrong with what was typed; empty where nothing is."""
        return ""

    @property
    def control(self) -> QWidget:
        """The widget that takes the focus, and with it the names of the field."""
        first = self._row.itemAt(0).widget()
        assert isinstance(first, QWidget)
        return first

    @property
    def controls(self) -> list[QWidget]:
        """Every widget that takes the focus."""
        return [self.control]


class NumberEditor(Editor):
    """A number."""

    def __init__(self, whole: bool, bounds: Bounds) -> None:
        super().__init__()
        self._box = NumberBox(whole, bounds)
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
        """What is wrong with the text."""
        return self._box.fault


class WordOr(Editor):
    """A value, or a word in its place, such as ``auto``: a button that stays pressed for the word."""

    def __init__(self, editor: Editor, word: str | None) -> None:
        super().__init__()
        self._editor = editor
        self._word = word
        said = "none" if word is None else word
        self._button = tool(f"{said}_word", said, f"Press for '{said}' in place of a value", said, checkable=True)
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
        """What is wrong with the value, where it counts."""
        return "" if self._button.isChecked() else self._editor.fault

    @property
    def control(self) -> QWidget:
        """The control of the value."""
        return self._editor.control

    def _on_toggled(self, on: bool) -> None:
        self._editor.setEnabled(not on)
        self.changed.emit()


class StillCombo(QComboBox):
    """A combo box that leaves the wheel to the page unless it is in use."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(LEAST_LETTERS)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Scrolling past must not choose something else."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ChoiceEditor(Editor):
    """One of a few words."""

    def __init__(self, choices: Sequence[Any], title: Callable[[Any], str] = str) -> None:
        super().__init__()
        self._combo = StillCombo()
        for choice in choices:
            shown = str(choice).replace("_", " ") if title is str else title(choice)
            self._combo.addItem(shown, choice)
        # With room for its words: three networks are called DeepLabv3+ first, and then with what.
        longest = max((len(self._combo.itemText(place)) for place in range(self._combo.count())), default=0)
        self._combo.setMinimumContentsLength(min(max(longest, LEAST_LETTERS), MOST_LETTERS))
        self._combo.currentIndexChanged.connect(self._on_index)
        self._row.addWidget(self._combo, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The word that is chosen."""
        return self._combo.currentData()

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._combo.blockSignals(True)
        self._combo.setCurrentIndex(self._combo.findData(value))
        self._combo.blockSignals(False)

    def _on_index(self, index: int) -> None:
        self.changed.emit()


class CheckEditor(Editor):
    """Yes or no."""

    def __init__(self) -> None:
        super().__init__()
        self._check = QCheckBox()
        self._check.toggled.connect(self._on_toggled)
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

    def _on_toggled(self, on: bool) -> None:
        self.changed.emit()


class SeveralEditor(Editor):
    """A fixed number of values side by side."""

    def __init__(self, editors: Sequence[Editor]) -> None:
        super().__init__()
        self._editors = list(editors)
        for editor in editors:
            editor.changed.connect(self.changed)
            self._row.addWidget(editor, 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """A tuple."""
        return tuple(editor.value for editor in self._editors)

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        for editor, part in zip(self._editors, value, strict=True):
            editor.value = part

    @property
    def fault(self) -> str:
        """The first fault."""
        return next((editor.fault for editor in self._editors if editor.fault), "")

    @property
    def control(self) -> QWidget:
        """The first control."""
        return self._editors[0].control

    @property
    def controls(self) -> list[QWidget]:
        """Every control, from left to right."""
        return [control for editor in self._editors for control in editor.controls]
