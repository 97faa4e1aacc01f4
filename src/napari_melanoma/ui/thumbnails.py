"""Small pictures in rows, each a button: what got better, what got worse."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QAbstractButton, QGridLayout, QSizePolicy, QWidget

from napari_melanoma.ui.job import Latest, Work
from napari_melanoma.ui.look import ThemedIcons, named
from napari_melanoma.ui.samples import read_picture

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext

COLUMNS = 4
CAPTION_PX = 15


@dataclass(frozen=True)
class Thumbnail:
    """What one button shows: a caption below a picture, a tooltip, and the photograph that it opens."""

    caption: str
    tip: str
    opens: Path
    picture: Path | None = None


class ThumbnailButton(QAbstractButton):
    """A picture with a caption that can be clicked."""

    def __init__(self, item: Thumbnail, icons: ThemedIcons) -> None:
        super().__init__()
        enlarged = "" if item.picture is None else f"<br><img src='{html.escape(item.picture.as_posix())}' width='420'>"
        named(self, "thumbnail", item.tip, f"{item.tip}{enlarged}<br>Click: open it in the viewer")
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
        """Say that the height follows the width, as Qt asks."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Be square above the caption, as Qt asks."""
        return width + CAPTION_PX

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Want a fourth of a dock."""
        return QSize(72, self.heightForWidth(72))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw picture and caption, and a frame where the mouse or the focus is."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        colours = self._icons.palette
        room = QRectF(0, 0, self.width(), self.height() - CAPTION_PX)
        if self.image is None:
            painter.fillRect(room, QColor(colours.raised))
        else:
            size = self.image.size().scaled(room.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
            left, top = (room.width() - size.width()) / 2, (room.height() - size.height()) / 2
            painter.drawImage(QRectF(left, top, size.width(), size.height()), self.image)
        if self.hasFocus() or self.underMouse():
            painter.setPen(QPen(QColor(colours.text), 2))
            painter.drawRect(room.adjusted(1, 1, -1, -1))
        painter.setPen(QColor(colours.text))
        below = QRectF(0, room.bottom(), self.width(), CAPTION_PX)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, self.item.caption)


class Thumbnails(QWidget):
    """Rows of four; the pictures are read in a thread."""

    opened = Signal(str)

    def __init__(self, name: str, spoken: str, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, name, spoken).setToolTip("")
        self._icons = icons
        self.buttons: list[ThumbnailButton] = []
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_read)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(4, 0, 4, 0)
        self._grid.setSpacing(4)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(column, 1)

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return self._latest.busy

    def show_items(self, items: Sequence[Thumbnail]) -> None:
        """Show other pictures."""
        for button in self.buttons:
            self._grid.removeWidget(button)
            button.deleteLater()
        self.buttons = [ThumbnailButton(item, self._icons) for item in items]
        for place, button in enumerate(self.buttons):
            button.clicked.connect(partial(self._on_clicked, button.item.opens))
            self._grid.addWidget(button, *divmod(place, COLUMNS))
        self._latest.submit("pictures", self._prepare)

    def _prepare(self) -> Work | None:
        paths = tuple(button.item.picture for button in self.buttons)
        return partial(_read, paths) if paths else None

    def _on_read(self, images: dict[Path, QImage]) -> None:
        for button in self.buttons:
            if button.item.picture is not None:
                button.image = images.get(button.item.picture)
                button.update()

    def _on_clicked(self, path: Path, checked: bool = False) -> None:
        self.opened.emit(str(path))


def _read(paths: Sequence[Path | None], run: RunContext) -> dict[Path, QImage]:
    """Read the pictures that can be read."""
    found = {path: read_picture(path) for path in run.track(paths, "Reading") if path is not None}
    return {path: image for path, image in found.items() if image is not None}
