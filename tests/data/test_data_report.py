"""Data report of two sources: counts, figures, separation, warnings, and no patient data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset_report import describe_dataset, format_markdown
from napari_melanoma.data.dataset_report_page import (
    DataReportOptions,
    DataSourcesReport,
    make_data_report,
    write_report,
)
from napari_melanoma.extensions.privacy_audit.audit import audit
from napari_melanoma.io.results import write_table

SIDE = 32


def dataset(folder: Path, tint: tuple[int, int, int], count: int = 24, **columns: object) -> Path:
    """Photographs of a tint; two of each patient; every third is malignant."""
    rng = np.random.default_rng(sum(tint))
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        rough = rng.integers(-40, 40, (8, 8, 1)) + np.array(tint)
        picture = Image.fromarray(np.clip(rough, 0, 255).astype(np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        picture.save(folder / "images" / f"i{number}.png")
        known = {"diagnosis": "melanoma" if number % 3 == 0 else "nevus", "age": 20 + number}
        values = {name: value(number) if callable(value) else value for name, value in columns.items()}
        rows.append({"image_id": f"i{number}", "patient_id": f"p{number // 2}", **known, **values})
    write_table(folder / "dataset.csv", rows)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> DataSourcesReport:
    home = tmp_path_factory.mktemp("report")
    red = dataset(home / "red", (200, 120, 110), split=lambda number: "train" if number < 12 else "val", sex="female")
    blue = dataset(home / "blue", (140, 130, 190), split=lambda number: "train" if number % 2 else "test")
    return make_data_report([red, blue], DataReportOptions(images=20), run=RunContext())


@pytest.mark.slow
def test_sources_are_described_and_separated(found: DataSourcesReport) -> None:
    assert {name: (one.rows, one.images, one.patients) for name, one in found.sources.items()} == {
        "red": (24, 24, 12),
        "blue": (24, 24, 12),
    }
    assert (found.whole.rows, found.whole.patients) == (48, 24)
    assert found.whole.counts["target"] == {"0": 32, "1": 16}
    assert found.sources["red"].missing["sex"] == 0
    assert found.sources["blue"].missing["sex"] == 24
    assert len(found.sampled_rows) == 40
    (shift,) = found.shifts
    assert shift.images == (20, 20)
    assert shift.auc["colors and structure"].low > 0.9
    assert shift.auc["table"].low < 0.6
    assert dict(shift.feature_aucs)["blue to yellow"] > 0.99
    assert dict(shift.feature_aucs)["age"] < 0.75


@pytest.mark.slow
def test_patients_in_two_splits_are_warned_of(found: DataSourcesReport) -> None:
    assert found.whole.in_two_splits == tuple(sorted(f"blue/p{number}" for number in range(12)))
    assert found.sources["red"].in_two_splits == ()


@pytest.mark.slow
def test_the_page_is_complete_in_one_file(found: DataSourcesReport, tmp_path: Path) -> None:
    page = write_report(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "red and blue are separated with an AUC of 1.00" in page
    assert "Patients, lesions or pictures in several splits: 12, such as blue/p0" in page
    assert page.count("data:image/png;base64,") == len(list((tmp_path / "out/figures").iterdir())) == 6
    assert "http" not in page.replace("http-equiv", "")
    values = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert values["sources"]["blue"]["in_two_splits"][0] == "blue/p0"
    assert {"column": "sex", "rows": 24} in values["sources"]["blue"]["missing"]
    assert values["domain_shift"][0]["auc"]["table"]["value"] < 0.75
    reported: list[object] = []
    assert audit([tmp_path / "out"], reported.append, run=RunContext()).clean, reported


def test_a_table_alone_and_unknown_columns(tmp_path: Path) -> None:
    """Without images, with foreign words and an impossible value, the report describes what it can."""
    rows = [{"image_id": f"x{n}", "path": "", "dx": "mel" if n % 2 else "nv", "age": n} for n in range(24)]
    (tmp_path / "table").mkdir()
    write_table(tmp_path / "table/dataset.csv", [*rows, {"image_id": "y", "path": "", "dx": "mel", "age": 430}])
    found = make_data_report([tmp_path / "table"], DataReportOptions(), run=RunContext())
    assert (found.whole.rows, found.whole.images, found.shifts) == (25, 0, [])
    assert found.whole.counts["diagnosis"] == {"melanoma": 13, "nevus": 12}
    assert found.whole.age == (0, 11.5, 23)
    page = write_report(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "25 rows without an image" in page
    assert "only one source" in page


def test_sources_without_a_common_feature_are_not_called_similar(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rows = [{"image_id": f"i{n}", "path": "", "patient_id": f"p{n}"} for n in range(12)]
        write_table(tmp_path / name / "dataset.csv", rows)
    found = make_data_report([tmp_path / "one", tmp_path / "two"], DataReportOptions(), run=RunContext())
    page = write_report(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "The sources have no feature in common" in page
    assert "similar in the measured features" not in page


def test_cells_that_are_html_are_shown_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a&b").mkdir()
    rows = [
        {"image_id": f"i{n}", "path": "", "source": "<script>s</script>", "split": "<u>", "sex": "<i>"} for n in "ab"
    ]
    write_table(tmp_path / "a&b/dataset.csv", [{**row, "diagnosis": "<script>d</script>"} for row in rows])
    found = make_data_report([tmp_path / "a&b"], DataReportOptions(), run=RunContext())
    page = write_report(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "&lt;script&gt;s&lt;/script&gt;" in page
    assert not any(mark in page for mark in ("<script", "a&b", "<u>", "<i>"))


@pytest.mark.slow
def test_damaged_and_missing_images_do_not_stop_the_run(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "one", (120, 120, 120), count=4)
    (folder / "images/i0.png").write_bytes(b"no image")
    rows = [{"image_id": f"i{n}", "path": f"images/i{n}.png", "source": "ab"[n % 2]} for n in range(5)]
    write_table(folder / "dataset.csv", rows)
    found = make_data_report([folder], DataReportOptions(), run=RunContext())
    assert (list(found.sources), found.whole.rows, len(found.whole.faults)) == (["a", "b"], 4, 1)
    assert len(found.too_small) == 2
    page = write_report(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "too few" in page
    assert "1 row could not be used" in page


def test_the_sharpness_of_a_strip_is_unknown(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "one", (120, 120, 120), count=4)
    Image.new("RGB", (8000, 16), (120, 90, 80)).save(folder / "images/i0.png")
    found = make_data_report([folder], DataReportOptions(duplicates=False), run=RunContext())
    sharpness = found.features["size and sharpness"]["sharpness"]
    assert np.isnan(sharpness).tolist() == [True, False, False, False]


def test_no_data_set_and_a_stop(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="is not a data set"):
        make_data_report([tmp_path], DataReportOptions(), run=RunContext())
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        make_data_report([dataset(tmp_path / "one", (9, 9, 9), count=2)], DataReportOptions(), run=run)


def test_patients_and_lesions_are_counted_as_they_are_grouped(tmp_path: Path) -> None:
    ids = [("007", "L1"), ("7", "L1"), ("", "L1"), ("8", "L1"), ("8", "L2"), ("unknown", ""), ("", "L3"), ("", "L3")]
    rows = [
        {"image_id": f"x{n}", "path": "", "patient_id": patient, "lesion_id": lesion}
        for n, (patient, lesion) in enumerate(ids)
    ]
    (tmp_path / "table").mkdir()
    write_table(tmp_path / "table/dataset.csv", rows)
    found = describe_dataset(tmp_path / "table", run=RunContext())
    # L1 of a row without a patient is that of either patient
    assert (found.patients, found.lesions, found.groups) == (2, 5, 5)


def test_files_are_no_sources_and_rare_values_are_counted_together(tmp_path: Path) -> None:
    found = {}
    for folder, suffix in (("clinic", ".JPG"), ("several", "")):
        rows = [{"image_id": f"x{n}", "path": "", "source": f"{folder}-{n % 22}{suffix}"} for n in range(23)]
        (tmp_path / folder).mkdir()
        write_table(tmp_path / folder / "dataset.csv", rows)
        found[folder] = describe_dataset(tmp_path / folder, run=RunContext())
    assert found["clinic"].counts["source"] == {"clinic": 23}
    assert "| (2 others) | 2 | 8.7 |" in format_markdown(found["several"])
