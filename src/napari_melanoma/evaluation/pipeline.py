"""The evaluation of a model, from the images to the page, the same for every task.

``run_evaluation`` is the whole of it: leave out training images, measure every image, estimate the metrics, write the
files. What depends on the task is an ``EvaluationTask``; ``masks``, ``labels``, ``classes``, ``slides`` and ``clicks``
define one each, and ``any_task`` selects it by the model. Comparisons measure several models with the same adapters.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import numpy as np

from napari_melanoma.core.context import Cancelled, Progress, RunContext, StageLimit, map_ahead, usable_cores
from napari_melanoma.core.errors import DataSetError, SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample, check_dataset_names, read_dataset, select_for_split
from napari_melanoma.data.partial_results import PartialResults, remove_partial_results, stamp_files
from napari_melanoma.data.table_schema import VAL
from napari_melanoma.data.training_images import DigestFunction, hash_image_file
from napari_melanoma.evaluation.pages import Page, TitledTable, write_evaluation_page
from napari_melanoma.evaluation.training_overlap import (
    TRAINED_ON,
    Overlap,
    images_to_measure,
    mark_training_rows,
    modality_warnings,
    overlap_statement,
    report_warnings,
)
from napari_melanoma.io.photographs import count_pixels
from napari_melanoma.io.results import write_table
from napari_melanoma.lesion.batch import EXTRA_THREADS, STAGE_BYTES, describe_error
from napari_melanoma.metrics.metric_table import METRIC_TABLE, Metric
from napari_melanoma.metrics.statistics import Estimate, describe_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.config import Config
    from napari_melanoma.models.bundle import BundleInfo

SUMMARY, TABLE, METRICS_FILE = "summary.html", "per_image.csv", "metrics.json"
ABOUT_IMAGE = ("image_id", "domain", "split", "group", "diagnosis", "status", "error")
ALL_IMAGES = "all"  # in results, the name of all data sets together
MAX_VALUES = 12  # of a property that divides images into subgroups; the rarer ones are combined
OTHERS, NOT_KNOWN = "others", "not known"
SIZE_NAMES = ("small", "medium", "large")  # in this order; other values are sorted alphabetically
VALIDATION_ONLY = (
    "No image is of the split 'test', only {images}. If epoch, threshold or model were chosen on them, the results are "
    "optimistic."
)
SEVERAL_SPLITS = "The images are of several splits ({listed}). For the test set alone, choose the split 'test'."
MAX_FAILED = 200  # failed images on the page; the table lists all of them
Estimates = dict[str, Estimate]
Parts = Mapping[str, Mapping[str, Estimate]]
log = logging.getLogger(__name__)


class LoadedModel(Protocol):
    """The attributes of a loaded model that are stored with its evaluation."""

    info: BundleInfo

    @property
    def device(self) -> str:
        """The device that predicts."""


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be measured, and the reason."""

    sample: Sample
    error: str


class ImageMetrics:
    """Values of each image under one model, 8 bytes per value.

    For 400,000 images the values take 60 MB per model. The samples, which all models share, take 400 MB more: about 0.9
    kB each after reading, and 1 kB once their paths have been used.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.samples: list[Sample] = []
        self._values = array("d")
        self._errors: dict[int, str] = {}

    def add(self, sample: Sample, values: Mapping[str, float]) -> None:
        """Add an image that was measured."""
        self.samples.append(sample)
        self._values.extend(values.get(name, math.nan) for name in self.names)

    def add_failed(self, sample: Sample, error: str) -> None:
        """Add an image that could not be measured."""
        self._errors[len(self.samples)] = error
        self.add(sample, {})

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that could not be measured, in order."""
        return tuple(FailedImage(self.samples[index], error) for index, error in self._errors.items())

    @property
    def measured(self) -> NDArray[np.intp]:
        """Indices of the images that were measured."""
        return np.delete(np.arange(len(self.samples)), list(self._errors))

    @property
    def measured_samples(self) -> list[Sample]:
        """The images that were measured."""
        return [self.samples[index] for index in self.measured]

    @property
    def table(self) -> NDArray[np.float64]:
        """All values: float64 (image, name), not-a-number where there is none."""
        return np.frombuffer(self._values, np.float64).reshape(len(self.samples), len(self.names))

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one value of every image, float64 (image,)."""
        return self.table[:, self.names.index(name)]

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows of ``per_image.csv``: columns of the data set, status, and values."""
        for index, (sample, values) in enumerate(zip(self.samples, self.table, strict=True)):
            about = {name: getattr(sample, name) for name in ("image_id", "domain", "split", "group", "diagnosis")}
            error = self._errors.get(index, "")
            metrics = {name: value for name, value in zip(self.names, values.tolist(), strict=True) if value == value}
            yield {**about, "status": "failed" if error else "done", "error": error, **metrics}


