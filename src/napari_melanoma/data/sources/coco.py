"""COCO: images and JSON files of annotations."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources._annotations import describe_format, find_annotated

SPEC = describe_format(
    "coco",
    "COCO annotations",
    "https://cocodataset.org/#format-data",
    "JSON with images, annotations (polygons or run lengths) and categories,\n"
    "for a split if its name has the word train, val or test, or its folder is named so",
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the annotated images."""
    return find_annotated(tree, "coco")
