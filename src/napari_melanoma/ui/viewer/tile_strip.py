"""Thumbnails of tiles of a slide."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QToolButton, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.ui.session.run_status import SuspiciousTile
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import named
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from napari_melanoma.slides.reading.tiled import TiledSlide
COLUMNS, SIDE_PX = 5, 48  # of the grid of thumbnails; side of a thumbnail
READ_PX = 96  # side in which thumbnails are read, for high-density screens


class TileStrip(QWidget):
    """Buttons with thumbnails of tiles, which are read in a background thread."""

    tile_clicked = Signal(object)  # SuspiciousTile

    def __init__(self) -> None:
        super().__init__()
        named(self, "tiles", "Most suspicious tiles").setToolTip("")
        self.buttons: list[QToolButton] = []
        self._tiles: tuple[SuspiciousTile, ...] = ()
        self._shows_values = True
        self._identity: str | None = None  # of the slide whose tiles are shown
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_read)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(column, 1)

    def show_tiles(self, slide: ViewerSlide | None, tiles: tuple[SuspiciousTile, ...]) -> None:
        if tiles == self._tiles:
            return
        identity = None if slide is None else slide.identity
        if identity != self._identity:
            self._identity = identity
            for button in self.buttons:
                button.setIcon(_create_blank())  # not the previous thumbnails while the new ones are read
        self._tiles = tiles
        while len(self.buttons) < len(tiles):
            self._add_button()
        for button, tile in zip(self.buttons, tiles, strict=False):
            self._update_button(button, tile)
        for index, button in enumerate(self.buttons):
            button.setVisible(index < len(tiles))
        if slide is not None and tiles:
            self._latest.submit("tiles", lambda: partial(_read_tile_images, slide.slide, tiles))

    def show_values(self, shown: bool) -> None:
        self._shows_values = shown
        for button, tile in zip(self.buttons, self._tiles, strict=False):
            self._update_button(button, tile)

    def _update_button(self, button: QToolButton, tile: SuspiciousTile) -> None:
        """Show the value of a tile: the mean over its area."""
        button.setText(f"{tile.value:.2f}" if self._shows_values else "")
        button.setAccessibleName(f"Tile with {tile.value:.2f}" if self._shows_values else "Tile")
        value = f"Mean over the tile {tile.value:.3f}. " if self._shows_values else ""
        button.setToolTip(f"{value}Click to go there")

    def _add_button(self) -> None:
        index = len(self.buttons)
        button = named(QToolButton(), f"tile_{index + 1}", "Tile")
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(SIDE_PX, SIDE_PX))
        button.setIcon(_create_blank())
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        button.setCursor(Qt.CursorShape.PointingHandCursor)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        button.clicked.connect(partial(self._on_clicked, index))
        self.buttons.append(button)
        self._grid.addWidget(button, *divmod(index, COLUMNS))

    def _on_clicked(self, index: int, checked: bool = False) -> None:
        if index < len(self._tiles):
            self.tile_clicked.emit(self._tiles[index])

    def _on_read(self, tiles_and_images: tuple[tuple[SuspiciousTile, ...], list[QImage | None]]) -> None:
        tiles, images = tiles_and_images
        if tiles != self._tiles:
            return
        for button, image in zip(self.buttons, images, strict=False):
            button.setIcon(_create_blank() if image is None else QIcon(QPixmap.fromImage(image)))


def _create_blank() -> QIcon:
    """Create an icon of the size of a thumbnail, so that buttons keep their height."""
    blank = QPixmap(SIDE_PX, SIDE_PX)
    blank.fill(Qt.GlobalColor.transparent)
    return QIcon(blank)


def _read_tile_images(
    slide: TiledSlide, tiles: tuple[SuspiciousTile, ...], run: RunContext
) -> tuple[tuple[SuspiciousTile, ...], list[QImage | None]]:
    """Read the thumbnails of tiles; return the tiles with one image each, None for a tile that cannot be read."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.slides.reading.slide import resize_rgb

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
        images.append(to_qimage(resize_rgb(pixels, READ_PX, READ_PX)))
    return tiles, images
