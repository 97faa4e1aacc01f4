"""Selection of the images of a run: read, split and check them, and remove leaks between the parts."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.paths import expand_user
from napari_melanoma.core.prediction_config import UNKNOWN
from napari_melanoma.data.cell_values import MELANOMA, expand_diagnosis, translate_diagnosis
from napari_melanoma.data.class_names import excludes_lesion
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Key,
    Review,
    Sample,
    check_dataset_names,
    check_lesion_masks,
    describe_patients_of,
    iter_entries,
    order_by_name,
    read_datasets,
    read_rows,
    select_not_rejected,
    select_trainable,
)
from napari_melanoma.data.duplicates import Duplicate, find_similar_pairs, load_hash_thumbnails, merge_groups
from napari_melanoma.data.harmonize import Harmonizer, find_parser
from napari_melanoma.data.splits import (
    TrainingSplit,
    find_patient_leaks,
    find_validation_split,
    get_diagnosis,
    validate_on_each_class,
)
from napari_melanoma.data.table_mapping import find_column_meanings
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, find_column
from napari_melanoma.data.tabular_encoding import (
    check_columns,
    describe_invalid_numbers,
    describe_rare_values,
    join_features,
    read_word,
)
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.training import data_checks
from napari_melanoma.training.data_checks import check_every_class, check_labels, scan_files
from napari_melanoma.training.monitor import patience_warnings
from napari_melanoma.training.pixel_store import (
    DecodedFacts,
    DecodeJob,
    FileInfo,
    PixelKind,
    PixelStore,
    decode_missing,
    user_store_folder,
)
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe
from napari_melanoma.training.run_data import choose_split

YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")  # cells of a column of 1 and 0
MIN_SHARED_TILES = 0.5  # slides are copies if they share this part of the tiles of one of them
TRAIN, VALIDATION, TEST = range(3)  # ranks of the parts: images of a patient stay in the highest part only
REJECTED: Review = "rejected"
PREDICTED_MASKS = "drawn"  # folder of predicted masks in the pixel store
OTHER = "other"  # the negative class of a column of 1 and 0
MALIGNANCY_COLUMN = "target"  # column of the harmonized table: 1 if malignant
ONE_SPLIT = "Assign all images of a patient to the same split."
MORE_IMAGES = "Add images of {missing} of other patients, or list the classes in classification.classes."
MORE_REGIONS = (
    "Draw another region of {missing}, at another position or on another slide, and export the data set again."
)
NO_TARGET = (
    "classification.adaptation.to: all of its usable images ({count}) show the same as images of the test or "
    "validation set, or are of the same patients. Name another folder."
)
NEW_HEAD = (
    "To train on them too, add them to classification.classes; if the classes are those of the initial model, "
    "use its encoder only (model.start_weights = 'encoder')."
)


@dataclass(frozen=True)
class ClassTable:
    """The classes and tabular values of data sets.

    ``names``: the trained classes, in the order of the logits. By data set and image id, ``labels``: class of each
    image of a trained class; ``untrained``: class of each image of another class; ``rows``: selected columns of the
    tables.
    """

    names: tuple[str, ...]
    labels: dict[Key, str]
    rows: dict[Key, dict[str, str]]
    untrained: dict[Key, str] = field(default_factory=dict)

    def label(self, sample: Sample) -> int:
        return self.names.index(self.labels[sample.key])


@dataclass(frozen=True)
class SelectedSamples:
    """The images of a run, by part.

    ``replay``: images that preserve the initial model's performance, and ``replay_test`` the test images of their data
    sets. ``left_out``: excluded, as their patient is in another part. ``unlabelled``: images of the target domain of
    an adaptation. ``without_mask``: images of all parts that a classifier cannot use, because its view needs a mask, or
    their review is ``rejected``.
    """

    parts: TrainingSplit
    replay: tuple[Sample, ...] = ()
    replay_test: tuple[Sample, ...] = ()
    left_out: tuple[Sample, ...] = ()
    unlabelled: tuple[Sample, ...] = ()
    without_mask: tuple[Sample, ...] = ()

    @property
    def for_training(self) -> list[Sample]:
        """Samples that a training reads: training, validation and replay data."""
        return [*self.parts.training, *self.parts.validation, *self.replay]

    @property
    def for_test(self) -> list[Sample]:
        """Test samples, to which only the finished model is applied."""
        return [*self.parts.test, *self.replay_test]


def read_classes(
    folders: Iterable[str],
    config: ClassificationConfig,
    training_samples: Sequence[Sample],
    unlabeled: Iterable[str] = (),
) -> ClassTable:
    """Read the classes and tabular values of data sets.

    ``training_samples``: their classes are the trained ones if the recipe does not list classes. ``unlabeled``: folders
    of data sets whose classes are not used.
    """
    inputs = (*config.tabular.numbers, *config.tabular.words) if config.tabular else ()
    selected = {config.target, *(column.name for column in inputs), *([config.depth.column] if config.depth else [])}
    rows, columns = _read_rows(folders, selected, config.features, {*config.stored_columns})
    if config.target not in columns:
        raise DataSetError(
            f"no table has a column '{config.target}' (found: {', '.join(sorted(columns))}). Set "
            "classification.target to the column with the class."
        )
    labels = row_labels(rows, config.target)
    present = sorted({labels[sample.key] for sample in training_samples if sample.key in labels})
    yes_or_no = OTHER, _positive_name(config.target)
    binary = set(yes_or_no).issuperset(labels.values())
    names = config.classes or (yes_or_no if binary and len(present) > 1 else tuple(present))
    _check_class_names(names, present, config)
    unlabeled_rows, _ = _read_rows(unlabeled, selected, config.features)
    rows |= {
        key: {name: cell for name, cell in row.items() if name != config.target} for key, row in unlabeled_rows.items()
    }
    untrained = {key: label for key, label in labels.items() if label not in names}
    return ClassTable(names, {key: label for key, label in labels.items() if label in names}, rows, untrained)


def read_strata(folders: Iterable[str], config: ClassificationConfig) -> dict[Key, str]:
    """Read the class of each labeled row, for stratified splits; keys are data set and image id."""
    return row_labels(_read_rows(folders, {config.target}, config.features)[0], config.target)


def classifiable_samples(samples: Iterable[Sample], config: ClassificationConfig) -> list[Sample]:
    """Keep the images that a classifier can use, with the masks of its view, in their order; not the rejected ones."""
    samples = select_not_rejected(samples)
    if config.view.region == "photograph":
        return [replace(sample, mask=None) for sample in samples]
    if config.masks == "predicted":
        segmenter = find_bundle(config.segmenter)
        return [replace(sample, mask=predicted_mask_path(sample, segmenter), review=None) for sample in samples]
    return select_trainable(samples)


def class_counts(samples: Iterable[Sample], table: ClassTable) -> dict[str, int]:
    """Count the images of each class, in the order of the classes."""
    counts = Counter(table.labels[sample.key] for sample in samples)
    return {name: counts[name] for name in table.names}


def keep_labeled(chosen: SelectedSamples, table: ClassTable) -> tuple[SelectedSamples, list[str]]:
    """Keep the images of the trained classes; return a sentence for each kind of excluded image."""
    other_classes = {
        table.untrained[sample.key]
        for sample in (*chosen.for_training, *chosen.for_test)
        if sample.key in table.untrained
    }
    reason = f"are {', '.join(sorted(other_classes))}, which is not among the trained classes,"
    chosen, notices = filter_samples(chosen, lambda sample: sample.key not in table.untrained, reason)
    chosen, unlabeled_notices = filter_samples(chosen, lambda sample: sample.key in table.labels, "have no class")
    return chosen, [*(f"{notice} {NEW_HEAD}" for notice in notices), *unlabeled_notices]


def unread_notices(chosen: SelectedSamples, table: ClassTable, config: ClassificationConfig) -> list[str]:
    """Describe values in the selected columns that are treated as unknown although the field is not empty."""
    rows = {sample.full_name: table.rows.get(sample.key, {}) for sample in (*chosen.for_training, *chosen.for_test)}
    numbers = [column.name for column in config.tabular.numbers] if config.tabular else []
    numbers += [config.depth.column] if config.depth and config.depth.column not in numbers else []
    training = {sample.full_name: table.rows.get(sample.key, {}) for sample in chosen.parts.training}
    return [
        *describe_invalid_numbers(rows, numbers),
        *describe_rare_values(training, config.tabular.words if config.tabular else ()),
    ]


def filter_samples(
    chosen: SelectedSamples, predicate: Callable[[Sample], bool], reason: str
) -> tuple[SelectedSamples, list[str]]:
    """Keep the images that fulfill a predicate, in all parts; return a sentence about the others, if any.

    ``reason``: completes "3 of 10 images ... and are excluded".
    """
    samples = [*chosen.for_training, *chosen.for_test]
    removed = [sample for sample in samples if not predicate(sample)]
    if not removed:
        return chosen, []
    parts = chosen.parts
    parts = replace(
        parts,
        training=[sample for sample in parts.training if predicate(sample)],
        validation=[sample for sample in parts.validation if predicate(sample)],
        test=[sample for sample in parts.test if predicate(sample)],
    )
    replay, replay_test = (tuple(filter(predicate, part)) for part in (chosen.replay, chosen.replay_test))
    notice = (
        f"{len(removed)} of {len(samples)} images {reason} and are excluded: "
        f"{format_names([s.image_id for s in removed])}."
    )
    return replace(chosen, parts=parts, replay=replay, replay_test=replay_test), [notice]


def check_classes(chosen: SelectedSamples, table: ClassTable, noun: str = "images", advice: str = MORE_IMAGES) -> None:
    """Refuse training data that lack one of the classes, and validation data with fewer than two classes."""
    parts = {"training": chosen.parts.training, "validation": chosen.parts.validation}
    for part, samples in parts.items():
        counts = class_counts(samples, table)
        missing = [name for name in table.names if not counts[name]]
        if missing and (part == "training" or len(counts) - len(missing) < 2):
            raise DataSetError(
                f"no {part} data of the class {' or '.join(missing)} among the {len(samples)} {noun}. "
                f"{advice.format(missing=' and of '.join(missing))}"
            )


def check_run_classes(chosen: SelectedSamples, recipe: TrainRecipe, table: ClassTable) -> None:
    """Check the classes of a run, with advice for images or tiles."""
    of_tiles = recipe.tile is not None
    check_classes(chosen, table, *(("tiles", MORE_REGIONS) if of_tiles else ("images", MORE_IMAGES)))


def row_labels(rows: Mapping[Key, Mapping[str, str]], target: str) -> dict[Key, str]:
    """Read the class of each labeled row.

    Returns the class by data set and image id; for a column of 1 and 0, the name of the column or 'other', and for
    ``target``, the column of malignancy, 'malignant' or 'other'.
    """
    labels = {key: (row.get(target) or "").strip() for key, row in rows.items()}
    labels = {key: word for key, word in labels.items() if read_word(word)}
    column = find_column(target)
    name = target if column and column.kind == "yes_no" and not column.taxonomy else ""
    answers = {key: read_word(word, name) for key, word in labels.items()}
    if {*answers.values()} <= {*YES, *NO}:
        return {key: _positive_name(target) if word in YES else OTHER for key, word in answers.items()}
    return labels


def _positive_name(target: str) -> str:
    """Return the name of the class for which a column contains 1: 'malignant' for ``target``, else the column name."""
    column = find_column(target)
    return column.title.lower() if column is not None and target == MALIGNANCY_COLUMN else target


def diagnosis_includes(words: str, name: str) -> bool | None:
    """Whether a diagnosis such as 'melanoma in situ' or 'lentigo maligna' is of a class such as 'melanoma'.

    None if that is open, as for 'malignant', or if the taxonomy does not have the diagnosis and it does not exclude the
    class, as 'non-melanoma' does. For melanoma, the result is that of the derived column ``melanoma``.
    """
    word = translate_diagnosis(words)
    if word is None or word == UNKNOWN:
        return False if excludes_lesion(words, name) else None
    if name == MELANOMA:
        return {"1": True, "0": False}.get(expand_diagnosis(word).melanoma)
    taxonomy = load_taxonomy("diagnosis")
    return taxonomy.is_within(word, name) or (None if taxonomy.is_within(name, word) else False)


def find_class_of(words: str, classes: Collection[str]) -> str:
    """Return the class to which a diagnosis belongs, such as 'melanoma' for 'lentigo maligna'; empty for none.

    A diagnosis that contains a single one of the classes counts as it, such as benign keratosis for seborrheic
    keratosis; a group, such as 'malignant', leaves the class open.
    """
    taxonomy, word = load_taxonomy("diagnosis"), translate_diagnosis(words) or ""
    is_open = not word or taxonomy.fact(word, "level") == "group"
    below = [] if is_open else [name for name in classes if taxonomy.is_within(name, word)]
    above = (name for name in taxonomy.iter_ancestors(word) if name in classes)
    return next(above, "") or (below[0] if len(below) == 1 else "")


def _read_rows(
    folders: Iterable[str], selected: set[str], features: str, stored: Collection[str] = ()
) -> tuple[dict[Key, dict[str, str]], set[str]]:
    """Read the selected columns of tables, which may be large.

    ``features``: path of a table that is joined to tables that lack a selected column; "" for none. ``stored``: columns
    that are read if there are any. Returns the rows by data set and image id, and the names of all columns.
    """
    rows: dict[Key, dict[str, str]] = {}
    columns: set[str] = set()
    for folder in (expand_user(name) for name in folders):
        entries = [entry.row for entry in iter_entries(folder) if isinstance(entry, DatasetEntry)]
        is_joined = bool(features) and not all(selected <= row.keys() for row in entries[:1])
        table = join_features(entries, expand_user(features)) if is_joined else entries
        for row in table if is_joined else table[:1]:  # all rows of a table have the same columns
            columns.update(row)
        reader = ColumnReader({*selected, *stored})
        rows |= {(folder.name, str(row["image_id"])): reader.read({k: str(v) for k, v in row.items()}) for row in table}
    return rows, columns | {name for row in rows.values() for name in row}


def read_rows_with(folders: Iterable[Path], columns: set[str]) -> dict[Key, dict[str, str]]:
    """Read the rows of data sets, with some columns under these names, as a training reads them."""
    reader = ColumnReader(columns)
    return {key: {**row, **reader.read(row)} for key, row in read_rows(folders).items()}


class ColumnReader:
    """Reads the selected columns of a row.

    An unknown or missing value is read under a synonym of the column, or derived from other columns, such as
    ``melanoma`` from the diagnosis.
    """

    def __init__(self, selected: set[str]) -> None:
        self._selected = selected
        self._harmonizer = Harmonizer()

    def read(self, row: dict[str, str]) -> dict[str, str]:
        values = {name: row[name] for name in self._selected if name in row}
        missing = frozenset(name for name in self._selected if not read_word(row.get(name)))
        related = {name: row[name] for name in _list_related_columns(tuple(row), missing) if row[name]}
        if not related:
            return values
        harmonized = self._harmonizer.harmonize_row(related)
        for name in missing:
            column = find_column(name)
            # An impossible number is kept as given, so that it is reported.
            as_given = f"{name}{AS_GIVEN_SUFFIX}" if column and column.kind == "number" else name
            if text := harmonized.get(name) or harmonized.get(as_given):
                values[name] = text
        return values


@lru_cache(maxsize=1 << 10)
def _list_related_columns(names: tuple[str, ...], missing: frozenset[str]) -> tuple[str, ...]:
    """List the columns of a table that missing columns may be read from; these are few, which saves time."""
    keys = {find_parser(name)[0] for name in missing}
    return tuple(
        name
        for name in names
        if name.removesuffix(AS_GIVEN_SUFFIX) in missing
        or any(find_parser(meaning.column_name)[0] in keys for meaning in find_column_meanings(name))
    )


def _check_class_names(names: Sequence[str], present: Sequence[str], config: ClassificationConfig) -> None:
    """Refuse fewer than two classes, or an unknown positive class."""
    if len(present) < 2:
        raise DataSetError(
            f"the column '{config.target}' has {format_count(len(present), 'class')} in the training data "
            f"({', '.join(present) or 'none'}), expected two or more. Add images of another class, or set "
            "classification.target to another column."
        )
    if config.positive not in names:
        raise DataSetError(
            f"classification.positive is '{config.positive}', but the classes of '{config.target}' are "
            f"{', '.join(names)}. Set it to one of them."
        )


@dataclass(frozen=True)
class DataSelection:
    """The checked images of a run.

    ``infos``, ``facts``: checksum and properties of each file. ``notices``: sentences for the user. ``table``: the
    classes of a classification.
    """

    chosen: SelectedSamples
    infos: Mapping[Path, FileInfo]
    facts: Mapping[Path, DecodedFacts]
    notices: tuple[str, ...]
    table: ClassTable | None = None

    @property
    def lesion_share(self) -> float:
        """Mean share of lesion pixels in the training masks, 0 to 1."""
        shares = [self.facts[sample.mask].lesion for sample in self.chosen.parts.training if sample.mask]
        return sum(shares) / max(1, len(shares))


def select_data(recipe: TrainRecipe, store: PixelStore, run: RunContext, *, keep: bool) -> DataSelection:
    """Read, split and check the images of a recipe.

    ``keep``: write decoded pixels to the store; otherwise new files are decoded only to determine their properties.
    """
    chosen = select_samples(recipe)
    split_notices = [*data_checks.split_warnings(chosen.parts, recipe), *_check_patient_leaks(chosen, recipe)]
    split_notices += describe_patients_of([*chosen.for_training, *chosen.for_test, *chosen.left_out])
    split_notices += [data_checks.LABELS_LIMIT] if recipe.classes and recipe.tile is None else []
    chosen, table, label_notices = select_labeled(chosen, recipe)
    data_checks.check_counts(chosen.parts)
    samples = [*chosen.for_training, *chosen.unlabelled, *chosen.for_test]
    files = [path for sample in samples for path in sample_files(sample)]
    scan = scan_files(files, store.index, run)
    data_checks.check_readable(scan.faults)
    data_checks.check_stated_sizes(samples, scan.infos)
    keep_pixels = keep and table is None  # a classifier reads views, which are stored later
    to_decode = [(sample, keep_pixels) for sample in chosen.for_training]
    to_decode += [(sample, False) for sample in (*chosen.unlabelled, *chosen.for_test)]
    masks = recipe.mask_kind
    jobs = [job for sample, kept in to_decode for job in decode_jobs(sample, scan.infos, masks, keep=kept)]
    data_checks.check_readable(decode_missing(store, jobs, recipe.data.cache_size, run))
    facts = _facts(jobs, store)
    data_checks.check_sizes(samples, facts)
    same = (
        find_same_pictures(chosen, facts, run, keep=keep) if recipe.tile is None else find_copied_slides(chosen, facts)
    )
    chosen, notices = remove_leaks(chosen, same)
    data_checks.check_counts(chosen.parts)
    chosen, mask_notices = _checked_masks(chosen, recipe, facts, table)
    notices = [
        *split_notices,
        *label_notices,
        *notices,
        *mask_notices,
        *_patient_warnings(chosen),
        # Without a validation set, the test images are monitored, and nothing is selected on them.
        *(() if data_checks.monitors_test(chosen.parts, recipe) else data_checks.data_warnings(chosen.parts)),
    ]
    notices += [
        *patience_warnings(recipe),
        *([] if recipe.classes else data_checks.empty_mask_warnings(chosen.parts, facts)),
    ]
    return DataSelection(chosen, scan.infos, facts, tuple(notices), table)


def _checked_masks(
    chosen: SelectedSamples, recipe: TrainRecipe, facts: Mapping[Path, DecodedFacts], table: ClassTable | None
) -> tuple[SelectedSamples, list[str]]:
    """Refuse unusable masks or label images; for a classifier, exclude images without a lesion."""
    if table is not None:
        chosen, notices = _with_lesions(chosen, recipe, facts)
        check_run_classes(chosen, recipe, table)
        return chosen, notices
    if recipe.classes:
        check_labels([*chosen.for_training, *chosen.for_test], facts, recipe.classes)
        check_every_class(chosen.parts.training, facts, recipe.classes)
    else:
        data_checks.check_lesions(chosen.parts.training, facts)
    return chosen, []


def select_labeled(
    chosen: SelectedSamples, recipe: TrainRecipe
) -> tuple[SelectedSamples, ClassTable | None, list[str]]:
    """For a classification, keep the images with a known class; the table is None for other tasks."""
    if recipe.classification is None:
        return chosen, None, []
    labeled = [*chosen.parts.training, *chosen.parts.validation]
    config = recipe.classification
    mask_notices = _describe_without_mask(chosen.without_mask)
    try:
        if not labeled:
            advice = "" if mask_notices else " Correct the column split, or set data.split."
            raise DataSetError(f"the data sets have no usable image in the split '{recipe.data.split}'.{advice}")
        table = read_classes([*recipe.data.datasets, *recipe.data.replay], config, labeled, config.adaptation.to)
        if config.tabular:
            check_columns([table.rows[sample.key] for sample in labeled], config.tabular, config.target)
    except DataSetError as error:
        raise DataSetError(" ".join((str(error), *mask_notices))) from error
    selected, notices = keep_labeled(chosen, table)
    notices += [*unread_notices(selected, table, config), *_describe_untested_classes(selected, table)]
    return selected, table, [*mask_notices, *notices]


def _describe_untested_classes(chosen: SelectedSamples, table: ClassTable) -> list[str]:
    """Warn of classes without an image in the test set."""
    counts = class_counts(chosen.parts.test, table)
    missing = [name for name, count in counts.items() if not count]
    if not chosen.parts.test or not missing:
        return []
    return [
        f"The test set of {format_count(len(chosen.parts.test), 'image')} has none of the class "
        f"{' or '.join(missing)}, so the new model is not tested for it. Assign some of its patients to the test set."
    ]


def _describe_without_mask(samples: Sequence[Sample]) -> list[str]:
    """Describe the rejected images, and those without a usable mask with what to do; empty if there are none."""
    rejected = [sample.image_id for sample in samples if sample.review == REJECTED]
    count = format_count(len(rejected), "image")
    texts = [f"Excluded: {count} whose review is rejected ({format_names(rejected)})."] if rejected else []
    samples = [sample for sample in samples if sample.review != REJECTED]
    states = {
        "without a mask": [sample.image_id for sample in samples if sample.mask is None],
        "with a mask that is not accepted or corrected": [sample.image_id for sample in samples if sample.mask],
    }
    counts = [
        f"{format_count(len(ids), 'image')} {state} ({format_names(ids)})" for state, ids in states.items() if ids
    ]
    if not counts:
        return texts
    return [
        *texts,
        f"Excluded: {' and '.join(counts)}. The network's view is cropped around the lesion. Add or accept masks, or "
        "set classification.masks = 'predicted' to predict them, or classification.view.region = 'photograph' to use "
        "whole photographs.",
    ]


def _with_lesions(
    chosen: SelectedSamples, recipe: TrainRecipe, facts: Mapping[Path, DecodedFacts]
) -> tuple[SelectedSamples, list[str]]:
    """Exclude images with an empty mask if the classifier's view is cropped around the lesion."""
    if recipe.classification is None or recipe.classification.view.region == "photograph":
        return chosen, []

    def has_lesion(sample: Sample) -> bool:
        return sample.mask is not None and facts[sample.mask].lesion > 0

    chosen = replace(chosen, unlabelled=tuple(filter(has_lesion, chosen.unlabelled)))
    return filter_samples(chosen, has_lesion, "have an empty mask")


