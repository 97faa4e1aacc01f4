"""Widgets for the sample predictions of a run, and for the thumbnails of its comparison."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QAbstractButton, QGridLayout, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.paths import possible_file_names
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext


VALIDATION = "validation"  # part of the run's data with the sample images
BEFORE = "start"  # folder of the predictions before training
SIDE_PX = 360  # side of cached photographs: three times their width in a narrow dock
NONE_YET = "Sample predictions appear with the first epoch."
LEGEND = "yellow: predicted border, cyan: reference mask"
COLUMNS = 4  # of thumbnails
CAPTION_PX = 15


class SamplePicture(QWidget):
    """An image that fills its width and keeps its aspect ratio, with an enlarged image as tooltip."""

    def __init__(self, name: str, label: str) -> None:
        super().__init__()
        named(self, name, label)
        self._label_text = label
        self._image: QImage | None = None
        self._aspect = 1.0  # height / width
        policy = self.sizePolicy()
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumSize(40, 40)

    @property
    def image(self) -> QImage | None:
        """The displayed image."""
        return self._image

    def show_image(self, image: QImage | None, aspect: float, path: Path | None = None) -> None:
        """Show an image, or an empty frame (None). ``aspect``: height / width. ``path``: file for the tooltip."""
        self._image = image
        self.setToolTip(self._label_text + (_format_tooltip_image(path) if image is not None else ""))
        if aspect != self._aspect:
            self._aspect = aspect
            self.updateGeometry()
        self.update()

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Return True, because the height follows the width."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Return the height that keeps the aspect ratio, up to a limit."""
        return round(width * min(1.4, self._aspect))

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a third of the width of a dock."""
        return QSize(100, self.heightForWidth(100))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the image, or an empty frame."""
        painter = QPainter(self)
        size = QSize(100, round(100 * self._aspect)).scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        left, top = (self.width() - size.width()) / 2, (self.height() - size.height()) / 2
        area = QRectF(left, top, size.width(), size.height())
        if self._image is None:
            painter.setPen(Qt.GlobalColor.gray)
            painter.drawRect(area.adjusted(0.5, 0.5, -1, -1))
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(area, self._image)


@dataclass(frozen=True)
class SamplePrediction:
    """One sample image with its predictions before training and at one epoch.

    ``names``: of all samples of the run. Images are None if they are missing.
    """

    names: tuple[str, ...] = ()
    name: str = ""
    photograph: QImage | None = None
    before: QImage | None = None
    now: QImage | None = None
    before_path: Path | None = None
    now_path: Path | None = None


def read_sample(run: Path, epoch: str, index: int) -> SamplePrediction:
    """Read a sample of a run at an epoch; ``index``: of the sample, modulo their number."""
    names = list_sample_names(run, epoch) or list_sample_names(run, BEFORE)
    if not names:
        return SamplePrediction()
    name = names[index % len(names)]
    before, now = (run / "samples" / folder / f"{name}.png" for folder in (BEFORE, epoch))
    photograph = find_photograph(run, name)
    return SamplePrediction(
        names=names,
        name=name,
        photograph=None if photograph is None else _read_thumbnail_cached(photograph, _modification_time(photograph)),
        before=read_picture(before),
        now=None if epoch == BEFORE else read_picture(now),
        before_path=before,
        now_path=now,
    )


def list_sample_names(run: Path, epoch: str) -> tuple[str, ...]:
    """List the names of the samples with a prediction at an epoch, sorted."""
    return tuple(sorted(path.stem for path in (run / "samples" / epoch).glob("*.png") if not path.stem.startswith(".")))


def find_photograph(run: Path, image_id: str) -> Path | None:
    """Find the photograph of a sample in the table of the run's data; None if it is not listed."""
    table = run / "data.csv"
    return _read_photograph_paths(table, _modification_time(table)).get(image_id)


def read_picture(path: Path) -> QImage | None:
    """Read a small image that the run has written; None if that is not possible."""
    return _read_picture_cached(path, _modification_time(path))