@dataclass(frozen=True)
class Subgroup:
    """Images of a data set with the same value of a property, such as the diagnosis, and the metrics on them.

    ``positives``: number of images of the positive class; None for masks.
    """

    data: str
    by: str
    value: str
    count: int
    metrics: Mapping[str, Estimate]
    positives: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Everything but the metrics, by the columns of ``subgroups.csv``."""
        positives = {} if self.positives is None else {"positives": self.positives}
        return {"data": self.data, "by": self.by, "value": self.value, "images": self.count, **positives}


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    ``parts``: "all", a data set, or a part of one, to its estimates by metric. ``image_metrics``: the values of each
    image. ``warnings`` are sentences that are printed above the metrics.
    """

    parts: Parts
    image_metrics: ImageMetrics = field(compare=False)
    subgroups: tuple[Subgroup, ...] = ()
    warnings: tuple[str, ...] = ()
    overlap: Overlap | None = field(default=None, compare=False)

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that could not be measured."""
        return self.image_metrics.failed

    @property
    def images(self) -> int:
        """Number of measured images."""
        return len(self.image_metrics.measured)

    @property
    def lead(self) -> str:
        """The main results in one or two sentences."""
        raise NotImplementedError

    @property
    def headline(self) -> str:
        """The main result in a line."""
        return f"{self.lead} Over {self.images} images"

    @property
    def settings(self) -> dict[str, object]:
        """What the predictions depend on, such as the decision threshold, as JSON values."""
        return {}


@dataclass(frozen=True)
class PageContent:
    """The parts of the page that depend on the task: facts in one line, next step, tables and notes."""

    facts: str
    next: str
    tables: Sequence[TitledTable]
    notes: Sequence[str]


Content = TypeVar("Content")
Prediction = TypeVar("Prediction")
Result = TypeVar("Result", bound=Evaluation)


class EvaluationTask(ABC, Generic[Content, Prediction, Result]):
    """What an evaluation has to know of a task.

    Measuring: images are read in threads, ahead of the models; these run in the calling thread, on ``batch_size``
    images at a time; if ``compares_in_threads``, their predictions are compared with the reference in threads again.
    Then the values of all images are summarized, and the result is described for the files.

    ``models``: a comparison measures several, an evaluation one. ``options``: stored with the results.
    """

    batch_size = 1
    compares_in_threads = False
    digest: DigestFunction = staticmethod(hash_image_file)
    subgroup_facts: Sequence[str] = ("data", "by", "value", "images")  # columns of subgroups.csv before the metrics
    subgroup_metrics: Sequence[str] = ()  # none: there is no such table

    def __init__(self, models: Sequence[LoadedModel], options: Config) -> None:
        self.loaded, self.options = models, options

    @property
    def infos(self) -> list[BundleInfo]:
        """The bundles of the models."""
        return [model.info for model in self.loaded]

    @property
    @abstractmethod
    def names(self) -> Sequence[Sequence[str]]:
        """Names of the values of an image, for each model."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, object]:
        """All settings that the values of an image depend on, as JSON values."""

    def stamp(self, sample: Sample) -> str:
        """Identify the inputs of a measurement: an image is measured again if they have changed."""
        return stamp_files(sample)

    def size(self, sample: Sample) -> int:
        """Return the memory that an image needs, in bytes."""
        return 4 * count_pixels(sample.image)

    @abstractmethod
    def read(self, sample: Sample) -> Content:
        """Read an image with its reference."""

    @abstractmethod
    def predict(self, contents: Sequence[Content]) -> Sequence[Prediction | Exception]:
        """Run the models on a batch of images; an error that concerns one image is returned in its place."""

    def compare(self, content: Content, prediction: Prediction) -> Sequence[Mapping[str, float]]:
        """Return the values of an image for each model; ``prediction`` has them already unless this is overridden."""
        return cast("Sequence[Mapping[str, float]]", prediction)

    def image_warnings(self, samples: Sequence[Sample]) -> Sequence[str]:
        """Return warnings on the images that will be measured."""
        return modality_warnings(self.infos, samples)

    @abstractmethod
    def summarize(self, measured: Sequence[ImageMetrics]) -> Result:
        """Estimate the metrics over the images; ``measured``: the values of all images for each model."""

    def columns(self, evaluation: Result) -> Sequence[str]:
        """Return the columns of ``per_image.csv``."""
        return (*ABOUT_IMAGE, *evaluation.image_metrics.names)

    def rows(self, evaluation: Result) -> Iterable[dict[str, object]]:
        """Return the rows of ``per_image.csv``."""
        return evaluation.image_metrics.rows()

    def details(self, evaluation: Result) -> Mapping[str, object]:
        """Return further values of ``metrics.json``."""
        return {}

    @abstractmethod
    def draw(self, evaluation: Result, folder: Path, run: RunContext) -> Mapping[str, Path]:
        """Draw the figures; returns title to file, in the order of the page."""

    @abstractmethod
    def describe(self, evaluation: Result, data: Sequence[str]) -> PageContent:
        """Return the content of the page; ``data``: names of the data sets."""

    def write(self, evaluation: Result, out: Path, run: RunContext) -> None:
        """Write figures, tables, ``metrics.json`` and, last, the page."""
        figures = self.draw(evaluation, out / "figures", run)
        image_metrics = evaluation.image_metrics
        rows = mark_training_rows(self.rows(evaluation), image_metrics.samples, evaluation.overlap)
        write_table(out / TABLE, rows, (*self.columns(evaluation), TRAINED_ON))
        if self.subgroup_metrics:
            path = out / "subgroups.csv"
            write_subgroups(evaluation.subgroups, self.subgroup_facts, self.subgroup_metrics, path)
        write_json(out / METRICS_FILE, self._values(evaluation))
        data = sorted({sample.domain for sample in image_metrics.samples})
        content = self.describe(evaluation, data)
        page = evaluation_page(evaluation, self.infos[0], data, content, figures)
        write_evaluation_page(page, out / SUMMARY)

    def _values(self, evaluation: Result) -> dict[str, Any]:
        """Return the content of ``metrics.json``."""
        (model,) = self.loaded
        subgroups = [{**group.facts, "metrics": estimates_to_json(group.metrics)} for group in evaluation.subgroups]
        return {
            "model": {"name": model.info.name, "fingerprint": model.info.fingerprint, "device": model.device},
            **evaluation.settings,
            "warnings": list(evaluation.warnings),
            "training_overlap": evaluation.overlap.facts if evaluation.overlap else None,
            "options": self.options.model_dump(mode="json"),
            "metrics": {part: estimates_to_json(estimates) for part, estimates in evaluation.parts.items()},
            **({"subgroups": subgroups} if self.subgroup_metrics else {}),
            **self.details(evaluation),
            "failed": [{"image_id": item.sample.image_id, "error": item.error} for item in evaluation.failed],
            "interval": interval_text(evaluation.image_metrics.measured_samples),
            "provenance": collect_provenance(),
        }


