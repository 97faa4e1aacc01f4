"""A dock as a list of sections: a widget for each session, in their places, also late."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from fake_models import add_risk, make_risk_prediction
from finding_files import write_depth
from napari.layers import Layer
from psygnal import EmitLoopError
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings
from napari_melanoma.models.bundle import user_models_folder
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.sections.choice import SectionChoice, SectionDock
from napari_melanoma.ui.sections.host import SectionHost
from napari_melanoma.ui.session.image import ImageSession
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.docking import DeferredWidgets
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import CollapsibleSection, column, section, section_title

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
FOLDS = ("measurement", "side_by_side", "depth", "risk", "regions")
KEPT = DepthReading(
    when="2026-01-01T10:00:00+00:00",
    line=((60.0, 100.0), (460.0, 100.0)),
    um_per_px=(0.5, 0.5),
    mm=0.2,
    notes="kept before",
)


class NameSection(PhotographSection):
    """Two lines with the name of the session."""

    tools = ("name",)
    parts = (lambda session: session.events.append("part"),)

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        session.events.append("widget")
        self.follow(session.displayed.changed, self._on_displayed)
        lines = [QLineEdit(session.name), QLineEdit(session.name)]
        for line, name in zip(lines, ("first", "second"), strict=True):
            line.setObjectName(name)
        combo = QComboBox()  # with a popup, which is a window of its own
        combo.setEditable(True)
        combo.view()
        self.add(*lines, combo)

    def toggle_tool(self, name: str) -> None:
        session: Any = self.session
        session.events.append(f"toggle {name}")

    def _on_displayed(self) -> None:
        session: Any = self.session
        session.events.append("displayed" if session.displayed.value else "hidden")


class FailingSection(NameSection):
    """Cannot be hidden on the first session."""

    def _on_displayed(self) -> None:
        session: Any = self.session
        if session.name == "one":
            raise ValueError("it is broken")


class NamedSession(ImageSession):
    """An image with a name; ``events``: what its sections have done."""

    def __init__(self, name: str) -> None:
        super().__init__(Mock())
        self.name, self.events = name, list[str]()


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


def host_section(dock: Dock, title: str) -> SectionHost[NamedSession]:
    host = SectionHost[NamedSession](dock, PhotographSection, Mock())
    host._on_found({title: NameSection})
    return host


def test_each_session_has_its_own_widget_in_the_same_place(dock: Dock) -> None:
    host, sessions = host_section(dock, "Place"), [NamedSession("one"), NamedSession("two")]
    host.show_session(None)
    widgets = []
    for session in (*sessions, sessions[0]):
        host.show_session(session)
        widgets.append(host.sections["Place"].widget)
        assert [dock.findChild(QLineEdit, line).text() for line in ("first", "second")] == [session.name] * 2
    assert widgets[0] is widgets[2] is not widgets[1]
    assert widgets[1].isHidden()
    assert sessions[1].events == ["part", "widget", "hidden"]
    assert sessions[0].events == ["part", "widget", "hidden", "displayed"]
    host.show_session(None)
    host.remove_session(sessions[0])
    QApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete))
    assert [isalive(widget) for widget in widgets] == [False, True, False]


def test_a_tool_that_is_requested_before_its_section_is_made_starts_once_it_is(dock: Dock) -> None:
    host, sessions = (
        SectionHost[NamedSession](dock, PhotographSection, Mock()),
        [NamedSession("one"), NamedSession("two")],
    )
    host.toggle_tool("name")  # no image is displayed
    host.show_session(sessions[0])
    host.toggle_tool("name")
    host.show_session(sessions[1])
    host.toggle_tool("name")
    host.toggle_tool("name")  # pressed twice
    host._on_found({"Frame": NameSection})
    dock.frame.collapse()
    assert sessions[0].events == []
    assert sessions[1].events == ["part", "widget", "toggle name"]
    host.show_session(sessions[0])
    assert "toggle name" not in sessions[0].events, "another image is displayed by now"


@pytest.mark.parametrize("is_deleted", [False, True])
def test_tools_are_stopped_with_a_dock_unless_the_canvas_was_deleted_before(
    home: Path, qtbot: QtBot, is_deleted: bool
) -> None:
    """Napari would draw on the canvas of a window that is closed; what was drawn is applied in any case."""
    window, canvas, dock, session = QMainWindow(), QOpenGLWidget(), Dock(is_open=False), NamedSession("one")
    qtbot.addWidget(window)
    window.setCentralWidget(QWidget())
    canvas.setParent(window.centralWidget())
    dock.setParent(window)
    session.commit_requested.connect(lambda: session.events.append("commit"))
    host = host_section(dock, "Place")
    host.show_session(session)
    for widget in (canvas, dock) if is_deleted else (dock,):
        widget.deleteLater()
        QApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete))
    assert "commit" in session.events
    assert session.displayed.value is is_deleted


def test_a_section_that_fails_does_not_keep_others_on_the_previous_session(dock: Dock) -> None:
    host = host_section(dock, "Place")
    dock.frame.expand()
    host._on_found({"Frame": FailingSection})
    host.show_session(NamedSession("one"))
    with pytest.raises(EmitLoopError, match="broken"):
        host.show_session(NamedSession("two"))
    assert [line.text() for line in dock.findChildren(QLineEdit, "first") if line.isVisibleTo(dock)] == ["two"] * 2


def test_the_keyboard_stays_in_its_field_and_files_are_dropped_on_the_dock(dock: Dock, qtbot: QtBot) -> None:
    host = host_section(dock, "Place")
    host.show_session(NamedSession("one"))
    dock.show()
    dock.activateWindow()
    field = dock.findChild(QLineEdit, "second")
    field.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is field)
    host.show_session(NamedSession("two"))
    focused = QApplication.focusWidget()
    assert (focused.objectName(), focused.text(), focused.acceptDrops()) == ("second", "two", False)


def test_pending_input_is_applied_before_a_section_is_hidden(dock: Dock) -> None:
    host, session = host_section(dock, "Place"), NamedSession("one")
    session.commit_requested.connect(lambda: session.events.append("apply"))
    host.show_session(session)
    host.show_session(None)
    assert session.events[-2:] == ["apply", "hidden"]


def test_the_widgets_of_a_collapsed_section_are_made_when_it_is_expanded(dock: Dock) -> None:
    host, session = host_section(dock, "Frame"), NamedSession("one")
    host.show_session(session)
    assert session.events == ["part"]
    dock.frame.expand()
    assert session.events == ["part", "widget"]


def test_a_tool_expands_its_section(dock: Dock) -> None:
    host, session = host_section(dock, "Frame"), NamedSession("one")
    host.toggle_tool("name")
    assert not dock.frame.is_expanded
    host.show_session(session)
    host.toggle_tool("name")
    assert session.events == ["part", "widget", "toggle name"]


def test_the_dock_adds_a_frame_for_a_section_without_a_place(dock: Dock) -> None:
    host, session = host_section(dock, "Names"), NamedSession("one")
    (frame,) = dock.added
    assert frame.objectName() == "lesion_names_section"
    host.show_session(session)
    assert session.events == ["part", "widget"]


@pytest.fixture
def never(monkeypatch):
    """Never run deferred tasks."""
    monkeypatch.setattr(DeferredWidgets, "add_task", lambda waiting, work: None)


@pytest.fixture
def kept(slide_path, person):
    """User who reopened a slide with a stored reading and risk."""
    person.opens_slides(slide_path)
    folder = person.dock.result_location.folder
    write_depth(folder, SlideDepthReadings(readings=(KEPT,)))
    add_risk(user_models_folder())
    answer = make_risk_prediction(0.3, {"age": "60"}, {"model": str(user_models_folder() / "risk-test")})
    (folder / "risk.json").write_text(json.dumps(answer))
    person.viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)
    return person


def test_stored_results_are_shown_and_changed_when_sections_are_first_opened(never, kept):
    around = kept.dock.sections
    assert slide_layers.find_layer(kept.viewer, kept.dock.slide, "depth") is None
    around.hosted._search.start()  # the task that finds the sections
    kept.dock.depth_section.expand()
    kept.until(lambda: "Depth" in around.hosted.sections)
    kept.waits()
    assert kept.label_text("depth_head").startswith("0.20 mm")
    assert kept.finds(QPlainTextEdit, "depth_notes").toPlainText() == "kept before"
    assert len(slide_layers.find_layer(kept.viewer, kept.dock.slide, "depth").data) == 1
    around.hosted.session.findings.set_values(clark=3)
    kept.waits()
    reading = read_findings(kept.dock.result_location.folder).reading_by("")
    assert (reading.clark, reading.mm, reading.notes) == (3, 0.2, "kept before")
    kept.opens_section("Risk")
    kept.waits()
    assert kept.label_text("risk_verdict").startswith("metastasis 0.30")


def test_dock_opened_after_the_slide_is_complete(user, nothing_left, shown_viewer, qtbot, slide_path):
    viewer = shown_viewer
    for data, attributes, kind in slide_layers.read_slide_layers(slide_path):
        viewer.add_layer(Layer.create(data, attributes, kind))
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Slide")
    wait_until_idle(qtbot, dock)
    assert all(getattr(dock, f"{name}_section").isVisibleTo(dock) for name in FOLDS)
    assert dock.findChild(QLabel, "slide_about").text()
    assert dock.findChild(QLineEdit, "go_to") is not None
