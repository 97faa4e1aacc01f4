"""A folder of pictures: one value inside the lesion and 0 outside, named after the photographs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from napari_melanoma.data.masks.areas import ImageFileArea, MaskObject
from napari_melanoma.data.masks.label_values import read_nnunet_labels, strip_mask_suffix
from napari_melanoma.io.photographs import read_image_size

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
LABEL_FOLDER = re.compile(r"labels(?:tr|ts|val)", re.IGNORECASE)  # of nnU-Net, beside imagesTr


def read_image_masks(path: Path) -> Iterator[MaskObject | str]:
    """List the masks of a folder and its subfolders.

    Where masks lie beside photographs, as ``x_mask.png`` beside ``x.jpg``, only files with such a word are masks; in
    the layout of nnU-Net, only those of ``labelsTr`` and the like.

    A mask, or what was left out because it is no picture.
    """
    names = read_nnunet_labels(path if path.is_dir() else path.parent)
    for file in _select_masks(list_image_files(path)):
        stored = read_image_size(file)
        if stored is None:
            yield f"files that are no pictures ({file.name})"
        else:
            yield MaskObject(file.name, ImageFileArea(file, class_names=names), size=(stored[1], stored[0]))


def list_image_files(path: Path) -> list[Path]:
    """List the pictures that a path stands for.

    Sorted; hidden ones are left out.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]


def _select_masks(files: list[Path]) -> list[Path]:
    """Leave photographs out where there are pairs like ``x.jpg`` and ``x_mask.png``, or the folders of nnU-Net."""
    labels = [file for file in files if any(LABEL_FOLDER.fullmatch(part) for part in file.parts[:-1])]
    if labels and len(labels) < len(files):
        return labels
    named = [file for file in files if strip_mask_suffix(file.stem) != file.stem.casefold()]
    photographs = {(file.parent, file.stem.casefold()) for file in files}
    pairs = any((file.parent, strip_mask_suffix(file.stem)) in photographs for file in named)
    return named if pairs else files
