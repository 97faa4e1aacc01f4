"""The corrections data set: what a person said of a model's masks, stored so that training reads it as any other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.data.dataset import REVIEWS, Review
from napari_melanoma.io.results import read_table, write_mask, write_rgb, write_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Correction:
    """One photograph with the mask that a person stands for (or rejects), and the model's own mask.

    ``rgb`` is uint8 (row, column, channel), upright sRGB; ``mask`` and ``prediction`` are bool (row, column) of its
    size. A diagnosis, patient, lesion or modality of ``None`` leaves what the data set says already; "" empties it.
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
    source: Path | None = None


def corrections_folder() -> Path:
    """Folder of the user's corrections; it need not exist.

    Returns
    -------
    pathlib.Path
        In the platform's folder for application data.
    """
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / "corrections"


class Corrections:
    """A data set folder that grows by a row a reviewed photograph; two windows may add to it at once.

    Parameters
    ----------
    folder : pathlib.Path, optional
        The data set, made with the first row; ``corrections_folder()`` by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or corrections_folder()

    def rows(self) -> list[dict[str, str]]:
        """Give the rows, in the order of the table.

        Returns
        -------
        list of dict
            Column name to text; empty where there is no table yet.
        """
        table = self.folder / "dataset.csv"
        return read_table(table) if table.is_file() else []

    def find(self, image_sha256: str) -> dict[str, str] | None:
        """Find the row of a photograph by its pixels.

        Parameters
        ----------
        image_sha256 : str
            ``core.provenance.fingerprint`` of its uint8 (row, column, channel).

        Returns
        -------
        dict or None
            Column name to text.
        """
        return next((row for row in self.rows() if row.get("image_sha256") == image_sha256), None)

    def count(self) -> dict[Review, int]:
        """Count the rows of each review state.

        Returns
        -------
        dict
            Every state of ``REVIEWS``, 0 where there is none.
        """
        counted = Counter(row.get("review") or "unreviewed" for row in self.rows())
        return {review: counted[review] for review in REVIEWS}

    def add(self, correction: Correction) -> str:
        """Add a photograph, or update the row of the same pixels.

        Parameters
        ----------
        correction : Correction
            What to store.

        Returns
        -------
        str
            Its ``image_id``.
        """
        digest = fingerprint(correction.rgb)
        rows = self.rows()
        old = self.find(digest)
        image_id = old["image_id"] if old else correction.name
        write_rgb(self.folder / f"images/{image_id}.png", correction.rgb)
        write_mask(self.folder / f"masks/{image_id}.png", correction.mask)
        row = {
            "image_id": image_id,
            "path": f"images/{image_id}.png",
            "mask_path": f"masks/{image_id}.png",
            "patient_id": correction.patient_id or "",
            "lesion_id": correction.lesion_id or "",
            "diagnosis": correction.diagnosis or "",
            "modality": correction.modality or "",
            "source": PureWindowsPath(correction.source).name if correction.source else "",
            "review": correction.review,
            "reviewer": correction.reviewer,
            "reviewed_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": correction.model,
            "model_fingerprint": correction.model_fingerprint,
            "image_sha256": digest,
        }
        write_table(self.folder / "dataset.csv", [*(r for r in rows if r["image_id"] != image_id), row])
        return image_id

    def remove(self, image_id: str) -> bool:
        """Take a row out of the data set; ``undo`` brings it back.

        Parameters
        ----------
        image_id : str
            Of the row.

        Returns
        -------
        bool
            Whether there was one.
        """
        kept = [row for row in self.rows() if row["image_id"] != image_id]
        there = len(kept) < len(self.rows())
        write_table(self.folder / "dataset.csv", kept)
        return there

    def undo(self) -> str | None:
        """Take the last change back, whichever window or session made it.

        Returns
        -------
        str or None
            The ``image_id`` that it was about; None where there is nothing to take back.
        """
        return None
