"""The images of the Tray, read in threads: those of folders or of a case, their previews, and labels of slides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import REPORT_S, Progress
from napari_melanoma.core.errors import InputError, describe_error
from napari_melanoma.core.files import file_stamp, open_regular
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.io.discovery import SLIDE_SUFFIXES, SUFFIXES, natural_key
from napari_melanoma.io.formats import HEAD_BYTES, identify_format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.files import FileStamp
    from napari_melanoma.slides.reading.opening import FolderSearch

PREVIEW = "thumbnail"  # an associated image that shows the tissue once more


@dataclass(frozen=True)
class TrayImage:
    """A slide or a photograph; ``modified`` is the time of its file in seconds, ``name_key`` sorts by name.

    ``state``, ``case_id``: of an image of a case: whether it was analyzed, and its id.
    """

    path: Path
    name: str
    is_slide: bool
    modified: float = 0.0
    state: str = ""
    case_id: str = ""
    name_key: tuple[Any, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class TrayContent:
    """What the user chose with its name, and the images in it; ``problem``: which folders could not be read.

    ``case_folder`` is None for folders that are not a case; ``case_stamp``: the version of the case.
    """

    chosen: tuple[Path, ...]
    title: str
    images: tuple[TrayImage, ...]
    problem: str = ""
    case_folder: Path | None = None
    case_stamp: FileStamp | None = None


def list_images(chosen: Sequence[Path], run: RunContext) -> TrayContent:
    """List the images of a case, or the slides and photographs in files and folders with their subfolders."""
    from napari_melanoma.case.store import CASE
    from napari_melanoma.slides.reading.opening import FolderSearch

    paths = tuple(path.absolute() for path in chosen)
    if len(paths) == 1 and (paths[0] / CASE).is_file():
        return _list_case(paths[0])
    search = FolderSearch(run, _has_image_name)
    images: dict[Path, TrayImage] = {}
    reported = monotonic()
    for path in paths:
        for number, image in enumerate(_find_images(path, search, run)):
            run.check()
            if image is not None:
                images[image.path] = image
            if monotonic() - reported > REPORT_S:
                message = f"Searching for images: {len(images):,} in {format_count(number + 1, 'file')}"
                run.report(Progress(len(images), None, message))
                reported = monotonic()
    problem = _describe_unreadable(search.unreadable)
    if not images:
        raise InputError(
            f"no slide or photograph in {', '.join(map(str, paths))}: expected files such as .svs, .ndpi, .tif or .jpg,"
            f" or folders of DICOM or OME-Zarr. {problem or 'Choose another folder.'}"
        )
    return TrayContent(paths, _create_title(paths), tuple(images.values()), problem)


def _create_title(chosen: Sequence[Path]) -> str:
    """Name what was chosen."""
    if len(chosen) == 1:
        return chosen[0].name or str(chosen[0])
    folders = sum(path.is_dir() for path in chosen)
    counts = ((folders, "folder"), (len(chosen) - folders, "file"))
    return " and ".join(format_count(count, what) for count, what in counts if count)


def _describe_unreadable(folders: Sequence[Path]) -> str:
    count = format_count(len(folders), "folder")
    return f"{count} could not be read: {format_names(folders)}. Check the permissions." if folders else ""


def _find_images(path: Path, search: FolderSearch, run: RunContext) -> Iterator[TrayImage | None]:
    """Yield each file of a folder, or a single one: its image, or None for another file.

    Pictures in result folders of photographs are left out.
    """
    from napari_melanoma.io.results import RESULT
    from napari_melanoma.slides.reading.opening import is_slide

    if not path.exists():
        raise InputError(f"{path} does not exist. Choose an existing folder, slide or photograph.")
    slide = is_slide(path, run)
    if slide or path.is_file():
        yield _create_image(path, slide) if slide or _is_photograph(path) else None
        return
    result_folders: dict[Path, bool] = {}
    for found, slide in search.walk(path):
        parent = found.parent
        if parent not in result_folders:
            result_folders[parent] = (parent / RESULT).is_file()
        is_image = slide or (_has_image_name(found) and not result_folders[parent])
        yield _create_image(found, slide) if is_image else None


def _has_image_name(path: Path) -> bool:
    return path.name.lower().endswith((*SUFFIXES, *SLIDE_SUFFIXES))


def _is_photograph(path: Path) -> bool:
    """Whether a file that was chosen itself is a photograph, by its name or its content."""
    if _has_image_name(path):
        return True
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _create_image(path: Path, is_slide: bool, state: str = "", case_id: str = "") -> TrayImage:
    from napari_melanoma.slides.reading.files import image_name

    try:
        modified = path.stat().st_mtime
    except OSError:  # of a case, whose images may have been moved
        modified = 0.0
    name = image_name(path)
    return TrayImage(path, name, is_slide, modified, state, case_id, (natural_key(Path(name)), str(path)))


def _list_case(folder: Path) -> TrayContent:
    """List the images of a case, in its order."""
    from napari_melanoma.case.store import CASE, CaseStore
    from napari_melanoma.ui.case.thumbnails import is_case_slide

    stamp = file_stamp(folder / CASE)
    images = []
    for _, image in CaseStore.open_read_only(folder).case.iterate_images():
        state = "corrected" if image.correction is not None else "analyzed" if image.results else "not analyzed"
        images.append(_create_image(image.path, is_case_slide(image.path, image.modality), state, image.id))
    return TrayContent((folder,), _create_title([folder]), tuple(images), "", folder, stamp)


def update_case(content: TrayContent, run: RunContext) -> TrayContent | None:
    """List the images of a case again; None if it has not changed."""
    from napari_melanoma.case.store import CASE

    folder = content.case_folder
    is_changed = folder is not None and file_stamp(folder / CASE) not in (None, content.case_stamp)
    return _list_case(folder) if folder is not None and is_changed else None


@dataclass(frozen=True)
class SlideLabel:
    """The images that are stored with a slide, by their names; each uint8 (row, column, channel=3).

    ``problems``: which of them cannot be read.
    """

    path: Path
    images: dict[str, NDArray[np.uint8]]
    problems: tuple[str, ...] = ()


def read_label(path: Path, run: RunContext) -> SlideLabel:
    """Read the label and other images of a slide, except a thumbnail of the tissue; nothing is stored."""
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
