"""Images of a run that show the same picture although their pixels differ: as if they were the same file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.data.duplicates import find_duplicates

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.cache_index import Facts
    from napari_melanoma.training.survey import Chosen


def as_one(chosen: Chosen, facts: Mapping[Path, Facts], run: RunContext, *, keep: bool) -> dict[Path, Facts]:
    """Let images of different parts that show the same picture count as one.

    Parameters
    ----------
    chosen : Chosen
        Images by part.
    facts : mapping
        Path of an image or mask to what was found.
    run : RunContext
        Told of the progress, asked whether to go on.
    keep : bool
        Keep the thumbnails that they are compared by.

    Returns
    -------
    dict
        The same facts; images that show the same picture as one of another part have the same ``pixels``.

    Raises
    ------
    Cancelled
        Where the user stopped it.
    """
    parts = ([*chosen.parts.learn, *chosen.base], chosen.parts.tuning, chosen.judged)
    samples = [sample for part in parts for sample in part]
    numbers = [number for number, part in enumerate(parts) for _ in part]
    same: dict[str, str] = {}

    def first(pixels: str) -> str:
        while pixels in same:
            pixels = same[pixels]
        return pixels

    for pair in find_duplicates(samples, run, across=numbers, keep=keep):
        one, other = first(facts[pair.first.image].pixels), first(facts[pair.second.image].pixels)
        if one != other:
            same[other] = one
    return {path: found._replace(pixels=first(found.pixels)) for path, found in facts.items()}
