"""Read, split and check the images of a recipe before the first epoch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.prediction_config import UNKNOWN
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Sample,
    check_dataset_names,
    iter_entries,
    read_datasets,
    select_trainable,
)
from napari_melanoma.data.duplicates import Duplicate, find_similar_pairs, load_hash_thumbnails, merge_groups
from napari_melanoma.data.features.encoding import describe_invalid_numbers, describe_rare_words, join_features
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.splits import TrainingSplit, split_samples, split_trainable, validate_on_each_class
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, find_column
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.training import data_checks
from napari_melanoma.training.data_checks import check_every_class, check_labels, scan_files
from napari_melanoma.training.monitor import patience_warnings
from napari_melanoma.training.pixel_store import DecodeJob, decode_missing, user_store_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.training.pixel_store import DecodedFacts, FileInfo, PixelKind, PixelStore
    from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe

YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
OTHER = "other"
MORE_IMAGES = "Add images of {missing} of other patients, or name the classes in classification.classes."
MORE_REGIONS = "Draw another region of {missing}, in another place or on another slide, and make the data set anew."
Key = tuple[str, str]
NEW_HEAD = (
    "To learn them too, name them in classification.classes; where these are those of the model that it starts from, "
    "take its encoder alone (model.take = 'encoder')."
)


@dataclass(frozen=True)
class ClassTable:
    """What the tables of data sets say.

    ``names``: the classes, in the order of the logits.
    """

    names: tuple[str, ...]
    labels: dict[Key, str]
    rows: dict[Key, dict[str, str]]
    others: dict[Key, str] = field(default_factory=dict)

    def label(self, sample: Sample) -> int:
        """Give the place of a sample's class among the names."""
        return self.names.index(self.labels[sample_key(sample)])


def sample_key(sample: Sample) -> Key:
    """Tell a row from all others."""
    return sample.domain, sample.image_id


def read_classes(
    folders: Iterable[str],
    config: ClassificationConfig,
    training_samples: Sequence[Sample],
    unlabeled: Iterable[str] = (),
) -> ClassTable:
    """Read the answers of data sets.

    ``learnt``: of whose classes there are logits, where none are named.
    """
    rows, there = _read_rows(folders, config)
    if config.target not in there:
        raise DataSetError(
            f"no table has a column '{config.target}' (found: {', '.join(sorted(there))}). Set classification.target to "
            "the column that holds the answer."
        )
    answers = row_labels(rows, config.target)
    known = sorted({answers[sample_key(sample)] for sample in training_samples if sample_key(sample) in answers})
    binary = {OTHER, config.target}.issuperset(answers.values())
    names = config.classes or ((OTHER, config.target) if binary and len(known) > 1 else tuple(known))
    _check_class_names(names, known, config)
    beside, _ = _read_rows(unlabeled, config)
    rows |= {key: {name: cell for name, cell in row.items() if name != config.target} for key, row in beside.items()}
    others = {key: answer for key, answer in answers.items() if answer not in names}
    return ClassTable(names, {key: answer for key, answer in answers.items() if answer in names}, rows, others)


def read_strata(folders: Iterable[Path], target: str) -> dict[Key, str]:
    """Read what rows answer, whatever classes are asked for: what splits are stratified by.

    Data set and image id to the class; rows without an answer are not in it.
    """
    rows = {
        (folder.name, entry.image_id): {target: entry.row.get(target, "")}
        for folder in folders
        for entry in iter_entries(folder)
        if isinstance(entry, DatasetEntry)
    }
    return row_labels(rows, target)


def classifiable_samples(samples: Iterable[Sample], config: ClassificationConfig) -> list[Sample]:
    """Keep the images that a classifier can look at, with the masks that it looks at.

    In their order.
    """
    if config.view.region == "photograph":
        return [replace(sample, mask=None) for sample in samples]
    if config.masks == "predicted":
        segmenter = find_bundle(config.segmenter)
        return [replace(sample, mask=predicted_mask_path(sample, segmenter), review=None) for sample in samples]
    return select_trainable(samples)