def list_datasets(recipe: TrainRecipe) -> list[Path]:
    """List the folders of all data sets of a recipe."""
    to = recipe.classification.adaptation.to if recipe.classification else ()
    return [expand_user(folder) for folder in (*recipe.data.datasets, *recipe.data.replay, *to)]


def select_samples(recipe: TrainRecipe) -> SelectedSamples:
    """Read the tables of the data sets and split their rows."""
    check_dataset_names(list_datasets(recipe))
    if recipe.classification is None and not recipe.classes:
        check_lesion_masks(list_datasets(recipe))
    parts, without_mask = _split(recipe, recipe.data.datasets)
    if parts.left_out and not (parts.training or parts.validation):
        raise DataSetError(
            f"no usable image in the split '{recipe.data.split}': all {len(parts.left_out)} are of patients or lesions "
            f"that are also in the test or validation set ({_group_names(parts.left_out)}). {ONE_SPLIT}"
        )
    if not (recipe.data.validation_fraction or parts.validation):
        # no epoch or threshold is selected: the test images are monitored, as in P2
        parts = replace(parts, validation=parts.test, test=[])
    unlabelled = _read_unlabeled(recipe, parts)
    if not recipe.data.replay:
        return SelectedSamples(parts, left_out=parts.left_out, unlabelled=unlabelled, without_mask=without_mask)
    try:
        replay, replay_without_mask = _split(recipe, recipe.data.replay)
    except DataSetError as error:
        raise DataSetError(f"data.replay: {error} Name another folder, or leave data.replay empty.") from error
    # Nothing is selected by replay data, so images held out from their training split are trained on, too.
    assigned = find_validation_split(recipe.data)
    usable = (*replay.training, *(s for s in replay.validation if s.split != assigned))
    if not usable:
        raise DataSetError(
            f"data.replay: found no image with a mask in the split '{recipe.data.split}' of "
            f"{format_names(recipe.data.replay)}. Name another folder, or leave data.replay empty."
        )
    left_out = (*parts.left_out, *replay.left_out)
    without_mask += replay_without_mask
    return _without_test_patients(
        SelectedSamples(parts, usable, tuple(replay.test), left_out, unlabelled, without_mask)
    )


