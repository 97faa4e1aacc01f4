"""Areas of a slide in SpatialData stores, as of LazySlide, squidpy and napari-spatialdata: reading, and their tables.

In the coordinate system "global", positions (x, y) are pixels of the finest level from the corner of the canvas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.parsing import parse_error_reason, read_object_or_empty
from napari_melanoma.core.polygons import Polygon, Ring, as_ring, to_shape
from napari_melanoma.io.geojson import Annotation, Color, GeoJsonContent, is_finite_number, read_classification

if TYPE_CHECKING:
    from shapely import Geometry

SPATIALDATA_MISSING = (
    "SpatialData stores require spatialdata, which is not installed: pip install 'napari-melanoma[spatialdata]'."
)
PIXELS, MICROMETERS = "global", "micrometers"  # coordinate systems
METADATA_FILES = ("zarr.json", ".zattrs")  # of Zarr 3 and 2
# The first that an element has; LazySlide splits the classification of QuPath into two columns.
CLASS_COLUMNS = ("class", "classification", "classification_name", "class_name", "label")
COLOR_COLUMNS = ("color", "classification_color")
OWN_COLUMNS = ("geometry", "name", "id", "objectType", "measurements", *CLASS_COLUMNS, *COLOR_COLUMNS)
TILE_COLUMN, TILE_ATTRIBUTE = "tile_id", "tile_spec"  # by which wsidata marks tiles


def find_spatialdata(path: Path) -> Path | None:
    """Return the SpatialData store of a path, which is its folder or its file ``zarr.json``; None for other paths."""
    folder = path.parent if path.name in METADATA_FILES else path
    for name in METADATA_FILES:
        content = read_object_or_empty(folder / name)
        attributes = content.get("attributes", content)
        if isinstance(attributes, dict) and "spatialdata_attrs" in attributes:
            return folder
    return None


def require_spatialdata() -> None:
    """Raise ConfigError if spatialdata is not installed."""
    try:
        import spatialdata  # noqa: F401 - fail before any computation
    except ImportError as error:
        raise ConfigError(SPATIALDATA_MISSING) from error


def annotations_to_frame(annotations: Iterable[Annotation]) -> Any:  # noqa: ANN401 - geopandas.GeoDataFrame
    """Convert areas to a table with geometry, which has a column for each measurement and each simple property."""
    import geopandas

    rows = []
    for one in annotations:
        metadata = one.properties.get("metadata")
        properties = {**one.properties, **(metadata if isinstance(metadata, Mapping) else {})}
        rows.append(
            {
                **{key: value for key, value in properties.items() if isinstance(value, str | bool)},
                **one.measurements,
                "id": one.id,
                "name": one.name,
                "class": one.class_name,
                "color": "" if one.color is None else "#{:02x}{:02x}{:02x}".format(*one.color),
                "geometry": _to_geometry(one),
            }
        )
    return geopandas.GeoDataFrame(rows)


def _to_geometry(annotation: Annotation) -> Geometry:
    import shapely

    parts = swap_axes([to_shape(polygon) for polygon in annotation.polygons])
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def swap_axes(shapes: Iterable[Geometry]) -> list[Geometry]:
    """Convert shapes from (row, column) to (x, y), or back."""
    import shapely

    return [shapely.transform(shape, lambda points: points[:, ::-1]) for shape in shapes]


def read_spatialdata(store: Path) -> GeoJsonContent:
    """Read the areas of all shapes in a SpatialData store, except tiles, in pixels of the finest level.

    Points and circles, and shapes without a position in "global", are left out and reported. An area without a class
    has the name of its element as class, such as ``tissues``.
    """
    require_spatialdata()
    import spatialdata

    try:
        data = spatialdata.read_zarr(store, selection=("shapes",))
    except Exception as error:  # spatialdata and zarr raise many kinds of errors for damaged stores
        raise InputError(
            f"cannot read {store} as a SpatialData store: {parse_error_reason(error)}. Write it again."
        ) from error
    tiles = data.attrs.get(TILE_ATTRIBUTE)
    annotations: list[Annotation] = []
    omitted: list[str] = []
    for name, element in data.shapes.items():
        if TILE_COLUMN in element.columns or (isinstance(tiles, Mapping) and name in tiles):
            continue
        if PIXELS not in spatialdata.transformations.get_transformation(element, get_all=True):
            omitted.append(f"{name}: it has no position in the coordinate system '{PIXELS}'")
            continue
        placed = spatialdata.transform(element, to_coordinate_system=PIXELS)
        read = [_read_row(row, name) for row in placed.to_dict("records")]
        annotations += [one for one in read if one is not None]
        if count := read.count(None):
            omitted.append(f"{name}: {count} without an area")
    return GeoJsonContent(tuple(annotations), tuple(omitted))


def _read_row(row: Mapping[str, Any], element: str) -> Annotation | None:
    """Return the area in a row of a table of shapes; None for a point or circle."""
    polygons = _to_polygons(row["geometry"])
    if not polygons:
        return None
    class_name, color = read_classification(next((row[key] for key in CLASS_COLUMNS if key in row), element))
    others = {key: value for key, value in row.items() if key not in OWN_COLUMNS}
    nested = row.get("measurements")
    numbers = {**others, **(nested if isinstance(nested, Mapping) else {})}
    return Annotation(
        polygons,
        class_name,
        next(filter(None, (_read_color(row.get(key)) for key in COLOR_COLUMNS)), color),
        _read_text(row.get("name")),
        {key: float(value) for key, value in numbers.items() if is_finite_number(value)},
        _read_text(row.get("objectType")) or "annotation",
        id=_read_text(row.get("id")),
        properties={key: value for key, value in others.items() if isinstance(value, str | bool)},
    )


def _to_polygons(geometry: Geometry) -> tuple[Polygon, ...]:
    """Convert the areas of a geometry, with their vertices in the same order, so that known areas are recognized."""
    import shapely

    def convert(ring: shapely.LinearRing) -> Ring:
        return as_ring(shapely.get_coordinates(ring)[:, ::-1])

    parts = [part for part in shapely.get_parts(geometry) if isinstance(part, shapely.Polygon) and part.area]
    return tuple(Polygon(convert(part.exterior), tuple(map(convert, part.interiors))) for part in parts)


def _read_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_color(value: Any) -> Color | None:  # noqa: ANN401 - any value of a table
    """Return a color stored as ``#rrggbb`` or as three numbers; None for anything else."""
    try:
        red, green, blue = bytes.fromhex(value.removeprefix("#")) if isinstance(value, str) else map(int, value)
    except (TypeError, ValueError):
        return None
    return red, green, blue
