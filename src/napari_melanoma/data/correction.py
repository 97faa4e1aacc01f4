"""One correction: a photograph, the mask that a person stands for, and what else a row of the data set says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import REVIEWS, Review
from napari_melanoma.data.table_schema import AS_GIVEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Columns of the harmonized table that a correction may bring along, beside those that each has.
_CLINICAL = (
    *("age", "sex", "site", "sub_site", "laterality", "fitzpatrick", "ethnicity", "personal_history", "family_history"),
    *("diagnosis_detail", "diagnosis_by", "target", "melanoma", "diameter_1_mm", "diameter_2_mm", "depth_mm", "clark"),
    *("ulceration", "mitoses_per_mm2", "metastasis", "licence", "attribution"),
)
CLINICAL = frozenset({*_CLINICAL, *(f"{name}{AS_GIVEN}" for name in (*_CLINICAL, "modality"))})


@dataclass(frozen=True, eq=False)
class Correction:
    """One photograph with the mask that a person stands for (or rejects), and the model's own mask.

    ``rgb`` is uint8 (row, column, channel), upright sRGB; ``mask`` and ``prediction`` are bool (row, column) of its
    size. A diagnosis, patient, lesion or modality of None leaves what the data set says already; "" empties it. Of
    ``source``, the file the photograph came from, only the name is kept. ``clinical`` holds further columns of the
    harmonized table, of those in ``CLINICAL``: also what was not understood there, in ``<column>_as_given``.
    """

    name: str
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    review: Review
    reviewer: str = ""
    model: str = ""
    model_fingerprint: str = ""
    prediction: NDArray[np.bool_] | None = None
    diagnosis: str | None = None
    patient_id: str | None = None
    lesion_id: str | None = None
    modality: str | None = None
    source: Path | str | None = None
    clinical: Mapping[str, str] = field(default_factory=dict)
    damage: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no data set could hold."""
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise DataSetError(f"'{self.name}' is {self.rgb.dtype} {self.rgb.shape}: expected uint8 (row, column, 3).")
        for what, mask in (("mask", self.mask), ("prediction", self.prediction)):
            if mask is not None and mask.shape != self.rgb.shape[:2]:
                raise DataSetError(
                    f"the {what} of '{self.name}' is {mask.shape}, its photograph {self.rgb.shape[:2]} (row, column): "
                    "expected one size."
                )
        if self.review not in REVIEWS:
            raise DataSetError(f"'{self.review}' is no review state: expected {', '.join(REVIEWS)}.")


def cells(correction: Correction) -> dict[str, str]:
    """Give the cells of the table that follow from a correction alone.

    Column name to text; those that it leaves as they are, are missing.
    """
    given = {
        "patient_id": correction.patient_id,
        "lesion_id": correction.lesion_id,
        "diagnosis": correction.diagnosis,
        "modality": correction.modality,
        "damage": correction.damage or "",
        "source": None if correction.source is None else PureWindowsPath(correction.source).name,
    }
    return {
        **{column: " ".join(text.split()) for column, text in given.items() if text is not None},
        **{column: " ".join(text.split()) for column, text in correction.clinical.items() if column in CLINICAL},
        "review": correction.review,
        "reviewer": " ".join(correction.reviewer.split()),
        "reviewed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": correction.model,
        "model_fingerprint": correction.model_fingerprint,
    }
