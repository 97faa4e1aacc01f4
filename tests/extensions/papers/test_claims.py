"""Claims of a paper about its rows, compared with its table and ours."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.files import write_json
from napari_melanoma.extensions.papers.comparisons import describe_claims, describe_differences
from napari_melanoma.extensions.papers.kinds import MASK_COLUMNS
from napari_melanoma.extensions.papers.paper_rows import RowResult, read_row_results
from napari_melanoma.extensions.papers.papers import Paper, papers, read_paper
from napari_melanoma.extensions.papers.planning import (
    PlannedRow,
    ReproductionContext,
    ReproductionFolder,
    ReproductionPlan,
)
from napari_melanoma.extensions.papers.tables import page_notes
from napari_melanoma.io.results import write_table
from napari_melanoma.models.zoo import count_parameters

PAPER = read_paper("P1")
TABLE = "Its own table contradicts this: SE 92.35 compared with 67.05, AUC 77.21 compared with 70.95."


OWN = ("a-only-resnet50", "b-only-resnet50", "adapted-resnet50")
STAND_IN = ("a-only", "b-only", "adapted")
STANDS_IN = "No network of the paper has run and learned: EfficientNet-Lite0 stands in for it."


def found(name: str, skill: float, paper: Paper = PAPER) -> RowResult:
    """A row with a given share of correct images."""
    draw = np.random.default_rng(0).random(200)
    values = ["0.9" if (n % 2 == 1) == (draw[n] < skill) else "0.1" for n in range(200)]
    images = [
        {"group": str(n), "label": str(n % 2), "as_trained": value, "probability": value}
        for n, value in enumerate(values)
    ]
    return RowResult(paper.rows[name], 0.5, images, None, ())


@pytest.mark.parametrize(
    ("skills", "text"),
    [
        ((0.6, 0.7, 0.9), "on all images together, it holds for AC, PR, SE, F1, AUC; see the intervals"),
        ((0.6, 0.9, 0.7), "it holds for no metric, not for AC "),
    ],
)
def test_a_claim_is_compared_with_both_tables(skills: tuple[float, ...], text: str) -> None:
    rows = [found(name, skill) for name, skill in zip(OWN, skills, strict=True)]
    (sentence,) = describe_claims(PAPER, rows)
    assert TABLE in sentence
    assert "Here, with ResNet-50 and" in sentence
    assert text in sentence


def test_a_substitute_network_is_used_only_if_the_original_cannot_run() -> None:
    stand_in = [found(name, skill) for name, skill in zip(STAND_IN, (0.6, 0.7, 0.9), strict=True)]
    own = [found(name, skill) for name, skill in zip(OWN, (0.6, 0.9, 0.7), strict=True)]
    (sentence,) = describe_claims(PAPER, stand_in)
    assert f"{STANDS_IN} Here, with EfficientNet-Lite0 and on all images together, it holds for AC, " in sentence
    (sentence,) = describe_claims(PAPER, [*stand_in, *own])
    assert "EfficientNet" not in sentence
    assert "Here, with ResNet-50 and on all images together, it holds for no metric" in sentence
    (sentence,) = describe_claims(PAPER, [*stand_in, *own[:2], replace(own[2], unlearned="its AUC contains 50")])
    assert f"With ResNet-50, it cannot be compared here: not learned: {own[2].row.file.title}. {STANDS_IN}" in sentence


def test_equal_results_are_judged_by_their_paired_differences() -> None:
    p2 = read_paper("P2")

    def judge(skill: float) -> str:
        rows = [found("cls-resnet50", 0.8, p2), found("chain-resnet50", skill, p2)]
        rows = [
            replace(row, images=[{**image, "domain": "d", "image_id": image["group"]} for image in row.images])
            for row in rows
        ]
        return next(text for text in describe_claims(p2, rows) if "negligible" in text)

    assert "Its own table supports this. Here, with ResNet-50, the differences are AC +0.0 (" in judge(0.8)
    assert judge(0.8).endswith("compared with 1, all smaller.")
    assert judge(0.6).endswith("compared with 1, larger for AC, SP, SE, F1.")


def segmented(name: str, value: float) -> RowResult:
    """A row of P4 with the same value of each metric in each image."""
    images = [
        {"group": str(n), "domain": "m", "image_id": str(n)} | dict.fromkeys(MASK_COLUMNS, str(value)) for n in range(4)
    ]
    return RowResult(read_paper("P4").rows[name], 0.5, images, 1000, ())


def test_the_transfer_of_p4_is_claimed_for_dermofit_alone() -> None:
    paper = read_paper("P4")
    *_, transfer = describe_claims(paper, [segmented("transfer-m", 0.7), segmented("transfer-d-then-m", 0.8)])
    assert "(the text states a decrease of 0.48 on SMARTSKINS). Its own table supports this. Here" in transfer
    assert transfer.endswith("it holds for TJA; see the intervals for the uncertainty.")


def test_p4_gates_and_losses_are_judged_by_all_networks_that_ran() -> None:
    values = {"unet": 0.8, "attention-unet": 0.7, "r2-unet": 0.6, "attention-r2-unet": 0.65}
    losses = {"ce": 0.5, "soft-dice": 0.6, "ce-log-jaccard": 0.4}
    grid = [segmented(f"grid-unets-unet-p4-16-{loss}", value) for loss, value in losses.items()]
    grid += [segmented(f"grid-unets-r2-unet-32-{loss}", 1 - value) for loss, value in list(losses.items())[:2]]
    claims = describe_claims(read_paper("P4"), [segmented(*item) for item in values.items()] + grid)
    gates, recurrent, *_, overlap, _ = claims
    assert "Here, with U-Net and on all images together, it holds for TJA, JA;" in gates
    assert "Here, with R2U-Net and on all images together, it holds for no metric, not for TJA 60.0, JA 60.0." in gates
    assert "contradicts this: JA +2.22 instead of +3, TJA +4.58 instead of +4. Here, with U-Net" in recurrent
    assert overlap.endswith("Here it holds for 1 of 2 configurations of the grids, by the TJA of one training each.")


def test_a_claimed_loss_is_no_limit_of_gains() -> None:
    paper = read_paper("P4")

    def judge(small: float) -> str:
        rows = [segmented("deeplab-xception", 0.8), segmented("deeplab-mobilenetv2", small)]
        return next(text for text in describe_claims(paper, rows) if "loses less than 1 point" in text)

    assert "Its own table supports this." in judge(0.8)
    assert judge(0.9).endswith("compared with a loss of 1, all smaller.")
    assert judge(0.795).endswith("compared with a loss of 1, all smaller.")
    assert judge(0.78).endswith("compared with a loss of 1, larger for TJA, JA, DI, AC, SE, SP.")


def test_rows_without_a_common_image_are_not_judged() -> None:
    large, small = segmented("deeplab-xception", 0.8), segmented("deeplab-mobilenetv2", 0.7)
    other = replace(small, images=[{**image, "domain": "other"} for image in small.images])
    texts = describe_claims(read_paper("P4"), [large, other])
    text = next(text for text in texts if "loses less than 1 point" in text)
    assert text.endswith("it cannot be compared here: no image was measured in both rows.")


@pytest.mark.parametrize("step", [1, -1])
def test_equal_values_of_a_grid_are_none_the_best(step: int) -> None:
    rows = [segmented(f"grid-unets-unet-p4-16-{loss}", 0.5) for loss in ("soft-dice", "ce")][::step]
    *_, overlap, _ = describe_claims(read_paper("P4"), rows)
    assert "Here it holds for 0 of 1 configurations" in overlap


@pytest.mark.parametrize("paper", papers())
def test_remarks_are_on_the_page_and_their_figures_are_those_of_the_paper(paper: str, tmp_path: Path) -> None:
    file, rows = read_paper(paper).file, read_paper(paper).rows
    plan = ReproductionPlan(paper=paper, budget="small", data={}, rows=())
    context = ReproductionContext(read_paper(paper), plan, {}, ReproductionFolder(tmp_path))
    assert {*file.remarks} <= {*page_notes(context, {}, [])}
    published = {value for row in rows.values() for figures in row.file.paper.values() for value in figures.values()}
    if file.literature:
        published |= {value for method in file.literature.methods for value in method.figures.values()}
    text = " ".join([*file.remarks, *(claim.table for claim in file.claims)])
    stated = {float(number) for number in re.findall(r"\b\d\d[.]\d\d\b", text)}
    derived = {57.02, 24.20} if paper == "P1" else set()
    assert stated - published - derived == set()


def test_differences_in_remarks_are_those_of_the_tables() -> None:
    p1, p4 = read_paper("P1"), read_paper("P4")
    isic, both = (p1.rows[name].file.paper for name in ("a-only-resnet50", "adapted-resnet50"))
    (isic_figures,), (both_figures,) = isic.values(), both.values()
    assert f"{100 - isic_figures['AUC']:.2f}" == "57.02"
    assert f"{both_figures['F1'] - isic_figures['F1']:.2f} points" in p1.file.remarks[1]
    validation, test = p4.rows["deeplab-mobilenetv2-035"].file.paper[""], p4.rows["transfer-m"].file.paper
    falls = [f"{validation['TJA'] - test[name]['TJA']:.2f}" for name in ("Dermofit", "SMARTSKINS")]
    assert f"{' and '.join(falls)} points less" in " ".join(p4.file.remarks)
    large = p4.rows["deeplab-xception"].file.paper[""]
    assert f"one of {large['TJA'] - validation['TJA']:.2f} points" in " ".join(p4.file.remarks)
    values = [figures for name in ("transfer-m", "transfer-d-then-m") for figures in p4.rows[name].file.paper.values()]
    assert all(figures["JA"] > 80 > figures["TJA"] for figures in values)
    sizes = [p4.rows[name].file.parameters for name in ("deeplab-xception", "deeplab-mobilenetv2")]
    assert sizes[0] / sizes[1] == 20.5


@pytest.mark.slow
def test_the_sizes_in_the_remarks_are_those_of_the_networks() -> None:
    large, small = (count_parameters(f"deeplabv3plus_{name}", {}) for name in ("xception", "mobilenetv2"))
    remark = read_paper("P4").file.remarks[0]
    assert f"{large / 1e6:.1f}M and {small / 1e6:.1f}M, a factor of {large / small:.1f}" in remark


def test_the_rows_of_claims_exist() -> None:
    for paper in map(read_paper, papers()):
        for claim in paper.file.claims:
            names = {name for rows in claim.rows for name in (rows.row, *rows.over)}
            assert names <= {*paper.rows}
            kinds = {paper.rows[name].kind for name in names}
            assert all({*claim.metrics} <= {*kind.metrics} for kind in kinds)
            published = [rows for rows in claim.rows if paper.rows[rows.row].file.paper]
            assert published or not claim.rows or paper.name == "P3"  # its figure 6 has no numbers


def test_without_our_rows_only_the_papers_table_is_compared() -> None:
    (sentence,) = describe_claims(PAPER, [found("a-only", 0.6)])
    assert sentence.endswith(f"{TABLE} Not tested here.")


def test_rows_that_have_not_learned_are_not_compared() -> None:
    skills = dict(zip(OWN, (0.8, 0.8, 0.5), strict=True))
    rows = [found(name, skill) for name, skill in skills.items()]
    rows = [replace(row, unlearned=row.row.kind.explain_unlearned(row.row, row.images, {})) for row in rows]
    assert [bool(row.unlearned) for row in rows] == [False, False, True]
    assert rows[-1].remark == "not learned: the interval of its AUC contains 50"
    title = rows[-1].row.file.title
    (sentence,) = describe_claims(PAPER, rows)
    assert sentence.endswith(f"With ResNet-50, it cannot be compared here: not learned: {title}.")
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


def test_an_interval_below_50_does_not_include_it() -> None:
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
        write_table(place.evaluated / "per_image.csv", images)
        write_json(place.evaluated / "evaluation.json", {"threshold": 0.5, "failed": {}, **evaluation})
    return {item.row.name: item.unlearned for item in read_row_results(work)}


def test_a_control_and_a_table_at_chance_are_results(tmp_path: Path) -> None:
    at_chance = unlearned_rows(tmp_path, "P3", {"control": 0.5, "multi-modal": 0.5, "table-alone": 0.5, "breslow": 0.5})
    assert [name for name, why in at_chance.items() if why] == ["multi-modal"]


def test_a_baseline_without_training_is_not_marked_as_not_learned(tmp_path: Path) -> None:
    evaluation = {"validation_dice": 0.3, "constant_dice": 0.4}
    baselines = {"random": 0.5, "constant-negative": 0.5}
    assert set(unlearned_rows(tmp_path / "none", "P2", baselines, None, **evaluation).values()) == {""}
    assert all(unlearned_rows(tmp_path / "unet", "P2", {"unet": 0.5}, **evaluation).values())


def test_the_best_values_of_several_keys_are_judged_together() -> None:
    start = "pascal-voc-mobilenetv2"
    values = {f"none-{loss}": 0.5 for loss in ("ce", "soft-jaccard")} | {
        f"{start}-ce": 0.6,
        f"{start}-soft-jaccard": 0.7,
    }
    rows = [segmented(f"grid-mobilenetv2-{name}", value) for name, value in values.items()]

    def judge(rows: list[RowResult]) -> str:
        return next(text for text in describe_claims(read_paper("P4"), rows) if "weights of Pascal VOC" in text)

    assert judge(rows).endswith(
        "Here it holds for 1 of 1 configurations of the grids, by the TJA of one training each."
    )
    assert judge(rows[:2]).endswith("Not tested here.")  # no network began with these weights


def test_a_claim_is_judged_on_untouched_images_alone() -> None:
    p3 = read_paper("P3")

    def judged(name: str, inside: float, untouched: float) -> RowResult:
        parts = {"folds": found(name, inside, p3).images, "untouched": found(name, untouched, p3).images}
        images = [{**image, "part": part} for part, known in parts.items() for image in known]
        return RowResult(p3.rows[name], 0.5, images, None, ())

    rows = [judged(name, 0.9, 0.6) for name in ("breslow", "clark", "image-alone")]
    claim, *_ = describe_claims(p3, [*rows, judged("multi-modal-paper", 0.6, 0.9)])
    assert "on the untouched test set, it holds for AC, PR, SE, F1, AUC;" in claim