def _read_unlabeled(recipe: TrainRecipe, parts: TrainingSplit) -> tuple[Sample, ...]:
    """Read the images of the target domain of an adaptation, without patients of the test and validation sets."""
    if recipe.classification is None:
        return ()
    method, to = recipe.classification.adaptation.method, recipe.classification.adaptation.to
    if not to:
        if method in ("adabn", "fourier", "pseudo_labels") or (method != "none" and len(recipe.data.datasets) < 2):
            raise DataSetError(
                f"adaptation by {method} needs two domains, found one. Set a data set in classification.adaptation.to."
            )
        return ()
    target, _ = _split(recipe, to)
    evaluated = {sample.group for sample in (*parts.test, *parts.validation)}
    every = order_by_name((*target.training, *target.validation))  # labels do not change the order
    samples = tuple(sample for sample in every if sample.group not in evaluated)
    if not samples:
        raise DataSetError(
            f"classification.adaptation.to: found no image with a mask in the split '{recipe.data.split}' of "
            f"{format_names(to)}. Name another folder."
        )
    return samples


def sample_files(sample: Sample) -> list[Path]:
    """Return the files of a sample: the image, and the mask if it has one."""
    return [sample.image, *([sample.mask] if sample.mask else [])]


def decode_jobs(
    sample: Sample, infos: Mapping[Path, FileInfo], masks: PixelKind = "mask", *, keep: bool
) -> list[DecodeJob]:
    """Return the files of a sample to decode: the image, then the mask if it has one.

    ``masks``: kind of the masks. ``keep``: whether to store the pixels.
    """
    kinds: tuple[PixelKind, ...] = ("image", masks)
    return [DecodeJob(kind, path, infos[path], keep) for kind, path in zip(kinds, sample_files(sample), strict=False)]


