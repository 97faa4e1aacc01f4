"""Hugging Face imagefolder: a folder for each split with images, masks and metadata.jsonl."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.data.export_catalog import TEST, DataExportSpec, ExportedData, ExportedImage, write_lines
from napari_melanoma.io.results import write_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEC = DataExportSpec(
    "imagefolder", "Hugging Face imagefolder (train/, validation/, test/)", needs_mask=False, has_table=True
)
OWN_COLUMNS = re.compile("image|mask|(.+_)?file_names?")  # the library takes the last for names of files
SPLIT_FOLDERS = {"": "train", "train": "train", "val": "validation", TEST: "test"}


def write(data: ExportedData, folder: Path) -> None:
    """Write the folders; the library reads ``mask_file_name`` as the image column ``mask``."""

    def write_image(image: ExportedImage) -> dict[str, object]:
        split = folder / find_split(image)
        path, shape = image.copy_image(split / "images")
        files: dict[str, object] = {"file_name": f"images/{path.name}"}
        if has_masks:
            files["mask_file_name"] = None
        if image.mask is not None:
            files["mask_file_name"] = f"masks/{image.image_id}.png"
            write_labels(split / "masks" / f"{image.image_id}.png", read_values(image, shape))
        return files

    has_masks = any(image.mask is not None for image in data.images)
    written = list(data.write_each(write_image))
    rows = data.make_rows([image for image, _ in written], OWN_COLUMNS)
    complete = {name for name in rows[0] if all(row[name] is not None for row in rows)} if rows else set[str]()
    lines: dict[str, list[str]] = defaultdict(list)
    for (image, files), row in zip(written, rows, strict=True):
        # the types of a column must be the same in all splits, also in one without any value
        cells = {name: cell if name in complete else _to_text(cell) for name, cell in row.items()}
        lines[find_split(image)].append(json.dumps({**files, **cells}, ensure_ascii=False))
    for split, of_split in lines.items():
        write_lines(folder / split / "metadata.jsonl", of_split)


def find_split(image: ExportedImage) -> str:
    """Return the name of the split for the library; an image without a split is in train."""
    return SPLIT_FOLDERS.get(image.split, "train")


def read_values(image: ExportedImage, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read the mask: 255 in a lesion, or the values of a label image."""
    labels = image.read_labels(shape)
    return labels if image.is_label_image else labels * np.uint8(255)


def _to_text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell)
