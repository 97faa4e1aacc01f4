"""Cross-validated rows from data to tables, with untrained networks; also after a cancellation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import allow_outside_files
from napari_melanoma.extensions.papers import paper_rows, papers, tables
from napari_melanoma.extensions.papers.planning import ReproduceOptions
from napari_melanoma.extensions.papers.run import Reproduction, reproduce
from napari_melanoma.io.results import read_table
from napari_melanoma.training.data_selection import select_samples
from napari_melanoma.training.recipe import TrainRecipe

FOLDS, COUNT = 3, 48
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("three_folds")]
ROWS = ("data-set-alone", "table-alone", "adapted", "adapt-none", "adapt-coral")


Patched = Callable[..., AbstractContextManager[Callable[[TrainRecipe, Path], None]]]


def options(folder: Path, *rows: str, paper: str = "P1") -> ReproduceOptions:
    data = (f"A={folder / 'one'}", f"B={folder / 'other'}") if paper == "P1" else (f"HAM10000={folder / 'one'}",)
    return ReproduceOptions(paper=paper, budget="small", rows=rows, data=data)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, moles: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    moles(folder / "one", COUNT)
    moles(folder / "other", COUNT, seed=1)
    return folder


@pytest.fixture(scope="module")
def done(sets: Path, tmp_path_factory: pytest.TempPathFactory, patched: Patched) -> Iterator[tuple[Reproduction, Path]]:
    """Some rows of P1 on two tiny data sets."""
    out = tmp_path_factory.mktemp("done") / "p1"
    with patched():
        yield reproduce(options(sets, *ROWS), out, run=RunContext()), out


def table_of(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["row"], row["data_sets"]): row for row in read_table(out / "tables.csv")}


def test_every_image_is_predicted_once_by_a_network_not_trained_on_its_patient(
    done: tuple[Reproduction, Path],
) -> None:
    found, out = done
    assert found.failed == {}
    answers = read_table(out / "evaluated/adapted/per_image.csv")
    assert len(answers) == len({(row["domain"], row["image_id"]) for row in answers}) == 2 * COUNT
    for fold in range(1, FOLDS + 1):
        recipe = read_toml(out / f"rows/adapted/fold-{fold}/config.toml", TrainRecipe)
        tested = {row["group"] for row in answers if row["fold"] == str(fold)}
        assert tested
        with allow_outside_files():
            learnt = {sample.group for sample in select_samples(recipe).for_training}
        assert {name.partition("/")[0] for name in learnt} == {"one", "other"}
        assert tested.isdisjoint(learnt)


def test_each_row_is_tested_on_each_set_and_on_both(done: tuple[Reproduction, Path]) -> None:
    rows = table_of(done[1])
    for name in ("data-set-alone", "table-alone", "a-only", "adapted", "adapt-coral"):
        counts = [rows[name, sets]["n"] for sets in ("one", "other", "one; other")]
        assert counts == ["48", "48", "96"]
    assert rows["adapted", "one"]["COV"] != ""
    assert rows["table-alone", "one"]["COV"] == ""
    assert float(rows["table-alone", "one; other"]["AUC"]) > 95  # determined by the age
    assert 35 < float(rows["data-set-alone", "one"]["AUC"]) < 65
    assert float(rows["adapt-none", "one"]["AUC"]) == float(rows["a-only", "one"]["AUC"])


def test_the_second_step_starts_from_the_network_of_the_same_fold(done: tuple[Reproduction, Path]) -> None:
    _, out = done
    for fold in range(1, FOLDS + 1):
        recipe = read_toml(out / f"rows/adapted/fold-{fold}/config.toml", TrainRecipe)
        assert recipe.model.start == str(out / f"rows/a-only/fold-{fold}/bundle")
        assert [Path(folder).name for folder in recipe.data.datasets] == ["one", "other"]


def test_each_fold_is_calibrated_on_different_images(done: tuple[Reproduction, Path]) -> None:
    drawn = []
    for fold in range(1, FOLDS + 1):
        recipe = read_toml(done[1] / f"rows/a-only/fold-{fold}/config.toml", TrainRecipe)
        with allow_outside_files():
            drawn.append({sample.image_id for sample in select_samples(recipe).parts.validation})
    every = set().union(*drawn)
    assert len(every) > 0.6 * sum(map(len, drawn))  # of one and the same draw it would be little more than one of them


def test_adaptation_uses_the_other_data_set_without_labels(done: tuple[Reproduction, Path]) -> None:
    recipe = read_toml(done[1] / "rows/adapt-coral/fold-2/config.toml", TrainRecipe)
    assert recipe.classification is not None
    (to,) = recipe.classification.adaptation.to
    assert [Path(folder).name for folder in recipe.data.datasets] == ["one"]
    assert Path(to).parts[-2:] == ("folds", "other")
    fold_of = {(row["data_set"], row["image_id"]): row["fold"] for row in read_table(done[1] / "folds/folds.csv")}
    with allow_outside_files():
        chosen = select_samples(recipe)
    assert {fold_of[sample.key] for sample in chosen.unlabelled} == {"1", "3"}
    assert {sample.domain for sample in chosen.unlabelled} == {"other"}
    assert {sample.domain for sample in chosen.for_training} == {"one"}


def test_tables_figures_and_page_are_written(done: tuple[Reproduction, Path]) -> None:
    _, out = done
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "The AUC on both sets together rewards recognizing the set" in text
    assert "Its own table contradicts this: SE 92.35 compared with 67.05, AUC 77.21 compared with 70.95." in text
    assert "48 images of 24 patients or lesions, 16 melanomas, in 3 folds" in text
    adapted = "A, then A and B (adapted), EfficientNet-Lite0"
    assert (
        f"{adapted} is not compared with A only, EfficientNet-Lite0: not learned: {adapted}" in text
    )  # random weights
    figures = {path.name for path in (out / "figures").glob("*.png")}
    drawn = ("roc", "confusion", "reliability", "samples")
    assert {f"{kind}-{table}.png" for kind in drawn for table in ("models", "adaptation")} <= figures
    assert (out / "tables.html").read_text(encoding="utf-8").count("data:image/png;base64,") >= 8
    assert not list(out.glob("rows/*/fold-*/checkpoints"))


def test_rows_that_have_learned_are_compared_in_the_written_tables(
    done: tuple[Reproduction, Path], sets: Path, tmp_path: Path, patched: Patched, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = {name: replace(kind, explain_unlearned=lambda *of: "") for name, kind in papers.kinds().items()}
    monkeypatch.setattr(papers, "kinds", lambda: learned)
    monkeypatch.setattr(tables, "draw_figures", lambda *of: [])
    monkeypatch.setattr(paper_rows, "train", lambda *of, **more: pytest.fail("nothing is trained again"))
    out = shutil.copytree(done[1], tmp_path / "out")
    reproduce(options(sets, *ROWS), out, run=RunContext())
    text = (out / "tables.md").read_text(encoding="utf-8")
    titles = "A, then A and B (adapted), EfficientNet-Lite0 minus A only, EfficientNet-Lite0"
    assert f"{titles}, on the same images: AC " in text
    assert "not learned" not in text


def test_a_cancelled_cross_validation_keeps_the_completed_folds(
    done: tuple[Reproduction, Path], sets: Path, tmp_path: Path, patched: Patched
) -> None:
    run = RunContext()

    def stop(recipe: TrainRecipe, out: Path, **_: object) -> None:
        if out.name == "fold-3":
            run.cancel()
            raise Cancelled
        write(recipe, out)

    with patched() as write, pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_rows, "train", stop)
        with pytest.raises(Cancelled):
            reproduce(options(sets, "a-only"), tmp_path / "out", run=run)
    folds = tmp_path / "out/rows/a-only"
    assert sorted(path.name for path in folds.glob("evaluated-*")) == ["evaluated-1", "evaluated-2"]
    assert not (tmp_path / "out/evaluated/a-only").exists()
    stamp = (folds / "evaluated-2/per_image.csv").stat().st_mtime_ns
    with patched():
        found = reproduce(options(sets, "a-only"), tmp_path / "out", run=RunContext())
    assert found.failed == {}
    assert [item.row.name for item in found.results] == ["a-only"]
    assert (folds / "evaluated-2/per_image.csv").stat().st_mtime_ns == stamp
    assert table_of(tmp_path / "out") == {key: row for key, row in table_of(done[1]).items() if key[0] == "a-only"}


def test_a_row_whose_start_failed_is_reported_and_the_others_continue(
    sets: Path, tmp_path: Path, patched: Patched
) -> None:
    def fail(recipe: TrainRecipe, out: Path, **_: object) -> None:
        if "a-only" in out.parts:
            raise InputError("no network today")
        write(recipe, out)

    with patched() as write, pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_rows, "train", fail)
        found = reproduce(options(sets, "adapted", "b-only"), tmp_path / "out", run=RunContext())
    assert found.failed == {
        "a-only": "no network today",
        "adapted": "it needs the row 'a-only', which failed.",
    }
    assert [item.row.name for item in found.results] == ["b-only"]


def test_predicted_masks_are_used_and_missing_lesions_are_noted(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patched: Patched
) -> None:
    import numpy as np

    from napari_melanoma.lesion.segmentation import Segmenter

    monkeypatch.setattr(Segmenter, "probability", lambda self, rgb: np.zeros(rgb.shape[:2], np.float32))
    with patched():
        found = reproduce(options(sets, "cls-lite0-predicted", paper="P2"), tmp_path / "out", run=RunContext())
    remarks = {item.row.name: item.remark for item in found.results}
    assert remarks["cls-lite0"] == "not learned: the interval of its AUC contains 50"  # random weights
    assert remarks["cls-lite0-predicted"].endswith("no lesion found in 48 of 48: the whole photograph was used")
    evaluation = json.loads(
        (tmp_path / "out/evaluated/cls-lite0-predicted/evaluation.json").read_text(encoding="utf-8")
    )
    assert evaluation["failed"] == {}
    assert len(evaluation["folds"]) == FOLDS