def class_counts(samples: Iterable[Sample], table: ClassTable) -> dict[str, int]:
    """Count the images of each class.

    In the order of the classes.
    """
    counts = Counter(table.labels[sample_key(sample)] for sample in samples)
    return {name: counts[name] for name in table.names}


def keep_labeled(chosen: SelectedSamples, table: ClassTable) -> tuple[SelectedSamples, list[str]]:
    """Keep the images whose class is known."""
    strange = {
        table.others[sample_key(one)] for one in (*chosen.read, *chosen.judged) if sample_key(one) in table.others
    }
    why = f"are {', '.join(sorted(strange))}, which is not among the classes that are learnt,"
    chosen, notices = filter_samples(chosen, lambda sample: sample_key(sample) not in table.others, why)
    chosen, more = filter_samples(chosen, lambda sample: sample_key(sample) in table.labels, "have no answer")
    return chosen, [*(f"{notice} {NEW_HEAD}" for notice in notices), *more]


def unread_notices(chosen: SelectedSamples, table: ClassTable, config: ClassificationConfig) -> list[str]:
    """Describe cells of the chosen columns that count as unknown although something stands in them."""
    rows = {sample.image_id: table.rows.get(sample_key(sample), {}) for sample in (*chosen.read, *chosen.judged)}
    numbers = [column.name for column in config.tabular.numbers] if config.tabular else []
    numbers += [config.depth.column] if config.depth and config.depth.column not in numbers else []
    learn = {sample.image_id: table.rows.get(sample_key(sample), {}) for sample in chosen.parts.training}
    return [
        *describe_invalid_numbers(rows, numbers),
        *describe_rare_words(learn, config.tabular.words if config.tabular else ()),
    ]


def filter_samples(
    chosen: SelectedSamples, predicate: Callable[[Sample], bool], why: str
) -> tuple[SelectedSamples, list[str]]:
    """Leave images out of every part, and say how many.

    A sentence, or none.
    """
    samples = [*chosen.read, *chosen.judged]
    gone = [sample for sample in samples if not predicate(sample)]
    if not gone:
        return chosen, []
    parts = chosen.parts
    parts = replace(
        parts,
        training=[sample for sample in parts.training if predicate(sample)],
        validation=[sample for sample in parts.validation if predicate(sample)],
        test=[sample for sample in parts.test if predicate(sample)],
    )
    base, aside = (tuple(filter(predicate, part)) for part in (chosen.base, chosen.base_held_out))
    notice = f"{len(gone)} of {len(samples)} images {why} and are left out: {format_names([s.image_id for s in gone])}."
    return replace(chosen, parts=parts, base=base, base_held_out=aside), [notice]


def check_classes(chosen: SelectedSamples, table: ClassTable, what: str = "images", advice: str = MORE_IMAGES) -> None:
    """Refuse data in which a class is missing where it is needed."""
    parts = {"learn from": chosen.parts.training, "tune with": chosen.parts.validation}
    for part, samples in parts.items():
        counts = class_counts(samples, table)
        missing = [name for name in table.names if not counts[name]]
        if missing and (part == "learn from" or len(counts) - len(missing) < 2):
            raise DataSetError(
                f"among the {len(samples)} {what} to {part} none is of the class {' or '.join(missing)}. "
                f"{advice.format(missing=' and of '.join(missing))}"
            )


def check_run_classes(chosen: SelectedSamples, recipe: TrainRecipe, table: ClassTable) -> None:
    """Refuse data in which a class is missing where it is needed, in the words of what they are of."""
    of_tiles = recipe.tile is not None
    check_classes(chosen, table, *(("tiles", MORE_REGIONS) if of_tiles else ("images", MORE_IMAGES)))


def row_labels(rows: Mapping[Key, Mapping[str, str]], target: str) -> dict[Key, str]:
    """Read the class of each row that says one.

    Data set and image id to the word in it; of a column of 1 and 0 to its name and 'other'.
    """
    said = {key: (row.get(target) or "").strip() for key, row in rows.items()}
    said = {key: word for key, word in said.items() if word and word.lower() != UNKNOWN}
    if {word.lower() for word in said.values()} <= {*YES, *NO}:
        return {key: target if word.lower() in YES else OTHER for key, word in said.items()}
    return said


