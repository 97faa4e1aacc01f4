"""A dock as a list of sections: opened on one session after another, in their places and the tab order."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QComboBox, QLineEdit, QVBoxLayout, QWidget

from napari_melanoma.ui.sections import PhotographSection, Section, find_sections
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.sections.host import SectionHost
from napari_melanoma.ui.sections.prediction import PredictionSection
from napari_melanoma.ui.sections.slide_prediction import SlidePredictionSection
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import CollapsibleSection, column, section, section_title

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_melanoma.ui.session.photograph import PhotographSession


class NameSection(PhotographSection):
    """Two lines with the name of the session."""

    tools = ("name",)

    def __init__(self) -> None:
        self.events: list[str] = []

    def show(self, session: PhotographSession) -> None:
        self.events.append(f"show {session.name}")

    def open(self, session: PhotographSession) -> QWidget:
        self.events.append(f"open {session.name}")
        lines = [QLineEdit(session.name), QLineEdit(session.name)]
        for line, name in zip(lines, ("first", "second"), strict=True):
            line.setObjectName(name)
        combo = QComboBox()  # with a popup, which is a window of its own
        combo.setEditable(True)
        combo.view()
        return column(*lines, combo)

    def toggle_tool(self, name: str) -> None:
        self.events.append(f"toggle {name}")

    def close(self) -> None:
        self.events.append("close")


class Dock(SectionDock):
    """Lines above and below a place that is always expanded, and a collapsible one."""

    name = "lesion"

    def __init__(self, is_open: bool) -> None:
        super().__init__()
        self.settings = DockSettings()
        self.place, self.frame = column(), section("Frame", "lesion_frame_section", None, self.settings, is_open)
        self.choice = SectionChoice(self)
        self.added: list[CollapsibleSection] = []
        layout = QVBoxLayout(self)
        for name, part in (("above", QLineEdit()), ("", self.place), ("", self.frame), ("below", QLineEdit())):
            part.setObjectName(name or part.objectName())
            layout.addWidget(part)

    def list_places(self) -> dict[str, QWidget]:
        return {"Place": self.place, "Frame": self.frame, **{section_title(one): one for one in self.added}}

    def add_section(self, frame: CollapsibleSection) -> None:
        self.added.append(frame)
        self.layout().addWidget(frame)


@pytest.fixture
def dock(qtbot: QtBot, home: Path) -> Dock:
    made = Dock(is_open=False)
    qtbot.addWidget(made)
    return made


def host_section(dock: Dock, title: str) -> tuple[SectionHost[PhotographSession], NameSection]:
    host, made = SectionHost(dock, PhotographSection, Mock()), NameSection()
    host._on_found({title: lambda: made})
    return host, made


def tab_order(window: QWidget) -> list[str]:
    names, widget = [], window.nextInFocusChain()
    while widget is not window:
        names += [widget.objectName()] if isinstance(widget, QLineEdit) and widget.objectName() else []
        widget = widget.nextInFocusChain()
    return names


def lay_out() -> None:
    """Run the event loop as often as Qt needs to show and to lay out widgets; there is no time for an animation."""
    for _ in range(10):
        QApplication.processEvents()


def is_whole(widget: QWidget | None) -> bool:
    """Whether a widget is visible with all of its height."""
    return widget is not None and widget.isVisible() and widget.height() >= widget.minimumSizeHint().height() > 0


def make_session(name: str) -> PhotographSession:
    session = Mock()
    session.name = name
    return session


def test_a_section_is_closed_before_another_session_is_shown(dock: Dock) -> None:
    host, made = host_section(dock, "Place")
    host.show_session(None)
    assert made.events == []
    for name in ("one", "two"):
        host.show_session(make_session(name))
        assert [dock.findChild(QLineEdit, line).text() for line in ("first", "second")] == [name] * 2
        assert tab_order(dock) == ["above", "first", "second", "below"]
    host.show_session(None)
    assert made.events == ["show one", "open one", "close", "show two", "open two", "close"]
    assert tab_order(dock) == ["above", "below"]


def test_a_section_that_fails_does_not_keep_others_on_the_previous_session(dock: Dock) -> None:
    host, first = host_section(dock, "Place")
    second = NameSection()
    host._on_found({"Frame": lambda: second})
    host.show_session(make_session("one"))
    first.close = Mock(side_effect=ValueError("it is broken"))
    with pytest.raises(ValueError, match="broken"):
        host.show_session(make_session("two"))
    first.close = Mock()
    assert second.events == ["show one", "close", "show two"]
    assert dock.findChild(QLineEdit, "first").text() == "two"


def test_the_keyboard_stays_in_its_field_and_files_are_dropped_on_the_dock(dock: Dock, qtbot: QtBot) -> None:
    host, _ = host_section(dock, "Place")
    host.show_session(make_session("one"))
    dock.show()
    dock.activateWindow()
    field = dock.findChild(QLineEdit, "second")
    field.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is field)
    host.show_session(make_session("two"))
    focused = QApplication.focusWidget()
    assert (focused.objectName(), focused.text(), focused.acceptDrops()) == ("second", "two", False)


def test_pending_input_is_applied_before_a_section_is_closed(dock: Dock) -> None:
    host, made = host_section(dock, "Place")
    session = make_session("one")
    session.commit_requested.emit.side_effect = lambda: made.events.append("apply")
    host.show_session(session)
    host.show_session(None)
    assert made.events[-2:] == ["apply", "close"]


def test_the_widgets_of_a_collapsed_section_are_made_when_it_is_expanded(dock: Dock) -> None:
    host, made = host_section(dock, "Frame")
    host.show_session(make_session("one"))
    assert made.events == ["show one"]
    dock.frame.expand()
    assert made.events == ["show one", "open one"]
    assert tab_order(dock) == ["above", "first", "second", "below"]


def test_a_section_has_room_for_widgets_that_are_opened_later(dock: Dock, qtbot: QtBot) -> None:
    dock.frame.expand()
    dock.show()
    qtbot.waitExposed(dock)
    host, _ = host_section(dock, "Frame")
    host.show_session(make_session("one"))
    lay_out()
    assert is_whole(host.sections["Frame"].widget)
    host.show_session(None)
    dock.frame.collapse()
    qtbot.mouseClick(dock.frame.title_button, Qt.MouseButton.LeftButton)
    host.show_session(make_session("two"))  # such as when its file has been read
    lay_out()
    assert is_whole(host.sections["Frame"].widget)


def test_a_section_may_keep_its_widget(dock: Dock) -> None:
    host, made = host_section(dock, "Place")
    kept = QLineEdit()
    made.keeps_widget, made.open = True, lambda session: kept
    for name in ("one", "two"):
        host.show_session(make_session(name))
        assert kept.isVisibleTo(dock)
    host.show_session(None)
    QApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete))
    assert isalive(kept)
    assert not kept.isVisibleTo(dock)


def test_an_expanded_section_keeps_its_height_when_another_session_is_shown(dock: Dock, qtbot: QtBot) -> None:
    dock.frame.expand()
    dock.show()
    host, _ = host_section(dock, "Frame")
    host.show_session(make_session("one"))
    lay_out()
    height = dock.frame.height()
    host.show_session(make_session("two"))
    lay_out()
    assert dock.frame.height() == height > dock.frame.title_button.height()


def test_a_tool_expands_its_section(dock: Dock) -> None:
    host, made = host_section(dock, "Frame")
    host.toggle_tool("name")
    assert made.events == []
    host.show_session(make_session("one"))
    host.toggle_tool("name")
    assert made.events == ["show one", "open one", "toggle name"]


def test_the_dock_adds_a_frame_for_a_section_without_a_place(dock: Dock) -> None:
    host, made = host_section(dock, "Names")
    (frame,) = dock.added
    assert frame.objectName() == "lesion_names_section"
    host.show_session(make_session("one"))
    assert made.events == ["show one", "open one"]


def test_two_docks_have_sections_of_the_same_title() -> None:
    assert find_sections(Section)["Prediction"] is SlidePredictionSection
    assert find_sections(PhotographSection)["Prediction"] is PredictionSection
