"""Buttons, menus, keys and dialogs act on what was typed until then, wherever the focus is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from qtpy.QtWidgets import QApplication, QLineEdit, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.dock_layout import menu_button
from napari_melanoma.ui.widgets.pending import CommitSignal
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


@pytest.mark.parametrize("action", [click, open_menu, choose_entry, press_key, write_file])
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
