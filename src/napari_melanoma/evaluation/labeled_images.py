"""Selection of the images of an evaluation that have a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.data.dataset import Key, Sample, read_dataset, select_for_split
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.evaluation.pipeline import SelectionOptions, check_evaluated_datasets
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.training.data_selection import (
    OTHER,
    REJECTED,
    diagnosis_includes,
    find_class_of,
    read_rows_with,
    row_labels,
)

DIAGNOSIS = "diagnosis"
Rows = Mapping[Key, Mapping[str, str]]
"""Rows of the tables of data sets, by data set and image id."""


class ClassEvaluationOptions(SelectionOptions):
    """Which images a classifier is evaluated on, and its inputs."""

    target: str = Field("", description="column with the diagnosis; by default that of the positive class")
    masks: Literal["reference", "predicted"] = Field(
        "reference",
        description="source of the region of interest: reference (masks of the data set) or predicted masks",
    )
    segmenter: str = Field("lesion-small", min_length=1, description="segmentation model for predicted masks")
    sensitivity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="sensitivity on the reference cases that sets the decision threshold; by default that of the model",
    )

    @model_validator(mode="after")
    def _check_segmenter(self) -> Self:
        if self.segmenter != type(self).model_fields["segmenter"].default and self.masks != "predicted":
            raise ConfigError(
                "a segmenter has no effect on reference masks. Use predicted masks (Python: masks='predicted', command "
                "line: --masks predicted), or leave it out."
            )
        return self


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """The images of an evaluation with their true classes.

    ``labels``: int (image,), indices into ``classes``, from the column ``target`` of the tables. ``left_out``: number
    of images without such a label; ``without_mask``: number of images with one, but without the mask that the model
    needs; ``rejected``: number of images whose review is ``rejected``, which are not used, as in a training.
    """

    samples: list[Sample]
    rows: Rows
    labels: NDArray[np.intp]
    target: str
    left_out: int
    classes: tuple[str, ...]
    without_mask: int = 0
    rejected: int = 0

    @cached_property
    def label_of(self) -> dict[Key, int]:
        """The label of each image by data set and image id."""
        return {sample.key: int(label) for sample, label in zip(self.samples, self.labels, strict=True)}


class TableLabels(NamedTuple):
    """Rows of tables, the column of the true class, the evaluated classes, and the class of each labeled row."""

    rows: Rows
    target: str
    classes: tuple[str, ...]
    labels: Mapping[Key, str]


def find_labeled_images(
    datasets: Sequence[Path], info: BundleInfo, options: ClassEvaluationOptions, others: Sequence[BundleInfo] = ()
) -> LabeledImages:
    """Find the images whose label is a class of the model.

    ``others``: models that are compared with it. If one of the models uses the region around a reference mask, only
    images with such a mask are included.
    """
    config = info.config
    rows, target, classes, label_of = read_table_labels(datasets, (info, *others), options)
    classifiers = [one.config.classifier for one in (info, *others)]
    needs_masks = options.masks == "reference" and any(one and one.view.region == "roi" for one in classifiers)
    everything = [read_dataset(folder) for folder in datasets]
    samples_by_dataset = [[sample for sample in samples if sample.review != REJECTED] for samples in everything]
    images = list(chain.from_iterable(samples_by_dataset))
    if needs_masks:
        try:
            selected = [select_for_split(samples, options.split) for samples in samples_by_dataset]
        except DataSetError as error:
            advice = "Without masks, predict them (Python: masks='predicted', command line: --masks predicted)."
            raise DataSetError(f"{error} {advice}") from error
        candidates = list(chain.from_iterable(selected))
    else:
        # A mask that no model uses may be a label image, which cannot be read as a mask.
        candidates = [replace(sample, mask=None) for sample in select_images_of_split(images, options.split)]
    samples = [sample for sample in candidates if label_of.get(sample.key) in classes]
    if not samples:
        values = ", ".join(sorted(set(label_of.values()))[:12]) or "nothing"
        raise DataSetError(
            f"none of {len(candidates)} images has one of the classes of '{info.name}' "
            f"({', '.join(config.classes)}) in the column '{target}', which contains {values}. Name another column "
            "(Python: target='COLUMN', command line: --target)."
        )
    labels = np.array([classes.index(label_of[sample.key]) for sample in samples], np.intp)
    labeled = [s for s in images if options.split in (None, s.split) and label_of.get(s.key) in classes]
    without_label, without_mask = len(candidates) - len(samples), len(labeled) - len(samples)
    in_split = [sample for sample in chain.from_iterable(everything) if options.split in (None, sample.split)]
    rejected = sum(sample.review == REJECTED for sample in in_split)
    return LabeledImages(samples, rows, labels, target, without_label, classes, without_mask, rejected)


def read_table_labels(
    datasets: Sequence[Path], infos: Sequence[BundleInfo], options: ClassEvaluationOptions
) -> TableLabels:
    """Read the tables of data sets of photographs or slides as their models were trained.

    ``infos``: the models; the classes are those of the first one.
    """
    check_evaluated_datasets(datasets)
    config = infos[0].config
    used = set().union(*(used_columns(info.config) for info in infos))
    rows = read_rows_with(datasets, used | {options.target or trained_target(config)})
    columns = {column for row in rows.values() for column in row}
    target = options.target or _default_target(config, rows, columns)
    if target not in columns:
        raise DataSetError(
            f"no table has a column '{target}' (found: {', '.join(sorted(columns))}). Name the column that contains "
            "the class (Python: target='COLUMN', command line: --target)."
        )
    return TableLabels(rows, target, *_classes_and_labels(config, rows, target))


def trained_target(config: BundleConfig) -> str:
    """Return the column that a model was trained on, from the recipe in its bundle."""
    return str((config.provenance.get("recipe", {}).get("classification") or {}).get("target", DIAGNOSIS))


def used_columns(config: BundleConfig) -> set[str]:
    """Return the columns that a classifier reads: those of patient data, and that of a depth that it predicts."""
    depth = config.classifier.depth if config.classifier else None
    return {*(config.tabular.fields if config.tabular else ()), *([depth.column] if depth else ())}


def _default_target(config: BundleConfig, rows: Rows, columns: set[str]) -> str:
    """Return the column that contains the class.

    It is the one that the model was trained on, if it contains two of the classes; otherwise a column with the name of
    the positive class, or else ``diagnosis``.
    """
    assert config.classifier is not None
    trained_on = trained_target(config)
    if len(set(row_labels(rows, trained_on).values()) & set(config.classes)) > 1:
        return trained_on
    return config.classifier.positive if config.classifier.positive in columns else DIAGNOSIS


def _classes_and_labels(config: BundleConfig, rows: Rows, target: str) -> tuple[tuple[str, ...], Mapping[Key, str]]:
    """Return the classes that are evaluated, and the label of each row.

    The classes are those of the model, or the positive class and ``OTHER`` if the labels distinguish only these.
    """
    assert config.classifier is not None
    labels, positive = row_labels(rows, target), config.classifier.positive
    is_diagnosis = positive in load_taxonomy(DIAGNOSIS).entries  # unlike the outcome "metastasis"
    if set(config.classes) == {OTHER, positive} and target == DIAGNOSIS and is_diagnosis:  # against all others
        names = {True: positive, False: OTHER}
        includes = {key: word != OTHER and diagnosis_includes(word, positive) for key, word in labels.items()}
        return config.classes, {key: names[included] for key, included in includes.items() if included is not None}
    if OTHER not in config.classes and {OTHER, positive}.issuperset(labels.values()):
        return (OTHER, positive), labels
    if target == DIAGNOSIS:  # the others are named in messages
        return config.classes, {
            key: word if word in config.classes else find_class_of(word, config.classes) or word
            for key, word in labels.items()
        }
    return config.classes, labels


def select_images_of_split(samples: Sequence[Sample], split: str | None) -> list[Sample]:
    """Select the images of a split (None: all), with or without a mask; raise an error if there are none."""
    selected = [sample for sample in samples if split in (None, sample.split)]
    if not selected:
        splits = ", ".join(sorted({sample.split or "(none)" for sample in samples})) or "(no rows)"
        raise DataSetError(
            f"no image in the split '{split or 'any'}': {len(samples)} rows, splits {splits}. Name another split."
        )
    return selected
