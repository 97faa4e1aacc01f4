"""What stands beside a network's risk is fitted on the cases of its run, the image on those that it tuned with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.classification.comparators import (
    fit_comparators_if_metastasis,
    fit_run_comparators,
    read_comparators,
)
from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.training.data_preparation import CLASSES_FILE
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data, write_data

COUNT, TUNED = 24, 8


@pytest.fixture
def ended(tmp_path: Path, write_model: Callable[..., Path]) -> RunFolder:
    """A run that has ended: data, recipe, bundle, and nothing beside its answers yet."""
    draw, table = np.random.default_rng(0), []
    for number in range(COUNT):
        coarse = np.kron(draw.uniform(0, 255, (8, 8, 3)), np.ones((8, 8, 1)))
        write_rgb(tmp_path / f"set/images/p{number}.png", coarse.astype(np.uint8))
        known = {"depth_mm": f"{0.5 + number % 2 * 2}", "clark": "", "metastasis": "yes" if number % 2 else "no"}
        table.append({"image_id": f"p{number}", "patient_id": f"q{number}", "split": "train", **known})
    write_table(tmp_path / "set/dataset.csv", table)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    values = {"task": "classification", "data": {"datasets": [str(tmp_path / "set")]}}
    requested = {"target": "metastasis", "positive": "metastasis", "view": {"region": "photograph"}}
    write_toml(folder.config, TrainRecipe.model_validate({**values, "classification": requested}))
    samples = read_dataset(tmp_path / "set")
    parts = ["validation" if number < TUNED else "train" for number in range(COUNT)]
    write_data(folder.data, [DataRow(part, one, "", "") for part, one in zip(parts, samples, strict=True)])
    write_classes(folder, range(COUNT))
    write_model(folder.bundle, comparators=False)
    return folder


def write_classes(folder: RunFolder, numbers: Iterable[int]) -> None:
    classes = {"names": ["other", "metastasis"], "encoding": None, "fields": []}
    write_json(folder.path / CLASSES_FILE, {**classes, "rows": [[number % 2] for number in numbers]})


def test_depth_and_image_are_fitted_and_an_empty_column_is_not(ended: RunFolder) -> None:
    found = fit_run_comparators(ended, read_bundle(ended.bundle), RunContext())
    assert read_comparators(ended.bundle) == found
    assert {*found.table} == {"breslow"}
    thin, thick = found.table["breslow"].predict([{"depth_mm": "0.5"}, {"depth_mm": "2.5"}])
    assert thin < 0.15
    assert thick > 0.85
    assert found.table["breslow"].cases == COUNT
    assert found.image is not None
    assert found.image.cases == TUNED
    assert not found.phantom


def test_classes_are_those_of_the_run_after_a_change_of_the_table(ended: RunFolder) -> None:
    before = fit_run_comparators(ended, read_bundle(ended.bundle), RunContext())
    table = ended.path.parent / "set/dataset.csv"
    write_table(table, [{**row, "metastasis": "yes" if row["image_id"] < "p2" else ""} for row in read_table(table)])
    assert fit_run_comparators(ended, read_bundle(ended.bundle), RunContext()) == before


@pytest.mark.parametrize(("drawn", "marked"), [(COUNT, True), (COUNT - 1, False)])
def test_synthetic_patients_are_recognized_by_their_rows(ended: RunFolder, drawn: int, marked: bool) -> None:
    rows = [
        replace(row, sample=replace(row.sample, synthetic=place < drawn))
        for place, row in enumerate(read_data(ended.data))
    ]
    write_data(ended.data, rows)
    assert fit_run_comparators(ended, read_bundle(ended.bundle), RunContext()).phantom == marked


def test_excluded_rows_are_listed_in_result_and_log(ended: RunFolder) -> None:
    table = ended.path.parent / "set/dataset.csv"
    rows = read_table(table)
    rows[0]["depth_mm"], rows[2]["image_id"] = "999", "../p2"
    write_table(table, rows)
    (ended.path.parent / "set/images/p2.png").unlink()
    bundle, recipe = read_bundle(ended.bundle), read_toml(ended.config, TrainRecipe)
    found = fit_run_comparators(ended, bundle, RunContext())
    faulty, depth, answers = found.left_out
    assert "1 invalid rows in set" in faulty
    assert "../p2" in faulty
    assert "'999' (1); row p0" in depth
    assert answers == "1 of 24 cases are not in the tables any more."
    assert read_comparators(ended.bundle).left_out == found.left_out
    assert answers in fit_comparators_if_metastasis(recipe, ended, bundle, RunContext())


def test_comparators_are_fitted_for_metastasis_only_and_failures_are_reported(ended: RunFolder) -> None:
    recipe = TrainRecipe.model_validate(
        {"task": "classification", "data": {"datasets": ["any"]}, "classification": {"target": "melanoma"}}
    )
    bundle = read_bundle(ended.bundle)
    assert fit_comparators_if_metastasis(recipe, ended, bundle, RunContext()) == ""
    assert read_comparators(ended.bundle).table == {}
    about = {"target": "metastasis", "positive": "metastasis"}
    requested = TrainRecipe.model_validate({**recipe.model_dump(), "classification": about})
    (ended.path.parent / "set/images/p0.png").write_bytes(b"gone")
    assert "The model has no comparators" in fit_comparators_if_metastasis(requested, ended, bundle, RunContext())
