"""The gate: a run's model against the one it started from, on unseen images, and its activation."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, DataSetError, RunError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample, read_datasets
from napari_melanoma.data.splits import ALL_SPLITS, sample_by_name, split_trainable
from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions
from napari_melanoma.evaluation.class_metrics import LabeledImages
from napari_melanoma.evaluation.compare import ComparisonOptions, compare_models
from napari_melanoma.evaluation.compare_classes import SHOWN, ClassifierComparison, ClassifierMetrics, compare_on_images
from napari_melanoma.evaluation.compare_labels import compare_label_models
from napari_melanoma.evaluation.comparison import (
    MIN_COUNT,
    Advice,
    ComparedModel,
    Comparison,
    DomainChange,
    advise,
    read_comparison,
)
from napari_melanoma.evaluation.evaluate import evaluate_bags_held_out
from napari_melanoma.evaluation.evaluate_classes import evaluate_on_images
from napari_melanoma.evaluation.evaluate_labels import evaluate_labels_held_out, label_lead
from napari_melanoma.evaluation.model_card import write_compared_card
from napari_melanoma.evaluation.overlap import Overlap, find_overlap
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.registry import DEFAULT_BUNDLE, find_bundle, install_bundle, list_bundles
from napari_melanoma.runs.start import read_resolved
from napari_melanoma.training.prepare import read_held_out
from napari_melanoma.training.recipe import DataConfig, TrainRecipe
from napari_melanoma.training.run_data import read_data

if TYPE_CHECKING:
    from napari_melanoma.evaluation.evaluate_classes import ClassEvaluation

__all__ = ["TestImages", "compare_run", "evaluate_alone", "find_test_images", "has_no_start"]

MAX_BASE_IMAGES = 500  # images say what was forgotten to within 0.01; thousands take as long as the training
NO_BASE = "The base data ({names}) cannot be read any more, so nobody has looked whether the model forgot them."
ACCEPTED = (
    "Of the {total} reference masks, {count} were accepted without a correction. Those that a model drew favor that "
    "model; corrected ones say more."
)
NO_RUN = (
    "{path} is no run that has begun: expected a run folder, found no config.toml in it. Name a finished run: "
    "napari-melanoma runs list"
)
NO_START_SEVERAL = (
    "{run} started from no model of its classes, so there is none to compare it with. What it does on the images held "
    "out is in its evaluation/; put it beside another: "
    "napari-melanoma compare --model OLD --model NEW --data DATASET --out DIR"
)
NO_START = (
    "{run} started from no classifier, so there is none to compare it with. What it does on the images held out is in "
    "its evaluation/; put it beside another: napari-melanoma compare --model OLD --model NEW --data DATASET --out DIR"
)
ALONE = "The run started from no classifier; by itself, on {images} images held out: {lead} More in evaluation/."
ALONE_SEVERAL = "On {images} images held out: {lead} More in evaluation/."
SLIDES = "On {slides} slides held out: {lead} More in evaluation/."
NONE_LEFT = "Not compared: the models were trained on all images that were held out, or on others of their patients."
MANY = "Of the {count} images that the base data hold out, {shown} were compared, chosen by their names."


def compare_run(run_path: Path, *, run: RunContext) -> Comparison:
    """Compare the model of a run with the one it started from, or a mask's with the shipped one where it had none.

    Parameters
    ----------
    run_path : pathlib.Path
        A run folder with a bundle.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Comparison
        On the images that the run held out, and on those that its base data hold out (at most 500 of these); also in
        ``comparison/`` of the run folder, which is replaced as a whole. Its reason says too what there is to know of
        the images: that the old model may have learnt some, that the base data have gone.

    Raises
    ------
    RunError
        Where there is no such run, it has no model yet, nothing was held out, or a classifier, or a model of several
        classes, started from none of its kind.
    BundleError
        Where the model that it started from has gone, or another has its name.
    DataSetError
        Where none of the images could be compared.
    Cancelled
        Where the user stopped it; an earlier comparison stays.
    """
    folder = RunFolder(run_path)
    if not folder.config.is_file():
        raise RunError(NO_RUN.format(path=run_path))
    recipe = read_toml(folder.config, TrainRecipe)
    if has_no_start(recipe, folder):
        raise RunError((NO_START_SEVERAL if recipe.classes else NO_START).format(run=folder.path.name))
    old, new = find_parent_bundle(recipe, folder), _read_run_model(folder)
    found = find_test_images(recipe, folder)
    samples = list(found.samples)
    overlap = find_overlap([old, new], samples, run=run)
    stated = () if old.name not in overlap.unknown else warn_of_training_images(old, samples, recipe.data)
    notes = (*found.notes, *stated, *_note_accepted_masks(overlap.measured))
    with atomic_folder(folder.comparison) as temporary:
        if not overlap.measured:
            _empty_comparison((old, new), overlap, recipe).write(temporary)
        elif recipe.task == "classification":
            compare_with_start(folder, [old, new], notes, temporary, run=run)
        else:
            remedy = " ".join(overlap.more_images_notice(recipe.data.held_out_fraction))
            options = ComparisonOptions(base=found.base, notes=notes, remedy=remedy)
            compare = compare_label_models if recipe.classes else compare_models
            compare([old, new], samples, temporary, options, run=run, overlap=overlap)
    return read_comparison(folder.comparison)


def _empty_comparison(models: tuple[BundleInfo, BundleInfo], overlap: Overlap, recipe: TrainRecipe) -> Comparison:
    """A comparison without figures: the models were trained on all images that could judge them."""
    old, new = (ComparedModel(info.name, info.fingerprint, info.config.threshold, {}) for info in models)
    return Comparison(
        old=old,
        new=new,
        difference={},
        domains=(),
        better=(),
        worse=(),
        advice="cannot tell",
        reason=" ".join([NONE_LEFT, *overlap.more_images_notice(recipe.data.held_out_fraction)]),
        images=0,
        patients=0,
        facts={
            "warnings": list(overlap.warnings),
            "training_overlap": overlap.facts,
            "interval": INTERVAL_METHOD,
            "provenance": collect_provenance(),
        },
        task=recipe.task,
    )


def evaluate_alone(run_path: Path, *, run: RunContext) -> str:
    """Evaluate the model of a run by itself on what the run has held out: no other is there to compare it with.

    Parameters
    ----------
    run_path : pathlib.Path
        A run folder with a bundle; gets ``evaluation/``.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    str
        What was found, in a sentence.

    Raises
    ------
    RunError
        Where the run has no model yet, or its answers cannot be read.
    DataSetError
        Where no image could be measured.
    Cancelled
        Where the user stopped it.
    """
    from napari_melanoma.evaluation.evaluate_classes import lead_text

    folder = RunFolder(run_path)
    recipe = read_toml(folder.config, TrainRecipe)
    if recipe.bags is not None:
        slides = evaluate_bags_held_out(folder, _read_run_model(folder), run=run)
        return SLIDES.format(slides=len(slides.predictions.labels), lead=lead_text(slides))
    if recipe.classes:
        found = evaluate_labels_held_out(folder, _read_run_model(folder), run=run)
        return ALONE_SEVERAL.format(images=found.images, lead=label_lead(found))
    evaluation = evaluate_on_test_images(folder, _read_run_model(folder), run=run)
    return ALONE.format(images=len(evaluation.predictions.labels), lead=lead_text(evaluation))


def has_no_start(recipe: TrainRecipe, folder: RunFolder) -> bool:
    """Say whether a run's model can be compared with none, as a classifier that has started from none.

    Parameters
    ----------
    recipe : TrainRecipe
        Of the run.
    folder : RunFolder
        Knows what it started from.

    Returns
    -------
    bool
        False for a model that draws lesions: it is compared with the shipped one.
    """
    settled = read_resolved(folder)
    return bool(recipe.classes or recipe.task == "classification") and (
        settled is None or settled.continued_model is None
    )


@dataclass(frozen=True)
class TestImages:
    """The images on which a run is judged.

    Parameters
    ----------
    samples : tuple of Sample
        Of the run's own data, then of its base data.
    base : tuple of str
        Names of the base data sets among them.
    notes : tuple of str
        Sentences on what is missing.
    """

    samples: tuple[Sample, ...]
    base: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find_test_images(recipe: TrainRecipe, folder: RunFolder) -> TestImages:
    """Find the images on which a run can be judged.

    Parameters
    ----------
    recipe : TrainRecipe
        Of the run.
    folder : RunFolder
        Its ``data.csv`` says what was held out, and what was learnt from.

    Returns
    -------
    HeldOut
        Of the base data at most 500, chosen by a hash of their names; none where they have moved meanwhile.

    Raises
    ------
    RunError
        Where there is none, or ``data.csv`` cannot be read.
    DataSetError
        Where the base data alone could judge, and cannot be read.
    """
    rows = read_data(folder.data)
    samples = [row.sample for row in rows if row.part == "held_out"]
    groups, names = {row.sample.group for row in rows}, {sample.domain for sample in samples}
    try:
        of_base = [sample for sample in _base_test_images(recipe) if sample.group not in groups]
    except DataSetError:
        if not samples:
            raise
        return TestImages(tuple(samples), (), (NO_BASE.format(names=_base_names(recipe)),))
    if not samples and not of_base:
        raise RunError(
            f"{folder.path.name} held no image out, so nothing can be judged. Set data.held_out_fraction, or name "
            "images with the split that data.held_out_split says."
        )
    notes = (MANY.format(shown=MAX_BASE_IMAGES, count=len(of_base)),) if len(of_base) > MAX_BASE_IMAGES else ()
    of_base = sample_by_name(of_base, MAX_BASE_IMAGES)
    return TestImages((*samples, *of_base), tuple(sorted({sample.domain for sample in of_base} - names)), notes)


def _note_accepted_masks(samples: Sequence[Sample]) -> list[str]:
    """Say how many masks are no person's own, where there are any."""
    count = sum(sample.review == "accepted" for sample in samples)
    return [ACCEPTED.format(count=count, total=len(samples))] if count else []


