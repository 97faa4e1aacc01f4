"""The most suspicious tiles of a slide as a strip of small pictures: click one, and the view goes there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QToolButton, QWidget

from napari_melanoma.core.geometry import Box
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.look import named

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.io.slides.tiled import TiledSlide
    from napari_melanoma.ui.slide.layers import OpenSlide
    from napari_melanoma.ui.slide.watch import SuspiciousTile

COLUMNS, SIDE_PX = 5, 52
READ_PX = 104  # for screens with two pixels a point


class TileStrip(QWidget):
    """A row of buttons; their pictures are read in a thread."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        named(self, "tiles", "Most suspicious tiles").setToolTip("")
        self.buttons: list[QToolButton] = []
        self._shown: tuple[SuspiciousTile, ...] = ()
        self._values = True
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_read)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(column, 1)

    @property
    def busy(self) -> bool:
        """Whether pictures are being read."""
        return self._latest.busy

    def show_tiles(self, slide: OpenSlide | None, tiles: tuple[SuspiciousTile, ...]) -> None:
        """Show other tiles."""
        if tiles == self._shown:
            return
        self._shown = tiles
        while len(self.buttons) < len(tiles):
            self._add_button()
        for button, tile in zip(self.buttons, tiles, strict=False):
            self._write(button, tile)
        for place, button in enumerate(self.buttons):
            button.setVisible(place < len(tiles))
        if slide is not None and tiles:
            self._latest.submit("tiles", lambda: partial(_read, slide.slide, tiles))

    def show_values(self, shown: bool) -> None:
        """Show the values of the tiles below their pictures, or hide them."""
        self._values = shown
        for button, tile in zip(self.buttons, self._shown, strict=False):
            self._write(button, tile)

    def _write(self, button: QToolButton, tile: SuspiciousTile) -> None:
        """Write the value of a tile: the mean over its area."""
        button.setText(f"{tile.value:.2f}" if self._values else "")
        button.setAccessibleName(f"Tile with {tile.value:.2f}" if self._values else "Tile")
        value = f"Mean over the tile {tile.value:.3f}. " if self._values else ""
        button.setToolTip(f"{value}Click: go there")

    def _add_button(self) -> None:
        place = len(self.buttons)
        button = named(QToolButton(), f"tile_{place + 1}", "Tile")
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(SIDE_PX, SIDE_PX))
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        button.setCursor(Qt.CursorShape.PointingHandCursor)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        button.clicked.connect(partial(self._on_clicked, place))
        self.buttons.append(button)
        self._grid.addWidget(button, *divmod(place, COLUMNS))

    def _on_clicked(self, place: int, checked: bool = False) -> None:
        if place < len(self._shown):
            self.chosen.emit(self._shown[place])

    def _on_read(self, found: tuple[tuple[SuspiciousTile, ...], list[QImage | None]]) -> None:
        tiles, images = found
        if tiles != self._shown:
            return
        for button, image in zip(self.buttons, images, strict=False):
            button.setIcon(QIcon() if image is None else QIcon(QPixmap.fromImage(image)))


def _read(
    slide: TiledSlide, tiles: tuple[SuspiciousTile, ...], run: RunContext
) -> tuple[tuple[SuspiciousTile, ...], list[QImage | None]]:
    """Read the pictures; a tile that is damaged has none."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.io.slides.pictures import fitted
    from napari_melanoma.ui.slide.overview import as_image

    images: list[QImage | None] = []
    for tile in tiles:
        run.check()
        index = slide.best_level(max(1.0, max(tile.height_px, tile.width_px) / READ_PX))
        down = slide.info.levels[index].downsample
        height, width = max(1, round(tile.height_px / down)), max(1, round(tile.width_px / down))
        corner = round(tile.row / down - height / 2), round(tile.column / down - width / 2)
        try:
            pixels = slide.read_region(index, Box(*corner, height, width))
        except MelanomaError:
            images.append(None)
            continue
        images.append(as_image(fitted(pixels, READ_PX, READ_PX)))
    return tiles, images
