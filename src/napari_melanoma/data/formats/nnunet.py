"""nnU-Net: raw data sets of version 1 and 2, with their class labels, channels and cross-validation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_json, read_object_or_empty, shorten
from napari_melanoma.data.exports import TEST, DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.mask_values import NNUNET_IMAGE, ClassValues, read_mask_values
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import TABLES, SourceRecord, describe_own_files, pair_records, read_image_rows
from napari_melanoma.data.splits import FOLD, assign_folds
from napari_melanoma.io.results import write_labels, write_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray
SOURCE = describe_own_files(
    name="nnunet",
    title="nnU-Net raw data set",
    url="https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md",
    reference="Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
    layout="""\
imagesTr/<case>_0000.png (or .tif, .bmp), in color, or red, green and blue in _0000, _0001 and _0002
labelsTr/<case>.png
dataset.json, with the names of classes and regions
imagesTs and labelsTs, the test set, if there is one
splits_final.json, from the folder nnUNet_preprocessed, if the folds are to be kept
metadata.csv with patient_id ..., if known""",
)
EXPORT = DataExportSpec(
    "nnunet",
    "nnU-Net v2 raw data set (imagesTr, labelsTr, dataset.json, splits_final.json)",
    names_classes=True,
    has_parts=True,
)
FOLDERS = ("imagestr", "imagests", "imagesval")
SPLITS_FILE = "splits_final.json"
DESCRIPTION = "dataset.json"  # with the names of classes and channels
COLORS = "rgb"
ONE_FILE_ADVICE = "expected one color image a case, or three files with red, green and blue in 8 bits"
FOLDS = 5  # of nnU-Net's own cross-validation


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the cases with their folds."""
    if not any(folder in FOLDERS for file in tree.files for folder in file.name.lower().split("/")[:-1]):
        return []
    rows = read_image_rows(tree, TABLES, keep_folders=True)
    return add_nnunet_folds(tree, pair_records(tree, rows, {}))


def add_nnunet_folds(tree: SourceTree, records: list[SourceRecord]) -> list[SourceRecord]:
    """Add the folds of nnU-Net's ``splits_final.json``, or the splits if it has only one; values of tables are kept.

    Cases that it does not name, or that are missing, are noted.
    """
    text = tree.read_text(re.escape(SPLITS_FILE))
    if text is None:
        return records
    folds = parse_folds(text, SPLITS_FILE)
    known = {record.image_id for record in records}
    if unknown := sorted({case for fold in folds for cases in fold.values() for case in cases} - known):
        tree.notes.append((SPLITS_FILE, f"its cases {format_names(unknown)} have no image"))
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for number, fold in enumerate(folds, start=1):
        for case in fold["val"]:
            values[case] = {"split": "val"} if len(folds) == 1 else {"fold": str(number)}
        if len(folds) == 1:
            values.update({case: {"split": "train"} for case in fold["train"]})
    return [replace(record, values={**values[record.image_id], **record.values}) for record in records]


def parse_folds(text: str, where: str) -> list[dict[str, list[str]]]:
    """Parse the folds of a cross-validation, each with the cases for training and validation."""
    content = parse_json(text, where)
    folds = content if isinstance(content, list) else [content]
    for number, fold in enumerate(folds):
        lists = [fold.get(name) if isinstance(fold, dict) else None for name in ("train", "val")]
        if not all(isinstance(cases, list) and all(isinstance(case, str) for case in cases) for cases in lists):
            raise DataSetError(
                f"{where}, fold {number}: expected the lists 'train' and 'val' of cases, as nnU-Net writes them, found "
                f"{shorten(str(fold))}. Correct or remove the file."
            )
    return folds


def read_nnunet_labels(folder: Path) -> ClassValues:
    """Read the class names of an nnU-Net data set from its ``dataset.json``, of any of its folders.

    Returns name to values, several for a region such as ``"whole": [1, 2]``, without the background but with the
    class ``ignore`` of pixels that were not annotated; empty if there are none.
    """
    labels = _read_entry(folder, "labels")
    if any(isinstance(value, str) for value in labels.values()):  # version 1 maps values to names
        labels = {str(name): value for value, name in labels.items()}
    lists = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    texts = {name: [str(value) for value in values] for name, values in lists.items()}
    values = {name: tuple(map(int, filter(str.isdecimal, of_class))) for name, of_class in texts.items()}
    return {name: found for name, found in values.items() if found and min(found) > 0}


def is_nnunet_image(stem: str) -> bool:
    """Whether a file may be the first channel of a case."""
    return stem.endswith(NNUNET_IMAGE)


def read_channel_order(folder: Path) -> tuple[int, ...]:
    """Return the numbers of the red, green and blue channel, as named in ``dataset.json``, else 0, 1, 2.

    Raises if channels are named, but not for the colors, as they are no color photograph then.
    """
    described = _read_entry(folder, "channel_names") or _read_entry(folder, "modality")
    names = [str(described[number]).strip() for number in sorted(described, key=lambda text: (len(text), text))]
    letters = [name[:1].lower() for name in names if name.lower() in ("r", "g", "b", "red", "green", "blue")]
    if sorted(letters) == sorted(COLORS) and len(names) == len(COLORS):
        return tuple(map(letters.index, COLORS))
    if not all(name.lower().startswith((COLORS, "color")) for name in names):  # as in rgb_to_0_1
        named = (
            f"the channel {names[0]}, which is" if len(names) == 1 else f"the channels {format_names(names)}, which are"
        )
        raise DataSetError(
            f"{DESCRIPTION} names {named} not red, green and blue: {ONE_FILE_ADVICE}. Export the cases in color, or "
            "name the channels R, G and B in 'channel_names' if they are."
        )
    return (0, 1, 2)


