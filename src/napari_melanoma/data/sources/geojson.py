"""GeoJSON of QuPath and other programs: images and outlines."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources._annotations import describe_format, find_annotated

SPEC = describe_format(
    "geojson",
    "GeoJSON outlines (QuPath)",
    "https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html",
    "a GeoJSON file for each image, of the same name, in pixels of the image",
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the annotated images."""
    return find_annotated(tree, "geojson")
