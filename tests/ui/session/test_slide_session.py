"""The session of a slide: strokes, notes, results of its analysis, commands, and the sessions of all open slides."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_session import reopens
from fake_slides import LESION, FakeAnalysis, draw_slide
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication

from conftest import wait_until_idle
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.run_folder import RunFolder, RunState
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.data.bags import write_attention
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides.notes import LayerDisplay, NotesFile, SlideMeasurement, SlideNotes
from napari_melanoma.slides.regions import RegionClass, Regions
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, Stroke, read_stroke_file, write_strokes
from napari_melanoma.ui.session.document import DocumentKind, SlideFolder, Stored
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.results import AnalysisResults, HeatmapDisplay, SlideHeatmapDisplay, SlideResults
from napari_melanoma.ui.session.run_status import (
    HeatmapData,
    SlideRunPanel,
    SlideRunUpdate,
    read_heatmap,
)
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
from napari_melanoma.ui.session.tissue import TissueState
from napari_melanoma.ui.widgets.pending import CommitSignal
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

FAT, SKIN, TUMOR = RegionClass("Fat", (1, 1, 1)), RegionClass("Skin", (2, 2, 2)), RegionClass("Tumor", (3, 3, 3))


def stroke(name: str, class_name: str = "Fat") -> Stroke:
    return Stroke(name, class_name, "brush", ((1.0, 2.0), (3.0, 4.0)), 5.0)


A, B = stroke("a"), stroke("b", "Skin")
EMPTY = SlideNotes()
LINE = SlideMeasurement("line", ((1.0, 1.0), (1.0, 9.0)))
START = PaintState((A, B), (FAT, SKIN))


COMMANDS = {
    "a stroke is added above the others": (add_stroke(stroke("c")), PaintState((A, B, stroke("c")), (FAT, SKIN))),
    "a stroke is removed": (remove_stroke("a"), PaintState((B,), (FAT, SKIN))),
    "a stroke that does not exist": (remove_stroke("z"), START),
    "a class is added": (add_class(TUMOR), PaintState((A, B), (FAT, SKIN, TUMOR))),
    "a class of a known name": (add_class(RegionClass("Fat", (9, 9, 9))), START),
    "a class is removed with its strokes": (remove_class("Fat"), PaintState((B,), (SKIN,))),
    "a renamed class": (edit_class(FAT, TUMOR), PaintState((stroke("a", "Tumor"), B), (TUMOR, SKIN))),
    "two classes are merged": (edit_class(FAT, SKIN), PaintState((stroke("a", "Skin"), B), (SKIN,))),
    "a class that the slide does not have": (edit_class(TUMOR, RegionClass("Nevus", (0, 0, 0))), START),
}


@pytest.mark.parametrize(("command", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_commands(command: Command, expected: PaintState) -> None:
    assert command(START) == expected


class Window:
    """The services of a window, and the notes and messages that it received."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.saved: list[SlideNotes] = []
        self.status = SimpleNamespace(
            show_message=self.messages.append,
            add_note=self.messages.append,
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


def test_commands_for_all_open_slides_and_their_signal(sessions: SlideSessions, tmp_path: Path, qtbot: QtBot):
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
    second.painted.undo()
    assert len(changes) == 3, "a removed session is not connections"
    assert join_classes((FAT, SKIN), (RegionClass("Skin", (9, 9, 9)), TUMOR)) == (FAT, SKIN, TUMOR)


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


def test_tissue_of_another_window_is_followed_unless_this_one_has_changed_it(
    sessions: SlideSessions, tmp_path: Path, qtbot: QtBot
) -> None:
    session = open_session(sessions, tmp_path / "a", qtbot)
    first, second, third, own = (TissueState(mask=np.arange(4).reshape(2, 2) == number) for number in range(4))
    for found in (first, second):  # read when the slide is displayed, and again
        session.update(replace(session.location, tissue=found))
        assert session.tissue.value is found
    session.tissue.set(own)
    session.update(replace(session.location, tissue=third))
    assert session.tissue.value is own


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


def test_a_commit_calls_no_method_of_a_deleted_object(qapp: QApplication) -> None:
    errors: list[Exception] = []
    owner = QObject()
    pending, timer = CommitSignal(errors.append), DebounceTimer(owner, 0)
    pending.connect(timer.flush)
    owner.deleteLater()
    QApplication.sendPostedEvents(owner, QEvent.Type.DeferredDelete)
    assert not isalive(timer)
    pending.emit()
    assert errors == []


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


HEAT = HeatmapData(np.zeros((2, 2), np.float32), MapPlacement(0, 0, 32, 32), "melanoma", ("melanoma",), (0, 1), ())
CONTENT = {"target": "melanoma", "seconds": 3.0, "validity": {"valid": True}}
OTHER_CONTENT = {**CONTENT, "seconds": 5.0}
NOT_VALID = {**CONTENT, "validity": ValidityInputs("tiny", demonstration=True).check().to_json()}
NOT_VALID_EITHER = {**CONTENT, "validity": ValidityInputs("tiny", distance=2.0, limit=1.0).check().to_json()}
DONE = AnalysisResults(state="finished", heatmap=HEAT, content=CONTENT)
RUNNING = AnalysisResults(state="running", is_running=True, heatmap=HEAT)


def update(state: str, content: dict[str, Any] | None = None, heatmap: HeatmapData | None = None) -> SlideRunUpdate:
    return SlideRunUpdate(SimpleNamespace(state=RunState(state)), heatmap=heatmap, content=content or {})


def finished(content: dict[str, Any], heatmap: HeatmapData | None = HEAT, **values: Any) -> AnalysisResults:
    return AnalysisResults(state="finished", heatmap=heatmap, content=content, **values)


SHOWN_INVALID = finished(NOT_VALID, None, shows_invalid=True)
FOLLOWED = {  # before, update, expected
    "first tiles": (AnalysisResults(), update("running", None, HEAT), RUNNING),
    "the content while it runs is that of the previous one": (RUNNING, update("running", CONTENT), RUNNING),
    "the heatmap stays if it is unchanged": (RUNNING, update("finished", CONTENT), DONE),
    "results of an earlier session": (AnalysisResults(), update("finished", CONTENT, HEAT), DONE),
    "a failed analysis": (RUNNING, update("failed"), AnalysisResults(state="failed", heatmap=HEAT)),
    "of the view": (AnalysisResults(is_view=True), update("finished", CONTENT, HEAT), replace(DONE, is_view=True)),
    "numbers that are not valid stay shown": (
        SHOWN_INVALID,
        update("finished", NOT_VALID, HEAT),
        finished(NOT_VALID, shows_invalid=True),
    ),
    "those of another analysis are hidden": (
        SHOWN_INVALID,
        update("finished", {**NOT_VALID, "seconds": 9.0}),
        finished({**NOT_VALID, "seconds": 9.0}, None),
    ),
    "those with another reason are hidden": (
        SHOWN_INVALID,
        update("finished", NOT_VALID_EITHER),
        finished(NOT_VALID_EITHER, None),
    ),
    "those that are valid now": (SHOWN_INVALID, update("finished", CONTENT), finished(CONTENT, None)),
}


@pytest.mark.parametrize(("before", "update", "expected"), FOLLOWED.values(), ids=FOLLOWED)
def test_results_follow_an_update(before: AnalysisResults, update: SlideRunUpdate, expected: AnalysisResults) -> None:
    assert vars(before.follow(update)) == vars(expected)


def test_numbers_and_lesions_are_shown_if_they_are_valid_and_of_probabilities() -> None:
    shown = [({}, False, True), (CONTENT, False, True), (NOT_VALID, False, False), (NOT_VALID, True, True)]
    for content, shows_invalid, expected in shown:
        assert AnalysisResults(content=content, shows_invalid=shows_invalid).shows_numbers is expected, content
    assert DONE.has_lesions
    attention = replace(DONE, heatmap=replace(HEAT, is_probability=False))
    without = [RUNNING, AnalysisResults(content=CONTENT), finished({"seconds": 3.0}), attention]
    assert not any(results.has_lesions for results in without)


def test_the_end_of_an_analysis_is_announced_once_and_again_when_the_slide_is_displayed_again():
    assert DONE.follow(update("finished", CONTENT)) is DONE
    ends: list[tuple[str, bool]] = []
    results = SlideResults(AnalysisResults())
    results.ended.connect(lambda update, was_running: ends.append((str(update.status.state), was_running)))
    for one in (update("finished", CONTENT, HEAT), update("finished", CONTENT), update("running", CONTENT)):
        results.follow(one)
    assert ends == [("finished", False)]
    results.follow(update("finished", OTHER_CONTENT))
    assert ends.pop() == ("finished", True)
    results.reopen(is_view=False)
    assert results.value.heatmap is HEAT
    results.follow(update("finished", OTHER_CONTENT))
    assert ends.pop() == ("finished", False)
    results.reopen(is_view=True)
    assert vars(results.value) == vars(AnalysisResults(is_view=True))
    # Invalid numbers are hidden when the slide is displayed again.
    results = SlideResults(AnalysisResults(content=NOT_VALID))
    results.show_invalid(True)
    results.reopen(is_view=False)
    assert not results.value.shows_numbers
    assert results.value.content == NOT_VALID


@pytest.fixture
def settings() -> Any:
    values: dict[str, object] = {}
    return SimpleNamespace(get=values.get, set=values.__setitem__, values=values)


def test_a_changed_display_is_that_of_the_next_slide_unless_its_notes_have_another(settings: Any):
    display = SlideHeatmapDisplay(settings, None)
    assert display.value == HeatmapDisplay()
    display.edit(visible=False, colormap="viridis", threshold=0.8)
    display.update(opacity=10)  # of this slide only
    assert SlideHeatmapDisplay(settings, None).value == HeatmapDisplay(
        visible=False, opacity=60, colormap="viridis", threshold=0.8
    )
    noted = SlideHeatmapDisplay(settings, LayerDisplay(visible=False, opacity=0.25)).value
    assert (noted.visible, noted.opacity) == (False, 25)
    settings.set("slide/colours", "unknown")
    assert SlideHeatmapDisplay(settings, None).value.colormap == HeatmapDisplay().colormap


def test_several_analyses_are_canceled_at_once(qtbot: QtBot, tmp_path: Path):
    panel = SlideRunPanel()
    qtbot.addWidget(panel)
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
        panel.set_folder(folder)
        panel.buttons.command_requested.emit("cancel")
    panel.send_command("pause", folders[1])
    panel.send_command("cancel", folders[1])
    panel.set_folder(None)
    wait_until_idle(qtbot, panel)
    assert [RunFolder(folder).read_command() for folder in folders] == ["cancel"] * 3


ATTENTION = {
    "target": "melanoma",
    "probability": 0.12,
    "scores": {"attention": {"naevus": 0.88, "melanoma": 0.12}},
    "calibration": {"positive": "melanoma", "stated_prevalence": 0.05, "probability": 0.72},
}


def test_attention_of_a_whole_slide_model_is_a_heatmap_without_lesions(tmp_path: Path) -> None:
    analysis = FakeAnalysis(tmp_path / "out", draw_slide(tmp_path / "section.tif"), "print")
    analysis.spec = analysis.spec.model_copy(update={"kind": "embedding", "classes": (), "features": 3})
    analysis.begins().dies()
    weights = np.full((16, 16), 1e-5)
    weights[LESION] = 1 / 16
    write_attention(analysis.result, analysis.order, weights[tuple(analysis.order.T)])
    heat = read_heatmap(analysis.path, "", ATTENTION)
    assert heat is not None
    assert (heat.target, heat.classes, np.nanmax(heat.values)) == ("attention", ("attention",), 1)
    assert (heat.values[LESION] > 0.99).all()
    assert np.nanmax(np.delete(heat.values, range(4, 8), axis=0)) < 0.01
    assert 4 <= heat.tiles[0].row / 32 <= 8
    assert 6 <= heat.tiles[0].column / 32 <= 10
    results = AnalysisResults(state="finished", heatmap=heat, content=ATTENTION)
    assert not results.has_lesions


def test_a_tissue_classifier_has_a_map_of_classes_and_no_suspicious_background(tmp_path: Path) -> None:
    analysis = FakeAnalysis(tmp_path / "out", draw_slide(tmp_path / "section.tif"), "print")
    analysis.spec = analysis.spec.model_copy(update={"classes": ("Haut", "Glas")})
    analysis.begins().works(len(analysis.order))
    content = {"areas": {"Haut": {}}, "class_map": {"background": "Glas", "colors": {"Haut": "#ff0000"}}}
    heat = read_heatmap(analysis.path, "", content)
    assert heat is not None
    assert (heat.target, heat.shows_classes) == ("Haut", True)
    assert heat.class_map is not None
    assert heat.class_map.labels[LESION].max() == 2
    assert heat.class_map.labels[0, 0] == 1
    assert heat.class_map.colors["Haut"] == "#ff0000"
    assert {tile.value for tile in heat.tiles} == {np.float32(0.9)}
    drawn = heat.class_map.labels
    rows, columns = (np.array([getattr(tile, axis) for tile in heat.tiles]) // 32 for axis in ("row", "column"))
    assert (drawn[rows.astype(int), columns.astype(int)] == 1).all()
    assert AnalysisResults(heatmap=heat).shown_class_map is heat.class_map
    chosen = read_heatmap(analysis.path, "Glas", content)
    assert chosen is not None
    assert (chosen.target, chosen.shows_classes, chosen.tiles) == ("Glas", False, ())
    assert AnalysisResults(heatmap=chosen).shown_class_map is None
