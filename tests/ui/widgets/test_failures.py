"""Errors in a dock are shown in one actionable line, once; unexpected ones have details behind a button."""

from __future__ import annotations

import ast
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from napari.utils import notifications
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget
from stage import Stage

from conftest import wait_until_idle
from napari_melanoma import ui
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import capitalize, to_sentence
from napari_melanoma.ui.widgets.status_line import StatusLine, show_failure

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("is_in_view", [True, False])
@pytest.mark.parametrize(
    ("error", "message", "details"),
    [
        (InputError("a.jpg is missing. Choose another."), "a.jpg is missing. Choose another.", ""),
        (InputError("no file is selected (command line: --out). Choose one."), "No file is selected. Choose one.", ""),
        (KeyError("ImageType"), "Unexpected KeyError: 'ImageType'. The file may be damaged: copy", "in test_an_error"),
    ],
)
def test_an_error_is_a_line_that_is_shown_once_with_details(error, message, details, is_in_view, monkeypatch):
    shown = []
    monkeypatch.setattr(notifications.notification_manager, "dispatch", shown.append)
    lines = []
    try:
        raise error
    except (InputError, KeyError) as raised:
        show_failure(SimpleNamespace(show_error=lambda text, task: lines.append(text), is_in_view=is_in_view), raised)
    assert lines[0].startswith(message)
    assert len(shown) == bool(details or not is_in_view)
    if details:
        assert details in shown[0].as_text()
    else:
        assert [one.message for one in shown] == [message] * (not is_in_view)


def test_a_message_ends_with_its_tool_or_event_but_no_later_message(qtbot):
    stage = Stage(qtbot)
    status, tool, field = StatusLine(stage.icons), QPushButton("draw"), QLineEdit()
    tool.setCheckable(True)
    stage.show(status)
    for end in (tool.toggle, partial(field.setText, "new")):
        status.show_until("Draw a line.", tool.toggled, field.textChanged)
        end()
        assert status.text == ""
    status.show_until("Draw a line.", tool.toggled)
    status.show_message("Saved.")
    tool.toggle()
    assert status.text == "Saved."
    status.show_message("Click a lesion.")
    status.show_message("Saved.")
    status.end_message("Click a lesion.")
    assert status.text == "Saved."
    removed = QLineEdit()
    status.show_until("Enter a position.", removed.textChanged)
    with qtbot.waitSignal(removed.destroyed):
        removed.deleteLater()
    status.show_message("Closed.")
    assert status.text == "Closed."
    stage.close()


def test_notes_in_a_row_are_shown_together_unless_another_message_has_followed(qtbot):
    stage = Stage(qtbot)
    status = StatusLine(stage.icons)
    stage.show(status)
    status.show_message("Saved.")
    status.add_note("a.json is backed up as a-2.json")
    assert status.text == "a.json is backed up as a-2.json"
    status.add_note("outlines are backed up as b-2.json")
    assert status.text == "Outlines are backed up as b-2.json. a.json is backed up as a-2.json."
    status.show_message("Saved.")
    status.add_note("c.json is backed up as c-2.json")
    assert status.text == "c.json is backed up as c-2.json"
    stage.close()


@pytest.mark.both_qts
def test_an_error_stays_until_the_user_acts_or_its_task_runs_again(qtbot):
    stage = Stage(qtbot)
    status, field, tool = StatusLine(stage.icons), QLineEdit(), QPushButton("draw")
    tool.setCheckable(True)
    owner = stage.show(QWidget())
    QVBoxLayout(owner)
    for widget in (status, field, tool):
        owner.layout().addWidget(widget)
    lines = []
    status.message_changed.connect(lines.append)

    def fail(run):
        raise InputError("a.jpg is missing.")

    class Canvas(QWidget):
        def mousePressEvent(self, event):  # noqa: N802 - Qt's name
            show_failure(status, InputError("the disk is full."))
            status.show_message("Saved.")
            event.ignore()  # its parents get the press, too

    owner.layout().addWidget(canvas := Canvas())
    canvas.show()
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton)
    assert status.text == "The disk is full.", "the press that has caused it does not end it"

    show_failure(status, InputError("the disk is full."))
    QApplication.processEvents()
    status.show_message("Saved in results.")
    status.show_briefly("Undone.")
    status.clear()
    status.show_until("Enter the reading mode.", tool.toggled)
    status.begin("other", "Reading ...")
    status.end("other", "12 photographs.")
    assert status.text == "The disk is full."
    assert set(lines) == {"The disk is full."}
    QTest.mouseClick(status.findChild(QLabel, "status"), Qt.MouseButton.LeftButton)
    assert status.text == "The disk is full.", "selecting the text does not end it"
    QTest.keyClick(field, Qt.Key.Key_A)
    assert status.text == "12 photographs.", "the last message has waited"

    show_failure(status, InputError("the disk is full."), tool.toggled)
    QApplication.processEvents()
    QTest.mouseClick(field, Qt.MouseButton.LeftButton)
    assert status.text == "The disk is full.", "nothing has waited"
    status.show_message("Saved.")
    assert status.text == "Saved."

    show_failure(status, InputError("the disk is full."), tool.toggled)
    status.show_message("Saved.")
    tool.toggle()
    assert status.text == "Saved.", "the event has ended the error"

    for work, text in ((fail, "a.jpg is missing."), (lambda run: None, "Stored.")):
        status.run(owner, "Storing ...", work, lambda _: status.show_message("Stored."))
        wait_until_idle(qtbot, owner)
        assert status.text == text
    status.run(owner, "Storing ...", fail, print)
    wait_until_idle(qtbot, owner)
    status.run(owner, "Reading ...", lambda run: None, lambda _: status.show_message("Read."))
    wait_until_idle(qtbot, owner)
    assert status.text == "a.jpg is missing.", "another task"
    stage.close()


DOCKS = Path(ui.__file__).parent
OUTCOMES = {"KEPT", "DETACHED_MESSAGE"}


def _shown_requests(tree: ast.AST) -> Iterator[str]:
    """Yield the constants that a module shows in a status line without an end, by ``show_message``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "show_message":
            shown = node.args[0]
            choices = [shown.body, shown.orelse] if isinstance(shown, ast.IfExp) else [shown]
            choices = shown.values if isinstance(shown, ast.BoolOp) else choices
            if ast.unparse(node.func.value).endswith("status"):
                yield from (one.id for one in choices if isinstance(one, ast.Name) and one.id.isupper())


def test_requests_and_hints_of_all_docks_end_with_their_event():
    """A constant describes a state or asks for a step; the names of outcomes, which stay, are listed here."""
    for path in sorted(DOCKS.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        endless = {name for name in _shown_requests(ast.parse(text)) if f"end_message({name})" not in text}
        assert endless <= OUTCOMES, path
        if path.name != "status_line.py":
            assert not re.search(r"status\.text == [\w.]+:\n\s+\S*status\.(show_message\(\"\"\)|clear)", text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no slide is open", "No slide is open."),
        ("a.jpg is missing.", "a.jpg is missing."),
        ("'mole' is hidden", "'mole' is hidden."),
        ("mpp_x is negative", "mpp_x is negative."),
        ("sex: expected a word", "Sex: expected a word."),
        ("--out is missing", "--out is missing."),
        ("", ""),
    ],
)
def test_messages_start_with_a_capital_but_names_stay(text, shown):
    assert to_sentence(text) == shown
    assert capitalize(text).rstrip(".") == shown.rstrip(".")
