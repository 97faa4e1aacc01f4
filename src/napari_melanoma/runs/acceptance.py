"""Compare a run's model with its starting model and baselines on the test set; activate or discard the model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_melanoma.classification.comparators import BRESLOW_COLUMNS, TableLogistic, fit_table_logistic
from napari_melanoma.core.config import Config, read_toml, write_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, DataSetError, RunError
from napari_melanoma.core.files import atomic_folder, remove_file, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.paths import expand_user
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, TabularConfig
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample, read_datasets
from napari_melanoma.data.splits import ALL_SPLITS, sample_by_name, split_trainable
from napari_melanoma.data.training_images import FILE_NAME
from napari_melanoma.evaluation.any_task import evaluation_task
from napari_melanoma.evaluation.classes import ClassTask
from napari_melanoma.evaluation.comparison_results import ComparedModel, Comparison, read_comparison
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions, LabeledImages
from napari_melanoma.evaluation.labels import LabelTask
from napari_melanoma.evaluation.masks import EvaluationOptions, MaskTask
from napari_melanoma.evaluation.model_card import write_compared_card
from napari_melanoma.evaluation.model_comparison import ComparisonOptions, compare_segmenters, compare_with_start
from napari_melanoma.evaluation.painted_comparison import compare_with_painted, find_held_back
from napari_melanoma.evaluation.pipeline import Evaluation, EvaluationTask, Result, SelectionOptions, run_evaluation
from napari_melanoma.evaluation.slides import BagTask, PatientDataBaseline, SlideAloneBaseline, SlideBaseline
from napari_melanoma.evaluation.training_overlap import Overlap, find_overlap, images_to_measure
from napari_melanoma.metrics.statistics import describe_intervals
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.installed_bundles import find_bundle, install_bundle, is_same_model, list_bundles
from napari_melanoma.runs.resolved_settings import read_resolved
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.training.data_changes import TABLES
from napari_melanoma.training.data_preparation import copy_classes_without_table, read_part_table
from napari_melanoma.training.recipe import DataConfig, TrainRecipe
from napari_melanoma.training.run_data import read_data

MAX_REPLAY_IMAGES = 500  # enough to measure a loss of performance to within 0.01; thousands would take too long
NO_REPLAY = "The replay data ({names}) are no longer readable, so the performance on them was not checked."
ACCEPTED = (
    "Reference masks accepted without correction: {count} of {total}. A mask drawn by a model favors that model; "
    "corrected masks are better evidence."
)
NO_RUN = (
    "{path} is not a started run: expected a run folder, found no config.toml in it. Name a finished run; list them "
    "with napari-melanoma runs list"
)
NO_START = (
    "{run} did not start from a {model}, so there is no model to compare it with. Its test results are in "
    "its evaluation/. To compare it with another model: "
    "napari-melanoma compare --model OLD --model NEW --data DATASET --out DIR"
)
ALONE = "On {count} test {items}: {lead} See evaluation/."
NONE_LEFT = "Not compared: the models were trained on all test images, or on other images of their patients."
NO_REPLAY_TEST = "The replay data ({names}) have no test images, so the performance on them was not checked."
MANY = "Of the {count} test images of the replay data, {shown} were compared, chosen by a hash of their names."
ACTIVATED, DISCARDED = "adopted.json", "discarded.json"  # in the run folder
# For models whose provenance does not state how their data were split.
SPLIT_KEYS = "split", "validation_split", "test_split", "test_fraction"
DEFAULT_SPLIT = {name: DataConfig.model_fields[name].default for name in SPLIT_KEYS}


def compare_run(run_path: Path, *, run: RunContext) -> Comparison:
    """Compare the model of a run with its starting model, on test images of the run and its replay data.

    A model for lesion segmentation without a starting model is compared with the shipped model. Of the replay data, at
    most 500 test images are used. A network that was trained on strokes is compared with the painted classifier. The
    result is also written to ``comparison/`` in the run folder; an earlier result is
    kept if the user cancels. The reason of the recommendation includes limitations, for example that the old model may
    have been trained on some of the test images.
    """
    from napari_melanoma.classification.classifier import Classifier

    folder = RunFolder(run_path)
    if not folder.config.is_file():
        raise RunError(NO_RUN.format(path=run_path))
    recipe = read_toml(folder.config, TrainRecipe)
    if (held_back := find_held_back(recipe)) is not None:
        with atomic_folder(folder.comparison) as temporary:
            compare_with_painted(held_back, _read_run_model(folder), run).write(temporary)
        return read_comparison(folder.comparison)
    if has_no_start(recipe, folder):
        model = "model of its classes" if recipe.classes else "classifier"
        raise RunError(NO_START.format(run=folder.path.name, model=model))
    old, new = find_parent_bundle(recipe, folder), _read_run_model(folder)
    test_images = find_test_images(recipe, folder)
    samples = list(test_images.samples)
    overlap = find_overlap([old, new], samples, run=run)
    possible_overlap = () if old.name not in overlap.unknown else warn_of_training_images(old, samples, recipe.data)
    notes = (*test_images.notes, *possible_overlap, *_note_accepted_masks(overlap.measured))

    def make_options(overlap: Overlap) -> ComparisonOptions:
        remedy = " ".join(overlap.more_images_notice(recipe.data.test_fraction))
        return ComparisonOptions(replay=test_images.replay, notes=notes, remedy=remedy)

    with atomic_folder(folder.comparison) as temporary:
        if not overlap.measured:
            _empty_comparison((old, new), overlap, recipe).write(temporary)
        elif recipe.task == "classification":
            images = _read_labeled_test_images(folder, new)
            overlap = images_to_measure([old, new], images.samples, run=run)
            models = [Classifier.load(info) for info in (old, new)]
            compare_with_start(models, images, temporary, overlap, make_options(overlap), run=run)
        else:
            compare_segmenters([old, new], samples, temporary, make_options(overlap), run=run, overlap=overlap)
    return read_comparison(folder.comparison)


def _empty_comparison(models: tuple[BundleInfo, BundleInfo], overlap: Overlap, recipe: TrainRecipe) -> Comparison:
    """Create a comparison without metrics, because the models were trained on all test images."""
    old, new = (ComparedModel(info.name, info.fingerprint, info.config.threshold, {}) for info in models)
    return Comparison(
        old=old,
        new=new,
        difference={},
        domains=(),
        better=(),
        worse=(),
        advice="inconclusive",
        reason=" ".join([NONE_LEFT, *overlap.more_images_notice(recipe.data.test_fraction)]),
        images=0,
        patients=0,
        facts={
            "warnings": list(overlap.warnings),
            "training_overlap": overlap.facts,
            "interval": describe_intervals(),
            "provenance": collect_provenance(),
        },
        task=recipe.task,
    )


def evaluate_alone(run_path: Path, *, run: RunContext) -> str:
    """Evaluate the model of a run on its test set, without comparing it with a starting model.

    Writes ``evaluation/`` to the run folder, and returns a sentence with the main results.
    """
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.slides.bag_models import BagModel
    from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

    folder = RunFolder(run_path)
    recipe, model = read_toml(folder.config, TrainRecipe), _read_run_model(folder)
    samples = [row.sample for row in read_data(folder.data) if row.part == "test"]
    origin, items, task = "", "images", evaluation_task(model)

    def evaluate(task: EvaluationTask[Any, Any, Result]) -> Result:
        with atomic_folder(folder.evaluation) as temporary:
            overlap = images_to_measure(task.infos, samples, run=run, digest=task.digest)
            return run_evaluation(task, samples, temporary, overlap=overlap, run=run)

    evaluation: Evaluation
    if task == "slides":
        slides, items = _read_labeled_test_images(folder, model), "slides"
        baselines = read_baselines(folder)
        evaluation = evaluate(BagTask(BagModel.load(model), slides, ClassEvaluationOptions(), baselines))
    elif task == "labels":
        evaluation = evaluate(LabelTask([TissueSegmenter.load(model)], SelectionOptions()))
    elif task == "masks":
        evaluation = evaluate(MaskTask([Segmenter.load(model)], EvaluationOptions()))
    else:
        images = _read_labeled_test_images(folder, model)
        evaluation = evaluate(ClassTask([Classifier.load(model)], images, ClassEvaluationOptions()))
        origin = "The run did not start from a classifier. " if has_no_start(recipe, folder) else ""
    return origin + ALONE.format(count=evaluation.images, items=items, lead=evaluation.lead)


def has_no_start(recipe: TrainRecipe, folder: RunFolder) -> bool:
    """Return whether a run's model cannot be compared with a starting model.

    True for a classifier and a segmentation of several classes, unless the run continued from such a model. A model
    for lesion segmentation can always be compared with the shipped model, and a network of painted strokes with the
    painted classifier.
    """
    if find_held_back(recipe) is not None:
        return False
    resolved = read_resolved(folder)
    return bool(recipe.classes or recipe.task == "classification") and (
        resolved is None or resolved.continued_model is None
    )


@dataclass(frozen=True)
class TestImages:
    """The test images of a run: those of its own data, then of its replay data.

    ``replay``: names of the replay data sets among them. ``notes``: sentences about limitations.
    """

    samples: tuple[Sample, ...]
    replay: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find_test_images(recipe: TrainRecipe, folder: RunFolder) -> TestImages:
    """Find the test images of a run in ``data.csv``, which lists the part of each image.

    Of the replay data at most 500 are included, chosen by a hash of their names; none if they cannot be read.
    """
    rows, replay_names = read_data(folder.data), ", ".join(Path(name).name for name in recipe.data.replay)
    samples = [row.sample for row in rows if row.part == "test"]
    groups, domains = {row.sample.group for row in rows}, {sample.domain for sample in samples}
    try:
        replay = read_datasets([expand_user(name) for name in recipe.data.replay])
        replay_test = split_trainable(replay, recipe.data, recipe.seed).test
        replay_images = [sample for sample in replay_test if sample.group not in groups]
    except DataSetError:
        if not samples:
            raise
        return TestImages(tuple(samples), (), (NO_REPLAY.format(names=replay_names),))
    if not samples and not replay_images:
        raise RunError(
            f"{folder.path.name} has no test images, so its model cannot be evaluated. Set data.test_fraction, or "
            "give images the split named by data.test_split."
        )
    notes: tuple[str, ...] = ()
    if len(replay_images) > MAX_REPLAY_IMAGES:
        notes = (MANY.format(shown=MAX_REPLAY_IMAGES, count=len(replay_images)),)
    elif recipe.data.replay and not replay_images:
        notes = (NO_REPLAY_TEST.format(names=replay_names),)
    replay_images = sample_by_name(replay_images, MAX_REPLAY_IMAGES)
    return TestImages(
        (*samples, *replay_images), tuple(sorted({sample.domain for sample in replay_images} - domains)), notes
    )


def _note_accepted_masks(samples: Sequence[Sample]) -> list[str]:
    count = sum(sample.has_accepted_prediction for sample in samples)
    return [ACCEPTED.format(count=count, total=len(samples))] if count else []


def _read_run_model(folder: RunFolder) -> BundleInfo:
    try:
        return read_bundle(folder.bundle)
    except BundleError as error:
        raise RunError(f"{folder.path.name} has no model yet. Wait until the run has finished.") from error


def _read_labeled_test_images(folder: RunFolder, model: BundleInfo) -> LabeledImages:
    """Read the test images of a run, with the labels stored when it began."""
    rows = read_data(folder.data)
    _, labels, table = read_part_table(folder.path, rows, ("test",))
    samples = [row.sample for row in rows if row.part == "test"]
    patient_data = {sample.key: cells for sample, cells in zip(samples, table, strict=True)}
    assert model.config.classifier is not None
    return LabeledImages(samples, patient_data, labels, model.config.classifier.positive, 0, model.config.classes)


def activate_model(run: Path, name: str | None = None) -> BundleInfo:
    """Install the model of a run in the user's model folder, next to the existing models.

    If it is already installed, return the installed model.
    """
    bundle = _find_activated(run)
    if bundle is None:
        write_compared_card(run)
        bundle = install_bundle(read_bundle(RunFolder(run).bundle), name)
    write_json(run / ACTIVATED, {"name": bundle.name, "path": str(bundle.path), "time": round(time.time(), 3)})
    remove_file(run / DISCARDED)
    return bundle


def _find_activated(run: Path) -> BundleInfo | None:
    """Read the installed model of a run; None if it was not activated, or was removed or replaced since."""
    note = _read_note(run / ACTIVATED)
    if not note or not isinstance(note.get("path"), str):
        return None
    try:
        installed, own = read_bundle(Path(note["path"])), RunFolder(run).bundle
        return installed if not own.is_dir() or is_same_model(installed, read_bundle(own)) else None
    except (BundleError, ConfigError):
        return None


def replace_activated_model(run: Path, former: str) -> None:
    """Record that another model is used again instead of the activated model of a run, which stays installed."""
    note = _read_note(run / ACTIVATED)
    if note is not None:
        write_json(run / ACTIVATED, {**note, "replaced_by": former})


def explain_objection(comparison: Comparison | None, *, discarded: bool) -> str:
    """Return the reasons against using the model of a run, as sentences; empty if there are none."""
    reasons = ["This model was discarded."] if discarded else []
    if comparison is not None and comparison.advice != "activate":
        objection = (
            "The recommendation is to keep" if comparison.advice == "keep" else "It was not measured to be better than"
        )
        reasons += [f"{objection} {comparison.old.name}.", comparison.reason or f"{comparison.summary()}."]
    elif discarded and comparison is not None:
        reasons.append(f"{comparison.summary()}.")
    return " ".join(reasons)


def discard_model(run: Path) -> None:
    """Mark the model of a run as discarded; its files are kept, so that it can still be activated."""
    if not (run / DISCARDED).exists():
        write_json(run / DISCARDED, {"time": round(time.time(), 3)})


def activated_name(run: Path) -> str | None:
    """Return the name under which the model of a run was activated, or None, also if another one has replaced it."""
    note = _read_note(run / ACTIVATED)
    return str(note["name"]) if note and "name" in note and "replaced_by" not in note else None


def replacement_name(run: Path) -> str | None:
    """Return the model that is used again instead of the activated model of a run, or None."""
    note = _read_note(run / ACTIVATED)
    return str(note["replaced_by"]) if note and "replaced_by" in note else None


def is_discarded(run: Path) -> bool:
    """Return whether the model of a run was discarded and not activated."""
    return (run / DISCARDED).is_file() and not (run / ACTIVATED).is_file()


def _read_note(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if the file is missing or damaged."""
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def find_parent_bundle(recipe: TrainRecipe, folder: RunFolder) -> BundleInfo:
    """Find the starting model of a run by its weights, even if it was renamed; the shipped model if there was none."""
    resolved = read_resolved(folder)
    parent = resolved.continued_model if resolved else None
    try:
        bundle = find_bundle(recipe.model.start if recipe.model.starts_from_bundle else DEFAULT_BUNDLE)
    except BundleError as error:
        same = parent and _find_by_weights(parent.fingerprint)
        if not same:
            raise BundleError(f"the starting model of {folder.path.name} is missing: {error}") from error
        return same
    if parent is None or bundle.fingerprint == parent.fingerprint:
        return bundle
    same = _find_by_weights(parent.fingerprint)
    if same is None:
        raise BundleError(
            f"'{bundle.name}' is not the model that {folder.path.name} started from (weights "
            f"{bundle.fingerprint[:12]} now, {parent.fingerprint[:12]} then). Restore the old model under another "
            "name, or compare with this one: napari-melanoma compare --model OLD --model NEW --data DATASET --out DIR"
        )
    return same


