"""label-studio: images and an export as JSON or JSON-MIN."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources._annotations import describe_format, find_annotated

SPEC = describe_format(
    "label-studio",
    "label-studio annotations",
    "https://labelstud.io/guide/export",
    "a JSON file of tasks: an export as JSON or JSON-MIN,\nwith brush, polygons, rectangles or ellipses",
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the annotated images."""
    return find_annotated(tree, "label-studio")
