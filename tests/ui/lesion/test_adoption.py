"""Labels layers of other tools become the mask of the photograph in view."""

from __future__ import annotations

import numpy as np
import pytest
from click_tool import use_tool
from lesion_fixtures import FIXTURES
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QCheckBox, QMenu, QPushButton, QToolButton

from conftest import photograph
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.corrections import Corrections
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.results import read_result
from napari_melanoma.ui.session.adoption import LabelsSource
from napari_melanoma.ui.session.adoption import read_mask as read_labels
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.session.recovery import find_recovery

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

TWO = ((60, 45, 20), (60, 115, 20))


def two_labels(shape=(120, 160)):
    """Two labels that touch, and one apart: int64 (row, column)."""
    labels = np.zeros(shape, np.int64)
    labels[40:80, 30:60], labels[40:80, 60:80], labels[20:40, 110:140] = 7, 3, 1_000_000
    return labels


def adopts(person, data, name="cells", **options):
    layer = person.viewer.add_labels(data, name=name, **options)
    person.waits()
    person.clicks("use_labels")
    person.waits()
    return layer


def shown(person):
    return person.finds(QToolButton, "use_labels").isVisibleTo(person.dock)


@pytest.mark.path
def test_labels_become_the_analysis_of_a_photograph_that_was_not_analyzed(person, tmp_path):
    ReviewSettings().corrections = tmp_path / "corrections"
    person.dock.corrections.store.folder = tmp_path / "corrections"
    (tmp_path / "results").mkdir()
    person.dock.settings.folder = tmp_path / "results"
    person.opens(rgb=photograph(TWO))
    assert not shown(person)
    adopts(person, two_labels())
    result = person.lesion.result
    assert person.lesion.corrected
    assert person.lesion.unsaved
    assert not result.is_predicted
    assert result.provenance["labels_layer"] == {"name": "cells", "labels": 3}
    assert person.finds(QCheckBox, "largest_only").isChecked()
    assert len(result.mask_parts) == 3
    assert np.array_equal(person.mask, result.mask)
    assert not person.mask[50, 59]  # of the larger one of two that touch
    assert person.mask[50, 60]
    assert "3 lesions" in person.dock.status.text
    assert not person.finds(QPushButton, "revert").isVisibleTo(person.dock)
    assert person.viewer.layers.selection.active == person.layer("mask")
    # They would be recovered after a crash.
    found = find_recovery(person.lesion.image_digest, result.photograph)
    assert found is not None
    assert np.array_equal(found.mask, person.mask)
    assert not found.result.is_predicted
    # They are one step.
    adopted = person.mask.copy()
    person.layer("mask").undo()
    person.waits()
    assert not person.mask.any()
    person.layer("mask").redo()
    person.waits()
    # They are saved with their origin.
    person.clicks("save")
    person.waits()
    about = read_result(tmp_path / "results" / "mole")
    assert (about["model"]["name"], about["corrected_by_hand"], about["lesions_found"]) == ("", True, 3)
    assert about["provenance"]["labels_layer"]["name"] == "cells"
    assert [row["in_mask"] for row in about["lesions"]] == [1, 1, 1]
    assert np.array_equal(read_mask(tmp_path / "results" / "mole" / "mask.png"), adopted)
    # They are stored as corrections without a prediction.
    person.clicks("add_correction")
    person.waits()
    (row,) = Corrections(tmp_path / "corrections").rows()
    assert (row["review"], row["model"], row["prediction_path"]) == ("corrected", "", "")
    assert np.array_equal(read_mask(tmp_path / "corrections" / row["mask_path"]), adopted)
    # An analysis replaces them only after confirmation.
    person.clicks("primary")
    person.answers("replace_corrections", "Cancel")
    assert np.array_equal(person.mask, adopted)
    person.clicks("primary")
    person.answers("replace_corrections", "Replace")
    person.waits()
    assert person.lesion.result.is_predicted
    assert not person.lesion.corrected


def test_labels_replace_the_mask_of_an_analyzed_photograph_in_one_step(person):
    person.opens()
    person.analyses()
    before = person.mask.copy()
    # The button is for layers of others only.
    person.clicks("inside")  # adds the layer of strokes
    assert not shown(person)
    layer = person.viewer.add_labels(two_labels())
    assert shown(person)
    person.viewer.layers.remove(layer)
    assert not shown(person)
    adopts(person, two_labels())
    assert person.lesion.corrected
    assert person.lesion.result.is_predicted
    assert np.array_equal(person.mask, person.lesion.result.mask)
    assert len(person.lesion.result.mask_parts) == 3
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, before)
    assert not person.lesion.corrected
    assert "labels_layer" not in person.lesion.result.provenance
    person.layer("mask").redo()
    person.waits()
    assert "labels_layer" in person.lesion.result.provenance


UM, MM = {"scale": (20, 20), "units": "um"}, {"scale": (0.02, 0.02), "units": "mm"}
PLACES = {  # how both layers lie: shape of the labels, options of the photograph and of the labels
    "half": ((60, 80), {}, {"scale": (2, 2), "translate": (0.5, 0.5)}),
    "2.5 times": ((48, 64), {}, {"scale": (2.5, 2.5), "translate": (0.75, 0.75)}),
    "double": ((240, 320), {}, {"scale": (0.5, 0.5), "translate": (-0.25, -0.25)}),
    "one plane": ((1, 120, 160), {}, {}),
    "with scale": ((120, 160), UM, UM),
    "in mm": ((120, 160), UM, MM),
    "without scale": ((120, 160), UM, {}),
    "moved": ((120, 160), {"scale": (3, 3), "translate": (50, 60)}, {"scale": (3, 3), "translate": (50, 60)}),
}