def diagnosis_includes(words: str, name: str) -> bool:
    """Say whether a diagnosis is of a class, as 'melanoma in situ' is of 'melanoma'.

    True where it is among the words.
    """
    return name in words.lower().split()


def _read_rows(folders: Iterable[str], asked: ClassificationConfig) -> tuple[dict[Key, dict[str, str]], set[str]]:
    """Rows with the columns that are asked for alone, as tables may be large, and the names of all that there are."""
    chosen = (*asked.tabular.numbers, *asked.tabular.words) if asked.tabular else ()
    wanted = {asked.target, *(column.name for column in chosen), *([asked.depth.column] if asked.depth else [])}
    rows: dict[Key, dict[str, str]] = {}
    there: set[str] = set()
    for folder in (Path(name).expanduser() for name in folders):
        entries = [entry.row for entry in iter_entries(folder) if isinstance(entry, DatasetEntry)]
        found = join_features(entries, Path(asked.features).expanduser()) if asked.features else entries
        for row in found if asked.features else found[:1]:  # all rows of a table have the same columns
            there.update(row)
        reading = _ColumnReader(wanted)
        rows |= {
            (folder.name, str(row["image_id"])): reading.read({k: str(v) for k, v in row.items()}) for row in found
        }
    return rows, there | {name for row in rows.values() for name in row}


class _ColumnReader:
    """Reads chosen columns; those that a table has under another name, in our words."""

    def __init__(self, wanted: set[str]) -> None:
        self._wanted = wanted
        self._harmoniser = Harmonizer()

    def read(self, row: dict[str, str]) -> dict[str, str]:
        """Take what was asked for from a row."""
        found = {name: row[name] for name in self._wanted if name in row}
        lacking = self._wanted - found.keys()
        if not lacking:
            return found
        ours = self._harmoniser.harmonize_row(row)
        for name in lacking:
            column = find_column(name)
            given = (
                f"{name}{AS_GIVEN_SUFFIX}" if column and column.kind == "number" else name
            )  # an impossible one is reported
            if text := ours.get(name) or ours.get(given):
                found[name] = text
        return found


def _check_class_names(names: Sequence[str], known: Sequence[str], asked: ClassificationConfig) -> None:
    """Refuse classes that nothing can be learnt from."""
    if len(known) < 2:
        raise DataSetError(
            f"the column '{asked.target}' has {format_count(len(known), 'class')} among what is learnt from "
            f"({', '.join(known) or 'none'}), expected two or more: there is nothing to tell apart. Add some of "
            "another class, or set classification.target to another column."
        )
    if asked.positive not in names:
        raise DataSetError(
            f"classification.positive is '{asked.positive}', but the classes of '{asked.target}' are "
            f"{', '.join(names)}. Set it to one of them."
        )


@dataclass(frozen=True)
class SelectedSamples:
    """The images of a run by the part that each plays."""

    parts: TrainingSplit
    base: tuple[Sample, ...] = ()
    base_held_out: tuple[Sample, ...] = ()
    left_out: tuple[Sample, ...] = ()
    unlabelled: tuple[Sample, ...] = ()

    @property
    def read(self) -> list[Sample]:
        """Samples whose pixels the run reads: learn, tuning, base."""
        return [*self.parts.training, *self.parts.validation, *self.base]

    @property
    def judged(self) -> list[Sample]:
        """Samples that only the finished model sees."""
        return [*self.parts.test, *self.base_held_out]


@dataclass(frozen=True)
class DataSelection:
    """What is known of the images of a run once all are checked."""

    chosen: SelectedSamples
    contents: Mapping[Path, FileInfo]
    facts: Mapping[Path, DecodedFacts]
    notices: tuple[str, ...]
    table: ClassTable | None = None

    @property
    def lesion_share(self) -> float:
        """Share of lesion in the masks to learn from, averaged over images, 0 to 1."""
        shares = [self.facts[sample.mask].lesion for sample in self.chosen.parts.training if sample.mask]
        return sum(shares) / max(1, len(shares))


