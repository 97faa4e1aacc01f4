"""The papers: results of every row, complete grids, valid recipes, and no row before one that it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.data.collections import list_sources
from napari_melanoma.extensions.papers.papers import DrawnRange, RandomSearch, kinds, papers, read_paper
from napari_melanoma.models.blocks.options import BiomarkerConfig

# Typed from the papers' tables, in the order of their columns.
P4 = {
    "unet": (0.52, 78.44, 80.80, 89.24, 93.16, 90.42, 94.65),
    "attention-unet": (0.50, 76.55, 78.78, 87.91, 93.27, 88.27, 95.69),
    "r2-unet": (0.50, 83.02, 83.02, 90.60, 94.39, 90.05, 96.48),
    "attention-r2-unet": (0.50, 82.08, 82.08, 90.00, 93.98, 89.38, 96.18),
    "deeplab-xception": (0.50, 85.37, 85.37, 92.00, 95.54, 91.46, 97.05),
    "deeplab-mobilenetv2": (0.55, 84.80, 84.80, 91.70, 95.18, 91.60, 96.55),
    "deeplab-mobilenetv2-035": (0.50, 82.85, 82.85, 90.52, 94.65, 88.31, 97.27),
}
P4_TRANSFER = {
    ("transfer-m", "SMARTSKINS"): (0.50, 78.51, 82.64, 90.14, 98.96, 95.40, 99.15),
    ("transfer-d-then-m", "SMARTSKINS"): (0.56, 78.04, 82.21, 89.89, 98.90, 96.05, 99.09),
    ("transfer-m", "Dermofit"): (0.50, 72.97, 80.26, 88.26, 93.51, 87.56, 96.86),
    ("transfer-d-then-m", "Dermofit"): (0.56, 75.46, 81.03, 88.79, 93.78, 89.68, 96.13),
}
P2 = {
    "random": (49.78, 31.09),
    "constant-negative": (73.28, 0.01),
    "simple-cnn": (94.77, 89.51),
    "unet": (95.21, 90.90),
    "unetpp": (95.56, 91.95),
    "unetpp-refined": (95.66, 92.10),
}
P2_CLASSIFICATION = {
    "cls-random": (50.12, 49.04, 53.33, 19.18),
    "cls-constant-negative": (88.77, 100, 0, 0),
    "cls-resnet34": (91.36, 93.48, 74.67, 66.01),
    "cls-resnet50": (94.21, 96.63, 75.11, 74.45),
    "cls-resnet101": (94.66, 98.09, 67.56, 73.97),
    "chain-resnet50": (94.06, 96.51, 74.67, 73.85),
    "meta-random": (50.95, 51.63, 51.79, 26.79),
    "meta-constant-negative": (82.93, 100, 0, 0),
}
P1 = {
    "a-only-resnet50": (51.46, 12.95, 25.45, 17.16, 42.98),
    "b-only-resnet50": (50.24, 19.58, 92.35, 32.30, 77.21),
    "adapted-resnet50": (62.31, 29.90, 67.05, 41.36, 70.95),
}
P1 |= {name.replace("resnet50", "efficientformer"): figures for name, figures in P1.items()}
P3 = {
    "multi-modal-told": (87, 85, 89, 87, 92),
    "multi-modal": (87, 85, 89, 87, 92),
    "breslow": (72, 70, 75, 72, 75),
    "clark": (68, 65, 70, 67, 70),
    "image-alone": (80, 78, 82, 80, None),
    "image-alone-plain": (80, 78, 82, 80, None),
    "multi-modal-paper": (87, 85, 89, 87, 92),
    "biomarker": (None, None, 92, None, None),
}
GRIDS = {
    "grid-unets": 4 * 3 * 5,
    "grid-xception": 2 * 3 * 5,
    "grid-mobilenetv2": 3 * 5,
    "grid-alpha": 5 * 5,
    "search-segmentation": 16,
    "search-classification": 16,
    "grid-learning-rate": 4,
    "grid-split": 2,
    "validation": 7,
    "grid-normalization": 3,
}
TRANSFER = ("deeplab-mobilenetv2-035", "transfer-m", "transfer-d", "transfer-zero-shot", "transfer-d-then-m")


def test_every_row_has_the_results_of_its_paper() -> None:
    names = ("T", "TJA", "JA", "DI", "AC", "SE", "SP")
    best = {row.name: row.file.paper[""] for row in read_paper("P4").select(()) if row.file.table == "best"}
    assert {name: tuple(figures[key] for key in names) for name, figures in best.items()} == P4
    transfer = {
        (row.name, set_): f for row in read_paper("P4").select(()) for set_, f in row.file.paper.items() if set_
    }
    assert {key: tuple(figures[name] for name in names) for key, figures in transfer.items()} == P4_TRANSFER
    found = {row.name: row.file.paper.get("", {}) for row in read_paper("p2").select(())}
    assert {name: (figures["AC"], figures["DI"]) for name, figures in found.items() if "DI" in figures} == P2
    names = ("AC", "SP", "SE", "F1")
    assert {row: tuple(f[k] for k in names) for row, f in found.items() if "SP" in f} == P2_CLASSIFICATION
    names = ("AC", "PR", "SE", "F1", "AUC")
    rows = read_paper("P1").select(())
    of_p1 = {row.name: f for row in rows for f in row.file.paper.values()}
    assert {row: tuple(f[k] for k in names) for row, f in of_p1.items()} == P1
    of_p3 = {row.name: f for row in read_paper("P3").select(()) for f in row.file.paper.values()}
    assert {row: tuple(f.get(k) for k in names) for row, f in of_p3.items()} == P3


def test_the_grids_are_whole_and_the_best_rows_are_in_them() -> None:
    rows = [row for name in papers() for row in read_paper(name).rows.values()]
    assert {grid: sum(row.grid == grid for row in rows) for grid in {row.grid for row in rows} - {None}} == GRIDS
    for name in P4:
        best = read_paper("P4").rows[name].recipe("full", data={"datasets": ["m"]}, model={"start": "none"})
        alike = [
            row
            for row in rows
            if row.grid
            and row.file.train
            and row.values["full"]["loss"] == best.loss
            and row.values["full"]["model"]["architecture"] == best.model.architecture
        ]
        assert any(row.values["full"]["model"]["options"].items() <= best.model.options.items() for row in alike), name


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        *(
            (name, "another", False)
            for name in ("kind", "train", "evaluated", "predictor", "target", "masks", "evaluated_on")
        ),
        *((name, "another", False) for name in ("masks_of", "model_of", "start_of")),
        *((name, ("another",), False) for name in ("train_also", "unlabelled", "evaluated_also")),
        ("refine", True, False),
        *((name, "another", True) for name in ("title", "table")),
        ("order", 1, True),
        ("against", ("another",), True),
        ("paper", {"": {"AC": 1.0}}, True),
        ("parameters", 1.0, True),
        ("small", {"epochs": 1}, True),  # the recipe of each budget has its own digest
    ],
)
def test_a_digest_depends_on_all_that_changes_the_result(field: str, value: object, same: bool) -> None:
    row = read_paper("P2").rows["cls-lite0"]
    other = replace(row, file=row.file.model_copy(update={field: value}))
    assert (other.digest("full") == row.digest("full")) is same


@pytest.mark.parametrize("budget", ["small", "full"])
def test_every_row_is_a_recipe(budget: str) -> None:
    for name in papers():
        paper = read_paper(name)
        for row in paper.rows.values():
            if row.file.train and row.file.predictor == "network":
                recipe = row.recipe(budget, data={"datasets": ["any"]})
                full = {"P3": 512}.get(name, 224) if row.task == "classification" else {"P2": 256, "P4": 512}[name]
                small = (128, 512) if name == "P3" else (128,)  # whose encoder looks but twice
                assert recipe.model.input_size in (small if budget == "small" else (full,))
                assert recipe.model.start in ("none", "imagenet", "imagenet-tiles", *paper.file.weights)
                assert recipe.task == row.task == row.file.kind.removeprefix("cross_validated_")
                assert row.file.train in paper.file.roles
        for role in paper.file.roles.values():
            assert {*role.sources, *role.others} <= set(list_sources())


@pytest.mark.parametrize(
    ("name", "dropout"), [("search-segmentation", "dropout"), ("search-classification", "head_dropout")]
)
def test_dropout_and_weight_decay_of_both_models_of_p2_are_searched_at_random(name: str, dropout: str) -> None:
    rows = [row for row in read_paper("P2").rows.values() if row.grid == name]
    recipes = [row.recipe("full", data={"datasets": ["x"]}) for row in rows]
    drawn = {(recipe.model.options[dropout], recipe.weight_decay) for recipe in recipes}
    assert len(drawn) == 16
    assert all(0 <= share <= 0.7 and 1e-6 <= decay <= 1e-2 for share, decay in drawn)
    assert sum(decay < 1e-4 for _, decay in drawn) > 4, "uniform in the logarithm"
    assert [row.full_only for row in rows] == [False] * 3 + [True] * 13
    assert len({row.file.title for row in rows}) == 16


def test_a_search_is_drawn_by_its_seed_and_grows_at_its_end() -> None:
    ranges = {"weight_decay": DrawnRange(low=1e-6, high=1e-2, log=True), "dropout": DrawnRange(low=0, high=0.5)}
    few, many, other = (
        RandomSearch(draws=draws, draws_small=1, seed=seed, ranges=ranges).draw()
        for draws, seed in ((3, 0), (5, 0), (5, 1))
    )
    assert many[:3] == few
    assert other != many


def test_the_architecture_of_p3_is_the_same_in_both_budgets() -> None:
    row = read_paper("P3").rows["multi-modal-paper"]
    full, small = (row.recipe(budget, data={"datasets": ["s"]}) for budget in ("full", "small"))
    networks = [BiomarkerConfig(**recipe.model.options) for recipe in (full, small)]
    assert networks[0] == networks[1]
    assert (networks[0].encoder, networks[0].depth_module) == ("resnet50", "convolutions")
    assert small.model.model_copy(update={"options": full.model.options}) == full.model
    assert (full.model.input_size, full.model.pixels, full.monitor) == (512, "unit", "loss")
    assert small.classification is not None
    assert (small.classification.freeze_encoder, small.classification.stages) == (False, 1)
    plain, attention = (read_paper("P3").rows[name] for name in ("image-alone-plain", "image-alone"))
    assert plain.values["full"]["model"]["options"].pop("attention") == "none"
    assert plain.values["full"]["model"] == attention.values["full"]["model"]


def test_the_rows_that_a_row_needs_come_with_it() -> None:
    assert tuple(row.name for row in read_paper("P4").select(("transfer-d-then-m", "transfer-zero-shot"))) == TRANSFER
    with pytest.raises(ConfigError, match=r"no row or grid 'unknown'.*grid-alpha"):
        read_paper("P4").select(("unknown",))
    with pytest.raises(ConfigError, match="P1, P2, P3, P4"):
        read_paper("P9")


def test_the_full_training_ends_with_a_cycle_and_has_enough_patience() -> None:
    for row in read_paper("P4").rows.values():
        if row.file.train:
            recipe = row.recipe("full", data={"datasets": ["m"]}, model={"start": "none"})
            cycles = [recipe.cycle_epochs]
            while sum(cycles) < recipe.epochs:
                cycles.append(cycles[-1] * recipe.cycle_growth)
            assert sum(cycles) == recipe.epochs
            assert recipe.patience > cycles[-1]


def test_rows_come_after_those_that_they_need() -> None:
    assert read_paper("P4").rows["transfer-d-then-m"].file.needs == ("transfer-d",)
    assert read_paper("P4").rows["unet"].file.needs == ()  # one that is only compared with is not needed
    for paper in map(read_paper, papers()):
        names = list(paper.rows)
        for row in paper.rows.values():
            assert all(names.index(other) < names.index(row.name) for other in row.file.needs)
            assert all(names.index(other) < names.index(row.name) for other in row.file.against)
            assert {*row.file.roles} <= {*paper.file.roles}


def test_results_of_papers_are_metrics_of_their_rows() -> None:
    for paper in map(read_paper, papers()):
        for row in paper.rows.values():
            known = set(kinds()[row.file.kind].metrics)
            assert {name for figures in row.file.paper.values() for name in figures} <= known | {"T"}
            assert set(paper.file.tables[row.file.table].metrics if row.file.table else ()) <= known
        assert paper.file.chosen_by in paper.metrics
