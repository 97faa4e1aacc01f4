"""Thumbnails for lists: read and cached in the background, and painted by a delegate."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from qtpy.QtCore import QModelIndex, QObject, QRect, QSize, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import describe_error
from napari_melanoma.core.files import open_regular
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.style import PRIMARY, ThemedIcons

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    BatchReader = Callable[[list[Path], RunContext], Mapping[Path, Any]]
    ThumbnailReader = Callable[[Path, int], tuple[NDArray[np.uint8], str]]

log = logging.getLogger(__name__)

MARGIN_PX = 4
SELECTED_ALPHA = 0.92  # of the white secondary text of a selected row
CACHE_SIZE = 600
MAX_QUEUED = 160  # more rows than are visible at once; rows that were scrolled past are not read
BATCH_SIZE = 4
TemporaryFault = Literal["not found", "not readable"]


class RowStyle(NamedTuple):
    """The colors of a row, and whether it is selected."""

    text: QColor
    faint: QColor
    selected: bool


class ThumbnailDelegate(QStyledItemDelegate):
    """Paints rows in the colors of the theme; subclasses implement ``paint_row``."""

    def __init__(self, icons: ThemedIcons, picture_px: int, width_px: int, parent: QWidget) -> None:
        super().__init__(parent)
        self._icons = icons
        self._size = QSize(width_px, picture_px + 2 * MARGIN_PX)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802 - Qt's name
        """Return the same size for every row."""
        return self._size

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colors = self._icons.palette
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected:
            painter.fillRect(option.rect, QColor(PRIMARY))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(option.rect, QColor(colors.raised))
        text = QColor("white") if selected else QColor(colors.text)
        faint = QColor(text)
        # napari's list is darker than its docks: a fixed gray would lack contrast
        faint.setAlphaF(SELECTED_ALPHA if selected else 0.75)
        self.paint_row(painter, option.rect, index, RowStyle(text, faint, selected))
        painter.restore()

    def paint_row(self, painter: QPainter, row_rect: QRect, index: QModelIndex, style: RowStyle) -> None:
        raise NotImplementedError


def paint_thumbnail(painter: QPainter, square: QRect, picture: QPixmap | None, frame: QColor) -> None:
    """Paint the center of a thumbnail, or an empty frame."""
    if picture is None:
        painter.setPen(frame)
        painter.drawRoundedRect(square.adjusted(0, 0, -1, -1), 3, 3)
        return
    side = min(picture.width(), picture.height())  # the center, since lesions are seldom at the border
    part = QRect((picture.width() - side) // 2, (picture.height() - side) // 2, side, side)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawPixmap(square, picture, part)


class BackgroundCache(QObject):
    """Returns cached values of files, and reads missing values in a thread, the latest request first.

    ``read``: reads the values of some files in a thread. ``size``: maximum number of cached values.
    """

    value_read = Signal(object)  # the path of a value that has changed
    failed = Signal(object)  # Exception

    def __init__(self, read: BatchReader, parent: QObject, size: int = CACHE_SIZE) -> None:
        super().__init__(parent)
        self._read, self._size = read, size
        self._cache: OrderedDict[Path, Any] = OrderedDict()
        self._queued: OrderedDict[Path, None] = OrderedDict()
        self._reading: list[Path] = []
        self._job: BackgroundJob | None = None

    def peek(self, path: Path) -> Any:  # noqa: ANN401 - depends on ``read``
        """Return a cached value; None if it is not read yet."""
        return self._cache.get(path)

    def request(self, path: Path) -> Any:  # noqa: ANN401 - depends on ``read``
        """Return a value; None if it is not read yet (it is queued)."""
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        if path not in self._reading:  # rows may be painted again while it is being read
            self.refresh([path])
        return None

    def refresh(self, paths: Iterable[Path]) -> None:
        """Read values again; the cached values remain until then."""
        for path in paths:
            self._queued.pop(path, None)
            self._queued[path] = None
        while len(self._queued) > MAX_QUEUED:
            self._queued.popitem(last=False)
        self._next()

    def put(self, values: Mapping[Path, Any]) -> None:
        """Add values that were read elsewhere."""
        for path, value in values.items():
            self._cache[path] = value
        while len(self._cache) > self._size:
            self._cache.popitem(last=False)

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove cached values; they are read again when they are requested."""
        for path in paths:
            self._cache.pop(path, None)

    def drop_requests(self) -> None:
        self._queued.clear()

    def clear(self) -> None:
        self.drop_requests()
        self._cache.clear()
        self._reading = []  # else files whose reading is canceled would not be read again
        if self._job is not None:
            self._job.cancel()

    def _next(self) -> None:
        if self._job is not None or not self._queued:
            return
        self._reading = [self._queued.popitem()[0] for _ in range(min(BATCH_SIZE, len(self._queued)))]
        self._job = BackgroundJob(partial(self._read, self._reading))
        self._job.succeeded.connect(self._on_read)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start(self)

    def _on_read(self, values: Mapping[Path, Any]) -> None:
        previous = {path: self._cache.get(path) for path in values}
        self.put(values)
        for path, value in previous.items():
            if self._cache.get(path) != value:
                self.value_read.emit(path)

    def _on_finished(self) -> None:
        self._job, self._reading = None, []
        self._next()


class Thumbnail(NamedTuple):
    """A picture, None if it cannot be read, and the problem of the file.

    In the thread that reads it, the picture is a ``QImage``. ``problem``: a message; empty if there is none. ``fault``:
    the type of the problem.
    """

    picture: QPixmap | QImage | None
    problem: str = ""
    fault: Literal["", "damaged"] | TemporaryFault = ""


