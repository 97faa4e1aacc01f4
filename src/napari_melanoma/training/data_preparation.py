"""Preparation of the training data: select, check and decode the images of a recipe, and record them in the run folder.

A segmentation run reads decoded images and masks; a classification run reads views, cropped as the network sees them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import RunError, UnreadableImage
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import TrainingSplit
from napari_melanoma.data.tabular_encoding import (
    TableValues,
    fit_encoding,
    make_network_inputs,
    read_number,
    read_table_values,
)
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.training import data_checks
from napari_melanoma.training.data_checks import scan_files
from napari_melanoma.training.data_selection import (
    ClassTable,
    DataSelection,
    SelectedSamples,
    class_counts,
    decode_jobs,
    sample_files,
    select_data,
)
from napari_melanoma.training.pixel_store import (
    DecodeJob,
    ImageMaskPair,
    PixelCache,
    PixelKind,
    PixelStore,
    check_disk_space,
    decode_missing,
    label_counts,
    user_store_folder,
)
from napari_melanoma.training.random_numbers import derive_seed
from napari_melanoma.training.recipe import (
    NO_LABEL,
    ClassificationConfig,
    TrainRecipe,
    check_depth_count,
)
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


CLASSES_FILE = "classes.json"


@dataclass(frozen=True, eq=False)
class ClassPart:
    """The labels and tabular values of one part, in the order of its cache.

    ``labels``: int64 (image,), class indices; ``NO_LABEL`` for unlabeled images. ``values``: tabular values; None
    without a table. ``domains``: int64 (image,), index of the data set among the domains. ``depth_mm``: float64
    (image,), NaN if unknown or not used.
    """

    labels: NDArray[np.int64]
    values: TableValues | None
    domains: NDArray[np.int64]
    depth_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassData:
    """The classes, tabular values and domains of a classification.

    ``names``: the classes, in the order of the logits. ``encoding``: encoding of table rows as inputs, fitted on the
    training set or taken from the starting model; None without a table. ``domains``: names of all data sets. ``train``,
    ``validation``: training and validation set. ``unlabelled``: images of the target domain of an adaptation.
    """

    names: tuple[str, ...]
    encoding: TabularEncoding | None
    domains: tuple[str, ...]
    train: ClassPart
    validation: ClassPart
    unlabelled: ClassPart

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of training images of each class."""
        return tuple(int((self.train.labels == index).sum()) for index in range(len(self.names)))