def _facts(jobs: Sequence[DecodeJob], store: PixelStore) -> dict[Path, DecodedFacts]:
    facts = {}
    for job in jobs:
        stored = store.index.facts(job.kind, job.info.sha)
        assert stored is not None
        facts[job.path] = stored
    return facts


def _without_test_patients(chosen: SelectedSamples) -> SelectedSamples:
    """Exclude patients of the test sets from all other parts; replay data and data sets may share patients."""
    evaluated = {sample.group for sample in chosen.for_test}
    parts, left_out = chosen.parts, [sample for sample in chosen.for_training if sample.group in evaluated]
    if not left_out:
        return chosen
    training, validation, replay = (
        [sample for sample in samples if sample.group not in evaluated]
        for samples in (parts.training, parts.validation, chosen.replay)
    )
    parts = replace(parts, training=training, validation=validation)
    return replace(chosen, parts=parts, replay=tuple(replay), left_out=(*chosen.left_out, *left_out))


def _group_names(samples: Iterable[Sample]) -> str:
    return format_names(sorted({sample.group for sample in samples}))


def _check_patient_leaks(chosen: SelectedSamples, recipe: TrainRecipe) -> list[str]:
    """Refuse patients who are probably in the test set and in the training data, unless the recipe accepts them."""
    if recipe.tile is not None:  # the names of tiles state the slide, which may be split on purpose
        return []
    parts: dict[str, dict[str, str]] = defaultdict(dict)
    for part, samples in (("training", chosen.for_training), ("test", chosen.for_test)):
        for sample in samples:
            parts[sample.domain][sample.image_id] = part
    folders = [expand_user(name) for name in (*recipe.data.datasets, *recipe.data.replay)]
    leaks = [message for folder in folders for message in find_patient_leaks(folder, parts[folder.name])]
    if leaks and not recipe.data.accept_leaks:
        raise DataSetError(
            f"{' '.join(leaks)}. The result on the test set would be too good. If these are different patients, set "
            "data.accept_leaks in the recipe (command line: --accept-leaks; dock: Accept probable patient leaks)."
        )
    return leaks


