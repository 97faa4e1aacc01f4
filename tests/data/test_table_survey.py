"""Preview and survey of a table before its import."""

from __future__ import annotations

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.check import MAX_SAMPLES, PREVIEW_ROWS, preview_table, survey_table
from napari_melanoma.data.harmonize import ROWS_PER_REPORT
from napari_melanoma.data.table_mapping import TableMapping


def written(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_preview_shows_different_values_of_each_column(tmp_path):
    rows = [f"i{n};{('f', 'm')[n % 2]};;{n}" for n in range(20)]
    found = preview_table(written(tmp_path / "t.csv", ["name;Gender;empty;no", *rows]))
    assert list(found.samples) == ["name", "Gender", "empty", "no"]
    assert found.samples["Gender"] == ("f", "m")
    assert found.samples["empty"] == ()
    assert len(found.samples["no"]) == MAX_SAMPLES
    assert found.guess.columns["Gender"] == "sex"


def test_the_survey_reads_every_row(tmp_path):
    """A word that comes after what the preview looks at is counted too."""
    lines = ["image_id,place"] + [f"i{n},{'elbow' if n < PREVIEW_ROWS else 'dolphin'}" for n in range(PREVIEW_ROWS + 3)]
    path = written(tmp_path / "t.csv", lines)
    report = survey_table(path, TableMapping(columns={"place": "site"}), run=RunContext())
    assert report.rows == PREVIEW_ROWS + 3
    assert report.unmapped == {"site": {"dolphin": 3}}
    words = TableMapping(columns={"place": "site"}, words={"site": {"dolphin": "knee"}})
    assert not survey_table(path, words, run=RunContext()).unmapped


def test_the_survey_reports_and_can_be_cancelled(tmp_path):
    path = written(tmp_path / "t.csv", ["image_id", *(f"i{n}" for n in range(3 * ROWS_PER_REPORT))])
    seen = []
    run = RunContext(seen.append)
    assert survey_table(path, TableMapping(), run=run).rows == 3 * ROWS_PER_REPORT
    assert [progress.done for progress in seen] == [ROWS_PER_REPORT, 2 * ROWS_PER_REPORT, 3 * ROWS_PER_REPORT]
    run.cancel()
    with pytest.raises(Cancelled):
        survey_table(path, TableMapping(), run=run)


def test_a_table_without_rows_is_reported(tmp_path):
    with pytest.raises(DataSetError, match="has no rows: expected a header"):
        preview_table(written(tmp_path / "t.csv", ["image_id,age"]))
