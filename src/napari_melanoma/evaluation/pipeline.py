"""The evaluation of a model, from the images to the page, the same for every task.

``predict_tables`` gives a table of each model, with a row for each image: what ``per_image.csv`` contains. Metrics are
functions of such a table, whether it was predicted now or read from a stored evaluation (``read_evaluation``).
``run_evaluation`` is the whole of an evaluation: leave out training images, predict the table, estimate the metrics,
write the files. What depends on the task is an ``EvaluationTask``; ``masks``, ``labels``, ``classes`` and ``slides``
define one each, and ``any_task`` selects it by the model.

Columns of a table: those of ``ABOUT``; ``error``, why the image could not be measured, or ""; ``sample``; and the
values of the task, float64, not-a-number where there is none.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Cancelled, Progress, RunContext, StageLimit, map_ahead, usable_cores
from napari_melanoma.core.errors import DataSetError, InputError, SaveError
from napari_melanoma.core.files import remove_file, write_json
from napari_melanoma.core.formatting import format_count, rank_counts
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.data.dataset import (
    Sample,
    check_distinct_datasets,
    describe_patients_of,
    read_dataset,
    select_for_split,
)
from napari_melanoma.data.partial_results import PartialResults, remove_partial_results, stamp_files
from napari_melanoma.data.table_schema import VAL
from napari_melanoma.data.training_images import DigestFunction, hash_image_file
from napari_melanoma.evaluation.comparison_results import FailedImage
from napari_melanoma.evaluation.training_overlap import (
    TRAINED_ON,
    Overlap,
    images_to_measure,
    modality_warnings,
    report_warnings,
)
from napari_melanoma.figures.page import Block, Figure, Items, Notice, Section, Table, Text, png_uri, write_analysis
from napari_melanoma.io.photographs import count_pixels
from napari_melanoma.io.results import POINTING_FILES, read_table, write_table
from napari_melanoma.lesion.batch import EXTRA_THREADS, STAGE_BYTES, describe_error
from napari_melanoma.metrics.metric_table import METRIC_TABLE, Metric
from napari_melanoma.metrics.statistics import Estimate, describe_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from napari_melanoma.models.bundle import BundleInfo

SUMMARY, TABLE, METRICS_FILE = "summary.html", "per_image.csv", "metrics.json"
SUBGROUPS, FIGURES = "subgroups.csv", "figures"
EVALUATION_FILES = (METRICS_FILE, SUMMARY, TABLE, SUBGROUPS, *POINTING_FILES)  # the first marks a complete evaluation
ABOUT = ("image_id", "domain", "split", "group", "diagnosis")
ABOUT_IMAGE = (*ABOUT, "status", "error")  # the first columns of per_image.csv
TEXTS = {*ABOUT_IMAGE, "label", "predicted_class", TRAINED_ON}  # columns of per_image.csv that are no numbers
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
TitledTable = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Heading, column names, rows of cells."""
Estimates = dict[str, Estimate]
Parts = Mapping[str, Mapping[str, Estimate]]
log = logging.getLogger(__name__)


class SelectionOptions(Config):
    """Which images are evaluated."""

    split: str | None = Field(None, description="use only images of this split, such as 'test'; by default all")
    include_seen: bool = Field(
        False,
        description="also measure images that a model was trained on, or other images of their patients; "
        "all outputs are then marked, and there is no verdict",
    )


def identify_model(model: LoadedModel) -> list[str]:
    """Return what a prediction depends on: weights, configuration and device."""
    return [model.info.fingerprint, model.info.settings_digest, model.device]


class LoadedModel(Protocol):
    """The attributes of a loaded model that are stored with its evaluation."""

    info: BundleInfo

    @property
    def device(self) -> str:
        """The device that predicts."""


# Tables.


def make_table(
    samples: Sequence[Sample], errors: Sequence[str], values: DataFrame | Mapping[str, Sequence[object]]
) -> DataFrame:
    """Make the table of some images; ``errors``: "" for images that were measured; ``values``: of the task."""
    import pandas as pd

    about = {name: [getattr(sample, name) for sample in samples] for name in ABOUT}
    table = pd.DataFrame({**about, "error": errors}, dtype=object)
    table["sample"] = pd.Series(samples, dtype=object)
    return pd.concat([table, pd.DataFrame(values)], axis=1)


def measured_rows(table: DataFrame) -> DataFrame:
    return table[table["error"] == ""]