def select_data(recipe: TrainRecipe, store: PixelStore, run: RunContext, *, keep: bool) -> DataSelection:
    """Read, split and check the images of a recipe.

    ``keep``: put decoded pixels into the store; without it, files that nothing is known of are only looked at.
    """
    chosen = select_samples(recipe)
    chosen, table, unanswered = select_labeled(chosen, recipe)
    data_checks.check_counts(chosen.parts)
    samples = [*chosen.read, *chosen.unlabelled, *chosen.judged]
    files = [path for sample in samples for path in sample_files(sample)]
    contents = scan_files(files, store.index, run)
    data_checks.check_readable(contents.faults)
    data_checks.check_stated_sizes(samples, contents.known)
    pixels = keep and table is None  # of a classifier its views are kept
    looked_at = [*chosen.unlabelled, *chosen.judged]
    masks = recipe.mask_kind
    jobs = [*_jobs(chosen.read, contents.known, masks, pixels), *_jobs(looked_at, contents.known, masks, keep=False)]
    data_checks.check_readable(decode_missing(store, jobs, recipe.data.cache_size, run))
    facts = _facts(jobs, store)
    data_checks.check_sizes(samples, facts)
    same = (
        find_same_pictures(chosen, facts, run, keep=keep) if recipe.tile is None else find_copied_slides(chosen, facts)
    )
    chosen, notices = remove_leaks(chosen, same)
    data_checks.check_counts(chosen.parts)
    chosen, said = _checked_masks(chosen, recipe, facts, table)
    notices = [*unanswered, *notices, *said, *_patient_warnings(chosen), *data_checks.data_warnings(chosen.parts)]
    notices += [
        *patience_warnings(recipe),
        *([] if recipe.classes else data_checks.empty_mask_warnings(chosen.parts, facts)),
    ]
    return DataSelection(chosen, contents.known, facts, tuple(notices), table)


def _checked_masks(
    chosen: SelectedSamples, recipe: TrainRecipe, facts: Mapping[Path, DecodedFacts], table: ClassTable | None
) -> tuple[SelectedSamples, list[str]]:
    """Refuse masks, label images or answers that nothing can be learnt from; leave out what a classifier cannot see."""
    if table is not None:
        chosen, notices = _with_lesions(chosen, recipe, facts)
        check_run_classes(chosen, recipe, table)
        return chosen, notices
    if recipe.classes:
        check_labels([*chosen.read, *chosen.judged], facts, recipe.classes)
        check_every_class(chosen.parts.training, facts, recipe.classes)
    else:
        data_checks.check_lesions(chosen.parts.training, facts)
    return chosen, []


def select_labeled(
    chosen: SelectedSamples, recipe: TrainRecipe
) -> tuple[SelectedSamples, ClassTable | None, list[str]]:
    """Of a classification, keep the images whose class is known.

    Returns the answers; None where it is no classification.
    """
    if recipe.classification is None:
        return chosen, None, []
    learnt = [*chosen.parts.training, *chosen.parts.validation]
    asked = recipe.classification
    table = read_classes([*recipe.data.datasets, *recipe.data.base], asked, learnt, asked.adaptation.to)
    known, notices = keep_labeled(chosen, table)
    return known, table, [*notices, *unread_notices(known, table, asked)]


def _with_lesions(
    chosen: SelectedSamples, recipe: TrainRecipe, facts: Mapping[Path, DecodedFacts]
) -> tuple[SelectedSamples, list[str]]:
    """Leave out what has no lesion to cut around, where the network sees no more than that."""
    if recipe.classification is None or recipe.classification.view.region == "photograph":
        return chosen, []

    def has_lesion(sample: Sample) -> bool:
        return sample.mask is not None and facts[sample.mask].lesion > 0

    chosen = replace(chosen, unlabelled=tuple(filter(has_lesion, chosen.unlabelled)))
    return filter_samples(chosen, has_lesion, "have an empty mask")