def _modification_time(path: Path) -> float:
    """Return the modification time of a file; 0 if it is missing."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@lru_cache(maxsize=4)
def _read_photograph_paths(table: Path, modified: float) -> dict[str, Path]:
    """Return the photographs by the names of their samples.

    ``modified``: modification time of the table, which makes the cache read it again; 0 if it is missing.
    """
    from napari_melanoma.io.results import read_table

    if not modified:
        return {}
    try:
        rows = read_table(table)
    except (OSError, ValueError, MelanomaError):
        return {}
    paths: dict[str, Path | None] = {}
    for cells in (rename_keys("run_data", stored) for stored in rows):
        if cells.get("image_id") and cells.get("image") and cells.get("part", VALIDATION) == VALIDATION:
            path = table.parent / cells["image"]
            for text in (cells["image_id"], f"{cells.get('domain', '')}/{cells['image_id']}"):
                for name in possible_file_names(text):
                    paths[name] = path if paths.get(name, path) == path else None  # several data sets have this id
    return {name: path for name, path in paths.items() if path is not None}


@lru_cache(maxsize=128)
def _read_picture_cached(path: Path, modified: float) -> QImage | None:
    image = QImage(str(path)) if modified else QImage()
    return None if image.isNull() else image


@lru_cache(maxsize=64)
def _read_thumbnail_cached(path: Path, modified: float) -> QImage | None:
    """Read a photograph with its EXIF orientation applied, and reduce it; None if it cannot be read."""
    from napari_melanoma.io.photographs import read_photograph

    try:
        rgb = read_photograph(path).rgb
    except (OSError, MelanomaError):
        return None
    return to_qimage(rgb).scaled(
        SIDE_PX, SIDE_PX, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


class SamplesView(QWidget):
    """Photograph and predictions before and during training, with a slider for the epoch and buttons for the image."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "samples", "Sample predictions").setToolTip("")
        self._run: Path | None = None
        self._epochs: tuple[str, ...] = ()
        self._index = 0
        self._jobs = LatestJobQueue(self)
        self._jobs.succeeded.connect(self._on_read)
        self.pictures = {
            "image": SamplePicture("sample_photograph", "The photograph"),
            "before": SamplePicture("sample_before", "Prediction before training"),
            "now": SamplePicture("sample_now", "Prediction at the selected epoch"),
        }
        self._captions = {name: QLabel(name) for name in self.pictures}
        self._slider = named(QSlider(Qt.Orientation.Horizontal), "sample_epoch", "Epoch", "The displayed epoch")
        self._slider.setPageStep(1)
        self._slider.valueChanged.connect(self.refresh)
        self._previous = tool_button("sample_previous", "Previous image")
        self._next = tool_button("sample_next", "Next image")
        self._name_label = named(quiet_label(), "sample_name", "Name of the image")
        for button, step, icon in ((self._previous, -1, "left_arrow"), (self._next, 1, "right_arrow")):
            button.clicked.connect(partial(self.step, step))
            icons.add(button, icon)
        self._lay_out()
        self.show_samples(None, ())

    def show_samples(self, run: Path | None, epochs: tuple[str, ...]) -> None:
        """Show the samples of a run, at the newest epoch unless the user has moved the slider.

        ``epochs``: folders with predictions, the one before training first.
        """
        if (run, epochs) == (self._run, self._epochs) and run is not None:
            return
        is_at_newest = run != self._run or self._slider.value() == self._slider.maximum()
        if run != self._run:
            self._index = 0
            self._show(SamplePrediction())
        self._run, self._epochs = run, epochs
        count = len(self._training_epochs)
        self._slider.blockSignals(True)
        self._slider.setRange(1, max(1, count))
        if is_at_newest:
            self._slider.setValue(count)
        self._slider.blockSignals(False)
        self._slider.setEnabled(count > 1)
        self._page.setVisible(bool(epochs))
        self._empty.setVisible(not epochs)
        self.refresh()

    def refresh(self) -> None:
        """Read the images, again if necessary, because the folder of an epoch exists before all of its images."""
        if self._run is not None and self._epochs:
            self._jobs.submit("sample", self._prepare)

    def step(self, step: int, checked: bool = False) -> None:
        """Show the next (1) or previous (-1) image."""
        self._index += step
        self.refresh()

    @property
    def _training_epochs(self) -> tuple[str, ...]:
        return tuple(name for name in self._epochs if name != BEFORE)

    def _prepare(self) -> JobFunction | None:
        """Return the job that reads the selected sample."""
        if self._run is None or not self._epochs:
            return None
        epochs = self._training_epochs
        epoch = epochs[self._slider.value() - 1] if epochs else BEFORE
        return partial(_read_indexed_sample, self._run, epoch, self._index)

    def _on_read(self, result: tuple[Path, str, SamplePrediction]) -> None:
        run, epoch, sample = result
        if run == self._run:
            self._show(sample, epoch)

    def _show(self, sample: SamplePrediction, epoch: str = BEFORE) -> None:
        reference = sample.photograph or sample.now or sample.before
        aspect = reference.height() / reference.width() if reference is not None else 0.75
        self.pictures["image"].show_image(sample.photograph, aspect)
        self.pictures["before"].show_image(sample.before, aspect, sample.before_path)
        self.pictures["now"].show_image(sample.now, aspect, sample.now_path)
        self._captions["now"].setText(format_epoch(epoch))
        has_several = len(sample.names) > 1
        for button in (self._previous, self._next):
            button.setEnabled(has_several)
        if sample.names:
            number = sample.names.index(sample.name) + 1
            self._name_label.setText(f"{sample.name}  ({number} of {len(sample.names)})")

    def _lay_out(self) -> None:
        self._empty = quiet_label(NONE_YET)
        self._page = QWidget()
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for column, (name, picture) in enumerate(self.pictures.items()):
            grid.addWidget(self._captions[name], 0, column)
            grid.addWidget(picture, 1, column)
            grid.setColumnStretch(column, 1)
        page = QVBoxLayout(self._page)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(4)
        page.addLayout(grid)
        page.addWidget(row(QLabel("epoch"), self._slider, stretch=1))
        page.addWidget(row(self._previous, self._next, self._name_label, stretch=2))
        page.addWidget(quiet_label(LEGEND))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._empty)
        layout.addWidget(self._page)


