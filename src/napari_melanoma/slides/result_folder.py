"""Result folders of slides: unique names, the recorded slide, and the backup of a result while it is replaced.

Results are written to ``OUT/<stem>``, without spaces and dots at the end. If that folder belongs to another slide (with
the same stem, in another folder or format), they are written to ``OUT/<stem>-<8 hexadecimal digits>``. The digits are a
hash of the content of the slide: they stay the same after the slide was moved, and reveal no path. Names that differ
only in case or in the composition of letters count as equal, as on the file systems of macOS and Windows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePosixPath

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import move, normalize_name, remove_file, remove_folder, save_error, write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.paths import expand_user, folder_name
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.io.results import (
    CLASS_REGIONS,
    HEATMAP,
    LESIONS,
    OUTLINES,
    RESULT,
    SOURCE,
    TISSUE,
    describe_scanned_area,
    read_scanned_area,
)
from napari_melanoma.io.slide_store import STORE, SlideResult, SlideResultSpec, discard_result
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.detection import find_dicom_slides, find_zarr_images, is_zarr
from napari_melanoma.slides.reading.files import image_name, slide_fingerprint
from napari_melanoma.slides.reading.opening import find_scanned_area

UNKNOWN_OWNER = "another"  # used as the fingerprint of results without one
DIGITS = 8
DICOM_SUFFIXES = (".dcm", ".dicom", "")  # numeric suffixes are accepted too, as names may end in an identifier


class SlideFolderNames:
    """Assigns each slide of a run a unique folder below ``out``; writes nothing.

    ``existing``: the result of ``list_folder_names``, for looking up many slides at once; by default the folders are
    listed again for each slide, since other processes may add some.
    """

    def __init__(self, out: Path, existing: Mapping[str, str] | None = None) -> None:
        self._out, self._existing = out, existing
        self._used: set[str] = set()

    def folder_for(self, slide: Path) -> Path:
        """Return the folder of a slide; the result depends on the order of calls.

        It is the folder with results of the slide, else ``OUT/<stem>`` (see ``slide_name`` and ``folder_name``) if that
        is free, else a folder with a hash of the content in its name.
        """
        name, _ = self._choose_name(slide)
        self.reserve(name)
        return self._out / name

    def reserve(self, name: str) -> None:
        """Exclude a folder name that the run uses for something else."""
        self._used.add(normalize_name(name))

    def find_results(self, slide: Path) -> Path | None:
        """Find the folder in which a slide is recorded; None if there is none."""
        name, is_recorded = self._choose_name(slide)
        return self._out / name if is_recorded else None

    def _choose_name(self, slide: Path) -> tuple[str, bool]:
        """Choose the name of a folder, and return whether the slide is recorded in it."""
        chosen = folder_name(slide_name(slide))
        existing = list_folder_names(self._out) if self._existing is None else self._existing
        if normalize_name(chosen) not in {*self._used, *existing}:
            return chosen, False  # without reading the slide, which may be on a slow drive
        own, vacant = open_fingerprint(slide), ""  # vacant: the first folder without a recorded slide
        for name in _candidate_names(chosen, own):
            if normalize_name(name) in self._used:
                continue
            folder = existing.get(normalize_name(name))
            if folder is None:
                return vacant or name, False
            owners = _recorded_fingerprints(self._out / folder)
            if own in owners:
                return folder, True
            vacant = vacant or ("" if owners else folder)
        raise AssertionError("the candidate names are infinite")


def list_folder_names(out: Path) -> dict[str, str]:
    """List the entries of a folder of results: normalized name to actual name."""
    return {normalize_name(entry.name): entry.name for entry in out.iterdir()} if out.is_dir() else {}


def slide_folder(out: Path, slide: Path) -> Path:
    """Return the result folder of a slide: ``OUT/<stem>``, or ``OUT/<stem>-<digits>`` if that is another slide's."""
    return SlideFolderNames(out).folder_for(slide)