def _read_run_model(folder: RunFolder) -> BundleInfo:
    """The model of a run."""
    try:
        return read_bundle(folder.bundle)
    except BundleError as error:
        raise RunError(f"{folder.path.name} has no model yet; let the run finish first.") from error


def _base_test_images(recipe: TrainRecipe) -> Iterable[Sample]:
    """What the base data hold out, by the rule by which the run split them."""
    folders = [Path(name).expanduser() for name in recipe.data.base]
    return split_trainable(read_datasets(folders), recipe.data, recipe.seed).test


def _base_names(recipe: TrainRecipe) -> str:
    """Names of the base data, without their folders."""
    return ", ".join(Path(name).name for name in recipe.data.base)


TOO_FEW = (
    "Of the {images} images that judge, {fewest} {are} of the rarer kind, and at least {least} are needed to say how "
    "well a model tells the two apart. {remedy}"
)
HOLD_OUT_MORE = "Hold more images out, and train again."
WORSE = {
    "sensitivity": "At its own cut the new model finds fewer of the positives: sensitivity {said}.",
    "specificity": "At its own cut the new model raises more false alarms: specificity {said}.",
    "ECE": "The new model's probabilities are further from what is seen: calibration error {said}.",
}
NEXT_STEP = "Take the new model over, or discard it; the old one stays either way."