def format_epoch(folder: str) -> str:
    """Format the folder of an epoch, such as ``epoch 4`` for ``epoch-004``; ``now`` for other folders."""
    number = folder.rpartition("-")[2]
    return f"epoch {int(number)}" if number.isdigit() else "now"


def _read_indexed_sample(run: Path, epoch: str, index: int, context: RunContext) -> tuple[Path, str, SamplePrediction]:
    return run, epoch, read_sample(run, epoch, index)


@dataclass(frozen=True)
class ThumbnailItem:
    """Content of a button.

    ``image_path``: photograph that the button opens. ``picture``: file of the thumbnail.
    """

    caption: str
    tip: str
    image_path: Path
    picture: Path | None = None


class ThumbnailButton(QAbstractButton):
    """A button with an image and a caption."""

    def __init__(self, item: ThumbnailItem, icons: ThemedIcons) -> None:
        super().__init__()
        tip = f"{html.escape(item.tip)}{_format_tooltip_image(item.picture)}<br>Click to open it in the viewer"
        named(self, "thumbnail", item.tip, tip)
        self.item = item
        self.image: QImage | None = None
        self._icons = icons
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Return True, because the height follows the width."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Return the height of a square with a caption."""
        return width + CAPTION_PX

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a quarter of the width of a dock."""
        return QSize(72, self.heightForWidth(72))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw image and caption, with a frame on hover or focus."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        colors = self._icons.palette
        frame = QRectF(0, 0, self.width(), self.height() - CAPTION_PX)
        if self.image is None:
            painter.fillRect(frame, QColor(colors.raised))
        else:
            size = self.image.size().scaled(frame.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
            left, top = (frame.width() - size.width()) / 2, (frame.height() - size.height()) / 2
            painter.drawImage(QRectF(left, top, size.width(), size.height()), self.image)
        if self.hasFocus() or self.underMouse():
            painter.setPen(QPen(QColor(colors.text), 2))
            painter.drawRect(frame.adjusted(1, 1, -1, -1))
        painter.setPen(QColor(colors.text))
        caption_area = QRectF(0, frame.bottom(), self.width(), CAPTION_PX)
        painter.drawText(caption_area, Qt.AlignmentFlag.AlignCenter, self.item.caption)


class ThumbnailGrid(QWidget):
    """Rows of four thumbnails, which are read in a thread."""

    opened = Signal(str)  # path of a photograph

    def __init__(self, name: str, label: str, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, name, label).setToolTip("")
        self._icons = icons
        self.buttons: list[ThumbnailButton] = []
        self._jobs = LatestJobQueue(self)
        self._jobs.succeeded.connect(self._on_read)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(4, 0, 4, 0)
        self._grid.setSpacing(4)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(column, 1)

    def show_items(self, items: Sequence[ThumbnailItem]) -> None:
        for button in self.buttons:
            self._grid.removeWidget(button)
            button.deleteLater()
        self.buttons = [ThumbnailButton(item, self._icons) for item in items]
        for index, button in enumerate(self.buttons):
            button.clicked.connect(partial(self._on_clicked, button.item.image_path))
            self._grid.addWidget(button, *divmod(index, COLUMNS))
        self._jobs.submit("pictures", self._prepare)

    def _prepare(self) -> JobFunction | None:
        paths = tuple(button.item.picture for button in self.buttons)
        return partial(_read_pictures, paths) if paths else None

    def _on_read(self, images: dict[Path, QImage]) -> None:
        for button in self.buttons:
            if button.item.picture is not None:
                button.image = images.get(button.item.picture)
                button.update()

    def _on_clicked(self, path: Path, checked: bool = False) -> None:
        self.opened.emit(str(path))


def _read_pictures(paths: Sequence[Path | None], run: RunContext) -> dict[Path, QImage]:
    """Read the images; unreadable ones are left out."""
    pictures = {path: read_picture(path) for path in run.track(paths, "Reading") if path is not None}
    return {path: image for path, image in pictures.items() if image is not None}


def _format_tooltip_image(picture: Path | None) -> str:
    """Return the HTML of an image for a tooltip.

    Its source is a URI, since Qt would read the drive of a Windows path as the scheme of a URI.
    """
    return "" if picture is None else f"<br><img src='{html.escape(picture.absolute().as_uri())}' width='420'>"
