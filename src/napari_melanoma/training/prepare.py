"""From the data sets of a recipe to what a run learns from: checked, decoded, and written down in ``data.csv``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.errors import RunError
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import Parts
from napari_melanoma.training import data_faults
from napari_melanoma.training.cache import Cache
from napari_melanoma.training.class_prepare import read_run_classes, write_classes
from napari_melanoma.training.class_rows import class_counts
from napari_melanoma.training.class_views import fill_views, lost_views, views
from napari_melanoma.training.contents import read_contents
from napari_melanoma.training.decoding import Job, fill, label_counts
from napari_melanoma.training.listed_images import write_listed
from napari_melanoma.training.run_data import DataRow, Part, fingerprint, read_data, write_data
from napari_melanoma.training.store import Pair, PixelStore, user_store
from napari_melanoma.training.survey import Survey, files_of, jobs_of, survey

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.core.tabular import TabularEncoding
    from napari_melanoma.training.cache_index import Kind
    from napari_melanoma.training.class_batch import ClassData
    from napari_melanoma.training.recipe import TrainRecipe


@dataclass(frozen=True)
class Prepared:
    """What a run learns from, decoded; ``samples`` and ``base_samples`` are in the order of the caches.

    ``lesion_share``: share of lesion in the masks to learn from, averaged over images, 0 to 1. ``label_shares``: of a
    segmentation of several classes: share of each in all pixels of the masks to learn from.
    """

    learn: Cache
    tuning: Cache
    base: Cache | None
    samples: Parts
    base_samples: tuple[Sample, ...]
    fingerprint: str
    lesion_share: float
    classes: ClassData | None = None
    unlabelled: Cache | None = None
    label_shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class DataReport:
    """What a recipe would learn from.

    ``lesion_share``: share of lesion in the masks to learn from, averaged over images, 0 to 1.
    """

    counts: dict[str, int]
    groups: int
    domains: dict[str, int]
    lesion_share: float
    warnings: tuple[str, ...]
    classes: dict[str, int] = field(default_factory=dict)


def prepare_data(
    recipe: TrainRecipe,
    folder: RunFolder,
    *,
    resume: bool,
    run: RunContext,
    encoding: TabularEncoding | None = None,
) -> Prepared:
    """Read, split, check and decode the images of a run.

    Several processes of one run, or several runs, may do this at once: one fills the store while the others wait, and
    then find all there.
    """
    with PixelStore.locked(user_store(), run, recipe.model.preprocessing) as store:
        if resume and folder.data.exists():
            rows = read_data(folder.data)
            _restore(rows, store, recipe, run)
        else:
            rows = _begun(recipe, folder, store, run, encoding)
        prepared = _assemble(rows, store, recipe)
        if recipe.classification is not None:
            prepared = replace(prepared, classes=read_run_classes(folder.path, rows))
        caches = (prepared.learn, prepared.tuning, prepared.base, prepared.unlabelled)
        store.use(folder.path, [cache for cache in caches if cache])
        store.prune()
    return prepared


def _begun(
    recipe: TrainRecipe, folder: RunFolder, store: PixelStore, run: RunContext, encoding: TabularEncoding | None
) -> list[DataRow]:
    """Look at the images of a new run, and write down in its folder what it learns from."""
    found = survey(recipe, store, run, keep=True)
    rows = _rows(found)
    if found.table is not None:
        assert recipe.classification is not None
        data_faults.check_readable(fill_views(store, rows, recipe, run))
        write_classes(folder.path, found.table, rows, recipe.classification, encoding)
    pixels = {path: facts.pixels for path, facts in found.facts.items()}
    known = write_listed(folder, recipe, rows, pixels, run=run)
    write_data(folder.data, rows)
    for notice in (*found.notices, *known):
        folder.tell("notice", message=notice)
    return rows


def check_data(recipe: TrainRecipe, run: RunContext, *, keep: bool = False) -> DataReport:
    """Check the images of a recipe as ``prepare_data`` does."""
    folder, preprocessing = user_store(), recipe.model.preprocessing
    opened = PixelStore.locked(folder, run, preprocessing) if keep else PixelStore.copied(folder, preprocessing)
    with opened as store:
        found = survey(recipe, store, run, keep=keep)
    parts = found.chosen.parts
    return DataReport(
        counts={
            "learn": len(parts.learn),
            "tuning": len(parts.tuning),
            "held_out": len(parts.held_out),
            "base": len(found.chosen.base),
        },
        groups=len({sample.group for sample in (*parts.learn, *parts.tuning)}),
        domains=dict(sorted(Counter(sample.domain for sample in parts.learn).items())),
        lesion_share=found.lesion_share,
        warnings=found.notices,
        classes=class_counts(parts.learn, found.table) if found.table else {},
    )


def _rows(found: Survey) -> list[DataRow]:
    """Say of each image which part it plays and what content it has."""
    parts = found.chosen.parts
    playing: tuple[tuple[Part, Iterable[Sample]], ...] = (
        ("learn", parts.learn),
        ("tuning", parts.tuning),
        ("held_out", parts.held_out),
        ("base", found.chosen.base),
        ("unlabelled", found.chosen.unlabelled),
    )
    return [
        DataRow(part, sample, found.contents[sample.image].sha, found.contents[sample.mask].sha if sample.mask else "")
        for part, samples in playing
        for sample in samples
    ]


def _restore(rows: Sequence[DataRow], store: PixelStore, recipe: TrainRecipe, run: RunContext) -> None:
    """Decode again what the store has lost of a run, from files that are still what they were."""
    side, views_only = recipe.data.cache_size, recipe.task == "classification"
    if views_only:
        lost = lost_views(rows, store, recipe)
    else:
        lost = [row for row in rows if row.part != "held_out" and not _is_stored(row, store, recipe)]
    contents = read_contents([path for row in lost for path in files_of(row.sample)], store.index, run)
    jobs: list[Job] = []
    gone: list[Path] = list(contents.faults)
    for row in lost:
        if not contents.faults.keys().isdisjoint(files_of(row.sample)):
            continue
        shas = (row.image_sha, row.mask_sha)
        for job, sha in zip(jobs_of(row.sample, contents.known, recipe.mask_kind, keep=True), shas, strict=False):
            if job.content.sha == sha:
                jobs.append(job)
            elif views_only or store.slot(job.kind, side, sha) is None:
                gone.append(job.path)
    gone += [] if views_only else fill(store, jobs, side, run)
    if views_only and not gone:
        gone += fill_views(store, lost, recipe, run)
    if gone:
        raise RunError(
            "the run learns from files that were changed or removed, and whose decoded pixels are not kept any more: "
            f"{first_few(gone)}. Put them back as they were, or start a new run."
        )


def _is_stored(row: DataRow, store: PixelStore, recipe: TrainRecipe) -> bool:
    """Say whether both files of a row are decoded."""
    side = recipe.data.cache_size
    return bool(store.slot("image", side, row.image_sha) and store.slot(recipe.mask_kind, side, row.mask_sha))


def _assemble(rows: Sequence[DataRow], store: PixelStore, recipe: TrainRecipe) -> Prepared:
    """Turn rows whose images are all decoded into caches."""

    def samples(part: Part) -> list[Sample]:
        return [row.sample for row in rows if row.part == part]

    def cache(part: Part) -> Cache:
        chosen = [row for row in rows if row.part == part]
        if recipe.task == "classification":
            return views(store, chosen, recipe)
        pairs = [Pair(row.image_sha, row.mask_sha) for row in chosen]
        return store.cache(pairs, recipe.data.cache_size, recipe.mask_kind)

    base = tuple(samples("base"))
    return Prepared(
        learn=cache("learn"),
        tuning=cache("tuning"),
        base=cache("base") if base else None,
        samples=Parts(samples("learn"), samples("tuning"), samples("held_out")),
        base_samples=base,
        fingerprint=fingerprint(rows),
        lesion_share=_lesion_share(rows, store, recipe.mask_kind),
        label_shares=_label_shares(rows, store, len(recipe.classes)),
        unlabelled=cache("unlabelled") if samples("unlabelled") else None,
    )


def _lesion_share(rows: Iterable[DataRow], store: PixelStore, masks: Kind) -> float:
    """Average the share of lesion over the masks to learn from."""
    facts = [store.index.facts(masks, row.mask_sha) for row in rows if row.part == "learn"]
    known = [found.lesion for found in facts if found is not None]
    return sum(known) / max(1, len(known))


def _label_shares(rows: Iterable[DataRow], store: PixelStore, classes: int) -> tuple[float, ...]:
    """Share of each class in all pixels of the label images to learn from; empty where there are no classes."""
    total: Counter[int] = Counter()
    if classes:
        facts = (store.index.facts("labels", row.mask_sha) for row in rows if row.part == "learn")
        for found in facts:
            total.update(label_counts(found) if found else {})
    return tuple(total[value] / max(1, total.total()) for value in range(classes))
