"""Thumbnails of the images of a case; the modality decides whether an image is read as a slide or photograph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_melanoma.ui.widgets.thumbnails import ThumbnailLoader, read_photograph_thumbnail, read_preview

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtCore import QObject

    from napari_melanoma.case.model import Case


class CaseThumbnails(ThumbnailLoader):
    """Thumbnails of the images of a case; an image whose modality was changed is read again."""

    def __init__(self, side_px: int, parent: QObject) -> None:
        self._modalities: dict[Path, str] = {}
        super().__init__(side_px, parent, partial(_read_thumbnail, self._modalities))

    def set_case(self, case: Case) -> None:
        """Set the modalities of the images."""
        modalities = {image.path: image.modality for _, image in case.iterate_images()}
        changed = [path for path, modality in modalities.items() if self._modalities.get(path, modality) != modality]
        self._modalities.update(modalities)
        self.refresh(changed)


def is_case_slide(path: Path, modality: str) -> bool:
    """Return whether an image of a case is a slide."""
    from napari_melanoma.slides.reading.opening import is_certainly_slide

    return modality == "wsi" or (not modality and is_certainly_slide(path))


def _read_thumbnail(modalities: Mapping[Path, str], path: Path, side_px: int) -> tuple[NDArray[np.uint8], str]:
    read = read_preview if is_case_slide(path, modalities.get(path, "")) else read_photograph_thumbnail
    return read(path, side_px)
