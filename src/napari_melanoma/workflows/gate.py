"""The gate: the model of a run against the one it started from, on images that the run has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.analysis.statistics import INTERVAL
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.errors import BundleError, DataSetError, RunError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, read_datasets
from napari_melanoma.data.splits import drawn_by_name, split_parts
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data
from napari_melanoma.workflows.adoption import discard, take_over
from napari_melanoma.workflows.class_gate import compare_with_start, evaluate_held_out
from napari_melanoma.workflows.compare import ComparisonOptions, compare_models
from napari_melanoma.workflows.compare_labels import compare_label_models
from napari_melanoma.workflows.comparison import ComparedModel, Comparison, read_comparison
from napari_melanoma.workflows.evaluate_bags import evaluate_bags_held_out
from napari_melanoma.workflows.evaluate_labels import evaluate_labels_held_out
from napari_melanoma.workflows.label_files import label_lead
from napari_melanoma.workflows.lineage import may_have_learnt, parent_bundle
from napari_melanoma.workflows.training_overlap import Overlap, find_overlap
from napari_melanoma.workflows.training_start import settled_in

__all__ = ["HeldOut", "discard", "evaluate_alone", "gate", "has_no_start", "held_out", "take_over"]

MOST_OF_BASE = 500  # images say what was forgotten to within 0.01; thousands take as long as the training
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


def gate(run_path: Path, *, run: RunContext) -> Comparison:
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
    old, new = parent_bundle(recipe, folder), _own(folder)
    found = held_out(recipe, folder)
    samples = list(found.samples)
    overlap = find_overlap([old, new], samples, run=run)
    stated = () if old.name not in overlap.unknown else may_have_learnt(old, samples, recipe.data)
    notes = (*found.notes, *stated, *_accepted(overlap.kept))
    with atomic_folder(folder.comparison) as temporary:
        if not overlap.kept:
            _not_compared((old, new), overlap, recipe).write(temporary)
        elif recipe.task == "classification":
            compare_with_start(folder, [old, new], notes, temporary, run=run)
        else:
            remedy = " ".join(overlap.more_needed(recipe.data.held_out_fraction))
            options = ComparisonOptions(base=found.base, notes=notes, remedy=remedy)
            compare = compare_label_models if recipe.classes else compare_models
            compare([old, new], samples, temporary, options, run=run, overlap=overlap)
    return read_comparison(folder.comparison)


def _not_compared(models: tuple[BundleInfo, BundleInfo], overlap: Overlap, recipe: TrainRecipe) -> Comparison:
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
        reason=" ".join([NONE_LEFT, *overlap.more_needed(recipe.data.held_out_fraction)]),
        images=0,
        patients=0,
        facts={
            "warnings": list(overlap.warnings),
            "training_overlap": overlap.facts,
            "interval": INTERVAL,
            "provenance": provenance(),
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
    from napari_melanoma.workflows.class_files import lead_of

    folder = RunFolder(run_path)
    recipe = read_toml(folder.config, TrainRecipe)
    if recipe.bags is not None:
        slides = evaluate_bags_held_out(folder, _own(folder), run=run)
        return SLIDES.format(slides=len(slides.told.labels), lead=lead_of(slides))
    if recipe.classes:
        found = evaluate_labels_held_out(folder, _own(folder), run=run)
        return ALONE_SEVERAL.format(images=found.images, lead=label_lead(found))
    evaluation = evaluate_held_out(folder, _own(folder), run=run)
    return ALONE.format(images=len(evaluation.told.labels), lead=lead_of(evaluation))


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
    settled = settled_in(folder)
    return bool(recipe.classes or recipe.task == "classification") and (settled is None or settled.whole is None)


@dataclass(frozen=True)
class HeldOut:
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


def held_out(recipe: TrainRecipe, folder: RunFolder) -> HeldOut:
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
        of_base = [sample for sample in _base_held_out(recipe) if sample.group not in groups]
    except DataSetError:
        if not samples:
            raise
        return HeldOut(tuple(samples), (), (NO_BASE.format(names=_names(recipe)),))
    if not samples and not of_base:
        raise RunError(
            f"{folder.path.name} held no image out, so nothing can be judged. Set data.held_out_fraction, or name "
            "images with the split that data.held_out_split says."
        )
    notes = (MANY.format(shown=MOST_OF_BASE, count=len(of_base)),) if len(of_base) > MOST_OF_BASE else ()
    of_base = drawn_by_name(of_base, MOST_OF_BASE)
    return HeldOut((*samples, *of_base), tuple(sorted({sample.domain for sample in of_base} - names)), notes)


def _accepted(samples: Sequence[Sample]) -> list[str]:
    """Say how many masks are no person's own, where there are any."""
    count = sum(sample.review == "accepted" for sample in samples)
    return [ACCEPTED.format(count=count, total=len(samples))] if count else []


def _own(folder: RunFolder) -> BundleInfo:
    """The model of a run."""
    try:
        return read_bundle(folder.bundle)
    except BundleError as error:
        raise RunError(f"{folder.path.name} has no model yet; let the run finish first.") from error


def _base_held_out(recipe: TrainRecipe) -> Iterable[Sample]:
    """What the base data hold out, by the rule by which the run split them."""
    folders = [Path(name).expanduser() for name in recipe.data.base]
    return split_parts(read_datasets(folders), recipe.data, recipe.seed).held_out


def _names(recipe: TrainRecipe) -> str:
    """Names of the base data, without their folders."""
    return ", ".join(Path(name).name for name in recipe.data.base)
