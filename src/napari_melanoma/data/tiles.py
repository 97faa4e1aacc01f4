"""What a data set of tiles of slides says of them beside its table: ``tiles.json``, so that a training knows them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json, reason_of
from napari_melanoma.core.tile import TileConfig

TILES, FORMAT = "tiles.json", 1
TARGET = "tissue"  # column: what a tile shows


class TileSet(Config):
    """Scale and side of the tiles, and the classes: the values 0, 1, 2 ... of the label images in their order."""

    tile: TileConfig
    labels: tuple[str, ...] = Field(min_length=2, description="names of the values of the label images")
    classes: tuple[str, ...] = Field((), description="what the column of classes says, in order")
    target: str = TARGET


def write_tile_set(folder: Path, tiles: TileSet) -> None:
    """Write ``tiles.json``."""
    write_json(folder / TILES, {"format_version": FORMAT, **tiles.model_dump(mode="json")})


def tile_set_of(folder: Path) -> TileSet | None:
    """Read what a data set says of its tiles.

    None where it holds no tiles of slides, or nobody said so.
    """
    path = folder / TILES
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataSetError(f"{path} cannot be read ({reason_of(error)}): make the data set of tiles again.") from error
    if not isinstance(values, dict) or values.pop("format_version", None) != FORMAT:
        raise DataSetError(f"{path} is of another version of this program: make the data set of tiles again.")
    return TileSet.parse(values, str(path))


def joint_tile_set(folders: Iterable[Path]) -> TileSet | None:
    """Read what several data sets say of their tiles together.

    None where not all of them hold tiles of slides.
    """
    found = [(folder, tile_set_of(folder)) for folder in folders]
    if not found or any(tiles is None for _, tiles in found):
        return None
    (first, one), *others = [(folder, tiles) for folder, tiles in found if tiles is not None]
    for folder, tiles in others:
        if (tiles.tile, tiles.labels, tiles.target) != (one.tile, one.labels, one.target):
            raise DataSetError(
                f"the tiles of {first.name} and {folder.name} differ: {_said(one)}, and {_said(tiles)}. Make them with "
                "the same scale, side and classes, or learn from one of them."
            )
    classes = dict.fromkeys(name for _, tiles in found if tiles is not None for name in tiles.classes)
    return one.model_copy(update={"classes": tuple(classes)})


def _said(tiles: TileSet) -> str:
    """A kind of tiles in words."""
    return f"{tiles.tile.side_px} px at {tiles.tile.mpp:g} µm of {', '.join(tiles.labels)}"
