"""Cross-validate the recipe of a classifier: a network for each fold, judged on what it never saw.

    python scripts/cross_validate.py recipe.toml DATASET --out OUT [--folds 5]

Patients and lesions stay in one fold. A fold that is done is not done again, and one that was stopped goes on. Prints
the answers of all folds pooled, with the whole form, with an empty one, and of boosted trees over the form alone.
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

from napari_melanoma.classification.predictor import Classifier
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.data.dataset import DatasetEntry, Sample, get_group_id, iter_entries, read_dataset
from napari_melanoma.data.splits import assign_folds
from napari_melanoma.evaluation.class_metrics import ClassPredictions
from napari_melanoma.evaluation.evaluate_classes import class_subgroups
from napari_melanoma.evaluation.model_card import CardSubgroup
from napari_melanoma.evaluation.tabular_baseline import cross_validate_trees
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, read_table, write_table
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.reproduction.predictions import PooledPredictions, estimate_changes, estimate_metrics
from napari_melanoma.runs.train import train
from napari_melanoma.training.data_selection import OTHER
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe

log = logging.getLogger(__name__)
SETS = ("held", "cannot_tell")
NAMES = {
    "AUC": "AUC",
    "AP": "AP",
    "SE90": "sensitivity",  # at the cut that each fold chose for the sensitivity that the recipe asks for
    "SP90": "specificity",
    "ECE": "ECE",
    "COV": "held",
    "CT": "cannot_tell",
}
BATCH = 16


def main() -> int:
    """Train, judge and pool."""
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
    for fold in range(1, arguments.folds + 1):
        place = arguments.out / f"fold-{fold}"
        if not (place / "answers.csv").exists():
            data = place / arguments.dataset.name
            _write(entries, [one == fold for one in dealt], data)
            # A seed of its own: else all folds would be calibrated by nearly the same images, and share their luck.
            _learn(recipe.model_copy(update={"seed": recipe.seed + fold}), data, place / "run")
            asked = [(entry, label) for entry, label, one in zip(entries, labels, dealt, strict=True) if one == fold]
            model = Classifier.load(read_bundle(place / "run" / "bundle"))
            write_table(place / "answers.csv", list(_answers(asked, model)))
    answered = [arguments.out / f"fold-{fold}" / "answers.csv" for fold in range(1, arguments.folds + 1)]
    rows = [row for table in answered for row in read_table(table)]
    figures = _figures(recipe.classification, entries, dealt, rows)
    groups = list(_groups(recipe.classification, entries, read_dataset(arguments.dataset), rows))
    for name, found in figures.items():
        _tell(name, found)
    for group in groups:
        _tell(f"{group.name} ({group.count} images, {group.positives} {recipe.classification.positive})", group.figures)
    plain = {name: {key: asdict(value) for key, value in found.items()} for name, found in figures.items()}
    write_json(arguments.out / "figures.json", {**plain, "groups": [asdict(group) for group in groups]})
    return 0


def _tell(name: str, found: Mapping[str, Estimate]) -> None:
    """Print figures in a line."""
    sys.stdout.write(f"{name}: " + "; ".join(f"{key} {value}" for key, value in found.items()) + "\n")


def _class(cell: str, positive: str) -> str:
    """Name the class of a row, whose cell holds 1 or 0 or the name itself."""
    return {"1": positive, "0": OTHER}.get(cell, cell)


def _write(entries: Sequence[DatasetEntry], judged: Sequence[bool], folder: Path) -> None:
    """Write the table of a fold, over the files where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            **{name: cell for name, cell in entry.row.items() if name not in ("split", "fold")},
            "path": os.path.relpath(entry.image, folder) if entry.image else "",
            "mask_path": os.path.relpath(entry.mask, folder) if entry.mask else "",
            "split": "test" if one else "train",
        }
        for entry, one in zip(entries, judged, strict=True)
    ]
    write_table(folder / "dataset.csv", rows)


def _learn(recipe: TrainRecipe, data: Path, out: Path) -> None:
    """Train the network of a fold."""
    # Whatever the recipe learns from elsewhere, a fold that is judged is not among it.
    values = {"datasets": (str(data.resolve()),), "split": "train", "held_out_split": "test"}
    named = recipe.data.model_copy(update=values)
    train(
        recipe.model_copy(update={"data": named}),
        out,
        resume=(out / "config.toml").exists(),
        run=RunContext(lambda progress: log.info("%s: %s", out.parent.name, progress.message)),
        evaluate=False,
    )


