"""Whole slides as bags: rows, preparation and batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from napari_melanoma.core.errors import DataSetError, InputError, RunError
from napari_melanoma.core.paths import NamedPaths, UnsafePath
from napari_melanoma.core.wording import counted, first_few
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import (
    OUTSIDE,
    OutsideFolder,
    Sample,
    check_names,
    each_entry,
    row_fault,
    sample_of,
    table_of,
)
from napari_melanoma.data.splits import Parts, parts_of, tuned_on_each
from napari_melanoma.training import data_faults
from napari_melanoma.training.monitor import impatience
from napari_melanoma.training.prepare import DataReport, Prepared, read_run_classes, write_classes
from napari_melanoma.training.run_data import DataRow, Part, fingerprint, read_data, write_data, write_listed
from napari_melanoma.training.seeds import seed_of
from napari_melanoma.training.survey import (
    Chosen,
    ClassTable,
    check_classes,
    class_counts,
    key_of,
    read_classes,
    strata_of,
    unread_notices,
    with_answers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.store import Cache

TILES = 17  # what a seed is for, beside those of sampling and of classification


class BagBatch(NamedTuple):
    """A batch of slides.

    ``bags`` has for each slide float32 (tile, feature), or the bag itself, from which all tiles are read in pieces;
    ``shares`` is float32 (slide, class), each row summing to 1, ``keys`` int64 (slide, 2): epoch and key.
    """

    bags: list[Any]
    shares: Tensor
    keys: NDArray[np.int64]


class LearningBags:
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
            torch.from_numpy(self._bags[place].sample(self._tiles, seed_of(self._seed, TILES, *key)))
            for place, key in zip(places.tolist(), keys.tolist(), strict=True)
        ]
        return BagBatch(drawn, _shares(self._labels[places], self._classes), keys)


class BagsInOrder:
    """The slides that pick the epoch, whole, indexed by places."""

    def __init__(self, prepared: PreparedBags) -> None:
        assert prepared.classes is not None
        self._bags = cast("Sequence[Bag]", prepared.tuning)
        self._labels, self._classes = prepared.classes.tuning.labels, len(prepared.classes.names)

    def __getitem__(self, places: NDArray[np.int64]) -> BagBatch:
        """Give a batch, its keys (0, place)."""
        keys = np.stack([np.zeros_like(places), places], axis=1)
        bags = [self._bags[place] for place in places.tolist()]
        return BagBatch(bags, _shares(self._labels[places], self._classes), keys)


def _shares(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Answers as shares of the classes, float32 (slide, class)."""
    import torch

    return torch.nn.functional.one_hot(torch.from_numpy(labels), classes).float()


@dataclass(frozen=True)
class PreparedBags(Prepared):
    """What a run learns from slides; ``learn`` and ``tuning`` hold their bags, in the order of ``samples``."""

    kind: BagKind | None = None


def prepare_bags(recipe: TrainRecipe, folder: RunFolder, *, resume: bool, run: RunContext) -> PreparedBags:
    """Read, split and check the slides of a run.

    Ready for the loaders; embeddings are read when they are asked for.
    """
    if resume and folder.data.exists():
        rows = read_data(folder.data)
        bags = open_bags([row.sample for row in rows if row.part in ("learn", "tuning")], run)
        _refuse_changed(rows, bags)
        return _assembled(rows, bags, folder)
    found = survey_bags(recipe, run)
    rows = _rows(found, run)
    assert recipe.classification is not None
    write_classes(folder.path, found.table, rows, recipe.classification, None)
    pixels = {row.sample.image: row.image_sha for row in rows}
    write_listed(folder, recipe, rows, pixels, run=run, encoder=found.kind.encoder.name)
    write_data(folder.data, rows)
    for notice in found.notices:
        folder.tell("notice", message=notice)
    return _assembled(rows, found.bags, folder)


def check_bags(recipe: TrainRecipe, run: RunContext) -> DataReport:
    """Check the slides of a recipe as ``prepare_bags`` does, and write nothing."""
    found = survey_bags(recipe, run)
    parts = found.chosen.parts
    return DataReport(
        counts={
            "learn": len(parts.learn),
            "tuning": len(parts.tuning),
            "held_out": len(parts.held_out),
            "base": 0,
        },
        groups=len({sample.group for sample in (*parts.learn, *parts.tuning)}),
        domains=dict(sorted(Counter(sample.domain for sample in parts.learn).items())),
        lesion_share=0.0,
        warnings=found.notices,
        classes=class_counts(parts.learn, found.table),
    )


def _rows(found: BagSurvey, run: RunContext) -> list[DataRow]:
    """Say of each slide which part it plays, and what embeddings it has."""
    parts = found.chosen.parts
    playing: tuple[tuple[Part, Iterable[Sample]], ...] = (
        ("learn", parts.learn),
        ("tuning", parts.tuning),
        ("held_out", parts.held_out),
    )
    samples = [(part, sample) for part, chosen in playing for sample in chosen]
    return [
        DataRow(part, sample, found.bags[sample.image].fingerprint(), "")
        for part, sample in run.track(samples, "Reading the slides")
    ]


def _refuse_changed(rows: Sequence[DataRow], bags: Mapping[Path, Bag]) -> None:
    """Refuse to go on with other embeddings than the run began with."""
    known = {row.sample.image: row.image_sha for row in rows}
    changed = [path for path, bag in bags.items() if bag.fingerprint() != known[path]]
    if changed:
        raise RunError(
            f"the run learns from embeddings that were made anew meanwhile: {first_few(changed)}. Put them back as "
            "they were, or start a new run."
        )


