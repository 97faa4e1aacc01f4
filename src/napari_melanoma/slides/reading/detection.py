"""Detect whether a file or folder is a slide or a photograph, and find the slides in folders."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import open_regular
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.paths import expand_input, real_path
from napari_melanoma.io.discovery import SUFFIXES, natural_key
from napari_melanoma.io.formats import HEAD_BYTES, MAX_PIXELS, identify_format
from napari_melanoma.io.tiff import check_page_chain

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

# File endings of scanners: such a file counts as a slide even if it is damaged, so that opening it reports the damage.
SCANNER_SUFFIXES = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".qptiff"),
    *(".czi", ".vsi", ".isyntax", ".i2syntax"),
)
# File endings of files that cannot be DICOM.
_OTHER_SUFFIXES = (SUFFIXES - {".dcm", ".dicom"}) | {*SCANNER_SUFFIXES}
FOLDER_ENDINGS = (".zarr", "_dicom")  # folders that napari opens with this reader; the command line opens any folder
ZARR_FILES = ("zarr.json", ".zattrs", ".zgroup")
RESULT_FILES = ("slide.json", "result.zarr")  # mark a result folder, in which no slides are searched
DICOM_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
MICROSCOPE_UM = (0.05, 2.5)  # pixel sizes; those of prints and of scanned film are larger
# Flags of tifffile for files of scanners.
_SCANNER_FLAGS = {"svs", "ndpi", "scn", "philips", "bif", "qpi", "avs", "indica"}
_PICTURES = ("JPEG", "PNG")
_TIFF_SUFFIXES = (".tif", ".tiff")
_LAYOUT = "bioformats2raw.layout"  # attribute of a Zarr folder with numbered images
_X_TAG = 282
_REMEMBERED = 65_536  # files whose content was inspected; 20 MB
logger = logging.getLogger(__name__)


def is_slide(path: Path, run: RunContext = NULL_CONTEXT) -> bool:
    """Return whether a file or folder is a whole slide.

    False for folders of several slides, and for paths that do not exist or cannot be read, unless the file ending is
    that of a scanner.
    """
    if path.is_dir():
        try:
            return len(find_zarr_images(path)) == 1 or len(find_dicom_slides(path, run)) == 1
        except OSError:
            return False
    if path.name.lower().endswith(SCANNER_SUFFIXES):
        return True
    try:
        return _has_slide_content(path, _stamp(path))
    except Exception:  # noqa: BLE001 - tifffile and pydicom raise many kinds of errors for damaged files
        return False


def contains_slides(path: Path, run: RunContext = NULL_CONTEXT) -> bool:
    """Return whether a path is a slide, or a folder whose own files are one or several slides."""
    if not path.is_dir():
        return is_slide(path, run)
    try:
        return bool(find_zarr_images(path) or find_dicom_slides(path, run))
    except OSError:
        return False


def _stamp(path: Path) -> tuple[int, ...]:
    """Return values that change with a file."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(_REMEMBERED)  # folders are listed again for each search, and every few seconds by lists of slides
def _has_slide_content(path: Path, stamp: tuple[int, ...]) -> bool:
    """Whether the content of a file is that of a slide; ``stamp`` changes with the file."""
    with open_regular(path) as file:
        kind = identify_format(file.read(HEAD_BYTES))
        file.seek(0)
        return _contains_slide(file, path, kind)


def is_certainly_slide(path: Path) -> bool:
    """Return whether a file or folder is a whole slide, and cannot be a photograph.

    A tiled TIFF may be either if it has no levels, no scale of a microscope and no marks of a scanner, and is not
    larger than any photograph.
    """
    if not is_slide(path):
        return False
    if path.is_dir() or path.name.lower().endswith(SCANNER_SUFFIXES):
        return True
    with open_regular(path) as file:
        if identify_format(file.read(HEAD_BYTES)) != "TIFF":
            return True
        from tifffile import TiffFile

        file.seek(0)
        with TiffFile(file) as tiff:
            return _has_slide_marks(tiff)


def find_slides(inputs: Iterable[str | Path]) -> list[Path]:
    """List the slides in files, folders and glob patterns, in natural order; result folders are not searched.

    Slides of DICOM files and OME-Zarr images are listed as folders; of several DICOM slides in a folder, the first file
    of each is listed. TIFF files that cannot be read are listed, so that opening them reports the reason. Subfolders
    that cannot be read are logged.
    """
    return sorted(find_slides_in_order(inputs), key=natural_key)


