"""GeoJSON of QuPath and other programs: a file of outlines, with holes, for each image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from napari_melanoma.core.polygons import untangle_polygon
from napari_melanoma.data.exports import DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.formats._annotations import AnnotationFormat, describe_format, find_annotated, find_text
from napari_melanoma.data.mask_areas import MaskObject, PolygonArea
from napari_melanoma.imaging.masks import trace_polygons
from napari_melanoma.io.geojson import Annotation, read_features, write_geojson

SOURCE = describe_format(
    "geojson",
    "GeoJSON outlines (QuPath)",
    "https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html",
    "a GeoJSON file for each image, of the same name, in pixels of the image",
)
EXPORT = DataExportSpec("geojson", "GeoJSON for QuPath (images/, and a file of outlines for each)")
_GEOJSON_TYPES = ("FeatureCollection", "Feature", "GeometryCollection", "Polygon", "MultiPolygon")


def is_geojson(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether JSON content is GeoJSON: a feature, collection, polygon, or (older QuPath) a list of features."""
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and first.get("type") in _GEOJSON_TYPES


def read_geojson_masks(content: Any, file: Path) -> Iterator[MaskObject | str]:  # noqa: ANN401 - any JSON value
    """Yield the features of a GeoJSON file, read by the rules for the regions of slides.

    The image is named by the property ``image``, ``file_name`` or ``image_id``, or else by the file's stem. Also yields
    the description of a geometry that was left out because it has no area.
    """
    features = read_features(content, file)
    for annotation in features.annotations:
        polygons = [part for polygon in annotation.polygons for part in untangle_polygon(polygon)]
        if not polygons:  # such as a hole over all of its polygon
            yield "geometries (their holes leave no area)"
            continue
        yield MaskObject(
            image=find_text(annotation.properties, "image", "file_name", "image_id") or file.stem,
            area=PolygonArea([list(polygon.arrays) for polygon in polygons]),
            label=annotation.class_name or find_text(annotation.properties, "label", "class") or annotation.name,
            diagnosis=find_text(annotation.properties, "diagnosis"),
        )
    yield from (f"geometries ({reason.partition(': ')[2]})" for reason in features.omitted)


FORMAT = AnnotationFormat("geojson", is_geojson, read_geojson_masks)
find = partial(find_annotated, format_=FORMAT)


def write(data: ExportedData, folder: Path) -> None:
    """Write images and outlines, with holes, in pixels from the corner of the image."""

    def write_image(image: ExportedImage) -> None:
        path, shape = image.copy_image(folder / "images")
        annotations = [
            Annotation(trace_polygons(area.mask), class_name=area.class_name, properties={"image": path.name})
            for area in image.read_areas(shape)
        ]
        write_geojson(folder / f"{image.image_id}.geojson", annotations)

    for _ in data.write_each(write_image):
        pass