AnyTask = EvaluationTask[Any, Any, Any]


def run_evaluation(
    task: EvaluationTask[Content, Prediction, Result],
    samples: Sequence[Sample],
    out: Path,
    *,
    include_seen: bool = False,
    run: RunContext,
) -> Result:
    """Evaluate a model on images and write the results, or resume where an earlier call was stopped.

    The folder ``out`` gets ``summary.html``, ``metrics.json``, ``per_image.csv`` and ``figures/``, for most tasks also
    ``subgroups.csv``. Images that the model was trained on are left out unless ``include_seen``. An image that cannot
    be measured is listed as failed and not averaged.
    """
    overlap, warnings = select_images(task, samples, include_seen=include_seen, run=run)
    evaluation = task.summarize(measure_images(task, overlap.measured, out, run=run))
    report_warnings(evaluation.warnings, len(overlap.measured), run)
    warnings = (*overlap.warnings, *warnings, *evaluation.warnings)
    evaluation = replace(evaluation, warnings=warnings, overlap=overlap)
    task.write(evaluation, out, run)
    remove_partial_results(out)
    return evaluation


def read_masked_samples(datasets: Sequence[Path], split: str | None) -> list[Sample]:
    """Read the images with a reference mask of data sets, of one split if given."""
    check_evaluated_datasets(datasets)
    return [sample for folder in datasets for sample in select_for_split(read_dataset(folder), split)]


