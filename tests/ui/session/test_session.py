"""The session of a slide: commands on its state, undo, and the sessions of all open slides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from fake_session import reopens
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject

from conftest import wait_until_idle
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides.notes import NotesFile, SlideMeasurement, SlideNotes
from napari_melanoma.slides.regions import RegionClass, Regions
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, Stroke, read_stroke_file, write_strokes
from napari_melanoma.ui.session.document import DocumentKind, Edited, JointHistory, SlideFolder, Stored
from napari_melanoma.ui.session.image import CommitSignal
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
from napari_melanoma.ui.session.strokes import (
    Command,
    PaintState,
    add_class,
    add_stroke,
    edit_class,
    join_classes,
    remove_class,
    remove_stroke,
)

FAT, SKIN, TUMOR = RegionClass("Fat", (1, 1, 1)), RegionClass("Skin", (2, 2, 2)), RegionClass("Tumor", (3, 3, 3))


def stroke(name: str, class_name: str = "Fat") -> Stroke:
    return Stroke(name, class_name, "brush", ((1.0, 2.0), (3.0, 4.0)), 5.0)


A, B = stroke("a"), stroke("b", "Skin")
EMPTY = SlideNotes()
LINE = SlideMeasurement("line", ((1.0, 1.0), (1.0, 9.0)))
START = PaintState((A, B), (FAT, SKIN))


@dataclass(frozen=True)
class Case:
    name: str
    command: Command
    expected: PaintState


CASES = [
    Case("a stroke is added above the others", add_stroke(stroke("c")), PaintState((A, B, stroke("c")), (FAT, SKIN))),
    Case("a stroke is removed", remove_stroke("a"), PaintState((B,), (FAT, SKIN))),
    Case("a stroke that does not exist", remove_stroke("z"), START),
    Case("a class is added", add_class(TUMOR), PaintState((A, B), (FAT, SKIN, TUMOR))),
    Case("a class of a known name", add_class(RegionClass("Fat", (9, 9, 9))), START),
    Case("a class is removed with its strokes", remove_class("Fat"), PaintState((B,), (SKIN,))),
    Case(
        "a class is renamed with its strokes",
        edit_class(FAT, TUMOR),
        PaintState((stroke("a", "Tumor"), B), (TUMOR, SKIN)),
    ),
    Case(
        "a color changes",
        edit_class(FAT, RegionClass("Fat", (9, 9, 9))),
        PaintState((A, B), (RegionClass("Fat", (9, 9, 9)), SKIN)),
    ),
    Case("two classes are merged", edit_class(FAT, SKIN), PaintState((stroke("a", "Skin"), B), (SKIN,))),
    Case("a class that the slide does not have", edit_class(TUMOR, RegionClass("Nevus", (0, 0, 0))), START),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_commands(case: Case) -> None:
    assert case.command(START) == case.expected


def test_classes_of_two_lists_are_joined() -> None:
    assert join_classes((FAT, SKIN), (RegionClass("Skin", (9, 9, 9)), TUMOR)) == (FAT, SKIN, TUMOR)


class Window:
    """The services of a window, and the notes and messages that it received."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.saved: list[SlideNotes] = []
        self.status = SimpleNamespace(
            show_message=self.messages.append,
            show_error=lambda message, *events, task: self.messages.append(message),
            is_in_view=True,
        )
        self.viewer = SimpleNamespace(layers=())

    def save_notes(self, location: SlideResultLocation) -> None:
        self.saved.append(location.notes)


@pytest.fixture
def sessions(qtbot: QtBot) -> Iterator[SlideSessions]:
    parent = QObject()
    yield SlideSessions(parent)
    wait_until_idle(qtbot)
    parent.deleteLater()


def find(folder: Path, notes: SlideNotes = EMPTY) -> SlideResultLocation:
    return SlideResultLocation(str(folder), folder, folder, notes, NotesFile(folder), False, folder / "view")


def open_session(sessions: SlideSessions, folder: Path, qtbot: QtBot, strokes: tuple[Stroke, ...] = ()) -> SlideSession:
    folder.mkdir()
    if strokes:
        write_strokes(folder / STROKES, strokes, {"Fat": FAT.color, "Skin": SKIN.color})
    info = SimpleNamespace(path=folder / "slide.tif", origin=(0, 0), fingerprint="print")
    slide = SimpleNamespace(identity=str(folder), info=info)
    session = SlideSession(slide, find(folder), Window(), sessions)
    sessions.add(session)
    qtbot.waitUntil(lambda: session.painted.is_ready)
    return session