def compare_with_start(
    folder: RunFolder, models: Sequence[BundleInfo], notes: Sequence[str], out: Path, *, run: RunContext
) -> Comparison:
    """Compare the classifier of a run with the one that it started from.

    Returns the area under the ROC curve decides; calibration error, sensitivity and specificity at each model's own cut
    stand beside it, and are named in the reason where the new model is worse in them.
    """
    from napari_melanoma.classification.predictor import Classifier

    recipe = read_toml(folder.config, TrainRecipe)
    judged = _read_test_images(folder, models[-1]).without_training_images(models, ClassEvaluationOptions(), run=run)
    overlap = judged.overlap
    assert overlap is not None
    loaded = [Classifier.load(info) for info in models]

    def advised(found: ClassifierComparison) -> tuple[Advice, str]:
        remedy = " ".join(overlap.more_images_notice(recipe.data.held_out_fraction))
        advice, reason = overlap.verdict(
            *_advise_by_auc(_list_domain_changes(found, judged), judged.labels.size, remedy)
        )
        return advice, " ".join([reason, *notes])

    found = compare_on_images(
        loaded, judged, out, ClassEvaluationOptions(), run=run, conclude=lambda found: (advised(found)[1], NEXT_STEP)
    )
    comparison = _create_comparison(found, models, judged, *advised(found))
    comparison.write(out)  # last: whoever reads takes it for the sign that all is there
    return comparison


def evaluate_on_test_images(folder: RunFolder, model: BundleInfo, *, run: RunContext) -> ClassEvaluation:
    """Evaluate the classifier of a run that started from none."""
    from napari_melanoma.classification.predictor import Classifier

    judged = _read_test_images(folder, model)
    with atomic_folder(folder.evaluation) as temporary:
        return evaluate_on_images(Classifier.load(model), judged, temporary, ClassEvaluationOptions(), run=run)


def _read_test_images(folder: RunFolder, model: BundleInfo) -> LabeledImages:
    """The images that a run held out, with the answers that it has noted when it began."""
    rows = read_data(folder.data)
    labels, said = read_held_out(folder.path, rows)
    samples = [row.sample for row in rows if row.part == "held_out"]
    assert model.config.classifier is not None
    return LabeledImages(samples, said, labels, model.config.classifier.positive, 0, model.config.classes)


