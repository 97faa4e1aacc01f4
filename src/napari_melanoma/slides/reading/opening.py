"""From a path to an open slide: recognize the format, choose the reader, check that the file is still there."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, cast

from napari_melanoma.core.errors import InputError, MelanomaError, UnreadableImage
from napari_melanoma.core.files import check_name, open_regular
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import read_json, shorten
from napari_melanoma.io.discovery import natural_key
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, MAX_PIXELS, identify_format
from napari_melanoma.io.tiff import check_page_chain
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.reading.tiled import TiledSlide

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

    from napari_melanoma.slides.reading.slide import SlideInfo

__all__ = ["open_slide"]

# Formats of OpenSlide that tifffile decodes faster, and which it reads here.
_TIFFFILE_VENDORS = {"aperio", "generic-tiff"}
_JPEG2000_YCBCR = 33003
_SUPPORTED_FORMATS = (
    "a slide (SVS, NDPI, MRXS, SCN, BIF, VMS, SVSLIDE, TIFF, OME-TIFF, DICOM, OME-Zarr, large PNG or JPEG)"
)
_ADVICE = " Name the slide itself."


def open_slide(path: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open a slide of any format.

    Parameters
    ----------
    path : pathlib.Path
        A file; or a folder of DICOM files or of OME-Zarr. A photograph opens as a slide too, where it is asked for.
    pixel_size : PixelSize, optional
        The user's own size of a pixel of level 0. It wins over what the file says, and ``info.pixel_size`` says by its
        source that it was given.

    Returns
    -------
    TiledSlide
        Open; use it in a ``with`` block, or close it.

    Raises
    ------
    UnreadableImage
        Where it is no slide, or one that is damaged as a whole.
    InputError
        Where it does not exist or may not be read.
    """
    check_name(path)
    try:
        return _open_by_format(path, pixel_size)
    except MelanomaError:
        raise
    except Exception as error:  # OpenSlide, libdicom, tifffile and zarr raise many kinds on damaged files
        raise UnreadableImage(
            f"{path.name} cannot be opened as a slide ({type(error).__name__}: {shorten(str(error))}). It is "
            "damaged, or files that belong to it are missing. Copy it again from its source, with all its files."
        ) from error


def _open_by_format(path: Path, pixel_size: PixelSize | None) -> TiledSlide:
    """Open a slide with the library of its format."""
    if not path.exists():
        raise InputError(f"{path} does not exist. Name an existing slide.")
    if path.is_dir():
        return _open_folder(path, pixel_size)
    try:
        with open_regular(path) as file:
            kind = identify_format(file.read(HEAD_BYTES))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Ask for permission.") from error
    if kind in ("JPEG", "PNG", "BMP", "WebP") and path.suffix.lower() != ".mrxs":
        from napari_melanoma.slides.reading.flat_images import open_flat_image

        return open_flat_image(path, pixel_size)
    from napari_melanoma.slides.reading.openslide import detect_vendor, open_with_openslide

    vendor = detect_vendor(path)
    if (vendor in _TIFFFILE_VENDORS and not _has_raw_ycbcr(path)) or (vendor is None and kind == "TIFF"):
        from napari_melanoma.slides.reading.tiff import open_tiff

        return open_tiff(path, pixel_size)
    if vendor is None:
        raise UnreadableImage(
            f"{path} holds nothing that is known here, but {_SUPPORTED_FORMATS} was expected. Name the slide itself."
        )
    return open_with_openslide(path, pixel_size)


def _open_folder(folder: Path, pixel_size: PixelSize | None) -> TiledSlide:
    """Open a folder that is one slide."""
    if is_zarr(folder):
        from napari_melanoma.slides.reading.zarr import open_zarr

        return open_zarr(folder, pixel_size)
    file = find_dicom_file(folder)
    if file is None:
        raise UnreadableImage(
            f"{folder} is a folder that is no slide: DICOM files of a slide or an OME-Zarr image were expected in it. "
            "Name the slide's file, or a folder that is one slide."
        )
    from napari_melanoma.slides.reading.openslide import open_with_openslide

    return open_with_openslide(file, pixel_size)


def _has_raw_ycbcr(path: Path) -> bool:
    """Whether a TIFF file is in the JPEG 2000 of Aperio's first scanners, whose YCbCr tifffile takes for RGB."""
    from tifffile import TiffFile

    try:
        with TiffFile(path) as tiff:
            return int(tiff.pages[0].aspage().compression) == _JPEG2000_YCBCR
    except DAMAGE_ERRORS:
        return False