def warn_of_training_images(old: BundleInfo, samples: Sequence[Sample], rules: DataConfig) -> tuple[str, ...]:
    """Warn of test images that the old model or its ancestors may have been trained on; empty if there are none.

    ``rules``: how the run has split its data.
    """
    seen: dict[str, int] = {}
    for ancestor in _list_provenance(old):
        domains, splits, fraction = _training_data_of(ancestor)
        for domain in domains:
            count = sum(s.domain == domain and _may_be_training_image(s, splits, fraction, rules) for s in samples)
            seen[domain] = max(count, seen.get(domain, 0))
    overlaps = {domain: count for domain, count in sorted(seen.items()) if count}
    if not overlaps:
        return ()
    counts = ", ".join(f"{count} of {domain}" for domain, count in overlaps.items())
    return (
        f"The result may favor the old model, which may have been trained on some of these images: {counts}. "
        "It was trained on data of this name with other splits.",
    )


def _may_be_training_image(sample: Sample, splits: set[str], fraction: float, rules: DataConfig) -> bool:
    """Return whether a model may have been trained or validated on a test image of a run.

    ``splits``, ``fraction``: training and validation split, and test fraction of the model. ``rules``: how the run has
    split its data.
    """
    if ALL_SPLITS in splits:
        return True
    return sample.split in splits if sample.split else fraction < rules.test_fraction


