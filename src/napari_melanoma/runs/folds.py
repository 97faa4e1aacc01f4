"""Cross-validation: a run for each fold, their evaluation on the images held out, and their ensemble.

The folds are fixed before the first run, in ``folds.csv``. Images of a patient, of a lesion, and images that show the
same picture are in the same fold. Each image is in the test set of one run, in which neither it nor another image
of its patient is trained or validated on. Finished runs and evaluations are not repeated, so that the same command
continues after an interruption.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import SCALE_STEPS, Milestone, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.packages import require_training_packages
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.paths import expand_user, real_path
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import PROCESS_FILE, RunFolder, RunFolderContext, RunPartContext
from napari_melanoma.core.run_queue import wait_for_turn
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Key,
    Sample,
    iter_entries,
    read_datasets,
    require_outside_datasets,
    select_trainable,
)
from napari_melanoma.data.duplicates import find_duplicates, merge_groups
from napari_melanoma.data.splits import FOLD, TEST, assign_folds, get_diagnosis
from napari_melanoma.data.tabular_encoding import join_encodings
from napari_melanoma.data.training_images import FILE_NAME, TrainingImages, training_images_statement
from napari_melanoma.evaluation.any_task import evaluate_model
from napari_melanoma.evaluation.classes import read_predictions
from napari_melanoma.evaluation.comparison_results import read_estimates
from napari_melanoma.evaluation.model_card import draft_card
from napari_melanoma.evaluation.pipeline import (
    METRICS_FILE,
    Page,
    measured_rows,
    read_evaluation,
    write_evaluation_page,
)
from napari_melanoma.metrics.mask_metrics import find_metric
from napari_melanoma.metrics.metric_table import METRIC_TABLE, metric_label
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import (
    CONFIG,
    BundleInfo,
    ReferenceCases,
    load_network,
    number_groups,
    read_bundle,
    read_reference,
    write_bundle,
)
from napari_melanoma.models.graphs import add_graphs
from napari_melanoma.runs.acceptance import evaluate_alone
from napari_melanoma.runs.bundling import REVIEWED, fit_decisions
from napari_melanoma.runs.train import log_outcome, train
from napari_melanoma.training.data_selection import classifiable_samples, list_datasets, read_strata
from napari_melanoma.training.recipe import FoldConfig, TrainRecipe
from napari_melanoma.training.run_data import FOLDS, read_data, read_folds, write_folds

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.models.bundle import BundleConfig


RECIPE, SUMMARY, PAGE = "recipe.toml", "folds.json", "folds.html"
STEPS = SCALE_STEPS
NO_ENSEMBLE = "There is no ensemble of the folds: {reason}. Use the models of the folds."
INTERVAL = (
    "The mean over the folds has a 95 % interval for new training and test images, which accounts for training images "
    "that folds share (Nadeau and Bengio 2003, doi:10.1023/A:1024068626366). The intervals of a fold are over its "
    "patients or lesions."
)


@dataclass(frozen=True)
class FoldEstimate:
    """The mean of a metric over the folds, with its 95 % interval; ``folds``: its value in each fold."""

    mean: float
    low: float
    high: float
    folds: tuple[float, ...]


@dataclass(frozen=True)
class FoldsResult:
    """A finished cross-validation.

    ``metrics``: of the images held out, by name. ``ensemble``: None if the models cannot be combined, for the reason in
    ``notices``.
    """

    folder: Path
    runs: tuple[Path, ...]
    metrics: dict[str, FoldEstimate]
    ensemble: BundleInfo | None
    notices: tuple[str, ...] = ()


def train_folds(
    recipe: TrainRecipe, count: int, out: Path, *, resume: bool, run: RunContext, queue: bool = False
) -> FoldsResult:
    """Train and evaluate a model for each fold, and write their ensemble to ``out/bundle``.

    ``resume``: continue the cross-validation in the folder. ``queue``: wait until other runs in the queue have ended.
    """
    require_training_packages()
    _check_recipe(recipe, count)
    folder = RunFolder(out)
    _check_folder(recipe, folder, count, resume=resume)
    if not resume:
        require_outside_datasets(out, list_datasets(recipe))
    controlled = RunFolderContext(run, folder)
    if not (out / FOLDS).exists():  # before the folder is created, so that a failed start leaves none behind
        plan = plan_folds(recipe, count, controlled)
        out.mkdir(parents=True, exist_ok=True)
        write_toml(out / RECIPE, recipe)
        write_folds(out / FOLDS, plan)
    with folder.locked(), log_outcome(folder):
        folder.repair()
        ProcessStamp.create().write(out / PROCESS_FILE)
        folder.write_command("run")
        folder.append_event("started", resumed=resume, folds=count, **collect_provenance())
        with wait_for_turn(out, run=run) if queue else nullcontext():
            result = _run_folds(recipe, count, folder, controlled)
        best = {} if result.ensemble is None else {"bundle": result.ensemble.path.name}
        folder.append_final_event("finished", **best)
    return result


def _check_recipe(recipe: TrainRecipe, count: int) -> None:
    """Refuse recipes that cannot be cross-validated."""
    if recipe.bags is not None:
        raise RunError("models of whole slides cannot be trained in folds. Train them with train --config.")
    if (recipe.devices, recipe.nodes) != (1, 1):
        raise RunError("each fold is trained on one device. Set devices = 1 and nodes = 1.")
    if recipe.data.fold is not None:
        raise RunError("this is the recipe of one fold. Use recipe.toml of the cross-validation.")
    if not recipe.data.validation_fraction:
        raise RunError("folds need a validation set of their own. Set data.validation_fraction above 0.")
    if count < 2:
        raise RunError(f"a cross-validation needs two folds or more; found {count}.")


def _check_folder(recipe: TrainRecipe, folder: RunFolder, count: int, *, resume: bool) -> None:
    """Raise an error if the folder contains another run, or none to resume."""
    path, table = folder.path, folder.path / FOLDS
    if not resume:
        if table.exists() or folder.config.exists():
            raise RunError(f"{path} already contains a run. Name a new folder, or resume it with --resume.")
        return
    if not table.exists():
        raise RunError(f"{path} contains no cross-validation to resume: it has no {FOLDS}. Start one without --resume.")
    started_with = len({*read_folds(table).values()})
    if read_toml(path / RECIPE, TrainRecipe) != recipe or started_with != count:
        raise RunError(
            f"{path} was started with another recipe or number of folds. Resume it with its own recipe, "
            f"{path / RECIPE}, and --folds {started_with}."
        )


def plan_folds(recipe: TrainRecipe, count: int, run: RunContext) -> list[tuple[Sample, str, int]]:
    """Assign the images of a recipe to folds; returns image, group and fold, counted from 1.

    The folds in the tables of the data sets are used if all images have one. Test images of the tables, and other
    images of their patients, are in no fold.
    """
    usable, strata = _read_usable(recipe)
    duplicates = [] if recipe.tile is not None else find_duplicates(usable, run)
    groups = merge_groups(usable, duplicates)
    outside = {TEST, recipe.data.test_split}
    tested = {group for sample, group in zip(usable, groups, strict=True) if sample.split in outside}
    chosen = [(sample, group) for sample, group in zip(usable, groups, strict=True) if group not in tested]
    if not chosen:
        raise DataSetError(
            "the data sets have no usable image outside of the test set. Add masks, or correct the splits."
        )
    folds = _read_table_folds(recipe.data.datasets, chosen, count)
    if folds is None:
        classes = [strata.get(sample.key, "") if strata else get_diagnosis(sample) for sample, _ in chosen]
        assigned = assign_folds([group for _, group in chosen], classes, count, recipe.seed)
        folds = [number + 1 for number in assigned]
    return [(sample, group, fold) for (sample, group), fold in zip(chosen, folds, strict=True)]


def _read_usable(recipe: TrainRecipe) -> tuple[list[Sample], dict[Key, str]]:
    """Read the images that a recipe can use; of a classification with the class of each, by key."""
    samples = read_datasets([expand_user(name) for name in recipe.data.datasets])
    if recipe.classification is None:
        return select_trainable(samples), {}
    strata = read_strata(recipe.data.datasets, recipe.classification)
    return [sample for sample in classifiable_samples(samples, recipe.classification) if sample.key in strata], strata


def _read_table_folds(names: Sequence[str], chosen: Sequence[tuple[Sample, str]], count: int) -> list[int] | None:
    """Read the folds of the images from the tables of their data sets; None if an image has none."""
    cells: dict[Key, str] = {}
    for path in (expand_user(name) for name in names):
        entries = (entry for entry in iter_entries(path) if isinstance(entry, DatasetEntry))
        cells |= {(path.name, entry.row["image_id"]): entry.row.get(FOLD, "") for entry in entries}
    folds = [cells.get(sample.key, "") for sample, _ in chosen]
    if not all(folds):
        return None
    numbers = {str(number) for number in range(1, count + 1)}
    if {*folds} != numbers:
        raise DataSetError(
            f"the tables have the folds {format_names(sorted({*folds}))}, expected 1 to {count}. Pass that number of "
            "folds, or replace them: napari-melanoma data split DATASET --folds N --replace"
        )
    folds_of_group: dict[str, set[str]] = defaultdict(set)
    for (_, group), fold in zip(chosen, folds, strict=True):
        folds_of_group[group].add(fold)
    if leaks := sorted(group for group, found in folds_of_group.items() if len(found) > 1):
        raise DataSetError(
            f"{len(leaks)} patients, lesions or duplicate images are in several folds of the tables: "
            f"{format_names(leaks)}. Split again: napari-melanoma data split DATASET --folds N --replace"
        )
    return [int(fold) for fold in folds]


def fold_recipe(recipe: TrainRecipe, number: int, table: Path) -> TrainRecipe:
    values = recipe.model_dump(mode="json")
    values["name"] = f"{recipe.name}-fold-{number}"
    values["seed"] = recipe.seed + number  # otherwise all folds would be calibrated with nearly the same images
    values["data"]["fold"] = FoldConfig(number=number, table=str(real_path(table))).model_dump()
    return TrainRecipe.parse(values, f"the recipe of fold {number}")


def _run_folds(recipe: TrainRecipe, count: int, folder: RunFolder, run: RunFolderContext) -> FoldsResult:
    """Train and evaluate the folds that are not finished, and write summary, ensemble and page."""
    folders = [RunFolder(folder.path / f"fold-{number}") for number in range(1, count + 1)]
    for index, fold in enumerate(folders):
        title = f"Fold {index + 1} of {count}"
        folder.append_event("progress", message=title, done=index, total=count)
        part = RunPartContext(run, index, count, title, STEPS)
        _train_fold(fold_recipe(recipe, index + 1, folder.path / FOLDS), fold, part)
        run.check()
        if not _is_evaluated(fold):
            evaluate_alone(fold.path, run=part)
        run.report(Milestone(STEPS * (index + 1), STEPS * count, f"{title}: {_describe_fold(recipe, fold)}"))
    metrics = summarize_folds(folders)
    ensemble, notices = _make_ensemble(recipe, folder, folders, metrics, run)
    runs = tuple(fold.path for fold in folders)
    result = FoldsResult(folder.path, runs, metrics, ensemble, notices)
    for message in notices:
        folder.append_event("notice", message=message)
    _write_summary(result, folders)
    return result


def _train_fold(recipe: TrainRecipe, fold: RunFolder, run: RunContext) -> None:
    """Train the model of a fold, or continue its run."""
    if fold.config.exists() and not _is_of_folds(recipe, fold):
        raise RunError(f"{fold.path} does not match {FOLDS}. Move it away to train the fold again.")
    events = fold.read_events()
    if events and events[-1].get("kind") == "finished" and fold.bundle.exists():
        return
    train(recipe, fold.path, resume=fold.config.exists(), run=run, check_place=False)


def _is_of_folds(recipe: TrainRecipe, fold: RunFolder) -> bool:
    """Whether a run was begun with the recipe of a fold, and its test set is that of the table of the folds now."""
    assert recipe.data.fold is not None
    folds, number = read_folds(Path(recipe.data.fold.table)), recipe.data.fold.number
    rows = read_data(fold.data) if fold.data.exists() else ()
    return read_toml(fold.config, TrainRecipe) == recipe and all(
        (folds[row.sample.key] == number) == (row.part == "test") for row in rows if row.sample.key in folds
    )


def _make_ensemble(
    recipe: TrainRecipe,
    folder: RunFolder,
    folders: Sequence[RunFolder],
    metrics: dict[str, FoldEstimate],
    run: RunContext,
) -> tuple[BundleInfo | None, tuple[str, ...]]:
    """Write the ensemble, and evaluate it on the test images of the tables, if there are any."""
    if reason := _find_obstacle(recipe):
        return None, (NO_ENSEMBLE.format(reason=reason),)
    notices = []
    ensemble = _read_ensemble(folder, folders)
    if ensemble is None:
        cells = {metric_label(name): _format(one) for name, one in metrics.items() if name in select_shown(recipe)}
        try:
            ensemble, reason = _write_ensemble(folders, folder.bundle, recipe, cells, run)
        except RunError as error:
            return None, (str(error),)
        notices += [f"predictions need torch: {reason}"] if reason else []
    if not _is_evaluated(folder) and (datasets := _find_test_datasets(recipe, folder)):
        config = recipe.classification
        options: dict[str, object] = {"split": recipe.data.test_split}
        if config is not None and config.masks == "predicted":
            options |= {"masks": config.masks, "segmenter": config.segmenter}
        evaluate_model(ensemble, datasets, folder.evaluation, options, source="train", run=run)
    return ensemble, tuple(notices)


def _is_evaluated(folder: RunFolder) -> bool:
    """Whether the evaluation in a folder is of the model that is in the folder now."""
    path = folder.evaluation / METRICS_FILE
    return path.is_file() and read_json(path)["model"]["fingerprint"] == read_bundle(folder.bundle).fingerprint


def _read_ensemble(folder: RunFolder, folders: Sequence[RunFolder]) -> BundleInfo | None:
    """Read the ensemble of the folds; None without one, or if a fold has been trained again since."""
    if not (folder.bundle / CONFIG).is_file():
        return None
    ensemble = read_bundle(folder.bundle)
    members = [member["fingerprint"] for member in ensemble.config.provenance.get("members", ())]
    return ensemble if members == [read_bundle(fold.bundle).fingerprint for fold in folders] else None


def _find_test_datasets(recipe: TrainRecipe, folder: RunFolder) -> list[Path]:
    """Return the data sets whose tables have test images, which are in no fold."""
    folds, split = read_folds(folder.path / FOLDS), recipe.data.test_split
    tested = {one.domain for one in _read_usable(recipe)[0] if one.split == split and one.key not in folds}
    return [path for path in map(expand_user, recipe.data.datasets) if path.name in tested]


def _read_metrics(fold: RunFolder) -> dict[str, Estimate]:
    """Read the metrics of a fold, without those that its images do not define."""
    metrics = read_estimates(read_json(fold.evaluation / METRICS_FILE)["metrics"]["all"])
    return {name: estimate for name, estimate in metrics.items() if np.isfinite(estimate.mean)}


def summarize_folds(folders: Sequence[RunFolder]) -> dict[str, FoldEstimate]:
    """Return the mean of each metric over the evaluations of the folds, of metrics that all of them have."""
    stored = [_read_metrics(folder) for folder in folders]
    names = [name for name in stored[0] if all(name in metrics for metrics in stored)]
    return {name: estimate_mean([metrics[name].mean for metrics in stored], name) for name in names}


def estimate_mean(values: Sequence[float], name: str = "") -> FoldEstimate:
    """Return the mean over folds with a 95 % interval, clipped to the possible values of the metric ``name``.

    The variance of the mean is that of Nadeau and Bengio 2003: of k folds, 1 / k + 1 / (k - 1) times the variance of
    the values, since their training images overlap.
    """
    from scipy.stats import t

    array, count = np.asarray(values, np.float64), len(values)
    mean = float(array.mean())
    reach = float(t.ppf(0.975, count - 1) * np.sqrt((1 / count + 1 / (count - 1)) * array.var(ddof=1)))
    metric = METRIC_TABLE.get(name) or METRIC_TABLE.get(name.partition(" ")[0])
    low, high = metric.limits if metric else (-np.inf, np.inf)
    return FoldEstimate(mean, max(mean - reach, low), min(mean + reach, high), tuple(array.tolist()))


def select_shown(recipe: TrainRecipe) -> tuple[str, ...]:
    if recipe.classification is not None:
        return ("AUC", "AP", "sensitivity", "specificity", "balanced_accuracy", "MCC", "kappa", "ECE", "Brier")
    classes = tuple(f"DI {name}" for name in recipe.classes)
    return ("JA", "DI", *classes) if recipe.classes else ("TJA", "JA", "DI", "SE", "SP", "HD95_relative", "BF1")


def _format(estimate: FoldEstimate) -> tuple[str, str]:
    return f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def _describe_fold(recipe: TrainRecipe, fold: RunFolder) -> str:
    """Return the first metric of a fold."""
    metrics = _read_metrics(fold)
    shown = [name for name in ("AUC", "JA") if name in metrics]
    return f"{metric_label(shown[0])} {metrics[shown[0]].mean:.3f}" if shown else "evaluated"


def _write_summary(result: FoldsResult, folders: Sequence[RunFolder]) -> None:
    """Write ``folds.json`` and the page over all folds."""
    recipe = read_toml(result.folder / RECIPE, TrainRecipe)
    parts = [[row.sample for row in read_data(folder.data) if row.part == "test"] for folder in folders]
    values: dict[str, Any] = {
        "folds": len(folders),
        "runs": [path.name for path in result.runs],
        "images": [len(samples) for samples in parts],
        "groups": [len({sample.group for sample in samples}) for samples in parts],
        "metrics": {name: vars(estimate) for name, estimate in result.metrics.items()},
        "ensemble": None if result.ensemble is None else result.ensemble.path.name,
        "notices": list(result.notices),
        "interval": INTERVAL,
        "provenance": collect_provenance(),
    }
    write_json(result.folder / SUMMARY, values)
    stored = [_read_metrics(folder) for folder in folders]
    shown = [name for name in select_shown(recipe) if name in result.metrics]
    rows = [
        (
            find_metric(name).directed_label if name in METRIC_TABLE else metric_label(name),
            "{} ({})".format(*_format(result.metrics[name])),
            *(str(metrics[name]) for metrics in stored),
        )
        for name in shown
    ]
    heads = [f"Fold {number}" for number in range(1, len(folders) + 1)]
    lead = "; ".join("{} {} ({})".format(metric_label(name), *_format(result.metrics[name])) for name in shown[:2])
    sizes = [("Images", *map(str, values["images"])), ("Patients or lesions", *map(str, values["groups"]))]
    ensemble = "bundle/ is the ensemble of the folds." if result.ensemble else ""
    page = Page(
        title=f"{recipe.name}: {len(folders)} folds",
        facts=f"{sum(values['images'])} images of {sum(values['groups'])} patients or lesions, each held out once",
        lead=f"Mean over the folds, on images held out: {lead}.",
        next=f"{ensemble} Each fold has its own run folder, with evaluation/summary.html.".strip(),
        tables=[
            ("Metrics of the images held out", ("Metric", "Mean over the folds (95 % interval)", *heads), rows),
            ("Images held out", ("", *heads), sizes),
        ],
        notes=[INTERVAL],
        warnings=result.notices,
    )
    write_evaluation_page(page, result.folder / PAGE)


SAME_FIELDS = ("task", "architecture", "options", "input_size", "preprocessing", "mean", "std", "classes")
TITLE = "{title}, ensemble of {count} folds"
CARD = """## Ensemble

