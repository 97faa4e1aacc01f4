"""Options and results of evaluations of masks, the estimates of their metrics, and subgroups of the images."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
UNBOUNDED = ("HD95_px", "HD95_mm")  # metrics without an upper limit
LESS_IS_BETTER = ("HD95_px", "HD95_relative", "HD95_mm", "band_share")
# Name, lower limit and upper limit of the share of the image that the lesion covers.
SIZES = (("small", 0.0, 0.05), ("medium", 0.05, 0.25), ("large", 0.25, 1.1))
SIZE = "size of the lesion"
SIZE_WORDS = "small: under 5 % of the image; large: 25 % or more"
METADATA_COLUMNS = {"site": "site", "fitzpatrick": "Fitzpatrick type"}
MAX_VALUES = 12  # of one column; the rarer ones are combined
OTHERS, NOT_KNOWN = "others", "not known"
ALL_IMAGES = "all"  # in results, the name of all data sets together
KnownMetadata = Mapping[tuple[str, str], tuple[str, ...]]
"""Values of ``METADATA_COLUMNS``, "" if unknown, by data set and image id."""


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
    """Images of a data set with the same value of a property, such as the diagnosis, and the metrics on them."""

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
    """Result of an evaluation of masks.

    ``parts``: "all", a data set, or a diagnosis in a data set, to its estimates by metric. ``warnings`` are sentences
    that are printed above the metrics.
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

    For 400,000 images the values take 60 MB per model. The samples, which all models share, take 400 MB more: about 0.9
    kB each after reading, and 1 kB once their paths have been used.
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

    ``options``: ``EvaluationOptions`` as plain values. ``warnings``: of its evaluation. ``overlap``: ``Overlap.facts``;
    None in evaluations of older versions.
    """

    name: str
    fingerprint: str
    threshold: float
    image_metrics: ImageMetrics
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    overlap: Mapping[str, Any] | None = None


def check_evaluated_datasets(folders: Sequence[Path]) -> None:
    """Reject data sets with the same name, and several data sets if one is named like the results of all together."""
    check_dataset_names(folders)
    names = {folder.name for folder in folders}
    if ALL_IMAGES in names and len(names) > 1:
        raise DataSetError(
            f"a data set named '{ALL_IMAGES}' cannot be evaluated together with others, because the results use this "
            "name for all images. Rename its folder, or evaluate it by itself."
        )


def none_measured(failed: Sequence[FailedImage]) -> DataSetError:
    """Create the error for an evaluation in which no image could be measured."""
    why = f"; '{failed[0].sample.image_id}': {failed[0].error}" if failed else ""
    return DataSetError(f"none of {len(failed)} images could be measured{why}")


def estimates_to_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Convert estimates to JSON values."""
    return {name: vars(estimate) for name, estimate in estimates.items()}


def interval_cells(metrics: Mapping[str, Estimate]) -> dict[str, object]:
    """Return the columns of metrics in a table: mean, and both ends of the interval."""
    cells: dict[str, object] = {}
    for name, estimate in metrics.items():
        cells |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return cells


def estimate_metrics(
    image_metrics: ImageMetrics, indices: NDArray[np.intp], names: Sequence[str] = MEASURED
) -> dict[str, Estimate]:
    """Estimate the mean of each metric over some images.

    ``indices``: int (image,): indices of the images. Returns name to estimate over the images that have the metric; a
    metric that no image has is omitted.
    """
    groups = np.unique([image_metrics.samples[index].group for index in indices], return_inverse=True)[1]
    return estimate_columns(
        image_metrics.table[indices][:, [image_metrics.names.index(name) for name in names]], groups, names
    )


