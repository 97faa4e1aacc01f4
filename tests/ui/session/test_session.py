"""The session of a slide: commands on its state, undo, and the sessions of all open slides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.session.slide import (
    Command,
    SlideSession,
    SlideSessions,
    SlideState,
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
START = SlideState((A, B), (FAT, SKIN))


@dataclass(frozen=True)
class Case:
    name: str
    command: Command
    expected: SlideState


CASES = [
    Case("a stroke is added above the others", add_stroke(stroke("c")), SlideState((A, B, stroke("c")), (FAT, SKIN))),
    Case("a stroke is removed", remove_stroke("a"), SlideState((B,), (FAT, SKIN))),
    Case("a stroke that does not exist", remove_stroke("z"), START),
    Case("a class is added", add_class(TUMOR), SlideState((A, B), (FAT, SKIN, TUMOR))),
    Case("a class of a known name", add_class(RegionClass("Fat", (9, 9, 9))), START),
    Case("a class is removed with its strokes", remove_class("Fat"), SlideState((B,), (SKIN,))),
    Case(
        "a class is renamed with its strokes",
        edit_class(FAT, TUMOR),
        SlideState((stroke("a", "Tumor"), B), (TUMOR, SKIN)),
    ),
    Case(
        "a color changes",
        edit_class(FAT, RegionClass("Fat", (9, 9, 9))),
        SlideState((A, B), (RegionClass("Fat", (9, 9, 9)), SKIN)),
    ),
    Case("two classes are merged", edit_class(FAT, SKIN), SlideState((stroke("a", "Skin"), B), (SKIN,))),
    Case("a class that the slide does not have", edit_class(TUMOR, RegionClass("Nevus", (0, 0, 0))), START),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_commands(case: Case) -> None:
    assert case.command(START) == case.expected


def test_classes_of_two_lists_are_joined() -> None:
    assert join_classes((FAT, SKIN), (RegionClass("Skin", (9, 9, 9)), TUMOR)) == (FAT, SKIN, TUMOR)


def make_session(sessions: SlideSessions, name: str, state: SlideState | None = None) -> SlideSession:
    session = SlideSession(SimpleNamespace(identity=name), Path(name), SimpleNamespace(), sessions, state)
    sessions.add(session)
    return session


def test_undo_and_redo_emit_the_state_and_equal_states_are_no_step() -> None:
    session = make_session(SlideSessions(), "a", START)
    seen = []
    session.changed.connect(seen.append)
    session.apply(remove_stroke("z"))
    assert not session.can_undo
    session.apply(remove_stroke("a"))
    session.undo()
    session.undo()
    assert session.state == START
    session.redo()
    assert session.state.strokes == (B,)
    assert not session.can_redo
    assert [len(state.strokes) for state in seen] == [1, 2, 1]


def test_classes_are_completed_without_a_step() -> None:
    session = make_session(SlideSessions(), "a", START)
    session.apply(remove_stroke("a"))
    session.complete(add_class(TUMOR))
    session.undo()
    assert session.state.classes == (FAT, SKIN, TUMOR)
    assert not session.can_undo


def test_commands_for_all_open_slides_and_their_signal() -> None:
    sessions, changes = SlideSessions(), []
    first, second = make_session(sessions, "a", START), make_session(sessions, "b", SlideState((stroke("c"),)))
    sessions.changed.connect(lambda: changes.append(1))
    sessions.apply(remove_class("Fat"))
    assert first.state.strokes == (B,)
    assert second.state.strokes == ()
    assert len(changes) == 2
    sessions.remove("b")
    assert list(sessions) == [first]
    assert sessions.get("b") is None
    second.undo()
    assert len(changes) == 3, "a removed session is not followed"
