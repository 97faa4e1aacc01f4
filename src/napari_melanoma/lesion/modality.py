"""Whether images are of a kind that a model was trained on, by what the tables of their data sets say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import format_names
from napari_melanoma.data.dataset import Sample
from napari_melanoma.io.photographs import accepts_damaged, find_damage

if TYPE_CHECKING:
    from napari_melanoma.models.bundle import BundleInfo

_NAMED = 10  # damaged images that a warning names
UNFIT = (
    "'{model}' was trained on {modalities} photographs alone, and {count} of {all} images of '{data}' are {kinds}: "
    "their figures say how it does on a kind that it was not made for."
)


def modality_warnings(models: Iterable[BundleInfo], samples: Sequence[Sample]) -> tuple[str, ...]:
    """Say which data sets hold images of a kind that a model was not trained on.

    A sentence for each model and data set that do not go together, and one where damaged images are judged too.
    """
    found: dict[str, Counter[str | None]] = {}
    for sample in samples:
        found.setdefault(sample.domain, Counter())[sample.modality] += 1
    said: dict[str, None] = {}
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
                said[text] = None
    return (*said, *_damage_warnings(samples))


def _damage_warnings(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Say which images are damaged, where such images are accepted."""
    if not accepts_damaged():
        return ()
    names = [sample.image_id for sample in samples if find_damage(sample.image)]
    if not names:
        return ()
    text = f"{len(names)} of {len(samples)} images are damaged and were accepted: {format_names(names, _NAMED)}. "
    return (text + "The figures count them like the others.",)


def _word(modality: str) -> str:
    """Write a modality as people read it."""
    return modality.replace("_", " ")
