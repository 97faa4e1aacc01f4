"""Whether what was measured with several models can be compared: the same images, masks and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.workflows.evaluation import REFERENCE_SHARE, Candidate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SAME_SHARE = 2e-6  # tables have six digits
DIFFERENT = (
    "These evaluations were made with different options, so what differs is not the models' doing alone: {options}."
)


def refuse_same_evaluation(folders: Sequence[Path]) -> None:
    """Refuse to compare fewer than two evaluations, or one with itself: all differences would be 0."""
    if len(folders) < 2:
        raise InputError(f"a comparison takes two evaluations or more; {len(folders)} were named.")
    places = [folder.resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise InputError(
                f"{folders[number]} was named twice: an evaluation does not differ from itself. Name two evaluations."
            )


def common_images(candidates: Sequence[Candidate]) -> list[NDArray[np.intp]]:
    """Find the images that all have measured, by data set and name.

    Int (image,) each: their places in the figures of each model, in the order of the first.
    """
    known: list[dict[tuple[str, str], int]] = []
    for figures in (item.figures for item in candidates):
        samples = ((place, figures.samples[place]) for place in figures.measured.tolist())
        known.append({(sample.domain, sample.image_id): place for place, sample in samples})
    keys = [key for key in known[0] if all(key in places for places in known[1:])]
    return [np.array([places[key] for key in keys], np.intp) for places in known]


def refuse_other_masks(
    candidates: Sequence[Candidate], names: Sequence[str], places: Sequence[NDArray[np.intp]]
) -> None:
    """Refuse images that have one name and different reference masks: they are not the same images."""
    first = candidates[0].figures
    shares = [item.figures.column(REFERENCE_SHARE)[where] for item, where in zip(candidates, places, strict=True)]
    for name, share in zip(names[1:], shares[1:], strict=True):
        other = np.flatnonzero(np.abs(share - shares[0]) > SAME_SHARE)  # not-a-number, from older ones, says nothing
        if len(other):
            sample = first.samples[int(places[0][other[0]])]
            raise InputError(
                f"{len(other)} of {len(share)} images have another reference mask in {name} than in {names[0]}, such "
                f"as '{sample.image_id}' of '{sample.domain}'. Make both evaluations on the same data."
            )


def different_options(candidates: Sequence[Candidate], names: Sequence[str]) -> list[str]:
    """Say which options were not the same, for then the models are not all that differs.

    One sentence, or none.
    """
    each = [_flat(item.options) for item in candidates]
    keys = sorted({key for options in each for key in options} - {"difficulty"})
    parts = []
    for key in keys:
        values = [_option_word(options.get(key)) for options in each]
        if len(set(values)) > 1:
            parts.append(f"{key} ({', '.join(f'{name}: {value}' for name, value in zip(names, values, strict=True))})")
    return [DIFFERENT.format(options="; ".join(parts))] if parts else []


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Bring options that stand in groups to one level, joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return flat


def _option_word(value: object) -> str:
    """Write the value of an option as people read it."""
    words = {True: "yes", False: "no"}
    return words[value] if isinstance(value, bool) else "none" if value is None else str(value)
