"""Whole slides as bags: rows, preparation and batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from napari_melanoma.core.errors import DataSetError, InputError, RunError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.paths import PathResolver, UnsafePath
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import (
    OUTSIDE_ADVICE,
    OutsideFolderError,
    Sample,
    check_dataset_names,
    find_table,
    iter_entries,
    make_sample,
    row_error,
)
from napari_melanoma.data.splits import TrainingSplit, split_samples, validate_on_each_class
from napari_melanoma.training import data_checks
from napari_melanoma.training.data_selection import (
    ClassTable,
    SelectedSamples,
    check_classes,
    class_counts,
    keep_labeled,
    read_classes,
    read_strata,
    sample_key,
    unread_notices,
)
from napari_melanoma.training.monitor import patience_warnings
from napari_melanoma.training.prepare import PreparedData, TrainingDataReport, read_run_classes, write_classes
from napari_melanoma.training.run_data import (
    DataPart,
    DataRow,
    data_fingerprint,
    read_data,
    write_data,
    write_training_images,
)
from napari_melanoma.training.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.training.pixel_store import PixelCache
    from napari_melanoma.training.recipe import TrainRecipe

TILE_SEED = 17  # what a seed is for, beside those of sampling and of classification


class BagBatch(NamedTuple):
    """A batch of slides.

    ``bags`` has for each slide float32 (tile, feature), or the bag itself, from which all tiles are read in pieces;
    ``shares`` is float32 (slide, class), each row summing to 1, ``keys`` int64 (slide, 2): epoch and key.
    """

    bags: list[Any]
    shares: Tensor
    keys: NDArray[np.int64]


class TrainingBags:
    """Batches to learn from, indexed by the keys of a batch."""

    def __init__(self, prepared: PreparedBags, recipe: TrainRecipe) -> None:
        assert prepared.classes is not None
        assert recipe.bags is not None
        self._bags = cast("Sequence[Bag]", prepared.learn)
        self._labels, self._classes = prepared.classes.learn.labels, len(prepared.classes.names)
        self._tiles, self._seed = recipe.bags.tiles, recipe.seed

    def __getitem__(self, keys: NDArray[np.int64]) -> BagBatch:
        """Give a batch; which tiles are drawn follows from its keys alone."""
        import torch

        places = keys[:, 1] % len(self._bags)
        drawn = [
            torch.from_numpy(self._bags[place].sample(self._tiles, derive_seed(self._seed, TILE_SEED, *key)))
            for place, key in zip(places.tolist(), keys.tolist(), strict=True)
        ]
        return BagBatch(drawn, _class_shares(self._labels[places], self._classes), keys)


class ValidationBags:
    """The slides that pick the epoch, whole, indexed by places."""

    def __init__(self, prepared: PreparedBags) -> None:
        assert prepared.classes is not None
        self._bags = cast("Sequence[Bag]", prepared.tuning)
        self._labels, self._classes = prepared.classes.tuning.labels, len(prepared.classes.names)

    def __getitem__(self, places: NDArray[np.int64]) -> BagBatch:
        """Give a batch, its keys (0, place)."""
        keys = np.stack([np.zeros_like(places), places], axis=1)
        bags = [self._bags[place] for place in places.tolist()]
        return BagBatch(bags, _class_shares(self._labels[places], self._classes), keys)


def _class_shares(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Answers as shares of the classes, float32 (slide, class)."""
    import torch

    return torch.nn.functional.one_hot(torch.from_numpy(labels), classes).float()


@dataclass(frozen=True)
class PreparedBags(PreparedData):
    """What a run learns from slides; ``learn`` and ``tuning`` hold their bags, in the order of ``samples``."""

    kind: BagKind | None = None


def prepare_bags(recipe: TrainRecipe, folder: RunFolder, *, resume: bool, run: RunContext) -> PreparedBags:
    """Read, split and check the slides of a run.

    Ready for the loaders; embeddings are read when they are asked for.
    """
    if resume and folder.data.exists():
        rows = read_data(folder.data)
        bags = open_bags([row.sample for row in rows if row.part in ("learn", "tuning")], run)
        _check_unchanged(rows, bags)
        return _assemble_bags(rows, bags, folder)
    found = select_bags(recipe, run)
    rows = _bag_rows(found, run)
    assert recipe.classification is not None
    write_classes(folder.path, found.table, rows, recipe.classification, None)
    pixels = {row.sample.image: row.image_sha for row in rows}
    write_training_images(folder, recipe, rows, pixels, run=run, encoder=found.kind.encoder.name)
    write_data(folder.data, rows)
    for notice in found.notices:
        folder.append_event("notice", message=notice)
    return _assemble_bags(rows, found.bags, folder)


