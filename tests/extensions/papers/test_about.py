"""Notes of a reproduction: no folders of this machine, rows without a curve, and next steps."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from napari_melanoma.extensions.papers import figures
from napari_melanoma.extensions.papers.figures import draw_figures
from napari_melanoma.extensions.papers.kinds import MASK_COLUMNS
from napari_melanoma.extensions.papers.paper_rows import RowResult
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.extensions.papers.planning import (
    PlannedRow,
    ReproductionContext,
    ReproductionFolder,
    ReproductionPlan,
)
from napari_melanoma.extensions.papers.split import RoleImages
from napari_melanoma.extensions.papers.tables import next_steps, page_notes
from napari_melanoma.io.results import write_table


@pytest.fixture
def work(tmp_path: Path) -> ReproductionContext:
    """P2 on a data set of a user, just begun."""
    sets = tmp_path / "somebody" / "isic2017"
    plan = ReproductionPlan(
        paper="P2",
        budget="small",
        data={"HAM10000": (str(sets),)},
        notices=(f"ph2 is left out; take it with --data ROLE={sets.parent / 'ph2'}.",),
    )
    data = {"HAM10000": RoleImages("HAM10000", (tmp_path / "out/data/isic2017",), Counter(train=8, test=2))}
    return ReproductionContext(read_paper("P2"), plan, data, ReproductionFolder(tmp_path / "out"))


def learnt(name: str, value: float) -> RowResult:
    image = {"image_id": "a", "domain": "isic2017", "group": "a", "found": "1"} | dict.fromkeys(
        MASK_COLUMNS, str(value)
    )
    return RowResult(read_paper("P2").rows[name], 0.5, [image, {**image, "group": "b"}], 1000, ())


def test_notes_contain_no_folders(work: ReproductionContext, tmp_path: Path) -> None:
    failed = {"unet": f"cannot read {tmp_path / 'somebody' / 'isic2017' / 'a.jpg'}, nor {work.folder.out / 'rows'}"}
    text = " ".join(page_notes(work, failed, []))
    assert str(tmp_path) not in text
    assert "--data ROLE=ph2." in text
    assert f"cannot read isic2017{os.sep}a.jpg, nor out{os.sep}rows" in text


@pytest.mark.parametrize(
    ("rows", "has_folds"), [(("cls-random", "cls-constant-negative"), False), (("cls-random", "cls-resnet34"), True)]
)
def test_models_of_the_folds_are_described_only_if_there_are_any(
    rows: tuple[str, ...], has_folds: bool, work: ReproductionContext
) -> None:
    plan = work.plan.model_copy(update={"rows": tuple(PlannedRow(name=name) for name in rows)})
    cross_validated = {"HAM10000": RoleImages("HAM10000", (Path("isic2017"),), Counter(train=100), 20, 90)}
    text = " ".join(page_notes(replace(work, plan=plan, data={}, cross_validated=cross_validated), {}, []))
    assert ("a model that was not trained on its fold" in text) is has_folds
    assert ("Of the patients of the other folds" in text) is has_folds


def test_notes_on_classifiers_are_shown_only_with_classifiers(work: ReproductionContext) -> None:
    about_masks = " ".join(page_notes(work, {}, [learnt("simple-cnn", 0.9)]))
    assert "Dice (DI)" in about_masks
    assert "folds" not in about_masks
    classifier = replace(learnt("cls-random", 0.5), images=[])
    assert "five folds keep them together" in " ".join(page_notes(work, {}, [classifier]))


def test_next_steps_name_the_best_model_and_missing_rows(work: ReproductionContext) -> None:
    steps = [
        step.command for step in next_steps(work, {"unetpp": "time"}, [learnt("simple-cnn", 0.9), learnt("unet", 0.5)])
    ]
    assert steps == [
        "napari-melanoma reproduce P2 --budget small --out THIS_FOLDER",
        "napari-melanoma models import rows/simple-cnn",
        "napari-melanoma train --config recipes/simple-cnn.toml --out RUN",
        "napari-melanoma reproduce P2 --data HAM10000=isic2017 --budget full --out NEW_FOLDER",
    ]
    assert not any(str(work.folder.out) in step for step in steps)


def test_a_row_of_one_epoch_has_no_curve_and_is_named(
    work: ReproductionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(figures, "draw_curves", lambda curves, *of: drawn.extend(curves))
    monkeypatch.setattr(figures, "draw_size", lambda *of: None)
    monkeypatch.setattr(figures, "_sample_pictures", lambda *of: {})
    for name, epochs in (("simple-cnn", 2), ("random", 1)):
        rows = [{"epoch": epoch, "loss": 0.5, "validation_jaccard": 0.6} for epoch in range(epochs)]
        write_table(work.folder.row(name).run.path / "metrics.csv", rows)
    pictures = {
        picture.title: picture.about
        for picture in draw_figures(work, [learnt("simple-cnn", 0.9), learnt("random", 0.1)])
    }
    assert drawn == ["Simple CNN"]
    about = " Not shown, since they are trained for a single epoch: Random. n = 2 test images, small budget."
    assert pictures["Learning curves"].endswith(about)


def test_sample_predictions_are_titled_by_data_set(work: ReproductionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr(figures, "_sample_pictures", lambda *of: {"Photograph": {}})
    monkeypatch.setattr(figures, "draw_samples", lambda answers, names, path: named.append(names))
    assert [picture.title for picture in draw_figures(work, [])] == ["Sample predictions on isic2017 (role HAM10000)"]
    assert named == ["isic2017"]