def _patient_warnings(chosen: SelectedSamples) -> list[str]:
    """Warn of images excluded from training, and of names that occur in the test set and elsewhere in training data."""
    warnings = []
    if chosen.left_out:
        warnings.append(
            f"Excluded: {format_count(len(chosen.left_out), 'image')}, because other images of the same patient or "
            f"lesion are in the test or validation set: {_group_names(chosen.left_out)}. {ONE_SPLIT}"
        )
    evaluated, read = (
        {name.removeprefix(f"{sample.domain}/") for sample in samples for name in sample.group_names}
        for samples in (chosen.for_test, chosen.for_training)
    )
    if shared := sorted(evaluated & read):
        warnings.append(
            "The test set of one data set and the training data of another have patients, lesions or images of the "
            f"same name ({len(shared)}): {format_names(shared)}. If they are the same patients, assign them to the "
            "same split."
        )
    return warnings


def _split(recipe: TrainRecipe, folders: Sequence[str]) -> tuple[TrainingSplit, tuple[Sample, ...]]:
    """Split the usable images of data sets; also return those that a classifier cannot use without a mask."""
    samples = order_by_name(read_datasets([expand_user(folder) for folder in folders]))
    split = choose_split(recipe, folders)
    if recipe.classification is None:
        return split(select_trainable(samples), get_diagnosis), ()
    labels = read_strata(folders, recipe.classification)
    usable = classifiable_samples(samples, recipe.classification)
    kept = {sample.key for sample in usable}

    def label(sample: Sample) -> str:
        return labels.get(sample.key, "")

    parts = split(usable, label)
    parts = parts if recipe.tile is None else validate_on_each_class(parts, recipe.data, label)
    return parts, tuple(sample for sample in samples if sample.key not in kept)


