"""Masks by clicks in the Lesion dock."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from click_tool import use_tool
from lesion_fixtures import FIXTURES, TWO
from qtpy.QtWidgets import QAbstractButton, QTableWidget

from conftest import photograph
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.analysis import ModelStamp
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptState
from napari_melanoma.lesion.results import read_result
from napari_melanoma.ui.sections.mask.proposals import HINT, trace_hypothesis
from napari_melanoma.ui.session import prompting
from napari_melanoma.ui.session.prompting import PreparedPrompt, PromptPixels, read_response
from napari_melanoma.ui.session.recovery import find_recovery
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.photographs import get_identity
from napari_melanoma.ui.widgets.job import tasks

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


def prompts(person, start, end=None, **options):
    """Use the tool at pixels (row, column), and wait for the mask."""
    use_tool(person.viewer, "mole", start, end, **options)
    person.waits()


@pytest.mark.path
def test_a_click_segments_a_photograph_that_was_never_analyzed(person):
    image = person.opens(rgb=photograph(TWO))
    person.clicks("click")
    prompts(person, (60, 120))
    assert person.mask[60, 120]
    assert not person.mask[60, 50]
    assert len(person.layer("clicks").data) == 1
    assert person.lesion.corrected
    assert person.lesion.result.provenance["prompts"]["lesions"][0]["include"] == [[60.0, 120.0]]
    prompts(person, (60, 50))
    assert person.mask[60, 120]
    assert person.mask[60, 50]
    labels = person.layer("mask")
    assert person.viewer.layers.selection.active == labels
    undo = labels.class_keymap["Control-Z"] if "Control-Z" in labels.class_keymap else type(labels).undo
    for again in (True, False):
        undo(labels)
        person.waits()
        assert not person.mask[60, 50]
        assert len(person.layer("clicks").data) == 1, "undo takes the mark of the prompt back, too"
        assert get_identity(image) == person.dock.picker.identity
        assert not len(person.layer("proposals").data), "they are those of the undone click"
        if again:
            labels.redo()
    prompts(person, (70, 115), button=2)
    assert person.lesion.result.provenance["prompts"]["lesions"][0]["exclude"] == [[70.0, 115.0]]
    assert not person.mask[70, 115]


def test_nothing_can_be_saved_or_stored_after_the_only_click_is_undone(person):
    person.opens(rgb=photograph(TWO))
    person.clicks("click")
    prompts(person, (60, 120))
    buttons = [person.finds(QAbstractButton, name) for name in ("save", "add_correction")]
    assert all(button.isEnabled() for button in buttons)
    person.layer("mask").undo()
    person.waits()
    assert not any(button.isEnabled() for button in buttons), "an empty mask would be stored as accepted"
    assert "Analyze a photograph first" in buttons[1].toolTip()
    person.layer("mask").redo()
    person.waits()
    assert all(button.isEnabled() for button in buttons)


def test_clicks_correct_an_analyzed_mask_step_by_step_until_another_tool_is_used(person):
    person.opens(rgb=photograph(TWO))
    person.analyses()
    automatic = person.mask.copy()
    # A cancelled click changes nothing.
    person.clicks("click")
    use_tool(person.viewer, "mole", (60, 120))
    person.dock.status.cancelled.emit("prompting")
    person.waits()
    assert np.array_equal(person.mask, automatic)
    # Undoing the first click locks nothing.
    prompts(person, (60, 120))
    assert person.mask[60, 120]
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, automatic)
    prompts(person, (60, 120))
    assert person.mask[60, 120]
    # Another hypothesis is one step.
    before = person.mask.copy()
    assert person.dock.status.text.startswith(HINT)
    largest = max(person.layer("proposals").data, key=lambda outline: np.ptp(outline, axis=0).prod())
    use_tool(person.viewer, "mole", tuple(largest[0]))
    person.waits()
    assert len(person.layer("clicks").data) == 1, "the click on the outline is no prompt"
    assert (person.mask >= before).all()
    assert person.mask.sum() > before.sum()
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, before)
    # Pixels painted by hand are kept.
    person.draws(person.layer("mask"), [(10, 100), (10, 140)])
    person.waits()
    person.clicks("click")
    prompts(person, (70, 115), button=2)
    assert [bool(person.mask[pixel]) for pixel in ((70, 115), (10, 120), (60, 120))] == [False, True, True]
    # One tool is used at a time.
    click, choose = (person.finds(QAbstractButton, name) for name in ("click", "choose"))
    mask = person.layer("mask")
    person.clicks("choose")
    person.clicks("click")
    assert (click.isChecked(), choose.isChecked(), str(mask.mode)) == (True, False, "pick")
    person.clicks("choose")
    assert (click.isChecked(), choose.isChecked(), str(mask.mode)) == (False, True, "pan_zoom")
    person.clicks("click")
    person.clicks("paint")
    assert (click.isChecked(), choose.isChecked(), str(mask.mode)) == (False, False, "paint")
    person.clicks("click")
    person.clicks("inside")
    assert (click.isChecked(), str(mask.mode)) == (False, "pan_zoom")
    person.clicks("click")
    assert (click.isChecked(), str(mask.mode)) == (True, "pick")
    assert str(person.layer("scribbles").mode) == "pan_zoom"
    mask.mode = "erase"  # with napari's own button
    assert not click.isChecked()
    assert str(mask.mode) == "erase"


def test_each_lesion_has_its_own_prompts(person):
    rgb = photograph(TWO)
    rgb[20:23, 20:23] = (70, 45, 40)
    person.opens(rgb=rgb)
    person.clicks("click")
    # Two quick clicks are both answered.
    use_tool(person.viewer, "mole", (60, 120))
    use_tool(person.viewer, "mole", (60, 115), button=2)
    person.waits()
    (first,) = person.lesion.result.provenance["prompts"]["lesions"]
    assert first == {"include": [[60.0, 120.0]], "exclude": [[60.0, 115.0]], "box": None}
    assert person.mask[60, 120]
    assert not person.mask[60, 115]
    # The next click belongs to another lesion.
    person.clicks("new_lesion")
    prompts(person, (60, 50))
    assert not person.finds(QAbstractButton, "new_lesion").isChecked(), "only the next click begins another lesion"
    assert len(person.lesion.result.mask_parts) == 2
    assert person.mask[60, 50]
    assert not person.mask[60, 115], "still excluded"
    prompts(person, (55, 118), button=2)
    first, second = person.lesion.result.provenance["prompts"]["lesions"]
    assert first["exclude"] == [[60.0, 115.0], [55.0, 118.0]], "of the lesion at the click, not of the last one"
    assert second == {"include": [[60.0, 50.0]], "exclude": [], "box": None}
    # A lesion that was clicked is listed however small, and a speck that was not is not.
    person.clicks("new_lesion")
    prompts(person, (21, 21))
    assert len(person.lesion.result.mask_parts) == 3
    small = person.lesion.result.lesion_measurements[2]["area_px"]
    assert small < 0.001 * person.mask.size
    person.draws(person.layer("mask"), [(110, 5), (110, 6)], brush=1)
    person.waits()
    assert len(person.lesion.result.mask_parts) == 3


def test_a_prompt_that_fails_keeps_the_clicks_on_other_lesions(person, monkeypatch):
    request, failed = prompting.request_masks, []

    def fail_once(*arguments):
        if not failed:
            failed.append(True)
            raise InputError("the model process stopped")
        return request(*arguments)

    monkeypatch.setattr(prompting, "request_masks", fail_once)
    person.opens(rgb=photograph(TWO))
    person.clicks("click")  # which reads the photograph: both clicks are sent after that
    use_tool(person.viewer, "mole", (60, 120))
    person.clicks("new_lesion")
    use_tool(person.viewer, "mole", (60, 50))
    person.waits()
    assert failed
    assert person.mask[60, 50]


def test_all_lesions_are_found_and_a_right_click_removes_one(person):
    person.opens(rgb=photograph(TWO))
    person.clicks("find_lesions")
    person.waits()
    assert len(person.lesion.result.mask_parts) == 2
    found = person.finds(QTableWidget, "lesions")
    assert [found.item(row, 0).text() for row in range(found.rowCount())] == ["1", "2"]
    areas = [float(found.item(row, 1).text().split()[0].replace(",", "")) for row in range(2)]
    assert areas[0] == person.mask[:, :90].sum()
    assert areas[1] == person.mask[:, 90:].sum()
    assert np.allclose(person.layer("numbers").data, [[35, 76], [45, 136]], atol=1.5)
    assert "mole clicks" not in person.viewer.layers, "clicks of the search are not the user's"
    camera = get_camera(person.viewer)
    zoom = camera.zoom
    found.cellClicked.emit(1, 0)
    assert camera.zoom > zoom
    assert np.allclose(camera.center[-2:], (60, 120), atol=1.5)
    person.clicks("click")
    prompts(person, (60, 120), button=2)
    assert not person.mask[60, 110:130].any()
    assert person.mask[60, 50]
    assert [found.item(row, 0).toolTip() for row in range(2)] == ["", "Not in the mask"]


def test_a_prompt_survives_a_change_but_not_the_closing_of_its_photograph_or_the_end_of_the_tool(person):
    images = [person.opens(name, rgb=photograph(TWO)) for name in ("other", "mole")]
    for name, step in (("mole", 1), ("other", 0)):
        person.clicks("click")
        use_tool(person.viewer, name, (60, 120))  # and does not wait
        person.dock.picker.step(step)
    person.waits()
    assert all(person.dock.sessions.find(get_identity(image)).lesion for image in images)
    # A photograph is removed during a prompt, and the next prompt is for another one.
    third = person.opens("third", rgb=photograph(TWO))
    person.clicks("click")
    person.waits()
    use_tool(person.viewer, "third", (60, 120))
    person.viewer.layers.remove(third)
    person.waits()
    assert tasks.is_idle(person.dock.prompts)
    assert person.dock.sessions.find(get_identity(third)) is None
    person.viewer.layers.selection.active = images[0]
    person.clicks("click")
    use_tool(person.viewer, "other", (60, 50))
    person.waits()
    assert person.viewer.layers["other mask"].data[60, 50]
    person.viewer.layers.clear()
    person.waits()
    # A box ends without a mask if another photograph is selected or the tool switched off meanwhile.
    for name in ("other", "mole"):
        person.opens(name, rgb=photograph(TWO))
    person.clicks("click")
    use_tool(person.viewer, "mole", (30, 90), (90, 150), before_release=lambda: person.dock.picker.step(1))
    person.waits()
    assert [session.lesion for session in person.dock.sessions] == [None, None]
    person.dock.picker.step(1)
    person.clicks("click")
    use_tool(person.viewer, "mole", (30, 90), (90, 150), before_release=lambda: person.clicks("click"))
    person.waits()
    assert person.dock.picker.session.lesion is None, "the tool was switched off"


def test_the_record_of_the_prompts_is_saved_and_follows_painting_and_reset(person, tmp_path):
    person.opens(rgb=photograph(TWO))
    person.analyses()
    person.clicks("click")
    prompts(person, (60, 120))
    prompts(person, (70, 115), button=2)
    record = person.lesion.result.provenance["prompts"]
    assert (record["model"]["name"], record["model"]["fingerprint"]) == ("lesion-click", "0" * 64)
    # The mask is saved as made by the model that answered.
    person.dock.settings.folder = tmp_path
    person.clicks("save")
    person.waits()
    about = read_result(tmp_path / "mole")
    assert not about["corrected_by_hand"]
    assert about["provenance"]["prompts"] == record
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["note"].startswith("by 2 clicks with lesion-click")
    assert "by hand" not in row["note"]
    assert (row["model"], row["threshold"]) == ("lesion-click", "")
    person.draws(person.layer("mask"), [(10, 100), (10, 140)])
    person.waits()
    assert person.lesion.result.corrected_by_hand
    assert person.lesion.result.provenance["prompts"] == {**record, "by_hand": True}


def test_the_record_is_recovered_and_the_mask_kept_when_pixels_are_replaced(person):
    person.opens(rgb=photograph(TWO))
    person.clicks("click")
    prompts(person, (60, 120))
    mask, result = person.mask.copy(), person.lesion.result
    assert person.lesion.unsaved, "the first click, too"
    found = find_recovery(person.lesion.image_digest, result.photograph)
    assert found is not None
    person.layer("mask").undo()
    person.waits()
    assert not person.mask.any()
    assert "prompts" not in person.lesion.result.provenance
    person.dock.controller.restore(person.dock.picker.session, found)
    person.waits()
    assert np.array_equal(person.mask, mask)
    assert person.lesion.result.provenance["prompts"] == result.provenance["prompts"]
    prompts(person, (60, 50))
    lesions = person.lesion.result.provenance["prompts"]["lesions"]
    assert [one["include"] for one in lesions] == [[[60.0, 120.0], [60.0, 50.0]]], "the next click is for the same one"
    assert not person.lesion.result.corrected_by_hand
    # A photograph whose pixels were replaced is a new one, and its mask is kept and corrected.
    color, image = person.lesion.result.measurements["color_difference"], person.viewer.layers["mole"]
    image.data = np.where(photograph(TWO) < 100, photograph(TWO) + 30, photograph(TWO)).astype(np.uint8)
    prompts(person, (70, 115), button=2)
    assert not person.mask[70, 115]
    assert person.mask[60, [50, 120]].all()
    assert np.array_equal(person.lesion.result.photograph.rgb, image.data)
    assert person.lesion.image_digest == array_fingerprint(image.data)
    assert person.lesion.result.measurements["color_difference"] < color


def test_the_threshold_of_the_model_decides():
    logits = np.full((1, 30, 40), -5, np.float32)
    logits[:, 5:25, 5:35] = 1.0
    rgb = np.zeros((30, 40, 3), np.uint8)
    pixels = PromptPixels(Photograph(rgb, "one"), "digest", rgb)
    state = PromptState(np.zeros((30, 40), np.uint8)).add_prompt(PromptOptions(include=((15, 20),)))
    prepared = PreparedPrompt(pixels, state.mask, False, False, state, (), state.lesions[0].to_prompts())
    areas = []
    for threshold in (0.5, 0.9):
        response = logits, np.array([0.9], np.float32), [], ModelStamp("one", "", "cpu", threshold)
        answer, _ = read_response(prepared, 1, response, LesionOptions(), RunContext())
        areas.append(answer.change(state).mask.sum())
    assert areas[0] > 500
    assert areas[1] < 20, "only the mark of the click"


def test_the_outline_of_a_mask_lies_on_its_border_and_is_closed_at_that_of_the_photograph():
    margins = np.full((32, 32), -5, np.float32)
    margins[8:16, 20:24] = 5
    (outline,) = trace_hypothesis(margins, (320, 640))
    assert np.allclose(outline[0], outline[-1])
    assert np.allclose([outline.min(0), outline.max(0)], [(79.5, 399.5), (159.5, 479.5)], atol=1)
    margins[:, :8] = 5
    touching = min(trace_hypothesis(margins, (320, 640)), key=lambda one: one[:, 1].min())
    assert np.allclose([touching.min(0), touching.max(0)], [(-0.5, -0.5), (319.5, 159.5)], atol=10)
    assert (touching.min(0) >= -0.5).all()
    assert (touching.max(0) <= (319.5, 639.5)).all()
    assert trace_hypothesis(np.full((32, 32), -5, np.float32), (320, 640)) == [], "no mask at all"