The mean of the logits of {count} networks, each of which was trained without one fold of the images. {threshold}
Each image was predicted by the network that it was not used for:

| metric | mean of the folds | 95 % interval |
|---|---|---|
{rows}
"""
MASK_THRESHOLD = "The decision threshold is the mean of theirs."
CLASS_THRESHOLD = (
    "Temperature, bias and decision threshold were fitted to the predictions for these images; similar cases, and "
    "whether an image is out of distribution, are those of the first network."
)
SMALLEST = 1e-6  # probability, so that its logarithm is finite
FoldMetrics = dict[str, tuple[str, str]]


def _find_obstacle(recipe: TrainRecipe) -> str:
    """Return why the models of a recipe cannot be combined in an ensemble; "" if they can."""
    if recipe.prompts is not None:
        return "it answers prompts"
    if recipe.classification is not None and recipe.classification.depth is not None:
        return "it predicts a depth"
    if recipe.model.architecture == "cell_network":
        return "it classifies cells of slides"
    return ""


def _write_ensemble(
    folders: Sequence[RunFolder], path: Path, recipe: TrainRecipe, metrics: FoldMetrics, run: RunContext
) -> tuple[BundleInfo, str]:
    """Write the ensemble of finished and evaluated runs.

    ``recipe``: that of the cross-validation. ``metrics``: label to mean and interval, for the card. Returns the bundle,
    and why it has no graphs, or "".
    """
    from napari_melanoma.models.blocks.ensemble import build_ensemble

    members = [read_bundle(folder.bundle) for folder in folders]
    _check_same(members)
    config = _create_config(members, folders, recipe)
    network, reference = build_ensemble([load_network(info) for info in members], len(config.classes)), None
    if config.classifier is not None:
        assert recipe.classification is not None
        _set_calibration(network, members)
        reference = _collect_reference(folders, members[0])
        config = fit_decisions(config, reference, recipe.classification.sensitivity)
    lists = [TrainingImages.read(folder.path / FILE_NAME) for folder in folders]
    with TemporaryDirectory() as temporary:
        listed = Path(temporary, FILE_NAME)
        reduce(or_, lists).write(listed)
        provenance = {**config.provenance, **training_images_statement(listed)}
        config = config.model_copy(update={"provenance": provenance})
        card = f"{draft_card(config)}\n{_describe_ensemble(config, metrics)}"
        bundle = write_bundle(path, config, network, card, reference, [listed])
    return bundle, add_graphs(bundle, run)


def _check_same(members: Sequence[BundleInfo]) -> None:
    """Refuse members that differ in more than their weights and calibration."""
    first, *others = (_dump_shared(info) for info in members)
    for info, values in zip(members[1:], others, strict=True):
        if different := [name for name, value in values.items() if value != first[name]]:
            raise RunError(
                f"'{members[0].name}' and '{info.name}' cannot be combined in an ensemble, because they differ in "
                f"{', '.join(different)}. Use the models of the folds."
            )


def _dump_shared(info: BundleInfo) -> dict[str, Any]:
    """Return what the members of an ensemble share; the sizes of tabular inputs may differ."""
    values = info.config.model_dump(mode="json", include={*SAME_FIELDS})
    options = {name: value for name, value in info.config.options.items() if name != "tabular"}
    return {
        **values,
        "options": options,
        "patient data": info.patient_data_columns,
        "closer views": info.config.closer_views,
        "turned views": info.config.turned_views,
    }


def _create_config(members: Sequence[BundleInfo], folders: Sequence[RunFolder], recipe: TrainRecipe) -> BundleConfig:
    """Return the configuration of an ensemble; a classifier is not calibrated yet."""
    config = members[0].config
    encodings = [info.config.tabular for info in members if info.config.tabular is not None]
    values: dict[str, Any] = {
        "name": recipe.name,
        "title": TITLE.format(title=config.title, count=len(members)),
        "members": len(members),
        "threshold": round(float(np.mean([info.config.threshold for info in members])), 2),
        "modalities": tuple(dict.fromkeys(name for info in members for name in info.config.modalities)),
        "tabular": join_encodings(encodings) if encodings else None,
        "novelty_threshold": None,
        "provenance": _create_provenance(members, folders, recipe.seed),
    }
    return config.model_copy(update=values)


def _create_provenance(members: Sequence[BundleInfo], folders: Sequence[RunFolder], seed: int) -> dict[str, Any]:
    """Return the provenance: that of the first member, with all images of the folds, and the means of the measures."""
    rows = [row for folder in folders for row in read_data(folder.data)]
    images = [row.sample for row in rows if row.part == "test"]
    replay, validation = (
        list({row.sample.key: row.sample for row in rows if row.part == part}.values())
        for part in ("replay", "validation")
    )
    if members[0].config.classifier is not None:  # calibrated on the predictions for all images
        validation = images
    counts = dict(sorted(Counter(sample.domain for sample in (*images, *replay)).items()))
    first = dict(members[0].config.provenance)
    data = {**first["data"], "train": len(images), "replay": len(replay), "validation": 0, "test": 0, "domains": counts}
    data["drawn"] = sum(sample.synthetic for sample in (*images, *replay))
    del data["fingerprint"]
    recipe = {**first["recipe"], "data": {**first["recipe"]["data"], "fold": None}, "seed": seed}
    provenances = [info.config.provenance for info in members]
    metrics: dict[str, Any] = {
        name: _average([facts[name] for facts in provenances])
        for name in ("validation_jaccard", "validation_dice")
        if all(facts.get(name) is not None for facts in provenances)
    }
    if of_classes := [facts["validation_dice_of_classes"] for facts in provenances if "validation_dice" in facts]:
        metrics["validation_dice_of_classes"] = _average_known(of_classes)
    return {
        **first,
        **metrics,
        "data": data,
        "corrections": sum(sample.review in REVIEWED for sample in images),
        "recipe": recipe,
        "seed": seed,
        "train_images": counts,
        "validation_images": len(validation),
        "validation_groups": len({sample.group for sample in validation}),
        "members": [{"name": info.name, "fingerprint": info.fingerprint} for info in members],
        **collect_provenance(),
    }


def _average(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _average_known(members: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Return the mean of each class over the members that know it; one that a validation set lacks has no value."""
    known: dict[str, list[float]] = defaultdict(list)
    for values in members:
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                known[name].append(value)
    return {name: _average(values) for name, values in known.items()}


