"""Patient data of an image: values of the case, and edits in the metadata of the layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image

from napari_melanoma.ui.shared_state import case_rows
from napari_melanoma.ui.viewer.patient_data import PatientData

PATH = Path("mole.png").absolute()


@pytest.fixture
def data():
    yield PatientData(Image(np.zeros((4, 4, 3), np.uint8), rgb=True), PATH)
    case_rows().set_rows(0, "", {})


def test_edits_are_kept_in_addition_to_case_values(data):
    case_rows().set_rows(0, "P-1", {PATH: {"age": "54", "sex": "female"}})
    assert (data.case, data.row, data.has_edits) == ("P-1", {"age": "54", "sex": "female"}, False)
    data.set_row({"sex": "male"})  # the age was cleared
    assert (data.row, data.has_edits) == ({"sex": "male"}, True)
    case_rows().set_rows(0, "P-1", {PATH: {"age": "55", "sex": "female", "site": "back"}})
    assert data.row == {"sex": "male", "site": "back"}
    data.reset()
    assert (data.row, data.has_edits) == ({"age": "55", "sex": "female", "site": "back"}, False)


def test_without_a_case_the_layer_keeps_entered_values(data):
    data.set_row({"age": "54"})
    again = PatientData(data.layer, data.path)
    assert (again.case, again.row) == ("", {"age": "54"})
    assert PatientData(data.layer, None).row == {"age": "54"}