@pytest.mark.parametrize(("shape", "photo", "labels"), PLACES.values(), ids=PLACES)
def test_layers_are_resampled_to_the_photograph(shape, photo, labels):
    expected = np.zeros((120, 160), bool)
    expected[30:60, 40:80] = True
    rows, columns = shape[-2:]
    data = np.zeros(shape, np.uint8)
    data[..., rows // 4 : rows // 2, columns // 4 : columns // 2] = 1
    source = LabelsSource.from_layers(Labels(data, **labels), Image(photograph(), rgb=True, **photo))
    assert np.array_equal(read_labels(source, None, LesionOptions(), RunContext()).mask, expected)


def test_moved_labels_are_clipped_and_reported(person):
    person.opens(scale=(20, 20), units="um", translate=(100, 100))
    adopts(person, two_labels(), scale=(0.02, 0.02), units="mm", translate=(1.3, 0.1))
    assert person.mask[100:, 30:59].all()
    assert "3 lesions" in person.dock.status.text
    labels = np.zeros((120, 160), np.uint8)
    labels[:20, :20], labels[100:, 100:] = 1, 2
    adopts(person, labels, name="other", scale=(20, 20), units="um", translate=(1300, 100))
    menu = person.dock.findChild(QMenu, "labels_layers")
    assert [action.text() for action in menu.actions()] == ["other", "cells"]
    menu.actions()[0].trigger()
    menu.close()
    person.waits()
    assert person.mask[60:80, :20].all()
    assert person.mask.sum() == 400
    assert "1 label outside the photograph" in person.dock.status.text


def test_labels_smaller_than_a_pixel_of_the_photograph_are_not_outside():
    labels = np.zeros((36, 36), np.int64)
    labels[10:20, 10:20], labels[0, 0], labels[33:, 33:] = 1, 2, 3
    three_per_pixel = np.array([[3.0, 0, 1], [0, 3, 1]])
    source = LabelsSource(labels, "cells", "mole", three_per_pixel, (10, 10))
    adopted = read_labels(source, None, LesionOptions(), RunContext())
    assert (adopted.labels, adopted.small, adopted.outside) == (1, 1, 1)
    labels[10:] = 0
    with pytest.raises(InputError, match="all labels of 'cells' are smaller than one pixel of 'mole'"):
        read_labels(source, None, LesionOptions(), RunContext())


UNUSABLE = [
    (np.zeros((120, 160), np.uint8), {}, "empty"),
    (np.ones((3, 120, 160), np.uint8), {}, "found 'cells' of 3 x 120 x 160"),
    (np.ones((120, 160), np.uint8), {"translate": (1000, 0)}, "are outside 'mole'"),
]


def masks(person):
    return {session.identity: session.lesion and session.lesion.mask_digest for session in person.dock.sessions}


def test_unusable_layers_change_nothing(person):
    person.opens()
    for is_analyzed in (False, True):
        if is_analyzed:
            person.analyses()
        names = [layer.name for layer in person.viewer.layers]
        before = masks(person)
        for data, options, message in UNUSABLE:
            layer = adopts(person, data, **options)
            assert message in person.dock.status.text
            assert message in notification_manager.records[-1].message
            assert [layer.name for layer in person.viewer.layers] == [*names, "cells"]
            assert masks(person) == before
            person.viewer.layers.remove(layer)


def test_labels_replace_a_mask_that_a_closed_dock_left(person):
    person.opens()
    person.analyses()
    person.draws(person.layer("mask"), [(10, 100), (10, 140)])
    person.waits()
    drawn = person.mask.copy()
    person.closes()
    person.viewer.add_labels(two_labels(), name="cells")
    person.reopens()
    person.clicks("use_labels")
    person.waits()
    assert np.array_equal(person.mask, person.lesion.result.mask)
    assert len(person.lesion.result.mask_parts) == 3
    person.layer("mask").undo()
    person.waits()
    assert np.array_equal(person.mask, drawn)
    assert person.lesion.corrected


def test_adopted_labels_are_corrected_by_clicks(person):
    person.opens()
    adopts(person, two_labels())
    person.clicks("click")
    use_tool(person.viewer, "mole", (30, 125), button=2)
    person.waits()
    assert not person.mask[30, 125]
    assert person.lesion.result.provenance["labels_layer"]["name"] == "cells"
    assert "prompts" in person.lesion.result.provenance
    # A click of another lesion keeps the labels.
    person.clicks("new_lesion")
    use_tool(person.viewer, "mole", (60, 100))
    person.waits()
    assert person.mask[60, 100]
    assert person.mask[50, [45, 60]].all()
    assert not person.mask[30, 125]
    assert set(person.lesion.result.provenance) >= {"labels_layer", "prompts"}
    # The labels can be used again.
    person.clicks("use_labels")
    person.waits()
    assert not person.finds(QToolButton, "click").isChecked()
    assert person.mask[30, 125]
    assert not person.mask[60, 100]
    assert "prompts" not in person.lesion.result.provenance
