"""Mappings of columns and words, suggested by names and by the words of a column."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.table_mapping import TableMapping, read_mapping, suggest_mapping, write_mapping

MINE = TableMapping(
    columns={"Bild": "image_id", "Befund": "diagnosis", "Notiz": ""}, words={"diagnosis": {"MM": "melanoma"}}
)


def test_columns_and_values_are_mapped() -> None:
    row = {"Bild": "a", "Befund": " MM ", "Notiz": "seen twice", "camera": "X"}
    assert MINE.apply(row) == {"image_id": "a", "diagnosis": "melanoma", "camera": "X"}


def test_of_two_columns_mapped_to_one_the_first_value_counts() -> None:
    mapping = TableMapping(columns={"a": "site", "b": "site"})
    assert mapping.apply({"a": "", "b": "ear"}) == mapping.apply({"a": "ear", "b": "ear"}) == {"site": "ear"}
    assert mapping.apply({"a": "ear", "b": "nose"}) == {"site": "ear", "b": "nose"}
    assert mapping.apply({"b": "ear", "site": "nose"}) == {"site": "ear", "other_site": "nose"}


@pytest.mark.parametrize(
    ("given", "own", "text", "expected"),
    [
        ("Durchmesser (cm)", "diameter_1_mm", "2,5", "25"),
        ("DurchmesserCm", "diameter_1_mm", "2,5", "25"),
        ("diameter_1_cm", "diameter_1_mm", "2.5", "25"),
        ("Dicke [µm]", "depth_mm", "800", "0.8"),
        ("AlterMonate", "age", "18", "1.5"),
        ("Durchmesser (cm)", "diameter_1_mm", "8 mm", "8"),
        ("Durchmesser", "diameter_1_mm", "8", "8"),
        ("Alter_M", "age", "60", "60"),
    ],
)
def test_a_mapped_column_keeps_the_unit_of_its_name(given: str, own: str, text: str, expected: str) -> None:
    mapped = TableMapping(columns={given: own}).apply({given: text})
    assert harmonize_rows([mapped]).rows[0] == {own: expected}


def test_an_unknown_number_gets_no_unit() -> None:
    mapped = TableMapping(columns={"Durchmesser (cm)": "diameter_1_mm"}).apply({"Durchmesser (cm)": "nan"})
    found = harmonize_rows([mapped])
    assert found.rows == harmonize_rows([{"diameter_1_mm": "nan"}]).rows
    assert not found.report.unmapped


def test_a_mapping_is_kept_as_toml(tmp_path: Path) -> None:
    write_mapping(tmp_path / "mine.toml", MINE)
    assert read_mapping(tmp_path / "mine.toml") == MINE


def test_an_invalid_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[column]\na = 'b'\n")
    with pytest.raises(ConfigError, match=r"unknown key .column. .known: columns, words"):
        read_mapping(tmp_path / "mine.toml")


def test_columns_are_suggested_by_name_alone() -> None:
    header = ("Image Name", "age (years)", "F/M", "where", "Diagnsis", "camera")
    expected = {"Image Name": "image_id", "age (years)": "age", "Diagnsis": "diagnosis"}
    assert suggest_mapping(header).columns == expected


def test_mapped_values_apply_to_the_original_column_name() -> None:
    assert TableMapping(words={"sex": {"W": "female"}}).apply({"Geschlecht": "W"}) == {"Geschlecht": "female"}


def test_each_column_is_suggested_once_and_known_names_first() -> None:
    assert suggest_mapping(("age", "age_approx")).columns == {"age": "age"}
    assert suggest_mapping(("Gendr", "gender")).columns == {"gender": "sex"}


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ("Pat-Nr", "patient_id"),
        ("Phototyp", "fitzpatrick"),
        ("Lokalisierung", "site"),
        ("Modalität", "modality"),
        ("Körperseite", "laterality"),
        ("ulceración", "ulceration"),
        ("épaisseur de Breslow", "depth_mm"),
    ],
)
def test_columns_in_other_languages_are_known_by_name(given: str, own: str) -> None:
    assert suggest_mapping([given]).columns == {given: own}
