"""The tissue of a slide, as detected and as corrected by the user, and the file of the corrected tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
class TissueState:
    """The tissue of a slide.

    ``method``: that the tissue was detected with, or is to be. ``mask``: bool (row, column) of the whole slide; None if
    the tissue was neither detected nor corrected. ``detected``: before it was corrected; None if that is not known.
    ``warnings``: of the detection.
    """

    method: TissueMethod = DEFAULT_METHOD
    mask: NDArray[np.bool_] | None = None
    detected: NDArray[np.bool_] | None = None
    warnings: tuple[str, ...] = ()

    @cached_property
    def is_corrected(self) -> bool:
        """Whether the user has corrected the mask."""
        import numpy as np

        return self.mask is not None and (self.detected is None or not np.array_equal(self.mask, self.detected))


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
