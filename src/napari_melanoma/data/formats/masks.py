"""Images, and masks of the same names, as most programs read and write them, optionally with a table."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Literal, cast

import numpy as np

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.data.dataset import CLASSES_FILE
from napari_melanoma.data.exports import LESION, DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.formats import coco, geojson, label_studio, labelme
from napari_melanoma.data.formats._annotations import JSON_NAME
from napari_melanoma.data.formats.nnunet import DESCRIPTION, SPLITS_FILE, add_nnunet_folds
from napari_melanoma.data.mask_values import ARRAY_SUFFIX
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import TABLES, SourceRecord, describe_own_files, pair_records, read_image_rows
from napari_melanoma.io.formats import TRUTH_SUFFIX
from napari_melanoma.io.results import write_labels

SOURCE = describe_own_files(
    name="folder",
    title="a folder of images",
    url="your own disk",
    layout="""\
images (JPEG, PNG, TIFF, BMP, WebP, HEIC, DICOM) in folders of any name, or in zip files
masks of the same name (PNG, TIFF, BMP, JPEG, WebP) in a folder with 'mask', 'segmentation' or 'ground truth' in its
name (or 'labels' next to 'images'), or next to the images as <image>_mask.png, <image>_segmentation.png,
<image>_gt.png, <image>_cp_masks.png (Cellpose); or the layout of nnU-Net: imagesTr/<image>_0000.png,
labelsTr/<image>.png, also with red, green and blue in three files
a table metadata.csv, dataset.csv, labels.csv or patients.csv (or .tsv, .jsonl) with a column image_id, image,
filename ... and, if known, patient_id; without a diagnosis in it, folders that are named for diagnoses""",
)
EXPORT = DataExportSpec("masks", "images/ and masks/ (PNG or TIFF, with a suffix and a value if needed)")
MaskFormat = Literal["png", "coco", "labelme", "label-studio", "geojson"]
ANNOTATIONS = (coco.FORMAT, labelme.FORMAT, label_studio.FORMAT, geojson.FORMAT)
JSON_FORMATS = "COCO, labelme, label-studio or GeoJSON"
IMAGE_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ARRAY_SUFFIX)
WORKBOOKS = (".xlsx", ".xls", ".ods")
DESCRIPTIONS = (DESCRIPTION, SPLITS_FILE, CLASSES_FILE)
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
    return add_nnunet_folds(tree, pair_records(tree, rows, {}, class_folders=True))


def _note_annotations(tree: SourceTree) -> None:
    """Note files that may have masks or classes and are not read, with how to use them."""
    unused: dict[str, list[str]] = defaultdict(list)
    for file in tree.files:
        name = file.name.rpartition("/")[2]
        if JSON_NAME.fullmatch(name) and name not in DESCRIPTIONS and not name.endswith(TRUTH_SUFFIX):
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
        content = parse_json(tree.read_content(file), file.name, allow_nan=True)
    except InputError:
        return ""
    return next((format_.name for format_ in ANNOTATIONS if format_.is_format(content)), "")


def detect_format(masks: Path) -> MaskFormat:
    """Detect the format of masks in a folder or file; annotations precede image files."""
    if not masks.exists():
        raise InputError(f"{masks} does not exist. Name a folder of masks, or a file of {JSON_FORMATS}.")
    tree = SourceTree.scan(masks)
    for file in tree.files:
        if JSON_NAME.fullmatch(file.name.rpartition("/")[2]):
            content = parse_json(tree.read_content(file), str(file.path), allow_nan=True)
            if found := next((format_ for format_ in ANNOTATIONS if format_.is_format(content)), None):
                return cast("MaskFormat", found.name)
    if any(file.suffix in IMAGE_SUFFIXES for file in tree.files):
        return "png"
    raise DataSetError(
        f"{masks} contains no masks in a supported format: expected PNG or TIFF files, or JSON of {JSON_FORMATS}. "
        "Export the masks as one of these."
    )


def _is_read(file: SourceFile) -> bool:
    return re.fullmatch(TABLES, file.name.rpartition("/")[2], re.IGNORECASE) is not None


def write(data: ExportedData, folder: Path) -> None:
    """Write the masks; label images keep their values."""
    options = data.options
    (folder / "masks").mkdir()

    def write_pair(image: ExportedImage) -> None:
        _, shape = image.copy_image(folder / "images")
        labels = image.read_labels(shape)
        if list(data.classes) == [LESION] and not image.is_label_image:
            labels = labels * np.uint8(options.mask_value)
        path = folder / "masks" / f"{image.image_id}{options.mask_suffix}.{options.mask_type}"
        if options.mask_type == "png":
            write_labels(path, labels)
        else:
            import tifffile

            tifffile.imwrite(path, labels, photometric="minisblack", compression="deflate")

    for _ in data.write_each(write_pair):
        pass
