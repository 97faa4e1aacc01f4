"""Which classes of a model are needed for a thickness, found by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.analysis.lesion_classes import BENIGN

if TYPE_CHECKING:
    from typing import Self

MALIGNANT = ("melanoma", "malignant", "tumour", "tumor")


@dataclass(frozen=True)
class ClassRoles:
    """Which class is what, by index; ``benign`` is -1 where the model knows no benign lesion."""

    background: int
    epidermis: int
    malignant: int
    benign: int = -1

    @classmethod
    def of(cls, classes: Sequence[str]) -> Self | None:
        """Find them by their names.

        None where background, epidermis or tumour is not among them.
        """
        names = [name.lower() for name in classes]
        background, epidermis = _first(names, ("background", "glass")), _first(names, ("epidermis",))
        malignant, benign = _first(names, MALIGNANT), _first(names, BENIGN)
        if min(background, epidermis, malignant) < 0:
            return None
        return cls(background, epidermis, malignant, benign)


def tells_naevi(classes: Sequence[str]) -> bool:
    """Say whether a model knows naevi, so that these are not taken for melanomas."""
    roles = ClassRoles.of(classes)
    return roles is not None and roles.benign >= 0


def _first(names: Sequence[str], wanted: Sequence[str]) -> int:
    """Index of the first name that is wanted, those wanted more first; -1 where none is there."""
    return next((names.index(name) for name in wanted if name in names), -1)
