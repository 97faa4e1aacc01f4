"""Hugging Face imagefolder: a folder for each split, with metadata that names images and masks, or class folders."""

from __future__ import annotations

import json
import posixpath
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.data.exports import TEST, DataExportSpec, ExportedData, ExportedImage, write_lines
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import SourceRecord, describe_own_files, pair_records
from napari_melanoma.io.results import write_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = describe_own_files(
    name="imagefolder",
    title="Hugging Face imagefolder",
    url="https://huggingface.co/docs/datasets/image_dataset",
    layout="""\
train/, validation/ and test/, or images without splits
metadata.jsonl or metadata.csv in each, with file_name, and mask_file_name (or label_, annotation_, segmentation_) if
there are masks; or folders that are named for diagnoses""",
)
TABLE = re.compile(r"metadata\.(?:csv|jsonl)", re.IGNORECASE)
SPLITS = {"train": "train", "training": "train", "validation": "val", "valid": "val", "val": "val", "dev": "val"}
SPLITS |= {"test": "test", "testing": "test", "eval": "test"}
MASK_COLUMNS = ("mask", "label", "annotation", "segmentation", "segmentation_mask")
EXPORT = DataExportSpec(
    "imagefolder",
    "Hugging Face imagefolder (train/, validation/, test/)",
    needs_mask=False,
    has_table=True,
    has_parts=True,
)
OWN_COLUMNS = re.compile("image|mask|(.+_)?file_names?")  # the library takes the last for names of files
SPLIT_FOLDERS = {"": "train", "train": "train", "val": "validation", TEST: "test"}


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images by their metadata, else by their folders."""
    files = {file.name: file for file in tree.files}
    records, used, missing = [], set[str](), list[str]()
    tables = [file for file in tree.files if TABLE.fullmatch(file.name.rpartition("/")[2])]
    for file, row in ((table, row) for table in tables for row in tree.iterate_rows(table)):
        folder = file.name.rpartition("/")[0]
        paths = {name.removesuffix("_file_name"): text for name, text in row.items() if name.endswith("_file_name")}
        mask_path = next((paths[name] for name in MASK_COLUMNS if paths.get(name)), "")
        image, mask = (_find_file(files, folder, path, missing) for path in (row.get("file_name", ""), mask_path))
        if image is None:
            continue
        values = {name: text for name, text in row.items() if text and not name.endswith("file_name")}
        image_id = free_name(safe_name(values.pop("image_id", "") or image.stem), used)
        used.add(image_id.lower())
        split = find_split(image.name.split("/")[:-1])
        records.append(SourceRecord(image_id, image, mask, {**({"split": split} if split else {}), **values}))
    if missing:
        tree.notes.append(("file_name", f"not found, so these images or masks are left out: {format_names(missing)}"))
    if records:
        return records
    records = pair_records(tree, {}, {}, class_folders=True)
    splits = [find_split(record.image.name.split("/")[:-1]) if record.image else "" for record in records]
    return [
        replace(record, values={"split": split, **record.values}) if split else record
        for record, split in zip(records, splits, strict=True)
    ]


def find_split(names: list[str]) -> str:
    """Return the split that one of the names states, such as a folder; "" if there is none."""
    return next((SPLITS[name.lower()] for name in names if name.lower() in SPLITS), "")


def _find_file(files: dict[str, SourceFile], folder: str, path: str, missing: list[str]) -> SourceFile | None:
    if not path:
        return None
    found = files.get(posixpath.normpath(posixpath.join(folder, path)))
    missing.extend([] if found else [path])
    return found


def write(data: ExportedData, folder: Path) -> None:
    """Write the folders; the library reads ``mask_file_name`` as the image column ``mask``."""

    def write_image(image: ExportedImage) -> dict[str, object]:
        split = folder / find_split_folder(image)
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
        lines[find_split_folder(image)].append(json.dumps({**files, **cells}, ensure_ascii=False))
    for split, of_split in lines.items():
        write_lines(folder / split / "metadata.jsonl", of_split)


def find_split_folder(image: ExportedImage) -> str:
    """Return the name of the split for the library; an image without a split is in train."""
    return SPLIT_FOLDERS[image.split]


def read_values(image: ExportedImage, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read the mask: 255 in a lesion, or the values of a label image."""
    labels = image.read_labels(shape)
    return labels if image.is_label_image else labels * np.uint8(255)


def _to_text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell)
