"""Claims of a paper about its rows, compared with its table and ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.files import write_json
from napari_melanoma.io.results import write_table
from napari_melanoma.reproduction.paper_rows import RowResult, read_row_results
from napari_melanoma.reproduction.papers import read_paper
from napari_melanoma.reproduction.planning import PlannedRow, ReproductionContext, ReproductionFolder, ReproductionPlan
from napari_melanoma.reproduction.tables import describe_claims, describe_differences

PAPER = read_paper("P1")
TABLE = "Its own table contradicts this: SE 92.35 compared with 67.05, AUC 77.21 compared with 70.95."


def found(name: str, skill: float) -> RowResult:
    """A row with a given number of correct images in ten."""
    draw = np.random.default_rng(0).random(200)
    values = ["0.9" if (n % 2 == 1) == (draw[n] < skill) else "0.1" for n in range(200)]
    images = [
        {"group": str(n), "label": str(n % 2), "as_trained": value, "probability": value}
        for n, value in enumerate(values)
    ]
    return RowResult(PAPER.rows[name], 0.5, images, None, ())


@pytest.mark.parametrize(
    ("skills", "text"),
    [
        ((0.6, 0.7, 0.9), "Here it holds for all metrics, on all images together"),
        ((0.6, 0.9, 0.7), "it holds for no metric, not for AC "),
    ],
)
def test_a_claim_is_compared_with_both_tables(skills: tuple[float, ...], text: str) -> None:
    rows = [found(name, skill) for name, skill in zip(("a-only", "b-only", "adapted"), skills, strict=True)]
    (sentence,) = describe_claims(PAPER, rows)
    assert TABLE in sentence
    assert text in sentence


def test_without_our_rows_only_the_papers_table_is_compared() -> None:
    (sentence,) = describe_claims(PAPER, [found("a-only", 0.6)])
    assert sentence.endswith(TABLE)
    assert describe_claims(read_paper("P4"), []) == []


def test_rows_that_have_not_learned_are_not_compared() -> None:
    skills = {"a-only": 0.8, "b-only": 0.8, "adapted": 0.5}
    rows = [found(name, skill) for name, skill in skills.items()]
    rows = [replace(row, unlearned=row.row.kind.explain_unlearned(row.row, row.images, {})) for row in rows]
    assert [bool(row.unlearned) for row in rows] == [False, False, True]
    assert rows[-1].remark == "not learned: the interval of its AUC contains 50"
    title = rows[-1].row.file.title
    (sentence,) = describe_claims(PAPER, rows)
    assert sentence.endswith(f"Here it cannot be compared: not learned: {title}.")
    (difference,) = describe_differences(rows, ("AUC",))
    assert difference == f"{title} is not compared with {rows[0].row.file.title}: not learned: {title}."


@pytest.mark.parametrize(
    ("name", "skills", "learned"),
    [
        ("a-only", {"A": 0.8, "B": 0.5}, True),  # on the images of its own role
        ("a-only", {"A": 0.5, "B": 0.8}, False),
        ("a-only", {"A": 0.2, "B": 0.8}, False),  # worse than chance
        ("adapted", {"A": 0.5, "B": 0.8}, True),  # trained on both
        ("data-set-alone", {"A": 0.5, "B": 0.5}, True),  # learns nothing by design
        ("table-alone", {"A": 0.5, "B": 0.5}, True),  # a baseline at chance is a result
    ],
)
def test_a_classifier_has_learned_if_its_auc_is_above_chance_where_it_was_trained(
    name: str, skills: dict[str, float], learned: bool
) -> None:
    images = [{**image, "role": role} for role, skill in skills.items() for image in found(name, skill).images]
    row = PAPER.rows[name]
    assert (row.kind.explain_unlearned(row, images, {}) == "") is learned


@pytest.mark.parametrize(
    ("evaluation", "learned"),
    [
        ({"validation_dice": 0.50, "constant_dice": 0.45}, True),
        ({"validation_dice": 0.45, "constant_dice": 0.45}, False),
        ({}, True),  # of a folder that was begun before this was measured
    ],
)
def test_a_segmentation_has_learned_if_it_is_better_than_masks_of_the_whole_image(
    evaluation: dict[str, float], learned: bool
) -> None:
    row = read_paper("P4").rows["unet"]
    assert (row.kind.explain_unlearned(row, [], evaluation) == "") is learned


def test_an_auc_below_50_is_not_said_to_contain_it() -> None:
    row = PAPER.rows["a-only"]
    images = [{**image, "role": "A"} for image in found("a-only", 0.2).images]
    assert row.kind.explain_unlearned(row, images, {}) == "the interval of its AUC lies below 50"


def unlearned_rows(
    out: Path, paper: str, skills: dict[str, float], parameters: int | None = 1000, **evaluation: float
) -> dict[str, str]:
    """Write results of rows with given numbers of correct images in ten, and return why they have not learned."""
    rows = tuple(PlannedRow(name=name, parameters=parameters) for name in skills)
    plan = ReproductionPlan(paper=paper, budget="small", data={}, rows=rows)
    work = ReproductionContext(read_paper(paper), plan, {}, ReproductionFolder(out))
    for name, skill in skills.items():
        place = work.folder.row(name)
        images = [{"image_id": str(n), **image} for n, image in enumerate(found("a-only", skill).images)]
        write_table(place.per_image, images)
        write_json(place.evaluation, {"threshold": 0.5, "failed": {}, **evaluation})
    return {item.row.name: item.unlearned for item in read_row_results(work)}


def test_a_control_and_a_table_at_chance_are_results(tmp_path: Path) -> None:
    at_chance = unlearned_rows(tmp_path, "P3", {"control": 0.5, "multi-modal": 0.5, "table-alone": 0.5, "breslow": 0.5})
    assert [name for name, why in at_chance.items() if why] == ["multi-modal"]


def test_a_baseline_without_training_is_not_marked_as_not_learned(tmp_path: Path) -> None:
    evaluation = {"validation_dice": 0.3, "constant_dice": 0.4}
    baselines = {"random": 0.5, "constant-negative": 0.5}
    assert set(unlearned_rows(tmp_path / "none", "P2", baselines, None, **evaluation).values()) == {""}
    assert all(unlearned_rows(tmp_path / "unet", "P2", {"unet": 0.5}, **evaluation).values())