def check_bags(recipe: TrainRecipe, run: RunContext) -> TrainingDataReport:
    """Check the slides of a recipe as ``prepare_bags`` does, and write nothing."""
    found = select_bags(recipe, run)
    parts = found.chosen.parts
    return TrainingDataReport(
        counts={
            "learn": len(parts.training),
            "tuning": len(parts.validation),
            "held_out": len(parts.test),
            "base": 0,
        },
        groups=len({sample.group for sample in (*parts.training, *parts.validation)}),
        domains=dict(sorted(Counter(sample.domain for sample in parts.training).items())),
        lesion_share=0.0,
        warnings=found.notices,
        classes=class_counts(parts.training, found.table),
    )


def _bag_rows(found: BagSelection, run: RunContext) -> list[DataRow]:
    """Say of each slide which part it plays, and what embeddings it has."""
    parts = found.chosen.parts
    playing: tuple[tuple[DataPart, Iterable[Sample]], ...] = (
        ("learn", parts.training),
        ("tuning", parts.validation),
        ("held_out", parts.test),
    )
    samples = [(part, sample) for part, chosen in playing for sample in chosen]
    return [
        DataRow(part, sample, found.bags[sample.image].fingerprint(), "")
        for part, sample in run.track(samples, "Reading the slides")
    ]


def _check_unchanged(rows: Sequence[DataRow], bags: Mapping[Path, Bag]) -> None:
    """Refuse to go on with other embeddings than the run began with."""
    known = {row.sample.image: row.image_sha for row in rows}
    changed = [path for path, bag in bags.items() if bag.fingerprint() != known[path]]
    if changed:
        raise RunError(
            f"the run learns from embeddings that were made anew meanwhile: {format_names(changed)}. Put them back as "
            "they were, or start a new run."
        )


def _assemble_bags(rows: Sequence[DataRow], bags: Mapping[Path, Bag], folder: RunFolder) -> PreparedBags:
    """Put together what the loaders need."""

    def samples(part: DataPart) -> list[Sample]:
        return [row.sample for row in rows if row.part == part]

    learn, tuning = (tuple(bags[sample.image] for sample in samples(part)) for part in ("learn", "tuning"))
    return PreparedBags(
        learn=cast("PixelCache", learn),  # of both the engine asks no more than how many there are
        tuning=cast("PixelCache", tuning),
        base=None,
        samples=TrainingSplit(samples("learn"), samples("tuning"), samples("held_out")),
        base_samples=(),
        fingerprint=data_fingerprint(rows),
        lesion_share=0.0,
        classes=read_run_classes(folder.path, rows),
        kind=common_bag_kind([*learn, *tuning]),
    )


RESULT_COLUMN = "result"  # of the table: the result folder of a slide


@dataclass(frozen=True)
class BagSelection:
    """The slides of a run by part, their answers, their bags by result folder, and what a person should know."""

    chosen: SelectedSamples
    table: ClassTable
    bags: Mapping[Path, Bag]
    kind: BagKind
    notices: tuple[str, ...]


def bag_samples(folder: Path) -> list[Sample]:
    """Read the slides of a data set.

    In the order of the table; ``image`` is the result folder.
    """
    found, lost, paths = [], [], PathResolver(folder)
    for number, entry in enumerate(iter_entries(folder), start=1):
        if isinstance(entry, DataSetError):
            raise entry
        named_place = entry.row.get(RESULT_COLUMN) or entry.image_id
        try:
            place = paths.resolve(named_place)
        except UnsafePath as error:
            fault = row_error(find_table(folder), number, RESULT_COLUMN, named_place, str(error), OUTSIDE_ADVICE)
            raise OutsideFolderError(str(fault)) from None
        sample = make_sample(replace(entry, image=place, mask=None), folder)
        if isinstance(sample, DataSetError):
            raise sample
        found.append(sample)
        if not place.is_dir():
            lost.append(place)
    paths.report_outside()
    if lost:
        raise DataSetError(
            f"{folder}: the results of {len(lost)} of {len(found)} slides are not there ({format_names(lost)}). Analyse "
            f"the slides with an encoder into this folder, or name their result folders in the column '{RESULT_COLUMN}'."
        )
    return found


