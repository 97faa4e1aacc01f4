"""Options and results of a mask evaluation, and its subgroups."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import TABLE_NAMES, check_dataset_names
from napari_melanoma.data.dataset_table import iter_table_rows
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.metrics.overlap import BOUNDARY_METRICS, METRICS
from napari_melanoma.metrics.segmentation_difficulty import DIFFICULTY_TRAITS
from napari_melanoma.metrics.statistics import Estimate, bootstrap_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.evaluation.training_overlap import Overlap

BAND_METRICS = ("band_share", "errors_in_band")
MEASURED = (*METRICS, *BOUNDARY_METRICS, *BAND_METRICS)
REFERENCE_SHARE = "reference_share"
FACTS = (REFERENCE_SHARE, *(trait.name for trait in DIFFICULTY_TRAITS))
UNBOUNDED = ("HD95_px", "HD95_mm")
LESS_IS_BETTER = ("HD95_px", "HD95_relative", "HD95_mm", "band_share")
SIZES = (("small", 0.0, 0.05), ("medium", 0.05, 0.25), ("large", 0.25, 1.1))
SIZE = "size of the lesion"
SIZE_WORDS = "small: under 5 % of the image; large: 25 % or more"
METADATA_COLUMNS = {"site": "site", "fitzpatrick": "Fitzpatrick type"}
MAX_VALUES = 12  # of one column; the rarer ones are combined
OTHERS, NOT_KNOWN = "others", "not known"
ALL_IMAGES = "all"  # in results, the name of all data sets together
KnownMetadata = Mapping[tuple[str, str], tuple[str, ...]]
"""Name of the data set and of the image to one value for each of ``METADATA_COLUMNS``."""


class EvaluationOptions(Config):
    """Which images are measured, and how masks are made."""

    split: str | None = Field(None, description="use only images of this split, such as 'val'; by default all")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="decision threshold of the lesion probability; by default that of the model"
    )
    refinement: RefinementConfig = RefinementConfig()
    flips: bool = Field(False, description="test-time augmentation: average over four flips")
    include_seen: bool = Field(
        False,
        description="also measure images that a model was trained on, or other images of their patients; "
        "all outputs are then marked, and there is no verdict",
    )
    difficulty: bool = Field(
        True,
        description="measure what makes each image difficult (hair, low contrast ...), for subgroups by difficulty",
    )


class ComparisonOptions(EvaluationOptions):
    """Which images are compared, and how masks are made."""

    base: tuple[str, ...] = Field((), description="names of data sets on which the new model must not do worse")
    notes: tuple[str, ...] = Field(
        (), description="sentences on the images or models, appended to the reason of the advice"
    )
    remedy: str = Field("", description="what to do if too few images could be compared; empty: the default sentence")


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be measured, and the reason."""

    sample: Sample
    error: str


@dataclass(frozen=True)
class Subgroup:
    """Images of a data set that share a value, such as the diagnosis, and the metrics of the model on them."""

    data: str
    by: str
    value: str
    metrics: dict[str, Estimate]

    @property
    def count(self) -> int:
        """Number of images."""
        return self.metrics["JA"].count


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation: estimates of each metric for each part of the data, and the images that failed.

    ``warnings`` are sentences that are printed above the metrics.
    """

    threshold: float
    parts: dict[str, dict[str, Estimate]]
    failed: tuple[FailedImage, ...] = ()
    subgroups: tuple[Subgroup, ...] = ()
    warnings: tuple[str, ...] = ()
    overlap: Overlap | None = field(default=None, compare=False)

    @property
    def headline(self) -> str:
        """The main result in a line."""
        dice = self.parts["all"]["DI"]
        return f"Dice {dice} (95 % interval) over {dice.count} images, at threshold {self.threshold:g}"

    @property
    def settings(self) -> dict[str, object]:
        """The decision threshold, as a JSON value."""
        return {"threshold": self.threshold}


class ImageMetrics:
    """Metrics of each image under one model, 8 bytes per value.

    For 400,000 images the values take 60 MB per model. The samples, which all models share, take 400 MB more: about
    0.9 kB each as they are read, and 1 kB once their paths have been used.
    """

    def __init__(self, names: Sequence[str] = (*MEASURED, *FACTS)) -> None:
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
    def table(self) -> NDArray[np.float64]:
        """All values: float64 (image, name), not-a-number where there is none."""
        return np.frombuffer(self._values, np.float64).reshape(len(self.samples), len(self.names))

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one metric of every image, float64 (image,)."""
        return self.table[:, self.names.index(name)]

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows of ``per_image.csv``: columns of the data set, status, and metrics."""
        for index, (sample, values) in enumerate(zip(self.samples, self.table, strict=True)):
            about = {name: getattr(sample, name) for name in ("image_id", "domain", "split", "group", "diagnosis")}
            error = self._errors.get(index, "")
            metrics = {name: value for name, value in zip(self.names, values.tolist(), strict=True) if value == value}
            yield {**about, "status": "failed" if error else "done", "error": error, **metrics}


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with its threshold and the metrics of each image.

    ``options`` are those of ``EvaluationOptions`` as plain values, ``warnings`` and ``overlap`` (with the training
    images) those of its evaluation.
    """

    name: str
    fingerprint: str
    threshold: float
    figures: ImageMetrics
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    overlap: Mapping[str, Any] | None = None


