"""The form of the patient: fields of a bundle, what is known and what was filled in."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtWidgets import QComboBox, QLineEdit
from stage import Stage

from napari_melanoma.core.prediction_config import FittedNumbers, FittedWords, TabularEncoding
from napari_melanoma.ui.lesion.patient_form import PatientForm, PatientRows

ENCODING = TabularEncoding(
    numbers=(FittedNumbers(name="age"), FittedNumbers(name="packs_a_day")),
    words=(
        FittedWords(name="sex", words=("female", "male")),
        FittedWords(name="site", words=("back",)),
        FittedWords(name="soap_brand", words=("blue", "red_and_white")),
    ),
)


@pytest.fixture
def form(qtbot):
    stage = Stage(qtbot)
    yield stage.show(PatientForm())
    stage.close()


def test_every_column_of_the_bundle_is_a_field_in_its_own_words(form):
    form.ask_for(ENCODING)
    assert list(form.fields) == ["age", "packs_a_day", "sex", "site", "soap_brand"]
    assert form.findChild(QLineEdit, "patient_age").placeholderText() == "unknown"
    brands = form.findChild(QComboBox, "patient_soap_brand")
    assert [brands.itemText(place) for place in range(brands.count())] == ["unknown", "blue", "red and white"]
    assert form.fields["packs_a_day"].label.text() == "Packs a day"
    controls = [field.control for field in form.fields.values()]
    assert all(control.objectName() and control.accessibleName() for control in controls)


def test_the_row_is_what_is_shown_and_what_was_known_beside(form):
    form.ask_for(ENCODING)
    form.show_row({"age": "54", "soap_brand": "blue", "ethnicity": "as stated"})
    assert form.row == {"age": "54", "soap_brand": "blue", "ethnicity": "as stated"}
    form.show_row({"sex": "male"})
    assert form.row == {"sex": "male"}


def test_another_bundle_keeps_what_was_filled_in(form):
    form.ask_for(ENCODING)
    form.show_row({"age": "54", "sex": "male"})
    form.ask_for(TabularEncoding(words=(FittedWords(name="sex", words=("female", "male")),)))
    assert list(form.fields) == ["sex"]
    assert form.row == {"age": "54", "sex": "male"}


def test_a_bundle_without_columns_says_so(form):
    form.ask_for(ENCODING)
    form.ask_for(None)
    assert not form.fields
    assert form._nothing.isVisibleTo(form)


@pytest.fixture
def image():
    return Image(np.zeros((4, 4, 3), np.uint8), rgb=True)


def test_what_is_tried_out_stands_beside_what_the_case_says(image):
    rows = PatientRows()
    assert rows.set_case("a", "P-1", {"age": "54", "sex": "female"})
    assert not rows.set_case("a", "P-1", {"age": "54", "sex": "female"})
    rows.set_row("a", image, {"sex": "male"})  # the age was emptied
    assert rows.row("a", image) == {"sex": "male"}
    assert rows.has_edits(image)
    rows.set_case("a", "P-1", {"age": "55", "sex": "female", "site": "back"})
    assert rows.row("a", image) == {"sex": "male", "site": "back"}
    rows.remove("a", image)
    assert rows.row("a", image) == {"age": "55", "sex": "female", "site": "back"}
    assert not rows.has_edits(image)


def test_without_a_case_the_layer_keeps_what_was_filled_in(image):
    PatientRows().set_row("a", image, {"age": "54"})
    assert PatientRows().row("a", image) == {"age": "54"}
    assert PatientRows().case("a") == ""
