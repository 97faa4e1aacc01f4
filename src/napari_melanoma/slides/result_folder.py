"""Result folders of slides: unique names, and the backup of the previous result while it is replaced.

Results are written to ``OUT/<stem>``, without spaces and dots at the end. Where that folder belongs to another slide
(with the same stem, in another folder or format), they are written to ``OUT/<stem>-<8 hexadecimal digits>``, a hash of
the content of the slide, which is the same in every run, also after the slide was moved, and reveals no path. Names
that differ only in case or in the composition of letters count as equal, as on the file systems of macOS and Windows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from itertools import count, islice
from pathlib import Path, PurePosixPath

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import move, normalize_name, remove_file, remove_folder, save_error, write_json
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.paths import folder_name
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.io.results import HEATMAP, LESIONS, OUTLINES, RESULT, TISSUE
from napari_melanoma.io.slide_spec import SlideResultSpec
from napari_melanoma.io.slide_store import STORE, SlideResult, discard_result
from napari_melanoma.slides.lesion_files import back_up_corrected_lesions
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.files import image_name, slide_fingerprint
from napari_melanoma.slides.reading.opening import find_dicom_file, is_zarr

SOURCE = "slide.json"
UNKNOWN_OWNER = "another"  # instead of a fingerprint: results without one
DIGITS = 8
DICOM_SUFFIXES = (".dcm", ".dicom", "")  # and numeric ones, the last parts of names that are identifiers


class SlideFolderNames:
    """Assigns each slide of a run a unique folder below ``out``; writes nothing.

    ``existing``: result of ``list_folder_names``, if many slides are looked up at once; by default it is listed for
    each slide, since other processes may add folders during a run.
    """

    def __init__(self, out: Path, existing: Mapping[str, str] | None = None) -> None:
        self._out, self._existing = out, existing
        self._used: set[str] = set()

    def folder_for(self, slide: Path) -> Path:
        """Return the folder of one slide; must be called in a stable order.

        The folder with its results, else ``OUT/<stem>`` (see ``slide_name`` and ``folder_name``) where that is free,
        else one named after its content.
        """
        name, _ = self._choose_name(slide)
        self.reserve(name)
        return self._out / name

    def reserve(self, name: str) -> None:
        """Exclude a folder name that the same run uses for something else."""
        self._used.add(normalize_name(name))

    def find_results(self, slide: Path) -> Path | None:
        """Find the folder that records a slide; None if there is none, also where a folder has no recorded slide."""
        name, is_recorded = self._choose_name(slide)
        return self._out / name if is_recorded else None

    def _choose_name(self, slide: Path) -> tuple[str, bool]:
        """Choose the name of a folder, and return whether the slide is recorded in it."""
        stem = slide_name(slide)
        existing = list_folder_names(self._out) if self._existing is None else self._existing
        if not (is_name_taken(stem, self._used) or is_name_taken(stem, existing)):
            return folder_name(stem), False  # without reading the slide, which may be on a slow drive
        own, vacant = open_fingerprint(slide), ""
        if stem != folder_name(stem):  # results of earlier versions
            for name in map(normalize_name, islice(_candidate_names(stem, own), 2)):
                found = existing.get(name)
                if found and name not in self._used and own in _recorded_fingerprints(self._out / found):
                    return found, True
        for name in _candidate_names(folder_name(stem), own):
            if normalize_name(name) in self._used:
                continue
            found = existing.get(normalize_name(name))
            if found is None:
                return vacant or name, False
            owners = _recorded_fingerprints(self._out / found)
            if own in owners:
                return found, True
            vacant = vacant or ("" if owners else found)
        raise AssertionError("the candidate names are infinite")


def list_folder_names(out: Path) -> dict[str, str]:
    """List what is in a folder of results: names by their normalized name."""
    return {normalize_name(entry.name): entry.name for entry in out.iterdir()} if out.is_dir() else {}


def is_name_taken(stem: str, names: Container[str]) -> bool:
    """Whether normalized names include that of a folder that may have been named after a stem."""
    return any(normalize_name(name) in names for name in (folder_name(stem), stem))


def slide_folder(out: Path, slide: Path) -> Path:
    """Return the result folder of a slide: ``OUT/<stem>``, or ``OUT/<stem>-<digits>`` if that is another slide's."""
    return SlideFolderNames(out).folder_for(slide)


def slide_name(slide: Path) -> str:
    """Name a slide, such as in tables; files of this name belong to it, and ``folder_name`` of it names its results.

    The name of a folder (for an image in a Zarr folder after the name of that folder), the stem of a file, and the name
    of the enclosing folder for DICOM files.
    """
    if slide.is_dir():
        return image_name(slide)
    return slide.absolute().parent.name if _is_dicom(slide) else slide.stem


