"""From data sets to the bags of a run: which slides, of which class, in which part, and whether of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import counted, first_few
from napari_melanoma.core.errors import DataSetError, InputError, RunError
from napari_melanoma.core.paths import NamedPaths, UnsafePath
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
from napari_melanoma.io.bags import Bag, BagKind
from napari_melanoma.training import data_faults
from napari_melanoma.training.class_rows import (
    ClassTable,
    check_classes,
    key_of,
    read_classes,
    strata_of,
    unread_notices,
    with_answers,
)
from napari_melanoma.training.patience import impatience
from napari_melanoma.training.survey import Chosen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe

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
