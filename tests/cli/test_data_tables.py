"""``data harmonize`` and ``data check`` of a table: text and JSON output, and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

TEXT = "isic_id;Alter;gender;region\nA;430;f ;Glabella\nB;45;m;linker Arm\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "clinic.csv").write_bytes(TEXT.encode("cp1252"))
    return tmp_path / "clinic.csv"


def test_a_table_is_harmonized_and_reported(run, table: Path) -> None:
    result = run("data", "harmonize", "clinic.csv", "--out", "out.csv")
    assert result.exit_code == 0, result.output
    assert "isic_id -> image_id" in result.stdout
    assert "note: site: 1 cell is not understood and kept in site_as_given: 'Glabella' (1)" in result.output
    assert "note: age: 1 cell is impossible and kept in age_as_given: '430' (1)" in result.output
    assert (
        "2 rows, 4 columns recognized, 0 kept unchanged: out.csv; next: napari-melanoma data check out.csv"
        in result.stdout
    )


def test_json_output_contains_the_counts(run, table: Path, lines) -> None:
    summary = lines(run("data", "harmonize", "clinic.csv", "--out", "out.csv", "--json").stdout)[-1]
    assert (summary["rows"], summary["unmapped"]) == (2, {"site": {"Glabella": 1}})
    assert summary["impossible"] == {"age": {"430": 1}}


def test_a_mapping_defines_a_value(run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('[words.site]\nGlabella = "forehead"\n')
    result = run("data", "harmonize", "clinic.csv", "--out", "out.csv", "--map", "map.toml")
    assert result.exit_code == 0, result.output
    assert "Glabella" not in result.output
    assert "forehead" in (tmp_path / "out.csv").read_text()


USAGE = [
    (("clinic.csv", "--out", "clinic.csv"), "is the table itself"),
    (("none.csv", "--out", "out.csv"), "there is no file none.csv"),
    (("clinic.csv", "--out", "out.csv", "--source", "unknown"), "there is no source named 'unknown'"),
    (("clinic.csv", "--out", "out.csv", "--map", "none.toml"), "cannot read none.toml"),
]


@pytest.mark.parametrize(("words", "expected"), USAGE, ids=[expected for _, expected in USAGE])
def test_a_usage_error_gives_exit_code_2(run, table: Path, words: tuple[str, ...], expected: str) -> None:
    result = run("data", "harmonize", *words)
    assert result.exit_code == 2
    assert expected in result.output


def test_a_table_without_images_is_checked(run, table: Path, tmp_path: Path) -> None:
    result = run("data", "check", "clinic.csv")
    assert result.exit_code == 2
    assert "needs a column image_id" in result.output
    assert "'napari-melanoma data harmonize' renames columns to those of a data set." in result.output
    run("data", "harmonize", "clinic.csv", "--out", "out.csv")
    result = run("data", "check", "out.csv")
    assert result.exit_code == 0, result.output
    assert "2 rows, 0 images" in result.stdout
    assert "note: age_as_given: stored as given in 1 row: '430' (1)" in result.output
    assert "note: site_as_given: stored as given in 1 row: 'Glabella' (1)" in result.output
    (tmp_path / "out.csv").write_text("image_id,age\na,430\n")
    result = run("data", "check", "out.csv")
    assert result.exit_code == 1
    assert "fault: age: impossible in 1 row: '430' (1)" in result.output