def record_slide(folder: Path, slide: Path, *, record_name: bool = False) -> None:
    """Record the slide of a result folder, before there are results; recorded values are kept."""
    path = {"slide": str(slide.absolute())} if record_name else {}
    if relative := _relative_path(folder, slide):
        path["relative"] = relative
    write_json(
        folder / SOURCE, {**read_object_or_empty(folder / SOURCE), **path, "fingerprint": open_fingerprint(slide)}
    )


def recorded_slide(folder: Path) -> Path | None:
    """Find the recorded slide of a result folder, also after both were moved together.

    Returns the recorded absolute path even if the slide no longer exists; None if no slide is recorded.
    """
    recorded = read_object_or_empty(folder / SOURCE)
    relative, path = recorded.get("relative"), recorded.get("slide")
    if isinstance(relative, str) and relative:
        found = Path(os.path.normpath(folder.absolute() / PurePosixPath(relative)))
        if found.exists() and open_fingerprint(found) == recorded.get("fingerprint"):
            return found
    return Path(path) if isinstance(path, str) and path else None


def _relative_path(folder: Path, slide: Path) -> str:
    """Path of a slide relative to its result folder; empty if it contains the home folder or leads to another drive."""
    here, there, home = folder.absolute(), slide.absolute(), Path.home()
    try:
        common = Path(os.path.commonpath([here, there]))
    except ValueError:  # different drives on Windows
        return ""
    names_home = home != common and home.is_relative_to(common)
    if common == Path(common.anchor) or (names_home and (here.is_relative_to(home) != there.is_relative_to(home))):
        return ""
    return Path(os.path.relpath(there, here)).as_posix()


def open_fingerprint(slide: Path) -> str:
    """Return the fingerprint of a slide; empty if it cannot be read, which is reported when it is opened."""
    try:
        if slide.is_dir() and not is_zarr(slide):
            slide = find_dicom_file(slide) or slide
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
    """Possible folder names of a slide, in order of preference."""
    yield stem
    own = f"{stem}-{fingerprint[:DIGITS] or 'unread'}"
    yield own
    yield from (f"{own}-{number}" for number in count(2))  # copies of one slide in one run


def _recorded_fingerprints(folder: Path) -> set[str]:
    """Fingerprints of the slides that a folder belongs to; empty if there are none."""
    recorded = [read_object_or_empty(folder / name).get("fingerprint", "") for name in (SOURCE, RESULT)]
    owners = {str(one) for one in (*recorded, read_notes(folder).fingerprint)} - {""}
    if (folder / STORE).is_dir():
        with suppress(InputError):
            owners.add(SlideResult.open(folder).spec.fingerprint)
    return owners or ({UNKNOWN_OWNER} if (folder / RESULT).is_file() else set())


PREVIOUS, UNFINISHED = ".previous", ".unfinished"
# The store is moved away first and back last: a folder with a store counts as analyzed.
MOVED_FILES = (RESULT, HEATMAP, TISSUE)
COPIED_FILES = (OUTLINES, LESIONS)


def back_up_result(folder: Path) -> str:
    """Back up a complete result, so that an analysis can start over; a partial one is discarded.

    Returns a message on lesions that were kept under another name; empty if there are none.
    """
    previous = folder / PREVIOUS
    try:
        if _is_backup_outdated(folder):
            remove_folder(previous)
        backed_up = _has_complete_result(folder) and not previous.exists()
        if backed_up:
            previous.mkdir()
            for name in COPIED_FILES:
                if (folder / name).is_file():
                    shutil.copy2(folder / name, previous / name)
        kept = back_up_corrected_lesions(folder)  # depends on the outlines as recorded in the result
        if backed_up:
            for name in (STORE, *MOVED_FILES):
                if (folder / name).exists():
                    move(folder / name, previous / name)
        remove_file(folder / RESULT)
    except OSError as error:
        raise save_error(folder, error) from error
    discard_result(folder)
    return kept


def resume_unfinished(folder: Path, spec: SlideResultSpec) -> None:
    """Resume the partial store that a canceled replacement left, if its settings are the same."""
    kept = folder / UNFINISHED
    if not kept.is_dir():
        return
    if not (folder / STORE).exists():
        with suppress(MelanomaError):  # other settings, or damaged
            SlideResult.open(kept).check_same_analysis(spec)
            move(kept / STORE, folder / STORE)
    with suppress(OSError):
        remove_folder(kept)


def restore_previous(folder: Path) -> bool:
    """Restore the backed-up result; the partial result of the replacement is kept for resuming.

    Returns False if there is none, or if the replacement is complete; its backup is then removed.
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
        for name in (*COPIED_FILES, *MOVED_FILES):
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
    """Whether a complete result is in place and the backup is that of an earlier one, or was never completed.

    While a result is backed up or restored, its ``result.json`` is either in the folder or in the backup.
    """
    previous = folder / PREVIOUS
    is_other = (previous / RESULT).is_file() or not (previous / STORE).is_dir()
    return previous.is_dir() and is_other and _has_complete_result(folder)
