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
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from napari_melanoma.analysis.statistics import bootstrap_mean
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Entry, each_entry, owner_of
from napari_melanoma.data.splits import folds
from napari_melanoma.inference.classification import Classifier
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, read_table, write_table
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.evaluation_classes import Told, class_differences, class_estimates
from napari_melanoma.workflows.tabular_baseline import cross_validated
from napari_melanoma.workflows.train import train

FORMS = ("both", "image")
log = logging.getLogger(__name__)
SHOWN = ("AUC", "AP", "sensitivity", "specificity", "balanced_accuracy", "ECE", "Brier")
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
    entries = [one for one in each_entry(arguments.dataset) if isinstance(one, Entry) and one.image]
    labels = [one.row[recipe.classification.target] for one in entries]
    dealt = [fold + 1 for fold in folds([owner_of(one.row) for one in entries], labels, arguments.folds, recipe.seed)]
    for fold in range(1, arguments.folds + 1):
        place = arguments.out / f"fold-{fold}"
        if not (place / "answers.csv").exists():
            data = place / arguments.dataset.name
            _write(entries, [one == fold for one in dealt], data)
            _learn(recipe, data, place / "run")
            asked = [entry for entry, one in zip(entries, dealt, strict=True) if one == fold]
            write_table(
                place / "answers.csv", list(_answers(asked, Classifier.load(read_bundle(place / "run/bundle"))))
            )
    rows = [
        row for fold in range(1, arguments.folds + 1) for row in read_table(arguments.out / f"fold-{fold}/answers.csv")
    ]
    _report(recipe, entries, dealt, rows)
    return 0


def _write(entries: Sequence[Entry], judged: Sequence[bool], folder: Path) -> None:
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
    named = recipe.data.model_copy(update={"datasets": (str(data.resolve()),), "held_out_split": "test"})
    train(
        recipe.model_copy(update={"data": named}),
        out,
        resume=(out / "config.toml").exists(),
        run=RunContext(lambda progress: log.info("%s: %s", out.parent.name, progress.message)),
        judge=False,
    )


def _answers(entries: Sequence[Entry], model: Classifier) -> Iterable[dict[str, object]]:
    """Ask about images that the network never saw, with their form and with an empty one."""
    config = model.config
    empty: list[dict[str, str]] = [{}] * BATCH
    place = model.info.config.classes.index(config.positive)
    for first in range(0, len(entries), BATCH):
        part = entries[first : first + BATCH]
        views = []
        for entry in part:
            assert entry.image is not None
            views.append(model.view(read_photograph(entry.image).rgb, read_mask(entry.mask) if entry.mask else None))
        looked = model.look(views)
        forms = [entry.row for entry in part], empty[: len(part)]
        said = [model.judge.probabilities(model.decide(looked, rows)) for rows in forms]
        sets = model.judge.possible(said[0])
        for number, entry in enumerate(part):
            yield {
                "image_id": entry.image_id,
                "both": said[0][number, place],
                "image": said[1][number, place],
                "set": "".join(str(int(there)) for there in sets[number]),
                "cut": config.operating_point.cut if config.operating_point else 0.5,
                "unlike": int((model.judge.distance(looked[number].embedding) or 0) > (config.unlike or np.inf)),
                "place": place,
            }


def _report(
    recipe: TrainRecipe, entries: Sequence[Entry], dealt: Sequence[int], rows: Sequence[dict[str, str]]
) -> None:
    """Print the pooled figures."""
    asked = recipe.classification
    assert asked is not None
    of = {entry.image_id: entry for entry in entries}
    fold_of = {entry.image_id: fold for entry, fold in zip(entries, dealt, strict=True)}
    truth = np.array([of[row["image_id"]].row[asked.target] in ("1", asked.positive) for row in rows]).astype(int)
    groups = np.array([owner_of(of[row["image_id"]].row) for row in rows])
    cuts = np.array([float(row["cut"]) for row in rows])

    def told(scores: np.ndarray, *, cut: bool) -> Told:
        # One cut for all: each fold's own is moved to one half, which changes no order within a fold.
        moved = np.where(scores >= cuts, 1.0, 0.0) if cut else scores
        return Told(np.stack([1 - moved, moved], axis=1), truth, groups, ("other", asked.positive), asked.positive)

    scores = {name: np.array([float(row[name]) for row in rows]) for name in FORMS}
    if asked.tabular is not None:
        ordered = [of[row["image_id"]].row for row in rows]
        where = [fold_of[row["image_id"]] for row in rows]
        scores["form"] = cross_validated(ordered, asked.tabular, where, truth.astype(np.intp), target=asked.target)[
            :, 1
        ]
    for name, found in scores.items():
        sides = class_estimates(told(found, cut=True)) if name in FORMS else {}
        whole = class_estimates(told(found, cut=False))
        named = {key: sides.get(key) if key in SHOWN[2:5] else whole[key] for key in SHOWN}
        sys.stdout.write(f"{name}: " + "; ".join(f"{key} {value}" for key, value in named.items() if value) + "\n")
    gain = class_differences(told(scores["image"], cut=False), told(scores["both"], cut=False))["AUC"]
    sys.stdout.write(f"AUC, both less image: {gain}\n")
    held = np.array(
        [
            row["set"][truth[number] if int(row["place"]) else 1 - truth[number]] == "1"
            for number, row in enumerate(rows)
        ]
    )
    several = np.array([row["set"].count("1") != 1 for row in rows])
    for name, shares in (("coverage", held), ("of melanomas", held[truth == 1]), ("cannot tell", several)):
        chosen = groups[truth == 1] if len(shares) < len(groups) else groups
        sys.stdout.write(f"{name}: {bootstrap_mean(shares.astype(float), chosen.tolist(), bounds=(0, 1))}\n")
    sys.stdout.write(f"unlike: {np.mean([row['unlike'] == '1' for row in rows]):.3f} of {len(rows)} images\n")


if __name__ == "__main__":
    sys.exit(main())
