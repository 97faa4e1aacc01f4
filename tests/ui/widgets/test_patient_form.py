"""The patient form: fields of a model, known and entered values."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QComboBox
from stage import Stage

from napari_melanoma.core.prediction_config import FittedNumbers, FittedWords, TabularEncoding
from napari_melanoma.data.tabular_encoding import encode_rows
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


def spoken(*words):
    return TabularEncoding(numbers=(FittedNumbers(name="age"),), words=(FittedWords(name="ethnicity", words=words),))


OTHER_SPELLINGS = {
    "as the model reads it": ("Caucasian", "caucasian"),
    "with spaces": (" caucasian", "caucasian"),
    "not a word of the model": ("Maori", "unknown"),
    "the same": ("caucasian", "caucasian"),
}


@pytest.mark.parametrize(("cell", "shown"), OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS)
def test_what_was_not_edited_stays_as_in_the_case_and_is_shown_as_the_model_reads_it(form, cell, shown, qtbot):
    encoding, row = spoken("caucasian", "asian"), {"age": "54", "ethnicity": cell}
    form.set_encoding(encoding)
    form.show_row(row)
    assert form.fields["ethnicity"].control.currentText() == shown
    assert form.row == row
    form.fields["age"].control.clear()
    qtbot.keyClicks(form.fields["age"].control, "55")
    assert form.row == {**row, "age": "55"}
    before, after = (encode_rows([one], encoding).categories for one in (row, form.row))
    assert (before == after).all(), "the prediction changes with the age only"
    form.set_encoding(spoken("maori"))  # another model, and back
    form.set_encoding(encoding)
    assert form.row == {**row, "age": "55"}
    form.fields["ethnicity"].control.setCurrentText("asian")
    assert form.row == {"age": "55", "ethnicity": "asian"}
    form.fields["ethnicity"].control.setCurrentText("unknown")
    assert form.row == ({"age": "55", "ethnicity": cell} if shown == "unknown" else {"age": "55"})
