"""labelme: images and a JSON file for each."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.sources._annotations import describe_format, find_annotated

SPEC = describe_format(
    "labelme",
    "labelme annotations",
    "https://github.com/wkentaro/labelme",
    "a JSON file for each image, with shapes",
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the annotated images."""
    return find_annotated(tree, "labelme")
