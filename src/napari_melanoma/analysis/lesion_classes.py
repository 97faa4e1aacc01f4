"""What the classes of a model say of lesions: where these are found, whether malignant ones are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.slide_lesions import LesionMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace

BACKGROUND = ("background", "dermis", "epidermis", "benign", "normal")  # never what a heatmap is about
BENIGN = ("benign", "naevus", "nevus")
MALIGNANT = ("melanoma", "malign", "cancer", "carcinoma", "metasta")  # within the name of what is
UNSAID = ("tumour", "tumor", "lesion")  # may be malignant or benign


def tissue_looked_for(classes: Sequence[str]) -> str:
    """Name the class of tissue that lesions are found on.

    Returns the one called tumour or melanoma, else the last that is no healthy tissue.
    """
    named = [name for name in classes if "tumour" in name.lower() or "melanoma" in name.lower()]
    return (named or [name for name in classes if name.lower() not in BACKGROUND] or list(classes))[-1]


def lesion_maps(
    probability: NDArray[np.float32],
    place: MapPlace,
    classes: Sequence[str],
    target: str,
    *,
    draws: bool,
    tissue: NDArray[np.float32] | None = None,
    end: tuple[float, float] | None = None,
) -> LesionMaps:
    """Give what lesions are found on.

    ``probability``: float32 (class, row, column); not-a-number where nothing is known. ``tissue``: float32 (row,
    column): share of each cell that is tissue. ``end``: (row, column) where the slide ends, in pixels of the finest
    level. Where the model knows benign lesions too, these are lesions as well. Where it cannot tell malignant from
    benign, because what it looks for may be either, or because it draws one kind of lesion alone, lesions bear the name
    of the target; so they do where the target is no word for a lesion at all, such as epidermis.
    """
    looked_for = np.ascontiguousarray(probability[list(classes).index(target)])
    benign = [index for index, name in enumerate(classes) if name.lower() in BENIGN and name != target]
    unsaid = target.lower() in UNSAID
    if not (unsaid or _is_malignant(target)) or (not benign and (draws or unsaid)):
        return LesionMaps(looked_for, place, tissue=tissue, label=target, end=end)
    if not benign or (not draws and len(classes) == 2):
        return LesionMaps(looked_for, place, tissue=tissue, end=end)
    presence = looked_for + probability[benign].sum(axis=0)
    share = np.where(presence > 0, looked_for / np.maximum(presence, 1e-6), 0).astype(np.float32)
    return LesionMaps(presence, place, malignancy=share, tissue=tissue, end=end)


def _is_malignant(name: str) -> bool:
    """Whether the name of a class says that it is malignant."""
    return any(word in name.lower() for word in MALIGNANT)
