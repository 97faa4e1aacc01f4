"""A sample shows what is published of it beside the analysis; other photographs do not."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from qtpy.QtWidgets import QLabel

from conftest import PATIENCE_MS, until, wait_until_idle
from napari_melanoma.io.results import read_mask
from napari_melanoma.samples import catalog
from napari_melanoma.ui.viewer import layers, photographs

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)
SAMPLE = catalog.load_samples()[catalog.MELANOMA]


@pytest.fixture
def sample(person, qtbot):
    """The dock with the open sample."""
    person.dock.welcome.link_activated.emit("sample")
    until(qtbot, lambda: person.dock.findChild(QLabel, "published") is not None)
    wait_until_idle(qtbot, person.dock)
    return person.dock


def published(dock):
    return re.sub("<[^>]*>", "", dock.findChild(QLabel, "published").text())


def test_the_published_diagnosis_and_mask_are_beside_the_analysis(sample, person, qtbot):
    session, viewer = sample.picker.session, person.viewer
    assert published(sample) == "Published: melanoma; published mask."
    # The overlap follows the mask.
    sample.analyze_button.click()
    until(qtbot, lambda: "Dice" in published(sample))
    wait_until_idle(qtbot, sample)
    predicted, expected = session.lesion.result.mask, read_mask(SAMPLE.mask_path)
    dice = 2 * (predicted & expected).sum() / (predicted.sum() + expected.sum())
    assert published(sample) == f"Published: melanoma; Dice {dice:.2f} with its mask."
    labels = session.mask
    layers.write_mask(labels, np.nonzero((labels.data != 0) != expected), expected)
    qtbot.waitUntil(lambda: "Dice 1.00" in published(sample), timeout=PATIENCE_MS)
    # The link shows the mask, and hides it.
    for visible in (True, False, True):
        sample.findChild(QLabel, "published").linkActivated.emit("published_mask")
        layer = photographs.find_layer(viewer, session.image, "published mask")
        assert layer.visible is visible
    assert len(layer.data) == 1


def test_scale_and_patient_data_of_a_sample_can_be_changed_and_restored(sample, person, qtbot):
    session, viewer = sample.picker.session, person.viewer
    ruler = photographs.find_layer(viewer, session.image, "ruler")
    assert np.abs(ruler.data[0] - SAMPLE.ruler[:2]).max() < 0.001  # float32
    assert session.patient_data.row == {"age": "70", "sex": "female", "site": "posterior torso"}
    sample.choice.set_needed("Patient", is_needed=True)
    until(qtbot, lambda: sample.findChild(QLabel, "form_origin") is not None)
    assert sample.findChild(QLabel, "form_origin").text() == "From the published data of the sample."
    session.patient_data.set_row({"age": "41"})
    assert session.patient_data.row == {"age": "41"}
    session.patient_data.reset()
    assert session.patient_data.row["age"] == "70"
    photographs.set_pixel_size(viewer, session.image, photographs.PixelSize(10.0, 10.0, "ruler"))
    photographs.set_pixel_size(viewer, session.image, None)
    assert photographs.get_pixel_size(session.image) == SAMPLE.pixel_size


def test_another_photograph_has_no_published_line_but_a_copy_its_attribution(sample, person, qtbot, tmp_path):
    copy = tmp_path / "mole.jpg"
    shutil.copy(SAMPLE.path, copy)
    sample.opener.open_as_photographs([copy])
    until(qtbot, lambda: sample.picker.combo.currentText() == "mole")
    wait_until_idle(qtbot, sample)
    session = sample.picker.session
    labels = [label for label in sample.findChildren(QLabel, "published") if label.isVisibleTo(sample)]
    assert labels == []
    assert photographs.get_pixel_size(session.image) is None
    assert session.patient_data.row == {}
    assert session.patient_data.origin == ""
    assert "Codella et al. 2018" in photographs.list_facts(session.image)[-1]
    assert session.source.read().credit == SAMPLE.credit
