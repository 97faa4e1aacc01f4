"""The patient form: fields of a model, known and entered values."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QComboBox
from stage import Stage

from napari_melanoma.core.prediction_config import FittedNumbers, FittedWords, TabularEncoding
from napari_melanoma.ui.widgets.patient_form import PatientForm

ENCODING = TabularEncoding(
    numbers=(FittedNumbers(name="age"), FittedNumbers(name="packs_a_day")),
    words=(
        FittedWords(name="sex", words=("female", "male")),
        FittedWords(name="itch", words=("0", "1")),
        FittedWords(name="site", words=("back",)),
        FittedWords(name="soap_brand", words=("blue", "red_and_white")),
    ),
)


@pytest.fixture
def form(qtbot):
    stage = Stage(qtbot)
    yield stage.show(PatientForm())
    stage.close()


def test_each_column_of_the_model_has_a_field_and_entered_values_are_kept_for_another_model(form):
    form.set_encoding(ENCODING)
    assert list(form.fields) == ["age", "packs_a_day", "sex", "itch", "site", "soap_brand"]
    brands = form.findChild(QComboBox, "patient_soap_brand")
    assert [brands.itemText(place) for place in range(brands.count())] == ["unknown", "blue", "red and white"]
    # The row includes values without a field.
    form.show_row({"age": "54", "soap_brand": "blue", "ethnicity": "as stated"})
    assert form.row == {"age": "54", "soap_brand": "blue", "ethnicity": "as stated"}
    form.show_row({"sex": "male"})
    assert form.row == {"sex": "male"}
    # An invalid value counts as unknown, and not as the one before.
    form.show_row({"age": "54", "sex": "male"})
    form.fields["age"].control.setText("-3")
    assert form.row == {"sex": "male"}
    form.fields["age"].control.setText("55")
    assert form.row == {"age": "55", "sex": "male"}
    # They are kept for another model.
    form.set_encoding(TabularEncoding(words=(FittedWords(name="sex", words=("female", "male")),)))
    assert list(form.fields) == ["sex"]
    assert form.row == {"age": "55", "sex": "male"}
    form.set_encoding(None)
    assert not form.fields
    assert form._no_fields_label.isVisibleTo(form)