def predicted_mask_path(sample: Sample, segmenter: BundleInfo) -> Path:
    """Return the path of an image's predicted mask, which may not exist yet; it depends on image and model."""
    status, config = sample.image.stat(), segmenter.config
    settings = f"{segmenter.prediction_fingerprint()} {config.preprocessing.cache_key} {config.threshold}"
    source = f"{sample.image.absolute()} {status.st_size} {status.st_mtime_ns} {settings}"
    name = hashlib.sha256(source.encode()).hexdigest()[:32]
    return user_store_folder() / PREDICTED_MASKS / segmenter.fingerprint[:16] / f"{name}.png"


def find_same_pictures(
    chosen: SelectedSamples, facts: Mapping[Path, DecodedFacts], run: RunContext, *, keep: bool
) -> list[Duplicate]:
    """Find images of a run that show the same picture.

    Only images of different parts are compared visually. A match raises all images of a patient to the higher part;
    these images are then compared with the lower parts, until nothing new is found. For example, a lesion of the test
    set may be in another data set under a name that only a third image of it reveals.

    ``keep``: cache the thumbnails. The similarity of identical pixels is 1.
    """
    samples, ranks = _with_ranks(chosen)
    duplicates = _same_pixels(samples, facts)
    thumbnails = load_hash_thumbnails([sample.image for sample in samples], run, use_cache=keep)
    compared: NDArray[np.integer] | None = None
    while True:
        pairs = find_similar_pairs(*_select_thumbnails(thumbnails, ranks, compared), run)
        indices = np.arange(len(samples)) if compared is None else compared
        duplicates += [Duplicate(samples[indices[p.first]], samples[indices[p.second]], p.similarity) for p in pairs]
        new_ranks = _highest_ranks(samples, ranks, duplicates)
        changed = np.flatnonzero(new_ranks > ranks)
        if not len(changed):
            return duplicates
        # Compare the raised images with those in lower parts.
        ranks = new_ranks
        compared = np.union1d(changed, np.flatnonzero(ranks < ranks[changed].max()))