def check_evaluated_datasets(folders: Sequence[Path]) -> None:
    """Reject data sets with the same name, and several data sets if one is named like the results of all together."""
    check_dataset_names(folders)
    names = {folder.name for folder in folders}
    if ALL_IMAGES in names and len(names) > 1:
        raise DataSetError(
            f"a data set named '{ALL_IMAGES}' cannot be evaluated together with others, because the results use this "
            "name for all images. Rename its folder, or evaluate it by itself."
        )


def select_images(
    task: AnyTask,
    samples: Sequence[Sample],
    *,
    include_seen: bool = False,
    overlap: Overlap | None = None,
    run: RunContext,
) -> tuple[Overlap, tuple[str, ...]]:
    """Select the images to measure; return them with the warnings on them.

    ``overlap``: those of a run, which were selected by its own rules, so that nothing is said of their splits.
    """
    by_split: list[str] = []
    if overlap is None:
        overlap = images_to_measure(task.infos, samples, run=run, include=include_seen, digest=task.digest)
        by_split = split_warnings(overlap.measured)
    warnings = (*by_split, *task.image_warnings(overlap.measured))
    report_warnings(warnings, len(overlap.measured), run)
    return overlap, warnings


def split_warnings(samples: Sequence[Sample]) -> list[str]:
    """Return a warning if all images are validation images, or if they are of several splits or only some of one."""
    counts = Counter(sample.split or "without a split" for sample in samples)
    if {*counts} == {VAL}:
        return [VALIDATION_ONLY.format(images=format_count(counts[VAL], "validation image"))]
    if len(counts) > 1:
        listed = ", ".join(f"{split} {count}" for split, count in sorted(counts.items()))
        return [SEVERAL_SPLITS.format(listed=listed)]
    return []


# Measuring: reading, prediction and comparison overlap.


@dataclass(frozen=True)
class _Item:
    """An image in the pipeline; after the last stage with its values for each model, or with an error.

    ``stamp`` identifies the inputs of the measurement; ``is_stored``: the values are those of an interrupted call.
    ``size``: in memory, in bytes. ``content`` and ``prediction`` are kept while they are needed.
    """

    sample: Sample
    stamp: str
    is_stored: bool = False
    values: Sequence[Mapping[str, float]] = ()
    error: Exception | None = None
    size: int = 0
    content: Any = None
    prediction: Any = None


def measure_images(
    task: AnyTask, samples: Sequence[Sample], out: Path, *, message: str = "Measuring", run: RunContext
) -> list[ImageMetrics]:
    """Measure the models of a task on the same images, each read once, or resume where an earlier call was stopped.

    Partial results are stored in ``out`` every few hundred images; after writing the results, the caller removes them
    with ``data.partial_results.remove_partial_results``.

    Returns the values for each model. An image that fails under one model counts as failed under all, and is tried
    again by the next call.
    """
    metrics_by_model = [ImageMetrics(names) for names in task.names]
    partial = PartialResults(out, {**task.settings, "version": collect_provenance()["version"]})
    try:
        for done, item in enumerate(_iter_measured(task, samples, partial, run), start=1):
            if item.error is None and not item.is_stored:
                partial.add(item.sample, item.stamp, item.values)
            error = "" if item.error is None else describe_failure(item.sample, item.error, out)
            for index, metrics in enumerate(metrics_by_model):
                metrics.add_failed(item.sample, error) if error else metrics.add(item.sample, item.values[index])
            run.report(Progress(done, len(samples), message))
    finally:
        partial.flush()
    failed = metrics_by_model[0].failed
    if len(failed) == len(samples):
        why = f"; '{failed[0].sample.image_id}': {failed[0].error}" if failed else ""
        raise DataSetError(f"none of {len(failed)} images could be measured{why}")
    return metrics_by_model