def test_commands_for_all_open_slides_and_their_signal(sessions: SlideSessions, tmp_path: Path, qtbot: QtBot) -> None:
    first = open_session(sessions, tmp_path / "a", qtbot, (A, B))
    second = open_session(sessions, tmp_path / "b", qtbot, (stroke("c"),))
    changes = []
    sessions.changed.connect(lambda: changes.append(1))
    sessions.apply(remove_class("Fat"))
    assert first.painted.value.strokes == (B,)
    assert second.painted.value.strokes == ()
    assert len(changes) == 2
    sessions.remove(second.identity)
    assert read_stroke_file(tmp_path / "b" / STROKES, (0, 0)).strokes == (), "closing a slide saves it"
    assert list(sessions) == [first]
    assert sessions.get(second.identity) is None
    second.painted.undo()
    assert len(changes) == 3, "a removed session is not followed"


def test_notes_are_edited_and_saved_with_the_measurements(
    sessions: SlideSessions, tmp_path: Path, qtbot: QtBot
) -> None:
    session = open_session(sessions, tmp_path / "a", qtbot)
    saved = session.services.saved
    session.edit_notes(lambda notes: replace(notes, angle=0.0))
    assert not saved, "nothing has changed"
    session.measures.apply(lambda measures: (*measures, LINE))
    session.measures.undo()
    session.measures.redo()
    session.edit_notes(lambda notes: replace(notes, angle=90.0))
    assert saved[-1] == SlideNotes("print", measures=(LINE,), angle=90.0) == session.location.notes

    # When the slide is displayed again, the notes of another window are shown, and newer ones of this window are kept.
    known = session.notes.value
    session.update(replace(find(tmp_path / "a", SlideNotes(angle=30.0)), known_notes=known))
    assert (session.notes.value.angle, session.measures.value) == (30.0, ())
    session.measures.undo()
    assert session.measures.value == (LINE,)
    session.update(replace(find(tmp_path / "a", SlideNotes(angle=60.0)), known_notes=known))
    assert (session.notes.value.angle, session.measures.value) == (30.0, (LINE,))


def test_a_file_that_cannot_be_read_is_reported(sessions: SlideSessions, tmp_path: Path, qtbot: QtBot) -> None:
    def fail(location: SlideFolder) -> Stored[int]:
        raise InputError(f"{location.folder.name} is broken")

    session = open_session(sessions, tmp_path / "a", qtbot)
    document = session.document(DocumentKind("number", 0, fail, lambda location, value, stored: Stored(value)))
    assert session.document(document.kind) is document
    qtbot.waitUntil(lambda: document.is_ready)
    assert (document.problem, session.services.messages) == ("a is broken", ["A is broken"])
    document.apply(lambda value: value + 1)
    assert document.value == 0


def test_steps_of_several_values_are_undone_in_their_order() -> None:
    numbers, words = Edited((1,)), Edited(("a",))
    history = JointHistory(numbers, words)
    numbers.apply(lambda value: (*value, 2))
    words.apply(lambda value: (*value, "b"))
    numbers.apply(lambda value: (*value, 3))
    history.undo()
    history.undo()
    assert (numbers.value, words.value) == ((1, 2), ("a",))
    history.redo()
    assert (numbers.value, words.value) == ((1, 2), ("a", "b"))
    words.apply(lambda value: (*value, "c"))
    assert not history.can_redo, "a new step discards the undone ones of all values"

    # A locked step is refused, and the ones before it are not undone in its place.
    errors: list[Exception] = []
    words.failed.connect(errors.append)
    words.find_lock = lambda: "signed"
    history.undo()
    assert (numbers.value, words.value, [str(error) for error in errors]) == ((1, 2), ("a", "b", "c"), ["signed"])


def test_pending_input_is_applied_although_a_section_fails() -> None:
    calls, errors = [], []
    pending = CommitSignal(errors.append)
    for function in (lambda: calls.append("first"), lambda: 1 // 0, lambda: calls.append("last")):
        pending.connect(function)
    pending.emit()
    assert calls == ["first", "last"]
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_an_edit_that_is_computed_while_its_slide_is_closed_is_read_when_it_is_opened_again(
    sessions: SlideSessions, tmp_path: Path, qtbot: QtBot
) -> None:
    session = open_session(sessions, tmp_path / "a", qtbot, (A,))
    region = Annotation((Polygon(((1.0, 1.0), (1.0, 9.0), (9.0, 9.0))),), id="r")
    begun, may_continue = Event(), Event()

    def refine(regions: Regions) -> Regions:
        begun.set()
        assert may_continue.wait(10)
        return (*regions, region)

    qtbot.waitUntil(lambda: session.regions.is_ready)
    session.regions.apply_slow(refine)
    qtbot.waitUntil(begun.is_set)
    again = reopens(session)
    qtbot.wait(100)
    assert not again.regions.is_ready, "the file does not contain the edit yet"
    may_continue.set()
    qtbot.waitUntil(lambda: again.regions.is_ready)
    assert [one.id for one in again.regions.value] == ["r"]
    again.regions.apply(lambda regions: ())
    again.flush()
    wait_until_idle(qtbot)
    assert not [message for message in again.services.messages if "backup" in message]