def _training_data_of(provenance: Mapping[str, Any]) -> tuple[list[str], set[str], float]:
    """Return the names of a model's training data sets, their training and validation split, and the test fraction."""
    recipe = provenance.get("recipe") or {}
    rules = {**DEFAULT_SPLIT, **(recipe.get("data") or {})}
    names = [Path(name).name for key in ("datasets", "replay") for name in rules.get(key) or ()]
    splits = {rules["split"], rules["validation_split"]} - {rules["test_split"]}
    return sorted({*names, *(provenance.get("train_images") or {})}), splits, rules["test_fraction"]


def _list_provenance(bundle: BundleInfo) -> Iterator[Mapping[str, Any]]:
    """Yield the provenance of a model, and of its installed ancestors."""
    seen: set[str] = set()
    current: BundleInfo | None = bundle
    while current is not None:
        provenance = current.config.provenance
        yield provenance
        fingerprint = str((provenance.get("parent") or {}).get("fingerprint", ""))
        current = None if fingerprint in seen or not fingerprint else _find_by_weights(fingerprint)
        seen.add(fingerprint)


def _find_by_weights(fingerprint: str) -> BundleInfo | None:
    for bundle in list_bundles():
        try:
            if bundle.fingerprint == fingerprint:
                return bundle
        except OSError:  # its weights were removed
            continue
    return None