def _answers(asked: Sequence[tuple[DatasetEntry, str]], model: Classifier) -> Iterable[dict[str, object]]:
    """Ask about images that the network never saw, with their form and with an empty one."""
    config, classes = model.config, model.info.config.classes
    place = classes.index(config.positive)
    empty: list[dict[str, str]] = [{}] * BATCH
    for first in range(0, len(asked), BATCH):
        part = asked[first : first + BATCH]
        views = []
        for entry, _ in part:
            assert entry.image is not None
            views.append(model.view(read_photograph(entry.image).rgb, read_mask(entry.mask) if entry.mask else None))
        looked = model.run_encoder(views)
        forms = [entry.row for entry, _ in part], empty[: len(part)]
        said = [model.calibration.probabilities(model.run_head(looked, rows)) for rows in forms]
        sets = model.calibration.prediction_sets(said[0])
        for number, (entry, label) in enumerate(part):
            yield {
                "image_id": entry.image_id,
                "class": label,
                "both": said[0][number, place],
                "image": said[1][number, place],
                "held": int(sets[number, classes.index(label)]),
                "cannot_tell": int(sets[number].sum() != 1),
                "cut": config.operating_point.cut if config.operating_point else 0.5,
                "unlike": int((model.calibration.distance(looked[number].embedding) or 0) > (config.unlike or np.inf)),
            }


def _figures(
    asked: ClassificationConfig, entries: Sequence[DatasetEntry], dealt: Sequence[int], rows: Sequence[dict[str, str]]
) -> dict[str, dict[str, Estimate]]:
    """Pool the answers: whose they are, to figures with intervals."""
    of = {entry.image_id: (entry.row, fold) for entry, fold in zip(entries, dealt, strict=True)}
    table, where = zip(*(of[row["image_id"]] for row in rows), strict=True)
    groups = [get_group_id(row) for row in table]
    image, both = (_pooled(asked, rows, name) for name in ("image", "both"))
    found = {name: _named(estimate_metrics(one, groups)) for name, one in (("both", both), ("image", image))}
    found["sets"] = {name: found["both"].pop(name) for name in SETS}
    if asked.tabular is not None:
        form = cross_validate_trees(table, asked.tabular, where, both.truth.astype(np.intp), target=asked.target)
        unknown = np.full(len(rows), np.nan)
        alone = PooledPredictions(both.truth, form[:, 1], unknown, unknown, unknown)
        found["form"] = _named(estimate_metrics(alone, groups))
    found["both less image"] = _named(estimate_changes(image, both, groups))
    owners = np.asarray(groups)
    held = both.covered[both.truth]
    found["sets"]["held of the positive"] = bootstrap_mean(held, owners[both.truth].tolist(), bounds=(0, 1))
    unlike = np.array([float(row["unlike"]) for row in rows])
    found["sets"]["unlike"] = bootstrap_mean(unlike, groups, bounds=(0, 1))
    return found


def _pooled(asked: ClassificationConfig, rows: Sequence[dict[str, str]], name: str) -> PooledPredictions:
    """What all folds answered with a form; sets of classes were made with the whole form alone."""
    numbers = {key: np.array([float(row[key]) for row in rows]) for key in (name, "cut", *SETS)}
    truth = np.array([row["class"] == asked.positive for row in rows])
    above = (numbers[name] >= numbers["cut"]).astype(float)
    sets = [numbers[key] if name == "both" else np.full(len(rows), np.nan) for key in SETS]
    return PooledPredictions(truth, numbers[name], above, *sets)


def _named(estimated: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Name the figures as the card does; without those that it does not show."""
    return {name: estimated[key] for key, name in NAMES.items() if key in estimated}


def _told(
    asked: ClassificationConfig, entries: Sequence[DatasetEntry], rows: Sequence[dict[str, str]], name: str
) -> tuple[ClassPredictions, ClassPredictions]:
    """What was said of the positive class, and on which side of the cut of its own fold that is."""
    of = {entry.image_id: entry.row for entry in entries}
    labels = np.array([row["class"] == asked.positive for row in rows], np.intp)
    groups = np.array([get_group_id(of[row["image_id"]]) for row in rows])
    scores = np.array([float(row[name]) for row in rows])
    said = (scores >= np.array([float(row["cut"]) for row in rows])).astype(float)
    classes, everywhere = (OTHER, asked.positive), np.full(len(rows), "all")
    scored, cut = (
        ClassPredictions(np.stack([1 - one, one], axis=1), labels, groups, classes, asked.positive, domains=everywhere)
        for one in (scores, said)
    )
    return scored, cut


def _groups(
    asked: ClassificationConfig,
    entries: Sequence[DatasetEntry],
    samples: Sequence[Sample],
    rows: Sequence[dict[str, str]],
) -> Iterator[CardSubgroup]:
    """How it does on groups of images, with photograph and form."""
    of = {sample.image_id: replace(sample, domain="all") for sample in samples}
    samples = [of[row["image_id"]] for row in rows]
    table = {("all", entry.image_id): entry.row for entry in entries}
    scored, cut = (list(class_subgroups(told, samples, table)) for told in _told(asked, entries, rows, "both"))
    for one, other in zip(scored, cut, strict=True):
        figures = {**_of(one.metrics, ("AUC",)), **_of(other.metrics, ("sensitivity", "specificity"))}
        yield CardSubgroup(f"{one.by}: {one.value}", one.count, one.positives, figures)


def _of(estimates: dict[str, Estimate], names: Iterable[str]) -> dict[str, Estimate]:
    """Take some of the figures, in that order."""
    return {name: estimates[name] for name in names if name in estimates}


if __name__ == "__main__":
    sys.exit(main())
