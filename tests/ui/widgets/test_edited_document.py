"""Values edited by hand: history of each slide, and saving, also if the window closes during a write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest
from qtpy.QtCore import QObject

from conftest import wait_until_idle
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument


@dataclass
class Stored:
    stamp: tuple[int, int] | None
    notes: tuple[str, ...] = ()


class Disk:
    """A slow one, that can be full; notes a file that was changed outside."""

    def __init__(self):
        self.files, self.calls, self.goes_on, self.begun, self.full = {}, [], Event(), Event(), False
        self.goes_on.set()

    def read(self, identity, folder):
        value = self.files.get(folder, "stored")
        return DocumentState(identity, History(value), folder), Stored((7, 7), (f"{identity} was repaired",))

    def write(self, state, stamp):
        self.begun.set()
        assert self.goes_on.wait(10)
        if self.full:
            raise SaveError("the disk is full")
        self.calls.append((state.history.current, stamp))
        self.files[state.folder] = state.history.current
        return Stored((len(self.calls), 0), ("changed outside",) if stamp is None else ())


class Desk:
    """A document of slides in folders of the same name, and what it emitted."""

    def __init__(self, qtbot):
        self.qtbot, self.parent, self.disk = qtbot, QObject(), Disk()
        self.document = EditedDocument(self.parent, self.disk.read, self.disk.write)
        self.changed, self.messages, self.errors = [], [], []
        self.document.changed.connect(lambda state: self.changed.append(state and state.history.current))
        self.document.message.connect(self.messages.append)
        self.document.failed.connect(lambda error: self.errors.append(str(error)))

    def waits(self):
        wait_until_idle(self.qtbot, self.document)

    def opens(self, identity):
        self.document.show(identity)
        self.document.load(identity, Path(identity))
        self.waits()

    def sets(self, *values):
        for value in values:
            self.document.apply_edit(lambda _, value=value: value)

    @property
    def value(self):
        return self.document.state.history.current


@pytest.fixture
def desk(qtbot):
    """A document in which slide ``a`` is open."""
    made = Desk(qtbot)
    made.opens("a")
    yield made
    made.disk.goes_on.set()
    wait_until_idle(qtbot)
    made.parent.deleteLater()


def test_steps_are_undone_and_redone():
    history = History("a").push("b").push("c")
    back = history.undo().undo()
    assert back.current == "a"
    assert back.undo() is back
    assert back.redo().current == "b"
    assert back.redo().redo() == history
    assert history.redo() is history
    assert back.push("d").undone == ()
    assert back.map_values(str.upper) == History("A", (), ("C", "B"))


def test_a_slide_is_read_once_and_keeps_its_history(desk):
    assert (desk.value, desk.messages) == ("stored", ["a was repaired"])
    desk.sets("one")
    desk.opens("b")
    desk.sets("other")
    desk.opens("a")
    assert (desk.value, desk.messages) == ("one", ["a was repaired", "b was repaired"])
    desk.document.undo()
    assert desk.value == "stored"
    desk.document.redo()
    desk.document.redo()
    assert desk.value == "one"
    assert desk.changed == [None, "stored", "one", None, "stored", "other", "one", "stored", "one"]


def test_a_slide_that_is_not_displayed_or_was_not_read_is_not_changed(desk):
    desk.document.load("b", Path("b"))
    desk.document.show("b")
    desk.sets("one")
    desk.document.undo()
    desk.waits()
    assert (desk.document.state, desk.disk.calls) == (None, [])
    desk.document.show(None)
    assert desk.document.state is None


def test_an_edit_that_fails_or_changes_nothing_is_no_step(desk):
    def fails(value):
        raise InputError("outside of the slide")

    edits = []
    desk.document.edited.connect(lambda: edits.append(desk.value))
    desk.document.apply_edit(fails)
    assert (desk.errors, desk.changed) == (["outside of the slide"], [None, "stored", "stored"])
    desk.sets("stored")
    desk.sets("one")
    assert (desk.document.state.history.past, edits) == (("stored",), ["one"])


def test_the_latest_value_is_written_with_the_stamp_of_the_previous_file(desk):
    desk.sets(0, 1, 2)
    desk.waits()
    desk.sets(3)
    desk.waits()
    assert desk.disk.calls == [(2, (7, 7)), (3, (1, 0))]
    assert desk.messages == ["a was repaired"]


def test_notes_on_a_file_that_was_changed_outside_are_shown(desk):
    desk.document.add(DocumentState("a", History("new"), Path("other")))
    desk.sets("one")
    desk.waits()
    assert desk.messages == ["a was repaired", "changed outside"]


@pytest.mark.both_qts
def test_a_value_changed_during_a_write_is_kept_when_the_window_closes(desk):
    desk.disk.goes_on.clear()
    desk.sets("early")
    desk.qtbot.waitUntil(desk.disk.begun.is_set)
    desk.sets("last")
    Thread(target=lambda: (Event().wait(0.05), desk.disk.goes_on.set())).start()
    desk.document.flush()  # no turn of Qt comes any more
    assert desk.disk.calls == [("early", (7, 7)), ("last", (1, 0))]
    desk.waits()
    assert len(desk.disk.calls) == 2


@pytest.mark.both_qts
@pytest.mark.parametrize("full", [False, True])
def test_a_destroyed_document_writes_pending_changes(qtbot, full):
    desk = Desk(qtbot)
    desk.opens("a")
    desk.sets("one")
    desk.disk.full = full
    with qtbot.waitSignal(desk.parent.destroyed):
        desk.parent.deleteLater()
    assert desk.disk.calls == ([] if full else [("one", (7, 7))])
    assert desk.errors == []


def test_a_document_that_is_destroyed_writes_every_slide(qtbot):
    desk = Desk(qtbot)
    desk.disk.full = True
    for identity in ("a", "b"):
        desk.opens(identity)
        desk.sets(identity)
        desk.waits()
    desk.disk.full = False
    desk.document._stamps.clear()  # so that each write has a note
    with qtbot.waitSignal(desk.parent.destroyed):
        desk.parent.deleteLater()
    assert desk.disk.files == {Path("a"): "a", Path("b"): "b"}


def test_an_unexpected_error_of_one_slide_does_not_keep_others_from_being_saved(desk, monkeypatch):
    write = desk.disk.write

    def fail_for_a(state, stamp):
        if state.identity == "a":
            raise RuntimeError("unexpected")
        return write(state, stamp)

    monkeypatch.setattr(desk.document, "_write", fail_for_a)
    desk.sets("one")
    desk.opens("b")
    desk.sets("two")
    desk.document.flush()
    assert desk.disk.files == {Path("b"): "two"}
    assert desk.errors[-1] == "unexpected"


def test_a_flushed_value_is_not_written_again(desk):
    desk.sets("one")
    desk.document.flush()
    assert desk.disk.calls == [("one", (7, 7))]
    desk.waits()
    assert desk.disk.calls == [("one", (7, 7))]


def test_a_failed_write_is_retried(desk):
    desk.disk.full = True
    desk.sets("one")
    desk.waits()
    desk.document.flush()
    assert desk.errors == ["the disk is full"] * 2
    desk.disk.full = False
    desk.document.flush()
    assert desk.disk.files == {Path("a"): "one"}