def failed_images(table: DataFrame) -> tuple[FailedImage, ...]:
    """Return the images that could not be measured, in order."""
    rows = table[table["error"] != ""]
    return tuple(map(FailedImage, rows["sample"], rows["error"]))


def group_numbers(table: DataFrame) -> NDArray[np.intp]:
    """Return the number of the patient or lesion of each image, int (image,)."""
    return table["group"].factorize(sort=True)[0]


def interval_text(samples: Iterable[Sample]) -> str:
    """Describe how the intervals of metrics of some images were computed."""
    groups = [(sample.group, sample.full_name) for sample in samples]
    return describe_intervals(len({group for group, _ in groups}), sum(group == name for group, name in groups))


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


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Result of an evaluation.

    ``parts``: "all", a data set, or a part of one, to its estimates by metric. ``table``: a row for each image.
    ``lead``: the main results in one or two sentences; ``headline``: in a line. ``settings``: what the predictions
    depend on, such as the decision threshold, as JSON values. ``warnings``: sentences above the metrics.
    """

    parts: Parts
    table: DataFrame = field(compare=False)
    lead: str
    headline: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    subgroups: tuple[Subgroup, ...] = ()
    warnings: tuple[str, ...] = ()
    overlap: Overlap | None = field(default=None, compare=False)

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that could not be measured."""
        return failed_images(self.table)

    @property
    def measured(self) -> list[Sample]:
        return list(measured_rows(self.table)["sample"])

    @property
    def images(self) -> int:
        return len(measured_rows(self.table))

    @property
    def data(self) -> list[str]:
        return sorted(set(self.table["domain"]))


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

    Images are read in threads, ahead of the models; these run in the calling thread, on ``batch_size`` images at a
    time; if ``compares_in_threads``, their predictions are compared with the reference in threads again.

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
        return modality_warnings(self.infos, samples)

    @abstractmethod
    def summarize(self, tables: Sequence[DataFrame]) -> Result:
        """Estimate the metrics over the images; ``tables``: of each model."""

    def columns(self, evaluation: Result) -> Sequence[str]:
        """Return the columns of ``per_image.csv``."""
        return (*ABOUT_IMAGE, *self.names[0])

    def exact_columns(self, evaluation: Result) -> Collection[str]:
        """Return the columns of ``per_image.csv`` that are stored with all digits, for comparisons with thresholds."""
        return ()

    def details(self, evaluation: Result) -> Mapping[str, object]:
        """Return further values of ``metrics.json``."""
        return {}

    @abstractmethod
    def draw(self, evaluation: Result, folder: Path, run: RunContext) -> Mapping[str, Path]:
        """Draw the figures; returns title to file, in the order of the page."""

    @abstractmethod
    def describe(self, evaluation: Result) -> PageContent:
        """Return the content of the page."""

    def write(self, evaluation: Result, out: Path, run: RunContext) -> None:
        """Write figures, tables, ``metrics.json`` and, last, the page."""
        figures, overlap = self.draw(evaluation, out / FIGURES, run), evaluation.overlap
        # Not beside the table of this one: a stop between the two files would leave the metrics of an earlier one.
        (out / METRICS_FILE).unlink(missing_ok=True)
        rows = (
            {
                **row,
                "status": "failed" if row["error"] else "done",
                TRAINED_ON: overlap.model_names(row["sample"]) if overlap else "",
            }
            for row in evaluation.table.to_dict("records")
        )
        write_table(out / TABLE, rows, (*self.columns(evaluation), TRAINED_ON), self.exact_columns(evaluation))
        if self.subgroup_metrics:
            rows = (
                {
                    **group.facts,
                    **{
                        f"{name}{end}": number
                        for name, one in group.metrics.items()
                        for end, number in (("", one.mean), ("_low", one.low), ("_high", one.high))
                    },
                }
                for group in evaluation.subgroups
            )
            names = [f"{name}{end}" for name in self.subgroup_metrics for end in ("", "_low", "_high")]
            write_table(out / SUBGROUPS, rows, [*self.subgroup_facts, *names])
        write_json(out / METRICS_FILE, self._values(evaluation))
        page = evaluation_page(evaluation, self.infos[0], self.describe(evaluation), figures)
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
            "interval": interval_text(evaluation.measured),
            "provenance": collect_provenance(),
        }


AnyTask = EvaluationTask[Any, Any, Any]