def _assembled(rows: Sequence[DataRow], bags: Mapping[Path, Bag], folder: RunFolder) -> PreparedBags:
    """Put together what the loaders need."""

    def samples(part: Part) -> list[Sample]:
        return [row.sample for row in rows if row.part == part]

    learn, tuning = (tuple(bags[sample.image] for sample in samples(part)) for part in ("learn", "tuning"))
    return PreparedBags(
        learn=cast("Cache", learn),  # of both the engine asks no more than how many there are
        tuning=cast("Cache", tuning),
        base=None,
        samples=Parts(samples("learn"), samples("tuning"), samples("held_out")),
        base_samples=(),
        fingerprint=fingerprint(rows),
        lesion_share=0.0,
        classes=read_run_classes(folder.path, rows),
        kind=one_kind([*learn, *tuning]),
    )


COLUMN = "result"  # of the table: the result folder of a slide


@dataclass(frozen=True)
class BagSurvey:
    """The slides of a run by part, their answers, their bags by result folder, and what a person should know."""

    chosen: Chosen
    table: ClassTable
    bags: Mapping[Path, Bag]
    kind: BagKind
    notices: tuple[str, ...]


def bag_samples(folder: Path) -> list[Sample]:
    """Read the slides of a data set.

    In the order of the table; ``image`` is the result folder.
    """
    found, lost, paths = [], [], NamedPaths(folder)
    for number, entry in enumerate(each_entry(folder), start=1):
        if isinstance(entry, DataSetError):
            raise entry
        named_place = entry.row.get(COLUMN) or entry.image_id
        try:
            place = paths.follow(named_place)
        except UnsafePath as error:
            fault = row_fault(table_of(folder), number, COLUMN, named_place, str(error), OUTSIDE)
            raise OutsideFolder(str(fault)) from None
        sample = sample_of(replace(entry, image=place, mask=None), folder)
        if isinstance(sample, DataSetError):
            raise sample
        found.append(sample)
        if not place.is_dir():
            lost.append(place)
    paths.report()
    if lost:
        raise DataSetError(
            f"{folder}: the results of {len(lost)} of {len(found)} slides are not there ({first_few(lost)}). Analyse "
            f"the slides with an encoder into this folder, or name their result folders in the column '{COLUMN}'."
        )
    return found


def survey_bags(recipe: TrainRecipe, run: RunContext) -> BagSurvey:
    """Read, split and check the slides of a recipe; no embedding is read."""
    asked, folders = recipe.classification, [Path(name).expanduser() for name in recipe.data.datasets]
    assert asked is not None
    check_names(folders)
    samples = [sample for folder in folders for sample in bag_samples(folder)]
    answers = strata_of(folders, asked.target)

    def answer(sample: Sample) -> str:
        return answers.get(key_of(sample), "")

    parts = tuned_on_each(parts_of(samples, recipe.data, recipe.seed, answer), answer)
    _check_counts(parts)
    chosen = Chosen(parts, left_out=parts.left_out)
    table = read_classes(recipe.data.datasets, asked, [*parts.learn, *parts.tuning])
    chosen, notices = with_answers(chosen, table)
    _check_counts(chosen.parts)
    check_classes(chosen, table, "slides", ENOUGH_SLIDES)
    bags = open_bags([*chosen.read, *chosen.judged], run)
    beware = [text.replace("image", "slide") for text in data_faults.warnings(chosen.parts)]
    notices = [*notices, *unread_notices(chosen, table, asked), *_left_out(chosen), *beware, *impatience(recipe)]
    return BagSurvey(chosen, table, bags, one_kind(list(bags.values())), tuple(notices))


def open_bags(samples: Sequence[Sample], run: RunContext) -> dict[Path, Bag]:
    """Open the results of slides."""
    found, faults = {}, {}
    for sample in run.track(samples, "Looking at the slides"):
        try:
            found[sample.image] = Bag.open(sample.image)
        except InputError as error:
            faults[sample.image] = str(error)
    data_faults.check_readable(faults)
    return found


def one_kind(bags: Sequence[Bag]) -> BagKind:
    """Say what kind of embeddings all slides have.

    Of the first.
    """
    first = bags[0]
    for bag in bags[1:]:
        if why := why_not(bag, first.kind):
            raise DataSetError(
                f"{bag.folder} and {first.folder} have embeddings of two kinds: {why}. Analyse all slides with one "
                "encoder and the same options."
            )
    return first.kind


def why_not(bag: Bag, kind: BagKind) -> str:
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


ENOUGH_SLIDES = (
    "Add slides of other patients: of each class at least three, one to learn from, one to tune with and one to judge "
    "on."
)


def _check_counts(parts: Parts) -> None:
    """Refuse too few slides or patients."""
    learn, tuning = len(parts.learn), len(parts.tuning)
    if learn < 2 or not tuning:
        raise RunError(
            f"{counted(learn, 'slide')} to learn from and {tuning} to tune with, beside those held out; at least 2 and "
            f"1 are needed, where all slides of a patient stay together. {ENOUGH_SLIDES}"
        )


def _left_out(chosen: Chosen) -> Iterable[str]:
    """Say which slides are not learnt from, as their patient is held out."""
    if chosen.left_out:
        groups = sorted({sample.group for sample in chosen.left_out})
        yield (
            f"{len(chosen.left_out)} of the slides are not learnt from, as others of their patient are held out: "
            f"{first_few(groups)}. Give all slides of a patient the same split."
        )
