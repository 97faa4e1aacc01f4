"""The kinds of rows: one file each, found by listing this folder; a file exports ``KIND``.

A row names its kind in its file. Data, plan, training and tables are the same for all kinds; how an image is measured
and what is estimated from the measurements is a kind's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from napari_melanoma.core.listing import listed

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.analysis.statistics import Estimate
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.workflows.reproduction.papers import Row

Image = Mapping[str, str]  # a row of ``per_image.csv``


@dataclass(frozen=True)
class Measured:
    """How a model did on an image: columns of ``per_image.csv``, and what gives the photograph and draws the answer."""

    figures: Mapping[str, object]
    photograph: Callable[[], NDArray[np.uint8]]
    picture: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class Subject:
    """What is judged."""

    row: Row
    bundle: BundleInfo | None
    judged: tuple[Path, ...] = ()
    learnt: tuple[Path, ...] = ()
    target: str = "melanoma"


@dataclass(frozen=True)
class Kind:
    """A kind of rows.

    ``estimates``: metric to its estimate, 0 to 1, from images.
    """

    name: str
    metrics: tuple[str, ...]
    measuring: Callable[[Subject], Callable[[Sample], Measured]]
    estimates: Callable[[Sequence[Image]], dict[str, Estimate]]
    changes: Callable[[Sequence[Image], Sequence[Image]], dict[str, Estimate]]
    remark: Callable[[Sequence[Image], bool], str]
    crossed: bool = False


@cache
def kinds() -> dict[str, Kind]:
    """List the kinds of rows.

    By name, in alphabetical order.
    """
    found = {module.KIND.name: module.KIND for module in listed(__name__, __path__, "KIND")}
    return dict(sorted(found.items()))