def _list_domain_changes(found: ClassifierComparison, judged: LabeledImages) -> list[DomainChange]:
    """What changed: on all images first, then on each data set where there are several."""
    lost = {image_id for image_id, _ in found.failed}
    measured = [sample for sample in judged.samples if sample.image_id not in lost]
    olds, news = found.standings[::2], found.standings[1::2]
    changes = []
    for old, new in zip(olds, news, strict=True):
        groups = {sample.group for sample in measured if old.part in ("all", sample.domain)}
        difference = {name: one for name, one in new.difference.items() if name in SHOWN}
        changes.append(
            DomainChange(old.part, False, len(groups), _select_metrics(old), _select_metrics(new), difference)
        )
    return changes


def _select_metrics(standing: ClassifierMetrics) -> dict[str, Estimate]:
    """The metrics that a gate shows."""
    return {name: standing.metrics[name] for name in SHOWN if name in standing.metrics}


def _advise_by_auc(changes: Sequence[DomainChange], images: int, remedy: str) -> tuple[Advice, str]:
    """Advise by the area under the curve, and say beside it what got worse."""
    whole, *domains = changes
    there = [whole.new[name].count for name in ("sensitivity", "specificity") if name in whole.new]
    fewest = min(there) if len(there) > 1 else 0
    if 0 < fewest < MIN_COUNT:
        are = "is" if fewest == 1 else "are"
        remedy = remedy or HOLD_OUT_MORE
        return "cannot tell", TOO_FEW.format(images=images, fewest=fewest, are=are, least=MIN_COUNT, remedy=remedy)
    advice, reason = advise(whole, domains, "AUC", remedy=remedy)
    return advice, " ".join([reason, *_warn_of_losses(whole)])


def _warn_of_losses(whole: DomainChange) -> Iterator[str]:
    """Sentences on what the area under the curve does not show, where the new model is worse beyond chance."""
    for name, words in WORSE.items():
        change = whole.difference.get(name)
        if change is None or not math.isfinite(change.low):
            continue
        if (change.low > 0) if name == "ECE" else (change.high < 0):
            yield words.format(said=f"{change.mean:+.3f} ({change.format_interval(words='95 % interval ')})")


def _create_comparison(
    found: ClassifierComparison, models: Sequence[BundleInfo], judged: LabeledImages, advice: Advice, reason: str
) -> Comparison:
    """Put it as the docks and the command line read it."""
    whole, *domains = _list_domain_changes(found, judged)
    old, new = (
        ComparedModel(info.name, info.fingerprint, _decision_threshold(info), metrics)
        for info, metrics in zip(models, (whole.old, whole.new), strict=True)
    )
    return Comparison(
        old=old,
        new=new,
        difference=whole.difference,
        domains=tuple(domains),
        better=(),
        worse=(),
        advice=advice,
        reason=reason,
        images=found.standings[0].images,
        patients=whole.patients,
        failed=found.failed,
        facts={
            "warnings": list(found.warnings),
            "training_overlap": judged.overlap.facts if judged.overlap else None,
            "interval": f"{INTERVAL_METHOD}; of differences paired",
            "provenance": collect_provenance(),
        },
        task="classification",
    )


def _decision_threshold(info: BundleInfo) -> float:
    """Where a model's probabilities are cut; in the middle where nobody ever chose."""
    classifier = info.config.classifier
    return classifier.operating_point.cut if classifier and classifier.operating_point else 0.5


ACTIVATED, DISCARDED = "adopted.json", "discarded.json"


def activate_model(run: Path, name: str | None = None) -> BundleInfo:
    """Put the model of a run among the user's own; the one it is to replace stays.

    Returns the model in its new place; asked for again, the same one.
    """
    noted = _read_note(run / ACTIVATED)
    if noted and isinstance(noted.get("path"), str):
        try:
            return read_bundle(Path(noted["path"]))
        except (BundleError, ConfigError):  # removed since: take it over anew
            pass
    write_compared_card(run)
    bundle = install_bundle(read_bundle(RunFolder(run).bundle), name)
    write_json(run / ACTIVATED, {"name": bundle.name, "path": str(bundle.path), "time": round(time.time(), 3)})
    (run / DISCARDED).unlink(missing_ok=True)
    return bundle


def explain_objection(comparison: Comparison | None, *, discarded: bool) -> str:
    """Say what speaks against using the model of a run, with the figures.

    Empty where nothing does.
    """
    said = ["This model was discarded."] if discarded else []
    if comparison is not None and comparison.advice == "keep":
        said += [f"The advice is to keep {comparison.old.name}.", comparison.reason or f"{comparison.summary()}."]
    elif discarded and comparison is not None:
        said.append(f"{comparison.summary()}.")
    return " ".join(said)


