"""nnU-Net version 2: a raw data set with its cross-validation, whose folds keep the images of a patient together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.data.export_catalog import TEST, DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.mask_values import NNUNET_IMAGE, ClassValues
from napari_melanoma.data.nnunet import SPLITS_FILE
from napari_melanoma.data.splits import FOLD, assign_folds
from napari_melanoma.io.results import write_labels, write_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEC = DataExportSpec("nnunet", "nnU-Net v2 raw data set (imagesTr, labelsTr, dataset.json, splits_final.json)")
FOLDS = 5  # of nnU-Net's own cross-validation


def write(data: ExportedData, folder: Path) -> None:
    """Write the data set; images of the test set are in imagesTs and labelsTs."""
    numbers = _number_values(data.classes)
    lookup = np.zeros(256, np.uint8)
    lookup[list(numbers)] = list(numbers.values())

    def write_case(image: ExportedImage) -> None:
        part = "Ts" if image.split == TEST else "Tr"
        rgb = image.read().rgb
        labels = image.read_labels((rgb.shape[0], rgb.shape[1]))
        write_rgb(folder / f"images{part}" / f"{image.image_id}{NNUNET_IMAGE}.png", rgb)
        write_labels(folder / f"labels{part}" / f"{image.image_id}.png", _convert(labels, lookup))

    cases = [image for image, _ in data.write_each(write_case)]
    training = [image for image in cases if image.split != TEST]
    if cases and not training:
        raise InputError("all images are in the test set: nnU-Net needs training images. Correct the column split.")
    labels = {name: [numbers[value] for value in values] for name, values in _order_regions(data.classes).items()}
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


def _number_values(classes: ClassValues) -> dict[int, int]:
    """Number the values of classes from 1 on, as nnU-Net expects."""
    values = sorted({value for of_class in classes.values() for value in of_class})
    return {value: number for number, value in enumerate(values, start=1)}


def _convert(labels: NDArray[np.uint8], lookup: NDArray[np.uint8]) -> NDArray[np.uint8]:
    converted: NDArray[np.uint8] = lookup[labels]
    return converted


def _order_regions(classes: ClassValues) -> ClassValues:
    """Order regions from large to small, because nnU-Net draws later ones over earlier ones."""
    return dict(sorted(classes.items(), key=lambda item: -len(item[1])))


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
