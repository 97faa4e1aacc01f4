"""A photograph with several lesions: counted, outlined, and never stored as background without confirmation."""

from __future__ import annotations

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QLabel, QSlider

from conftest import photograph, until
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.io.results import read_mask
from napari_melanoma.ui.session.corrections_store import ReviewSettings

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

PATIENCE_MS = 60_000
LARGE, SMALL = (60, 50, 25), (60, 120, 14)


@pytest.fixture
def corrections(tmp_path, home):
    ReviewSettings().corrections = tmp_path / "my corrections"
    return Corrections(tmp_path / "my corrections")


@pytest.fixture
def two(corrections, person):
    """A user with an analyzed photograph of two lesions."""
    person.opens("mole", photograph((LARGE, SMALL)))
    person.analyses()
    return person


def stored(corrections):
    (row,) = corrections.rows()
    return row["review"], read_mask(corrections.folder / row["mask_path"])


@pytest.mark.path
def test_the_second_lesion_is_reported_and_outlined_unless_it_is_selected_or_all_are(two):
    assert "2 lesions found; showing the largest." in two.dock.status.text
    assert two.finds(QLabel, "several_lesions").text().startswith("2 lesions found; showing the largest.")
    assert not two.mask[60, 120]
    (outline,) = two.layer("other lesions").data
    assert abs(outline[:, 1].mean() - 120) < 2
    assert not two.layer("other lesions").editable
    # The status line follows the number of lesions, unless it shows something else.
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    until(two.qtbot, lambda: "lesions found" not in two.dock.status.text)
    assert "analyzed in" in two.dock.status.text
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    assert "2 lesions found; showing the largest." in two.dock.status.text
    two.dock.status.show_message("Something else.")
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    assert two.dock.status.text == "Something else."
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    # The outlines follow the lesion that is selected.
    two.dock.hosted.sections["Mask"].widget._on_chosen((60, 120))
    two.waits()
    assert two.mask[60, 120]
    assert abs(two.layer("other lesions").data[0][:, 1].mean() - 50) < 2
    assert "showing the selected one" in two.finds(QLabel, "several_lesions").text()
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    assert two.mask[60, 120]
    assert two.mask[60, 50]
    assert not two.layer("other lesions").data
    assert two.finds(QLabel, "several_lesions").text() == ""
    assert two.finds(QSlider, "threshold_slider").isEnabled()


def test_status_line_and_selecting_end_when_another_photograph_is_shown(two):
    two.opens("other", photograph(((60, 100, 20), (10, 150, 2))))
    two.analyses()
    assert "other other lesions" not in two.viewer.layers  # a speck is none
    assert "other: analyzed" in two.dock.status.text
    assert "lesions found" not in two.dock.status.text
    two.dock.picker.step(1)
    two.analyses()
    assert "mole: analyzed" in two.dock.status.text
    two.dock.picker.step(1)
    assert two.dock.status.text == ""
    two.dock.picker.step(1)
    two.clicks("choose")
    assert two.dock.status.text == "Click the lesion to select."
    two.dock.picker.step(1)
    assert two.dock.status.text == ""
    assert not two.finds(QAbstractButton, "choose").isChecked()
    two.dock.picker.step(1)
    two.clicks("choose")
    two.clicks("choose")
    assert two.dock.status.text == ""


def test_other_lesions_are_stored_as_the_user_decides(two, corrections):
    for button, holds_both in (("Include all", True), ("Not lesions", False)):
        two.clicks("add_correction")
        two.answers("other_lesions", button)
        two.waits()
        review, mask = stored(corrections)
        assert mask[60, 50]
        assert mask[60, 120] == holds_both
        assert review == "accepted"
        two.clicks("add_correction")  # repeated without a question
        two.waits()
        assert len(corrections.rows()) == 1
        two.viewer.layers.clear()  # and the same photograph is opened again
        two.waits()
        two.opens("mole", photograph((LARGE, SMALL)))
        two.clicks("undo_correction")
        two.waits()
        assert corrections.rows() == []
        two.analyses()
    # Painting the second lesion needs no confirmation.
    two.draws(two.layer("mask"), [(60, 120), (60, 121)], brush=30)
    two.waits()
    assert not two.layer("other lesions").data
    two.clicks("add_correction")
    two.waits()
    review, mask = stored(corrections)
    assert review == "corrected"
    assert np.array_equal(mask, two.mask)