def estimate_columns(
    table: NDArray[np.float64], groups: NDArray[np.intp], names: Sequence[str], *, signed: bool = False
) -> dict[str, Estimate]:
    """Estimate the mean of each column of a table; columns with the same images share their bootstrap samples.

    ``table``: float64 (image, name), not-a-number where there is none. ``groups``: int (image,): the patient or lesion.
    Returns name to estimate, in the order of ``names``; a metric that no image has is omitted.
    """
    present = ~np.isnan(table)
    highest = np.array([np.inf if name in UNBOUNDED else 1.0 for name in names])
    estimates: dict[str, Estimate] = {}
    for pattern in np.unique(present, axis=1).T:
        columns = [index for index in range(len(names)) if (present[:, index] == pattern).all()]
        if not pattern.any():
            continue
        bounds = (-np.inf, np.inf) if signed else (0.0, highest[columns])
        part = bootstrap_means(table[pattern][:, columns], groups[pattern], bounds=bounds)
        estimates |= {names[index]: estimate for index, estimate in zip(columns, part, strict=True)}
    return {name: estimates[name] for name in names if name in estimates}


def read_known_metadata(folders: Sequence[Path]) -> KnownMetadata:
    """Read site and skin type of every image from the tables, as harmonized words; "" if unknown."""
    metadata: dict[tuple[str, str], tuple[str, ...]] = {}
    for folder in folders:
        table = next((folder / name for name in TABLE_NAMES if (folder / name).is_file()), None)
        harmonizer = Harmonizer()
        for row in iter_table_rows(table) if table else ():
            harmonized = harmonizer.harmonize_row(row)
            metadata[folder.name, row["image_id"]] = tuple(
                intern(harmonized.get(column, "")) for column in METADATA_COLUMNS
            )
    return metadata


def divide_into_subgroups(
    image_metrics: ImageMetrics, metadata: KnownMetadata
) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
    """Divide the images of each data set into subgroups by several properties.

    Yields the data set, the property that it is divided by, the value that the images share, and the indices of the
    images, int (image,). A property with only one value in a data set is omitted.
    """
    measured = image_metrics.measured
    domains = np.array([image_metrics.samples[index].domain for index in measured])
    for domain in np.unique(domains):
        indices = measured[domains == domain]
        for by, values in _groupings(image_metrics, indices, metadata):
            words = [word for word, _ in Counter(values.tolist()).most_common()]
            if len(words) > 1:
                for word in _sort_values(words):
                    yield str(domain), by, word, indices[values == word]


def _groupings(
    image_metrics: ImageMetrics, indices: NDArray[np.intp], metadata: KnownMetadata
) -> Iterator[tuple[str, NDArray[np.str_]]]:
    """Yield the properties to divide images by, each with the value of every image."""
    samples = [image_metrics.samples[index] for index in indices]
    yield "diagnosis", combine_rare_values(sample.diagnosis or NOT_KNOWN for sample in samples)
    share = image_metrics.column(REFERENCE_SHARE)[indices]
    yield SIZE, np.select([share < most for _, _, most in SIZES], [name for name, *_ in SIZES], SIZES[-1][0])
    values_by_image = [metadata.get(sample.key, ("",) * len(METADATA_COLUMNS)) for sample in samples]
    for index, name in enumerate(METADATA_COLUMNS.values()):
        yield name, combine_rare_values(words[index] or NOT_KNOWN for words in values_by_image)
    for trait in DIFFICULTY_TRAITS:
        values = image_metrics.column(trait.name)[indices]
        has = trait.applies_to(values)
        yield trait.label, np.where(np.isnan(values), NOT_KNOWN, np.where(has, "yes", "no"))


def combine_rare_values(values: Iterable[str]) -> NDArray[np.str_]:
    """Replace all but the 12 most frequent values by ``others``; str (image,)."""
    words = list(values)
    frequent = {word for word, _ in Counter(words).most_common(MAX_VALUES)}
    return np.array([word if word in frequent else OTHERS for word in words])


def _sort_values(words: Sequence[str]) -> list[str]:
    """Sort the values of one property: sizes by size, words alphabetically, unknown last."""
    sizes = [name for name, *_ in SIZES]
    return sorted(
        words, key=lambda word: (word in (OTHERS, NOT_KNOWN), sizes.index(word) if word in sizes else 0, word)
    )
