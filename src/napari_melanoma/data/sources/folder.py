"""A user's own folder of images, optionally with masks and a table."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.data.annotation_json import JSON_NAME
from napari_melanoma.data.mask_formats import identify_annotations
from napari_melanoma.data.nnunet import SPLITS_FILE
from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import add_nnunet_folds, pair_records, read_image_rows
from napari_melanoma.io.discovery import identify_without_suffix, note_without_suffix
from napari_melanoma.io.formats import TRUTH_SUFFIX

SPEC = SourceSpec(
    name="folder",
    title="a folder of images",
    licence="that of its images",
    url="your own disk",
    modality="",
    reference="",
    layout="""\
images (JPEG, PNG, TIFF, BMP, WebP, HEIC, DICOM) in folders of any name, or in zip files
masks of the same name (PNG, TIFF, BMP, JPEG, WebP) in a folder with 'mask', 'segmentation' or 'ground truth' in its
name (or 'labels' next to 'images'), or next to the images as <image>_mask.png, <image>_segmentation.png,
<image>_gt.png, <image>_cp_masks.png (Cellpose); or the layout of nnU-Net: imagesTr/<image>_0000.png,
labelsTr/<image>.png, also with red, green and blue in three files
a table metadata.csv, dataset.csv, labels.csv or patients.csv (or .tsv, .jsonl) with a column image_id, image,
filename ... and, if known, patient_id; without a diagnosis in it, folders that are named for diagnoses""",
    public=False,
)
TABLES = r"(?:dataset|metadata|labels|patients|clinical)\.(?:csv|tsv|jsonl)"
WORKBOOKS = (".xlsx", ".xls", ".ods")
NNUNET_FILES = ("dataset.json", SPLITS_FILE)
OTHER_ANNOTATIONS = (".jsonl", ".npz", ".parquet", ".xml", ".mat", ".yaml", ".yml")


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images, with their masks and table rows; tables that are not read are noted."""
    rows = read_image_rows(tree, TABLES, keep_folders=True)
    for file in tree.files:
        if file.suffix in WORKBOOKS:
            note = "this workbook was not read: save its sheet as metadata.csv if it describes the images"
        elif file.suffix in (".csv", ".tsv", ".tab") and not _is_read(file):
            note = "this table was not read: name it metadata.csv if it describes the images"
        else:
            continue
        tree.unread.append(file.name)
        tree.notes.append((file.name, note))
    _note_annotations(tree)
    on_disk = (Path(file.path) for file in tree.files if not file.suffix and file.archive is None)
    tree.notes += note_without_suffix(path for path in on_disk if identify_without_suffix(path))
    return add_nnunet_folds(tree, pair_records(tree, rows, {}, class_folders=True))


def _note_annotations(tree: SourceTree) -> None:
    """Note files that may have masks or classes and are not read, with how to use them."""
    unused: dict[str, list[str]] = defaultdict(list)
    for file in tree.files:
        name = file.name.rpartition("/")[2]
        if JSON_NAME.fullmatch(name) and name not in NNUNET_FILES and not name.endswith(TRUTH_SUFFIX):
            unused[_identify(tree, file)].append(file.name)
        elif file.suffix in OTHER_ANNOTATIONS and not _is_read(file):
            unused[""].append(file.name)
    for format_, names in unused.items():
        path = tree.folder / (names[0] if len(names) == 1 else "")
        how = (
            f"to draw these {format_} annotations as masks, use napari-melanoma data import-masks {path} --images "
            f"{tree.folder} --out DATASET, with --metadata or --no-patients"
            if format_
            else "save tables as metadata.csv and masks as PNG"
        )
        tree.notes.append((format_names(names), f"not used: {how}"))


def _identify(tree: SourceTree, file: SourceFile) -> str:
    """Return the format of annotations in a JSON file, "" if it has none."""
    try:
        return identify_annotations(parse_json(tree.read_content(file), file.name, allow_nan=True)) or ""
    except InputError:
        return ""


def _is_read(file: SourceFile) -> bool:
    return re.fullmatch(TABLES, file.name.rpartition("/")[2], re.IGNORECASE) is not None