class ThumbnailLoader(BackgroundCache):
    """Thumbnails of images.

    ``read``: returns an image, uint8 (row, column, channel=3), whose longer side is about ``side_px``, and a message
    about problems; by default ``read_preview``.
    """

    def __init__(
        self, side_px: int, parent: QObject, read: ThumbnailReader | None = None, size: int = CACHE_SIZE
    ) -> None:
        super().__init__(partial(_read_pictures, read, side_px), parent, size)

    def get(self, path: Path) -> QPixmap | None:
        """Return a thumbnail; None if it is not read yet (it is queued) or cannot be read."""
        thumbnail: Thumbnail | None = self.request(path)
        return thumbnail.picture if thumbnail is not None and isinstance(thumbnail.picture, QPixmap) else None

    def get_problem(self, path: Path) -> str:
        """Return the message about a problem of the file; empty if there is none or it is not read yet."""
        thumbnail: Thumbnail | None = self.peek(path)
        return "" if thumbnail is None else thumbnail.problem

    def get_fault(self, path: Path) -> str:
        """Return the type of a problem of the file; empty if there is none or it is not read yet."""
        thumbnail: Thumbnail | None = self.peek(path)
        return "" if thumbnail is None else thumbnail.fault

    def retry(self, paths: Iterable[Path]) -> None:
        """Read the files again that were not found or not readable, for example on a disconnected drive."""
        self.refresh([path for path in paths if self.get_fault(path) in get_args(TemporaryFault)])

    def put(self, values: Mapping[Path, Thumbnail]) -> None:
        """Convert the pictures to pixmaps, which is possible only on the GUI thread."""
        super().put(
            {
                path: value._replace(picture=QPixmap.fromImage(value.picture))
                if isinstance(value.picture, QImage)
                else value
                for path, value in values.items()
            }
        )


class ImageThumbnails(ThumbnailLoader):
    """Thumbnails of images that are known to be slides or photographs; the content decides for all others."""

    def __init__(self, side_px: int, parent: QObject, size: int = CACHE_SIZE) -> None:
        self._is_slide: dict[Path, bool] = {}
        super().__init__(side_px, parent, partial(_read_known_image, self._is_slide), size)

    def set_images(self, is_slide: Mapping[Path, bool]) -> None:
        """Set which images are slides; an image whose kind was changed is read again."""
        changed = [path for path, value in is_slide.items() if self._is_slide.get(path, value) != value]
        self._is_slide.update(is_slide)
        self.refresh(changed)


def _read_known_image(is_slide: Mapping[Path, bool], path: Path, side_px: int) -> tuple[NDArray[np.uint8], str]:
    return (read_preview if is_slide.get(path, True) else read_photograph_thumbnail)(path, side_px)


def read_photograph_thumbnail(path: Path, side_px: int) -> tuple[NDArray[np.uint8], str]:
    """Read a photograph as thumbnail, also from a tiled TIFF file, which ``read_preview`` would read as a slide."""
    from napari_melanoma.io.thumbnails import read_thumbnail

    return read_thumbnail(path, side_px), ""


def read_preview(path: Path, side_px: int) -> tuple[NDArray[np.uint8], str]:
    """Read a slide or photograph as thumbnail; return it with a message about problems."""
    from napari_melanoma.slides.reading.detection import is_slide
    from napari_melanoma.slides.reading.opening import open_slide

    if not is_slide(path):
        return read_photograph_thumbnail(path, side_px)
    with open_slide(path) as slide:
        rgb, damaged = slide.thumbnail_around_damage(side_px)
        problems = [warning for warning in slide.info.warnings if "truncated" in warning]
    if damaged:
        problems.append(f"{len(damaged)} tiles of the overview cannot be read and are shown as stripes.")
    return rgb, " ".join(problems)


def _read_pictures(
    read: ThumbnailReader | None, side_px: int, paths: list[Path], run: RunContext
) -> dict[Path, Thumbnail]:
    pictures: dict[Path, Thumbnail] = {}
    for path in paths:
        run.check()
        try:
            rgb, problem = _read_up_to_twice(read or read_preview, path, side_px)
        except Exception as error:  # noqa: BLE001 - readers of damaged files raise many kinds of errors
            pictures[path] = Thumbnail(None, describe_error(error), _find_temporary_fault(path) or "damaged")
            continue
        pictures[path] = Thumbnail(to_qimage(rgb), problem, "damaged" if problem else "")
    return pictures


def _read_up_to_twice(read: ThumbnailReader, path: Path, side_px: int) -> tuple[NDArray[np.uint8], str]:
    """Read a picture; after an error that may be temporary, try once more.

    For example, readers report a damaged file while another thread still imports their library.
    """
    try:
        return read(path, side_px)
    except OSError:
        raise
    except Exception:
        log.info("Reading %s failed, trying again", path, exc_info=True)
        return read(path, side_px)


def _find_temporary_fault(path: Path) -> TemporaryFault | None:
    """Return why a file or folder cannot be read; None if it can be read, so that its content is damaged."""
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            with open_regular(path) as file:
                file.read(1)
    except FileNotFoundError:
        return "not found"
    except OSError:
        return "not readable"
    return None


def to_qimage(rgb: NDArray[np.uint8]) -> QImage:
    """Convert uint8 (row, column, channel=3) to an image with its own copy of the pixels; works in any thread."""
    rows, columns = rgb.shape[:2]
    return QImage(rgb.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
