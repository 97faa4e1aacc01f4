"""What can be wrong with label images, each said with what was expected, what was found and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.training.decoding import label_counts

if TYPE_CHECKING:
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.training.cache_index import Facts

TWO_CLASS = 255  # what masks of one lesion have inside


def check_labels(samples: Iterable[Sample], facts: Mapping[Path, Facts], classes: Sequence[str]) -> None:
    """Refuse label images with values that no class has."""
    wrong = []
    for sample in samples:
        if sample.mask is None:
            continue
        unknown = [value for value in label_counts(facts[sample.mask]) if value >= len(classes)]
        if unknown:
            wrong.append((sample.mask, unknown))
    if not wrong:
        return
    said = first_few([f"{path} ({', '.join(map(str, unknown))})" for path, unknown in wrong])
    hint = (
        " 255 marks the lesion in masks of one class: for these leave 'classes' out of the recipe."
        if all(TWO_CLASS in unknown for _, unknown in wrong)
        else ""
    )
    raise DataSetError(
        f"expected label images with the values {numbered(classes)}, found others in {len(wrong)} of them: {said}. "
        f"Correct these files, or name all classes in the recipe's 'classes'.{hint}"
    )


def check_every_class(samples: Sequence[Sample], facts: Mapping[Path, Facts], classes: Sequence[str]) -> None:
    """Refuse data from which a class cannot be learnt, as no pixel is of it."""
    there = {value for sample in samples if sample.mask for value in label_counts(facts[sample.mask])}
    missing = [f"{value} ({name})" for value, name in enumerate(classes) if value not in there]
    if missing:
        found = ", ".join(classes[value] for value in sorted(there))
        raise DataSetError(
            f"in the {len(samples)} label images to learn from no pixel is of {', '.join(missing)}; found only {found}."
            " Add images that show what is missing, or take it out of the recipe's 'classes'."
        )


def numbered(classes: Sequence[str]) -> str:
    """Say which value means which class.

    Such as ``0 background, 1 dermis``.
    """
    return ", ".join(f"{value} {name}" for value, name in enumerate(classes))
