"""The tissue of a slide, as detected and as corrected by the user, and the file of the corrected tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.files import move

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.tissue import TissueMethod

CORRECTED_FILE, BACKUP_FILE = "tissue-corrected.png", "tissue-corrected-before.png"
DEFAULT_METHOD: TissueMethod = "auto"


@dataclass(frozen=True, eq=False)
class DetectedTissue:
    """Detected tissue of a slide: a mask, bool (row, column) of the whole slide, and warnings."""

    mask: NDArray[np.bool_]
    warnings: tuple[str, ...]
    method: TissueMethod


@dataclass(frozen=True, eq=False)
class TissueState:
    """The selected method of detection, the detected tissue, and the corrected tissue of a previous analysis.

    ``stored``: bool (row, column) of the whole slide; it is used until the tissue is shown as a layer.
    """

    method: TissueMethod = DEFAULT_METHOD
    detected: DetectedTissue | None = None
    stored: NDArray[np.bool_] | None = None


def write_corrected_mask(folder: Path, mask: NDArray[np.bool_]) -> Path:
    """Save corrected tissue, bool (row, column) of the whole slide, next to the results."""
    from napari_melanoma.io.results import write_mask

    write_mask(folder / CORRECTED_FILE, mask)
    return folder / CORRECTED_FILE


def read_corrected_mask(folders: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Read the latest corrected tissue in some folders, as ``write_corrected_mask`` saves it; None if there is none."""
    from napari_melanoma.io.results import read_mask

    paths = [folder / CORRECTED_FILE for folder in folders if (folder / CORRECTED_FILE).is_file()]
    return read_mask(max(paths, key=lambda path: path.stat().st_mtime)) if paths else None


def back_up_corrected_masks(folders: Sequence[Path]) -> None:
    """Back up the corrected tissue in some folders, so that the next analysis detects the tissue again."""
    for folder in folders:
        if (folder / CORRECTED_FILE).is_file():
            move(folder / CORRECTED_FILE, folder / BACKUP_FILE)
