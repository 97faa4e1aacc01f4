"""The images of the Tray, read in threads: those of folders or of a case, their previews, and labels of slides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import InputError
from napari_melanoma.io.discovery import SLIDE_SUFFIXES, SUFFIXES, natural_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.case.model import CaseImage
    from napari_melanoma.core.context import RunContext

CASE_FILE = "case.json"
PREVIEW = "thumbnail"  # an associated image that shows the tissue once more
REPORT_S = 0.2  # interval of reports, each of which repaints the dock


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
    """What the user chose, and the images in it; ``case_folder`` is None for folders that are not a case."""

    chosen: tuple[Path, ...]
    images: tuple[TrayImage, ...]
    case_folder: Path | None = None

    @property
    def title(self) -> str:
        """Name of what was chosen."""
        first = self.chosen[0]
        return first.name or str(first) if len(self.chosen) == 1 else f"{len(self.chosen):,} files"


def list_images(chosen: Sequence[Path], run: RunContext) -> TrayContent:
    """List the images of a case, or the slides and photographs in files and folders with their subfolders."""
    paths = tuple(path.absolute() for path in chosen)
    if len(paths) == 1 and (paths[0] / CASE_FILE).is_file():
        return TrayContent(paths, tuple(_list_case_images(paths[0])), paths[0])
    images: dict[Path, TrayImage] = {}
    reported = monotonic()
    for path in paths:
        for image in _find_images(path):
            run.check()
            images[image.path] = image
            if monotonic() - reported > REPORT_S:
                run.report(Progress(len(images), None, f"Searching for images: {len(images):,} found"))
                reported = monotonic()
    if not images:
        raise InputError(
            f"no slide or photograph in {', '.join(map(str, paths))}: expected files such as .svs, .ndpi, .tif or .jpg,"
            " or folders of DICOM or OME-Zarr. Choose another folder."
        )
    return TrayContent(paths, tuple(images.values()))


def _find_images(path: Path) -> Iterator[TrayImage]:
    """Yield the images of a file or folder; pictures in result folders of photographs are left out."""
    from napari_melanoma.io.results import RESULT
    from napari_melanoma.slides.reading.opening import is_slide, walk_images

    if not path.exists():
        raise InputError(f"{path} does not exist. Choose an existing folder, slide or photograph.")
    if path.is_file() or is_slide(path):
        yield _create_image(path, is_slide(path))
        return
    result_folders: dict[Path, bool] = {}
    for found, slide in walk_images(path):
        if slide or found.name.lower().endswith((*SUFFIXES, *SLIDE_SUFFIXES)):
            parent = found.parent
            if parent not in result_folders:
                result_folders[parent] = (parent / RESULT).is_file()
            if slide or not result_folders[parent]:
                yield _create_image(found, slide)


def _create_image(path: Path, is_slide: bool, state: str = "", case_id: str = "") -> TrayImage:
    from napari_melanoma.slides.reading.files import folder_name

    try:
        modified = path.stat().st_mtime
    except OSError:  # of a case, whose images may have been moved
        modified = 0.0
    name = folder_name(path)  # of files, too: an image in a Zarr folder is named after that folder
    return TrayImage(path, name, is_slide, modified, state, case_id, (natural_key(Path(name)), str(path)))


def _list_case_images(folder: Path) -> Iterator[TrayImage]:
    """Yield the images of a case, in its order."""
    from napari_melanoma.case.store import CaseStore

    for _, image in CaseStore.open_read_only(folder).case.iterate_images():
        state = "corrected" if image.correction is not None else "analyzed" if image.results else "not analyzed"
        yield _create_image(image.path, _is_case_slide(image), state, image.id)


def _is_case_slide(image: CaseImage) -> bool:
    from napari_melanoma.slides.reading.opening import is_slide

    return image.modality == "wsi" or (not image.modality and is_slide(image.path))


def read_preview(path: Path, side_px: int) -> tuple[NDArray[np.uint8], str]:
    """Read a slide or photograph as thumbnail, and what is wrong with it; the file is closed again."""
    from napari_melanoma.io.thumbnails import read_thumbnail
    from napari_melanoma.slides.reading.opening import is_slide, open_slide

    if not is_slide(path):
        return read_thumbnail(path, side_px), ""
    with open_slide(path) as slide:
        rgb, damaged = slide.thumbnail_around_damage(side_px)
        problems = [warning for warning in slide.info.warnings if "truncated" in warning]
    if damaged:
        problems.append(f"{len(damaged)} tiles of the overview cannot be read and are shown as stripes.")
    return rgb, " ".join(problems)


@dataclass(frozen=True)
class SlideLabel:
    """The images that are stored with a slide, by their names; each uint8 (row, column, channel=3)."""

    path: Path
    images: dict[str, NDArray[np.uint8]]


def read_label(path: Path, run: RunContext) -> SlideLabel:
    """Read the label and other images of a slide, except a thumbnail of the tissue; nothing is stored."""
    from napari_melanoma.slides.reading.opening import open_slide

    with open_slide(path) as slide:
        names = [name for name in slide.info.associated if name != PREVIEW]
        if not names:
            raise InputError(f"{path.name} contains no label image. Open the slide to see what it shows.")
        names.sort(key=lambda name: name != "label")
        return SlideLabel(path, {name: slide.associated_image(name) for name in names})
