"""Prompts of several lesions: which lesion a prompt refers to, what it changes, and what undo restores."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion import prompt_state
from napari_melanoma.lesion.mask_record import PromptRecord
from napari_melanoma.lesion.prompt_state import (
    OTHER,
    PromptState,
    PromptStep,
    find_nearest_pixel,
    find_state,
    strokes_outside,
)

SHAPE = (40, 60)
MODEL = {"name": "lesion-click", "fingerprint": "0", "device": "cpu", "threshold": 0.5}


def rectangle(top, left, bottom, right):
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def click(row, column):
    return PromptOptions(include=((row, column),))


def exclude(row, column):
    return PromptOptions(exclude=((row, column),))


LEFT, RIGHT = rectangle(10, 5, 20, 15), rectangle(10, 40, 20, 50)


@pytest.fixture
def two():
    """Two lesions, the right one prompted last."""
    state = PromptState(np.zeros(SHAPE, np.uint8)).add_prompt(click(15, 10)).set_mask(LEFT)
    return state.add_prompt(click(15, 45), is_new=True).set_mask(RIGHT)


def test_a_prompt_refers_to_the_lesion_at_its_position(two):
    assert two.add_prompt(click(12, 7)).current == 0
    assert two.add_prompt(exclude(12, 7)).lesions[0].exclude == ((12, 7),)
    assert two.add_prompt(click(15, 30)).current == 1, "beside all lesions, the last one is meant"
    assert two.add_prompt(PromptOptions(box=(8, 3, 22, 18))).current == 0
    adjacent = two.add_prompt(PromptOptions(box=(25, 20, 35, 30)))
    assert adjacent.current == 2
    assert len(adjacent.lesions) == 3


def test_the_nearest_pixel_is_that_of_all_distances():
    random = np.random.default_rng(0)
    for share in (0.001, 0.01, 0.3):
        mask = random.random(SHAPE) < share
        mask[7, 9] = True
        for place in ((0, 0), (39, 59), (7, 9), (20, 30), (0, 59)):
            found = find_nearest_pixel(mask, place)
            assert mask[found]
            pixels = np.argwhere(mask)
            assert np.hypot(*np.subtract(found, place)) == np.hypot(*(pixels - place).T).min()
    assert find_nearest_pixel(np.zeros(SHAPE, bool), (3, 4)) is None


def test_only_the_current_lesion_changes_and_lesions_do_not_touch(two):
    wider = rectangle(5, 0, 30, 60)
    changed = two.set_mask(wider)
    assert (changed.labels[LEFT] == 1).all()
    assert not changed.current_pixels[9:21, 4:16].any(), "a pixel remains between lesions, also at corners"
    assert changed.current_pixels[25, 30]
    assert np.array_equal(changed.set_mask(RIGHT).labels, two.labels)


def test_the_first_click_corrects_the_part_of_a_predicted_mask_that_it_is_in():
    state = find_state(LEFT | RIGHT, None)
    assert set(np.unique(state.labels)) == {0, OTHER}
    corrected = state.add_prompt(exclude(15, 45))
    assert np.array_equal(corrected.current_pixels, RIGHT)
    assert np.array_equal(corrected.other_pixels, LEFT)
    nearest = state.add_prompt(click(15, 22))
    assert np.array_equal(nearest.current_pixels, LEFT)
    new = state.add_prompt(click(15, 22), is_new=True)
    assert not new.current_pixels.any()
    assert np.array_equal(new.other_pixels, LEFT | RIGHT)


def test_a_step_restores_prompts_and_pixels(two):
    restored = find_state(two.mask, PromptStep.of(two))
    assert np.array_equal(restored.labels, two.labels)
    assert (restored.lesions, restored.current, restored.locked) == (two.lesions, two.current, None)


def test_pixels_painted_after_a_prompt_are_locked_and_belong_to_its_lesion(two):
    painted = (LEFT | RIGHT | rectangle(8, 5, 10, 15) | rectangle(30, 30, 34, 34)) & ~rectangle(10, 40, 12, 50)
    state = find_state(painted, PromptStep.of(two))
    assert (state.labels[8:20, 5:15] == 1).all()
    assert (state.labels[30:34, 30:34] == OTHER).all()
    after = state.add_prompt(click(15, 42)).set_mask(RIGHT)
    assert not after.mask[10:12, 40:50].any(), "erased pixels stay erased"
    assert after.mask[8:10, 5:15].all()


def test_only_pixels_that_differ_from_the_prediction_are_locked_without_prompts():
    other = rectangle(10, 5, 30, 25)
    assert find_state(other, None, predicted=other).locked is None
    assert np.array_equal(find_state(other, None, predicted=LEFT).locked, other ^ LEFT)


def test_proposals_leave_known_lesions_and_are_removed_by_a_click(two):
    third = rectangle(28, 20, 36, 30)
    state = two.propose([LEFT, third], [click(15, 10), click(30, 25)])
    assert len(state.lesions) == 3
    assert np.array_equal(state.current_pixels, third)
    removed = state.add_prompt(exclude(30, 25))
    assert not removed.mask[third].any()
    assert removed.lesions[2] == PromptOptions()
    prompted = state.add_prompt(click(31, 26)).add_prompt(exclude(30, 25))
    assert prompted.mask[third].all(), "a lesion that was prompted is corrected, not removed"


def test_too_many_lesions_are_refused(two, monkeypatch):
    monkeypatch.setattr(prompt_state, "MAX_LESIONS", 2)
    with pytest.raises(InputError, match="at most 2 lesions"):
        two.add_prompt(click(30, 30), is_new=True)


def test_a_click_on_painted_pixels_changes_them(two):
    painted = two.mask | rectangle(30, 30, 34, 34) | rectangle(25, 2, 28, 5)
    state = two.edit(two.mask, painted)
    after = state.add_prompt(exclude(31, 31)).set_mask(np.zeros(SHAPE, bool))
    assert not after.mask[30:34, 30:34].any()
    assert after.mask[25:28, 2:5].all(), "other painted parts stay"


def test_strokes_of_other_lesions_are_left_out():
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[12, 7:12], strokes[30, 20:25] = 1, 2
    kept = strokes_outside(strokes, LEFT)
    assert not kept[12].any()
    assert (kept[30, 20:25] == 2).all()


def test_a_record_counts_the_prompts_of_the_user_and_restores_the_lesions(two):
    state = two.add_prompt(exclude(16, 46)).propose([rectangle(30, 20, 35, 25)], [click(32, 22)])
    record = state.to_record(MODEL, by_hand=False)
    assert record.text == "by 3 clicks with lesion-click (2 lesions), 1 lesion proposed"
    assert all(state.mask[pixel] for pixel in record.pixels)
    assert len(record.pixels) == 3
    restored = PromptState.from_record(record, state.mask)
    assert [(restored.labels == label).sum() for label in (1, 2, 3, OTHER)] == [LEFT.sum(), RIGHT.sum(), 25, 0]
    assert restored.prompted == two.add_prompt(exclude(16, 46)).prompted
    assert restored.to_record(MODEL, by_hand=False) == record
    painted = state.edit(state.mask, state.mask | rectangle(0, 0, 2, 2))
    assert painted.to_record(MODEL, by_hand=False).text.endswith(", corrected by hand")


def test_a_record_that_another_program_wrote_is_checked():
    record = PromptRecord(model=MODEL, lesions=(click(5, 5),), pixels=((99, 99),)).model_dump(mode="json")
    found = PromptRecord.find({"prompts": record})
    assert found is not None
    assert (PromptState.from_record(found, LEFT).labels[LEFT] == OTHER).all(), "outside the photograph"
    for wrong in ({**record, "model": {}}, {**record, "lesions": 5}, [record], "by clicks"):
        assert PromptRecord.find({"prompts": wrong}) is None
    assert PromptRecord.find(None) is None
