"""Pool the predictions of a cross-validated classifier, each for an image that its network was not trained on.

    napari-melanoma train --config recipe.toml --out FOLDS --folds 5
    python scripts/cross_validate.py FOLDS

Prints the results of all folds with all clinical metadata, without any, and of boosted trees on the metadata alone, and
writes them to FOLDS/figures.json, for ``release_classifier.py``. The model that the networks started from may have been
trained on some of the images with other labels: the results without these are listed, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from pandas import read_csv

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.files import write_json
from napari_melanoma.core.paths import allow_folders
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import DatasetEntry, Sample, get_group_id, iter_entries, read_dataset
from napari_melanoma.evaluation.classes import class_subgroups
from napari_melanoma.evaluation.metadata_trees import cross_validate_trees
from napari_melanoma.evaluation.model_card import CardSubgroup
from napari_melanoma.extensions.papers.predictions import PooledPredictions, estimate_changes, estimate_metrics
from napari_melanoma.imaging.modality import recognize_modality
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.metrics.class_metrics import ClassPredictions
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.runs.folds import RECIPE
from napari_melanoma.training.data_preparation import read_part_table
from napari_melanoma.training.data_selection import OTHER
from napari_melanoma.training.fold_table import list_folds
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe
from napari_melanoma.training.run_data import read_data

SETS = ("held", "inconclusive")
NAMES = {
    "AUC": "AUC",
    "AP": "AP",
    "SE90": "sensitivity",  # at the threshold that each fold chose for the sensitivity of the recipe
    "SP90": "specificity",
    "ECE": "ECE",
    "COV": "held",
    "CT": "inconclusive",
}
BATCH = 16


def main() -> int:
    """Train, predict and pool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    folder = parser.parse_args().folds
    recipe, runs = read_toml(folder / RECIPE, TrainRecipe), list_folds(folder)
    if recipe.classification is None or len(recipe.data.datasets) != 1:
        parser.error(f"{folder} is not the cross-validation of a classifier on one data set")
    dataset = Path(recipe.data.datasets[0]).expanduser()
    table = {one.image_id: one for one in iter_entries(dataset) if isinstance(one, DatasetEntry)}
    with allow_folders([dataset]):  # whose files the tables of the runs name
        evaluated = [_read_test_set(run, table) for run in runs]
        rows = [
            {name: str(value) for name, value in row.items()}
            for run, chosen in zip(runs, evaluated, strict=True)
            for row in _predictions(chosen, Classifier.load(read_bundle(run.bundle)))
        ]
    entries = [entry for chosen in evaluated for entry, _ in chosen]
    dealt = [number for number, chosen in enumerate(evaluated, start=1) for _ in chosen]
    new = {image_id for run in runs for image_id in read_csv(run.evaluation / "per_image.csv", dtype=str)["image_id"]}
    figures = _figures(recipe.classification, entries, dealt, rows, new)
    groups = list(_groups(recipe.classification, entries, read_dataset(dataset), rows))
    for name, found in figures.items():
        _print(name, found)
    for group in groups:
        _print(
            f"{group.name} ({group.count} images, {group.positives} {recipe.classification.positive})", group.figures
        )
    plain = {name: {key: asdict(value) for key, value in found.items()} for name, found in figures.items()}
    write_json(folder / "figures.json", {**plain, "groups": [asdict(group) for group in groups]})
    return 0


def _read_test_set(run: RunFolder, table: Mapping[str, DatasetEntry]) -> list[tuple[DatasetEntry, str]]:
    """Read the images that a run was not trained on, with their classes."""
    rows = read_data(run.data)
    names, labels, _ = read_part_table(run.path, rows, ("test",))
    samples = [row.sample for row in rows if row.part == "test"]
    return [
        (replace(table[sample.image_id], image=sample.image, mask=sample.mask), names[label])
        for sample, label in zip(samples, labels, strict=True)
    ]


def _print(name: str, found: Mapping[str, Estimate]) -> None:
    """Print metrics in one line."""
    sys.stdout.write(f"{name}: " + "; ".join(f"{key} {value}" for key, value in found.items()) + "\n")


def _predictions(evaluated: Sequence[tuple[DatasetEntry, str]], model: Classifier) -> Iterable[dict[str, object]]:
    """Predict unseen images, with their clinical metadata and without."""
    config, classes = model.config, model.info.config.classes
    positive = classes.index(config.positive)
    empty: list[dict[str, str]] = [{}] * BATCH
    for first in range(0, len(evaluated), BATCH):
        part = evaluated[first : first + BATCH]
        views, recognized = [], []
        for entry, _ in part:
            assert entry.image is not None
            rgb = read_photograph(entry.image).rgb
            views.append(model.crop_image(rgb, read_mask(entry.mask) if entry.mask else None))
            recognized.append(recognize_modality(rgb))
        encoded = model.run_encoder(views)
        metadata = [entry.row for entry, _ in part], empty[: len(part)]
        probabilities = [model.calibration.probabilities(model.run_head(encoded, rows)) for rows in metadata]
        sets = model.calibration.prediction_sets(probabilities[0])
        for number, (entry, label) in enumerate(part):
            distance = model.calibration.distance(encoded[number].embedding, recognized[number]) or 0
            yield {
                "image_id": entry.image_id,
                "class": label,
                "both": probabilities[0][number, positive],
                "image": probabilities[1][number, positive],
                "held": int(sets[number, classes.index(label)]),
                "inconclusive": int(sets[number].sum() != 1),
                "threshold": config.operating_point.threshold if config.operating_point else 0.5,
                "out_of_distribution": int(distance > (config.novelty_threshold or np.inf)),
            }


