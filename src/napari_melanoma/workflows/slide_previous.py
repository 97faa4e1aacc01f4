"""The finished result of a slide while another analysis is to replace it: it is back where that one does not finish."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import save_error
from napari_melanoma.io.slide_folder import HEATMAP, RESULT, TISSUE
from napari_melanoma.io.slide_results import STORE, SlideResult, discard_result
from napari_melanoma.io.slide_spec import ResultSpec
from napari_melanoma.workflows.slide_lesion_files import LESIONS, OUTLINES, set_aside

PREVIOUS, UNFINISHED = ".previous", ".unfinished"
MOVED = (RESULT, HEATMAP, TISSUE)  # the store goes first and comes back last: with it a folder counts as analyzed
COPIED = (OUTLINES, LESIONS)


def make_room(folder: Path) -> str:
    """Put a finished result by, so that an analysis can begin again; an unfinished one is discarded.

    Which lesions were kept under another name, in words; empty where none were.
    """
    previous = folder / PREVIOUS
    finished = (folder / STORE).is_dir() and (folder / RESULT).is_file()
    try:
        put_by = finished and not previous.exists()
        if put_by:
            previous.mkdir()
            for name in COPIED:
                if (folder / name).is_file():
                    shutil.copy2(folder / name, previous / name)
        kept = set_aside(folder)  # goes by what the result says of the outlines
        if put_by:
            for name in (STORE, *MOVED):
                if (folder / name).exists():
                    (folder / name).rename(previous / name)
        (folder / RESULT).unlink(missing_ok=True)
    except OSError as error:
        raise save_error(folder, error) from error
    discard_result(folder)
    return kept


def take_up(folder: Path, spec: ResultSpec) -> None:
    """Go on with the part of the same analysis that a cancelled replacement had done, where there is one."""
    kept = folder / UNFINISHED
    if not kept.is_dir():
        return
    if not (folder / STORE).exists():
        with suppress(MelanomaError):  # of other settings, or damaged
            SlideResult.open(kept).refuse_others(spec)
            (kept / STORE).rename(folder / STORE)
    shutil.rmtree(kept, ignore_errors=True)


def bring_back(folder: Path) -> bool:
    """Bring the finished result back; what the replacement has done so far is kept for when it goes on."""
    previous, unfinished = folder / PREVIOUS, folder / UNFINISHED
    if not previous.is_dir():
        return False
    try:
        if (previous / STORE).is_dir() and (folder / STORE).exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            (folder / STORE).rename(unfinished / STORE)
        for name in (*COPIED, *MOVED):
            if (previous / name).exists():
                (previous / name).replace(folder / name)
        if (previous / STORE).is_dir():
            (previous / STORE).rename(folder / STORE)
        shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        raise save_error(folder, error) from error
    return True


def discard_previous(folder: Path) -> None:
    """Remove the result that was put by: another one has taken its place."""
    for name in (PREVIOUS, UNFINISHED):
        shutil.rmtree(folder / name, ignore_errors=True)