def discard_model(run: Path) -> None:
    """Note that the model of a run is not wanted; its files stay, so that it can be taken over after all."""
    if not (run / DISCARDED).exists():
        write_json(run / DISCARDED, {"time": round(time.time(), 3)})


def activated_name(run: Path) -> str | None:
    """Give the name under which the model of a run was taken over.

    None where it was not.
    """
    noted = _read_note(run / ACTIVATED)
    return str(noted["name"]) if noted and "name" in noted else None


def is_discarded(run: Path) -> bool:
    """Say whether the model of a run was found not to be wanted.

    False where it was taken over.
    """
    return (run / DISCARDED).is_file() and not (run / ACTIVATED).is_file()


def _read_note(path: Path) -> dict[str, Any] | None:
    """Read a note; None where there is none."""
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


DEFAULT_SPLIT = {name: DataConfig.model_fields[name].default for name in ("split", "held_out_fraction")}


def find_parent_bundle(recipe: TrainRecipe, folder: RunFolder) -> BundleInfo:
    """Find the model that a run started from, or the shipped one where it started from none.

    With these weights, under whatever name they are now.
    """
    settled = read_resolved(folder)
    parent = settled.continued_model if settled else None
    try:
        found = find_bundle(recipe.model.start if recipe.model.starts_from_bundle else DEFAULT_BUNDLE)
    except BundleError as error:
        same = parent and _find_by_weights(parent.fingerprint)
        if not same:
            raise BundleError(f"the model that {folder.path.name} started from has gone: {error}") from error
        return same
    if parent is None or found.fingerprint == parent.fingerprint:
        return found
    same = _find_by_weights(parent.fingerprint)
    if same is None:
        raise BundleError(
            f"'{found.name}' is another model than the one that {folder.path.name} started from (weights "
            f"{found.fingerprint[:12]} now, {parent.fingerprint[:12]} then). Put the old one back under a name of its "
            "own, or compare with this one: napari-melanoma compare --model OLD --model NEW --data DATASET --out DIR"
        )
    return same


def warn_of_training_images(old: BundleInfo, samples: Sequence[Sample], rules: DataConfig) -> tuple[str, ...]:
    """Say which of the images that judge the old model, or one that it comes from, may have learnt.

    A sentence, or none.
    """
    learnt: dict[str, int] = {}
    for ancestor in _list_provenance(old):
        domains, split, fraction = _training_data_of(ancestor)
        for domain in domains:
            count = sum(s.domain == domain and _may_be_training_image(s, split, fraction, rules) for s in samples)
            learnt[domain] = max(count, learnt.get(domain, 0))
    found = {domain: count for domain, count in sorted(learnt.items()) if count}
    if not found:
        return ()
    named = ", ".join(f"{count} of {domain}" for domain, count in found.items())
    return (
        f"The old model may have learnt some of these images, which flatters it: {named}. "
        "It was trained on data of this name with other splits.",
    )


def _may_be_training_image(sample: Sample, split: str, fraction: float, rules: DataConfig) -> bool:
    """Say whether a model that learnt from a split, and held a share of the rows without one out, may know an image."""
    if split == ALL_SPLITS:
        return True
    return sample.split == split if sample.split else fraction < rules.held_out_fraction


def _training_data_of(provenance: Mapping[str, Any]) -> tuple[list[str], str, float]:
    """Give the names of the data sets that a model has learnt from, the split, and the share that was held out."""
    recipe = provenance.get("recipe") or {}
    rules = {**DEFAULT_SPLIT, **(recipe.get("data") or {})}
    named = [Path(name).name for key in ("datasets", "base") for name in rules.get(key) or ()]
    return sorted({*named, *(provenance.get("train_images") or {})}), rules["split"], rules["held_out_fraction"]


def _list_provenance(bundle: BundleInfo) -> Iterator[Mapping[str, Any]]:
    """Give the provenance of a model, and those of the models that it comes from, as far as they are installed."""
    seen: set[str] = set()
    current: BundleInfo | None = bundle
    while current is not None:
        provenance = current.config.provenance
        yield provenance
        fingerprint = str((provenance.get("parent") or {}).get("fingerprint", ""))
        current = None if fingerprint in seen or not fingerprint else _find_by_weights(fingerprint)
        seen.add(fingerprint)


def _find_by_weights(fingerprint: str) -> BundleInfo | None:
    """Find an installed model by its weights."""
    for bundle in list_bundles():
        try:
            if bundle.fingerprint == fingerprint:
                return bundle
        except OSError:  # its weights were removed
            continue
    return None
