"""Recognition of phantoms (synthetic images) by marks in or beside their files; a file without marks counts as real."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.io.formats import TRUTH_SUFFIX

PHANTOM_DESCRIPTION = "napari-melanoma phantom slide"  # in the first page of a slide's TIFF
COHORT_FILE = "cohort.json"  # in the folder of a cohort


def is_phantom(path: Path) -> bool:
    """Whether a file was made by ``napari-melanoma phantom``.

    Such a file has a truth file beside it, is in the folder of a cohort, or is a TIFF with their description.
    """
    companions = (
        path.with_name(f"{path.stem}{TRUTH_SUFFIX}"),
        path.parent / COHORT_FILE,
        path.parent.parent / COHORT_FILE,
    )
    return any(companion.is_file() for companion in companions) or _has_phantom_description(path)


def _has_phantom_description(path: Path) -> bool:
    """Whether the description of a TIFF file is that of a phantom."""
    import tifffile

    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return False
    try:
        with tifffile.TiffFile(path) as file:
            return str(file.pages.first.description) == PHANTOM_DESCRIPTION
    except (OSError, ValueError, IndexError, tifffile.TiffFileError):
        return False
