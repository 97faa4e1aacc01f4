"""Lesions of a slide changed by hand: each wish as one function from lesions to lesions, to be run in a thread."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.analysis.lesion_edits import Lesions
    from napari_melanoma.analysis.slide_lesions import LesionClass, LesionConfig, LesionMaps
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.ui.slide.lesion_work import Edit


def merged(indices: Collection[int]) -> Edit:
    """Make one lesion of several."""
    chosen = tuple(indices)

    def change(lesions: Lesions, maps: LesionMaps, config: LesionConfig) -> Lesions:
        from napari_melanoma.analysis.lesion_edits import merge_lesions

        return merge_lesions(lesions, chosen, maps, config)

    return change


def removed(indices: Collection[int]) -> Edit:
    """Drop lesions."""
    chosen = tuple(indices)

    def change(lesions: Lesions, maps: LesionMaps, config: LesionConfig) -> Lesions:
        from napari_melanoma.analysis.lesion_edits import remove_lesion

        for index in chosen:
            lesions = remove_lesion(lesions, index)
        return lesions

    return change


def of_other_class(indices: Collection[int]) -> Edit:
    """Say of lesions that they are of the other class."""
    chosen = tuple(indices)

    def change(lesions: Lesions, maps: LesionMaps, config: LesionConfig) -> Lesions:
        from napari_melanoma.analysis.lesion_edits import class_lesion

        labels = {lesion.index: lesion.label for lesion in lesions}
        for index in chosen:
            lesions = class_lesion(lesions, index, "benign" if labels[index] == "malignant" else "malignant")
        return lesions

    return change


def split(index: int, line: NDArray[np.float64]) -> Edit:
    """Cut a lesion along a line.

    ``line``: (vertex, 2) as (row, column) in pixels of the finest level.
    """

    def change(lesions: Lesions, maps: LesionMaps, config: LesionConfig) -> Lesions:
        from napari_melanoma.analysis.lesion_edits import split_lesion

        return split_lesion(lesions, index, line, maps, config)

    return change


def drawn(outline: Polygon, label: str) -> Edit:
    """Add a lesion that was drawn.

    ``outline``: in pixels of the finest level.
    """

    def change(lesions: Lesions, maps: LesionMaps, config: LesionConfig) -> Lesions:
        from napari_melanoma.analysis.lesion_edits import add_lesion

        said: LesionClass | None = "malignant" if label == "malignant" else "benign" if label else None
        return add_lesion(lesions, [outline], maps, config, said)

    return change
