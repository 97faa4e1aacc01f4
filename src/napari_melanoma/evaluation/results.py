"""The questions and results of an evaluation, and its subgroups."""

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
from napari_melanoma.data.dataset import TABLE_NAMES
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.data.table_file import iter_table_rows
from napari_melanoma.imaging.refinement import RefinementConfig
from napari_melanoma.metrics.difficulty import DIFFICULTY_TRAITS
from napari_melanoma.metrics.overlap import BOUNDARY_METRICS, METRICS
from napari_melanoma.metrics.statistics import Estimate, bootstrap_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.evaluation.overlap import Overlap

BAND_METRICS = ("band_share", "errors_in_band")
MEASURED = (*METRICS, *BOUNDARY_METRICS, *BAND_METRICS)
REFERENCE_SHARE = "reference_share"
FACTS = (REFERENCE_SHARE, *(trait.name for trait in DIFFICULTY_TRAITS))
UNBOUNDED = ("HD95_px", "HD95_mm")
LESS_IS_BETTER = ("HD95_px", "HD95_relative", "HD95_mm", "band_share")


class EvaluationOptions(Config):
    """What is measured, and how masks are made."""

    split: str | None = Field(None, description="only images of this split, such as 'val'; none: every image")
    threshold: float | None = Field(None, gt=0, lt=1, description="none: the model's own")
    refinement: RefinementConfig = RefinementConfig()
    flips: bool = Field(False, description="ask about the mirror images too")
    include_seen: bool = Field(False, description="measure images that the model was trained on, too")
    difficulty: bool = Field(True, description="measure what makes each image difficult, for the subgroups by it")


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be measured, and why."""

    sample: Sample
    error: str


@dataclass(frozen=True)
class Subgroup:
    """The images of a data set that have something in common: by what, which value of it, and how the model did."""

    data: str
    by: str
    value: str
    metrics: dict[str, Estimate]

    @property
    def count(self) -> int:
        """How many images there are."""
        return self.metrics["JA"].count


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: each part of the data by name, with an estimate of each metric; and what failed.

    ``warnings`` are sentences that a reader of the figures should know first.
    """

    threshold: float
    parts: dict[str, dict[str, Estimate]]
    failed: tuple[FailedImage, ...] = ()
    subgroups: tuple[Subgroup, ...] = ()
    warnings: tuple[str, ...] = ()
    overlap: Overlap | None = field(default=None, compare=False)


class ImageMetrics:
    """What was measured of each image under one model, 8 bytes a number.

    For 400,000 images the figures take 60 MB a model. The samples, which all models share, take 400 MB more: about
    0.9 kB each as they are read, and 1 kB once their paths have been used.
    """

    def __init__(self, names: Sequence[str] = (*MEASURED, *FACTS)) -> None:
        self.names = tuple(names)
        self.samples: list[Sample] = []
        self._values = array("d")
        self._errors: dict[int, str] = {}

    def add(self, sample: Sample, values: Mapping[str, float]) -> None:
        """Take an image that was measured."""
        self.samples.append(sample)
        self._values.extend(values.get(name, math.nan) for name in self.names)

    def add_failed(self, sample: Sample, error: str) -> None:
        """Take an image that could not be measured."""
        self._errors[len(self.samples)] = error
        self.add(sample, {})

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that could not be measured, in their order."""
        return tuple(FailedImage(self.samples[index], error) for index, error in self._errors.items())

    @property
    def measured(self) -> NDArray[np.intp]:
        """Places of the images that were measured."""
        return np.delete(np.arange(len(self.samples)), list(self._errors))

    @property
    def table(self) -> NDArray[np.float64]:
        """All figures: float64 (image, name), not-a-number where there is none."""
        return np.frombuffer(self._values, np.float64).reshape(len(self.samples), len(self.names))

    def column(self, name: str) -> NDArray[np.float64]:
        """Give one figure of every image.

        Returns float64 (image,).
        """
        return self.table[:, self.names.index(name)]

    def rows(self) -> Iterator[dict[str, object]]:
        """Make the rows of ``per_image.csv``.

        What the data set says of an image, its status, and the figures.
        """
        for index, (sample, values) in enumerate(zip(self.samples, self.table, strict=True)):
            about = {name: getattr(sample, name) for name in ("image_id", "domain", "split", "group", "diagnosis")}
            error = self._errors.get(index, "")
            found = {name: value for name, value in zip(self.names, values.tolist(), strict=True) if value == value}
            yield {**about, "status": "failed" if error else "done", "error": error, **found}


@dataclass(frozen=True)
class EvaluatedModel:
    """One of the models: its name, the fingerprint of its weights, its threshold, and what was measured with it.

    ``options`` are those of ``EvaluationOptions`` as plain values, ``warnings`` those of its evaluation, and
    ``overlap`` is what it states of the images that the model was trained on.
    """

    name: str
    fingerprint: str
    threshold: float
    figures: ImageMetrics
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    overlap: Mapping[str, Any] | None = None


def estimate_metrics(
    figures: ImageMetrics, places: NDArray[np.intp], names: Sequence[str] = MEASURED
) -> dict[str, Estimate]:
    """Estimate the mean of each figure over some images.

    ``places``: int (image,): which images. Name to estimate, over the images that have the figure; none where no image
    has it.
    """
    groups = np.unique([figures.samples[place].group for place in places], return_inverse=True)[1]
    return estimate_columns(figures.table[places][:, [figures.names.index(name) for name in names]], groups, names)


def estimate_columns(
    table: NDArray[np.float64], groups: NDArray[np.intp], names: Sequence[str], *, signed: bool = False
) -> dict[str, Estimate]:
    """Estimate the mean of each column of a table, those that every image has with one set of draws.

    ``table``: float64 (image, name), not-a-number where there is none. ``groups``: int (image,): the patient or lesion.
    Name to estimate, in the order of ``names``; none where no image has the figure.
    """
    there = ~np.isnan(table)
    highest = np.array([np.inf if name in UNBOUNDED else 1.0 for name in names])
    found: dict[str, Estimate] = {}
    for pattern in np.unique(there, axis=1).T:
        columns = [index for index in range(len(names)) if (there[:, index] == pattern).all()]
        if not pattern.any():
            continue
        bounds = (-np.inf, np.inf) if signed else (0.0, highest[columns])
        part = bootstrap_means(table[pattern][:, columns], groups[pattern], bounds=bounds)
        found |= {names[index]: estimate for index, estimate in zip(columns, part, strict=True)}
    return {name: found[name] for name in names if name in found}


SIZES = (("small", 0.0, 0.05), ("medium", 0.05, 0.25), ("large", 0.25, 1.1))
SIZE = "size of the lesion"
SIZE_WORDS = "small: under 5 % of the image; large: 25 % or more"
METADATA_COLUMNS = {"site": "site", "fitzpatrick": "Fitzpatrick type"}
MAX_VALUES = 12  # of one column; the rarer ones are taken together
OTHERS, NOT_KNOWN = "others", "not known"
KnownMetadata = Mapping[tuple[str, str], tuple[str, ...]]
"""What the tables say: name of the data set and of the image to one word for each of ``ASKED``."""


def read_known_metadata(folders: Sequence[Path]) -> KnownMetadata:
    """Read site and skin type of every image, where the data sets say them.

    In our words, "" where it is not known.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for folder in folders:
        table = next((folder / name for name in TABLE_NAMES if (folder / name).is_file()), None)
        harmoniser = Harmonizer()
        for row in iter_table_rows(table) if table else ():
            said = harmoniser.harmonize_row(row)
            found[folder.name, row["image_id"]] = tuple(intern(said.get(column, "")) for column in METADATA_COLUMNS)
    return found


