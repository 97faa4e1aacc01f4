"""Values edited by hand: their history, reading and saving, also if the window closes during a write."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from psygnal import EmitLoopError
from qtpy.QtCore import QObject

from conftest import wait_until_idle
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.ui.session.document import (
    Document,
    DocumentKind,
    Edited,
    JointHistory,
    SlideFolder,
    Stored,
)
from napari_melanoma.ui.session.history import MAX_PAST, History

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot


class Disk:
    """A slow one, that can be full; notes a file that was changed outside."""

    def __init__(self) -> None:
        self.file, self.calls, self.may_continue, self.begun, self.full = "stored", [], Event(), Event(), False
        self.may_continue.set()

    def read(self, location: SlideFolder) -> Stored[str]:
        return Stored(self.file, (7, 7), (f"{location.folder} was repaired",))

    def write(self, location: SlideFolder, value: str, stored: Stored[str]) -> Stored[str]:
        self.begun.set()
        assert self.may_continue.wait(10)
        if self.full:
            raise SaveError("the disk is full")
        self.calls.append((value, stored.stamp))
        self.file = value
        return Stored(value, (len(self.calls), 0), ("changed outside",) if value == "one" else ())


class SharedDisk(Disk):
    """One whose file is a text of words that other programs add to; ``version``: its stamp."""

    def __init__(self) -> None:
        super().__init__()
        self.version = 0

    def adds(self, word: str) -> None:
        self.file, self.version = f"{self.file} {word}", self.version + 1

    def read(self, location: SlideFolder) -> Stored[str]:
        stored = Stored(self.file, (self.version, 0))
        self.begun.set()
        assert self.may_continue.wait(10)
        return stored

    def write(self, location: SlideFolder, value: str, stored: Stored[str]) -> Stored[str]:
        self.begun.set()
        assert self.may_continue.wait(10)
        others = {*self.file.split()} - {*stored.value.split()} if stored.stamp != (self.version, 0) else set()
        self.file = " ".join(dict.fromkeys((*value.split(), *sorted(others))))
        self.version += 1
        return Stored(self.file, (self.version, 0), replaces=self.file != value)


class RecordedDocument:
    """A document in folder ``a``, and what it emitted."""

    def __init__(self, qtbot: QtBot, disk: Disk | None = None) -> None:
        self.qtbot, self.parent, self.disk = qtbot, QObject(), disk or Disk()
        location = SlideFolder(Path("a.tif"), Path("a"))
        self.document = Document(DocumentKind("text", "", self.disk.read, self.disk.write), location, self.parent)
        self.changed, self.messages, self.errors = [], [], []
        self.document.changed.connect(self.changed.append)
        self.document.noted.connect(self.messages.append)
        self.document.failed.connect(lambda error: self.errors.append(str(error)))

    def waits(self) -> None:
        wait_until_idle(self.qtbot, self.document.queue)

    def sets(self, *values: str) -> None:
        for value in values:
            self.document.apply(lambda _, value=value: value)


@pytest.fixture
def recorded(qtbot: QtBot) -> Iterator[RecordedDocument]:
    """A document that was read."""
    made = RecordedDocument(qtbot)
    made.waits()
    yield made
    made.disk.may_continue.set()
    wait_until_idle(qtbot)
    made.parent.deleteLater()


def test_steps_are_undone_and_redone_also_of_several_values_in_their_order():
    history = History("a").push("b").push("c")
    back = history.undo().undo()
    assert back.current == "a"
    assert back.redo().current == "b"
    assert back.redo().redo() == history
    assert back.push("d").undone == ()
    assert back.map_values(str.upper) == History("A", (), ("C", "B"))
    numbers, words = Edited((1,)), Edited(("a",))
    joint = JointHistory(numbers, words)
    numbers.apply(lambda value: (*value, 2))
    words.apply(lambda value: (*value, "b"))
    numbers.apply(lambda value: (*value, 3))
    joint.undo()
    joint.undo()
    assert (numbers.value, words.value) == ((1, 2), ("a",))
    joint.redo()
    assert (numbers.value, words.value) == ((1, 2), ("a", "b"))
    words.apply(lambda value: (*value, "c"))
    assert not joint.can_redo, "a new step discards the undone ones of all values"
    # A locked step is refused, and the ones before it are not undone in its place.
    errors: list[Exception] = []
    words.failed.connect(errors.append)
    words.find_lock = lambda: "signed"
    joint.undo()
    assert (numbers.value, words.value, [str(error) for error in errors]) == ((1, 2), ("a", "b", "c"), ["signed"])


def test_the_earliest_steps_of_a_long_history_are_dropped() -> None:
    history = History(0)
    for value in range(1, MAX_PAST + 5):
        history = history.push(value)
    assert len(history.past) == len(history.steps) == MAX_PAST
    assert history.past[0] == 4
    assert history.undo().redo() == history


def test_an_edited_value_has_steps_of_the_user_and_others_and_can_be_locked():
    edited, seen, steps = Edited(1), [], []
    edited.changed.connect(seen.append)
    edited.edited.connect(lambda: steps.append(edited.value))
    edited.undo()
    edited.apply(lambda value: value)
    assert not edited.can_undo
    edited.apply(lambda value: value + 1)
    edited.push(7)
    edited.push(7)
    edited.complete(lambda value: value * 10)
    edited.undo()
    edited.undo()
    edited.redo()
    assert (edited.value, edited.can_undo, edited.can_redo) == (20, True, True)
    assert (seen, steps) == ([2, 7, 20, 10, 20], [2, 20, 10, 20])
    # A locked value does not change, and rejected input is replaced.
    edited, seen, errors = Edited(1), [], []
    edited.changed.connect(seen.append)
    edited.failed.connect(lambda error: errors.append(str(error)))
    edited.apply(lambda value: value + 1)
    edited.find_lock = lambda: "the report is signed"
    edited.apply(lambda value: value)
    edited.apply(lambda value: value + 1)
    edited.undo()
    assert (seen, errors) == ([2, 2, 2], ["the report is signed"] * 2), "rejected input is replaced"


def test_a_step_is_stored_even_if_it_cannot_be_displayed():
    edited, stored = Edited(1), []
    edited.edited.connect(lambda: stored.append(edited.value))
    edited.changed.connect(lambda value: 1 // 0)
    with pytest.raises(EmitLoopError):
        edited.apply(lambda value: 2)
    assert stored == [2]


def test_a_document_is_read_and_edited_once_it_was_read(qtbot: QtBot):
    recorded = RecordedDocument(qtbot)
    recorded.sets("too early")
    recorded.waits()
    assert (recorded.document.value, recorded.messages) == ("stored", ["a was repaired"])
    recorded.sets("two")
    recorded.document.undo()
    recorded.document.redo()
    recorded.document.redo()
    assert recorded.changed == ["stored", "two", "stored", "two"]
    # An edit that fails or changes nothing is no step.
    recorded.document.undo()
    recorded.changed.clear()

    def fails(value: str) -> str:
        raise InputError("outside of the slide")

    recorded.document.apply(fails)
    assert (recorded.errors, recorded.changed) == (["outside of the slide"], ["stored"])
    recorded.sets("stored")
    assert not recorded.document.can_undo
    recorded.parent.deleteLater()


def test_the_latest_value_is_written_with_the_stamp_of_the_previous_file_and_retried(recorded: RecordedDocument):
    recorded.sets("0", "1", "2")
    recorded.waits()
    recorded.sets("one")
    recorded.waits()
    assert recorded.disk.calls == [("2", (7, 7)), ("one", (1, 0))]
    assert recorded.messages == ["a was repaired", "changed outside"]
    # A failed write is retried.
    recorded.disk.full = True
    recorded.sets("two")
    recorded.waits()
    recorded.document.flush()
    assert recorded.errors == ["the disk is full"] * 2
    recorded.disk.full = False
    recorded.document.flush()
    assert recorded.disk.file == "two"


@pytest.mark.both_qts
def test_a_value_changed_during_a_write_is_kept_when_the_window_closes(recorded: RecordedDocument) -> None:
    recorded.disk.may_continue.clear()
    recorded.sets("early")
    recorded.qtbot.waitUntil(recorded.disk.begun.is_set)
    recorded.sets("last")
    Thread(target=lambda: (Event().wait(0.05), recorded.disk.may_continue.set())).start()
    recorded.document.flush()  # no turn of Qt comes any more
    assert recorded.disk.calls == [("early", (7, 7)), ("last", (1, 0))]
    recorded.waits()
    assert len(recorded.disk.calls) == 2


@pytest.mark.parametrize("action", ["edit", "undo", "reload"])
def test_an_edit_while_changes_of_another_program_are_merged_erases_neither(qtbot: QtBot, action: str) -> None:
    disk = SharedDisk()
    recorded = RecordedDocument(qtbot, disk)
    recorded.waits()
    recorded.sets("stored early")
    recorded.waits()
    disk.adds("other")
    disk.begun.clear()
    disk.may_continue.clear()
    if action == "reload":
        recorded.document.reload()
    else:
        recorded.sets("stored early here")
    qtbot.waitUntil(disk.begun.is_set)
    if action == "reload":
        recorded.sets("stored early here")
    disk.may_continue.set()
    deadline = time.monotonic() + 10  # the file is written, but no turn of Qt has told the document
    while disk.version < 3 and action != "reload" and time.monotonic() < deadline:
        time.sleep(0.01)
    expected = {"edit": "stored early here last other", "undo": "stored early other"}
    if action == "edit":
        recorded.sets("stored early here last")
    elif action == "undo":
        recorded.document.undo()
    recorded.waits()
    shown = expected.get(action, "stored early here other")
    assert (disk.file, recorded.document.value) == (shown, shown)
    recorded.document.apply(lambda value: f"{value} end")
    recorded.waits()
    assert (disk.file, recorded.document.value) == (f"{shown} end", f"{shown} end")
    recorded.parent.deleteLater()


@pytest.mark.both_qts
@pytest.mark.parametrize("full", [False, True])
def test_a_document_whose_window_is_destroyed_writes_pending_changes(qtbot: QtBot, full: bool) -> None:
    recorded = RecordedDocument(qtbot)
    recorded.waits()
    recorded.sets("two")
    recorded.disk.full = full
    with qtbot.waitSignal(recorded.parent.destroyed):
        recorded.parent.deleteLater()
    assert recorded.disk.calls == ([] if full else [("two", (7, 7))])
    assert recorded.errors == []


def test_a_document_is_written_when_it_is_closed_and_after_its_pending_edits(recorded: RecordedDocument) -> None:
    recorded.sets("two")
    recorded.document.apply_slow(lambda value: f"{value}, then refined")
    recorded.document.close()
    assert recorded.disk.file == "two"
    wait_until_idle(recorded.qtbot)
    assert recorded.disk.file == "two, then refined"


def test_a_document_that_is_closed_while_it_is_read_ends_after_that(qtbot: QtBot) -> None:
    recorded = RecordedDocument(qtbot)
    read, may_end = recorded.disk.read, Event()
    recorded.disk.begun.clear()

    def read_slowly(location: SlideFolder) -> Stored[str]:
        recorded.disk.begun.set()
        assert may_end.wait(10)
        return read(location)

    kind = DocumentKind("text", "", read_slowly, recorded.disk.write)
    document, later = (Document(kind, recorded.document.location, recorded.parent) for _ in range(2))
    later.queue.wait_for(document.queue)
    qtbot.waitUntil(recorded.disk.begun.is_set)
    document.close()
    qtbot.wait(10)  # Qt deletes what may be deleted
    may_end.set()
    qtbot.waitUntil(lambda: later.is_ready)
    assert (document.is_ready, later.value) == (False, "stored")
    recorded.waits()
    recorded.parent.deleteLater()


def test_a_slow_edit_is_applied_to_the_value_of_its_time_and_changes_nothing_if_it_fails(recorded: RecordedDocument):
    begun, may_continue = Event(), Event()
    seen = []

    def add(value: str) -> str:
        seen.append(value)
        begun.set()
        assert may_continue.wait(10)
        return value + " +"

    recorded.document.apply_slow(add)
    recorded.qtbot.waitUntil(begun.is_set)
    recorded.sets("changed")  # meanwhile
    recorded.document.apply_slow(lambda value: value + " -")
    may_continue.set()
    recorded.waits()
    assert seen == ["stored", "changed -"]
    assert recorded.document.value == "changed - +"
    recorded.document.undo()
    assert recorded.document.value == "changed -"

    def fails(value: str) -> str:
        raise InputError("no outline here")

    recorded.document.apply_slow(fails)
    recorded.waits()
    assert (recorded.document.value, recorded.errors) == ("changed -", ["no outline here"])