def run_evaluation(
    task: EvaluationTask[Any, Any, Result],
    samples: Sequence[Sample],
    out: Path,
    *,
    include_seen: bool = False,
    overlap: Overlap | None = None,
    run: RunContext,
) -> Result:
    """Evaluate a model on images and write the results, or resume where an earlier call was stopped.

    The folder ``out`` gets ``summary.html``, ``metrics.json``, ``per_image.csv`` and ``figures/``, for most tasks also
    ``subgroups.csv``. Images that the model was trained on are left out unless ``include_seen``. An image that cannot
    be measured is listed as failed and not averaged. ``overlap``: as for ``select_images``.
    """
    overlap, warnings = select_images(task, samples, include_seen=include_seen, overlap=overlap, run=run)
    evaluation = task.summarize(predict_tables(task, overlap.measured, out, run=run))
    report_warnings(evaluation.warnings, len(overlap.measured), run)
    warnings = (*overlap.warnings, *warnings, *evaluation.warnings)
    evaluation = replace(evaluation, warnings=warnings, overlap=overlap)
    if is_evaluation(out):
        remove_results(out, EVALUATION_FILES)
    task.write(evaluation, out, run)
    remove_partial_results(out)
    return evaluation


def remove_results(out: Path, names: Iterable[str]) -> None:
    """Remove the files of an earlier result, of which some may be of another model or task than the next ones."""
    for path in (*(out / name for name in names), *(out / FIGURES).glob("*.png")):
        remove_file(path)


def read_masked_samples(datasets: Sequence[Path], split: str | None) -> list[Sample]:
    """Read the images with a reference mask of data sets, of one split if given."""
    check_evaluated_datasets(datasets)
    return [sample for folder in datasets for sample in select_for_split(read_dataset(folder), split)]


def check_evaluated_datasets(folders: Sequence[Path]) -> None:
    """Reject data sets that are not distinct, and several if one is named like the results of all together."""
    check_distinct_datasets(folders)
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
        counts = Counter(sample.split or "without a split" for sample in overlap.measured)
        if {*counts} == {VAL}:
            by_split = [VALIDATION_ONLY.format(images=format_count(counts[VAL], "validation image"))]
        elif len(counts) > 1:
            listed = ", ".join(f"{split} {count}" for split, count in sorted(counts.items()))
            by_split = [SEVERAL_SPLITS.format(listed=listed)]
    warnings = (*by_split, *describe_patients_of(overlap.measured), *task.image_warnings(overlap.measured))
    report_warnings(warnings, len(overlap.measured), run)
    return overlap, warnings


# Predicting a table: reading, prediction and comparison overlap.


@dataclass
class _Item:
    """An image in the pipeline; after the last stage with its values for each model, or with an error.

    ``stamp`` identifies the inputs of the measurement; ``is_stored``: the values are those of an interrupted call.
    ``size``: in memory, in bytes. ``content`` and ``prediction`` are kept while they are needed.
    """

    sample: Sample
    stamp: str
    values: Sequence[Mapping[str, float]] | None
    size: int
    is_stored: bool = False
    error: Exception | None = None
    content: Any = None
    prediction: Any = None

    @property
    def is_open(self) -> bool:
        return self.values is None and self.error is None


def predict_tables(
    task: AnyTask, samples: Sequence[Sample], out: Path, *, message: str = "Measuring", run: RunContext
) -> list[DataFrame]:
    """Measure the models of a task on the same images, each read once, or resume where an earlier call was stopped.

    Partial results are stored in ``out`` every few hundred images; after writing the results, the caller removes them
    with ``data.partial_results.remove_partial_results``.

    Returns the table of each model. An image that fails under one model counts as failed under all, and is tried again
    by the next call.
    """
    import pandas as pd

    columns, errors = [array("d") for _ in task.names], list[str]()
    partial = PartialResults(out, {**task.settings, "version": collect_provenance()["version"]})
    try:
        for item in _iter_measured(task, samples, partial, run):
            if item.error is None and item.values is not None and not item.is_stored:
                partial.add(item.sample, item.stamp, item.values)
            errors.append("" if item.error is None else describe_failure(item.sample, item.error, out))
            for numbers, names, values in zip(columns, task.names, item.values or [{}] * len(columns), strict=True):
                numbers.extend(values.get(name, math.nan) for name in names)
            run.report(Progress(len(errors), len(samples), message))
    finally:
        partial.flush()
    failed = [(sample, error) for sample, error in zip(samples, errors, strict=True) if error]
    if len(failed) == len(samples):
        why = f"; '{failed[0][0].image_id}': {failed[0][1]}" if failed else ""
        raise DataSetError(f"none of {len(failed)} images could be measured{why}")
    return [
        make_table(samples, errors, pd.DataFrame(np.frombuffer(numbers).reshape(len(samples), -1), columns=list(names)))
        for numbers, names in zip(columns, task.names, strict=True)
    ]


