"""The depth readings of a slide: readers, undo, scale, lock, and what the analysis proposes."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from fake_session import open_session, reopens
from finding_files import load_synoptic, save_synoptic, write_depth

from conftest import wait_until_idle
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.depth.findings import EARLIER_FILES, FINDINGS_FILE, SlideFindings, read_findings, write_findings
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, set_values
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, find_answer
from napari_melanoma.slides import synoptic_files
from napari_melanoma.slides.synoptic_files import list_slide_changes, store_findings
from napari_melanoma.ui.session import depth as depth_module
from napari_melanoma.ui.session.document import SlideFolder, Stored
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot


LINE = ((60.0, 100.0), (460.0, 100.0))
WHEN = "2026-01-02T10:00:00+00:00"
OTHER_SIZE = PixelSize(1.0, 1.0, "given")


@pytest.fixture
def session(qtbot: QtBot, tmp_path: Path) -> Iterator[SlideSession]:
    """The session of a slide whose readings were read."""
    for made in open_session(qtbot, tmp_path / "slide.tif", tmp_path / "results"):
        waits(made, qtbot)
        yield made


def waits(session: SlideSession, qtbot: QtBot) -> None:
    wait_until_idle(qtbot, session.findings.queue)
    qtbot.waitUntil(lambda: session.findings.is_ready)


def stored(session: SlideSession, reader: str) -> DepthReading | None:
    session.findings.flush()
    return read_findings(session.folder).reading_by(reader)


def proposes(session: SlideSession, mm: float) -> None:
    """Write what an analysis has found, which has finished in this minute."""
    candidate = {"surface": LINE[0], "deepest": LINE[1], "mm": mm, "section": 0}
    content = {"depth": {"candidates": [candidate]}, "seconds": mm, "validity": {"valid": True}}
    (session.folder / "result.json").write_text(json.dumps(content))
    status = SimpleNamespace(path=session.folder, state=RunState("finished"))
    session.run.set(SimpleNamespace(status=status, heatmap=None, content=content))


def test_undo_is_another_change_of_the_reading(session: SlideSession) -> None:
    session.findings.set_values(clark=3)
    session.findings.undo()
    assert session.findings.state.reading.clark is None
    session.findings.redo()
    reading = stored(session, "")
    assert [(one.field, one.after) for one in reading.history] == [("clark", 3), ("clark", None), ("clark", 3)]


def test_a_confirmed_thickness_of_the_model_brings_its_line(session: SlideSession, qtbot: QtBot) -> None:
    proposes(session, 0.2)
    waits(session, qtbot)
    qtbot.waitUntil(lambda: session.findings.state.reading.mm == 0.2)
    answer = find_answer(session.findings.state.reading, "breslow")
    assert answer.suggested_by == "model"
    session.findings.set_findings({"breslow": answer.confirm(), "clark": SynopticAnswer(value="II")})
    reading = stored(session, "")
    assert (reading.line, reading.mm, reading.method, reading.clark) == (LINE, 0.2, "automatic", 2)
    assert find_answer(reading, "breslow").confirmed_from == "model"
    session.findings.undo()
    assert stored(session, "").line is None, "it was one step"


def test_a_reading_without_a_name_gets_the_name_and_its_steps(session: SlideSession):
    depth, window = session.findings, session.services
    depth.set_values(clark=3)
    window.set_reader("A")
    assert stored(session, "A").clark == 3
    assert window.status.text == "The reading without a name is now the reading of A."
    assert depth.can_undo
    window.set_reader("Model")
    assert depth.reader == "A", "the name is reserved"
    window.set_reader("B")
    assert not depth.can_undo, "steps of another reader stay"
    # A reading of that name is kept.
    window.set_reader("")
    depth.set_values(clark=2)
    window.set_reader("A")
    assert (stored(session, "A").clark, stored(session, "").clark) == (3, 2)
    assert "A has measured this slide before" in window.status.text


def test_an_imported_reading_does_not_get_the_name_of_the_next_reader(session: SlideSession, qtbot: QtBot) -> None:
    depth, window = session.findings, session.services
    depth.add_readings([DepthReading(mm=0.7), DepthReading(reader="Dr. B", mm=0.9)], lambda *_: None)
    waits(session, qtbot)
    window.set_reader("A")
    assert (stored(session, "").mm, stored(session, "Dr. B").mm) == (0.7, 0.9)
    assert stored(session, "A") is None


def test_readings_follow_the_scale_of_the_slide_unless_they_are_locked(session: SlideSession) -> None:
    depth, window = session.findings, session.services
    depth.set_line(LINE, drawn=True)
    assert depth.state.reading.mm == pytest.approx(0.2)
    depth.find_reading_lock = lambda: "The reading is locked."
    session.slide.info.pixel_size = OTHER_SIZE
    depth.follow_scale()
    depth.set_values(clark=3)
    assert (depth.state.reading.mm, depth.state.reading.clark) == (pytest.approx(0.2), None)
    assert "The reading is locked." in window.status.text
    depth.find_reading_lock = lambda: ""
    depth.rescale()
    assert depth.state.reading.mm == pytest.approx(0.4)
    assert stored(session, "").mm == pytest.approx(0.4)
    depth.undo()
    assert depth.state.reading.line is None, "the last step of the user is undone, not the scale"
    depth.redo()
    assert depth.state.reading.mm == pytest.approx(0.4)


def test_a_signed_synoptic_report_locks_the_reading_of_its_signer(
    session: SlideSession, qtbot: QtBot, tmp_path: Path
) -> None:
    """Also if no section shows the report, as without the extension of its form."""
    report = SynopticReport().sign("A", "2026-01-02T10:00:00+00:00")
    save_synoptic(session.folder, report)
    again = reopens(session)
    waits(again, qtbot)
    again.services.set_reader("A")
    again.findings.set_values(clark=3)
    assert again.findings.state.reading.clark is None
    assert "A has signed. Reopen the synoptic report" in again.services.status.text
    again.services.set_reader("B")
    again.findings.set_values(clark=3)
    assert again.findings.state.reading.clark == 3
    again.services.set_reader("A")
    again.findings.apply(lambda findings: findings.reopen("A", "2026-01-03T10:00:00+00:00"))
    again.findings.set_values(clark=4)
    assert again.findings.state.reading.clark == 4


def test_a_signature_locks_the_reading_of_its_signer_in_another_spelling(session: SlideSession, qtbot: QtBot) -> None:
    depth = set_values(SlideDepthReadings(), "a", "2026-01-01T10:00:00+00:00", clark=2)
    write_json(session.folder / "depth.json", depth.model_dump(mode="json"))
    save_synoptic(session.folder, SynopticReport().sign("A", "2026-01-02T10:00:00+00:00"))
    again = reopens(session)
    waits(again, qtbot)
    again.services.set_reader("A")
    again.findings.set_values(clark=3)
    assert (again.findings.reader, again.findings.state.reading.clark) == ("a", 2)


@pytest.mark.parametrize("is_lost", [False, True])
def test_an_unsigned_report_keeps_no_findings_beside_the_readings(
    session: SlideSession, qtbot: QtBot, is_lost: bool
) -> None:
    """As when a script has reopened a report of another reader, also if the file of the readings was lost."""
    depth = set_values(SlideDepthReadings(), "A", "2026-01-01T10:00:00+00:00", mm=1.2)
    report = SynopticReport(reader="A").complete_from(depth.reading_by("A")).sign("A", "2026-01-02T10:00:00+00:00", {})
    reopened = report.reopen("B", "2026-01-03T10:00:00+00:00")
    if not is_lost:
        write_json(session.folder / "depth.json", depth.model_dump(mode="json"))
    write_json(session.folder / "synoptic.json", reopened.model_dump(mode="json"))
    again = reopens(session)
    waits(again, qtbot)
    assert load_synoptic(session.folder).answers == {}
    assert not again.findings.can_undo
    assert (stored(again, "A").mm, stored(again, "B")) == (1.2, None)
    again.services.set_reader("B")
    again.findings.set_findings({"breslow": SynopticAnswer(value=2.4)})
    assert (stored(again, "A").mm, stored(again, "B").mm) == (1.2, 2.4)
    assert not [name for name in EARLIER_FILES if (session.folder / name).exists()], "they are replaced"
    assert load_synoptic(session.folder).answers == {}


def test_files_of_an_earlier_version_beside_the_findings_are_stated(session: SlideSession, qtbot: QtBot) -> None:
    session.findings.set_values(clark=2)
    waits(session, qtbot)
    write_json(session.folder / "depth.json", SlideDepthReadings().model_dump(mode="json"))
    messages: list[str] = []
    session.findings.noted.connect(messages.append)
    session.findings.reload()
    waits(session, qtbot)
    assert messages[0].startswith("depth.json of an earlier version of the program: not read")
    session.findings.set_values(clark=3)
    waits(session, qtbot)
    assert "backed up: depth.json as depth-" in messages[1]


def test_findings_that_cannot_be_read_are_locked(session: SlideSession, qtbot: QtBot) -> None:
    session.services.set_reader("A")
    session.findings.set_values(clark=3)
    session.findings.flush()
    (session.folder / FINDINGS_FILE).write_text("{", encoding="utf-8")
    again = reopens(session)
    waits(again, qtbot)
    assert "does not contain valid findings" in again.findings.problem
    assert "the findings of the slide cannot be read" in again.findings.find_reading_lock()
    again.findings.set_values(clark=4)
    again.findings.flush()
    assert (session.folder / FINDINGS_FILE).read_text(encoding="utf-8") == "{"


def test_proposals_are_read_after_each_analysis_and_hidden_from_blind_readers(
    session: SlideSession, qtbot: QtBot
) -> None:
    depth = session.findings
    proposes(session, 0.2)
    waits(session, qtbot)
    depth.select_proposal(1)
    proposes(session, 0.3)
    waits(session, qtbot)
    assert (depth.state.reading.mm, depth.state.selected) == (0.3, 0)
    depth.set_blind(True)
    assert (depth.state.reading.mm, depth.state.risk_reading.mm) == (None, None)
    depth.set_line(LINE, drawn=True)
    assert len(depth.state.proposals.proposals) == 1, "the reader has measured"
    depth.accept_proposal()
    assert (stored(session, "").mm, stored(session, "").method) == (0.3, "automatic")


def test_a_stale_window_does_not_change_what_was_signed_in_another_one(session: SlideSession, qtbot: QtBot) -> None:
    session.services.set_reader("A")
    session.findings.set_values(ulcerated=False)
    session.findings.flush()
    sessions = SlideSessions(session.sessions.parent)
    other = SlideSession(session.slide, session.location, session.services, sessions)
    sessions.add(other)
    waits(other, qtbot)
    report = other.synoptic.value.sign("A", "2026-01-02T10:00:00+00:00", {})
    other.findings.apply(lambda findings: findings.with_report(report))
    other.findings.flush()
    signed = load_synoptic(session.folder)
    session.findings.set_values(ulcerated=True)
    session.findings.set_values(clark=3)
    wait_until_idle(qtbot, session.findings.queue)
    assert stored(session, "A").ulcerated is False
    assert session.findings.state.reading.ulcerated is False
    assert session.synoptic.value == signed, "it is reloaded"
    # Another reader measures, and the form of a stale window does not replace the report.
    session.services.set_reader("B")
    session.findings.set_values(clark=2)
    assert stored(session, "B").clark == 2
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "A", signed.signed_at)
    stale = SlideFindings(report=report)
    kept, notes = store_findings(session.folder, session.slide.info.path, stale, SlideFindings(), None)
    assert (kept.report, load_synoptic(session.folder)) == (signed, signed)
    assert "was signed by A in another window" in notes[0]
    assert [path.name for path in session.folder.glob("findings*")] == [FINDINGS_FILE]
    # A report that continues the signed one is written.
    other.findings.apply(lambda findings: findings.reopen("A", signed.signed_at))
    other.findings.flush()
    assert not load_synoptic(session.folder).is_signed
    sessions.remove(other.identity)


def test_two_edits_in_quick_succession_keep_a_signature_of_another_window(
    session: SlideSession, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.services.set_reader("B")
    session.findings.set_values(clark=2)
    waits(session, qtbot)
    others = set_values(read_findings(session.folder), "A", WHEN, mm=2.5)
    signed = others.with_report(SynopticReport()).view_report("A").sign("A", WHEN)
    write_findings(session.folder, others.with_report(signed))
    begun, may_continue, written = Event(), Event(), Event()

    def store_slowly(*values: object) -> object:
        begun.set()
        assert may_continue.wait(10)
        result = store_findings(*values)
        written.set()
        return result

    monkeypatch.setattr(depth_module, "store_findings", store_slowly)
    session.findings.set_values(ulcerated=True)
    qtbot.waitUntil(begun.is_set)
    may_continue.set()
    assert written.wait(10)  # but no turn of Qt has told the window
    session.findings.set_values(clark=3)
    waits(session, qtbot)
    for findings in (read_findings(session.folder), session.findings.value):
        assert (findings.report.signed_by, findings.reading_by("A").mm) == ("A", 2.5)
        assert (findings.reading_by("B").ulcerated, findings.reading_by("B").clark) == (True, 3)


def test_two_windows_that_save_at_once_keep_both_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = tmp_path / "slide.tif"
    slide.write_bytes(b"slide")
    place = SlideFolder(slide, tmp_path / "results")

    def write_late(*values: object) -> object:
        time.sleep(0.2)  # until both have looked at the file
        return write_findings(*values)

    monkeypatch.setattr(synoptic_files, "write_findings", write_late)
    own = [set_values(SlideFindings(), name, WHEN, clark=2) for name in ("A", "B")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: depth_module.FINDINGS_DOCUMENT.write(place, one, Stored(SlideFindings())), own))
    assert {one.reader for one in read_findings(place.folder).readings} == {"A", "B"}


def test_a_reading_that_another_program_has_changed_is_not_replaced(session: SlideSession, qtbot: QtBot) -> None:
    session.services.set_reader("A")
    session.findings.set_values(ulcerated=False)
    session.findings.flush()
    others = set_values(read_findings(session.folder), "B", "2026-01-02T10:00:00+00:00", mm=2.5)
    write_depth(session.folder, others)
    session.findings.set_values(ulcerated=True)
    wait_until_idle(qtbot, session.findings.queue)
    assert (stored(session, "A").ulcerated, stored(session, "B").mm) == (True, 2.5)
    assert session.findings.value.reading_by("B").mm == 2.5
    assert not session.findings.reload_if_changed()
    write_depth(session.folder, set_values(others, "B", "2026-01-03T10:00:00+00:00", mm=0.5))
    assert session.findings.reload_if_changed()
    wait_until_idle(qtbot, session.findings.queue)
    assert session.findings.value.reading_by("B").mm == 0.5


def test_a_thickness_of_a_later_analysis_differs_from_the_signed_one(session: SlideSession, qtbot: QtBot) -> None:
    session.slide.info.levels = (SimpleNamespace(height=512, width=512),)
    session.services.set_reader("Ana")
    proposes(session, 1.2)
    waits(session, qtbot)
    form = session.synoptic
    form.confirm()
    form.edit(form.sign)
    waits(session, qtbot)
    assert form.list_changes() == ()
    proposes(session, 3.4)
    form.list_changes()  # shown at once, while the proposals are still those before
    waits(session, qtbot)
    assert form.list_changes() == list_slide_changes(form.value, form.read_content())
