"""Buttons, menus, keys and dialogs act on what was typed until then, wherever the focus is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from napari.layers import Points
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtWidgets import QApplication, QComboBox, QDoubleSpinBox, QLineEdit, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.ui.viewer.shape_layers import bind_keys
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.dialogs import choose_file, choose_folder, choose_new_file
from napari_melanoma.ui.widgets.dock_layout import menu_button
from napari_melanoma.ui.widgets.pending import CommitSignal, commit_typed
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import named, tool_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytestqt.qtbot import QtBot


class Form(QWidget):
    """A field that is applied after a pause, one that is applied when it is left, and a drawing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.commit_requested = CommitSignal(self.calls.append)
        self.timer, self.line = DebounceTimer(self, 10_000), QLineEdit()
        self.timer.timeout.connect(lambda: self.calls.append("paused"))
        self.line.editingFinished.connect(lambda: self.calls.append(self.line.text()))
        self.commit_requested.connect(self.timer.flush)
        self.commit_requested.drawn.connect(lambda: self.calls.append("drawn"))
        QVBoxLayout(self).addWidget(self.line)

    def act(self) -> None:
        self.calls.append("act")


def click(form: Form) -> None:
    button = named(QPushButton(form), "button", "Act")
    button.clicked.connect(form.act)
    button.click()


def open_menu(form: Form) -> None:
    button = tool_button("button", "Menu")
    button.setMenu(QMenu(form))
    button.menu().aboutToShow.connect(form.act)
    button.menu().aboutToShow.emit()


def choose_entry(form: Form) -> None:
    button = menu_button("button", "Menu", "", {"entry": ("Act", form.act)})
    button.menu().actions()[0].trigger()


def press_key(form: Form) -> None:
    add_shortcut(form, "slide.undo", form.act).activated.emit()


def write_file(form: Form) -> None:
    choose_new_file(form, "dialog", "Write", "Table", lambda path: None, Path("table.csv"))
    form.act()


def read_file(form: Form) -> None:
    choose_file(form, "dialog", "Read", (), lambda path: None)
    form.act()


def read_folder(form: Form) -> None:
    choose_folder(form, "dialog", "Read", None, lambda path: None)
    form.act()


def press_layer_key(form: Form) -> None:
    layer = Points()
    bind_keys(layer, {"Control-Z": form.act})
    layer.keymap[coerce_keybinding("Control-Z")](layer)


@pytest.mark.parametrize(
    "action", [click, open_menu, choose_entry, press_key, write_file, read_file, read_folder, press_layer_key]
)
def test_what_was_typed_is_applied_before_an_action(action: Callable[[Form], None], qtbot: QtBot) -> None:
    form = Form()
    qtbot.addWidget(form)
    form.show()
    QApplication.setActiveWindow(form)
    form.line.setFocus()
    qtbot.waitUntil(form.line.hasFocus)
    qtbot.keyClicks(form.line, "A. Meyer")
    form.timer.start()
    action(form)
    expected = ["A. Meyer", "paused", *(["drawn"] if action is write_file else []), "act"]
    assert form.calls[: len(expected)] == expected
    assert not form.timer.isActive()


def make_combo() -> tuple[QComboBox, Callable[[], str]]:
    combo = QComboBox()
    combo.setEditable(True)
    return combo, combo.currentText


def make_spin_box() -> tuple[QDoubleSpinBox, Callable[[], str]]:
    box = QDoubleSpinBox()
    box.setKeyboardTracking(False)
    return box, lambda: f"{box.value():g}"


def make_line() -> tuple[QLineEdit, Callable[[], str]]:
    line = QLineEdit()
    return line, line.text


@pytest.mark.parametrize("make", [make_combo, make_spin_box, make_line])
def test_each_kind_of_field_is_applied_once(
    make: Callable[[], tuple[QWidget, Callable[[], str]]], qtbot: QtBot
) -> None:
    field, read = make()
    qtbot.addWidget(field)
    applied: list[str] = []
    line = field if isinstance(field, QLineEdit) else field.findChild(QLineEdit)
    finished = field.editingFinished if isinstance(field, QDoubleSpinBox) else line.editingFinished
    finished.connect(lambda: applied.append(read()))
    field.show()
    QApplication.setActiveWindow(field)
    field.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is field)
    line.selectAll()
    qtbot.keyClicks(field, "2.5")
    commit_typed()
    commit_typed()
    assert applied == ["2.5"]
    if isinstance(field, QDoubleSpinBox):
        return  # Qt completes its text
    qtbot.keyClicks(field, "1")  # typing continues at the end
    commit_typed()
    assert applied == ["2.5", "2.51"]
