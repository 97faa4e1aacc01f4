"""Make a shipped bundle from a recipe: train it, evaluate it, and write its weights, graphs and model card.

    python scripts/release.py recipes/lesion-small.toml --test "PH2=data/ph2" "PAD-UFES-20=data/pad_ufes:val"
    python scripts/release.py recipes/melanoma-small.toml --folds 5 --test "PH2, another clinic=data/ph2"
    python scripts/release.py --graphs lesion-small

Run it in the folder that the recipe names its data sets from. Runs, evaluations and the bundle are written to
``release/NAME``; an interrupted call continues, and finished parts are not repeated. ``--test`` names data sets, and
optionally a split, with images that the model was not trained on. A classifier that is trained on all images is
cross-validated with ``--folds``: the card has the pooled figures of all folds, and predictions state the sensitivity at
the patient's age. The sections of the card that are written by hand (all but Performance and Training) are those of the
shipped card of the same name, or of ``--card``. ``--graphs`` only writes the graphs of shipped bundles, after a change
of their weights or of ``models/network_functions.py``; the same versions of torch and onnxscript write the same bytes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import (
    FILE_NAME,
    PUBLIC,
    hash_images,
    make_training_images,
    training_images_statement,
)
from napari_melanoma.evaluation.any_task import evaluate_model
from napari_melanoma.evaluation.classes import AGES
from napari_melanoma.evaluation.model_card import CardSubgroup, age_groups, card_header, training_section
from napari_melanoma.metrics.class_metrics import ClassPredictions, class_estimates
from napari_melanoma.metrics.metric_table import OVERLAP_METRICS
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import CARD, BundleInfo, load_network, read_bundle, read_reference, write_bundle
from napari_melanoma.models.graphs import write_graphs
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER
from napari_melanoma.runs.folds import train_folds
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import inherited_training_images, list_folds, read_data

MASK_METRICS = {name: metric.label for name, metric in OVERLAP_METRICS.items()}
CLASS_METRICS = {name: name for name in ("AUC", "AP", "sensitivity", "specificity", "ECE")}
PERFORMANCE = """## Performance

On images that were used neither for training nor to choose the epoch and threshold. In brackets 95 % intervals
(percentile bootstrap over patients or lesions).
"""
FOLDS = "cross-validation, {} folds"
MEASURED = ("Performance", "Training")  # sections that this script writes


def main() -> int:
    """Train, evaluate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="NAME=DATASET", help="NAME=DATASET or NAME=DATASET:SPLIT"
    )
    parser.add_argument("--folds", type=int, default=0, help="cross-validate a classifier with so many folds")
    parser.add_argument("--card", type=Path, help="a card with the sections that are written by hand")
    parser.add_argument(
        "--graphs", nargs="+", default=[], metavar="NAME", help="only write the graphs of shipped bundles"
    )
    options = parser.parse_args()
    for name in options.graphs:
        _write_graphs(read_bundle(SHIPPED_FOLDER / name))
    if options.graphs:
        return 0
    if options.recipe is None:
        parser.error("name a recipe")
    recipe = read_toml(options.recipe, TrainRecipe)
    folder = Path("release") / recipe.name
    bundle = _train(recipe, RunFolder(folder / "run"))
    metrics = {
        name: _evaluate(bundle, data, folder / "evaluation" / str(number))
        for number, (name, data) in enumerate(test.split("=", 1) for test in options.test)
    }
    config = bundle.config
    if options.folds:
        resume = (folder / "folds").exists()
        train_folds(recipe, options.folds, folder / "folds", resume=resume, run=RunContext(_report))
        pooled = pool_folds([run.evaluation for run in list_folds(folder / "folds")])
        metrics[FOLDS.format(options.folds)] = estimate(pooled)
        assert config.classifier is not None
        ages = age_groups(estimate_ages(pooled, _read_ages(recipe)))
        config = config.model_copy(update={"classifier": config.classifier.model_copy(update={"ages": ages})})
    listed = _list_images(recipe, RunFolder(folder / "run"), folder / FILE_NAME)
    provenance = {key: value for key, value in config.provenance.items() if key != "parent"}  # users do not have it
    config = config.model_copy(update={"provenance": provenance | training_images_statement(listed)})
    shipped = SHIPPED_FOLDER / recipe.name / CARD
    written = (options.card or shipped).read_text(encoding="utf-8") if options.card or shipped.is_file() else ""
    released = write_bundle(
        folder / "bundle",
        config,
        load_network(bundle),
        "\n".join([card_header(config), _performance(metrics), training_section(config), *list_sections(written)]),
        reference=read_reference(bundle),
        extra_files=[listed],
    )
    _write_graphs(released)
    sys.stdout.write(f"{released.path}: read its card, then copy it to {SHIPPED_FOLDER}\n")
    return 0


def _train(recipe: TrainRecipe, run: RunFolder) -> BundleInfo:
    if not run.bundle.is_dir():
        train(recipe, run.path, resume=run.config.exists(), run=RunContext(_report))
    return read_bundle(run.bundle)