def select_samples(recipe: TrainRecipe) -> SelectedSamples:
    """Read the tables of the data sets and split their rows."""
    to = recipe.classification.adaptation.to if recipe.classification else ()
    check_dataset_names([Path(folder).expanduser() for folder in (*recipe.data.datasets, *recipe.data.base, *to)])
    parts = _split(recipe, recipe.data.datasets)
    unlabelled = _read_unlabeled(recipe, parts)
    if not recipe.data.base:
        return SelectedSamples(parts, left_out=parts.left_out, unlabelled=unlabelled)
    try:
        base = _split(recipe, recipe.data.base)
    except DataSetError as error:
        raise DataSetError(f"data.base: {error} Name another folder, or leave data.base empty.") from error
    learnt = (*base.training, *base.validation)
    if not learnt:
        raise DataSetError(
            f"data.base: found no image with a mask in the split '{recipe.data.split}' of "
            f"{format_names(recipe.data.base)}. Name another folder, or leave data.base empty."
        )
    left_out = (*parts.left_out, *base.left_out)
    return _without_judged_patients(SelectedSamples(parts, learnt, tuple(base.test), left_out, unlabelled))


def _read_unlabeled(recipe: TrainRecipe, parts: TrainingSplit) -> tuple[Sample, ...]:
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
    judged = {sample.group for sample in (*parts.test, *parts.validation)}
    found = tuple(sample for sample in (*there.training, *there.validation) if sample.group not in judged)
    if not found:
        raise DataSetError(
            f"classification.adaptation.to: found no image with a mask in the split '{recipe.data.split}' of "
            f"{format_names(to)}. Name another folder."
        )
    return found


def sample_files(sample: Sample) -> list[Path]:
    """Name the files that are read of a sample.

    Returns the image, and the mask where one is looked at.
    """
    return [sample.image, *([sample.mask] if sample.mask else [])]


def decode_jobs(
    sample: Sample, contents: Mapping[Path, FileInfo], masks: PixelKind = "mask", *, keep: bool
) -> list[DecodeJob]:
    """Say what there is to decode of a sample.

    ``keep``: whether their pixels go into the store. Returns the image, then the mask where there is one.
    """
    kinds: tuple[PixelKind, ...] = ("image", masks)
    return [
        DecodeJob(kind, path, contents[path], keep) for kind, path in zip(kinds, sample_files(sample), strict=False)
    ]


def _jobs(
    samples: Iterable[Sample], contents: Mapping[Path, FileInfo], masks: PixelKind, keep: bool
) -> list[DecodeJob]:
    """Say what there is to decode of samples."""
    return [job for sample in samples for job in decode_jobs(sample, contents, masks, keep=keep)]


def _facts(jobs: Sequence[DecodeJob], store: PixelStore) -> dict[Path, DecodedFacts]:
    """Collect what was found in each file."""
    facts = {}
    for job in jobs:
        found = store.index.facts(job.kind, job.content.sha)
        assert found is not None
        facts[job.path] = found
    return facts


def _without_judged_patients(chosen: SelectedSamples) -> SelectedSamples:
    """Learn from nobody who is held out, where the base data and those of the run are of the same patients."""
    judged = {sample.group for sample in chosen.judged}
    parts, left_out = chosen.parts, [sample for sample in chosen.read if sample.group in judged]
    if not left_out:
        return chosen
    learn, tuning, base = (
        [sample for sample in samples if sample.group not in judged]
        for samples in (parts.training, parts.validation, chosen.base)
    )
    parts = TrainingSplit(learn, tuning, parts.test)
    return replace(chosen, parts=parts, base=tuple(base), left_out=(*chosen.left_out, *left_out))


def _patient_warnings(chosen: SelectedSamples) -> list[str]:
    """Say what was done about patients who are held out, and who may be held out under one name in two data sets."""
    found = []
    if chosen.left_out:
        groups = {sample.group for sample in chosen.left_out}
        found.append(
            f"{len(chosen.left_out)} of the images are not learnt from, as others of their patient or lesion are held "
            f"out: {format_names(sorted(groups))}. Give all images of a patient the same split."
        )
    judged, read = ({_owner(sample) for sample in samples} for samples in (chosen.judged, chosen.read))
    if shared := sorted(judged & read):
        found.append(
            f"{len(shared)} of the patients, lesions or images are held out in one data set, and learnt from in "
            f"another under the same name: {format_names(shared)}. If they are the same people, give them the "
            "same split."
        )
    return found