def slide_name(slide: Path) -> str:
    """Return the name of a slide, after which its result folder and files for it are named.

    For a file, the stem; for a DICOM file, the name of the folder that contains it; for a folder, its name; for an
    image within a Zarr folder, the name of that folder followed by that of the image.
    """
    if slide.is_dir():
        return image_name(slide)
    return slide.absolute().parent.name if _is_dicom(slide) else slide.stem


def record_slide(folder: Path, slide: Path, *, record_name: bool = False) -> None:
    """Record the slide of a result folder in ``slide.json``: fingerprint, relative path and scanned area.

    Other values are kept. ``record_name``: record the absolute path as well.
    """
    record = {**read_object_or_empty(folder / SOURCE), **describe_scanned_area(find_scanned_area(slide))}
    if record_name:
        record["slide"] = str(slide.absolute())
    if relative := _relative_path(folder, slide):
        record["relative"] = relative
    write_json(folder / SOURCE, {**record, "fingerprint": open_fingerprint(slide)})


def record_new_slide(folder: Path, slide: Path) -> None:
    """Record the slide of a result folder with its absolute path, unless one is recorded."""
    if not read_object_or_empty(folder / SOURCE).get("slide") and recorded_slide(folder) is None:
        record_slide(folder, slide, record_name=True)


def scanned_area_of(folder: Path, slide: Path | None) -> Box | None:
    """Return the scanned area of a slide, as recorded or from its file; None if it is unknown."""
    area = read_scanned_area(folder)
    return find_scanned_area(slide) if area is None and slide is not None else area


def stated_fingerprint(folder: Path) -> str:
    """Return the fingerprint of the slide of a result folder, as recorded or as analyzed; empty if unknown."""
    stated = (read_object_or_empty(folder / name).get("fingerprint") for name in (SOURCE, RESULT))
    return str(next(filter(None, stated), ""))


def recorded_slide(folder: Path) -> Path | None:
    """Find the recorded slide of a result folder, also after both were moved together.

    Returns the recorded absolute path even if the slide no longer exists; None if no slide is recorded.
    """
    recorded = read_object_or_empty(folder / SOURCE)
    relative, path = recorded.get("relative"), recorded.get("slide")
    if isinstance(relative, str) and relative:
        slide = Path(os.path.normpath(folder.absolute() / PurePosixPath(relative)))
        if slide.exists() and open_fingerprint(slide) == recorded.get("fingerprint"):
            return slide
    return Path(path) if isinstance(path, str) and path else None


def _relative_path(folder: Path, slide: Path) -> str:
    """Return the path of a slide relative to its result folder.

    Empty if it would contain the name of the home folder, or lead to another drive.
    """
    start, target, home = folder.absolute(), slide.absolute(), expand_user("~")
    try:
        common = Path(os.path.commonpath([start, target]))
    except ValueError:  # different drives on Windows
        return ""
    names_home = home != common and home.is_relative_to(common)
    if common == Path(common.anchor) or (names_home and (start.is_relative_to(home) != target.is_relative_to(home))):
        return ""
    return Path(os.path.relpath(target, start)).as_posix()


def open_fingerprint(slide: Path) -> str:
    """Return the fingerprint of a slide; empty if it cannot be read, which is reported when it is opened."""
    try:
        if slide.is_dir():
            slide = next(iter(find_zarr_images(slide) if is_zarr(slide) else find_dicom_slides(slide)), slide)
        return slide_fingerprint(slide) if slide.exists() else ""
    except OSError:
        return ""


def _is_dicom(path: Path) -> bool:
    """Whether a file is DICOM; only files with a suitable suffix are read."""
    if path.suffix.lower() not in DICOM_SUFFIXES and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as file:
            return identify_format(file.read(HEAD_BYTES)) == "DICOM"
    except OSError:
        return path.suffix.lower() == DICOM_SUFFIXES[0]