# Of scanners alone: such a file is a slide also where it is damaged, and the message says so.
SCANNER_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".qptiff")
FOLDER_ENDINGS = (".zarr", "_dicom")  # by which napari offers us a folder; the command line takes any name
ZARR_FILES = ("zarr.json", ".zattrs", ".zgroup")
RESULT_FILES = ("slide.json", "result.zarr")  # of a folder that an analysis wrote: what lies there is no slide
DICOM_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
MICROSCOPE_UM = (0.05, 2.5)  # dots of prints and of scanned film are larger
_SCANNER_FLAGS = {"svs", "ndpi", "scn", "philips", "bif", "qpi", "avs", "indica"}
_PICTURES = ("JPEG", "PNG")
_X_TAG = 282


def is_slide(path: Path) -> bool:
    """Tell whether a file or folder is a whole slide, rather than a photograph or something else.

    False also for what does not exist or cannot be read, unless its name is that of a scanner's format.
    """
    if path.is_dir():
        return _is_image_zarr(path) or find_dicom_file(path) is not None
    if path.name.lower().endswith(SCANNER_SUFFIXES):
        return True
    try:
        with open_regular(path) as file:
            kind = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            return _holds_slide(file, path, kind)
    except Exception:  # noqa: BLE001 - tifffile and pydicom raise many kinds on damaged files
        return False


def find_slides(inputs: Iterable[str | Path]) -> list[Path]:
    """List the slides that files, folders and glob patterns name; results of analyses within folders are none.

    Each slide once: a file, or the folder where a folder is one slide (DICOM, OME-Zarr). In natural order.
    """
    found: dict[Path, Path] = {}
    for named in inputs:
        for path in _expand_input(Path(named).expanduser()):
            slides = [path] if path.is_file() or is_slide(path) else list(_walk_slides(path))
            if not slides:
                raise InputError(
                    f"{path} holds no slide: expected files such as {', '.join(SCANNER_SUFFIXES[:4])}, tiled TIFF, a "
                    "folder of DICOM files or an OME-Zarr folder. Name the slides themselves, or another folder."
                )
            found |= {slide.resolve(): slide for slide in slides}
    if not found:
        raise InputError("no slide was named. Name at least one file, folder or pattern such as slides/*.svs.")
    return sorted(found.values(), key=natural_key)


def is_zarr(folder: Path) -> bool:
    """Whether a folder is an OME-Zarr image."""
    return any((folder / mark).is_file() for mark in ZARR_FILES)


def _is_image_zarr(folder: Path) -> bool:
    """Whether a folder is Zarr that holds an image of several scales; other Zarr, such as results, is no slide."""
    for mark in ZARR_FILES:
        try:
            said = read_json(folder / mark)
        except (OSError, ValueError):
            continue
        attributes = said.get("attributes", said) if isinstance(said, dict) else {}
        holders = (attributes, attributes.get("ome")) if isinstance(attributes, dict) else ()
        if any(isinstance(holder, dict) and "multiscales" in holder for holder in holders):
            return True
    return False