def _owner(sample: Sample) -> str:
    """Name of the patient, lesion or image whose group a sample is in, without its data set."""
    return sample.group.removeprefix(f"{sample.domain}/")


def _split(recipe: TrainRecipe, folders: Iterable[str]) -> TrainingSplit:
    """Read data sets and split their rows as one."""
    paths = [Path(folder).expanduser() for folder in folders]
    samples = read_datasets(paths)
    if recipe.classification is None:
        return split_trainable(samples, recipe.data, recipe.seed)
    answers = read_strata(paths, recipe.classification.target)
    seen = classifiable_samples(samples, recipe.classification)

    def answer(sample: Sample) -> str:
        return answers.get(sample_key(sample), "")

    parts = split_samples(seen, recipe.data, recipe.seed, answer)
    return parts if recipe.tile is None else validate_on_each_class(parts, answer)


PREDICTED_MASKS = "drawn"


def predicted_mask_path(sample: Sample, segmenter: BundleInfo) -> Path:
    """Name the mask that a model draws of an image.

    Returns another one once the image or the model has changed; it may not have been drawn yet.
    """
    status = sample.image.stat()
    said = f"{sample.image.absolute()} {status.st_size} {status.st_mtime_ns}"
    name = hashlib.sha256(said.encode()).hexdigest()[:32]
    return user_store_folder() / PREDICTED_MASKS / segmenter.fingerprint[:16] / f"{name}.png"


MIN_SHARED_TILES = 0.5  # share of the tiles of a slide that another one has too, pixel by pixel
TRAIN, VALIDATION, TEST = range(3)  # of two parts that share a patient, the higher one keeps the images


def find_same_pictures(
    chosen: SelectedSamples, facts: Mapping[Path, DecodedFacts], run: RunContext, *, keep: bool
) -> list[Duplicate]:
    """Find the images of a run that show the same picture.

    Only images of different parts are compared by their looks. What must not be learnt because of that is then compared
    with what is left, again until nothing new is found: a lesion that is judged in one data set may be learnt in a
    second under a name that only a third image of it reveals.

    Returns the likeness is 1 where the pixels are the same.
    """
    samples, parts = _with_parts(chosen)
    found = _same_pixels(samples, facts)
    thumbnails = load_hash_thumbnails([sample.image for sample in samples], run, use_cache=keep).thumbnails
    compared: NDArray[np.integer] | None = None
    while True:
        pairs = sorted(find_similar_pairs(*_select_thumbnails(thumbnails, parts, compared), run))
        places = np.arange(len(samples)) if compared is None else compared
        found += [Duplicate(samples[places[p.first]], samples[places[p.second]], p.likeness) for p in pairs]
        raised = _highest_parts(samples, parts, found)
        changed = np.flatnonzero(raised > parts)
        if not len(changed):
            return found
        # What is new is compared with those that are below it by now.
        parts = raised
        compared = np.union1d(changed, np.flatnonzero(parts < parts[changed].max()))


def find_copied_slides(chosen: SelectedSamples, facts: Mapping[Path, DecodedFacts]) -> list[Duplicate]:
    """Find the slides of a run that were copied, by their tiles.

    Tiles of glass, fat or dermis look alike without being the same place: by their looks whole patients would be left
    out. Slides of which half of the tiles have the same pixels are one slide.

    Tiles with the same pixels, of groups that share so many.
    """
    samples, _ = _with_parts(chosen)
    sizes = Counter(sample.group for sample in samples)
    seen = Counter((sample.group, facts[sample.image].pixels) for sample in samples if sample.image in facts)
    # What a slide shows more than once, such as bare glass, is nobody's picture.
    single = [one for one in samples if one.image in facts and seen[one.group, facts[one.image].pixels] == 1]
    found = _same_pixels(single, facts)
    shared = Counter(frozenset((pair.first.group, pair.second.group)) for pair in found)
    return [
        pair
        for pair in found
        if shared[frozenset((pair.first.group, pair.second.group))]
        >= MIN_SHARED_TILES * min(sizes[pair.first.group], sizes[pair.second.group])
    ]


