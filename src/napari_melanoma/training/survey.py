"""Reading, splitting and checking the images of a recipe before the first epoch, each file once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import Sample, check_names, read_datasets
from napari_melanoma.data.splits import Parts, parts_of, split_parts, tuned_on_each
from napari_melanoma.training import data_faults
from napari_melanoma.training.class_rows import (
    ClassTable,
    check_every_answer,
    kept,
    key_of,
    looked_at,
    read_classes,
    strata_of,
    unread_notices,
    with_answers,
)
from napari_melanoma.training.contents import read_contents
from napari_melanoma.training.decoding import Job, fill
from napari_melanoma.training.label_faults import check_every_class, check_labels
from napari_melanoma.training.patience import impatience
from napari_melanoma.training.same_pictures import find_copies, find_same, without_leaks

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.cache_index import Content, Facts, Kind
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.store import PixelStore


@dataclass(frozen=True)
class Chosen:
    """The images of a run by the part that each plays."""

    parts: Parts
    base: tuple[Sample, ...] = ()
    base_held_out: tuple[Sample, ...] = ()
    left_out: tuple[Sample, ...] = ()
    unlabelled: tuple[Sample, ...] = ()

    @property
    def read(self) -> list[Sample]:
        """Samples whose pixels the run reads: learn, tuning, base."""
        return [*self.parts.learn, *self.parts.tuning, *self.base]

    @property
    def judged(self) -> list[Sample]:
        """Samples that only the finished model sees."""
        return [*self.parts.held_out, *self.base_held_out]


@dataclass(frozen=True)
class Survey:
    """What is known of the images of a run once all are checked."""

    chosen: Chosen
    contents: Mapping[Path, Content]
    facts: Mapping[Path, Facts]
    notices: tuple[str, ...]
    table: ClassTable | None = None

    @property
    def lesion_share(self) -> float:
        """Share of lesion in the masks to learn from, averaged over images, 0 to 1."""
        shares = [self.facts[sample.mask].lesion for sample in self.chosen.parts.learn if sample.mask]
        return sum(shares) / max(1, len(shares))


def survey(recipe: TrainRecipe, store: PixelStore, run: RunContext, *, keep: bool) -> Survey:
    """Read, split and check the images of a recipe.

    ``keep``: put decoded pixels into the store; without it, files that nothing is known of are only looked at.
    """
    chosen = choose(recipe)
    chosen, table, unanswered = answered(chosen, recipe)
    data_faults.check_counts(chosen.parts)
    samples = [*chosen.read, *chosen.unlabelled, *chosen.judged]
    files = [path for sample in samples for path in files_of(sample)]
    contents = read_contents(files, store.index, run)
    data_faults.check_readable(contents.faults)
    data_faults.check_stated_sizes(samples, contents.known)
    pixels = keep and table is None  # of a classifier its views are kept
    looked_at = [*chosen.unlabelled, *chosen.judged]
    masks = recipe.mask_kind
    jobs = [*_jobs(chosen.read, contents.known, masks, pixels), *_jobs(looked_at, contents.known, masks, keep=False)]
    data_faults.check_readable(fill(store, jobs, recipe.data.cache_size, run))
    facts = _facts(jobs, store)
    data_faults.check_sizes(samples, facts)
    same = find_same(chosen, facts, run, keep=keep) if recipe.tile is None else find_copies(chosen, facts)
    chosen, notices = without_leaks(chosen, same)
    data_faults.check_counts(chosen.parts)
    chosen, said = _checked_masks(chosen, recipe, facts, table)
    notices = [*unanswered, *notices, *said, *_of_patients(chosen), *data_faults.warnings(chosen.parts)]
    notices += [*impatience(recipe), *([] if recipe.classes else data_faults.empty_masks(chosen.parts, facts))]
    return Survey(chosen, contents.known, facts, tuple(notices), table)


def _checked_masks(
    chosen: Chosen, recipe: TrainRecipe, facts: Mapping[Path, Facts], table: ClassTable | None
) -> tuple[Chosen, list[str]]:
    """Refuse masks, label images or answers that nothing can be learnt from; leave out what a classifier cannot see."""
    if table is not None:
        chosen, notices = _with_lesions(chosen, recipe, facts)
        check_every_answer(chosen, recipe, table)
        return chosen, notices
    if recipe.classes:
        check_labels([*chosen.read, *chosen.judged], facts, recipe.classes)
        check_every_class(chosen.parts.learn, facts, recipe.classes)
    else:
        data_faults.check_lesions(chosen.parts.learn, facts)
    return chosen, []


def answered(chosen: Chosen, recipe: TrainRecipe) -> tuple[Chosen, ClassTable | None, list[str]]:
    """Of a classification, keep the images whose class is known.

    Returns the answers; None where it is no classification.
    """
    if recipe.classification is None:
        return chosen, None, []
    learnt = [*chosen.parts.learn, *chosen.parts.tuning]
    asked = recipe.classification
    table = read_classes([*recipe.data.datasets, *recipe.data.base], asked, learnt, asked.adaptation.to)
    known, notices = with_answers(chosen, table)
    return known, table, [*notices, *unread_notices(known, table, asked)]


def _with_lesions(chosen: Chosen, recipe: TrainRecipe, facts: Mapping[Path, Facts]) -> tuple[Chosen, list[str]]:
    """Leave out what has no lesion to cut around, where the network sees no more than that."""
    if recipe.classification is None or recipe.classification.view.region == "photograph":
        return chosen, []

    def has_lesion(sample: Sample) -> bool:
        return sample.mask is not None and facts[sample.mask].lesion > 0

    chosen = replace(chosen, unlabelled=tuple(filter(has_lesion, chosen.unlabelled)))
    return kept(chosen, has_lesion, "have an empty mask")


def choose(recipe: TrainRecipe) -> Chosen:
    """Read the tables of the data sets and split their rows."""
    to = recipe.classification.adaptation.to if recipe.classification else ()
    check_names([Path(folder).expanduser() for folder in (*recipe.data.datasets, *recipe.data.base, *to)])
    parts = _split(recipe, recipe.data.datasets)
    unlabelled = _unlabelled(recipe, parts)
    if not recipe.data.base:
        return Chosen(parts, left_out=parts.left_out, unlabelled=unlabelled)
    try:
        base = _split(recipe, recipe.data.base)
    except DataSetError as error:
        raise DataSetError(f"data.base: {error} Name another folder, or leave data.base empty.") from error
    learnt = (*base.learn, *base.tuning)
    if not learnt:
        raise DataSetError(
            f"data.base: found no image with a mask in the split '{recipe.data.split}' of "
            f"{first_few(recipe.data.base)}. Name another folder, or leave data.base empty."
        )
    left_out = (*parts.left_out, *base.left_out)
    return _without_judged_patients(Chosen(parts, learnt, tuple(base.held_out), left_out, unlabelled))


def _unlabelled(recipe: TrainRecipe, parts: Parts) -> tuple[Sample, ...]:
    """Images of the domain that a classifier is adapted to; nobody who is held out, there or here, is among them."""
    asked = recipe.classification
    if asked is None:
        return ()
    method, to = asked.adaptation.method, asked.adaptation.to
    if not to:
        if method in ("adabn", "fourier", "pseudo_labels") or (method != "none" and len(recipe.data.datasets) < 2):
            raise DataSetError(
                f"adaptation by {method} brings two domains together, and there is one. Name a data set in "
                "classification.adaptation.to."
            )
        return ()
    there = _split(recipe, to)
    judged = {sample.group for sample in (*parts.held_out, *parts.tuning)}
    found = tuple(sample for sample in (*there.learn, *there.tuning) if sample.group not in judged)
    if not found:
        raise DataSetError(
            f"classification.adaptation.to: found no image with a mask in the split '{recipe.data.split}' of "
            f"{first_few(to)}. Name another folder."
        )
    return found


def files_of(sample: Sample) -> list[Path]:
    """Name the files that are read of a sample.

    Returns the image, and the mask where one is looked at.
    """
    return [sample.image, *([sample.mask] if sample.mask else [])]


def jobs_of(sample: Sample, contents: Mapping[Path, Content], masks: Kind = "mask", *, keep: bool) -> list[Job]:
    """Say what there is to decode of a sample.

    ``keep``: whether their pixels go into the store. Returns the image, then the mask where there is one.
    """
    kinds: tuple[Kind, ...] = ("image", masks)
    return [Job(kind, path, contents[path], keep) for kind, path in zip(kinds, files_of(sample), strict=False)]


def _jobs(samples: Iterable[Sample], contents: Mapping[Path, Content], masks: Kind, keep: bool) -> list[Job]:
    """Say what there is to decode of samples."""
    return [job for sample in samples for job in jobs_of(sample, contents, masks, keep=keep)]


def _facts(jobs: Sequence[Job], store: PixelStore) -> dict[Path, Facts]:
    """Collect what was found in each file."""
    facts = {}
    for job in jobs:
        found = store.index.facts(job.kind, job.content.sha)
        assert found is not None
        facts[job.path] = found
    return facts


def _without_judged_patients(chosen: Chosen) -> Chosen:
    """Learn from nobody who is held out, where the base data and those of the run are of the same patients."""
    judged = {sample.group for sample in chosen.judged}
    parts, left_out = chosen.parts, [sample for sample in chosen.read if sample.group in judged]
    if not left_out:
        return chosen
    learn, tuning, base = (
        [sample for sample in samples if sample.group not in judged]
        for samples in (parts.learn, parts.tuning, chosen.base)
    )
    parts = Parts(learn, tuning, parts.held_out)
    return replace(chosen, parts=parts, base=tuple(base), left_out=(*chosen.left_out, *left_out))


def _of_patients(chosen: Chosen) -> list[str]:
    """Say what was done about patients who are held out, and who may be held out under one name in two data sets."""
    found = []
    if chosen.left_out:
        groups = {sample.group for sample in chosen.left_out}
        found.append(
            f"{len(chosen.left_out)} of the images are not learnt from, as others of their patient or lesion are held "
            f"out: {first_few(sorted(groups))}. Give all images of a patient the same split."
        )
    judged, read = ({_owner(sample) for sample in samples} for samples in (chosen.judged, chosen.read))
    if shared := sorted(judged & read):
        found.append(
            f"{len(shared)} of the patients, lesions or images are held out in one data set, and learnt from in "
            f"another under the same name: {first_few(shared)}. If they are the same people, give them the "
            "same split."
        )
    return found


def _owner(sample: Sample) -> str:
    """Name of the patient, lesion or image whose group a sample is in, without its data set."""
    return sample.group.removeprefix(f"{sample.domain}/")


def _split(recipe: TrainRecipe, folders: Iterable[str]) -> Parts:
    """Read data sets and split their rows as one."""
    paths = [Path(folder).expanduser() for folder in folders]
    samples = read_datasets(paths)
    if recipe.classification is None:
        return split_parts(samples, recipe.data, recipe.seed)
    answers = strata_of(paths, recipe.classification.target)
    seen = looked_at(samples, recipe.classification)

    def answer(sample: Sample) -> str:
        return answers.get(key_of(sample), "")

    parts = parts_of(seen, recipe.data, recipe.seed, answer)
    return parts if recipe.tile is None else tuned_on_each(parts, answer)