@dataclass(frozen=True)
class PreparedData:
    """The decoded data of a run; ``samples`` and ``replay_samples`` are in the order of the caches.

    ``train``, ``validation``: the training and validation sets. ``replay``: images that preserve the initial model's
    performance; None without. ``unlabelled``: images of the target domain of an adaptation; None without.
    ``lesion_share``: mean share of lesion pixels in the training masks, 0 to 1. ``label_shares``: for a segmentation of
    several classes, the share of each class in all pixels of the training masks.
    """

    train: PixelCache
    validation: PixelCache
    replay: PixelCache | None
    samples: TrainingSplit
    replay_samples: tuple[Sample, ...]
    fingerprint: str
    lesion_share: float
    classes: ClassData | None = None
    unlabelled: PixelCache | None = None
    label_shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class TrainingDataReport:
    """Summary of the data that a recipe would train on.

    ``counts``: images of the parts ``train``, ``validation``, ``test`` and ``replay``. ``groups``: patients or lesions
    in the training and validation sets. ``domains``, ``classes``: training images of each data set and class.
    ``lesion_share``: mean share of lesion pixels in the training masks, 0 to 1.
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
) -> PreparedData:
    """Read, split, check and decode the images of a run.

    Several processes of one run, or several runs, may call this at the same time: one fills the store while the others
    wait and then find everything in it.

    ``resume``: use the images that the run folder lists. ``encoding``: encoding of the patient data, if it was fitted
    before; by default it is fitted on the training set.
    """
    with PixelStore.open_locked(user_store_folder(), run, recipe.model.preprocessing) as store:
        if resume and folder.data.exists():
            rows = read_data(folder.data)
            _restore(rows, store, recipe, run)
        else:
            rows = _begin_run(recipe, folder, store, run, encoding)
        prepared = _assemble(rows, store, recipe)
        if recipe.classification is not None:
            prepared = replace(prepared, classes=read_run_classes(folder.path, rows))
        caches = (prepared.train, prepared.validation, prepared.replay, prepared.unlabelled)
        used = [path for cache in caches if cache is not None for path in cache.paths]
        masks = [row.sample.mask for row in rows if row.sample.mask is not None]
        used += [mask for mask in masks if mask.is_relative_to(store.folder) and mask.exists()]  # predicted ones
        store.prune(used)
    return prepared


def _begin_run(
    recipe: TrainRecipe, folder: RunFolder, store: PixelStore, run: RunContext, encoding: TabularEncoding | None
) -> list[DataRow]:
    """Select the images of a new run, and record them in its folder."""
    selection = select_data(recipe, store, run, keep=True)
    rows = _data_rows(selection)
    if selection.table is not None:
        assert recipe.classification is not None
        data_checks.check_readable(decode_views(store, rows, recipe, run))
        write_classes(folder.path, selection.table, rows, recipe.classification, encoding)
    pixels = {path: facts.pixels for path, facts in selection.facts.items()}
    overlap_warnings = write_training_images(folder, recipe, rows, pixels, run=run)
    write_data(folder.data, rows)
    for notice in (*selection.notices, *overlap_warnings):
        folder.append_event("notice", message=notice)
    return rows


def check_data(recipe: TrainRecipe, run: RunContext, *, keep: bool = False) -> TrainingDataReport:
    """Check the images of a recipe as ``prepare_data`` does.

    ``keep``: write decoded pixels to the store, for a run that follows; otherwise nothing is written.
    """
    folder, preprocessing = user_store_folder(), recipe.model.preprocessing
    opening = (
        PixelStore.open_locked(folder, run, preprocessing) if keep else PixelStore.open_copy(folder, preprocessing)
    )
    with opening as store:
        selection = select_data(recipe, store, run, keep=keep)
    return report_data(selection.chosen, selection.table, selection.notices, selection.lesion_share)


def report_data(
    chosen: SelectedSamples, table: ClassTable | None, warnings: tuple[str, ...], lesion_share: float = 0.0
) -> TrainingDataReport:
    """Count the images or slides of each part, class and data set."""
    parts = chosen.parts
    return TrainingDataReport(
        counts={
            "train": len(parts.training),
            "validation": len(parts.validation),
            "test": len(parts.test),
            "replay": len(chosen.replay),
        },
        groups=len({sample.group for sample in (*parts.training, *parts.validation)}),
        domains=dict(sorted(Counter(sample.domain for sample in parts.training).items())),
        lesion_share=lesion_share,
        warnings=warnings,
        classes=class_counts(parts.training, table) if table else {},
    )


def list_with_part(chosen: SelectedSamples) -> list[tuple[DataPart, Sample]]:
    """List each image or slide with its part."""
    samples_by_part: tuple[tuple[DataPart, Iterable[Sample]], ...] = (
        ("train", chosen.parts.training),
        ("validation", chosen.parts.validation),
        ("test", chosen.parts.test),
        ("replay", chosen.replay),
        ("unlabelled", chosen.unlabelled),
    )
    return [(part, sample) for part, samples in samples_by_part for sample in samples]


def _data_rows(selection: DataSelection) -> list[DataRow]:
    """List each image with its part and the checksums of its files."""
    infos = selection.infos
    return [
        DataRow(part, sample, infos[sample.image].sha, infos[sample.mask].sha if sample.mask else "")
        for part, sample in list_with_part(selection.chosen)
    ]


def _restore(rows: Sequence[DataRow], store: PixelStore, recipe: TrainRecipe, run: RunContext) -> None:
    """Decode the images of a run that the store lacks, from files that have not changed."""
    side, views_only = recipe.data.cache_size, recipe.task == "classification"
    if views_only:
        missing = missing_views(rows, store, recipe)
    else:
        missing = [
            row
            for row in rows
            if row.part != "test"
            and (store.lacks("image", side, row.image_sha) or store.lacks(recipe.mask_kind, side, row.mask_sha))
        ]
    scan = scan_files([path for row in missing for path in sample_files(row.sample)], store.index, run)
    jobs: list[DecodeJob] = []
    unusable: list[Path] = list(scan.faults)
    for row in missing:
        if not scan.faults.keys().isdisjoint(sample_files(row.sample)):
            continue
        shas = (row.image_sha, row.mask_sha)
        for job, sha in zip(decode_jobs(row.sample, scan.infos, recipe.mask_kind, keep=True), shas, strict=False):
            if job.info.sha == sha:
                jobs.append(job)
            elif views_only or store.lacks(job.kind, side, sha):
                unusable.append(job.path)
    unusable += [] if views_only else decode_missing(store, jobs, side, run)
    if views_only and not unusable:
        unusable += decode_views(store, missing, recipe, run)
    if unusable:
        raise RunError(
            "files of the run have been changed or deleted, and their decoded pixels are no longer stored: "
            f"{format_names(unusable)}. Restore the original files, or start a new run."
        )


def _assemble(rows: Sequence[DataRow], store: PixelStore, recipe: TrainRecipe) -> PreparedData:
    """Build caches from rows whose images are all decoded."""

    def samples(part: DataPart) -> list[Sample]:
        return [row.sample for row in rows if row.part == part]

    def cache(part: DataPart) -> PixelCache:
        chosen = [row for row in rows if row.part == part]
        if recipe.task == "classification":
            return load_views(store, chosen, recipe)
        pairs = [ImageMaskPair(row.image_sha, row.mask_sha) for row in chosen]
        return store.cache(pairs, recipe.data.cache_size, recipe.mask_kind)

    replay = tuple(samples("replay"))
    return PreparedData(
        train=cache("train"),
        validation=cache("validation"),
        replay=cache("replay") if replay else None,
        samples=TrainingSplit(samples("train"), samples("validation"), samples("test")),
        replay_samples=replay,
        fingerprint=data_fingerprint(rows),
        lesion_share=_lesion_share(rows, store, recipe.mask_kind),
        label_shares=_label_shares(rows, store, len(recipe.classes)),
        unlabelled=cache("unlabelled") if samples("unlabelled") else None,
    )


def _lesion_share(rows: Iterable[DataRow], store: PixelStore, masks: PixelKind) -> float:
    """Mean share of lesion pixels in the training masks."""
    facts = [store.index.facts(masks, row.mask_sha) for row in rows if row.part == "train"]
    shares = [mask_facts.lesion for mask_facts in facts if mask_facts is not None]
    return sum(shares) / max(1, len(shares))


def _label_shares(rows: Iterable[DataRow], store: PixelStore, classes: int) -> tuple[float, ...]:
    """Share of each class in the labeled pixels of the training label images; empty without classes."""
    total: Counter[int] = Counter()
    if classes:
        facts = (store.index.facts("labels", row.mask_sha) for row in rows if row.part == "train")
        for mask_facts in facts:
            total.update(label_counts(mask_facts) if mask_facts else {})
    del total[UNLABELED_PIXEL]
    return tuple(total[value] / max(1, total.total()) for value in range(classes))


def check_table_inputs(rows: Sequence[Mapping[str, str]], config: ClassificationConfig) -> None:
    """Raise an error if no encoding can be fitted to training rows, as a column is missing, or if they lack depths."""
    if config.tabular:
        fit_encoding(rows, config.tabular, config.target)
    if config.depth:
        column = config.depth.column
        check_depth_count(sum(bool(_depth_cell(row.get(column, ""), column)) for row in rows), len(rows))


def write_classes(
    folder: Path,
    table: ClassTable,
    rows: Sequence[DataRow],
    config: ClassificationConfig,
    fitted: TabularEncoding | None,
) -> None:
    """Save the classes and tabular values of a run, so that a resumed run uses the same ones.

    ``fitted``: the encoding of the patient data; None: fit it on the training rows. In the file, ``rows``, ``depth``
    and ``columns`` are in the order of ``rows``: the class index followed by the values of ``fields``, the depth in mm
    as text, and the texts of ``config.stored_columns``.
    """
    training_rows = [table.rows[row.sample.key] for row in rows if row.part == "train"]
    encoding = fitted or (fit_encoding(training_rows, config.tabular, config.target) if config.tabular else None)
    depth = config.depth.column if config.depth else ""
    fields = encoding.fields if encoding else ()
    content: dict[str, Any] = {
        "names": table.names,
        "encoding": encoding.model_dump(mode="json") if encoding else None,
        "fields": fields,
        "rows": [
            [
                NO_LABEL if row.part == "unlabelled" else table.label(row.sample),
                *(table.rows[row.sample.key].get(name, "") for name in fields),
            ]
            for row in rows
        ],
        "depth": [_depth_cell(table.rows[row.sample.key].get(depth, ""), depth) for row in rows] if depth else [],
        "columns": {name: [table.rows[row.sample.key].get(name, "") for row in rows] for name in config.stored_columns},
    }
    write_json(folder / CLASSES_FILE, content)


def copy_classes_without_table(source: Path, target: Path) -> None:
    """Copy the classes of a run to the folder of another run of the same images, which uses no tabular values."""
    content = read_json(source / CLASSES_FILE)
    labels = [row[:1] for row in content["rows"]]
    write_json(target / CLASSES_FILE, {**content, "encoding": None, "fields": [], "rows": labels})


def _depth_cell(cell: str, column: str) -> str:
    """Return the depth of a table cell in the unit of its column, or "" if it is not a possible depth."""
    depth = read_number(cell, column)
    return "" if math.isnan(depth) else f"{depth:.10g}"


def read_run_classes(folder: Path, rows: Sequence[DataRow]) -> ClassData:
    content, values_of_rows = _read_classes_file(folder / CLASSES_FILE, rows)
    encoding = TabularEncoding.parse(content["encoding"], str(folder / CLASSES_FILE)) if content["encoding"] else None
    domains = tuple(sorted({row.sample.domain for row in rows}))
    depth_values = content.get("depth") or [None] * len(rows)
    depths = dict(zip(map(id, rows), map(read_number, depth_values), strict=True))

    def part(name: str) -> ClassPart:
        chosen = [row for row in rows if row.part == name]
        cells = [values_of_rows[id(row)] for row in chosen]
        return ClassPart(
            labels=np.array([cell[0] for cell in cells], np.int64),
            values=read_table_values([dict(zip(content["fields"], cell[1:], strict=True)) for cell in cells], encoding)
            if encoding
            else None,
            domains=np.array([domains.index(row.sample.domain) for row in chosen], np.int64),
            depth_mm=np.array([depths[id(row)] for row in chosen], np.float64),
        )

    return ClassData(tuple(content["names"]), encoding, domains, part("train"), part("validation"), part("unlabelled"))


def read_part_table(
    folder: Path, rows: Sequence[DataRow], parts: Collection[str]
) -> tuple[tuple[str, ...], NDArray[np.intp], list[dict[str, str]]]:
    """Read the classes and tabular values of some parts of a run.

    Returns the classes, the class index of each case, int (case,), and its row: the tabular values and the stored
    columns, of which runs of earlier versions have none.
    """
    content, values_of_rows = _read_classes_file(folder / CLASSES_FILE, rows)
    cells = {place: values_of_rows[id(row)] for place, row in enumerate(rows) if row.part in parts}
    stored: Mapping[str, Sequence[str]] = content.get("columns", {})
    table = [
        {name: texts[place] for name, texts in stored.items()}
        | dict(zip(content["fields"], map(str, values[1:]), strict=True))
        for place, values in cells.items()
    ]
    return tuple(content["names"]), np.array([values[0] for values in cells.values()], np.intp), table


def _read_classes_file(path: Path, rows: Sequence[DataRow]) -> tuple[dict[str, Any], dict[int, list[Any]]]:
    """Read ``classes.json``.

    Returns the content, and the class index and values of each row by ``id(row)``.
    """
    try:
        content = read_json(path)
        return content, dict(zip(map(id, rows), content["rows"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path}, the classes of the run's images, is not readable ({parse_error_reason(error)}). Start a new run "
            "in another folder."
        ) from error


class ViewJob(NamedTuple):
    """A view to crop: its checksum, and the files of photograph and mask."""

    sha: str
    image: Path
    mask: Path | None


def view_sha(row: DataRow) -> str:
    """Return a digest that identifies a view by the image and mask that it is cropped from."""
    return hashlib.sha256(f"{row.image_sha} {row.mask_sha}".encode()).hexdigest()


def view_kind(recipe: TrainRecipe) -> str:
    """Return the kind under which views are stored; views with different settings have different kinds."""
    assert recipe.classification is not None
    view, preprocessing = recipe.classification.view, recipe.model.preprocessing
    unused = {"stain"} if preprocessing.stain == "none" else set()
    steps = preprocessing.model_dump(mode="json", exclude=unused)
    settings = json.dumps([view.model_dump(mode="json"), steps], sort_keys=True)
    return f"view-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"


def missing_views(rows: Sequence[DataRow], store: PixelStore, recipe: TrainRecipe) -> list[DataRow]:
    """Find the rows whose view is not in the store, in order; test images need none."""
    kind, side = view_kind(recipe), recipe.data.cache_size
    return [row for row in rows if row.part != "test" and not store.has(kind, side, view_sha(row))]


def decode_views(store: PixelStore, rows: Sequence[DataRow], recipe: TrainRecipe, run: RunContext) -> dict[Path, str]:
    """Crop and store the views that the store lacks; return the reason for each photograph that cannot be used."""
    kind, side = view_kind(recipe), recipe.data.cache_size
    missing = {view_sha(row): row.sample for row in missing_views(rows, store, recipe)}
    jobs = [ViewJob(sha, sample.image, sample.mask) for sha, sample in missing.items()]
    check_disk_space(store.folder, [(3, side, side)] * len(jobs))
    faults: dict[Path, str] = {}

    def crop(job: ViewJob) -> str:
        view = _cut_view(job, recipe)
        if isinstance(view, str):
            return view
        store.write(kind, side, job.sha, view)
        return ""

    for done, (job, fault) in enumerate(map_in_threads(crop, jobs, run), start=1):
        if fault:
            faults[job.image] = fault
        run.report(Progress(done, len(jobs), "Preparing lesion views"))
    return faults


def load_views(store: PixelStore, rows: Sequence[DataRow], recipe: TrainRecipe) -> PixelCache:
    """Return the cache of decoded views, in the order of the rows; their masks are empty."""
    side = recipe.data.cache_size
    pairs = tuple(ImageMaskPair(view_sha(row), "") for row in rows)
    return PixelCache(store.version(view_kind(recipe), side), None, side, pairs)


def _cut_view(job: ViewJob, recipe: TrainRecipe) -> NDArray[np.uint8] | str:
    """Read photograph and mask and crop the view, (channel, row, column); or return why that failed."""
    from napari_melanoma.imaging.preprocessing import crop_view
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.io.results import read_mask

    assert recipe.classification is not None
    try:
        rgb = read_photograph(job.image).rgb
        mask = read_mask(job.mask) if job.mask else None
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return f"{job.image} cannot be read: {error.strerror or error}."
    view = crop_view(rgb, mask, recipe.classification.view, recipe.data.cache_size, recipe.model.preprocessing)
    if view is None:
        return f"{job.mask} contains no lesion."
    return view.image.transpose(2, 0, 1)


DROP_SEED = 11  # separates the random numbers of hidden fields from other uses of the seed


class FieldDropout:
    """Hides fields of patient data at random, so that a model learns to predict without them."""

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        self._field, self._form = recipe.classification.drop_field, recipe.classification.drop_form
        self._seed = recipe.seed

    def read_values(self, part: ClassPart, indices: NDArray[np.int64], keys: NDArray[np.int64]) -> TableValues | None:
        """Return the values of some rows without the hidden fields; None without a table."""
        if part.values is None:
            return None
        values = part.values.select_rows(indices)
        return values.drop_columns(self._draw_mask(keys, values.known.shape[1]))

    def _draw_mask(self, keys: NDArray[np.int64], fields: int) -> NDArray[np.bool_]:
        """Draw which fields are hidden, bool (image, field); depends on seed and keys only."""
        draws = np.stack(
            [np.random.default_rng(derive_seed(self._seed, DROP_SEED, *key)).random(fields + 1) for key in keys]
        )
        return (draws[:, 1:] < self._field) | (draws[:, :1] < self._form)


def table_inputs(values: TableValues | None, encoding: TabularEncoding | None, count: int) -> tuple[Tensor, Tensor]:
    """Return the inputs of ``count`` rows: float32 (row, input) and int64 (row, embedding); empty without a table."""
    import torch

    if values is None or encoding is None:
        return torch.zeros(count, 0), torch.zeros(count, 0, dtype=torch.int64)
    inputs = make_network_inputs(values, encoding)
    return torch.from_numpy(inputs.continuous), torch.from_numpy(inputs.categories)