def find_slides_in_order(inputs: Iterable[str | Path]) -> list[Path]:
    """List slides as ``find_slides``, in the order of the inputs, and in natural order within each."""
    found: dict[Path, Path] = {}  # resolved path to path, so that each slide is listed once
    search = FolderSearch()
    for text in inputs:
        for path in sorted(_expand_input(expand_input(text)), key=natural_key):
            if path.is_file():
                slides = [path]
            else:
                slides = [entry for entry, is_listed in search.walk(path) if is_listed or _is_unreadable_tiff(entry)]
            for folder in search.unreadable:
                _warn_unreadable(folder)
            if not slides:
                raise InputError(
                    f"no slide in {path}: expected files such as {', '.join(SCANNER_SUFFIXES[:4])}, tiled TIFF, a "
                    "folder of DICOM files or an OME-Zarr folder. Specify the slides themselves, or another folder."
                )
            found |= {real_path(slide): slide for slide in sorted(slides, key=natural_key)}
    if not found:
        raise InputError("no slide was specified. Specify at least one file, folder or pattern such as slides/*.svs.")
    return list(found.values())


@cache  # once for each folder, since a list of slides is read again every few seconds
def _warn_unreadable(folder: Path) -> None:
    logger.warning("The folder %s cannot be read and is left out. Check the permissions.", folder)


