"""Metadata of the store of an analyzed slide (``result.zarr``): slide, settings, and positions of the tiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.geometry import PixelSize, ScaleSource
from napari_melanoma.core.map_placement import MapPlacement

WAITING, DONE, FAILED, NO_TISSUE = range(4)  # states of a tile
TileKind = Literal["classification", "regression", "embedding", "dense"]


class SlideResultSpec(Config):
    """Metadata of a store: the slide, the kind of outputs, the positions of the tiles, and the settings."""

    format_version: Literal[1] = 1
    slide: str = Field(description="name of the slide")
    fingerprint: str = Field(description="fingerprint of the slide")
    kind: TileKind
    classes: tuple[str, ...] = Field((), description="names of the values of a tile, in order")
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    corner: tuple[float, float] = Field(description="(y, x) of the first cell, in pixels of the finest level")
    step: tuple[float, float] = Field(description="(y, x) from cell to cell, in pixels of the finest level")
    size: tuple[int, int] | None = Field(None, description="height and width of the slide, in pixels of that level")
    pixel_size_um: tuple[float, float] | None = Field(None, description="(y, x) of the finest level")
    scale_source: ScaleSource = Field("file", description="source of the pixel size")
    tile_px: int = Field(ge=1, description="side of a tile at the input of the network")
    features: int = Field(0, ge=0, description="length of a tile's embedding")
    dense_px: int = Field(0, ge=0, description="side of a tile's dense map, in cells")
    settings: dict[str, Any] = Field(default_factory=dict, description="all settings that determine the values")
    precision: Literal["bf16", "fp32"] = Field("fp32", description="precision of the network")
    precision_difference: float | None = Field(
        None, description="greatest change of a prediction by half precision on sampled tiles; null if not compared"
    )
    batch_size: int = Field(32, ge=1, description="tiles per forward pass: the unit of processing and resuming")

    @property
    def placement(self) -> MapPlacement:
        """Placement of the grids on the slide."""
        size = self.pixel_size_um and PixelSize(*self.pixel_size_um, self.scale_source)
        return MapPlacement(*self.corner, *self.step, size)


def differing_settings(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sorted names of the settings in which two analyses differ, also of those that only one of them has.

    Empty if the predictions of both are the same.
    """
    return tuple(
        sorted(
            key
            for key in {*stored, *requested}
            if _effective_setting(stored.get(key)) != _effective_setting(requested.get(key))
        )
    )


def _effective_setting(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a setting, or None for a method "none", whose other values have no effect."""
    return None if isinstance(value, Mapping) and value.get("method") == "none" else value