def _iter_measured(
    task: AnyTask, samples: Iterable[Sample], partial: PartialResults, run: RunContext
) -> Iterator[_Item]:
    """Yield the measured images in order."""

    def look_up(sample: Sample) -> _Item:
        stamp = task.stamp(sample)
        values = partial.pop(sample, stamp)
        if values is not None:
            return _Item(sample, stamp, is_stored=True, values=values)
        return _Item(sample, stamp, size=task.size(sample))

    def read(item: _Item) -> _Item:
        if item.is_stored:
            return item
        try:
            return replace(item, content=task.read(item.sample))
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            return replace(item, error=error)

    def compare(item: _Item) -> _Item:
        if item.is_stored or item.error is not None:
            return item
        done = replace(item, content=None, prediction=None)
        try:
            return replace(done, values=task.compare(item.content, item.prediction))
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            return replace(done, error=error)

    workers = usable_cores() + EXTRA_THREADS
    memory_limit = StageLimit(4 * workers, STAGE_BYTES, lambda item: item.size)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="measuring")
    try:
        looked_up = map_ahead(pool, look_up, samples, StageLimit(4 * workers), run)
        predicted = _predict(task, map_ahead(pool, read, looked_up, memory_limit, run), run)
        if task.compares_in_threads:
            yield from map_ahead(pool, compare, predicted, memory_limit, run)
        else:
            yield from map(compare, predicted)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _predict(task: AnyTask, items: Iterator[_Item], run: RunContext) -> Iterator[_Item]:
    """Run the models on batches of images, in the thread of the caller."""
    while batch := list(islice(items, task.batch_size)):
        run.check()
        ready = [item for item in batch if not item.is_stored and item.error is None]
        try:
            predictions = iter(task.predict([item.content for item in ready]) if ready else ())
        except (Cancelled, SaveError):
            raise
        except Exception as error:
            if task.batch_size > 1:
                raise
            predictions = iter((error,))
        for item in batch:
            if item.is_stored or item.error is not None:
                yield item
                continue
            prediction = next(predictions)
            if isinstance(prediction, Exception):
                yield replace(item, error=prediction, content=None)
            else:
                yield replace(item, prediction=prediction)


def describe_failure(sample: Sample, error: Exception, out: Path) -> str:
    """Describe why an image could not be measured, without folder names."""
    log.debug("%s failed", sample.image, exc_info=error)
    text = describe_error(error, sample.image, out)
    return text if sample.mask is None else text.replace(str(sample.mask), f"the mask of '{sample.image_id}'")


# Parts of the images.


def estimate_domains(
    image_metrics: ImageMetrics, estimate: Callable[[NDArray[np.intp]], Estimates]
) -> dict[str, Estimates]:
    """Estimate the metrics over all measured images, and over each data set.

    ``estimate``: from positions among the measured images, int (image,), to estimates by metric.
    """
    domains = np.array([sample.domain for sample in image_metrics.measured_samples])
    parts = {ALL_IMAGES: estimate(np.arange(len(domains)))}
    return parts | {str(domain): estimate(np.flatnonzero(domains == domain)) for domain in np.unique(domains)}


def divide_by_values(
    domains: NDArray[Any],
    groupings: Callable[[NDArray[np.intp]], Iterable[tuple[str, NDArray[np.str_]]]],
) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
    """Divide the images of each data set into subgroups by several properties.

    ``domains``: (image,), the data set. ``groupings``: from the positions of the images of a data set to properties,
    each with the value of every image. Yields the data set, the property, the value that the images share, and their
    positions, int (image,). A property with only one value in a data set is omitted.
    """
    for domain in np.unique(domains):
        positions = np.flatnonzero(domains == domain)
        for by, values in groupings(positions):
            words = sorted(set(values.tolist()), key=_value_order)
            for word in words if len(words) > 1 else ():
                yield str(domain), by, word, positions[values == word]