def select_bags(recipe: TrainRecipe, run: RunContext) -> BagSelection:
    """Read, split and check the slides of a recipe; no embedding is read."""
    asked, folders = recipe.classification, [Path(name).expanduser() for name in recipe.data.datasets]
    assert asked is not None
    check_dataset_names(folders)
    samples = [sample for folder in folders for sample in bag_samples(folder)]
    answers = read_strata(folders, asked.target)

    def answer(sample: Sample) -> str:
        return answers.get(sample_key(sample), "")

    parts = validate_on_each_class(split_samples(samples, recipe.data, recipe.seed, answer), answer)
    _check_counts(parts)
    chosen = SelectedSamples(parts, left_out=parts.left_out)
    table = read_classes(recipe.data.datasets, asked, [*parts.training, *parts.validation])
    chosen, notices = keep_labeled(chosen, table)
    _check_counts(chosen.parts)
    check_classes(chosen, table, "slides", MORE_SLIDES)
    bags = open_bags([*chosen.read, *chosen.judged], run)
    beware = [text.replace("image", "slide") for text in data_checks.data_warnings(chosen.parts)]
    notices = [
        *notices,
        *unread_notices(chosen, table, asked),
        *_left_out_notices(chosen),
        *beware,
        *patience_warnings(recipe),
    ]
    return BagSelection(chosen, table, bags, common_bag_kind(list(bags.values())), tuple(notices))


def open_bags(samples: Sequence[Sample], run: RunContext) -> dict[Path, Bag]:
    """Open the results of slides."""
    found, faults = {}, {}
    for sample in run.track(samples, "Looking at the slides"):
        try:
            found[sample.image] = Bag.open(sample.image)
        except InputError as error:
            faults[sample.image] = str(error)
    data_checks.check_readable(faults)
    return found


def common_bag_kind(bags: Sequence[Bag]) -> BagKind:
    """Say what kind of embeddings all slides have.

    Of the first.
    """
    first = bags[0]
    for bag in bags[1:]:
        if why := explain_mismatch(bag, first.kind):
            raise DataSetError(
                f"{bag.folder} and {first.folder} have embeddings of two kinds: {why}. Analyse all slides with one "
                "encoder and the same options."
            )
    return first.kind


def explain_mismatch(bag: Bag, kind: BagKind) -> str:
    """Say why the embeddings of a slide are not of a kind.

    What was expected and what was found; empty where they are of that kind.
    """
    mine, wanted = bag.kind.encoder, kind.encoder
    found = {
        "encoder": (wanted.name, mine.name),
        "weights": (wanted.fingerprint[:12], mine.fingerprint[:12]),
        "features": (wanted.features, mine.features),
        "stain normalisation": (wanted.stain, mine.stain),
        "pixels of a tile's side": (kind.tile.side_px, bag.kind.tile.side_px),
    }
    said = [f"{name} is {there}, expected {asked}" for name, (asked, there) in found.items() if asked != there]
    if not said and bag.mpp and kind.tile.differs(bag.mpp):
        said = [f"scale is {max(bag.mpp):.3g} micrometres per pixel, expected {kind.tile.mpp:.3g}"]
    return "; ".join(said)


MORE_SLIDES = (
    "Add slides of other patients: of each class at least three, one to learn from, one to tune with and one to judge "
    "on."
)


def _check_counts(parts: TrainingSplit) -> None:
    """Refuse too few slides or patients."""
    learn, tuning = len(parts.training), len(parts.validation)
    if learn < 2 or not tuning:
        raise RunError(
            f"{format_count(learn, 'slide')} to learn from and {tuning} to tune with, beside those held out; at least 2 and "
            f"1 are needed, where all slides of a patient stay together. {MORE_SLIDES}"
        )


def _left_out_notices(chosen: SelectedSamples) -> Iterable[str]:
    """Say which slides are not learnt from, as their patient is held out."""
    if chosen.left_out:
        groups = sorted({sample.group for sample in chosen.left_out})
        yield (
            f"{len(chosen.left_out)} of the slides are not learnt from, as others of their patient are held out: "
            f"{format_names(groups)}. Give all slides of a patient the same split."
        )