def check_evaluated_datasets(folders: Sequence[Path]) -> None:
    """Reject data sets with the same name, and one of several with the name that results have for all of them."""
    check_dataset_names(folders)
    names = {folder.name for folder in folders}
    if ALL_IMAGES in names and len(names) > 1:
        raise DataSetError(
            f"a data set named '{ALL_IMAGES}' cannot be evaluated together with others, because the results use this "
            "name for all images. Rename its folder, or evaluate it by itself."
        )


def none_measured(failed: Sequence[FailedImage]) -> DataSetError:
    """Create the error for images of which none could be measured."""
    why = f"; '{failed[0].sample.image_id}': {failed[0].error}" if failed else ""
    return DataSetError(f"none of {len(failed)} images could be measured{why}")


def estimates_to_json(found: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Convert estimates to JSON values."""
    return {name: vars(estimate) for name, estimate in found.items()}


def interval_cells(metrics: Mapping[str, Estimate]) -> dict[str, object]:
    """Return the columns of metrics in a table: mean, and both ends of the interval."""
    cells: dict[str, object] = {}
    for name, estimate in metrics.items():
        cells |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return cells


def estimate_metrics(
    figures: ImageMetrics, indices: NDArray[np.intp], names: Sequence[str] = MEASURED
) -> dict[str, Estimate]:
    """Estimate the mean of each metric over some images.

    ``indices``: int (image,): indices of the images. Returns name to estimate over the images that have the metric; a
    metric that no image has is omitted.
    """
    groups = np.unique([figures.samples[index].group for index in indices], return_inverse=True)[1]
    return estimate_columns(figures.table[indices][:, [figures.names.index(name) for name in names]], groups, names)


def estimate_columns(
    table: NDArray[np.float64], groups: NDArray[np.intp], names: Sequence[str], *, signed: bool = False
) -> dict[str, Estimate]:
    """Estimate the mean of each column of a table; columns with the same images share their bootstrap samples.

    ``table``: float64 (image, name), not-a-number where there is none. ``groups``: int (image,): the patient or lesion.
    Returns name to estimate, in the order of ``names``; a metric that no image has is omitted.
    """
    present = ~np.isnan(table)
    highest = np.array([np.inf if name in UNBOUNDED else 1.0 for name in names])
    found: dict[str, Estimate] = {}
    for pattern in np.unique(present, axis=1).T:
        columns = [index for index in range(len(names)) if (present[:, index] == pattern).all()]
        if not pattern.any():
            continue
        bounds = (-np.inf, np.inf) if signed else (0.0, highest[columns])
        part = bootstrap_means(table[pattern][:, columns], groups[pattern], bounds=bounds)
        found |= {names[index]: estimate for index, estimate in zip(columns, part, strict=True)}
    return {name: found[name] for name in names if name in found}


def read_known_metadata(folders: Sequence[Path]) -> KnownMetadata:
    """Read site and skin type of every image from the tables, as harmonized words; "" if unknown."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for folder in folders:
        table = next((folder / name for name in TABLE_NAMES if (folder / name).is_file()), None)
        harmonizer = Harmonizer()
        for row in iter_table_rows(table) if table else ():
            harmonized = harmonizer.harmonize_row(row)
            found[folder.name, row["image_id"]] = tuple(
                intern(harmonized.get(column, "")) for column in METADATA_COLUMNS
            )
    return found


def divide_into_subgroups(
    figures: ImageMetrics, known: KnownMetadata
) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
    """Divide the images of each data set into subgroups, in several ways.

    Yields the data set, the property it is divided by, the value that the images share, and the indices of the images,
    int (image,). A property with only one value in a data set is omitted.
    """
    measured = figures.measured
    domains = np.array([figures.samples[index].domain for index in measured])
    for domain in np.unique(domains):
        indices = measured[domains == domain]
        for by, values in _groupings(figures, indices, known):
            words = [word for word, _ in Counter(values.tolist()).most_common()]
            if len(words) > 1:
                for word in _sort_values(words):
                    yield str(domain), by, word, indices[values == word]


def _groupings(
    figures: ImageMetrics, indices: NDArray[np.intp], known: KnownMetadata
) -> Iterator[tuple[str, NDArray[np.str_]]]:
    """Yield the properties to divide images by, each with the value of every image."""
    samples = [figures.samples[index] for index in indices]
    yield "diagnosis", most_frequent(sample.diagnosis or NOT_KNOWN for sample in samples)
    share = figures.column(REFERENCE_SHARE)[indices]
    yield SIZE, np.select([share < most for _, _, most in SIZES], [name for name, *_ in SIZES], SIZES[-1][0])
    metadata = [known.get(sample.key, ("",) * len(METADATA_COLUMNS)) for sample in samples]
    for index, name in enumerate(METADATA_COLUMNS.values()):
        yield name, most_frequent(words[index] or NOT_KNOWN for words in metadata)
    for trait in DIFFICULTY_TRAITS:
        values = figures.column(trait.name)[indices]
        has = trait.applies_to(values)
        yield trait.label, np.where(np.isnan(values), NOT_KNOWN, np.where(has, "yes", "no"))


def most_frequent(words: Iterator[str]) -> NDArray[np.str_]:
    """Keep the 12 most frequent words and replace the others by *others*; str (image,)."""
    given = list(words)
    kept = {word for word, _ in Counter(given).most_common(MAX_VALUES)}
    return np.array([word if word in kept else OTHERS for word in given])


def _sort_values(words: Sequence[str]) -> list[str]:
    """Sort the values of one property: sizes by size, words alphabetically, unknown last."""
    sizes = [name for name, *_ in SIZES]
    return sorted(
        words, key=lambda word: (word in (OTHERS, NOT_KNOWN), sizes.index(word) if word in sizes else 0, word)
    )
