"""GeoJSON: a file of outlines for each image, as QuPath and other programs read them."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.data.export_catalog import DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.imaging.masks import trace_polygons
from napari_melanoma.io.geojson import Annotation, write_geojson

SPEC = DataExportSpec("geojson", "GeoJSON for QuPath (images/, and a file of outlines for each)")


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
