"""A section in a dock: opened on one session after another, in the place and the tab order of its slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qtpy.QtWidgets import QComboBox, QLineEdit, QVBoxLayout, QWidget

from napari_melanoma.ui.sections.slot import SectionSlot

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


class NameSection:
    """Two lines with the name of the session."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def open(self, session: str) -> QWidget:
        self.events.append(f"open {session}")
        widget = QWidget()
        layout = QVBoxLayout(widget)
        for name in ("first", "second"):
            line = QLineEdit(session)
            line.setObjectName(name)
            layout.addWidget(line)
        combo = QComboBox()  # with a popup, which is a window of its own
        combo.setEditable(True)
        combo.view()
        layout.addWidget(combo)
        return widget

    def close(self) -> None:
        self.events.append("close")


@pytest.fixture
def window(qtbot: QtBot) -> QWidget:
    made = QWidget()
    qtbot.addWidget(made)
    layout = QVBoxLayout(made)
    for name in ("above", "slot", "below"):
        widget: QWidget = SectionSlot() if name == "slot" else QLineEdit()
        widget.setObjectName(name)
        layout.addWidget(widget)
    return made


def tab_order(window: QWidget) -> list[str]:
    names, widget = [], window.nextInFocusChain()
    while widget is not window:
        names += [widget.objectName()] if isinstance(widget, QLineEdit) and widget.objectName() else []
        widget = widget.nextInFocusChain()
    return names


def test_a_section_is_closed_before_another_session_is_shown(window: QWidget) -> None:
    slot, section = window.findChild(SectionSlot, "slot"), NameSection()
    slot.section = section
    slot.show_session(None)
    assert section.events == []
    for session in ("one", "two"):
        slot.show_session(session)
        assert [slot.findChild(QLineEdit, name).text() for name in ("first", "second")] == [session] * 2
        assert tab_order(window) == ["above", "first", "second", "below"]
    slot.show_session(None)
    assert section.events == ["open one", "close", "open two", "close"]
    assert tab_order(window) == ["above", "below"]