def _iter_measured(
    task: AnyTask, samples: Iterable[Sample], partial: PartialResults, run: RunContext
) -> Iterator[_Item]:
    """Yield the measured images in order."""

    def look_up(sample: Sample) -> _Item:
        stamp = task.stamp(sample)
        values = partial.pop(sample, stamp)
        return _Item(sample, stamp, values, task.size(sample) if values is None else 0, is_stored=values is not None)

    def read(item: _Item) -> _Item:
        try:
            item.content = task.read(item.sample) if item.is_open else None
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            item.error = error
        return item

    def compare(item: _Item) -> _Item:
        try:
            item.values = task.compare(item.content, item.prediction) if item.is_open else item.values
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            item.error = error
        item.content = item.prediction = None
        return item

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
        ready = [item for item in batch if item.is_open]
        try:
            predictions = task.predict([item.content for item in ready]) if ready else ()
        except (Cancelled, SaveError):
            raise
        except Exception as error:
            if task.batch_size > 1:
                raise
            predictions = (error,)
        for item, prediction in zip(ready, predictions, strict=True):
            if isinstance(prediction, Exception):
                item.error, item.content = prediction, None
            else:
                item.prediction = prediction
        yield from batch


def describe_failure(sample: Sample, error: Exception, out: Path) -> str:
    """Describe why an image could not be measured, without folder names."""
    log.debug("%s failed", sample.image, exc_info=error)
    text = describe_error(error, sample.image, out)
    return text if sample.mask is None else text.replace(str(sample.mask), f"the mask of '{sample.image_id}'")


# Parts of the images.


def estimate_domains(table: DataFrame, estimate: Callable[[DataFrame], Estimates]) -> dict[str, Estimates]:
    """Estimate the metrics over all images of a table, and over each data set."""
    parts = {str(domain): estimate(part) for domain, part in table.groupby("domain")}
    return {ALL_IMAGES: estimate(table)} | parts


def divide_by_values(
    table: DataFrame, groupings: Callable[[DataFrame], Iterable[tuple[str, NDArray[np.str_]]]]
) -> Iterator[tuple[str, str, str, DataFrame]]:
    """Divide the images of each data set into subgroups by several properties.

    ``groupings``: from the rows of a data set to properties, each with the value of every image. Yields the data set,
    the property, the value that the images share, and their rows. A property with only one value in a data set is
    omitted.
    """
    for domain, part in table.groupby("domain"):
        for by, values in groupings(part):
            words = sorted(set(values.tolist()), key=_value_order)
            for word in words if len(words) > 1 else ():
                yield str(domain), by, word, part[values == word]


def _value_order(word: str) -> tuple[bool, int, str]:
    """Sort the values of a property: sizes by size, words alphabetically, unknown last."""
    return word in (OTHERS, NOT_KNOWN), SIZE_NAMES.index(word) if word in SIZE_NAMES else 0, word


def combine_rare_values(values: Iterable[str]) -> NDArray[np.str_]:
    """Replace all but the 12 most frequent known values by ``others``; str (image,)."""
    words = list(values)
    frequent = [*rank_counts(Counter(word for word in words if word != NOT_KNOWN))][:MAX_VALUES]
    kept = {NOT_KNOWN, *frequent}
    return np.array([word if word in kept else OTHERS for word in words])


