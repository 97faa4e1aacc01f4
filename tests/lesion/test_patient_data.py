"""Metadata are parsed in several spellings; values of the table take precedence over common values."""

from __future__ import annotations

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.lesion.patient_data import PatientTable


def test_spellings_of_users_are_harmonized() -> None:
    assert PatientTable({"age": "54", "sex": "F", "site": "upper back"}).patient_data("any") == {
        "age": "54",
        "sex": "female",
        "site": "posterior torso",
        "sub_site": "upper back",
    }
    assert PatientTable({}).patient_data("any") == {}


def test_values_of_a_table_that_cannot_be_parsed_are_kept(tmp_path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("image_id,sex\none,robot\n", encoding="utf-8")
    assert PatientTable({}, table).patient_data("one") == {"sex": "robot"}


@pytest.mark.parametrize("stated", [{"sex": "robot"}, {"age": "300"}, {"age": "sixty"}, {"site": "foo"}, {"shoe": "7"}])
def test_stated_values_are_checked_by_all_callers(stated: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"expected|not a column"):
        PatientTable(stated)


def test_stated_values_may_have_other_names_of_a_column() -> None:
    assert PatientTable({"gender": "f"}).patient_data("any") == {"sex": "female"}


def test_row_values_take_precedence_and_defaults_fill_the_rest(tmp_path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("sex,image_id,age_approx\nmale,one.jpg,70\n,two,\nmale,nu\u0308,\n", encoding="utf-8")
    forms = PatientTable({"age": "50", "sex": "female"}, table)
    assert forms.patient_data("one") == {"age": "70", "sex": "male"}
    assert forms.patient_data("two") == forms.patient_data("three") == {"age": "50", "sex": "female"}
    assert forms.patient_data("n\u00fc") == forms.patient_data("nu\u0308") == {"age": "50", "sex": "male"}
    assert forms.missing_images(["one", "n\u00fc", "three"]) == ["three"]
    assert len(forms) == 3


def test_rows_of_an_image_complete_each_other_and_must_not_contradict(tmp_path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age,sex,remark\none.jpg,70,,a\none,,female,b\n", encoding="utf-8")
    assert PatientTable({}, table).patient_data("one") == {"age": "70", "sex": "female", "remark": "a"}
    table.write_text("image_id,age,sex\none,45,female\none,50,female\n", encoding="utf-8")
    with pytest.raises(InputError, match="different values of age for the image 'one': 45 and 50"):
        PatientTable({}, table)


def test_a_missing_table_is_rejected(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        PatientTable({}, tmp_path / "missing.csv")


def test_a_table_of_another_program_is_read(tmp_path) -> None:
    table = tmp_path / "patients.csv"
    table.write_bytes("image_id;age;diameter_1_mm;sex;remark\r\none;70;7,5;f;gr\u00f6\u00dfer\r\n".encode("cp1252"))
    expected = {"age": "70", "diameter_1_mm": "7.5", "sex": "female", "remark": "gr\u00f6\u00dfer"}
    assert PatientTable({}, table).patient_data("one") == expected


@pytest.mark.parametrize("text", ["patient,age,sex\np1,70,male\n", "image_id,age\n,70\n", "image_id,age\n"])
def test_a_table_that_names_no_photograph_is_refused(tmp_path, text: str) -> None:
    """Else every form would stay empty, and nobody would know."""
    (tmp_path / "patients.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"lists no photographs|has no rows"):
        PatientTable({}, tmp_path / "patients.csv")


def test_a_name_of_several_photographs_is_known(tmp_path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age\none,50\ntwo,60\n", encoding="utf-8")
    assert PatientTable({}, table).shared_rows(["one", "one", "two", "three", "three"]) == ["one"]
    assert PatientTable({"age": "50"}).shared_rows(["one", "one"]) == []
