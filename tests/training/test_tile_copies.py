"""Copied slides are found by their tiles; tiles that look alike, such as glass, are not copies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import TrainingSplit
from napari_melanoma.training.data_selection import find_copied_slides


@dataclass(frozen=True)
class Pixels:
    pixels: str


@pytest.mark.parametrize(("shared", "expected"), [(1, 0), (3, 3), (4, 4)])
def test_only_slides_that_share_half_of_their_tiles_are_copies(shared, expected):
    first = [Sample(f"a{n}", Path(f"a{n}"), None, "a", "", "d") for n in range(4)]
    second = [Sample(f"b{n}", Path(f"b{n}"), None, "b", "", "d") for n in range(4)]
    facts = {sample.image: Pixels(sample.image_id) for sample in first}
    facts |= {sample.image: Pixels(f"a{n}" if n < shared else sample.image_id) for n, sample in enumerate(second)}
    glass = [Sample(f"{g}{n}", Path(f"{g}{n}"), None, g, "", "d") for g in "ab" for n in (10, 11)]
    facts |= {sample.image: Pixels("glass") for sample in glass}
    first, second = [*first, *glass[:2]], [*second, *glass[2:]]
    chosen = SimpleNamespace(parts=TrainingSplit(first, [], second), base=(), evaluated=tuple(second), left_out=())
    assert len(find_copied_slides(chosen, facts)) == expected