def _value_order(word: str) -> tuple[bool, int, str]:
    """Sort the values of a property: sizes by size, words alphabetically, unknown last."""
    return word in (OTHERS, NOT_KNOWN), SIZE_NAMES.index(word) if word in SIZE_NAMES else 0, word


def combine_rare_values(values: Iterable[str]) -> NDArray[np.str_]:
    """Replace all but the 12 most frequent values by ``others``; str (image,)."""
    words = list(values)
    frequent = {word for word, _ in Counter(words).most_common(MAX_VALUES)}
    return np.array([word if word in frequent else OTHERS for word in words])


# Files.


def is_evaluation(folder: Path) -> bool:
    """Return whether a folder contains an evaluation."""
    return (folder / METRICS_FILE).is_file() and (folder / TABLE).is_file()


def read_sample(row: Mapping[str, str]) -> Sample:
    """Read the columns of ``per_image.csv`` that describe the image; paths of files are not among them."""
    group, split, domain = (row[name] for name in ("group", "split", "domain"))
    return Sample(row["image_id"], Path(), None, group, split, domain, diagnosis=row["diagnosis"])


def write_subgroups(subgroups: Sequence[Subgroup], facts: Sequence[str], metrics: Sequence[str], path: Path) -> None:
    """Write ``subgroups.csv``: each subgroup with the means of the metrics and both ends of their intervals."""
    rows = []
    for group in subgroups:
        row = group.facts
        for name, estimate in group.metrics.items():
            row |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append(row)
    write_table(path, rows, [*facts, *(f"{name}{end}" for name in metrics for end in ("", "_low", "_high"))])


def interval_text(samples: Sequence[Sample]) -> str:
    """Describe how the intervals of metrics of some images were computed."""
    unknown = sum(sample.group == sample.full_name for sample in samples)
    return describe_intervals(len({sample.group for sample in samples}), unknown)


def estimates_to_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Convert estimates to JSON values."""
    return {name: vars(estimate) for name, estimate in estimates.items()}


def evaluation_page(
    evaluation: Evaluation,
    info: BundleInfo,
    data: Sequence[str],
    content: PageContent,
    figures: Mapping[str, Path] | None = None,
) -> Page:
    """Return the page of an evaluation; ``data``: names of the data sets."""
    return Page(
        title=f"{info.name} on {', '.join(data)}",
        facts=content.facts,
        lead=evaluation.lead,
        next=content.next,
        tables=content.tables,
        figures=figures or {},
        warnings=evaluation.warnings,
        failed=[(item.sample.image_id, item.error) for item in evaluation.failed[:MAX_FAILED]],
        notes=[
            *overlap_statement(evaluation.overlap),
            *content.notes,
            "Weights {}, {program} {version}.".format(info.fingerprint[:16], **collect_provenance()),
        ],
    )


def metrics_table(parts: Parts, data: Sequence[str], metrics: Iterable[Metric]) -> TitledTable:
    """Return the table of metrics, with a column for each data set if there are several."""
    columns = data if len(data) > 1 else ()
    shown = [parts.get(name, {}) for name in (ALL_IMAGES, *columns)]  # a data set whose images all failed has none
    rows = [
        (metric.directed_label, metric.definition, *(str(part.get(metric.key, "")) for part in shown))
        for metric in metrics
        if metric.key in parts[ALL_IMAGES]
    ]
    return "Metrics", ("Metric", "Definition", "All images", *columns), rows


def subgroups_table(subgroups: Sequence[Subgroup], metrics: Sequence[str], positive: str = "") -> TitledTable:
    """Return the table of subgroups; ``positive``: the positive class, whose images are counted."""
    labels = (METRIC_TABLE[name].directed_label for name in metrics)
    head = ("Data set", "Property", "Value", "n", *([positive] if positive else ()), *labels)
    rows = [
        (
            *map(str, group.facts.values()),
            *(f"{group.metrics[name].mean:.3f}" if name in group.metrics else "" for name in metrics),
        )
        for group in subgroups
    ]
    return "Subgroups", head, rows
