"""What is being typed or drawn and not applied yet: buttons, menus, keys and dialogs ask for it before they act."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar
from weakref import WeakSet

from qtpy.compat import isalive
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLineEdit, QWidget


class InputSignal:
    """Asks for what is being entered, also after an error of one of the functions."""

    def __init__(self, on_error: Callable[[Exception], object]) -> None:
        self._functions: list[Callable[[], object]] = []
        self._on_error = on_error

    def connect(self, function: Callable[[], object]) -> None:
        """Call a function each time, until it is disconnected."""
        self._functions.append(function)

    def disconnect(self, function: Callable[[], object]) -> None:
        """Do not call a function any more."""
        self._functions.remove(function)

    def emit(self) -> None:
        """Call all functions, but, as Qt does, no method of an object that was deleted."""
        for function in tuple(self._functions):
            owner = getattr(function, "__self__", None)
            if isinstance(owner, QObject) and not isalive(owner):
                continue
            try:
                function()
            except Exception as error:  # noqa: BLE001 - of any section, also of a plug-in
                self._on_error(error)


class CommitSignal(InputSignal):
    """Asks the sections of an image to apply what is being typed, then what is being drawn.

    ``drawn``: connect functions that end what is drawn on the canvas, which continues while buttons are pressed.
    """

    existing: ClassVar[WeakSet[CommitSignal]] = WeakSet()

    def __init__(self, on_error: Callable[[Exception], object]) -> None:
        super().__init__(on_error)
        self.drawn = InputSignal(on_error)
        self.existing.add(self)

    def emit(self) -> None:
        """Apply what is being typed and drawn."""
        self.emit_typed()
        self.drawn.emit()

    def emit_typed(self) -> None:
        """Apply what is being typed only."""
        super().emit()


def commit_typed() -> None:
    """Apply what is being typed in all docks, because a button, menu or key acts next."""
    _commit_field(QApplication.focusWidget())
    for signal in tuple(CommitSignal.existing):
        signal.emit_typed()


def _commit_field(field: QWidget | None) -> None:
    """Apply the text of the field with the focus, which keys and menus do not move, once."""
    box = field if isinstance(field, QComboBox | QAbstractSpinBox) else None  # has the focus of its line
    line = field if box is None else box.findChild(QLineEdit)
    if not isinstance(line, QLineEdit) or not line.isModified():
        return
    position = line.cursorPosition()
    if isinstance(box, QAbstractSpinBox):
        box.interpretText()
        box.editingFinished.emit()
    else:
        line.editingFinished.emit()
    line.setModified(False)  # else the next key would apply it again
    line.setCursorPosition(position)  # typing continues there


def commit_all() -> None:
    """Apply what is being typed or drawn in all docks, because it is written next."""
    commit_typed()
    for signal in tuple(CommitSignal.existing):
        signal.drawn.emit()
