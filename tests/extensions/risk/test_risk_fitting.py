"""What stands beside a network's risk is fitted on the cases of its run, the image on those that it tuned with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.classification.comparators import (
    NOT_STORED,
    fit_comparators_if_metastasis,
    fit_run_comparators,
    read_comparators,
)
from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import hash_file, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.io.results import read_table, write_rgb, write_table
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.training.data_preparation import read_part_table, write_classes
from napari_melanoma.training.data_selection import read_classes
from napari_melanoma.training.recipe import ClassificationConfig, DepthTargetConfig, TrainRecipe
from napari_melanoma.training.run_data import DataPart, DataRow, read_data, write_data

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
    begin(folder)
    write_model(folder.bundle, comparators=False)
    return folder


def begin(folder: RunFolder) -> None:
    """Store the cases of a run as the table has them now."""
    recipe = read_toml(folder.config, TrainRecipe)
    assert recipe.classification is not None
    samples = read_dataset(Path(recipe.data.datasets[0]))
    classes = read_classes(recipe.data.datasets, recipe.classification, samples)
    samples = [one for one in samples if one.key in classes.labels]
    parts: list[DataPart] = ["validation" if int(one.image_id[1:]) < TUNED else "train" for one in samples]
    rows = [DataRow(part, one, hash_file(one.image), "") for part, one in zip(parts, samples, strict=True)]
    write_data(folder.data, rows)
    write_classes(folder.path, classes, rows, recipe.classification, None)


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
    rows[0]["depth_mm"], rows[1]["depth_mm"] = "999", ""
    write_table(table, rows)
    begin(ended)
    bundle, recipe = read_bundle(ended.bundle), read_toml(ended.config, TrainRecipe)
    found = fit_run_comparators(ended, bundle, RunContext())
    (depth,) = found.left_out
    assert "'999' (1); row p0" in depth
    assert found.table["breslow"].cases == COUNT - 2
    assert read_comparators(ended.bundle).left_out == found.left_out
    assert depth in fit_comparators_if_metastasis(recipe, ended, bundle, RunContext())


def test_comparators_are_fitted_on_the_values_that_the_run_stored(ended: RunFolder) -> None:
    expected = fit_run_comparators(ended, read_bundle(ended.bundle), RunContext())
    table = ended.path.parent / "set/dataset.csv"
    swapped = {"yes": "no", "no": "yes"}
    write_table(table, [row | {"depth_mm": "1", "metastasis": swapped[row["metastasis"]]} for row in read_table(table)])
    assert fit_run_comparators(ended, read_bundle(ended.bundle), RunContext()) == expected


def test_a_lesion_with_several_images_is_one_case(ended: RunFolder) -> None:
    expected = fit_run_comparators(ended, read_bundle(ended.bundle), RunContext()).table
    table = ended.path.parent / "set/dataset.csv"
    rows = read_table(table)
    images = ended.path.parent / "set/images"
    for number in range(COUNT, COUNT + 6):  # more images of the first patient
        shutil.copy(images / "p0.png", images / f"p{number}.png")
        rows.append(rows[0] | {"image_id": f"p{number}"})
    write_table(table, rows)
    begin(ended)
    found = fit_run_comparators(ended, read_bundle(ended.bundle), RunContext()).table
    assert found["breslow"].cases == COUNT
    depths = [{"depth_mm": "0.5"}, {"depth_mm": "2.5"}]
    assert found["breslow"].predict(depths) == pytest.approx(expected["breslow"].predict(depths))


def test_the_depth_of_a_run_is_stored_for_its_evaluation(ended: RunFolder) -> None:
    assert ClassificationConfig(target="melanoma", depth=DepthTargetConfig()).stored_columns == ("depth_mm",)
    _, _, rows = read_part_table(ended.path, read_data(ended.data), ("validation",))
    assert [row["depth_mm"] for row in rows] == ["0.5", "2.5"] * (TUNED // 2)


def test_runs_of_earlier_versions_have_the_image_alone(ended: RunFolder) -> None:
    path = ended.path / "classes.json"
    write_json(path, {name: value for name, value in read_json(path).items() if name != "columns"})
    found = fit_run_comparators(ended, read_bundle(ended.bundle), RunContext())
    assert found.left_out == (NOT_STORED,)
    assert not found.table
    assert found.image is not None


def test_comparators_are_fitted_for_metastasis_only_and_failures_are_reported(ended: RunFolder) -> None:
    recipe = TrainRecipe.model_validate(
        {"task": "classification", "data": {"datasets": ["any"]}, "classification": {"target": "melanoma"}}
    )
    bundle = read_bundle(ended.bundle)
    assert fit_comparators_if_metastasis(recipe, ended, bundle, RunContext()) == ""
    assert read_comparators(ended.bundle).table == {}
    about = {"target": "metastasis", "positive": "metastasis"}
    requested = TrainRecipe.model_validate({**recipe.model_dump(), "classification": about})
    for change in (lambda image: image.write_bytes(b"changed"), Path.unlink):
        change(ended.path.parent / "set/images/p0.png")
        assert "The model has no comparators" in fit_comparators_if_metastasis(requested, ended, bundle, RunContext())
