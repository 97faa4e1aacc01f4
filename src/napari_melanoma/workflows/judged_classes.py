"""The images that classifiers are judged on: which have an answer that the model can give, and what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import Entry, Sample, check_names, each_entry, read_dataset, with_masks
from napari_melanoma.data.training_images import Digest, digest_of
from napari_melanoma.training.class_rows import OTHER, Key, answers_of, is_of
from napari_melanoma.workflows.measuring_classes import ClassEvaluationOptions, Rows
from napari_melanoma.workflows.training_overlap import Overlap, images_to_measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.models.bundle import BundleConfig, BundleInfo
    from napari_melanoma.workflows.classify import ClassifyingModel

DIAGNOSIS = "diagnosis"


@dataclass(frozen=True, eq=False)
class Judged:
    """The images of an evaluation with their answers.

    ``labels``: int (image,), places among ``classes``.
    """

    samples: list[Sample]
    rows: Rows
    labels: NDArray[np.intp]
    target: str
    left_out: int
    classes: tuple[str, ...]
    overlap: Overlap | None = None

    def without_training_images(
        self,
        models: Sequence[BundleInfo],
        options: ClassEvaluationOptions,
        *,
        run: RunContext,
        digest: Digest = digest_of,
    ) -> Judged:
        """Leave out the images that any of the models was trained on, unless the options include them.

        With its overlap; itself where that is known.
        """
        if self.overlap is not None:
            return self
        overlap = images_to_measure(models, self.samples, run=run, include=options.include_seen, digest=digest)
        return replace(self, samples=overlap.kept, labels=self.labels[overlap.judged], overlap=overlap)


def images_to_judge(datasets: Sequence[Path], model: ClassifyingModel, options: ClassEvaluationOptions) -> Judged:
    """Find the images whose class is known to the model.

    Where the model looks at the square around a reference mask, images with such a mask alone.
    """
    check_names(datasets)
    config = model.info.config
    assert config.classifier is not None
    rows = {
        (folder.name, entry.image_id): entry.row
        for folder in datasets
        for entry in each_entry(folder)
        if isinstance(entry, Entry)
    }
    columns = {column for row in rows.values() for column in row}
    target = options.target or _usual_column(config, rows, columns)
    if target not in columns:
        raise DataSetError(
            f"no table has a column '{target}' (found: {', '.join(sorted(columns))}). Name the column that holds the "
            "answer: --target."
        )
    needs_masks = config.classifier.view.region == "roi" and options.masks == "reference"
    found = [sample for folder in datasets for sample in _usable(folder, options.split, masks=needs_masks)]
    classes, answers = _answers(config, rows, target)
    places = {word: place for place, word in enumerate(classes)}
    samples = [sample for sample in found if answers.get((sample.domain, sample.image_id)) in places]
    if not samples:
        words = ", ".join(sorted(set(answers.values()))[:12]) or "nothing"
        raise DataSetError(
            f"none of {len(found)} images has one of the classes of '{model.info.name}' "
            f"({', '.join(config.classes)}) in the column '{target}', which holds {words}. Name another: --target."
        )
    labels = np.array([places[answers[sample.domain, sample.image_id]] for sample in samples], np.intp)
    return Judged(samples, rows, labels, target, len(found) - len(samples), classes)


def _usual_column(config: BundleConfig, rows: Rows, columns: set[str]) -> str:
    """The column that a model was trained on, where it holds its classes; else the one called like the positive one."""
    assert config.classifier is not None
    learnt = (config.provenance.get("recipe", {}).get("classification") or {}).get("target", DIAGNOSIS)
    if len(set(answers_of(rows, learnt).values()) & set(config.classes)) > 1:
        return str(learnt)
    return config.classifier.positive if config.classifier.positive in columns else DIAGNOSIS


def _answers(config: BundleConfig, rows: Rows, target: str) -> tuple[tuple[str, ...], Mapping[Key, str]]:
    """The classes that the answers are of, and the answer of each row."""
    assert config.classifier is not None
    answers, one = answers_of(rows, target), config.classifier.positive
    if set(config.classes) == {OTHER, one} and target == DIAGNOSIS:  # against the rest, whatever that is called
        return config.classes, {key: one if is_of(word, one) else OTHER for key, word in answers.items()}
    if OTHER not in config.classes and {OTHER, one}.issuperset(answers.values()):
        return (OTHER, one), answers
    return config.classes, answers


def _usable(folder: Path, split: str | None, *, masks: bool) -> list[Sample]:
    """Images of a data set, of one split where one is named."""
    samples = read_dataset(folder)
    if masks:
        return with_masks(samples, split)
    return [sample for sample in samples if split in (None, sample.split)]
