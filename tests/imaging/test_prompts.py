"""Prompts: their maps, their effect on a mask, and simulated clicks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.imaging.prompts import (
    CLICK_RADIUS,
    Point,
    PromptBox,
    PromptOptions,
    Prompts,
    apply_prompts,
    draw_click,
    draw_disk,
    simulate_click,
)
from napari_melanoma.imaging.scribbles import INSIDE, OUTSIDE


def disk(shape: tuple[int, int], center: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def test_maps_are_in_the_scale_of_the_network() -> None:
    previous = disk((200, 400), (100, 200), 50)
    prompts = Prompts((Point(100, 300),), (Point(20, 40),), PromptBox(50, 100, 150, 300), previous=previous)
    include, exclude, box, before = prompts.to_maps((200, 400), 64)
    assert np.argwhere(include).mean(axis=0) == pytest.approx([31.66, 47.58], abs=0.5)
    assert np.argwhere(exclude).mean(axis=0) == pytest.approx([6.06, 5.98], abs=0.5)
    assert np.argwhere(box).min(axis=0).tolist() == [16, 16]
    assert np.argwhere(box).max(axis=0).tolist() == [48, 48]
    assert before.sum() == pytest.approx(previous.sum() * 64 * 64 / (200 * 400), rel=0.02)
    assert before.max() == 1.0


def test_strokes_are_drawn_in_both_maps() -> None:
    strokes = np.zeros((100, 100), np.uint8)
    strokes[10, 10:50], strokes[90, 20] = INSIDE, OUTSIDE
    include, exclude, _, _ = Prompts(strokes=strokes).to_maps((100, 100), 50)
    assert np.argwhere(include).tolist() == [[5, column] for column in range(5, 25)]
    assert np.argwhere(exclude).tolist() == [[45, 10]]


@pytest.mark.parametrize("at", [(0, 0), (63, 63), (31.5, 0), (-3, 5), (90, 90)])
def test_a_click_at_the_edge_is_clipped(at: tuple[float, float]) -> None:
    drawn = np.zeros((64, 64), np.float32)
    draw_click(drawn, *at)
    expected = disk((64, 64), at, 64 * CLICK_RADIUS) if max(at) < 64 else np.zeros((64, 64), bool)  # type: ignore[arg-type]
    assert np.array_equal(drawn > 0, expected)


def test_a_user_clicks_in_the_middle_of_the_largest_error() -> None:
    truth, found = disk((100, 100), (50, 40), 20), disk((100, 100), (50, 90), 5)
    assert simulate_click(truth, found) == (50, 40, True)
    assert simulate_click(found, truth | found) == (50, 40, False)
    assert simulate_click(truth, truth) is None
    assert simulate_click(np.zeros((9, 9), bool), np.ones((9, 9), bool)) == (4, 4, False)


def test_a_random_click_is_well_inside_the_same_error_region() -> None:
    truth = disk((100, 100), (50, 40), 20)
    clicks = {simulate_click(truth, np.zeros_like(truth), np.random.default_rng(seed)) for seed in range(20)}
    assert len(clicks) > 10
    for click in clicks:
        assert click is not None
        assert click.include
        assert np.hypot(click.row - 50, click.column - 40) <= 11


def test_the_components_that_were_clicked_are_kept() -> None:
    mask = disk((100, 200), (50, 40), 20) | disk((100, 200), (50, 120), 30) | disk((100, 200), (10, 190), 2)
    assert np.array_equal(apply_prompts(mask, Prompts((Point(50, 40),))), disk((100, 200), (50, 40), 20))
    without = apply_prompts(mask, Prompts())
    assert without[50, 40]
    assert without[50, 120]
    assert not without[10, 190], "a speck that was not clicked"
    assert apply_prompts(mask, Prompts((Point(10, 190),))).sum() == disk((100, 200), (10, 190), 2).sum()


def test_a_mask_agrees_with_each_click_and_stroke() -> None:
    strokes = np.zeros((100, 100), np.uint8)
    strokes[80, 20:30] = OUTSIDE
    mask = np.ones((100, 100), bool)
    found = apply_prompts(mask, Prompts((Point(5, 5),), (Point(50, 50),), strokes=strokes))
    assert found[5, 5]
    assert not found[50, 50]
    assert not found[80, 20:30].any()
    assert not apply_prompts(np.zeros((9, 9), bool), Prompts()).any()
    assert apply_prompts(np.zeros((9, 9), bool), Prompts((Point(4, 4),)))[4, 4]


def test_holes_are_filled_unless_they_were_clicked() -> None:
    mask = disk((100, 100), (50, 50), 30) & ~disk((100, 100), (50, 50), 10)
    assert apply_prompts(mask, Prompts())[50, 50]
    assert not apply_prompts(mask, Prompts((), (Point(50, 50),)))[50, 50]


def test_options_become_prompts() -> None:
    options = PromptOptions.parse({"include": [[1, 2]], "exclude": [[3, 4.5]], "box": [0, 1, 2, 3]}, "the test")
    prompts = options.to_prompts()
    assert prompts.include == (Point(1, 2),)
    assert prompts.exclude == (Point(3, 4.5),)
    assert prompts.box == PromptBox(0, 1, 2, 3)


def test_a_click_next_to_the_lesion_does_not_remove_it() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:60, 20:60] = True
    satellite = mask.copy()
    satellite[80:90, 80:90] = True
    ignored = apply_prompts(mask, Prompts((Point(85, 85),)))
    assert ignored[mask].all(), "the network did not follow the click: its lesion stays, with the mark"
    assert ignored[85, 85]
    chosen = apply_prompts(satellite, Prompts((Point(85, 85),)))
    assert not chosen[mask].any(), "without an earlier mask, the clicked lesion is meant"
    both = apply_prompts(satellite, Prompts((Point(85, 85),), previous=mask))
    assert np.array_equal(both, satellite)
    boxed = apply_prompts(satellite, Prompts((Point(85, 85),), box=PromptBox(15, 15, 65, 65)))
    assert np.array_equal(boxed, satellite)


def test_a_box_selects_the_components_in_it() -> None:
    mask = disk((100, 200), (50, 40), 20) | disk((100, 200), (50, 120), 30)
    boxed = apply_prompts(mask, Prompts(box=PromptBox(25, 15, 75, 65)))
    assert np.array_equal(boxed, disk((100, 200), (50, 40), 20))
    assert np.array_equal(apply_prompts(mask, Prompts(box=PromptBox(0, 0, 5, 5))), mask), "none in it: all are kept"


def test_where_marks_overlap_the_nearer_click_counts() -> None:
    shape, prompts = (3000, 4000), Prompts((Point(1000, 1000),), (Point(1000, 1012),))
    found = apply_prompts(np.zeros(shape, bool), prompts)
    assert found[1000, 1000]
    assert found[1000, 1005]
    assert not found[1000, 1006:1040].any()
    assert not apply_prompts(np.ones(shape, bool), prompts)[1000, 1006:1030].any()
    assert not apply_prompts(np.ones((9, 9), bool), Prompts((Point(4, 4),), (Point(4, 4),)))[4, 4]


@pytest.mark.parametrize("center", [(0, 0), (9, 14), (4.6, 7.2), (-2, 3), (30, 30), (-1, -1)])
def test_a_disk_is_clipped_at_the_border(center: tuple[float, float]) -> None:
    drawn = np.zeros((10, 15), np.uint8)
    draw_disk(drawn, center, 3.5, 2)
    assert np.array_equal(drawn == 2, disk((10, 15), center, 3.5))  # type: ignore[arg-type]


def test_a_box_at_the_border_has_pixels_of_the_network() -> None:
    for box in (PromptBox(99, 79, 300, 300), PromptBox(-9, -9, 0, 0), PromptBox(99.4, 10, 99.6, 20)):
        prompts = Prompts(box=box)
        prompts.check((100, 80))
        assert prompts.to_maps((100, 80), 32)[2].any()


@pytest.mark.parametrize(
    "box",
    [(60, 10, 20, 30), (120, 0, 150, 20), (-30, -30, -5, -5), (0, 0, float("nan"), 5), (99.6, 0, 99.8, 20)],
)
def test_a_box_that_is_not_in_the_photograph_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected a box"):
        Prompts(box=PromptBox(*box)).check((100, 80))


def test_clicks_reach_to_the_border_of_the_last_pixel() -> None:
    Prompts((Point(-0.4, 79.4),), (Point(99.4, 0),), PromptBox(-5, -5, 50, 50)).check((100, 80))
    with pytest.raises(InputError, match=r"found row 5, column 79.6"):
        Prompts((Point(5, 79.6),)).check((100, 80))


def test_a_correction_changes_only_the_error_that_was_clicked() -> None:
    previous = disk((100, 200), (50, 60), 30)
    redrawn = disk((100, 200), (50, 60), 34) & ~disk((100, 200), (50, 30), 12)  # wider, and without the left end
    answer = redrawn | disk((100, 200), (50, 150), 20)
    click = Prompts((Point(50, 150),), previous=previous)
    assert np.array_equal(apply_prompts(answer, click), previous | disk((100, 200), (50, 150), 20))
    assert np.array_equal(apply_prompts(answer, click, everywhere=True), answer)
    confirmed = Prompts((Point(50, 60),), previous=previous)
    assert np.array_equal(apply_prompts(answer, confirmed), redrawn), "no error was clicked, so the lesion is meant"