def _list_images(recipe: TrainRecipe, run: RunFolder, file: Path) -> Path:
    """List the images of a run and of the model that it started from, as hashes with a public key."""
    samples = [row.sample for row in read_data(run.data) if row.part in ("train", "validation")]
    listed = make_training_images(hash_images(samples, RunContext(_report)), key=PUBLIC)
    if recipe.model.start not in ("none", "imagenet"):
        listed |= inherited_training_images(recipe.model.start)
    listed.write(file)
    return file


def _evaluate(bundle: BundleInfo, data: str, out: Path) -> dict[str, Estimate]:
    """Evaluate a model on a data set, written ``FOLDER`` or ``FOLDER:SPLIT``."""
    folder, _, split = data.partition(":")
    if not (out / "metrics.json").is_file():
        options: dict[str, Any] = {"split": split} if split else {}
        evaluate_model(bundle, [Path(folder)], out, options, source="--test", run=RunContext(_report))
    found = read_json(out / "metrics.json")["metrics"]["all"]
    return {name: Estimate(**_without_null(values)) for name, values in found.items()}


def _without_null(values: Mapping[str, float | None]) -> dict[str, Any]:
    """Return stored estimates; those of a single patient have no interval, which JSON has as null."""
    return {name: np.nan if value is None else value for name, value in values.items()}


def pool_folds(evaluations: Sequence[Path]) -> pd.DataFrame:
    """Return a row for each image of a cross-validation, predicted by the network that was not trained on it.

    Columns: ``image_id``, ``group``, ``positive``, ``probability``, and ``above`` (the threshold of its fold).
    """
    tables = []
    for folder in evaluations:
        about, table = (
            read_json(folder / "metrics.json"),
            pd.read_csv(folder / "per_image.csv", dtype={"image_id": str}),
        )
        table = table[table["status"] == "done"]
        probability = table[f"probability_{about['positive']}"]
        tables.append(
            pd.DataFrame(
                {
                    "image_id": table["image_id"],
                    "group": table["group"].astype(str),
                    "positive": table["label"] == about["positive"],
                    "probability": probability,
                    "above": probability >= about["threshold"],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def estimate(pooled: pd.DataFrame) -> dict[str, Estimate]:
    """Estimate the metrics of ``CLASS_METRICS`` from pooled predictions; each fold has its own threshold."""
    found = {column: class_estimates(_predictions(pooled, column)) for column in ("probability", "above")}
    by_threshold = {name: found["above"][name] for name in ("sensitivity", "specificity") if name in found["above"]}
    return {name: one for name, one in found["probability"].items() if name in CLASS_METRICS} | by_threshold


def _predictions(pooled: pd.DataFrame, column: str) -> ClassPredictions:
    scores = pooled[column].to_numpy(np.float64)
    return ClassPredictions(
        np.stack([1 - scores, scores], axis=1),
        pooled["positive"].to_numpy(np.intp),
        pooled["group"].to_numpy(np.str_),
        ("other", "positive"),
        "positive",
    )


def estimate_ages(pooled: pd.DataFrame, ages: Mapping[str, float]) -> list[CardSubgroup]:
    """Estimate sensitivity and specificity in each age group with both classes; ``ages``: by image."""
    years, groups, youngest = pooled["image_id"].map(ages), [], 0.0
    for limit, name in AGES:
        part = pooled[(years >= youngest) & (years < limit)]
        if part["positive"].nunique() == 2:
            groups.append(CardSubgroup(f"age: {name}", len(part), int(part["positive"].sum()), estimate(part)))
        youngest = limit
    return groups


def _read_ages(recipe: TrainRecipe) -> dict[str, float]:
    tables = [pd.read_csv(Path(name) / "dataset.csv", dtype={"image_id": str}) for name in recipe.data.datasets]
    table = pd.concat(tables)
    return dict(zip(table["image_id"], pd.to_numeric(table["age"], errors="coerce"), strict=True))


def _performance(metrics: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Return the section with a table of the estimates; ``metrics``: by the name of the images."""
    shown = MASK_METRICS if any("DI" in one for one in metrics.values()) else CLASS_METRICS
    lines = [PERFORMANCE, f"| images | n | {' | '.join(shown.values())} |", "|---|---" + "|---" * len(shown) + "|"]
    for name, found in metrics.items():
        cells = [str(found[metric]) if metric in found else "" for metric in shown]
        lines.append(f"| {name} | {max(one.count for one in found.values())} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def list_sections(card: str) -> list[str]:
    """Return the sections of a card that are not measured."""
    sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)[1:]
    return [f"{one.rstrip()}\n" for one in sections if one[3:].splitlines()[0].strip() not in MEASURED]


def _write_graphs(bundle: BundleInfo) -> None:
    write_graphs(bundle, load_network(bundle), run=RunContext(_report))


def _report(step: Progress) -> None:
    sys.stderr.write(f"{step.message} {step.done} of {step.total}\n")


if __name__ == "__main__":
    sys.exit(main())
