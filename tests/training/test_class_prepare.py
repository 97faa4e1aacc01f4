"""From a recipe of a classification to batches: selected images, their views and table rows, and hidden fields."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.core.prediction_config import NO_PREPROCESSING, PreprocessingConfig
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.imaging.preprocessing import crop_view
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs.bundling import predict_masks
from napari_melanoma.training.data_preparation import PreparedData, check_data, prepare_data
from napari_melanoma.training.data_selection import (
    predicted_mask_path,
    read_rows_with,
    read_strata,
    row_labels,
    select_labeled,
    select_samples,
)
from napari_melanoma.training.loader import Rank, training_loader, validation_loader
from napari_melanoma.training.recipe import TrainRecipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
Change = Callable[..., TrainRecipe]
TABLE = {"numbers": [{"name": "age"}], "words": [{"name": "sex"}]}


def edit(data: Path, change: Callable[[int, dict[str, str]], dict[str, Any]]) -> None:
    """Change the rows of a data set."""
    rows = list(csv.DictReader((data / "dataset.csv").read_text().splitlines()))
    changed = [change(place, row) for place, row in enumerate(rows)]
    with (data / "dataset.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, list(dict.fromkeys(name for row in changed for name in row)))
        writer.writeheader()
        writer.writerows(changed)


@pytest.fixture
def data(draw: Callable[..., Path], tmp_path: Path) -> Path:
    """Blobs with a label (one in three positive), an age and a sex."""
    folder = draw(tmp_path / "answered", count=36)
    edit(
        folder,
        lambda place, row: {
            **row,
            "patient_id": f"q{place}",
            "melanoma": int(place % 3 == 0),
            "age": 20 + place,
            "sex": ("male", "female")[place % 2],
        },
    )
    return folder


@pytest.fixture
def class_recipe(data: Path) -> TrainRecipe:
    return TrainRecipe.parse(
        {
            "task": "classification",
            "batch_size": 4,
            "device": "cpu",
            "data": {"datasets": [str(data)], "validation_fraction": 0.25, "cache_size": 48},
            "model": {"options": {"encoder": "test_efficientnet"}, "start": "none", "input_size": 64},
            "classification": {"tabular": TABLE, "drop_form": 0.0, "drop_field": 0.0},
        },
        "the test",
    )


def prepare(recipe: TrainRecipe, folder: Path, *, resume: bool = False) -> PreparedData:
    return prepare_data(recipe, RunFolder(folder), resume=resume, run=RunContext())


def test_views_labels_and_rows_match(class_recipe: TrainRecipe, tmp_path: Path) -> None:
    prepared = prepare(class_recipe, tmp_path / "run")
    classes = prepared.classes
    assert classes is not None
    assert classes.names == ("other", "melanoma")
    assert classes.encoding is not None
    assert classes.encoding.rows == len(prepared.train)
    for batch in training_loader(prepared, class_recipe, 4):
        for item, key in enumerate(batch.keys[:, 1] % len(prepared.train)):
            sample = prepared.samples.training[key]
            number = int(sample.image_id.removeprefix("b"))
            assert batch.shares[item].tolist() == [number % 3 != 0, number % 3 == 0]
            age = classes.encoding.numbers[0]
            assert batch.continuous[item, 0] == pytest.approx((20 + number - age.mean) / age.std, abs=1e-4)
            assert sample.mask is not None
            rgb, mask = read_photograph(sample.image).rgb, read_mask(sample.mask)
            assert class_recipe.classification is not None
            view = crop_view(rgb, mask, class_recipe.classification.view, 48, NO_PREPROCESSING)
            assert view is not None
            assert np.array_equal(batch.images[item].numpy(), view.image.transpose(2, 0, 1))


def test_a_whole_photograph_needs_no_mask(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path, change: Change
) -> None:
    shutil.rmtree(data / "masks")
    whole = change(class_recipe, classification={"view": {"region": "photograph"}})
    began = prepare(whole, tmp_path / "run")
    assert len(began.train) + len(began.validation) == 32
    resumed = prepare(whole, tmp_path / "run", resume=True)
    assert resumed.samples == began.samples
    assert np.array_equal(resumed.train.read([0, 1])[0], began.train.read([0, 1])[0])
    assert check_data(whole, RunContext()).counts["test"] == 4
    with pytest.raises(DataSetError):
        check_data(class_recipe, RunContext())


def test_images_without_a_usable_mask_are_reported(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path, change: Change
) -> None:
    (data / "masks" / "b00.png").unlink()
    edit(data, lambda place, row: {**row, "review": "unreviewed" if place == 1 else "accepted"})
    excluded = (
        r"Excluded: 1 image without a mask \(b00\) and 1 image with a mask that is not accepted or corrected "
        r"\(b01\)\. .*"
        r"classification\.masks = 'predicted' .*classification\.view\.region = 'photograph'"
    )
    assert any(re.match(excluded, notice) for notice in check_data(class_recipe, RunContext()).warnings)
    edit(data, lambda place, row: {**row, "melanoma": int(place < 2)})
    with pytest.raises(DataSetError, match=rf"'melanoma' has 1 class .*{excluded}"):
        check_data(class_recipe, RunContext())
    shutil.rmtree(data / "masks")
    with pytest.raises(DataSetError, match=r"no usable image .*Excluded: 36 images without a mask \(b00, "):
        check_data(class_recipe, RunContext())
    other = change(class_recipe, data={"split": "training"}, classification={"view": {"region": "photograph"}})
    edit(data, lambda _, row: {**row, "split": "train"})
    with pytest.raises(DataSetError, match=r"no usable image in the split 'training'\. Correct"):
        check_data(other, RunContext())


def test_rejected_images_are_used_in_no_view(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path, change: Change
) -> None:
    edit(data, lambda place, row: {**row, "review": ("accepted", "rejected", "unreviewed", "")[place % 4]})
    views: tuple[tuple[dict[str, object], set[int]], ...] = (
        ({}, {1, 2}),
        ({"view": {"region": "photograph"}}, {1}),
        ({"masks": "predicted"}, {1}),
    )
    for view, unused in views:
        recipe = change(class_recipe, classification=view)
        chosen, _, notices = select_labeled(select_samples(recipe), recipe)
        used = {int(sample.image_id[1:]) % 4 for sample in (*chosen.for_training, *chosen.for_test)}
        assert used == {0, 1, 2, 3} - unused
        assert any("9 images whose review is rejected (b01, b05, " in notice for notice in notices)


def test_classes_are_stratified_over_training_and_validation(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path
) -> None:
    recipe = class_recipe.model_copy(update={"seed": 2})  # without strata, seven of the eight would be positive

    def count(run: str) -> list[Counter[int]]:
        classes = prepare(recipe, tmp_path / run).classes
        assert classes is not None
        return [Counter(part.labels.tolist()) for part in (classes.train, classes.validation)]

    assert count("run") == [{0: 16, 1: 8}, {0: 5, 1: 3}]
    edit(data, lambda _, row: {"diagnosis": "melanoma" if row.pop("melanoma") == "1" else "nevus", **row})
    assert count("harmonized") == [{0: 16, 1: 8}, {0: 5, 1: 3}]


def test_a_check_counts_the_classes(class_recipe: TrainRecipe) -> None:
    assert check_data(class_recipe, RunContext()).classes == {"other": 16, "melanoma": 8}


def test_the_malignancy_column_gives_named_classes(class_recipe: TrainRecipe, data: Path, change: Change) -> None:
    edit(data, lambda place, row: {**row, "target": int(place % 3 == 0)})
    recipe = change(class_recipe, classification={"target": "target", "positive": "malignant"})
    assert check_data(recipe, RunContext()).classes == {"other": 16, "malignant": 8}


def test_a_check_refuses_a_column_that_the_table_lacks(class_recipe: TrainRecipe, change: Change) -> None:
    inputs = change(class_recipe, classification={"tabular": {"numbers": ["age", "diameter_mm"], "words": ["sex"]}})
    with pytest.raises(DataSetError, match="the table has no column 'diameter_mm'"):
        check_data(inputs, RunContext())


def test_a_class_that_the_test_set_lacks_is_reported(class_recipe: TrainRecipe, data: Path) -> None:
    edit(data, lambda place, row: row | {"melanoma": int(place % 3 == 0 and row["split"] != "test")})
    report = check_data(class_recipe, RunContext())
    assert any(
        warning.startswith("The test set of 4 images has none of the class melanoma") for warning in report.warnings
    )


def test_columns_under_other_names_are_harmonized(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(data, lambda _, row: {**{k: v for k, v in row.items() if k != "sex"}, "gender": row["sex"].upper()})
    harmonized, harmonize = [], Harmonizer.harmonize_row

    def count(self: Harmonizer, row: dict[str, str]) -> dict[str, str]:
        harmonized.append(row)
        return harmonize(self, row)

    monkeypatch.setattr(Harmonizer, "harmonize_row", count)
    classes = prepare(class_recipe, tmp_path / "run").classes
    assert classes is not None
    assert classes.encoding is not None
    assert sorted(classes.encoding.words[0].words) == ["female", "male"]
    assert len(harmonized) == 36  # not for the split, which needs the class only


@pytest.mark.parametrize("unknown", ["", "n/a", "Unknown"])
def test_unknown_cells_of_a_column_are_derived_as_if_it_were_missing(
    class_recipe: TrainRecipe, data: Path, unknown: str
) -> None:
    """So that images that were added by their diagnosis are not left out."""
    diagnoses = ("melanoma", "nevus", "malignant")

    def describe(place: int, row: dict[str, str]) -> dict[str, Any]:
        return {**row, "diagnosis": diagnoses[place % 3], "age_approx": row["age"]}

    config = class_recipe.classification
    assert config is not None
    edit(data, describe)
    edit(data, lambda _, row: {name: cell for name, cell in row.items() if name not in ("melanoma", "age")})
    without = read_rows_with([data], {"melanoma", "age"})
    assert Counter(row_labels(without, "melanoma").values()) == {"other": 12, "melanoma": 12}
    edit(data, lambda place, row: {**row, "melanoma": "1" if place == 0 else unknown, "age": unknown})
    partly = read_rows_with([data], {"melanoma", "age"})
    assert row_labels(partly, "melanoma") == row_labels(without, "melanoma") == read_strata([str(data)], config)
    assert {key: row["age"] for key, row in partly.items()} == {key: row["age"] for key, row in without.items()}


@pytest.mark.parametrize("unknown", ["n/a", "NA", "nan", "unknown", "not available"])
def test_a_word_for_unknown_is_no_class(class_recipe: TrainRecipe, data: Path, change: Change, unknown: str) -> None:
    edit(data, lambda place, row: {**row, "kind": unknown if place % 9 == 4 else ("a", "b")[place % 2]})
    recipe = change(class_recipe, classification={"target": "kind", "positive": "a"})
    report = check_data(recipe, RunContext())
    assert report.classes.keys() == {"a", "b"}
    assert any("4 of 36 images have no class" in warning for warning in report.warnings)


def test_cells_of_two_data_sets_with_the_same_ids_are_counted_each(
    class_recipe: TrainRecipe, data: Path, change: Change
) -> None:
    other = data.with_name("other")
    shutil.copytree(data, other)
    edit(data, lambda place, row: {**row, "age": "old" if place == 3 else row["age"]})
    edit(other, lambda place, row: {**row, "patient_id": f"r{place}", "age": "old" if place == 5 else row["age"]})
    recipe = change(class_recipe, data={"datasets": (str(data), str(other))})
    config = recipe.classification
    assert config is not None
    _, table, notices = select_labeled(select_samples(recipe), recipe)
    assert table is not None
    (notice,) = [text for text in notices if "'age'" in text]
    assert notice.startswith("2 of 72 rows hold no valid number in 'age'")


def test_features_are_not_joined_for_a_split_by_a_column_of_the_data_set(
    class_recipe: TrainRecipe, data: Path, change: Change, tmp_path: Path
) -> None:
    config = change(class_recipe, classification={"features": str(tmp_path / "missing.csv")}).classification
    assert config is not None
    assert Counter(read_strata([str(data)], config).values()) == {"other": 24, "melanoma": 12}
    edit(data, lambda _, row: {name: cell for name, cell in row.items() if name != "melanoma"})
    with pytest.raises(DataSetError, match=r"the table of features .* does not exist"):
        read_strata([str(data)], config)


@pytest.mark.parametrize("name", ["age", "age_years"])
def test_cells_that_count_as_unknown_are_reported(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path, name: str
) -> None:
    bad = {3: "430", 4: "old"}
    edit(data, lambda place, row: {**{k: v for k, v in row.items() if k != "age"}, name: bad.get(place, row["age"])})
    (notice,) = [text for text in check_data(class_recipe, RunContext()).warnings if "'age'" in text]
    assert notice.startswith("2 of 36 rows hold no valid number in 'age', which counts as unknown: '430' (1), 'old'")
    classes = prepare(class_recipe, tmp_path / "run").classes
    assert classes is not None
    assert classes.encoding is not None
    assert classes.encoding.numbers[0].mean < 60
    assert classes.encoding.numbers[0].std < 20


def test_rare_values_are_reported(class_recipe: TrainRecipe, data: Path, change: Change) -> None:
    edit(data, lambda place, row: {**row, "sex": f"word {place}" if place < 9 else row["sex"]})
    rare = change(class_recipe, classification={"tabular": {**TABLE, "words": [{"name": "sex", "min_count": 2}]}})
    (drawn_shares,) = [text for text in check_data(rare, RunContext()).warnings if "'sex'" in text]
    assert re.match(
        r"[4-9] of \d+ rows hold a word that fewer than 2 rows have in 'sex', which counts as unknown", drawn_shares
    )
    assert "'word " in drawn_shares


def test_only_training_rows_affect_the_encoding(class_recipe: TrainRecipe, data: Path, tmp_path: Path) -> None:
    before = prepare(class_recipe, tmp_path / "first")
    aside = {sample.image_id for sample in (*before.samples.validation, *before.samples.test)}
    edit(data, lambda _, row: {**row, "age": 999, "sex": "other"} if row["image_id"] in aside else row)
    after = prepare(class_recipe, tmp_path / "second")
    assert before.classes is not None
    assert after.classes is not None
    assert after.classes.encoding == before.classes.encoding


@pytest.mark.parametrize(("dropped", "share"), [({"drop_form": 0.5}, 0.5), ({"drop_field": 0.3}, 0.3)])
def test_rows_are_hidden_with_the_configured_probability(
    dropped: dict[str, float], share: float, class_recipe: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    recipe = change(class_recipe, classification=dropped)
    prepared = prepare(recipe, tmp_path / "run")
    gone = []
    loader = training_loader(prepared, recipe, 4)
    for epoch in range(20):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        gone += [batch.categories[:, 0] == 0 for batch in loader]
    assert np.concatenate(gone).mean() == pytest.approx(share, abs=0.06)
    assert all((batch.categories > 0).all() for batch in validation_loader(prepared, recipe, 4))


def test_balanced_sampling_draws_classes_equally_often(
    class_recipe: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    recipe = change(class_recipe, data={"sampling": "balanced"})
    loader = training_loader(prepare(recipe, tmp_path / "run"), recipe, 4)
    drawn_shares = []
    for epoch in range(20):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        drawn_shares += [batch.shares[:, 1].numpy() for batch in loader]
    assert np.concatenate(drawn_shares).mean() == pytest.approx(0.5, abs=0.05)


def test_processes_share_the_steps_of_one(class_recipe: TrainRecipe, tmp_path: Path, change: Change) -> None:
    recipe = change(class_recipe, classification={"drop_form": 0.5})
    prepared = prepare(recipe, tmp_path / "run")
    alone = {
        tuple(key): row.tolist()
        for batch in training_loader(prepared, recipe, 4)
        for key, row in zip(batch.keys.tolist(), batch.continuous, strict=True)
    }
    for rank in (0, 1):
        for batch in training_loader(prepared, recipe, 4, Rank(rank, 2)):
            for key, row in zip(batch.keys.tolist(), batch.continuous, strict=True):
                assert alone[tuple(key)] == row.tolist()


def test_replay_data_is_refused_with_a_message(class_recipe: TrainRecipe, change: Change) -> None:
    with pytest.raises(ConfigError, match=r"data\.replay is supported for segmentation only"):
        change(class_recipe, data={"replay": ("elsewhere",)})


def test_views_are_cropped_by_predicted_masks(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model segments a square in each image; the masks of the data set are not used."""
    drawn = np.zeros((48, 48), np.float32)
    drawn[8:24, 8:24] = 1
    monkeypatch.setattr(Segmenter, "load", lambda info: SimpleNamespace(probability=lambda rgb: drawn))
    shutil.rmtree(data / "masks")
    recipe = change(class_recipe, classification={"masks": "predicted"})
    assert predict_masks(recipe, RunContext()) == 36
    assert predict_masks(recipe, RunContext()) == 0, "drawn once"
    prepared = prepare(recipe, tmp_path / "run")
    assert len(prepared.train) + len(prepared.validation) == 32
    sample = prepared.samples.training[0]
    assert sample.mask is not None
    mask = read_mask(sample.mask)
    assert 100 < mask.sum() < 400
    assert recipe.classification is not None
    view = crop_view(read_photograph(sample.image).rgb, mask, recipe.classification.view, 48, NO_PREPROCESSING)
    assert view is not None
    assert np.array_equal(prepared.train.read([0])[0][0], view.image.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "update", [{"threshold": 0.4}, {"preprocessing": PreprocessingConfig(remove_hair=True)}, {"input_size": 128}]
)
def test_a_model_that_predicts_otherwise_has_masks_of_its_own(data: Path, update: dict[str, Any]) -> None:
    segmenter, sample = find_bundle("lesion-small"), read_dataset(data)[0]
    other = BundleInfo(segmenter.path, segmenter.config.model_copy(update=update))
    renamed = BundleInfo(segmenter.path, segmenter.config.model_copy(update={"name": "renamed", "title": "Renamed"}))
    assert predicted_mask_path(sample, other) != predicted_mask_path(sample, segmenter)
    assert predicted_mask_path(sample, renamed) == predicted_mask_path(sample, segmenter)


def test_predicted_masks_are_kept_as_long_as_they_are_used(
    class_recipe: TrainRecipe, data: Path, tmp_path: Path, change: Change
) -> None:
    """They are read again for the evaluation, after the training."""
    recipe = change(class_recipe, classification={"masks": "predicted"})
    assert recipe.classification is not None
    segmenter = find_bundle(recipe.classification.segmenter)
    masks = [predicted_mask_path(sample, segmenter) for sample in read_dataset(data)]
    masks[0].parent.mkdir(parents=True)
    unused = masks[0].with_name("unused.png")
    for path in (*masks, unused):
        shutil.copy(data / "masks/b00.png", path)
    os.utime(unused, (0, 0))
    for resume in (False, True):
        for path in masks:
            os.utime(path, (0, 0))
        prepare(recipe, tmp_path / "run", resume=resume)
        assert all(path.is_file() for path in masks)
        assert not unused.exists()