def divide_into_subgroups(
    figures: ImageMetrics, known: KnownMetadata
) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
    """Divide the images of each data set, in several ways.

    Data set, what it is divided by, and the value that the images have in common. Int (image,): the images. A way that
    would not divide a data set is left out.
    """
    measured = figures.measured
    domains = np.array([figures.samples[place].domain for place in measured])
    for domain in np.unique(domains):
        places = measured[domains == domain]
        for by, values in _groupings(figures, places, known):
            words = [word for word, _ in Counter(values.tolist()).most_common()]
            if len(words) > 1:
                for word in _sort_values(words):
                    yield str(domain), by, word, places[values == word]


def _groupings(
    figures: ImageMetrics, places: NDArray[np.intp], known: KnownMetadata
) -> Iterator[tuple[str, NDArray[np.str_]]]:
    """Ways to divide images, each with the word of every image."""
    samples = [figures.samples[place] for place in places]
    yield "diagnosis", most_frequent(sample.diagnosis or NOT_KNOWN for sample in samples)
    share = figures.column(REFERENCE_SHARE)[places]
    yield SIZE, np.select([share < most for _, _, most in SIZES], [name for name, *_ in SIZES], SIZES[-1][0])
    said = [known.get((sample.domain, sample.image_id), ("",) * len(METADATA_COLUMNS)) for sample in samples]
    for index, name in enumerate(METADATA_COLUMNS.values()):
        yield name, most_frequent(words[index] or NOT_KNOWN for words in said)
    for trait in DIFFICULTY_TRAITS:
        values = figures.column(trait.name)[places]
        has = values >= trait.limit if trait.above else values < trait.limit
        yield trait.label, np.where(np.isnan(values), NOT_KNOWN, np.where(has, "yes", "no"))


def most_frequent(words: Iterator[str]) -> NDArray[np.str_]:
    """Keep the most frequent words, and one for all the others.

    Str (image,): of more than 12 words the rarer ones are *others*.
    """
    given = list(words)
    kept = {word for word, _ in Counter(given).most_common(MAX_VALUES)}
    return np.array([word if word in kept else OTHERS for word in given])


def _sort_values(words: Sequence[str]) -> list[str]:
    """Sort the values of one way: sizes by size, words by the alphabet, what is not known last."""
    sizes = [name for name, *_ in SIZES]
    return sorted(
        words, key=lambda word: (word in (OTHERS, NOT_KNOWN), sizes.index(word) if word in sizes else 0, word)
    )
