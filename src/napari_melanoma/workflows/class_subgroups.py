"""Images of an evaluation of a classifier that belong together by what their table says, and how it does on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.features.reading import number_of
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.workflows.evaluation_classes import Told, class_estimates
from napari_melanoma.workflows.measuring_classes import Rows
from napari_melanoma.workflows.subgroups import NONE, few_words

AGES = ((30, "0 to 29"), (50, "30 to 49"), (70, "50 to 69"), (np.inf, "70 and over"))
FEW = 5  # positives or others: an area of fewer says nothing


@dataclass(frozen=True)
class ClassSubgroup:
    """Images of a data set that have something in common: by what, which value, how many, and how the model did."""

    data: str
    by: str
    value: str
    count: int
    positives: int
    metrics: dict[str, Estimate]


def class_subgroups(told: Told, samples: Sequence[Sample], rows: Rows) -> Iterator[ClassSubgroup]:
    """Estimate how a model does on images that have something in common, within each data set.

    By diagnosis, sex, age, site and skin type, where they divide a data set.
    """
    assert told.domains is not None
    harmoniser = Harmoniser()
    said = [harmoniser.row(rows.get((sample.domain, sample.image_id), {})) for sample in samples]
    for domain in np.unique(told.domains):
        places = np.flatnonzero(told.domains == domain)
        for by, word_of in WAYS.items():
            values = few_words(word_of(said[place]) or NONE for place in places)
            for value in sorted(set(values.tolist()), key=lambda word: (word == NONE, word)):
                here = places[values == value]
                if 0 < len(here) < len(places):
                    yield _subgroup(told.take(here), str(domain), by, str(value))


def _subgroup(told: Told, data: str, by: str, value: str) -> ClassSubgroup:
    """Estimates of a few images, without those that so few cannot have."""
    positives, count = int(told.truth.sum()), len(told.labels)
    found = class_estimates(told)
    if min(positives, count - positives) < FEW:
        found = {name: one for name, one in found.items() if name in ("sensitivity", "specificity", "accuracy")}
    return ClassSubgroup(data, by, value, count, positives, found)


def _age_band(row: Mapping[str, str]) -> str:
    """The band of an age; empty where it is not known."""
    age = number_of(row.get("age"))
    return "" if np.isnan(age) else next(name for limit, name in AGES if age < limit)


WAYS: dict[str, Callable[[Mapping[str, str]], str]] = {
    "diagnosis": lambda row: row.get("diagnosis", ""),
    "sex": lambda row: row.get("sex", ""),
    "age": _age_band,
    "site": lambda row: row.get("site", ""),
    "Fitzpatrick type": lambda row: row.get("fitzpatrick", ""),
}
