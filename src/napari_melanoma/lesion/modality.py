"""Warnings for images of a type that a model was not trained on, according to the tables of their data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import format_names
from napari_melanoma.data.dataset import Sample
from napari_melanoma.io.photographs import accepts_damaged, find_damage

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

_NAMED = 10  # damaged images in a warning
UNFIT = (
    "'{model}' was trained on {modalities} photographs only, but {count} of {all} images of '{data}' are {kinds}: "
    "the results for them do not reflect the intended use of the model."
)


def modality_warnings(models: Iterable[BundleInfo], samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return warnings about images of a type that a model was not trained on.

    One sentence for each such model and data set, and one for accepted damaged images.
    """
    found: dict[str, Counter[str | None]] = {}
    for sample in samples:
        found.setdefault(sample.domain, Counter())[sample.modality] += 1
    warnings: dict[str, None] = {}
    for model in models:
        fitting = model.config.modalities
        for data, kinds in found.items() if fitting else ():
            others = {kind: count for kind, count in kinds.items() if kind and kind not in fitting}
            if others:
                text = UNFIT.format(
                    model=model.name,
                    modalities=" and ".join(map(_word, fitting)),
                    count=sum(others.values()),
                    all=kinds.total(),
                    data=data,
                    kinds=" or ".join(map(_word, sorted(others))),
                )
                warnings[text] = None
    return (*warnings, *_damage_warnings(samples))


def _damage_warnings(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return a warning about damaged images, if such images are accepted."""
    if not accepts_damaged():
        return ()
    names = [sample.image_id for sample in samples if find_damage(sample.image)]
    if not names:
        return ()
    text = f"{len(names)} of {len(samples)} images are damaged and were accepted: {format_names(names, _NAMED)}. "
    return (text + "They are included in all results.",)


def _word(modality: str) -> str:
    """Format a modality for users."""
    return modality.replace("_", " ")
