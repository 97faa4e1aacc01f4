"""Cross-validate the recipe of a classifier: one network per fold, evaluated on unseen images.

    python scripts/cross_validate.py recipe.toml DATASET --out OUT [--folds 5]

Patients and lesions stay in one fold. Finished folds are kept, and interrupted ones are resumed. Prints the pooled
results of all folds with all clinical metadata, without any, and of boosted trees on the metadata alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from release_cards import CardSubgroup

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.paths import allow_folders
from napari_melanoma.data.dataset import DatasetEntry, Sample, get_group_id, iter_entries, read_dataset
from napari_melanoma.data.splits import assign_folds
from napari_melanoma.evaluation.classes import class_subgroups
from napari_melanoma.evaluation.metadata_trees import cross_validate_trees
from napari_melanoma.extensions.papers.predictions import PooledPredictions, estimate_changes, estimate_metrics
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, read_table, write_table
from napari_melanoma.metrics.class_metrics import ClassPredictions
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.runs.train import train
from napari_melanoma.training.data_selection import OTHER
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe

log = logging.getLogger(__name__)
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
    parser.add_argument("recipe", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    recipe = read_toml(arguments.recipe, TrainRecipe)
    assert recipe.classification is not None
    entries = [one for one in iter_entries(arguments.dataset) if isinstance(one, DatasetEntry) and one.image]
    labels = [_class(one.row[recipe.classification.target], recipe.classification.positive) for one in entries]
    dealt = [
        fold + 1
        for fold in assign_folds([get_group_id(one.row) for one in entries], labels, arguments.folds, recipe.seed)
    ]
    with allow_folders([arguments.dataset]):  # whose files the table of a fold names
        for fold in range(1, arguments.folds + 1):
            _finish_fold(recipe, entries, labels, [one == fold for one in dealt], arguments.out / f"fold-{fold}", fold)
    tables = [arguments.out / f"fold-{fold}" / "answers.csv" for fold in range(1, arguments.folds + 1)]
    rows = [row for table in tables for row in read_table(table)]
    figures = _figures(recipe.classification, entries, dealt, rows)
    groups = list(_groups(recipe.classification, entries, read_dataset(arguments.dataset), rows))
    for name, found in figures.items():
        _print(name, found)
    for group in groups:
        _print(
            f"{group.name} ({group.count} images, {group.positives} {recipe.classification.positive})", group.figures
        )
    plain = {name: {key: asdict(value) for key, value in found.items()} for name, found in figures.items()}
    write_json(arguments.out / "figures.json", {**plain, "groups": [asdict(group) for group in groups]})
    return 0


def _finish_fold(
    recipe: TrainRecipe,
    entries: Sequence[DatasetEntry],
    labels: Sequence[str],
    evaluated: Sequence[bool],
    folder: Path,
    fold: int,
) -> None:
    """Train on the other folds and predict this one, unless its predictions exist."""
    if (folder / "answers.csv").exists():
        return
    data = folder / "data"
    _write(entries, evaluated, data)
    # A separate seed: otherwise all folds would be calibrated with nearly the same images.
    _train_fold(recipe.model_copy(update={"seed": recipe.seed + fold}), data, folder / "run")
    chosen = [(entry, label) for entry, label, one in zip(entries, labels, evaluated, strict=True) if one]
    model = Classifier.load(read_bundle(folder / "run" / "bundle"))
    write_table(folder / "answers.csv", list(_predictions(chosen, model)))


def _print(name: str, found: Mapping[str, Estimate]) -> None:
    """Print metrics in one line."""
    sys.stdout.write(f"{name}: " + "; ".join(f"{key} {value}" for key, value in found.items()) + "\n")


def _class(cell: str, positive: str) -> str:
    """Return the class of a row, whose cell contains 1, 0 or the name."""
    return {"1": positive, "0": OTHER}.get(cell, cell)


def _write(entries: Sequence[DatasetEntry], evaluated: Sequence[bool], folder: Path) -> None:
    """Write the table of a fold, which refers to the original files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            **{name: cell for name, cell in entry.row.items() if name not in ("split", "fold")},
            "path": os.path.relpath(entry.image, folder) if entry.image else "",
            "mask_path": os.path.relpath(entry.mask, folder) if entry.mask else "",
            "split": "test" if one else "train",
        }
        for entry, one in zip(entries, evaluated, strict=True)
    ]
    write_table(folder / "dataset.csv", rows)


def _train_fold(recipe: TrainRecipe, data: Path, out: Path) -> None:
    # The test fold is never part of the training data, whatever the recipe selects.
    values = {"datasets": (str(data.resolve()),), "split": "train", "test_split": "test"}
    named = recipe.data.model_copy(update=values)
    train(
        recipe.model_copy(update={"data": named}),
        out,
        resume=(out / "config.toml").exists(),
        run=RunContext(lambda progress: log.info("%s: %s", out.parent.name, progress.message)),
        evaluate=False,
    )


def _predictions(evaluated: Sequence[tuple[DatasetEntry, str]], model: Classifier) -> Iterable[dict[str, object]]:
    """Predict unseen images, with their clinical metadata and without."""
    config, classes = model.config, model.info.config.classes
    positive = classes.index(config.positive)
    empty: list[dict[str, str]] = [{}] * BATCH
    for first in range(0, len(evaluated), BATCH):
        part = evaluated[first : first + BATCH]
        views = []
        for entry, _ in part:
            assert entry.image is not None
            views.append(
                model.crop_image(read_photograph(entry.image).rgb, read_mask(entry.mask) if entry.mask else None)
            )
        encoded = model.run_encoder(views)
        metadata = [entry.row for entry, _ in part], empty[: len(part)]
        probabilities = [model.calibration.probabilities(model.run_head(encoded, rows)) for rows in metadata]
        sets = model.calibration.prediction_sets(probabilities[0])
        for number, (entry, label) in enumerate(part):
            yield {
                "image_id": entry.image_id,
                "class": label,
                "both": probabilities[0][number, positive],
                "image": probabilities[1][number, positive],
                "held": int(sets[number, classes.index(label)]),
                "inconclusive": int(sets[number].sum() != 1),
                "threshold": config.operating_point.threshold if config.operating_point else 0.5,
                "out_of_distribution": int(
                    (model.calibration.distance(encoded[number].embedding) or 0) > (config.novelty_threshold or np.inf)
                ),
            }


def _figures(
    config: ClassificationConfig, entries: Sequence[DatasetEntry], dealt: Sequence[int], rows: Sequence[dict[str, str]]
) -> dict[str, dict[str, Estimate]]:
    """Pool the predictions of all folds: metrics with intervals."""
    of = {entry.image_id: (entry.row, fold) for entry, fold in zip(entries, dealt, strict=True)}
    table, where = zip(*(of[row["image_id"]] for row in rows), strict=True)
    groups = [get_group_id(row) for row in table]
    image, both = (_pooled(config, rows, name) for name in ("image", "both"))
    found = {name: _named(estimate_metrics(one, groups)) for name, one in (("both", both), ("image", image))}
    found["sets"] = {name: found["both"].pop(name) for name in SETS}
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
