"""Which folder the results of a slide go to, so that no slide takes another's and each is found again.

They go to ``OUT/<stem>``. Where that folder shows another slide (of the same stem, in another folder or of another
format), they go to ``OUT/<stem>-<8 hexadecimal digits>``, made from the slide's content: the same in every run, also
after the slide was moved, and nothing in it tells a path. Names that differ in case or in the composition of letters
alone count as equal, as they are on the file systems of macOS and Windows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePosixPath

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import normalize_name, write_json
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.io.results import RESULT, read_object
from napari_melanoma.io.slide_store import STORE, SlideResult
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.reading.opening import find_dicom_file, is_zarr

SOURCE = "slide.json"
UNKNOWN_OWNER = "another"  # in place of a fingerprint: what is there is no slide's
DIGITS = 8
DICOM_SUFFIXES = (".dcm", ".dicom", "")  # beside those of numbers alone, the ends of names made of identifiers


class SlideFolderNames:
    """Gives each slide of a run a folder below ``out`` that no other one has; writes nothing."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._taken: set[str] = set()

    def folder_for(self, slide: Path) -> Path:
        """Choose the folder of one slide; call it in a stable order.

        Returns the one that holds its results, else ``OUT/<stem>`` (as ``name_of`` gives it) where that is free, else
        one named after its content.
        """
        folder = self._out / self._choose_name(slide)
        self._taken.add(normalize_name(folder.name))
        return folder

    def _choose_name(self, slide: Path) -> str:
        """Name of the folder of one slide."""
        stem = slide_name(slide)
        there = self._similar_folders(stem)
        if normalize_name(stem) not in {*self._taken, *there}:
            return stem  # without a look at the slide, which may lie on a slow drive
        mine, vacant = open_fingerprint(slide), ""
        for name in _candidate_names(stem, mine):
            if normalize_name(name) in self._taken:
                continue
            found = there.get(normalize_name(name))
            if found is None:
                return vacant or name
            owners = _recorded_fingerprints(self._out / found)
            if mine in owners:
                return found
            vacant = vacant or ("" if owners else found)
        raise AssertionError("names never end")

    def _similar_folders(self, stem: str) -> dict[str, str]:
        """Folders that might be those of slides of this stem: names as they are, by their plain form."""
        if not self._out.is_dir():
            return {}
        names = {normalize_name(entry.name): entry.name for entry in self._out.iterdir()}
        return {plain: name for plain, name in names.items() if plain.startswith(normalize_name(stem))}


def slide_folder(out: Path, slide: Path) -> Path:
    """Return where the results of a slide go, or are.

    Returns ``OUT/<stem>``, as ``name_of`` gives it; ``OUT/<stem>-<digits>`` where that is another slide's.
    """
    return SlideFolderNames(out).folder_for(slide)


def slide_name(slide: Path) -> str:
    """Name a slide as its results are: one of DICOM by its folder, whether that or a file in it was opened.

    Of a folder its whole name; of a file its stem; of a file of DICOM the name of the folder that it lies in.
    """
    if slide.is_dir():
        return slide.name
    return slide.absolute().parent.name if _is_dicom(slide) else slide.stem


def record_slide(folder: Path, slide: Path, *, record_name: bool = False) -> None:
    """Keep whose folder this is, from before there are results; what is noted already stays."""
    path = {"slide": str(slide.absolute())} if record_name else {}
    if beside := _relative_path(folder, slide):
        path["relative"] = beside
    write_json(folder / SOURCE, {**read_object(folder / SOURCE), **path, "fingerprint": open_fingerprint(slide)})


def recorded_slide(folder: Path) -> Path | None:
    """Find the slide that a result folder is of, as it was noted: also after both were moved together.

    Returns the absolute path where it was noted and nothing is there any more; None where nothing was noted.
    """
    noted = read_object(folder / SOURCE)
    beside, path = noted.get("relative"), noted.get("slide")
    if isinstance(beside, str) and beside:
        found = Path(os.path.normpath(folder.absolute() / PurePosixPath(beside)))
        if found.exists() and open_fingerprint(found) == noted.get("fingerprint"):
            return found
    return Path(path) if isinstance(path, str) and path else None


def _relative_path(folder: Path, slide: Path) -> str:
    """Path of a slide from its result folder; empty where it would name the user's home, or leads to another drive."""
    here, there, home = folder.absolute(), slide.absolute(), Path.home()
    try:
        common = Path(os.path.commonpath([here, there]))
    except ValueError:  # drives of Windows
        return ""
    names_home = home != common and home.is_relative_to(common)
    if common == Path(common.anchor) or (names_home and (here.is_relative_to(home) != there.is_relative_to(home))):
        return ""
    return Path(os.path.relpath(there, here)).as_posix()


def open_fingerprint(slide: Path) -> str:
    """Hash a slide's content, as an open slide says it.

    Empty where it cannot be read: what is wrong is said when it is opened.
    """
    try:
        if slide.is_dir() and not is_zarr(slide):
            slide = find_dicom_file(slide) or slide
        return slide_fingerprint(slide) if slide.exists() else ""
    except OSError:
        return ""


def _is_dicom(path: Path) -> bool:
    """Whether a file is DICOM; only those are looked into whose names do not deny it."""
    if path.suffix.lower() not in DICOM_SUFFIXES and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as file:
            return identify_format(file.read(HEAD_BYTES)) == "DICOM"
    except OSError:
        return path.suffix.lower() == DICOM_SUFFIXES[0]


def _candidate_names(stem: str, mine: str) -> Iterator[str]:
    """Names of folders that a slide may have, in the order in which they are tried."""
    yield stem
    own = f"{stem}-{mine[:DIGITS] or 'unread'}"
    yield own
    yield from (f"{own}-{number}" for number in count(2))  # copies of one slide in one run


def _recorded_fingerprints(folder: Path) -> set[str]:
    """Fingerprints of the slides that a folder says it is of; empty where it says nothing."""
    told = [read_object(folder / name).get("fingerprint", "") for name in (SOURCE, RESULT)]
    owners = {str(one) for one in (*told, read_notes(folder).fingerprint)} - {""}
    if (folder / STORE).is_dir():
        with suppress(InputError):
            owners.add(SlideResult.open(folder).spec.fingerprint)
    return owners or ({UNKNOWN_OWNER} if (folder / RESULT).is_file() else set())
