"""The mask is the pixels of its layer: whoever writes them, the lesion is derived from them once."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from lesion_fixtures import FIXTURES, gradient
from napari.layers import Layer
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox

from napari_melanoma.data.corrections import Corrections
from napari_melanoma.io.results import read_mask
from napari_melanoma.ui.session import lesion_updates, recovery
from napari_melanoma.ui.viewer.mask_layer import MaskLabels

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


@pytest.fixture
def analyzed(person):
    """A user with an analyzed photograph, of which each threshold gives another mask."""
    person.opens(rgb=gradient())
    person.analyses()
    person.waits()
    return person


def paints(person):
    person.draws(person.layer("mask"), [(10, 100), (10, 140)])


def writes_in_place(person):
    labels = person.layer("mask")
    labels.data[5:9, 5:9] = 1
    labels.refresh()


def writes_hidden_in_place(person):
    person.layer("mask").visible = False
    writes_in_place(person)


def sets_other_array(person):
    labels = person.layer("mask")
    data = labels.data.copy()
    data[5:9, 5:9] = 1
    labels.data = data


def fills(person):
    labels = person.layer("mask")
    labels.fill((5, 5), 1)


def moves_threshold(person):
    person.finds(QDoubleSpinBox, "threshold").setValue(0.7)


def draws_strokes(person):
    person.clicks("inside")
    person.draws(person.layer("scribbles"), [(60, 110), (60, 130)], label=1, brush=5)
    person.waits()
    person.clicks("apply")


def undoes(person):
    paints(person)
    person.waits()
    person.layer("mask").undo()


def undoes_hidden(person):
    paints(person)
    person.waits()
    person.layer("mask").visible = False
    person.layer("mask").undo()


def redoes_hidden(person):
    undoes_hidden(person)
    person.waits()
    person.layer("mask").redo()


def resets(person):
    paints(person)
    person.waits()
    person.finds(QAbstractButton, "revert").click()


def restores_the_layer(person):
    """Delete the layer, change it meanwhile, and add it again."""
    labels = getattr(person.layer("mask"), "__wrapped__", person.layer("mask"))
    person.viewer.layers.remove(labels)
    person.waits()
    labels.data[5:9, 5:9] = 1
    person.viewer.layers.append(labels)


def replaces_by_a_copy(person):
    """Put a copy that napari makes in the place of the layer, and paint on it."""
    labels = person.layer("mask")
    copy = Layer.create(labels.data.copy(), {"metadata": dict(labels.metadata), "name": "copy"}, "labels")
    person.viewer.layers.remove(labels)
    person.viewer.layers.append(copy)
    copy.data_setitem((np.arange(5, 9), np.arange(5, 9)), 1)


WRITERS = (
    paints, writes_in_place, writes_hidden_in_place, sets_other_array, fills, moves_threshold, draws_strokes, undoes,
    undoes_hidden, redoes_hidden, resets, restores_the_layer, replaces_by_a_copy,
)  # fmt: skip


def find_mask(person):
    """The layer of the mask, also one of another name."""
    return person.dock.picker.session.mask


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_the_lesion_is_that_of_the_layer(analyzed, write):
    before = analyzed.lesion
    write(analyzed)
    analyzed.waits()
    mask, lesion = find_mask(analyzed).data != 0, analyzed.lesion
    assert lesion is not before
    assert np.array_equal(lesion.result.mask, mask)
    assert lesion.result.measurements["area_px"] == mask.sum()
    assert find_mask(analyzed).features["area_px"][0] == mask.sum()
    assert len(analyzed.layer("contour").data) == len(lesion.result.contours)
    assert not analyzed.dock.picker.session.is_mask_edited
    is_predicted = write in (undoes, undoes_hidden, resets, moves_threshold)
    assert lesion.corrected is not is_predicted


@pytest.mark.parametrize("write", [paints, moves_threshold, writes_in_place], ids=lambda write: write.__name__)
def test_a_change_is_derived_once(analyzed, write, monkeypatch):
    derived, derive = [], lesion_updates.derive_lesion
    monkeypatch.setattr(lesion_updates, "derive_lesion", lambda *values: derived.append(values) or derive(*values))
    write(analyzed)
    analyzed.waits()
    assert len(derived) == 1
    # What does not change pixels derives nothing.
    labels = analyzed.layer("mask")
    labels.contour = 2
    labels.visible = False
    labels.visible = True
    labels.refresh()
    analyzed.waits()
    assert len(derived) == 1


def test_a_script_that_does_not_refresh_is_seen_when_the_mask_is_stored(analyzed, tmp_path):
    analyzed.dock.settings.folder = tmp_path
    analyzed.layer("mask").data[5:9, 5:9] = 1
    analyzed.clicks("save")
    analyzed.waits()
    assert read_mask(tmp_path / "mole" / "mask.png")[5:9, 5:9].all()
    assert not analyzed.lesion.unsaved


def restores_unsaved(person):
    """Leave unsaved corrections as a crash does, analyze again, and restore them."""
    paints(person)
    person.waits()
    (about,) = recovery.recovery_root().glob("*/recovery.json")
    left = json.loads(about.read_text()) | {"owner": {"pid": 2**22 - 7, "created": 1.0}}
    for session in person.dock.sessions:
        session.lesion = None
    person.viewer.layers.clear()
    person.waits()
    about.write_text(json.dumps(left))
    person.opens(rgb=gradient())
    person.waits()
    person.analyses()
    person.waits()
    person.clicks("recover")


@pytest.mark.parametrize(
    ("write", "review"),
    [
        (draws_strokes, "corrected"),
        (moves_threshold, "corrected"),
        (resets, "accepted"),
        (restores_unsaved, "corrected"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_change_that_is_pending_is_stored(analyzed, write, review, tmp_path):
    corrections = Corrections(tmp_path / "corrections")
    analyzed.dock.corrections.store.folder = corrections.folder
    analyzed.waits()
    write(analyzed)
    analyzed.dock.picker.session.commit_requested.emit()
    analyzed.clicks("add_correction")
    analyzed.waits()
    (row,) = corrections.rows()
    assert np.array_equal(read_mask(corrections.folder / row["mask_path"]), find_mask(analyzed).data != 0)
    assert row["review"] == ("accepted" if write is resets else "corrected")
    assert not analyzed.dock.sessions.unsaved


def test_nothing_is_stored_if_no_lesion_can_be_derived(analyzed, tmp_path, monkeypatch):
    def fail(*values):
        raise ValueError("no lesion")

    monkeypatch.setattr(lesion_updates, "derive_lesion", fail)
    analyzed.dock.settings.folder = tmp_path
    paints(analyzed)
    analyzed.clicks("save")
    analyzed.waits()
    assert not (tmp_path / "mole").exists()
    assert analyzed.dock.sessions.unsaved


def test_undo_to_the_mask_that_was_saved_is_saved(analyzed, tmp_path):
    analyzed.dock.settings.folder = tmp_path
    paints(analyzed)
    analyzed.waits()
    assert analyzed.lesion.unsaved
    analyzed.clicks("save")
    analyzed.waits()
    analyzed.draws(analyzed.layer("mask"), [(100, 20), (100, 60)])
    assert analyzed.dock.picker.session.has_unsaved_corrections, "also before the lesion follows"
    analyzed.waits()
    assert analyzed.lesion.unsaved
    analyzed.layer("mask").undo()
    analyzed.waits()
    assert not analyzed.lesion.unsaved
    assert not analyzed.dock.sessions.unsaved


def test_napari_takes_the_layer_for_labels_and_it_reports_undo_while_hidden():
    labels = MaskLabels(np.zeros((4, 5), np.uint8))
    assert labels.as_layer_data_tuple()[2] == "labels"
    refreshed = []
    labels.events.refreshed.connect(lambda event: refreshed.append(event.source is labels))
    labels.data_setitem((np.array([1]), np.array([1])), 1)
    labels.visible = False
    assert not refreshed
    labels.undo()
    assert refreshed == [True]
    assert not labels.data.any()


def test_a_correction_during_a_slow_request_is_not_replaced(analyzed):
    """A change is written only if the pixels are still those it was made from."""
    session, controller = analyzed.dock.picker.session, analyzed.dock.controller
    messages = []
    controller.message.connect(messages.append)
    labels = analyzed.layer("mask")

    def make(lesion, mask):
        labels.data[5:9, 5:9] = 1  # in a thread, while it is computed
        return SimpleNamespace(mask=np.zeros(mask.shape, bool), origin=lesion.origin)

    controller.replace_mask(session, make)
    analyzed.waits()
    assert labels.data[5:9, 5:9].all()
    assert messages == [lesion_updates.MASK_EDITED_MESSAGE]
