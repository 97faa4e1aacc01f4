"""Maps of a slide as OME-Zarr 0.5 (zarr 3): probability of each class in levels, with the lesions as labels of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import atomic_folder

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace

VERSION = "0.5"
CHUNK, SMALLEST = 512, 256
HIGHEST = 65535  # of a cell whose probability is 1; 0 is one of which nothing is known, so 0 to 1 is 1 to 65535
AXES = ("c", "y", "x")
CHANNELS = ("FF0000", "00FF00", "0000FF", "FFFF00", "00FFFF", "FF00FF")


@dataclass(frozen=True)
class Labels:
    """Numbered areas on the same cells: uint16 (row, column), with colour and properties of each number."""

    name: str
    values: NDArray[np.uint16]
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    properties: Sequence[Mapping[str, Any]] = ()


def write_ome_zarr(
    path: Path, probability: NDArray[np.float32], names: Sequence[str], place: MapPlace, labels: Labels | None = None
) -> None:
    """Write maps of a slide.

    ``probability``: float32 (class, row, column); not-a-number where nothing is known. Written as uint16: 0 where
    nothing is known, else 1 + probability x 65534. ``place``: where the cells lie on the slide; in micrometres where
    that has a scale.
    """
    import zarr

    with atomic_folder(path) as temporary:
        group = zarr.create_group(store=temporary, zarr_format=3)
        levels = list(_halved(probability))
        for number, level in enumerate(levels):
            _put(group, str(number), encoded(level))
        scales = _multiscale("heatmap", place, len(levels), "mean")
        said: dict[str, Any] = {"version": VERSION, "multiscales": [scales], "omero": _shown(names)}
        group.attrs["ome"] = said
        if labels is not None:
            _put_labels(group, labels, place, len(levels))


def encoded(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Give probabilities as whole numbers of 16 bits.

    ``probability``: float32, any shape; not-a-number where nothing is known. Returns uint16: 0 where nothing is known,
    else 1 + probability x 65534.
    """
    known = np.nan_to_num(probability.astype(np.float64), nan=0.0).clip(0, 1)
    return np.where(np.isnan(probability), 0, 1 + np.round(known * (HIGHEST - 1))).astype(np.uint16)


def decoded(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Give back the probabilities that ``encoded`` was given, to 1/65534.

    ``values``: uint16, any shape. Returns float32, same shape; not-a-number where nothing is known.
    """
    return np.where(values == 0, np.nan, (values.astype(np.float64) - 1) / (HIGHEST - 1)).astype(np.float32)


def _put(group: zarr.Group, name: str, values: NDArray[np.uint16]) -> None:
    """Write one level."""
    chunks = (1, min(CHUNK, values.shape[1]), min(CHUNK, values.shape[2]))
    array = group.create_array(name, shape=values.shape, chunks=chunks, dtype="uint16", dimension_names=AXES)
    array[:] = values


def _put_labels(group: zarr.Group, labels: Labels, place: MapPlace, levels: int) -> None:
    """Write labels below the image that they are of; levels are thinned, never mixed."""
    held = group.create_group("labels", attributes={"ome": {"version": VERSION, "labels": [labels.name]}})
    own = held.create_group(labels.name)
    for number in range(levels):
        _put(own, str(number), labels.values[None, :: 2**number, :: 2**number])
    colours = [{"label-value": value, "rgba": [*colour, 255]} for value, colour in labels.colours.items()]
    about: dict[str, Any] = {"colors": colours, "properties": list(labels.properties), "source": {"image": "../../"}}
    scales = _multiscale(labels.name, place, levels, "nearest")
    said: dict[str, Any] = {"version": VERSION, "multiscales": [scales], "image-label": about}
    own.attrs["ome"] = said


def _halved(maps: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The maps, then each half as large: means of what is known."""
    yield maps
    while max(maps.shape[1:]) > SMALLEST:
        padding = ((0, 0), (0, maps.shape[1] % 2), (0, maps.shape[2] % 2))
        padded = np.pad(maps, padding, constant_values=np.nan)
        parts = np.stack([padded[:, row::2, column::2] for row in (0, 1) for column in (0, 1)])
        known = np.isfinite(parts)
        count = known.sum(axis=0)
        total = np.where(known, parts, 0).sum(axis=0)
        maps = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
        yield maps


def _multiscale(name: str, place: MapPlace, levels: int, how: str) -> dict[str, Any]:
    """Axes and levels as the format tells them; a place is that of the centre of the first cell."""
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
    return {"name": name, "axes": axes, "datasets": datasets, "type": how}


def _shown(names: Sequence[str]) -> dict[str, Any]:
    """How a viewer is to show the classes."""
    window = {"start": 1, "end": HIGHEST, "min": 0, "max": HIGHEST}
    channels = [
        {"label": name, "color": CHANNELS[number % len(CHANNELS)], "active": True, "window": window}
        for number, name in enumerate(names)
    ]
    return {"channels": channels}
