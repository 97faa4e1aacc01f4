"""What the store of an analyzed slide says of itself: whose results, of which settings, and where its tiles lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.geometry import PixelSize, ScaleSource
from napari_melanoma.core.placement import MapPlacement

WAITING, DONE, FAILED, NO_TISSUE = range(4)  # states of a tile
TileKind = Literal["classification", "regression", "embedding", "dense"]


class SlideResultSpec(Config):
    """What a store says of itself: whose results these are, what each tile has, and where the tiles lie."""

    format_version: Literal[1] = 1
    slide: str = Field(description="name of the slide")
    fingerprint: str = Field(description="of the slide's content")
    kind: TileKind
    classes: tuple[str, ...] = Field((), description="names of the values of a tile, in their order")
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    corner: tuple[float, float] = Field(description="(y, x) of the first cell, in pixels of the finest level")
    step: tuple[float, float] = Field(description="(y, x) from cell to cell, in pixels of the finest level")
    size: tuple[int, int] | None = Field(None, description="height and width of the slide, in pixels of that level")
    pixel_size_um: tuple[float, float] | None = Field(None, description="(y, x) of the finest level")
    scale_source: ScaleSource = Field("file", description="who says so")
    tile_px: int = Field(ge=1, description="side of a tile as the network sees it")
    features: int = Field(0, ge=0, description="length of a tile's embedding")
    dense_px: int = Field(0, ge=0, description="side of a tile's dense map, in cells")
    settings: dict[str, Any] = Field(default_factory=dict, description="all that the values depend on")
    precision: Literal["bf16", "fp32"] = Field("fp32", description="in which the network computed")
    precision_difference: float | None = Field(
        None, description="greatest that half precision made to an answer of the tiles that were tried; null: none was"
    )
    batch_size: int = Field(32, ge=1, description="tiles of a pass of the network: the unit of work and of resuming")

    @property
    def placement(self) -> MapPlacement:
        """Where the grids lie on the slide."""
        size = self.pixel_size_um and PixelSize(*self.pixel_size_um, self.scale_source)
        return MapPlacement(*self.corner, *self.step, size)


def differing_settings(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the settings in which two analyses differ, also those that only one of them has.

    Sorted; empty where equal tiles would get equal values.
    """
    return tuple(
        sorted(
            key
            for key in {*stored, *requested}
            if _effective_setting(stored.get(key)) != _effective_setting(requested.get(key))
        )
    )


def _effective_setting(value: Any) -> Any:  # noqa: ANN401 - whatever JSON has
    """What a setting comes to: of a method that does nothing its numbers do not count."""
    return None if isinstance(value, Mapping) and value.get("method") == "none" else value