FOLDER, TABLES_FILE, SLIDE_ALONE = "baselines", "patient-data.json", "slide-alone"
PATIENT_DATA, DEPTH = "patient_data", "depth"


class TableBaselines(Config):
    """The regressions of patient data, by name."""

    format_version: int = 1
    regressions: dict[str, TableLogistic]


class Trainer(Protocol):
    """``runs.train.train``."""

    def __call__(
        self, recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext, evaluate: bool, check_place: bool
    ) -> object: ...


def train_baselines(recipe: TrainRecipe, folder: RunFolder, train: Trainer, *, run: RunContext) -> None:
    """Train the baselines of a run; finished ones are kept.

    The network of the slide alone has the same images, split, labels, seed and settings as that of the run, also if
    the data set was changed since the run began.
    """
    fit_table_baselines(recipe, folder)
    assert recipe.classification is not None
    without_table = recipe.classification.model_copy(update={"tabular": None})
    slide_recipe = recipe.model_copy(update={"classification": without_table, "name": f"{recipe.name}-slide-alone"})
    out = folder.path / FOLDER / SLIDE_ALONE
    if (out / "bundle").is_dir():
        return
    alone = RunFolder(out)
    if not alone.config.is_file():
        with atomic_folder(out) as begun:
            for path in (folder.data, folder.path / TABLES, folder.path / FILE_NAME):
                if path.is_file():  # earlier versions did not write all of them
                    shutil.copyfile(path, begun / path.name)
            copy_classes_without_table(folder.path, begun)
            write_toml(begun / alone.config.name, slide_recipe)
    train(slide_recipe, out, resume=True, run=run, evaluate=False, check_place=False)


