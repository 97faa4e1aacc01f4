"""P3 on a tiny cohort: folds, untouched images, a control, rows of the table alone; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.classification import explanation
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.explanation import explain
from napari_melanoma.core.context import Milestone, Progress, RunContext
from napari_melanoma.extensions.papers import planning as reproduction_options
from napari_melanoma.extensions.papers.comparisons import describe_differences
from napari_melanoma.extensions.papers.planning import ReproduceOptions
from napari_melanoma.extensions.papers.run import Reproduction, check, reproduce
from napari_melanoma.extensions.papers.split import read_tables
from napari_melanoma.io.results import read_table
from napari_melanoma.training.recipe import TrainRecipe

PATIENTS, APART, FOLDS = 60, 12, 3
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("three_folds")]
ROWS = ("breslow", "clark", "table-alone", "features", "multi-modal", "biomarker", "control")
Patched = Callable[..., AbstractContextManager[Callable[[TrainRecipe, Path], None]]]


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, patched: Patched, patients: Callable[..., Path]
) -> Iterator[tuple[Reproduction, Path]]:
    """Rows of P3 on a tiny cohort."""
    folder = tmp_path_factory.mktemp("metastasis")
    data = (f"S={patients(folder / 'cohort')}",)
    options = ReproduceOptions(paper="P3", budget="small", rows=ROWS, data=data)
    methods: list[object] = []

    def note_method(classifier: Classifier, lesion: LesionInput, method: object = None) -> object:
        methods.append(method)
        return explain(classifier, lesion, "grad_cam")

    with patched(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanation, "explain", note_method)
        yield reproduce(options, folder / "p3", run=RunContext()), folder / "p3"
    assert {*methods} == {"grad_cam"}, "the figure named Grad-CAM has another method"


def answers(out: Path, row: str) -> list[dict[str, str]]:
    return read_table(out / f"evaluated/{row}/per_image.csv")


def test_untouched_patients_are_in_no_fold_and_evaluated_once(done: tuple[Reproduction, Path]) -> None:
    found, out = done
    assert found.failed == {}
    rows = read_tables([out / "folds/cohort"]).values()
    apart = {row["image_id"] for row in rows if row["split"] == "untouched" and not row["fold"]}
    assert apart == {f"p{index}" for index in range(APART)}
    for row in ("breslow", "multi-modal"):
        images = answers(out, row)
        assert len(images) == len({one["image_id"] for one in images}) == PATIENTS
        assert sum(one["part"] == "untouched" for one in images) == APART


def test_the_prediction_for_untouched_patients_is_the_mean_of_all_folds(done: tuple[Reproduction, Path]) -> None:
    _, out = done
    each = [
        {one["image_id"]: float(one["probability"]) for one in read_table(path)}
        for path in sorted(out.glob("rows/multi-modal/evaluated-*/per_image.csv"))
    ]
    together = {one["image_id"]: float(one["probability"]) for one in answers(out, "multi-modal")}
    assert len(each) == FOLDS
    assert together["p3"] == pytest.approx(np.mean([fold["p3"] for fold in each]), abs=1e-6)
    assert len({fold["p3"] for fold in each}) == FOLDS  # three networks


def test_a_logistic_regression_of_depth_recovers_its_effect(done: tuple[Reproduction, Path]) -> None:
    rows = {(row["row"], row["data_sets"]): row for row in read_table(done[1] / "tables.csv")}
    area = float(rows["breslow", "cohort, cross-validated"]["AUC"])
    assert 60 < area < 95
    assert float(rows["clark", "cohort, cross-validated"]["AUC"]) > 95  # determined by the level
    assert rows["breslow", "cohort, cross-validated"]["n"] == str(PATIENTS - APART)
    assert rows["breslow", "cohort, untouched test set"]["n"] == str(APART)
    assert rows["breslow", "cohort, untouched test set"]["paper_AUC"] == "75.00"


def test_the_control_has_the_same_images_and_permuted_labels(done: tuple[Reproduction, Path]) -> None:
    true, control = (
        {row["image_id"]: row for row in read_table(done[1] / f"folds/{place}cohort/dataset.csv")}
        for place in ("", "control/")
    )
    assert {*true} == {*control}
    moved = sum(true[name]["metastasis"] != control[name]["metastasis"] for name in true)
    assert 15 < moved < 45
    assert sum(row["metastasis"] == "1" for row in control.values()) == PATIENTS // 2
    text = (done[1] / "tables.md").read_text(encoding="utf-8")
    assert "Multi-modal, random labels, cross-validated: AUC" in text
    assert "includes 50, as expected" in text


def test_pairs_are_compared_on_both_parts_and_across_tables(done: tuple[Reproduction, Path]) -> None:
    text = (done[1] / "tables.md").read_text(encoding="utf-8")
    rows = "Multi-modal, measured depth", "Breslow: depth alone, logistic regression"
    assert f"{rows[0]} is not compared with {rows[1]}: not learned: " in text  # its weights are random
    differences = " ".join(describe_differences([replace(item, unlearned="") for item in done[0].results], ("AC",)))
    for where in ("cross-validated", "untouched test set"):
        assert f"{rows[0]} minus {rows[1]}, on the same images, {where}: AC" in differences
    assert "12 more, 6 with metastasis, are in no fold" in text


def test_the_biomarker_network_is_evaluated_on_its_own_labels(done: tuple[Reproduction, Path]) -> None:
    images = answers(done[1], "biomarker")
    assert len(images) == PATIENTS - PATIENTS // 15  # of the others it is not known
    assert all(one["label"] == str(int(int(one["image_id"][1:]) % 3 == 0)) for one in images)
    rows = {(row["row"], row["data_sets"]): row for row in read_table(done[1] / "tables.csv")}
    row = rows["biomarker", "cohort, untouched test set"]
    assert (row["paper_SE"], row["paper_SP"], row["n"]) == ("92.00", "88.00", str(APART))
    assert row["SE_low"] != row["SE_high"] != ""
    page = (done[1] / "tables.html").read_text(encoding="utf-8")
    assert "Necrosis is predicted from a probability of one half" in page
    assert "As many with necrosis in view as others" in page


def test_features_are_selected_in_each_fold(done: tuple[Reproduction, Path]) -> None:
    images = answers(done[1], "features")
    assert len({one["image_id"] for one in images}) == PATIENTS
    rows = {(row["row"], row["data_sets"]): row for row in read_table(done[1] / "tables.csv")}
    # The images are noise: a selection that had seen the test images would find them.
    assert float(rows["features", "cohort, cross-validated"]["AUC"]) < 75


def test_the_readings_are_in_the_tables_of_the_folds(done: tuple[Reproduction, Path]) -> None:
    for row in read_table(done[1] / "folds/cohort/dataset.csv"):
        assert float(row["depth_mm_reader_1"]) >= 0
        assert float(row["depth_mm_reader_2"]) >= 0


def test_figures_name_the_target(done: tuple[Reproduction, Path]) -> None:
    figures = {path.name for path in (done[1] / "figures").glob("*.png")}
    assert {"roc-methods.png", "confusion-methods.png", "bars-folds.png", "bars-untouched.png"} <= figures
    assert "grad-cam.png" in figures
    page = (done[1] / "tables.html").read_text(encoding="utf-8")
    assert "Grad-CAM: Multi-modal, measured depth" in page
    assert "Metastasis is predicted from a probability of one half" in page
    assert "Melanoma is predicted" not in page


def test_without_data_a_phantom_cohort_is_generated_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patched: Patched, patients: Callable[..., Path]
) -> None:
    drawn, reported = [], []

    def draw(requested: object, folder: Path, *_: object) -> None:
        drawn.append(patients(folder))
        law = {"law": {}, "auc_of_these": {"all": 0.95, "depth": 0.75}}
        (folder / "cohort.json").write_text(json.dumps(law), encoding="utf-8")

    def hear(progress: Progress) -> None:
        if isinstance(progress, Milestone):
            reported.append(progress.message)

    monkeypatch.setattr(reproduction_options, "write_cohort", draw)
    options = ReproduceOptions(paper="P3", budget="small", rows=("breslow",))
    with patched():
        planned = check(options, run=RunContext()).plan
        assert drawn == []
        for _ in range(2):
            reproduce(options, tmp_path / "out", run=RunContext(hear))
    assert drawn == [tmp_path / "out/phantom-cohort"]
    assert [row.name for row in planned.rows] == ["breslow"]
    assert "PHANTOM COHORT" in planned.notices[0]
    assert sum("PHANTOM COHORT" in one for one in reported) == 3  # before it is generated, and at each start
    text = (tmp_path / "out/tables.md").read_text(encoding="utf-8")
    assert "synthetic patients, generated by this program" in text
    assert "from all variables of the simulated law 95.0, from depth 75.0" in text
    assert (tmp_path / "out/folds/phantom-cohort/cohort.json").is_file()  # marks the patients as synthetic
