"""A cohort as a data set: complete, readable, resumable, and independent of the number of processes."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import DataSetError, MelanomaError
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.table_schema import check_value, find_column
from napari_melanoma.phantoms import cohort
from napari_melanoma.phantoms.cohort import (
    CohortConfig,
    CohortPatch,
    Patient,
    draw_patients,
    make_slide_config,
    run_tasks,
    write_cohort,
)

pytestmark = pytest.mark.slow

CONFIG = CohortConfig(seed=1, count=12, patch_mm=0.5, patch_px=64)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Patches that take no time, and the names of those that were drawn."""
    drawn: list[str] = []

    def draw(patient: Patient, config: CohortConfig) -> CohortPatch:
        drawn.append(patient.name)
        rgb = np.random.default_rng(patient.seed).integers(0, 256, (64, 64, 3), np.uint8)
        mask = np.zeros((64, 64), bool)
        mask[8:24, 8:24] = patient.necrosis > 0
        place = {"top": 1, "left": 2, "side_px": 64, "mpp": 7.8125}
        message = {
            "slide": {"look": "slate"},
            "patch": place,
            "depth_in_view": True,
            "necrosis_in_view_mm2": 0.1,
            "clark": 4,
        }
        return CohortPatch(rgb, mask, ~mask, message)

    monkeypatch.setattr(cohort, "draw_patch", draw)
    return drawn


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort that was really drawn."""
    out = tmp_path_factory.mktemp("cohorts") / "one"
    with pytest.MonkeyPatch.context() as patched:  # a look takes longer to prepare than to be drawn
        patched.setattr(
            cohort, "make_slide_config", lambda *which: make_slide_config(*which).model_copy(update={"look": "slate"})
        )
        write_cohort(CONFIG, out)
    return out


def test_the_result_is_a_valid_data_set(drawn: Path) -> None:
    from napari_melanoma.data.check import check_data

    found = check_data(drawn, run=RunContext())
    assert found.faults == []
    samples = read_dataset(drawn)
    assert len(samples) == 12
    assert {sample.split for sample in samples} == {"train", "test"}


def test_every_cell_has_a_value_of_the_table(drawn: Path) -> None:
    for row in table(drawn / "dataset.csv"):
        for name, text in row.items():
            column = find_column(name)
            assert column is None or check_value(column, text) == "", (name, text)
        assert all(row[name] for name in ("depth_mm", "age", "sex", "site", "clark", "metastasis"))
        assert (row["split"] == "test") == (row["fold"] == "")


def test_masks_are_separate_and_the_table_contains_no_truth(drawn: Path) -> None:
    rows, truths = table(drawn / "dataset.csv"), {row["patient_id"]: row for row in table(drawn / "truth.csv")}
    for row in rows:
        name = row["image_id"]
        assert (drawn / "tumour" / f"{name}.png").is_file()
        assert (drawn / "truth" / f"{name}.json").is_file()
        assert bool(row["mask_path"]) == (float(truths[name]["necrosis_in_view_mm2"]) > 0)
        assert not {"probability", "necrosis_share"} & set(row)
        assert 0 < float(truths[name]["probability"]) < 1
    assert any(row["mask_path"] for row in rows)


def test_the_law_is_documented(drawn: Path) -> None:
    known = json.loads((drawn / "cohort.json").read_text("utf-8"))
    assert CohortConfig.parse(known["config"], "the cohort") == CONFIG
    assert known["bayes_auc"]["all"] == pytest.approx(0.93, abs=0.01)
    assert known["law"]["site"]["palms/soles"] == 1.8


def test_a_stopped_cohort_is_resumed(quick: list[str], tmp_path: Path) -> None:
    out = tmp_path / "cohort"

    def stop_at_five(progress: Progress) -> None:
        if progress.done == 5:
            run.cancel()

    run = RunContext(stop_at_five)
    with pytest.raises(Cancelled):
        write_cohort(CONFIG, out, run=run)
    assert not out.exists()
    assert len(quick) == 5
    write_cohort(CONFIG, out)
    assert sorted(quick) == [patient.name for patient in draw_patients(CONFIG)]  # each once
    again = tmp_path / "again"
    write_cohort(CONFIG, again)
    files_of = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert files_of == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}


def test_the_remaining_time_is_reported_from_the_first_patients(quick: list[str], tmp_path: Path) -> None:
    reported: list[Progress] = []
    write_cohort(CONFIG, tmp_path / "cohort", run=RunContext(reported.append))
    assert [one.done for one in reported] == list(range(1, 13))
    assert all("left" in one.message for one in reported)
    assert reported[-1].message.endswith("about 0 s left")


def test_another_cohort_is_not_mixed_into_one_that_was_begun(quick: list[str], tmp_path: Path) -> None:
    run = RunContext(lambda progress: run.cancel())
    with pytest.raises(Cancelled):
        write_cohort(CONFIG, tmp_path / "cohort", run=run)
    with pytest.raises(DataSetError, match="another cohort"):
        write_cohort(CONFIG.model_copy(update={"seed": 2}), tmp_path / "cohort")
    write_cohort(CONFIG, tmp_path / "cohort")
    with pytest.raises(DataSetError, match="already exists"):
        write_cohort(CONFIG, tmp_path / "cohort")


def test_whole_slides_of_test_patients_have_a_table(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(patient: Patient, config: CohortConfig, folder: Path) -> None:
        (folder / "slides").mkdir(exist_ok=True)
        (folder / "slides" / f"{patient.name}.tif").touch()

    monkeypatch.setattr(cohort, "write_patient_slide", write)
    written = write_cohort(CONFIG.model_copy(update={"slides": 2}), tmp_path / "cohort")
    rows = table(tmp_path / "cohort" / "slides" / "patients.csv")
    assert written.slides == len(rows) == 2
    known = {row["image_id"]: row for row in table(tmp_path / "cohort" / "dataset.csv")}
    assert [known[row["image_id"]]["metastasis"] for row in rows] == ["1", "0"]
    assert {known[row["image_id"]]["split"] for row in rows} == {"test"}
    assert "metastasis" not in rows[0]
    assert sorted(path.stem for path in (tmp_path / "cohort" / "slides").glob("*.tif")) == sorted(
        row["image_id"] for row in rows
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_tasks_are_done_by_one_process_or_several(tmp_path: Path, processes: int) -> None:
    marks = [tmp_path / f"{number}.txt" for number in range(4)]
    assert sorted(run_tasks(Path.touch, marks, processes, RunContext())) == marks
    assert all(mark.exists() for mark in marks)


def test_not_more_processes_are_started_than_windows_can_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(processes: int, *_: object) -> None:
        raise MelanomaError(f"{processes} processes")

    monkeypatch.setattr(cohort, "ProcessPoolExecutor", start)
    for platform, count in (("linux", 96), ("win32", 61)):
        monkeypatch.setattr(sys, "platform", platform)
        with pytest.raises(MelanomaError, match=f"^{count} processes"):
            list(run_tasks(print, range(100), 96, RunContext()))


def test_errors_of_child_processes_are_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(run_tasks(Path.unlink, [tmp_path / "a", tmp_path / "b"], 2, RunContext()))
    with pytest.raises(MelanomaError, match="--processes"):
        list(run_tasks(os._exit, [9, 9], 2, RunContext()))
