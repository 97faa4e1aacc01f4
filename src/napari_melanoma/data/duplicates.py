"""Images of one or several data sets that show the same picture, and what that means for their splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.likeness import same_pictures
from napari_melanoma.data.looks import read_looks


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same picture; ``likeness`` is 1 for copies and goes down to ``data.likeness.LIKE``."""

    first: Sample
    second: Sample
    likeness: float

    @property
    def same_group(self) -> bool:
        """Whether the table keeps them together anyway."""
        return self.first.group == self.second.group

    @property
    def leaks(self) -> bool:
        """Whether they are in different splits; an image that has none yet is in no other."""
        return bool(self.first.split and self.second.split) and self.first.split != self.second.split


def find_duplicates(
    samples: Sequence[Sample], run: RunContext, *, across: Sequence[int] | None = None, keep: bool = True
) -> list[Duplicate]:
    """Find the images that show the same picture; files that cannot be read are passed over.

    In the order of the samples, the first of the two before the second.
    """
    thumbnails = read_looks([sample.image for sample in samples], run, keep=keep).thumbnails
    found = same_pictures(thumbnails, None if across is None else np.asarray(across), run)
    return [Duplicate(samples[one.first], samples[one.second], one.likeness) for one in sorted(found)]


def joined_groups(samples: Sequence[Sample], duplicates: Sequence[Duplicate]) -> list[str]:
    """Give groups that keep the same pictures together too.

    A group for each sample: its own, or, where one of the group shows the same picture as one of another group, the
    alphabetically first of all that hang together so.
    """
    parent = {sample.group: sample.group for sample in samples}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for pair in duplicates:
        first, second = sorted((root(pair.first.group), root(pair.second.group)))
        parent[second] = first
    return [root(sample.group) for sample in samples]
