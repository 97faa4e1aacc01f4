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


def test_columns_and_words_are_exchanged() -> None:
    row = {"Bild": "a", "Befund": " MM ", "Notiz": "seen twice", "camera": "X"}
    assert MINE.apply(row) == {"image_id": "a", "diagnosis": "melanoma", "camera": "X"}


def test_of_two_columns_mapped_to_one_the_first_value_counts() -> None:
    mapping = TableMapping(columns={"a": "site", "b": "site"})
    assert mapping.apply({"a": "", "b": "ear"}) == mapping.apply({"a": "ear", "b": "ear"}) == {"site": "ear"}
    assert mapping.apply({"a": "ear", "b": "nose"}) == {"site": "ear", "b": "nose"}
    assert mapping.apply({"b": "ear", "site": "nose"}) == {"site": "ear", "other_site": "nose"}


@pytest.mark.parametrize(
    ("theirs", "ours", "text", "expected"),
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
def test_a_mapped_column_keeps_the_unit_of_its_name(theirs: str, ours: str, text: str, expected: str) -> None:
    mapped = TableMapping(columns={theirs: ours}).apply({theirs: text})
    assert harmonize_rows([mapped]).rows[0] == {ours: expected}


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


def test_columns_are_guessed_by_name_then_by_words() -> None:
    header = ("Image Name", "age (years)", "F/M", "where", "finding", "camera")
    rows = [
        {"Image Name": "1", "age (years)": "40", "F/M": "f", "where": "back", "finding": "NV", "camera": "X"},
        {"Image Name": "2", "age (years)": "50", "F/M": "m", "where": "forearm", "finding": "BCC", "camera": "Y"},
    ]
    expected = {"Image Name": "image_id", "age (years)": "age", "F/M": "sex", "where": "site", "finding": "diagnosis"}
    assert suggest_mapping(header, rows).columns == expected


def test_a_column_of_files_names_the_images() -> None:
    assert suggest_mapping(("Datei",), [{"Datei": "a.JPG"}, {"Datei": "b.png"}, {"Datei": ""}]).columns == {
        "Datei": "image_id"
    }


def test_numbers_suggest_no_column() -> None:
    assert suggest_mapping(("x",), [{"x": "1"}, {"x": "2,5"}]).columns == {}


def test_the_words_of_a_mapping_count_under_the_name_that_others_use() -> None:
    assert TableMapping(words={"sex": {"W": "female"}}).apply({"Geschlecht": "W"}) == {"Geschlecht": "female"}


def test_each_of_ours_is_guessed_once() -> None:
    assert suggest_mapping(("age", "age_approx"), []).columns == {"age": "age"}


def test_nearly_empty_columns_are_suggested_last() -> None:
    rows = [{"dx": "nevus" if n == 0 else "", "Befund": "Melanom", "Bildname": f"b{n}.jpg"} for n in range(30)]
    found = suggest_mapping(["dx", "Befund", "Bildname"], rows)
    assert found.columns == {"Befund": "diagnosis", "Bildname": "image_id"}
    assert suggest_mapping(["dx"], rows).columns == {"dx": "diagnosis"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
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
def test_columns_in_other_languages_are_known_by_name(theirs: str, ours: str) -> None:
    assert suggest_mapping([theirs], [{theirs: "1"}]).columns == {theirs: ours}