def _read_entry(folder: Path, key: str) -> Mapping[str, object]:
    """Read an object from the ``dataset.json`` of an nnU-Net data set; empty if there is none."""
    contents = (read_object_or_empty(file).get(key) for file in _list_descriptions(folder.absolute()))
    return next((content for content in contents if isinstance(content, dict)), {})


def _list_descriptions(folder: Path) -> Iterator[Path]:
    """Yield where the description of a folder's data set may be.

    It is beside ``imagesTr`` and ``labelsTr``, in a folder of predictions, two folders above those of a validation
    (``nnUNetTrainer__nnUNetPlans__2d/fold_0/validation``), or in the only data set in ``nnUNet_raw``.
    """
    for parent in (folder, folder.parent, folder.parent.parent):
        yield parent / DESCRIPTION
    within = list(folder.glob(f"*/{DESCRIPTION}"))
    if len(within) == 1:
        yield within[0]


def merge_channels(paths: Sequence[Path], order: Sequence[int]) -> NDArray[np.uint8]:
    """Merge three gray images into uint8 (row, column, channel=3).

    ``order``: indices of red, green and blue in ``paths``. Raises for another number, depth or size of channels.
    """
    if len(paths) != len(COLORS):
        raise DataSetError(f"its channels are in {len(paths)} files: {ONE_FILE_ADVICE}")
    channels = [read_mask_values(path) for path in paths]
    found = sorted({f"{channel.dtype} {channel.shape[1]} x {channel.shape[0]}" for channel in channels})
    if len(found) > 1 or channels[0].dtype != np.uint8:
        raise DataSetError(f"its channels in several files are {' and '.join(found)}: {ONE_FILE_ADVICE}, of one size")
    return np.stack([channels[number] for number in order], axis=-1)


def write(data: ExportedData, folder: Path) -> None:
    """Write the data set; images of the test set are in imagesTs and labelsTs."""
    distinct = sorted({value for of_class in data.classes.values() for value in of_class})
    numbers = {value: number for number, value in enumerate(distinct, start=1)}  # from 1 on, as nnU-Net expects
    lookup = np.zeros(256, np.uint8)
    lookup[list(numbers)] = list(numbers.values())

    def write_case(image: ExportedImage) -> None:
        part = "Ts" if image.split == TEST else "Tr"
        rgb = image.read().rgb
        labels = image.read_labels((rgb.shape[0], rgb.shape[1]))
        write_rgb(folder / f"images{part}" / f"{image.image_id}{NNUNET_IMAGE}.png", rgb)
        write_labels(folder / f"labels{part}" / f"{image.image_id}.png", lookup[labels])

    cases = [image for image, _ in data.write_each(write_case)]
    training = [image for image in cases if image.split != TEST]
    if cases and not training:
        raise InputError("all images are in the test set: nnU-Net needs training images. Correct the column split.")
    # from large to small, because nnU-Net draws later regions over earlier ones
    regions = sorted(data.classes.items(), key=lambda item: -len(item[1]))
    labels = {name: [numbers[value] for value in values] for name, values in regions}
    content = {
        "name": data.name,
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, **{name: of if data.has_regions else of[0] for name, of in labels.items()}},
        "numTraining": len(training),
        "file_ending": ".png",
    }
    if data.has_regions:
        content["regions_class_order"] = _order_values(list(labels.values()))
    write_json(folder / "dataset.json", content)
    write_json(folder / SPLITS_FILE, make_folds(training))
    note = "copy it to nnUNet_preprocessed/DatasetNNN_NAME before training, or nnU-Net makes other folds"
    data.notes.append((SPLITS_FILE, note))


def _order_values(regions: Sequence[Sequence[int]]) -> list[int]:
    """Return the value that nnU-Net draws for each region: one that no later region has."""
    order = []
    for number, region in enumerate(regions):
        later = {value for other in regions[number + 1 :] for value in other}
        own = [value for value in region if value not in later]
        if not own:
            raise InputError(
                f"the region with the values {', '.join(map(str, region))} consists of smaller regions, so nnU-Net "
                "cannot draw it. Remove it or one of the others."
            )
        order.append(own[0])
    return order


def make_folds(training: Sequence[ExportedImage]) -> list[Mapping[str, list[str]]]:
    """Return the training and validation cases of each fold.

    The folds are those of the column ``fold``, else the validation set as the only fold, else new ones.
    """
    folds = [str(image.row.get(FOLD, "")).strip() for image in training]
    if not all(folds):
        groups = [image.group for image in training]
        if any(image.split == "val" for image in training):
            folds = ["1" if image.split == "val" else "" for image in training]
        elif len(set(groups)) > 1:
            classes = [image.row.get("diagnosis", "") for image in training]
            folds = [str(fold) for fold in assign_folds(groups, classes, min(FOLDS, len(set(groups))), seed=0)]
    names = [image.image_id for image in training]
    return [
        {
            "train": [name for name, of in zip(names, folds, strict=True) if of != fold],
            "val": [name for name, of in zip(names, folds, strict=True) if of == fold],
        }
        for fold in sorted({*folds} - {""})
    ]
