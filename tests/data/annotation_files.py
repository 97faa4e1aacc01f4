"""Reads files of annotations, for tests of formats."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.data.formats._annotations import read_objects
from napari_melanoma.data.formats.masks import ANNOTATIONS, detect_format
from napari_melanoma.data.mask_areas import MaskObject
from napari_melanoma.data.source_files import SourceTree


def read_masks(path: Path, kind: str = "") -> tuple[list[MaskObject], list[str]]:
    """Return the objects in a file or folder, and the descriptions of what was left out."""
    name = kind or detect_format(path)
    tree = SourceTree.scan(path)
    objects, _ = read_objects(tree, next(format_ for format_ in ANNOTATIONS if format_.name == name))
    left_out = [text.partition("left out: ")[2].partition(" ")[2] for _, text in tree.notes]
    return [one for of_image in objects.values() for one in of_image], left_out
