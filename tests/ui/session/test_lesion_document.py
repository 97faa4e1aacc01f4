"""The lesions of a slide: detection, manual edits at other thresholds and classes, undo, and when they are saved."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from fake_session import open_session, reopens
from fake_slides import FakeAnalysis

from conftest import wait_until_idle
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.lesion_edits import remove_lesion, set_lesion_class
from napari_melanoma.slides.lesion_files import read_saved_lesions, save_lesions
from napari_melanoma.ui.session.run_status import SlideRunUpdate, read_heatmap


@pytest.fixture
def session(qtbot, tmp_path):
    """The session of a slide whose analysis has ended, with two malignant lesions."""
    path, folder = tmp_path / "slide.tif", tmp_path / "results"
    FakeAnalysis(folder, path, "print").begins().finishes()
    for made in open_session(qtbot, path, folder):
        assert made.lesions.value is None
        ends(made)
        waits(qtbot, made)
        yield made


def ends(session, folder=None):
    """Follow the analysis, which has ended."""
    folder = folder or session.folder
    content = json.loads((folder / "result.json").read_text())
    heatmap = read_heatmap(folder, "", content)
    status = SimpleNamespace(path=folder, state=RunState("finished"))
    session.run.set(SlideRunUpdate(status, heatmap=heatmap, content=content))


def waits(qtbot, session):
    wait_until_idle(qtbot, session.sessions.parent)


def removes(session, index):
    session.lesions.edit(lambda lesions, maps, config: remove_lesion(lesions, index))


def switches(session, index):
    session.lesions.edit(lambda lesions, maps, config: set_lesion_class(lesions, index, "benign"))


def labels(session):
    return [lesion.label for lesion in session.lesions.value.lesions]


def stored(session):
    return [row["label"] for row in read_table(session.folder / "lesions.csv")]


def threshold(qtbot, session, value):
    session.results.threshold_selected.emit(value)
    waits(qtbot, session)
    assert session.heatmap_display.value.threshold == session.lesions.value.config.high == value


def test_edits_are_saved_at_once_and_a_threshold_on_request(qtbot, session):
    lesions = session.lesions
    assert (labels(session), lesions.is_saved, lesions.is_corrected) == (["malignant"] * 2, True, False)
    switches(session, 2)
    lesions.undo()  # after the edit, which is still pending
    lesions.redo()
    waits(qtbot, session)
    assert labels(session) == stored(session) == ["malignant", "benign"]
    assert lesions.is_saved
    assert lesions.is_corrected
    # Several thresholds are one step, and manual edits survive them.
    for value in (0.95, 0.99):
        threshold(qtbot, session, value)
    assert labels(session) == ["benign"]
    assert (lesions.is_saved, lesions.is_corrected, stored(session)) == (False, False, ["malignant", "benign"])
    lesions.undo()
    waits(qtbot, session)
    assert (labels(session), lesions.is_saved) == (["malignant", "benign"], True)
    assert session.heatmap_display.value.threshold == 0.6
    lesions.redo()
    lesions.save()
    waits(qtbot, session)
    assert stored(session) == ["benign"]
    assert read_saved_lesions(session.folder).is_edited
    # Results that are displayed again keep undo and unsaved changes.
    threshold(qtbot, session, 0.95)
    before = session.lesions.value
    session.results.reopen(is_view=False)
    ends(session)
    waits(qtbot, session)
    assert session.lesions.value is before
    assert session.lesions.can_undo


def test_a_number_is_not_that_of_another_lesion_which_a_pending_detection_finds(qtbot, session):
    before = len(session.lesions.value.lesions)
    session.results.threshold_selected.emit(0.65)
    session.lesions.edit(lambda lesions, maps, config: remove_lesion(lesions, 1), (1,))
    waits(qtbot, session)
    assert len(session.lesions.value.lesions) == before
    assert "Select the lesions again." in session.services.status.text
    session.lesions.edit(lambda lesions, maps, config: remove_lesion(lesions, 1), (1,))
    waits(qtbot, session)
    assert len(session.lesions.value.lesions) == before - 1


def test_removed_lesions_do_not_come_back(qtbot, session):
    removes(session, 2)
    waits(qtbot, session)
    for value in (0.99, 0.6):
        threshold(qtbot, session, value)
    assert len(labels(session)) == 1
    target = session.results.value.heatmap.target
    for name in ("benign", target):  # also after a change of class
        session.results.target_selected.emit(name)
        waits(qtbot, session)
        assert session.lesions.value.source.target == name
    assert len(labels(session)) == 1
    removes(session, 1)
    waits(qtbot, session)
    assert labels(session) == stored(session) == []
    # What was removed in an earlier session is known by what is missing.
    session.results.reset(is_view=False)
    assert session.lesions.value is None
    ends(session)
    waits(qtbot, session)
    assert len(session.lesions.value.removed) == 2


def test_an_edit_detects_and_reads_no_lesions(qtbot, session, monkeypatch):
    with monkeypatch.context() as patch:
        for name in ("slides.lesions.find_lesions", "slides.lesion_files.read_geojson"):
            patch.setattr(f"napari_melanoma.{name}", None)
        removes(session, 1)
        waits(qtbot, session)
        assert labels(session) == stored(session) == ["malignant"]
        session.lesions.undo()
        waits(qtbot, session)
        removes(session, 2)
        waits(qtbot, session)
    # What was removed is found when it is needed
    threshold(qtbot, session, 0.65)
    removes(session, 1)
    waits(qtbot, session)
    assert (labels(session), len(session.lesions.value.removed)) == ([], 2)


def test_undo_of_an_edit_is_saved_at_once_also_at_a_new_threshold(qtbot, session):
    removes(session, 2)
    waits(qtbot, session)
    session.lesions.undo()
    waits(qtbot, session)
    assert (session.lesions.can_undo, session.lesions.is_saved) == (False, True)
    assert stored(session) == labels(session) == ["malignant"] * 2
    # So it is at a new threshold.
    threshold(qtbot, session, 0.65)
    assert not session.lesions.is_saved
    switches(session, 1)
    waits(qtbot, session)
    assert (stored(session), session.lesions.is_saved) == (labels(session), True)
    session.lesions.undo()
    waits(qtbot, session)
    assert (stored(session), session.lesions.is_saved) == (labels(session), True)
    session.lesions.undo()
    waits(qtbot, session)
    assert (session.lesions.value.config.high, session.lesions.is_saved) == (0.6, True)
    session.lesions.redo()
    waits(qtbot, session)
    assert not session.lesions.is_saved, "a threshold is saved only on request"
    # An undo that is pending when the slide is closed is saved.
    session.lesions.undo()
    switches(session, 1)
    waits(qtbot, session)
    assert "benign" in stored(session)
    session.lesions.undo()  # and the slide is closed before it is done
    session.sessions.remove(session.identity)
    waits(qtbot, session)
    assert stored(session) == ["malignant"] * 2


def test_steps_of_lesions_and_thresholds_are_undone_in_the_order_of_all_annotations(qtbot, session):
    region = Annotation((Polygon(((1.0, 1.0), (1.0, 9.0), (9.0, 9.0))),), id="r")
    qtbot.waitUntil(lambda: session.regions.is_ready)
    history = session.annotations
    switches(session, 2)
    waits(qtbot, session)
    session.regions.apply(lambda regions: (*regions, region))
    for value in (0.95, 0.99):
        threshold(qtbot, session, value)
    history.undo()
    assert (session.lesions.value.config.high, session.regions.value) == (0.6, (region,))
    history.undo()  # although the lesions are being saved
    assert (session.regions.value, labels(session)) == ((), ["malignant", "benign"])
    history.undo()
    waits(qtbot, session)
    assert (labels(session), history.can_undo) == (["malignant"] * 2, False)


def test_undo_takes_the_last_action_also_while_lesions_are_computed(qtbot, session):
    region = Annotation((Polygon(((1.0, 1.0), (1.0, 9.0), (9.0, 9.0))),), id="r")
    qtbot.waitUntil(lambda: session.regions.is_ready)
    switches(session, 2)
    session.regions.apply(lambda regions: (*regions, region))  # before the edit is computed
    waits(qtbot, session)
    session.annotations.undo()
    assert (session.regions.value, labels(session)) == ((), ["malignant", "benign"])
    session.annotations.redo()
    removes(session, 2)
    session.annotations.undo()  # before the edit is computed
    session.annotations.undo()
    assert session.regions.value == ()
    waits(qtbot, session)
    assert labels(session) == ["malignant", "benign"]
    session.annotations.undo()
    waits(qtbot, session)
    assert labels(session) == ["malignant"] * 2


def test_pending_edits_are_saved_when_the_slide_is_closed_and_ignored_when_it_is_analyzed_again(qtbot, session):
    switches(session, 2)
    session.results.reset(is_view=False)
    waits(qtbot, session)
    assert session.lesions.value is None
    assert stored(session) == ["malignant", "malignant"]
    ends(session)
    waits(qtbot, session)
    removes(session, 2)
    session.sessions.remove(session.identity)
    waits(qtbot, session)
    assert stored(session) == ["malignant"]


def test_edits_while_other_results_are_awaited_are_applied_and_saved(qtbot, session):
    view = session.folder / "view"
    FakeAnalysis(view, session.slide.info.path, "print").begins().finishes()
    switches(session, 2)
    session.results.reset(is_view=True)
    ends(session, view)
    switches(session, 1)  # of the lesions that are still displayed
    session.lesions.undo()
    removes(session, 1)
    waits(qtbot, session)
    assert stored(session) == ["benign"]
    assert session.lesions.value.source.folder == view
    assert labels(session) == ["malignant"] * 2


def test_a_slide_that_is_opened_again_has_the_edits_that_were_pending(qtbot, session):
    switches(session, 2)
    again = reopens(session)
    assert again.lesions.value is None
    ends(again)
    waits(qtbot, session)
    assert labels(again) == stored(again) == ["malignant", "benign"]


def test_lesions_that_another_program_has_saved_are_backed_up(qtbot, session):
    messages = []
    session.lesions.noted.connect(messages.append)
    path = session.folder / "lesions.geojson"

    def backups():
        return {one.read_bytes() for one in session.folder.glob("lesions-2*.geojson")}

    switches(session, 1)
    waits(qtbot, session)
    switches(session, 2)
    waits(qtbot, session)
    assert (backups(), messages) == (set(), [])  # of what this window has saved itself
    other = read_saved_lesions(session.folder)
    save_lesions(session.folder, remove_lesion(other.lesions, 1), other.config)  # in another window, or in QuPath
    changed = path.read_bytes()
    removes(session, 2)
    waits(qtbot, session)
    assert backups() == {changed}
    (message,) = messages
    assert "lesions.geojson was changed by another program" in message
    assert [one.index for one in read_saved_lesions(session.folder).lesions] == [1]
    session.lesions.undo()
    waits(qtbot, session)
    assert len(messages) == 1


def test_a_change_of_class_does_not_take_the_own_file_for_that_of_another_program(qtbot, session):
    target = session.results.value.heatmap.target
    switches(session, 1)
    session.results.target_selected.emit("benign")  # while the edit is being saved
    waits(qtbot, session)
    session.lesions.save()
    waits(qtbot, session)
    session.results.target_selected.emit(target)
    waits(qtbot, session)
    session.lesions.save()
    waits(qtbot, session)
    assert not list(session.folder.glob("lesions-2*"))


def test_another_threshold_or_class_keeps_the_other_criteria_of_the_analysis(qtbot, session):
    content = json.loads((session.folder / "result.json").read_text())
    criteria = {"low": 0.3, "min_area_mm2": 1e-6, "malignant_from": 0.9, "score": "maximum", "join_um": 3.0}
    content["options"] = {**(content.get("options") or {}), "lesions": {"high": 0.6, **criteria}}
    (session.folder / "lesions.geojson").unlink(missing_ok=True)
    (session.folder / "result.json").write_text(json.dumps(content))
    session.results.reset(is_view=False)
    ends(session)
    waits(qtbot, session)
    detected = session.lesions.value
    assert detected.config.model_dump(include=set(criteria)) == criteria
    threshold(qtbot, session, 0.7)
    assert session.lesions.value.config == detected.config.model_copy(update={"high": 0.7, "low": 0.5})
    threshold(qtbot, session, 0.6)
    for target in ("benign", detected.source.target):
        session.results.target_selected.emit(target)
        waits(qtbot, session)
        assert session.lesions.value.config == detected.config
    assert [one.probability for one in session.lesions.value.lesions] == [one.probability for one in detected.lesions]


def test_edited_lesions_of_a_class_are_backed_up_before_those_of_another_class_replace_them(qtbot, session):
    target, messages = session.lesions.value.source.target, []
    session.lesions.noted.connect(messages.append)
    session.results.target_selected.emit("benign")
    waits(qtbot, session)
    removes(session, 1)  # of those that an analysis has found: they can be detected again
    waits(qtbot, session)
    assert list(session.folder.glob("lesions-kept-*")) == []
    edited = labels(session)
    session.results.target_selected.emit(target)
    waits(qtbot, session)
    switches(session, 2)
    waits(qtbot, session)
    assert read_saved_lesions(session.folder).target == target
    (backup,) = session.folder.glob("lesions-kept-*.geojson")
    assert backup.stem in messages[-1]
    (session.folder / "lesions.geojson").write_bytes(backup.read_bytes())
    kept = read_saved_lesions(session.folder)
    assert (kept.target, [one.label for one in kept.lesions]) == ("benign", edited)
    switches(session, 1)
    waits(qtbot, session)
    assert len(list(session.folder.glob("lesions-kept-*.geojson"))) == 1
