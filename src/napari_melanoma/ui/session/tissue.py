"""The tissue of a slide, as detected and as corrected by the user, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import move

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.tissue import TissueMethod

CORRECTED_FILE, BACKUP_FILE = "tissue-corrected.png", "tissue-corrected-before.png"
DETECTED_FILE = "tissue-detected-{}.png"  # with the method
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

    def has_mask_of(self, other: TissueState) -> bool:
        """Whether the masks are the same."""
        import numpy as np

        if self.mask is None or other.mask is None:
            return self.mask is other.mask
        return np.array_equal(self.mask, other.mask)


def write_corrected_mask(folder: Path, mask: NDArray[np.bool_]) -> Path:
    """Save corrected tissue, bool (row, column) of the whole slide, next to the results."""
    from napari_melanoma.io.results import write_mask

    write_mask(folder / CORRECTED_FILE, mask)
    return folder / CORRECTED_FILE


def write_detected_mask(folder: Path, tissue: TissueState) -> None:
    """Save the tissue as it was detected next to the results, instead of that of an earlier detection."""
    from napari_melanoma.io.results import write_mask

    if tissue.detected is not None:
        path = folder / DETECTED_FILE.format(tissue.method)
        write_mask(path, tissue.detected)
        for other in folder.glob(DETECTED_FILE.format("*")):
            if other != path:
                other.unlink()


def read_tissue(folders: Sequence[Path]) -> tuple[TissueState, str]:
    """Read the latest tissue in some folders, as it was detected and as it was corrected; empty if there is none.

    Each of the two is left out if its file cannot be read; also returns why, empty if both were read.
    """
    from napari_melanoma.io.results import read_mask
    from napari_melanoma.slides.tissue import TissueMethod

    errors: list[str] = []

    def read(path: Path | None) -> NDArray[np.bool_] | None:
        try:
            return None if path is None else read_mask(path)
        except (MelanomaError, OSError) as error:
            errors.append(str(error))
            return None

    methods = {DETECTED_FILE.format(method): method for method in get_args(TissueMethod)}
    found = [folder / name for folder in folders for name in (CORRECTED_FILE, *methods) if (folder / name).is_file()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    corrected = read(next((path for path in found if path.name == CORRECTED_FILE), None))
    detected_path = next((path for path in found if path.name in methods), None)
    detected, method = read(detected_path), DEFAULT_METHOD if detected_path is None else methods[detected_path.name]
    return TissueState(method, detected if corrected is None else corrected, detected), " ".join(errors)


def back_up_corrected_masks(folders: Sequence[Path]) -> None:
    """Back up the corrected tissue in some folders, so that the next analysis detects the tissue again."""
    for folder in folders:
        if (folder / CORRECTED_FILE).is_file():
            move(folder / CORRECTED_FILE, folder / BACKUP_FILE)