def find_copied_slides(chosen: SelectedSamples, facts: Mapping[Path, DecodedFacts]) -> list[Duplicate]:
    """Find copied slides of a run by their tiles.

    Tiles of glass, fat or dermis look alike at different positions, so that a visual comparison would exclude whole
    patients. Two slides are the same if half of the tiles of one have the same pixels in the other.

    Returns the tiles with the same pixels, for groups that share enough of them.
    """
    samples, _ = _with_ranks(chosen)
    sizes = Counter(sample.group for sample in samples)
    occurrences = Counter((sample.group, facts[sample.image].pixels) for sample in samples if sample.image in facts)
    # A picture that occurs more than once in a slide, such as bare glass, does not identify it.
    single = [
        sample
        for sample in samples
        if sample.image in facts and occurrences[sample.group, facts[sample.image].pixels] == 1
    ]
    duplicates = _same_pixels(single, facts)
    shared = Counter(frozenset((pair.first.group, pair.second.group)) for pair in duplicates)
    return [
        pair
        for pair in duplicates
        if shared[frozenset((pair.first.group, pair.second.group))]
        >= MIN_SHARED_TILES * min(sizes[pair.first.group], sizes[pair.second.group])
    ]


def remove_leaks(chosen: SelectedSamples, same: Sequence[Duplicate]) -> tuple[SelectedSamples, list[str]]:
    """Keep images that share a patient or a picture in one part only: test before validation before training.

    Images of the target domain of an adaptation are trained on, too, without their labels. Returns a sentence for each
    kind of removal, with the pictures and their similarity.
    """
    samples, ranks = _with_ranks(chosen)
    new_ranks = _highest_ranks(samples, ranks, same)
    dropped = {
        id(sample): int(rank)
        for sample, rank, new_rank in zip(samples, ranks, new_ranks, strict=True)
        if new_rank > rank
    }
    if not dropped:
        return chosen, []
    training, validation, replay, unlabelled = (
        [sample for sample in in_part if id(sample) not in dropped]
        for in_part in (chosen.parts.training, chosen.parts.validation, chosen.replay, chosen.unlabelled)
    )
    if chosen.unlabelled and not unlabelled:
        raise DataSetError(NO_TARGET.format(count=format_count(len(chosen.unlabelled), "image")))
    notices = []
    for rank, removed_from, kept_in in (
        (TRAIN, "training data", "test or validation set"),
        (VALIDATION, "validation set", "test set"),
    ):
        removed = [sample for sample in samples if dropped.get(id(sample)) == rank]
        if removed:
            notices.append(_leak_notice(removed, same, removed_from, kept_in))
    parts = replace(chosen.parts, training=training, validation=validation)
    return replace(chosen, parts=parts, replay=tuple(replay), unlabelled=tuple(unlabelled)), notices


