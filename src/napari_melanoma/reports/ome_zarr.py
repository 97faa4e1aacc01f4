"""Maps of a slide as OME-Zarr, with labeled areas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.geometry import MapPlacement

if TYPE_CHECKING:
    import zarr

    from napari_melanoma.slides.maps import SlideMaps

OmeVersion = Literal["0.4", "0.5"]  # of OME-Zarr: metadata in zarr 2 and 3
CHUNK, SMALLEST_LEVEL = 512, 256  # sides in an OME-Zarr folder: of a chunk, and of the smallest level
MAX_VALUE = 65535  # probabilities 0 to 1 are stored as 1 to 65535; 0 is an unknown value
AXES = ("c", "y", "x")
CHANNEL_COLORS = ("FF0000", "00FF00", "0000FF", "FFFF00", "00FFFF", "FF00FF")


@dataclass(frozen=True)
class LabelLayer:
    """Labeled areas: uint16 (row, column), their place on the slide, and color and properties of each label."""

    name: str
    values: NDArray[np.uint16]
    place: MapPlacement
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    properties: Sequence[Mapping[str, Any]] = ()


def write_ome_zarr(
    path: Path,
    maps: SlideMaps,
    names: Sequence[str],
    labels: LabelLayer | None = None,
    version: OmeVersion = "0.5",
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write maps of a slide as OME-Zarr, with labels if there are any, of which the cells may be smaller.

    ``maps``: written as by ``encode_probability``; in micrometers if they have a pixel size. ``names``: of the classes.
    ``attributes``: further ones of the group.
    """
    import zarr

    with atomic_folder(path) as temporary:
        group = zarr.create_group(store=temporary, zarr_format=2 if version == "0.4" else 3)
        levels = list(_pyramid(maps.probability))
        for number, level in enumerate(levels):
            _write_level(group, str(number), encode_probability(level))
        scales = _multiscale("heatmap", maps.placement, len(levels), "mean")
        _write_metadata(group, version, multiscales=[scales], omero=_display_metadata(names))
        group.attrs.update(dict(attributes or {}))
        if labels is not None:
            _write_labels(group, labels, version)


def _write_metadata(group: zarr.Group, version: OmeVersion, **metadata: Any) -> None:  # noqa: ANN401 - of OME-Zarr
    """Write the metadata of a group, which version 0.4 stores without a common key, with a version in each part."""
    if version == "0.5":
        group.attrs["ome"] = {"version": version, **metadata}
        return
    for scales in metadata.get("multiscales", []):
        scales["version"] = version
    for name in ("omero", "image-label"):
        if name in metadata:
            metadata[name] = {**metadata[name], "version": version}
    group.attrs.update(metadata)


def encode_probability(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Encode probabilities as uint16.

    ``probability``: float32, any shape; NaN where unknown. Returns uint16: 0 where unknown, else
    1 + probability x 65534.
    """
    known = np.nan_to_num(probability.astype(np.float64), nan=0.0).clip(0, 1)
    return np.where(np.isnan(probability), 0, 1 + np.round(known * (MAX_VALUE - 1))).astype(np.uint16)


def decode_probability(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Decode probabilities, accurate to 1/65534: the inverse of ``encode_probability``.

    ``values``: uint16, any shape. Returns float32, same shape; NaN where unknown.
    """
    return np.where(values == 0, np.nan, (values.astype(np.float64) - 1) / (MAX_VALUE - 1)).astype(np.float32)


def _write_level(group: zarr.Group, name: str, values: NDArray[np.uint16]) -> None:
    chunks = (1, min(CHUNK, values.shape[1]), min(CHUNK, values.shape[2]))
    is_new = group.metadata.zarr_format == 3
    layout: dict[str, Any] = (
        {"dimension_names": AXES} if is_new else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    )
    array = group.create_array(name, shape=values.shape, chunks=chunks, dtype="uint16", **layout)
    array[:] = values


def _write_labels(group: zarr.Group, labels: LabelLayer, version: OmeVersion) -> None:
    """Write the labels of the maps; levels are subsampled without interpolation."""
    levels = 1 + max(0, math.ceil(math.log2(max(labels.values.shape) / SMALLEST_LEVEL)))
    labels_group = group.create_group("labels")
    _write_metadata(labels_group, version, labels=[labels.name])
    own = labels_group.create_group(labels.name)
    for number in range(levels):
        _write_level(own, str(number), labels.values[None, :: 2**number, :: 2**number])
    colors = [{"label-value": value, "rgba": [*color, 255]} for value, color in labels.colors.items()]
    label_metadata: dict[str, Any] = {
        "colors": colors,
        "properties": list(labels.properties),
        "source": {"image": "../../"},
    }
    scales = _multiscale(labels.name, labels.place, levels, "nearest")
    _write_metadata(own, version, **{"multiscales": [scales], "image-label": label_metadata})


def _pyramid(maps: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the maps, then levels of half the size each, with means of the known values."""
    yield maps
    while max(maps.shape[1:]) > SMALLEST_LEVEL:
        padding = ((0, 0), (0, maps.shape[1] % 2), (0, maps.shape[2] % 2))
        padded = np.pad(maps, padding, constant_values=np.nan)
        parts = np.stack([padded[:, row::2, column::2] for row in (0, 1) for column in (0, 1)])
        known = np.isfinite(parts)
        count = known.sum(axis=0)
        total = np.where(known, parts, 0).sum(axis=0)
        maps = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
        yield maps


def _multiscale(name: str, place: MapPlacement, levels: int, method: str) -> dict[str, Any]:
    """Return axes and levels as OME-Zarr metadata; translations refer to the center of the first cell.

    ``method``: by which levels are reduced.
    """
    unit = {} if place.pixel_size is None else {"unit": "micrometer"}
    axes: list[dict[str, str]] = [
        {"name": "c", "type": "channel"},
        *({"name": axis, "type": "space", **unit} for axis in "yx"),
    ]
    datasets = []
    for number in range(levels):
        at = replace(place, step_y=place.step_y * 2**number, step_x=place.step_x * 2**number)
        transformations: list[dict[str, Any]] = [
            {"type": "scale", "scale": [1.0, *map(float, at.scale)]},
            {"type": "translation", "translation": [0.0, *map(float, at.translate)]},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
    return {"name": name, "axes": axes, "datasets": datasets, "type": method}


def _display_metadata(names: Sequence[str]) -> dict[str, Any]:
    window = {"start": 1, "end": MAX_VALUE, "min": 0, "max": MAX_VALUE}
    channels = [
        {"label": name, "color": CHANNEL_COLORS[number % len(CHANNEL_COLORS)], "active": True, "window": window}
        for number, name in enumerate(names)
    ]
    return {"channels": channels}
