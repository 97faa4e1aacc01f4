"""Search for images in folders or a case, and reading of slide labels; called in threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from napari_melanoma.core.context import REPORT_S, Progress, RunContext
from napari_melanoma.core.errors import InputError, describe_error
from napari_melanoma.core.files import FileStamp, file_stamp
from napari_melanoma.core.formatting import distinct_names, format_count, format_names
from napari_melanoma.io.discovery import SLIDE_SUFFIXES, SUFFIXES, has_image_content, natural_key
from napari_melanoma.ui.library.resolve import LibraryImage, describe_selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.reading.detection import FolderSearch

PREVIEW = "thumbnail"  # name of the image in a slide's file that shows the tissue, not the label


@dataclass(frozen=True)
class LibraryContent:
    """The images that the user chose.

    ``chosen``: the selected files and folders. ``title``: their name. ``problem``: which folders could not be read.
    ``case_folder``: folder of the case; None for other folders and files. ``case_stamp``: changes with the case.
    """

    chosen: tuple[Path, ...]
    title: str
    images: tuple[LibraryImage, ...]
    problem: str = ""
    case_folder: Path | None = None
    case_stamp: FileStamp | None = None


def list_images(chosen: Sequence[Path], run: RunContext) -> LibraryContent:
    """List the images of a case, or the slides and photographs among files and in folders with their subfolders.

    Raises InputError if files and folders contain no image; a case may be empty.
    """
    from napari_melanoma.case.store import CASE
    from napari_melanoma.slides.reading.detection import FolderSearch

    paths = tuple(path.absolute() for path in chosen)
    if len(paths) == 1 and (paths[0] / CASE).is_file():
        return _list_case(paths[0])
    search = FolderSearch(run, _has_image_name)
    images: dict[Path, LibraryImage] = {}
    last_report = monotonic()
    for path in paths:
        for number, image in enumerate(_find_images(path, search, run)):
            run.check()
            if image is not None:
                images[image.path] = image
            if monotonic() - last_report > REPORT_S:
                message = f"Searching for images: {len(images):,} in {format_count(number + 1, 'file')}"
                run.report(Progress(len(images), None, message))
                last_report = monotonic()
    problem = _describe_unreadable(search.unreadable)
    if not images:
        raise InputError(
            f"no slide or photograph in {', '.join(map(str, paths))}: expected files such as .svs, .ndpi, .tif or .jpg,"
            f" or folders of DICOM or OME-Zarr. {problem or 'Choose another folder.'}"
        )
    return LibraryContent(paths, describe_selection(paths), name_distinctly(images.values()), problem)


def _describe_unreadable(folders: Sequence[Path]) -> str:
    count = format_count(len(folders), "folder")
    return f"{count} could not be read: {format_names(folders)}. Check the permissions." if folders else ""


def _find_images(path: Path, search: FolderSearch, run: RunContext) -> Iterator[LibraryImage | None]:
    """Yield the image of each file at a path and below it, or None for a file that is not listed.

    Other files than slides and photographs are not listed, nor are pictures in the result folders of photographs.
    """
    from napari_melanoma.io.results import RESULT
    from napari_melanoma.slides.reading.detection import is_slide

    if not path.exists():
        raise InputError(f"{path} does not exist. Choose an existing folder, slide or photograph.")
    if path.is_file():
        is_chosen_slide = is_slide(path, run)
        yield create_image(path, is_chosen_slide) if is_chosen_slide or _is_photograph(path) else None
        return
    result_folders: dict[Path, bool] = {}
    for file, file_is_slide in search.walk(path):
        folder = file.parent
        if folder not in result_folders:
            result_folders[folder] = (folder / RESULT).is_file()
        is_image = file_is_slide or (_has_image_name(file) and not result_folders[folder])
        yield create_image(file, file_is_slide) if is_image else None


def _has_image_name(path: Path) -> bool:
    return path.name.lower().endswith((*SUFFIXES, *SLIDE_SUFFIXES))


def _is_photograph(path: Path) -> bool:
    """Return whether a file that the user chose is a photograph, by its name or its content."""
    return _has_image_name(path) or has_image_content(path)


def create_image(path: Path, is_slide: bool, state: str = "", case_id: str = "") -> LibraryImage:
    """Describe a file; it is not read."""
    from napari_melanoma.slides.reading.files import image_name

    try:
        found = path.stat()
        modified, size = found.st_mtime, found.st_size
    except OSError:  # an image of a case may have been moved
        modified, size = 0.0, 0
    name = image_name(path)
    return LibraryImage(path, name, is_slide, modified, size, state, case_id, (natural_key(Path(name)), str(path)))


def name_distinctly(images: Iterable[LibraryImage]) -> tuple[LibraryImage, ...]:
    """Add parent folders to the names that several images have, as of patients with numbered photographs."""
    images = tuple(images)
    counts = Counter(image.name for image in images)
    names = distinct_names([image.path for image in images if counts[image.name] > 1])
    return tuple(replace(image, name=names.get(image.path, image.name)) for image in images)


def _list_case(folder: Path) -> LibraryContent:
    """List the images of a case in the order of the case."""
    from napari_melanoma.case.store import CASE, CaseStore

    stamp = file_stamp(folder / CASE)
    images = []
    for _, image in CaseStore.open_read_only(folder).case.iterate_images():
        state = "corrected" if image.correction is not None else "analyzed" if image.results else "not analyzed"
        images.append(create_image(image.path, image.is_slide, state, image.id))
    return LibraryContent((folder,), describe_selection([folder]), name_distinctly(images), "", folder, stamp)


def update_case(content: LibraryContent, run: RunContext) -> LibraryContent | None:
    """List the images of a case again; None if it has not changed."""
    from napari_melanoma.case.store import CASE

    folder = content.case_folder
    is_changed = folder is not None and file_stamp(folder / CASE) not in (None, content.case_stamp)
    return _list_case(folder) if folder is not None and is_changed else None


@dataclass(frozen=True)
class SlideLabel:
    """The label and other images in the file of a slide.

    ``images``: each uint8 (row, column, channel=3), by name. ``problems``: images that cannot be read, and why.
    """

    path: Path
    images: dict[str, NDArray[np.uint8]]
    problems: tuple[str, ...] = ()


def read_label(path: Path, run: RunContext) -> SlideLabel:
    """Read the label and other images in the file of a slide, except the thumbnail; nothing is stored."""
    from napari_melanoma.slides.reading.opening import open_slide

    images: dict[str, NDArray[np.uint8]] = {}
    problems = []
    with open_slide(path) as slide:
        names = [name for name in slide.info.associated if name != PREVIEW]
        if not names:
            raise InputError(f"{path.name} contains no label image. Open the slide to see what it shows.")
        for name in sorted(names, key=lambda name: name != "label"):
            run.check()
            try:
                images[name] = slide.associated_image(name)
            except Exception as error:  # noqa: BLE001 - readers of damaged files raise many kinds of errors
                problems.append(f"The {name} image cannot be read: {describe_error(error)}")
    if not images:
        raise InputError(f"{path.name}: {' '.join(problems)}")
    return SlideLabel(path, images, tuple(problems))