def fit_table_baselines(recipe: TrainRecipe, folder: RunFolder) -> None:
    """Fit the regressions of patient data, and of the depth if it is a field, on training and validation patients."""
    config = recipe.classification
    assert config is not None
    assert config.tabular is not None
    classes, labels, rows = read_part_table(folder.path, read_data(folder.data), ("train", "validation"))
    positive = labels == classes.index(config.positive)
    has_depth = any(column.name == DEPTH_COLUMN for column in config.tabular.numbers)
    title = "Patient data and depth alone" if has_depth else "Patient data alone"
    choices: dict[str, tuple[str, TabularConfig]] = {PATIENT_DATA: (title, config.tabular)}
    if has_depth and len(config.tabular.numbers) + len(config.tabular.words) > 1:
        choices[DEPTH] = "Depth (Breslow thickness) alone", BRESLOW_COLUMNS
    regressions = {
        name: fit_table_logistic(rows, np.asarray(positive, bool), columns, config.target, heading)
        for name, (heading, columns) in choices.items()
    }
    path = folder.path / FOLDER / TABLES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, TableBaselines(regressions=regressions).model_dump(mode="json"))


def read_baselines(folder: RunFolder) -> Sequence[SlideBaseline]:
    """Read the baselines of a run; empty for a model without patient data."""
    path = folder.path / FOLDER / TABLES_FILE
    if not path.is_file():
        return ()
    tables = TableBaselines.parse(read_json(path), str(path)).regressions
    baselines: list[SlideBaseline] = [PatientDataBaseline(name, regression) for name, regression in tables.items()]
    slide_alone = folder.path / FOLDER / SLIDE_ALONE / "bundle"
    if slide_alone.is_dir():
        baselines.append(SlideAloneBaseline(BagModel.load(read_bundle(slide_alone))))
    return baselines


def needs_baselines(recipe: TrainRecipe) -> bool:
    """Whether a recipe trains a model of slide and patient data."""
    return recipe.bags is not None and recipe.classification is not None and recipe.classification.tabular is not None