# Stored evaluations.


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A model and its table of some images, predicted now or stored.

    ``options``: those of the task, as plain values. ``warnings``: of its evaluation. ``overlap``: ``Overlap.facts``.
    ``classes``, ``positive``: of a classifier; empty for models that segment.
    """

    name: str
    fingerprint: str
    threshold: float
    table: DataFrame
    options: Mapping[str, Any]
    warnings: tuple[str, ...]
    overlap: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    positive: str = ""


def is_evaluation(folder: Path) -> bool:
    return (folder / METRICS_FILE).is_file() and (folder / TABLE).is_file()


def _parse_column(name: str, rows: Sequence[Mapping[str, str]]) -> list[str] | list[float]:
    """Return the values of a column of ``per_image.csv``: texts, or numbers with NaN for empty cells."""
    return [row[name] if name in TEXTS else float(row[name] or math.nan) for row in rows]  # type: ignore[return-value]


def read_image_table(folder: Path) -> DataFrame:
    """Read the table of the images of an evaluation; ids that look like numbers stay texts, and empty cells are NaN."""
    import pandas as pd

    rows = read_table(folder / TABLE)
    table = pd.DataFrame({name: _parse_column(name, rows) for name in rows[0]})
    return table.mask(table == "")


def read_evaluation(folder: Path) -> EvaluatedModel:
    """Read a stored evaluation of masks or of a classifier; paths of files are not among its values."""
    try:
        about, rows = rename_keys("evaluation", read_json(folder / METRICS_FILE)), read_table(folder / TABLE)
        classes, positive = tuple(about.get("classes", ())), about.get("positive", "")
        if classes and not positive:
            raise InputError(
                f"{folder} is the evaluation of a model of several classes ({', '.join(classes)}). Compare two such "
                "models, not their evaluations: napari-melanoma compare --model OLD --model NEW --data DATASET --out "
                "DIR (Python: nm.compare)."
            )
        samples = [
            Sample(row["image_id"], Path(), None, row["group"], row["split"], row["domain"], None, row["diagnosis"])
            for row in rows
        ]
        values = {name: _parse_column(name, rows) for name in rows[0].keys() - {*ABOUT_IMAGE}}
        errors = [row["error"] if row["status"] != "done" else "" for row in rows]
        model, warnings = about["model"], tuple(about["warnings"])
        model = model["name"], model["fingerprint"], about["threshold"]
        table = make_table(samples, errors, values)
        return EvaluatedModel(*model, table, about["options"], warnings, about["training_overlap"], classes, positive)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder} contains no evaluation that this version can read ({type(error).__name__}: "
            f"{parse_error_reason(error)}). Run it again: "
            "napari-melanoma evaluate --model BUNDLE --data DATASET --out DIR (Python: nm.evaluate)."
        ) from error


# Values and the page.


@dataclass(frozen=True)
class Page:
    """Content of an evaluation page: heading, facts in one line, main result, tables, figures, failures, notes.

    ``warnings`` are printed above the results; ``next`` recommends the next step.
    """

    title: str
    facts: str
    lead: str
    tables: Sequence[TitledTable]
    figures: Mapping[str, Path] = field(default_factory=dict)
    failed: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    next: str = ""


def write_evaluation_page(page: Page, path: Path) -> None:
    blocks: list[Block] = [*map(Notice, page.warnings), Notice(page.lead, lead=True)]
    blocks += [Text(page.next)] if page.next else []
    for heading, columns, rows in page.tables:
        if rows:
            blocks.append(Section(heading, (Table(heading, tuple(columns), tuple(map(tuple, rows))),)))
    blocks += [Section(title, (Figure(png_uri(file), title, plot=True),)) for title, file in page.figures.items()]
    blocks += [failed_section("Not measured", page.failed)] if page.failed else []
    write_analysis(path, page.title, page.facts, [*blocks, *(Text(note, quiet=True) for note in page.notes)])


def failed_section(title: str, failed: Sequence[tuple[str, str]]) -> Section:
    return Section(title, (Items(tuple((f"{name}: {error}", "") for name, error in failed)),))


def estimates_to_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: vars(estimate) for name, estimate in estimates.items()}


def evaluation_page(
    evaluation: Evaluation, info: BundleInfo, content: PageContent, figures: Mapping[str, Path] | None = None
) -> Page:
    overlap = evaluation.overlap
    return Page(
        title=f"{info.name} on {', '.join(evaluation.data)}",
        facts=content.facts,
        lead=evaluation.lead,
        next=content.next,
        tables=content.tables,
        figures=figures or {},
        warnings=evaluation.warnings,
        failed=[(item.sample.image_id, item.error) for item in evaluation.failed[:MAX_FAILED]],
        notes=[
            *([overlap.summary] if overlap and not overlap.warnings else []),
            *content.notes,
            "Weights {}, {program} {version}.".format(info.fingerprint[:16], **collect_provenance()),
        ],
    )


def metrics_table(evaluation: Evaluation, metrics: Iterable[Metric]) -> TitledTable:
    """Return the table of metrics, with a column for each data set if there are several."""
    parts, columns = evaluation.parts, evaluation.data if len(evaluation.data) > 1 else ()
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