def _with_ranks(chosen: SelectedSamples) -> tuple[list[Sample], NDArray[np.integer]]:
    """Return all images and the ranks of their parts; excluded images rank like the other images of their patients."""
    validated = {sample.group for sample in chosen.parts.validation}
    parts = (
        [*chosen.parts.training, *chosen.replay, *chosen.unlabelled],
        [*chosen.parts.validation, *(sample for sample in chosen.left_out if sample.group in validated)],
        [*chosen.for_test, *(sample for sample in chosen.left_out if sample.group not in validated)],
    )
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return [sample for part in parts for sample in part], numbers


def _same_pixels(samples: Sequence[Sample], facts: Mapping[Path, DecodedFacts]) -> list[Duplicate]:
    """Find images with identical pixels; each is paired with the first of them."""
    first_samples: dict[str, Sample] = {}
    duplicates = []
    for sample in samples:
        if sample.image in facts:
            original = first_samples.setdefault(facts[sample.image].pixels, sample)
            if original is not sample:
                duplicates.append(Duplicate(original, sample, 1.0))
    return duplicates


def _select_thumbnails(
    thumbnails: NDArray[np.uint8], ranks: NDArray[np.integer], indices: NDArray[np.integer] | None
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Select thumbnails and ranks; all of them, without a copy, if ``indices`` is None."""
    return (thumbnails, ranks) if indices is None else (thumbnails[indices], ranks[indices])


def _highest_ranks(
    samples: Sequence[Sample], ranks: NDArray[np.integer], same: Sequence[Duplicate]
) -> NDArray[np.integer]:
    """Return for each image the highest rank in its group, after groups with the same pictures are merged."""
    groups = merge_groups(samples, same)
    highest: dict[str, int] = {}
    for group, rank in zip(groups, ranks, strict=True):
        highest[group] = max(int(rank), highest.get(group, TRAIN))
    return np.asarray([highest[group] for group in groups])


def _leak_notice(removed: Sequence[Sample], same: Sequence[Duplicate], removed_from: str, kept_in: str) -> str:
    """Describe the removed images, and the pictures that occur twice.

    ``removed_from``: name of the part. ``kept_in``: names of the parts that keep the same pictures.
    """
    groups = {sample.group for sample in removed}
    pairs = {
        f"{pair.first.full_name} and {pair.second.full_name} (similarity {pair.similarity:.2f})": None
        for pair in same
        if (pair.first.group in groups or pair.second.group in groups) and pair.first.group != pair.second.group
    }
    matches = f" The same picture: {format_names(pairs)}." if pairs else ""
    return (
        f"Removed from the {removed_from}, because the same picture, or another one of the same patient or lesion, is "
        f"in the {kept_in} under another name: {format_count(len(removed), 'image')}, "
        f"{format_names([sample.full_name for sample in removed])}.{matches}"
    )