def _is_unreadable_tiff(path: Path) -> bool:
    """Whether a file is a TIFF by its name that cannot be read, so that it may be a slide."""
    if path.suffix.lower() not in _TIFF_SUFFIXES:
        return False
    try:
        with open_regular(path) as file:
            kind = identify_format(file.read(HEAD_BYTES))
            if kind != "TIFF":  # a photograph under another name is none
                return kind is None
            from tifffile import TiffFile

            file.seek(0)
            check_page_chain(file)
            with TiffFile(file) as tiff:
                return len(tiff.pages) == 0
    except Exception:  # noqa: BLE001 - tifffile raises many kinds of errors for damaged files
        return True


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a Zarr group or array, such as an OME-Zarr image."""
    return any((folder / mark).is_file() for mark in ZARR_FILES)


def _is_image_zarr(folder: Path) -> bool:
    """Whether a folder is an OME-Zarr image; other Zarr folders, such as results, are no slides."""
    return any("multiscales" in attributes for attributes in _read_attributes(folder))


def _read_attributes(folder: Path) -> Iterator[Mapping[str, object]]:
    """Yield the attributes of a Zarr group, and those of OME within them; none for other folders."""
    for mark in ZARR_FILES:
        try:
            content = read_json(folder / mark)
        except (OSError, ValueError):
            continue
        attributes = content.get("attributes", content) if isinstance(content, dict) else {}
        holders = (attributes, attributes.get("ome")) if isinstance(attributes, dict) else ()
        yield from (holder for holder in holders if isinstance(holder, dict))


def find_zarr_images(folder: Path) -> list[Path]:
    """List the OME-Zarr images of a folder: itself, or those that bioformats2raw numbers in it."""
    if _is_image_zarr(folder):
        return [folder]
    if not any(_LAYOUT in attributes for attributes in _read_attributes(folder)):
        return []
    images = [path for path in folder.iterdir() if path.name.isdecimal() and _is_image_zarr(path)]
    return sorted(images, key=natural_key)


def find_dicom_slides(folder: Path, run: RunContext = NULL_CONTEXT) -> list[Path]:
    """List the DICOM slides in a folder: of each series, the first file, by name, that shows tissue."""
    first_of_series: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        run.check()
        if path.name.startswith(".") or path.suffix.lower() in _OTHER_SUFFIXES or not path.is_file():
            continue
        image_type, series = _identify_dicom(path)
        if image_type == "VOLUME":
            first_of_series.setdefault(series, path)
    return list(first_of_series.values())


def _identify_dicom(path: Path) -> tuple[str | None, str]:
    """Return the image type of a DICOM slide file as ``_dicom_type``, and its series; None if it cannot be read."""
    try:
        return _read_dicom_identity(path, _stamp(path))
    except Exception:  # noqa: BLE001 - pydicom raises many kinds of errors for damaged files
        return None, ""


@lru_cache(_REMEMBERED)
def _read_dicom_identity(path: Path, stamp: tuple[int, ...]) -> tuple[str | None, str]:
    """Read the image type and the series of a DICOM slide file; ``stamp`` changes with the file."""
    with open_regular(path) as file:
        if identify_format(file.read(HEAD_BYTES)) != "DICOM":
            return None, ""
        return _dicom_type(file)


def _expand_input(path: Path) -> list[Path]:
    """Return the path if it exists, else the matches of the pattern; raise InputError if there are none."""
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - as in ``io.discovery``
        if not matches:
            raise InputError(f"no file matches the pattern {path}. Check its folder and file ending.")
        return matches
    raise InputError(f"{path} does not exist. Specify an existing slide, folder or pattern.")


class FolderSearch:
    """Searches folders for images; the attribute ``unreadable`` lists the subfolders that could not be read.

    ``accepts``: whether the name of a file is that of a possible slide; other files are not opened.
    """

    def __init__(self, run: RunContext = NULL_CONTEXT, accepts: Callable[[Path], bool] = lambda path: True) -> None:
        self.unreadable: list[Path] = []
        self._run, self._accepts = run, accepts

    def walk(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        """Yield the files and the slides that are folders in a folder and its subfolders, and whether each is a slide.

        A folder that is one slide itself is yielded alone. Hidden files, slide folders and result folders are not
        searched. Raises InputError if the folder itself cannot be read.
        """
        try:
            yield from self._walk(folder)
        except OSError as error:
            raise InputError(f"the folder {folder} cannot be read: {error.strerror}. Check the permissions.") from error

    def _walk(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        if any((folder / mark).exists() for mark in RESULT_FILES):
            return
        images = find_zarr_images(folder)
        if images:
            yield from ((image, True) for image in images)
            return
        dicom_slides = find_dicom_slides(folder, self._run)
        if not dicom_slides:
            yield from self._walk_entries(folder)
            return
        # All files of a DICOM slide are in its folder; there may be other slides in it.
        parts = {path for path in folder.iterdir() if path.is_file() and _identify_dicom(path)[0] is not None}
        others = [(path, is_listed) for path, is_listed in self._walk_entries(folder) if path not in parts]
        is_only_one = len(dicom_slides) == 1 and not any(is_listed for _, is_listed in others)
        yield from ((path, True) for path in ([folder] if is_only_one else dicom_slides))
        if not is_only_one:
            yield from others

    def _walk_entries(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        mirax_folders = {path.stem for path in entries if path.suffix.lower() == ".mrxs"}
        for path in entries:
            self._run.check()
            is_folder = path.is_dir()
            if is_folder and path.name in mirax_folders:
                continue
            if is_folder:
                yield from self._walk_subfolder(path)
            elif self._accepts(path) and is_slide(path, self._run):
                yield path, True
            elif path.is_file():
                yield path, False

    def _walk_subfolder(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        """Walk a folder; a link to one is followed only if it is a slide."""
        try:
            if folder.is_symlink() and not is_slide(folder, self._run):
                return
            yield from self._walk(folder)
        except OSError:
            self.unreadable.append(folder)


def _contains_slide(file: IO[bytes], path: Path, kind: str | None) -> bool:
    if kind == "TIFF":
        from tifffile import TiffFile

        check_page_chain(file)
        with TiffFile(file) as tiff:
            return _has_slide_marks(tiff) or (cast("TiffPage", tiff.pages[0]).is_tiled and _is_one_image(tiff))
    if kind == "DICOM":
        return _dicom_type(file)[0] is not None
    if kind in _PICTURES:
        from napari_melanoma.io.photographs import read_image_size

        size = read_image_size(path)
        return size is not None and size[0] * size[1] > MAX_PIXELS
    return False


def _has_slide_marks(tiff: TiffFile) -> bool:
    """Whether levels, scale, size or marks of a scanner distinguish a file from a photograph."""
    page = cast("TiffPage", tiff.pages[0])
    if set(tiff.flags) & _SCANNER_FLAGS:
        return True
    if not _is_one_image(tiff):
        return False
    large = page.imagewidth * page.imagelength > MAX_PIXELS
    pyramid = page.is_tiled and tiff.series[0].is_pyramidal
    return "ome" in tiff.flags or large or pyramid or _has_microscope_scale(page)


def _is_one_image(tiff: TiffFile) -> bool:
    """Whether the main image is a single plane; focal stacks and time series are opened by other readers."""
    series = tiff.series[0]
    lengths = dict(zip(series.axes, series.shape, strict=True))
    stacked = [length for axis, length in lengths.items() if axis not in "YXSC"]
    return {"Y", "X"} <= set(lengths) and max(stacked, default=1) == 1


def _has_microscope_scale(page: TiffPage) -> bool:
    """Whether the resolution tags are those of a microscope, not of a print."""
    from napari_melanoma.slides.reading.tiff import resolution_um

    um = resolution_um(page, _X_TAG)
    return um is not None and MICROSCOPE_UM[0] <= um <= MICROSCOPE_UM[1]


def _dicom_type(file: IO[bytes]) -> tuple[str | None, str]:
    """Return the image type of a DICOM slide, such as ``VOLUME`` for tissue, or ``LABEL``, and its series.

    The type is None for other DICOM files.
    """
    from pydicom import dcmread

    file.seek(0)
    dataset = dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID", "ImageType", "SeriesInstanceUID"])
    if dataset.get("SOPClassUID") != DICOM_SLIDE_CLASS:
        return None, ""
    words = [str(word) for word in dataset.get("ImageType") or []]
    return words[2] if len(words) > 2 else "VOLUME", str(dataset.get("SeriesInstanceUID") or "")
