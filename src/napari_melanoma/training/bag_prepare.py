"""From the data sets of a recipe to the bags that a run learns from, written down in its ``data.csv``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.errors import RunError
from napari_melanoma.data.splits import Parts
from napari_melanoma.training.bag_rows import BagSurvey, one_kind, open_bags, survey_bags
from napari_melanoma.training.class_prepare import read_run_classes, write_classes
from napari_melanoma.training.class_rows import class_counts
from napari_melanoma.training.listed_images import write_listed
from napari_melanoma.training.prepare import DataReport, Prepared
from napari_melanoma.training.run_data import DataRow, Part, fingerprint, read_data, write_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.io.bags import Bag, BagKind
    from napari_melanoma.training.cache import Cache
    from napari_melanoma.training.recipe import TrainRecipe


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