def remove_leaks(chosen: SelectedSamples, same: Sequence[Duplicate]) -> tuple[SelectedSamples, list[str]]:
    """Keep a group in one part, and with it all that show one of its pictures: the judged first, then the tuned on.

    Nobody is learnt from who is tuned on or judged, under whatever name. A sentence for each kind of removal, with the
    pictures and how alike they are.
    """
    samples, parts = _with_parts(chosen)
    raised = _highest_parts(samples, parts, same)
    dropped = {id(sample): int(part) for sample, part, now in zip(samples, parts, raised, strict=True) if now > part}
    if not dropped:
        return chosen, []
    learn, tuning, base = (
        [sample for sample in some if id(sample) not in dropped]
        for some in (chosen.parts.training, chosen.parts.validation, chosen.base)
    )
    notices = []
    for part, what, where in ((TRAIN, "learnt from", "held out or tuned on"), (VALIDATION, "tuned on", "held out")):
        removed = [sample for sample in samples if dropped.get(id(sample)) == part]
        if removed:
            notices.append(_leak_notice(removed, same, what, where))
    return replace(chosen, parts=TrainingSplit(learn, tuning, chosen.parts.test), base=tuple(base)), notices


def _with_parts(chosen: SelectedSamples) -> tuple[list[Sample], NDArray[np.integer]]:
    """All images with the number of their part; those left out are of groups that are judged."""
    parts = (
        [*chosen.parts.training, *chosen.base],
        chosen.parts.validation,
        [*chosen.judged, *chosen.left_out],
    )
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return [sample for part in parts for sample in part], numbers


def _same_pixels(samples: Sequence[Sample], facts: Mapping[Path, DecodedFacts]) -> list[Duplicate]:
    """Images whose pixels are the same, each with the first one."""
    first: dict[str, Sample] = {}
    found = []
    for sample in samples:
        if sample.image in facts:
            other = first.setdefault(facts[sample.image].pixels, sample)
            if other is not sample:
                found.append(Duplicate(other, sample, 1.0))
    return found


def _select_thumbnails(
    thumbnails: NDArray[np.uint8], parts: NDArray[np.integer], places: NDArray[np.integer] | None
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Thumbnails and parts of some images; of all, without a copy, where none are named."""
    return (thumbnails, parts) if places is None else (thumbnails[places], parts[places])


def _highest_parts(
    samples: Sequence[Sample], parts: NDArray[np.integer], same: Sequence[Duplicate]
) -> NDArray[np.integer]:
    """The highest part that anything of an image's joined group has."""
    groups = merge_groups(samples, same)
    highest: dict[str, int] = {}
    for group, part in zip(groups, parts, strict=True):
        highest[group] = max(int(part), highest.get(group, TRAIN))
    return np.asarray([highest[group] for group in groups])


def _leak_notice(removed: Sequence[Sample], same: Sequence[Duplicate], what: str, where: str) -> str:
    """Say how many images are removed and why, with the pictures that are there twice."""
    groups = {sample.group for sample in removed}
    pairs = {
        f"{_name(pair.first)} and {_name(pair.second)} (likeness {pair.likeness:.2f})": None
        for pair in same
        if (pair.first.group in groups or pair.second.group in groups) and pair.first.group != pair.second.group
    }
    because = f" The same picture: {format_names(pairs)}." if pairs else ""
    return (
        f"Not {what}, as the same picture, or another one of the same patient or lesion, is {where} under another "
        f"name: {len(removed)} of the images, {format_names([_name(sample) for sample in removed])}.{because}"
    )


def _name(sample: Sample) -> str:
    """An image with its data set: two may have images of one name."""
    return f"{sample.domain}/{sample.image_id}"
