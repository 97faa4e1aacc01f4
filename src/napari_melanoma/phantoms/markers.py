"""By which marks a file is known as one of our phantoms; a file without them counts as real."""

from __future__ import annotations

from pathlib import Path

PHANTOM_DESCRIPTION = "napari-melanoma phantom slide"  # in the first page of a slide's TIFF
TRUTH_SUFFIX, COHORT_FILE = ".truth.json", "cohort.json"  # beside a phantom; in the folder of a cohort


def is_phantom(path: Path) -> bool:
    """Say whether a file was drawn by ``napari-melanoma phantom``.

    True where its TIFF says so, or the truth or the cohort that were written with it are still beside it.
    """
    beside = (path.with_name(f"{path.stem}{TRUTH_SUFFIX}"), path.parent / COHORT_FILE, path.parent.parent / COHORT_FILE)
    return any(one.is_file() for one in beside) or _has_phantom_description(path)


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
