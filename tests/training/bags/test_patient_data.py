"""Whole-slide models with patient data: training, missing values, and the comparison with simpler models."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.bags import Bag
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.runs.acceptance import read_baselines, train_baselines
from napari_melanoma.runs.train import check_recipe, train
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.whole_slides import prepare_bags

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

pytestmark = pytest.mark.slow

TABULAR = {
    "numbers": [{"name": "age", "missing": "unknown"}, {"name": "depth_mm", "missing": "unknown"}],
    "words": [{"name": "sex", "encoding": "one_hot"}],
}
DEEP_MM, THIN_MM = 4.0, 0.6
MakeRecipe = Callable[..., TrainRecipe]


def add_patient_data(data: Path) -> None:
    """Add a table in which slides with decisive tiles, and deep melanomas without them, have a metastasis."""
    draw = np.random.default_rng(3)
    with (data / "dataset.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        deep = number % 8 < 2
        row["metastasis"] = str(int(deep or row.pop("diagnosis") == "melanoma"))
        row.pop("diagnosis", None)
        row["depth_mm"] = f"{(DEEP_MM if deep else THIN_MM) * draw.uniform(0.7, 1.3):.2f}" if number % 9 else ""
        row["age"] = str(int(draw.integers(30, 90))) if number % 7 else "unknown"
        row["sex"] = ("female", "male")[int(draw.integers(2))]
    with (data / "dataset.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def patient_recipe(make: MakeRecipe, data: Path, **more: Any) -> TrainRecipe:
    target = {"target": "metastasis", "positive": "metastasis", "tabular": TABULAR}
    return make(data, classification={**target, "drop_form": 0.1, "drop_field": 0.05}, **more)


@pytest.fixture(scope="module")
def trained(
    draw_cohort: Callable[..., Path], bag_recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, BundleInfo]:
    """A data set with patient data, a run, and its bundle."""
    folder = tmp_path_factory.mktemp("patients")
    data = draw_cohort(folder / "cohort", slides=64)
    add_patient_data(data)
    bundle = train(patient_recipe(bag_recipe, data, epochs=12), folder / "run", resume=False, run=RunContext())
    assert bundle is not None
    return data, folder / "run", bundle


def test_the_model_is_compared_with_its_parts(trained: tuple[Path, Path, BundleInfo]) -> None:
    _, run, _ = trained
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    compared = metrics["baselines"]
    assert set(compared) == {"patient_data", "depth", "slide_alone"}
    assert metrics["metrics"]["all"]["AUC"]["mean"] > 0.85
    assert compared["patient_data"]["difference"]["mean"] > 0.02
    assert compared["slide_alone"]["AUC"]["mean"] > 0.7
    assert all(one["difference"]["low"] < one["difference"]["high"] for one in compared.values())
    page = next((run / "evaluation").glob("*.html")).read_text(encoding="utf-8")
    assert "Patient data and depth alone" in page
    assert "Slide alone" in page
    events = (run / "events.jsonl").read_text(encoding="utf-8")
    assert "than patient data and depth alone" in events


def test_no_patient_is_on_both_sides(trained: tuple[Path, Path, BundleInfo]) -> None:
    data, run, _ = trained
    with (run / "data.csv").open(encoding="utf-8", newline="") as file:
        parts = {Path(row["image"]).name: row["part"] for row in csv.DictReader(file)}
    with (run / "baselines" / "slide-alone" / "data.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(row["image"]).name: row["part"] for row in csv.DictReader(file)} == parts
    with (data / "dataset.csv").open(encoding="utf-8", newline="") as file:
        patients = {row["image_id"]: row["patient_id"] for row in csv.DictReader(file)}
    sides: dict[str, set[str]] = {}
    for name, part in parts.items():
        sides.setdefault(patients[name], set()).add(part)
    assert all(len(side) == 1 for side in sides.values())


def test_an_unknown_depth_is_not_zero(trained: tuple[Path, Path, BundleInfo]) -> None:
    data, _, bundle = trained
    model, bag = BagModel.load(bundle, "cpu"), Bag.open(data / "slide_03")  # with decisive tiles

    def risk(**patient: str) -> float:
        return float(model.predict(bag.iter_embeddings(), patient).probability[1])

    deep, thin, unknown, zero = risk(depth_mm="4"), risk(depth_mm="0.6"), risk(), risk(depth_mm="0")
    assert thin < unknown < deep
    assert zero < unknown
    assert model.encoding.fields == ("age", "depth_mm", "sex")


def test_the_graph_predicts_as_the_network(trained: tuple[Path, Path, BundleInfo], tmp_path: Path) -> None:
    from napari_melanoma.models.graphs import add_graphs, find_graphs

    data, _, bundle = trained
    tiles, patient = list(Bag.open(data / "slide_03").iter_embeddings()), {"age": "61", "sex": "male"}
    by_torch = BagModel.load(bundle, "cpu").predict(tiles, patient)
    assert add_graphs(bundle, RunContext()) == ""
    assert find_graphs(bundle) is not None
    by_graph = BagModel.load(bundle, "cpu").predict(tiles, patient)
    np.testing.assert_allclose(by_graph.probability, by_torch.probability, atol=1e-3)


def test_baselines_are_read_from_the_run(trained: tuple[Path, Path, BundleInfo]) -> None:
    baselines = read_baselines(RunFolder(trained[1]))
    assert [baseline.name for baseline in baselines] == ["patient_data", "depth", "slide_alone"]
    bag = Bag.open(trained[0] / "slide_03")
    assert baselines[1].probability(bag, {"depth_mm": "5"}) > baselines[1].probability(bag, {"depth_mm": "0.5"})


def test_the_slide_alone_has_the_split_of_the_run_after_a_change_of_the_data_set(
    draw_cohort: Callable[..., Path], bag_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Otherwise its network would be trained on test slides of the run, with which it is compared."""
    data, folder = draw_cohort(tmp_path / "cohort", slides=24), RunFolder(tmp_path / "run")
    add_patient_data(data)
    recipe, alone = patient_recipe(bag_recipe, data), tmp_path / "run/baselines/slide-alone"
    folder.path.mkdir()
    prepared = prepare_bags(recipe, folder, resume=False, run=RunContext())
    rows = read_table(data / "dataset.csv")
    write_table(data / "dataset.csv", [{**row, "split": "", "metastasis": str(n % 2)} for n, row in enumerate(rows)])

    def train_nothing(recipe: TrainRecipe, out: Path, *, resume: bool, **_: object) -> None:
        begun = prepare_bags(recipe, RunFolder(out), resume=resume, run=RunContext())
        assert prepared.classes is not None
        assert begun.classes is not None
        assert begun.samples == prepared.samples
        assert begun.classes.train.labels.tolist() == prepared.classes.train.labels.tolist()
        assert begun.classes.encoding is None
        assert read_toml(alone / "config.toml", TrainRecipe) == recipe

    train_baselines(recipe, folder, train_nothing, run=RunContext())
    assert (alone / "data.csv").read_bytes() == folder.data.read_bytes()


def test_a_field_without_a_column_is_named(
    draw_cohort: Callable[..., Path], bag_recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = draw_cohort(tmp_path / "cohort", slides=24)
    recipe = bag_recipe(data, classification={"target": "diagnosis", "tabular": TABULAR})
    with pytest.raises(DataSetError, match="no column 'age'"):
        check_recipe(recipe, RunContext())