def _figures(
    config: ClassificationConfig,
    entries: Sequence[DatasetEntry],
    dealt: Sequence[int],
    rows: Sequence[dict[str, str]],
    new: Collection[str],
) -> dict[str, dict[str, Estimate]]:
    """Pool the predictions of all folds: metrics with intervals. ``new``: images that the start had not seen."""
    of = {entry.image_id: (entry.row, fold) for entry, fold in zip(entries, dealt, strict=True)}
    table, where = zip(*(of[row["image_id"]] for row in rows), strict=True)
    groups = [get_group_id(row) for row in table]
    image, both = (_pooled(config, rows, name) for name in ("image", "both"))
    found = {name: _named(estimate_metrics(one, groups)) for name, one in (("both", both), ("image", image))}
    found["sets"] = {name: found["both"].pop(name) for name in SETS}
    part = [row for row in rows if row["image_id"] in new]
    if 0 < len(part) < len(rows):
        owners_of_part = [get_group_id(of[row["image_id"]][0]) for row in part]
        found["new"] = _named(estimate_metrics(_pooled(config, part, "both"), owners_of_part))
        found["new"] = {name: estimate for name, estimate in found["new"].items() if name not in SETS}
    if config.tabular is not None:
        form = cross_validate_trees(table, config.tabular, where, both.truth.astype(np.intp), target=config.target)
        unknown = np.full(len(rows), np.nan)
        alone = PooledPredictions(both.truth, form[:, 1], form[:, 1], unknown, unknown, unknown)
        found["form"] = _named(estimate_metrics(alone, groups))
    found["both less image"] = _named(estimate_changes(image, both, groups))
    owners = np.asarray(groups)
    held = both.covered[both.truth]
    found["sets"]["held of the positive"] = bootstrap_mean(held, owners[both.truth].tolist(), bounds=(0, 1))
    novel = np.array([float(row["out_of_distribution"]) for row in rows])
    found["sets"]["out_of_distribution"] = bootstrap_mean(novel, groups, bounds=(0, 1))
    return found


def _pooled(config: ClassificationConfig, rows: Sequence[dict[str, str]], name: str) -> PooledPredictions:
    """Predictions of all folds; prediction sets were computed with all metadata only."""
    numbers = {key: np.array([float(row[key]) for row in rows]) for key in (name, "threshold", *SETS)}
    truth = np.array([row["class"] == config.positive for row in rows])
    above = (numbers[name] >= numbers["threshold"]).astype(float)
    sets = [numbers[key] if name == "both" else np.full(len(rows), np.nan) for key in SETS]
    return PooledPredictions(truth, numbers[name], numbers[name], above, *sets)


def _named(estimated: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Name the metrics as in the model card, without those that it does not show."""
    return {name: estimated[key] for key, name in NAMES.items() if key in estimated}


def _pooled_predictions(
    config: ClassificationConfig, entries: Sequence[DatasetEntry], rows: Sequence[dict[str, str]], name: str
) -> tuple[ClassPredictions, ClassPredictions]:
    """Probabilities of the positive class, and comparisons with the threshold of each fold."""
    of = {entry.image_id: entry.row for entry in entries}
    labels = np.array([row["class"] == config.positive for row in rows], np.intp)
    groups = np.array([get_group_id(of[row["image_id"]]) for row in rows])
    scores = np.array([float(row[name]) for row in rows])
    above = (scores >= np.array([float(row["threshold"]) for row in rows])).astype(float)
    classes, everywhere = (OTHER, config.positive), np.full(len(rows), "all")
    scored, above_threshold = (
        ClassPredictions(np.stack([1 - one, one], axis=1), labels, groups, classes, config.positive, domains=everywhere)
        for one in (scores, above)
    )
    return scored, above_threshold


def _groups(
    config: ClassificationConfig,
    entries: Sequence[DatasetEntry],
    samples: Sequence[Sample],
    rows: Sequence[dict[str, str]],
) -> Iterator[CardSubgroup]:
    """Results for subgroups of images, with photograph and metadata."""
    of = {sample.image_id: replace(sample, domain="all") for sample in samples}
    samples = [of[row["image_id"]] for row in rows]
    table = {("all", entry.image_id): entry.row for entry in entries}
    scored, above = (
        list(class_subgroups(each, samples, table)) for each in _pooled_predictions(config, entries, rows, "both")
    )
    for one, other in zip(scored, above, strict=True):
        figures = {**_of(one.metrics, ("AUC",)), **_of(other.metrics, ("sensitivity", "specificity"))}
        yield CardSubgroup(f"{one.by}: {one.value}", one.count, one.positives, figures)


def _of(estimates: dict[str, Estimate], names: Iterable[str]) -> dict[str, Estimate]:
    """Select some of the metrics, in this order."""
    return {name: estimates[name] for name in names if name in estimates}


if __name__ == "__main__":
    sys.exit(main())