def _set_calibration(network: nn.Module, members: Sequence[BundleInfo]) -> None:
    """Set temperature and bias of each member, so that calibrated logits are averaged."""
    import torch

    for index, info in enumerate(members):
        classifier = info.config.classifier
        assert classifier is not None
        network.get_buffer("temperature")[index] = classifier.temperature
        if classifier.bias:
            network.get_buffer("bias")[index] = torch.tensor(classifier.bias)


def _collect_reference(folders: Sequence[RunFolder], first: BundleInfo) -> ReferenceCases:
    """Return the reference cases: each image with the prediction of the member that was not trained on it."""
    reference = read_reference(first)
    if reference is None:
        raise BundleError(f"'{first.name}' has no reference cases. Train the fold again.")
    evaluations = [read_evaluation(folder.evaluation) for folder in folders]
    stored = [
        read_predictions(measured_rows(one.table), one.classes, one.positive, one.threshold) for one in evaluations
    ]
    probabilities = np.concatenate([predictions.probabilities for predictions in stored])
    return replace(
        reference,
        logits=np.log(np.clip(probabilities, SMALLEST, None)).astype(np.float32),
        labels=np.concatenate([predictions.labels for predictions in stored]).astype(np.int64),
        groups=number_groups(np.concatenate([predictions.groups for predictions in stored])),
        textures=None,
    )


def _describe_ensemble(config: BundleConfig, metrics: FoldMetrics) -> str:
    rows = "\n".join(f"| {label} | {mean} | {interval} |" for label, (mean, interval) in metrics.items())
    threshold = MASK_THRESHOLD if config.classifier is None else CLASS_THRESHOLD
    return CARD.format(count=config.members, threshold=threshold, rows=rows)