def _candidate_names(stem: str, fingerprint: str) -> Iterator[str]:
    """Yield possible folder names of a slide without end, in order of preference."""
    yield stem
    unique = f"{stem}-{fingerprint[:DIGITS] or 'unread'}"
    yield unique
    yield from (f"{unique}-{number}" for number in count(2))  # for copies of the same slide in one run


def _recorded_fingerprints(folder: Path) -> set[str]:
    """Return the fingerprints of the slides that are recorded in a folder; empty if there are none."""
    recorded = [read_object_or_empty(folder / name).get("fingerprint", "") for name in (SOURCE, RESULT)]
    with suppress(InputError):
        recorded.append(read_notes(folder).fingerprint)
    owners = {str(fingerprint) for fingerprint in recorded} - {""}
    if (folder / STORE).is_dir():
        with suppress(InputError):
            owners.add(SlideResult.open(folder).spec.fingerprint)
    return owners or ({UNKNOWN_OWNER} if (folder / RESULT).is_file() else set())


PREVIOUS, UNFINISHED = ".previous", ".unfinished"
# The store is moved away first and back last: a folder with a store counts as analyzed.
MOVED_FILES = (RESULT, OUTLINES, LESIONS, HEATMAP, TISSUE, CLASS_REGIONS)


def back_up_result(folder: Path) -> None:
    """Back up a complete result, so that an analysis can start over; the tiles of a partial one are discarded."""
    previous = folder / PREVIOUS
    try:
        if _is_backup_outdated(folder):
            remove_folder(previous)
        backed_up = _has_complete_result(folder) and not previous.exists()
        if backed_up:
            previous.mkdir()
            for name in (STORE, *MOVED_FILES):
                if (folder / name).exists():
                    move(folder / name, previous / name)
        remove_file(folder / RESULT)
    except OSError as error:
        raise save_error(folder, error) from error
    discard_result(folder)


def resume_unfinished(folder: Path, spec: SlideResultSpec) -> None:
    """Move the partial store of a canceled analysis back, if its settings are the same; else discard it."""
    unfinished = folder / UNFINISHED
    if not unfinished.is_dir():
        return
    if not (folder / STORE).exists():
        with suppress(MelanomaError):  # other settings, or damaged
            SlideResult.open(unfinished).check_same_analysis(spec)
            move(unfinished / STORE, folder / STORE)
    with suppress(OSError):
        remove_folder(unfinished)


def restore_previous(folder: Path) -> bool:
    """Restore the backed-up result; the partial result that was to replace it is kept for resuming.

    Returns False if there is no backup, or if the new result is complete; the backup is then removed.
    """
    previous, unfinished = folder / PREVIOUS, folder / UNFINISHED
    if not previous.is_dir():
        return False
    if _is_backup_outdated(folder):
        discard_previous(folder)
        return False
    try:
        if (previous / STORE).is_dir() and (folder / STORE).exists():
            remove_folder(unfinished)
            unfinished.mkdir()
            move(folder / STORE, unfinished / STORE)
        for name in MOVED_FILES:
            if (previous / name).exists():
                move(previous / name, folder / name)
        if (previous / STORE).is_dir():
            move(previous / STORE, folder / STORE)
        remove_folder(previous)
    except OSError as error:
        raise save_error(folder, error) from error
    return True


def discard_previous(folder: Path) -> None:
    """Remove the backed-up result after it was replaced; if it is in use, it is removed by a later run."""
    for name in (PREVIOUS, UNFINISHED):
        with suppress(OSError):
            remove_folder(folder / name)


def _has_complete_result(folder: Path) -> bool:
    return (folder / STORE).is_dir() and (folder / RESULT).is_file()


def _is_backup_outdated(folder: Path) -> bool:
    """Whether the folder contains a complete result, and the backup is an earlier result or incomplete.

    While a result is backed up or restored, its ``result.json`` is either in the folder or in the backup.
    """
    previous = folder / PREVIOUS
    is_outdated = (previous / RESULT).is_file() or not (previous / STORE).is_dir()
    return previous.is_dir() and is_outdated and _has_complete_result(folder)
