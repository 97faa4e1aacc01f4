"""No edits are lost, and each result records its model and options."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from message_boxes import answering
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox

from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.ui.session import recovery
from napari_melanoma.ui.session.recovery import save_unsaved
from napari_melanoma.ui.viewer.garbage import COLLECT_MS

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

PATIENCE_MS = 60_000


@pytest.fixture
def corrected(person):
    """A user who has edited the mask of an analyzed photograph."""
    person.opens()
    person.analyses()
    strikes(person, "mole")
    return person


def strikes(person, name, points=((10, 100), (10, 140)), **brush):
    """Draw a stroke on the mask of a photograph, and wait until all results are updated."""
    person.draws(person.layer("mask", name), list(points), **brush)
    person.waits()


def saves(person):
    person.clicks("save")
    person.waits()


def disk(row, column, radius):
    """Skin with one dark disk: uint8 (row, column, channel)."""
    rows, columns = np.mgrid[:120, :160]
    dark = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return np.where(dark[..., None], np.uint8((70, 45, 40)), np.uint8((215, 170, 150)))


def test_saving_over_another_photograph_of_the_same_name_needs_confirmation(corrected, tmp_path):
    corrected.dock.settings.folder = tmp_path
    saves(corrected)
    drawn = corrected.mask.copy()
    # A stroke keeps the model and options of the mask, whatever is picked for the next analysis.
    model = corrected.lesion.result.options.model
    corrected.dock.model.model = "another"
    strikes(corrected, "mole", [(100, 20), (100, 60)])
    saves(corrected)
    assert saved_values(tmp_path / "mole") == (model, model, 0.5, True)
    corrected.layer("mask").undo()
    corrected.waits()
    saves(corrected)
    # Another photograph of the same name.
    corrected.viewer.layers.clear()
    corrected.opens(rgb=disk(40, 40, 20))
    corrected.analyses()
    corrected.clicks("save")
    corrected.answers("replace_result", "Cancel")
    corrected.waits()
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), drawn)
    corrected.clicks("save")
    corrected.answers("replace_result", "Replace")
    corrected.waits()
    assert np.array_equal(read_mask(tmp_path / "mole" / "mask.png"), corrected.mask)
    saves(corrected)  # its own result of a moment ago: no question
    # Once it is renamed, it is saved under its current name, and the folder of that of the previous name stays.
    replaced = (tmp_path / "mole" / "result.json").read_text()
    corrected.viewer.layers["mole"].name = "left arm"
    assert str(tmp_path / "left arm") in corrected.dock.save_bar.button.toolTip()
    saves(corrected)
    assert (tmp_path / "mole" / "result.json").read_text() == replaced
    assert json.loads((tmp_path / "left arm" / "result.json").read_text())["image"] == "left arm"
    assert [row["image"] for row in read_table(tmp_path / "results.csv")].count("left arm") == 1


def kept():
    """Photographs whose corrections are in a recovery folder."""
    return sorted(recovery.recovery_root().glob("*/recovery.json"))


@pytest.fixture
def crashed(corrected):
    """A user whose napari crashed after a correction, with the edited mask."""
    corrected.drawn = corrected.mask.copy()
    (about,) = kept()
    values = json.loads(about.read_text()) | {"owner": {"pid": 2**22 - 7, "created": 1.0}}
    corrected.viewer.layers.clear()
    corrected.waits()
    for session in corrected.dock.sessions:
        session.lesion = None
    about.write_text(json.dumps(values))
    return corrected


def offered(person, qtbot):
    """The button that brings back, once it is there."""
    button = person.finds(QAbstractButton, "recover")
    qtbot.waitUntil(lambda: button.isVisibleTo(person.dock), timeout=PATIENCE_MS)
    return button


def masks(person):
    return [layer for layer in person.viewer.layers if "mask" in layer.name]


def test_a_recovery_offer_survives_other_actions(crashed, qtbot, tmp_path):
    crashed.opens()
    button = offered(crashed, qtbot)
    crashed.analyses()
    strikes(crashed, "mole", [(100, 20), (100, 60)])
    own = crashed.mask.copy()
    crashed.dock.settings.folder = tmp_path
    saves(crashed)
    assert len(kept()) == 1
    with answering("") as requested:
        button.click()
    assert requested[0].startswith("You have edited the mask since. Corrections from ")
    assert np.array_equal(crashed.mask, own)
    assert button.isVisibleTo(crashed.dock), "still offered"
    with answering("replace"):
        button.click()
    crashed.waits()
    assert len(masks(crashed)) == 1
    assert np.array_equal(crashed.mask, crashed.drawn)
    assert crashed.lesion.unsaved
    assert len(kept()) == 1
    crashed.layer("mask").undo()
    crashed.waits()
    assert np.array_equal(crashed.mask, own)


def test_a_reopened_dock_replaces_a_corrected_mask_only_after_confirmation(person):
    # A predicted mask is replaced without a question.
    person.opens()
    person.analyses()
    person.reopens()
    person.analyses()
    assert len(masks(person)) == 1
    strikes(person, "mole")
    assert person.lesion.corrected
    # A corrected one is not.
    drawn = person.mask.copy()
    person.reopens()
    person.clicks("primary")
    person.answers("replace_corrections", "Cancel")
    assert np.array_equal(person.mask, drawn)
    person.clicks("primary")
    person.answers("replace_corrections", "Replace")
    person.waits()
    assert len(masks(person)) == 1
    assert not np.array_equal(person.mask, drawn)
    assert np.array_equal(person.mask, person.lesion.result.mask)
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, drawn)
    assert person.lesion.corrected


def test_corrections_of_a_photograph_opened_twice_are_kept(corrected):
    corrected.opens("again")
    corrected.analyses()
    assert not corrected.dock.recovery_notice.isVisibleTo(corrected.dock)  # what the other layer keeps is its own
    save_unsaved(corrected.dock.sessions)
    corrected.reopens()
    corrected.waits()
    assert len(kept()) == 1


def blurred():
    """A lesion whose border depends on the threshold: uint8 (row, column, channel)."""
    rows, columns = np.mgrid[:120, :160]
    gray = np.clip(2.5 * np.hypot(rows - 60, columns - 80), 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def saved_values(folder):
    """The saved model, model in the options, threshold, and whether the mask was corrected."""
    about = json.loads((folder / "result.json").read_text())
    return about["model"]["name"], about["options"]["model"], about["threshold"], about["corrected_by_hand"]


def sets_next_threshold(person, threshold):
    """Set the threshold of the next analysis; the mask does not follow it."""
    session, options = person.dock.picker.session, person.dock.options
    options.edit(session, options.get(session).model_copy(update={"threshold": threshold}))


def test_undo_across_models_restores_the_model_of_the_mask(person, tmp_path):
    person.dock.settings.folder = tmp_path
    person.opens(rgb=blurred())
    person.dock.model.model = "first"
    person.analyses()
    masks = [person.mask.copy()]
    strikes(person, "mole", [(10, 100), (10, 140)])
    masks.append(person.mask.copy())
    person.dock.model.model = "second"
    person.finds(QAbstractButton, "revert").click()  # the first model's, whatever is picked for next time
    person.waits()
    assert person.lesion.result.options.model == "first"
    sets_next_threshold(person, 0.9)
    person.analyses()
    saves(person)
    assert saved_values(tmp_path / "mole") == ("second", "second", 0.9, False)
    for mask, corrected in ((masks[0], False), (masks[1], True), (masks[0], False)):
        person.layer("mask").undo()
        person.waits()
        assert np.array_equal(person.mask, mask)
        saves(person)
        assert saved_values(tmp_path / "mole") == ("first", "first", 0.5, corrected)
    assert person.finds(QDoubleSpinBox, "threshold").value() == 0.5


def test_few_probabilities_are_kept_for_undo(person):
    person.opens(rgb=blurred())
    for threshold in (0.4, 0.5, 0.6, 0.7):
        sets_next_threshold(person, threshold)
        person.analyses()
    origins = person.lesion.origins
    assert [origin.options.threshold for origin in origins.values()] == [0.5, 0.6, 0.7]


def test_a_removed_photograph_is_freed_and_only_its_corrections_kept(person, qtbot):
    # Without corrections, nothing is left of it.
    person.opens()
    person.analyses()
    probability = weakref.ref(person.lesion.result.probability)
    person.viewer.layers.remove(person.viewer.layers["mole"])
    person.waits()
    assert not list(person.dock.sessions)
    assert kept() == []
    assert not [layer for layer in person.viewer.layers if layer.visible], "they would cover another photograph"
    person.viewer.layers.clear()  # its layers had stayed
    # A stroke is kept, even if it has not settled.
    person.opens()
    person.analyses()
    strikes(person, "mole")
    person.draws(person.layer("mask"), [(100, 20), (100, 60)])
    drawn = person.mask.copy()
    probabilities = (probability, weakref.ref(person.lesion.result.probability))
    person.viewer.layers.clear()  # before anything could follow the stroke
    person.waits()
    assert not list(person.dock.sessions)
    qtbot.waitUntil(lambda: not any(found() is not None for found in probabilities), timeout=3 * COLLECT_MS)
    person.opens()
    offered(person, qtbot).click()
    person.waits()
    assert np.array_equal(person.mask, drawn)