def find_dicom_file(folder: Path) -> Path | None:
    """Find a file of a DICOM slide in a folder.

    Returns the first file, by name, that holds tissue and not a label or an overview.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and _is_volume(path):
            return path
    return None


def _is_volume(path: Path) -> bool:
    """Whether a file is one of a DICOM slide that holds tissue; one that cannot be read is none."""
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES)) == "DICOM" and _dicom_type(file) == "VOLUME"
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged files
        return False


def _expand_input(path: Path) -> list[Path]:
    """What one input names: itself, or the matches of a pattern."""
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        found = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - as in ``finding``
        if not found:
            raise InputError(f"nothing matches the pattern {path}. Look at the folder and the ending in it.")
        return found
    raise InputError(f"{path} does not exist. Name an existing slide, folder or pattern.")


def _walk_slides(folder: Path) -> Iterator[Path]:
    """Slides in a folder and its subfolders; a folder that is a slide, or holds results, is not looked into."""
    if any((folder / mark).exists() for mark in RESULT_FILES):
        return
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be read: {error.strerror}. Ask for permission to read it."
        ) from error
    data_of_mirax = {path.stem for path in entries if path.suffix.lower() == ".mrxs"}
    for path in entries:
        if path.is_dir() and path.name in data_of_mirax:
            continue
        if is_slide(path):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _walk_slides(path)


def _holds_slide(file: IO[bytes], path: Path, kind: str | None) -> bool:
    """Whether an open file of a known format is a slide."""
    if kind == "TIFF":
        from tifffile import TiffFile

        check_page_chain(file)
        with TiffFile(file) as tiff:
            return _is_tiff_slide(tiff)
    if kind == "DICOM":
        return _dicom_type(file) is not None
    if kind in _PICTURES:
        from napari_melanoma.io.photographs import read_image_size

        size = read_image_size(path)
        return size is not None and size[0] * size[1] > MAX_PIXELS
    return False


def _is_tiff_slide(tiff: TiffFile) -> bool:
    """Whether an open TIFF file is a slide."""
    page = cast("TiffPage", tiff.pages[0])
    if set(tiff.flags) & _SCANNER_FLAGS:
        return True
    if not _is_one_image(tiff):
        return False
    large = page.imagewidth * page.imagelength > MAX_PIXELS
    return "ome" in tiff.flags or page.is_tiled or large or _has_microscope_scale(page)


def _is_one_image(tiff: TiffFile) -> bool:
    """Whether the main image is a plane and no stack: focal planes and points in time are for other readers."""
    series = tiff.series[0]
    lengths = dict(zip(series.axes, series.shape, strict=True))
    stacked = [length for axis, length in lengths.items() if axis not in "YXSC"]
    return {"Y", "X"} <= set(lengths) and max(stacked, default=1) == 1


def _has_microscope_scale(page: TiffPage) -> bool:
    """Whether the resolution tags are those of a microscope, not of a print."""
    from napari_melanoma.slides.reading.tiff_metadata import resolution_um

    um = resolution_um(page, _X_TAG)
    return um is not None and MICROSCOPE_UM[0] <= um <= MICROSCOPE_UM[1]


def _dicom_type(file: IO[bytes]) -> str | None:
    """The third word of the image type of a DICOM slide, such as ``VOLUME`` or ``LABEL``; None for other DICOM."""
    from pydicom import dcmread

    file.seek(0)
    dataset = dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID", "ImageType"])
    if dataset.get("SOPClassUID") != DICOM_SLIDE_CLASS:
        return None
    words = [str(word) for word in dataset.get("ImageType") or []]
    return words[2] if len(words) > 2 else "VOLUME"


REOPEN_INTERVAL = 8  # damaged tiles after which the slide is opened again


class SlideFileMonitor:
    """Looks after a slide that is being read whenever tiles of it turn out to be damaged; safe for several threads.

    The first damaged tile after good ones has the content looked at; every eighth in a row has the slide opened anew,
    which looks at all files that it consists of.
    """

    def __init__(self, info: SlideInfo) -> None:
        self._info = info
        self._lock = Lock()
        self._damaged = 0

    def record_success(self) -> None:
        """Note that a tile was read."""
        self._damaged = 0

    def record_damage(self) -> bool:
        """Note that a tile could not be decoded, and look after the slide where it is time.

        Whether the slide was looked after and is there: the tile is worth another try.
        """
        with self._lock:
            turn, self._damaged = self._damaged % REOPEN_INTERVAL, self._damaged + 1
            if turn not in (0, REOPEN_INTERVAL - 1):
                return False
            self._check_file(anew=turn > 0)
            return True

    def _check_file(self, *, anew: bool) -> None:
        """Compare what is there with what was opened."""
        info, same = self._info, True
        try:
            if info.fingerprint:
                same = slide_fingerprint(info.path) == info.fingerprint
            if anew and same:
                with open_slide(info.path) as slide:
                    same = slide.info.levels == info.levels
        except (OSError, MelanomaError) as error:
            raise slide_unavailable_error(info.path, error) from error
        if not same:
            raise slide_unavailable_error(info.path, "its files are no longer those that were opened")


def slide_unavailable_error(path: Path, reason: object) -> InputError:
    """Make the error that says that a slide can be read no more, and what to do."""
    said = f"{path} can be read no more ({reason})" if path.exists() else f"{path} has gone"
    return InputError(
        f"{said}: it was removed, or its drive was disconnected, while it was analyzed. Put it back and run "
        "the same command again: what is done stays, and it goes on from there."
    )
