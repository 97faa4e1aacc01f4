"""Training data of whole slides: selection, preparation and batches of embeddings (bags)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError, RunError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.paths import PathResolver, UnsafePath, expand_user
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import (
    OUTSIDE_ADVICE,
    DatasetEntry,
    OutsideFolderError,
    Sample,
    check_distinct_datasets,
    describe_patients_of,
    find_table,
    iter_entries,
    make_sample,
    order_by_name,
    raise_faults,
    read_groups,
    row_error,
)
from napari_melanoma.data.splits import TrainingSplit, split_samples, validate_on_each_class
from napari_melanoma.data.tabular_encoding import check_columns
from napari_melanoma.io.slide_store import STORE
from napari_melanoma.training import data_checks
from napari_melanoma.training.data_preparation import (
    FieldDropout,
    PreparedData,
    TrainingDataReport,
    list_with_part,
    read_run_classes,
    report_data,
    table_inputs,
    write_classes,
)
from napari_melanoma.training.data_selection import (
    ClassTable,
    SelectedSamples,
    check_classes,
    keep_labeled,
    read_classes,
    read_strata,
    unread_notices,
)
from napari_melanoma.training.monitor import patience_warnings
from napari_melanoma.training.pixel_store import PixelCache
from napari_melanoma.training.random_numbers import derive_seed
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import (
    DataPart,
    DataRow,
    data_fingerprint,
    read_data,
    write_data,
    write_training_images,
)

if TYPE_CHECKING:
    from torch import Tensor


TILE_SEED = 17  # separates the random numbers of tile sampling from other uses of the seed
RESULT_COLUMN = "result"  # table column with the result folder of a slide
SLIDE_COLUMN = "slide_file"  # table column with the file of a slide; a run computes missing embeddings
# Advice at the end of error messages.
MORE_SLIDES = (
    "Add slides of other patients. Each class needs at least three: one each for training, validation and test."
)


class BagBatch(NamedTuple):
    """A batch of slides.

    ``bags``: one entry for each slide: in training the sampled embeddings, float32 (tile, feature); in validation the
    ``Bag``, whose tiles are read in chunks. ``shares``: float32 (slide, class), each row summing to 1. ``continuous``,
    ``categories``: the patient data, float32 (slide, input) and int64 (slide, embedding). ``keys``: int64 (slide, 2):
    epoch and sample number, as drawn by ``EpochSampler``.
    """

    bags: list[Any]
    shares: Tensor
    continuous: Tensor
    categories: Tensor
    keys: NDArray[np.int64]


class TrainingBags:
    """Batches of training slides with a random sample of their tiles, indexed by epoch and sample number.

    A sample number modulo the number of slides is the index of the slide.
    """

    def __init__(self, prepared: PreparedBags, recipe: TrainRecipe) -> None:
        assert prepared.classes is not None
        assert recipe.bags is not None
        self._bags = cast("Sequence[Bag]", prepared.train)
        self._part, self._encoding = prepared.classes.train, prepared.classes.encoding
        self._classes, self._dropout = len(prepared.classes.names), FieldDropout(recipe)
        self._tiles, self._seed = recipe.bags.tiles, recipe.seed

    def __getitem__(self, keys: NDArray[np.int64]) -> BagBatch:
        """Return a batch; the sampled tiles depend on seed and keys only."""
        import torch

        indices = keys[:, 1] % len(self._bags)
        embeddings = [
            torch.from_numpy(self._bags[index].sample_embeddings(self._tiles, derive_seed(self._seed, TILE_SEED, *key)))
            for index, key in zip(indices.tolist(), keys.tolist(), strict=True)
        ]
        values = self._dropout.read_values(self._part, indices, keys)
        table = table_inputs(values, self._encoding, len(indices))
        return BagBatch(embeddings, _class_shares(self._part.labels[indices], self._classes), *table, keys)


class ValidationBags:
    """Batches of slides of one part with all of their tiles, indexed by the slides."""

    def __init__(self, prepared: PreparedBags, part: Literal["train", "validation"] = "validation") -> None:
        assert prepared.classes is not None
        self._bags = cast("Sequence[Bag]", getattr(prepared, part))
        self._part, self._encoding = getattr(prepared.classes, part), prepared.classes.encoding
        self._classes = len(prepared.classes.names)

    def __getitem__(self, indices: NDArray[np.int64]) -> BagBatch:
        """Return a batch with keys (0, index)."""
        keys = np.stack([np.zeros_like(indices), indices], axis=1)
        bags = [self._bags[index] for index in indices.tolist()]
        values = None if self._part.values is None else self._part.values.select_rows(indices)
        table = table_inputs(values, self._encoding, len(indices))
        return BagBatch(bags, _class_shares(self._part.labels[indices], self._classes), *table, keys)


@dataclass(frozen=True)
class BagSelection:
    """The slides of a run, read, split and checked.

    ``chosen``: the slides by part. ``table``: their classes. ``bags``: their embeddings by result folder. ``notices``:
    sentences for the user.
    """

    chosen: SelectedSamples
    table: ClassTable
    bags: Mapping[Path, Bag]
    kind: BagKind
    notices: tuple[str, ...]


def _class_shares(labels: NDArray[np.int64], classes: int) -> Tensor:
    """One-hot class shares, float32 (slide, class)."""
    import torch

    return torch.nn.functional.one_hot(torch.from_numpy(labels), classes).float()


@dataclass(frozen=True)
class PreparedBags(PreparedData):
    """Prepared data of a slide run; ``train`` and ``validation`` hold bags in the order of ``samples``."""

    kind: BagKind = field(kw_only=True)


def prepare_bags(recipe: TrainRecipe, folder: RunFolder, *, resume: bool, run: RunContext) -> PreparedBags:
    """Read, split and check the slides of a run.

    Only the first embeddings of each slide are read, for its fingerprint; the others when a batch needs them.
    """
    if resume and folder.data.exists():
        rows = read_data(folder.data)
        bags = open_bags([row.sample for row in rows if row.part in ("train", "validation")], run)
        _check_unchanged(rows, bags)
        return _assemble_bags(rows, bags, folder)
    selection = select_bags(recipe, run)
    rows = _bag_rows(selection, run)
    assert recipe.classification is not None
    write_classes(folder.path, selection.table, rows, recipe.classification, None)
    digests = {row.sample.image: row.image_sha for row in rows}
    warnings = write_training_images(folder, recipe, rows, digests, run=run, encoder=selection.kind.encoder.name)
    write_data(folder.data, rows)
    for notice in (*selection.notices, *warnings):
        folder.append_event("notice", message=notice)
    return _assemble_bags(rows, selection.bags, folder)


def check_bags(recipe: TrainRecipe, run: RunContext) -> TrainingDataReport:
    """Check the slides of a recipe as ``prepare_bags`` does, and write nothing."""
    chosen, table, notices = split_slides(recipe, pending=True)
    available = [sample for sample in (*chosen.for_training, *chosen.for_test) if sample.image.is_dir()]
    names_files = any(find_slide_files(expand_user(name)) for name in recipe.data.datasets)
    if not names_files:
        common_bag_kind(list(open_bags(available, run).values()))
    return report_data(chosen, table, notices)


def _bag_rows(selection: BagSelection, run: RunContext) -> list[DataRow]:
    """List each slide with its part and the fingerprint of its embeddings."""
    return [
        DataRow(part, sample, selection.bags[sample.image].fingerprint(), "")
        for part, sample in run.track(list_with_part(selection.chosen), "Reading the slides")
    ]


def _check_unchanged(rows: Sequence[DataRow], bags: Mapping[Path, Bag]) -> None:
    """Raise an error if the fingerprint of any embeddings has changed since the run started."""
    expected = {row.sample.image: row.image_sha for row in rows}
    changed = [path for path, bag in bags.items() if bag.fingerprint() != expected[path]]
    if changed:
        raise RunError(
            f"the embeddings of this run have changed since it started: {format_names(changed)}. Restore the original "
            "results, or start a new run."
        )


def _assemble_bags(rows: Sequence[DataRow], bags: Mapping[Path, Bag], folder: RunFolder) -> PreparedBags:
    def samples(part: DataPart) -> list[Sample]:
        return [row.sample for row in rows if row.part == part]

    train, validation = (tuple(bags[sample.image] for sample in samples(part)) for part in ("train", "validation"))
    return PreparedBags(
        train=cast("PixelCache", train),  # PreparedData expects caches; the engine uses only the length of both
        validation=cast("PixelCache", validation),
        replay=None,
        samples=TrainingSplit(samples("train"), samples("validation"), samples("test")),
        replay_samples=(),
        fingerprint=data_fingerprint(rows),
        lesion_share=0.0,
        classes=read_run_classes(folder.path, rows),
        kind=common_bag_kind([*train, *validation]),
    )


def find_slide_files(folder: Path) -> dict[Path, Path]:
    """Return the file of each slide by its result folder; empty if the table of the data set names none."""
    slides, paths = {}, PathResolver(folder)
    for number, entry in enumerate(raise_faults(iter_entries(folder)), start=1):
        if name := entry.row.get(SLIDE_COLUMN):
            result = _resolve(paths, number, RESULT_COLUMN, entry.row.get(RESULT_COLUMN) or entry.image_id)
            slides[result] = _resolve(paths, number, SLIDE_COLUMN, name)
    paths.report_outside()
    return slides


def is_slide_dataset(folder: Path) -> bool:
    """Whether the rows of a data set are whole slides, with files or with results."""
    entry = next((entry for entry in iter_entries(folder) if isinstance(entry, DatasetEntry)), None)
    if entry is None:
        return False
    result = entry.row.get(RESULT_COLUMN) or entry.image_id
    return bool(entry.row.get(SLIDE_COLUMN)) or (folder / result / STORE).is_dir()


def _resolve(paths: PathResolver, number: int, column: str, name: str) -> Path:
    """Resolve a path in the table of a data set; ``number``: of its row."""
    try:
        return paths.resolve(name)
    except UnsafePath as error:
        fault = row_error(find_table(paths.folder), number, column, name, str(error), OUTSIDE_ADVICE)
        raise OutsideFolderError(str(fault)) from None


def bag_samples(folder: Path, *, pending: bool = False) -> list[Sample]:
    """Read the slides of a data set in table order.

    The ``image`` of each sample is the result folder of the slide: the column ``result``, or else the image id, as a
    path in the data set. ``pending``: accept slides whose file is named, but that have no results yet.
    """
    samples, missing, paths, groups = [], [], PathResolver(folder), read_groups(folder)
    for number, entry in enumerate(raise_faults(iter_entries(folder)), start=1):
        result_name = entry.row.get(RESULT_COLUMN) or entry.image_id
        result = _resolve(paths, number, RESULT_COLUMN, result_name)
        sample = make_sample(replace(entry, image=result, mask=None), folder, groups)
        if isinstance(sample, DataSetError):
            raise sample
        samples.append(sample)
        if not result.is_dir() and not (pending and entry.row.get(SLIDE_COLUMN)):
            missing.append(result)
    paths.report_outside()
    if missing:
        raise DataSetError(
            f"{folder}: no results found for {len(missing)} of {len(samples)} slides ({format_names(missing)}). "
            "Analyze the slides with an encoder into this folder, or enter their result folders in the column "
            f"'{RESULT_COLUMN}'."
        )
    return samples


def select_bags(recipe: TrainRecipe, run: RunContext) -> BagSelection:
    """Read, split and check the slides of a recipe without reading embeddings."""
    chosen, table, notices = split_slides(recipe)
    bags = open_bags([*chosen.for_training, *chosen.for_test], run)
    return BagSelection(chosen, table, bags, common_bag_kind(list(bags.values())), notices)


def split_slides(recipe: TrainRecipe, *, pending: bool = False) -> tuple[SelectedSamples, ClassTable, tuple[str, ...]]:
    """Read the tables of a recipe, and split and check their slides; returns sentences for the user, too.

    ``pending``: accept slides whose embeddings are missing, but can be computed.
    """
    config, folders = recipe.classification, [expand_user(name) for name in recipe.data.datasets]
    assert config is not None
    check_distinct_datasets(folders)
    samples = order_by_name(sample for folder in folders for sample in bag_samples(folder, pending=pending))
    labels = read_strata(recipe.data.datasets, config)

    def label(sample: Sample) -> str:
        return labels.get(sample.key, "")

    parts = split_samples(samples, recipe.data, recipe.seed, label)
    parts = validate_on_each_class(parts, recipe.data, label)
    _check_counts(parts)
    chosen = SelectedSamples(parts, left_out=parts.left_out)
    table = read_classes(recipe.data.datasets, config, [*parts.training, *parts.validation])
    chosen, notices = keep_labeled(chosen, table)
    _check_counts(chosen.parts)
    check_classes(chosen, table, "slides", MORE_SLIDES)
    if config.tabular:
        check_columns([table.rows[sample.key] for sample in chosen.parts.training], config.tabular, config.target)
    # The shared warnings speak of images.
    warnings = [*data_checks.split_warnings(chosen.parts, recipe), *data_checks.data_warnings(chosen.parts)]
    warnings = [text.replace("image", "slide").replace("Image", "Slide") for text in warnings]
    notices = [
        *notices,
        *unread_notices(chosen, table, config),
        *_left_out_notices(chosen),
        *describe_patients_of(samples),
        *warnings,
        *patience_warnings(recipe),
    ]
    return chosen, table, tuple(notices)


def open_bags(samples: Sequence[Sample], run: RunContext) -> dict[Path, Bag]:
    """Open the embeddings of slides by result folder; raise an error if any cannot be read."""
    bags, faults = {}, {}
    for sample in run.track(samples, "Reading the slides"):
        try:
            bags[sample.image] = Bag.open(sample.image)
        except InputError as error:
            faults[sample.image] = str(error)
    data_checks.check_readable(faults)
    return bags


def common_bag_kind(bags: Sequence[Bag]) -> BagKind:
    """Return the kind of embeddings that all slides share; raise an error if they differ."""
    first = bags[0]
    for bag in bags[1:]:
        if why := explain_mismatch(bag, first.kind):
            raise DataSetError(
                f"{bag.folder} and {first.folder} have different embeddings: {why}. Analyze all slides with one "
                "encoder and the same options."
            )
    return first.kind


def explain_mismatch(bag: Bag, kind: BagKind) -> str:
    """Explain why the embeddings of a slide are not of the expected kind; empty if they are."""
    actual_encoder, expected_encoder = bag.kind.encoder, kind.encoder
    properties = {  # expected and actual value
        "encoder": (expected_encoder.name, actual_encoder.name),
        "weights": (expected_encoder.fingerprint[:12], actual_encoder.fingerprint[:12]),
        "features": (expected_encoder.features, actual_encoder.features),
        "stain normalization": (expected_encoder.stain, actual_encoder.stain),
        "tile side in pixels": (kind.tile.side_px, bag.kind.tile.side_px),
    }
    differences = [
        f"{name} is {actual}, expected {expected}"
        for name, (expected, actual) in properties.items()
        if expected != actual
    ]
    hashes = {expected_encoder.preprocessing, actual_encoder.preprocessing} - {None}  # unknown of earlier models
    if not differences and len(hashes) > 1:
        differences = ["stain options, color profile or the input of the encoder are others"]
    if not differences and bag.mpp and kind.tile.differs(bag.mpp):
        differences = [f"scale is {max(bag.mpp):.3g} micrometers per pixel, expected {kind.tile.mpp:.3g}"]
    return "; ".join(differences)


def _check_counts(parts: TrainingSplit) -> None:
    """Raise an error if the training or validation set has too few slides."""
    train, validation = len(parts.training), len(parts.validation)
    if train < 2 or not validation:
        raise RunError(
            f"the training set has {format_count(train, 'slide')} and the validation set {validation}, not counting "
            f"the test set. At least 2 and 1 are needed; all slides of a patient are in one set. {MORE_SLIDES}"
        )


def _left_out_notices(chosen: SelectedSamples) -> Iterable[str]:
    """Report slides that are excluded because their patient is in another part."""
    if chosen.left_out:
        groups = sorted({sample.group for sample in chosen.left_out})
        yield (
            f"Excluded: {format_count(len(chosen.left_out), 'slide')}, because other slides of the same patient are in "
            f"the test or validation set: {format_names(groups)}. Assign all slides of a patient to the same split."
        )
