"""Export data sets to the formats of other programs (``data.formats``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.paths import real_path
from napari_melanoma.data.dataset import (
    DatasetEntry,
    get_group_id,
    iter_entries,
    read_class_names,
    require_outside_datasets,
    write_class_names,
    write_dataset_table,
)
from napari_melanoma.data.export_catalog import (
    LESION,
    DataExport,
    DataExportOptions,
    ExportedData,
    ExportedImage,
)
from napari_melanoma.data.mask_values import ClassValues, find_lesion, read_mask_values
from napari_melanoma.data.table_schema import FILE_COLUMNS

METADATA_FILE = "metadata.csv"
BACKGROUND = "background"
_LESION_VALUES = {1, 255}  # both are common, also in one set; other values that differ between masks are classes
_MAX_VALUE = 255  # of label images in all formats


@dataclass
class DataExportReport:
    """The outcome of an export.

    ``images`` and ``masks``: number of exported ones. ``classes``: name to values. ``left_out``: number of images that
    were not exported, by reason; ``faults``: images that could not be read, with the reason; ``notes``: topics and
    messages.
    """

    images: int
    masks: int
    classes: dict[str, tuple[int, ...]]
    left_out: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def export_dataset(
    dataset: Path, format_: DataExport, out: Path, options: DataExportOptions, *, run: RunContext
) -> DataExportReport:
    """Export a data set to the new folder ``out``, which appears when it is complete.

    The columns of the table are in ``metadata.csv``, unless the format has a table of its own.
    """
    require_outside_datasets(out, [dataset])
    if out.exists():
        raise DataSetError(f"{out} already exists. Name another folder for the export, or remove this one.")
    faults: list[tuple[str, str]] = []
    left_out: Counter[str] = Counter()
    images = list(_select_images(dataset, format_, options, faults, left_out))
    if not images:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or format_names(dict(faults))
        raise DataSetError(f"{dataset} has no image to export: {reasons}. Correct the data set, or see the options.")
    values, has_classes = _find_values(images, run)
    names = read_class_names(dataset)
    is_label_image = has_classes or bool(options.classes or names)
    classes = _name_classes(options.classes, values, names) if is_label_image else {LESION: (1,)}
    images = [replace(image, classes=classes, is_label_image=is_label_image) for image in images]
    data = ExportedData(real_path(dataset).name, real_path(out).name, images, classes, options, run, faults)
    data.notes += _note_unnamed(classes, values) if is_label_image else []
    with atomic_folder(out) as folder:
        format_.write(data, folder)
        failed = {name for name, _ in data.faults}
        exported = [image for image in images if image.image_id not in failed]
        if not exported:
            name, fault = data.faults[0]
            raise DataSetError(f"none of the {len(images)} images could be exported. The first: {name} {fault}")
        if not format_.spec.has_table:
            rows = [{**image.row, "image_id": image.image_id} for image in exported]
            write_dataset_table(folder / METADATA_FILE, rows)
        if is_label_image and not format_.spec.names_classes:
            write_class_names(folder, classes)
    masks = sum(image.mask is not None for image in exported)
    return DataExportReport(len(exported), masks, dict(classes), dict(left_out), data.faults, data.notes)


def _select_images(
    dataset: Path,
    format_: DataExport,
    options: DataExportOptions,
    faults: list[tuple[str, str]],
    left_out: Counter[str],
) -> Iterable[ExportedImage]:
    """Yield the images to export, with the masks that may be used; counts the others by reason."""
    for entry in iter_entries(dataset):
        if not isinstance(entry, DatasetEntry):
            faults.append((dataset.name, str(entry)))
        elif entry.image is None:
            left_out["rows without an image"] += 1
        else:
            image = _make_image(entry, entry.image)
            if (image.row.get("review") or "").strip().lower() == "rejected":
                left_out["rejected images"] += 1
                continue
            if image.mask is not None and not image.is_reviewed and not options.unreviewed:
                left_out["masks that were not reviewed"] += 1
                if format_.spec.needs_mask:
                    continue
                image = replace(image, mask=None)
            if image.mask is None and format_.spec.needs_mask:
                left_out["images without a mask"] += 1
                continue
            yield image


def _make_image(entry: DatasetEntry, path: Path) -> ExportedImage:
    row = {name: text for name, text in entry.row.items() if name not in FILE_COLUMNS}
    split = (row.get("split") or "").strip()
    return ExportedImage(entry.image_id, path, entry.mask, row, split, get_group_id(entry.row), {}, False)


def _find_values(images: Sequence[ExportedImage], run: RunContext) -> tuple[set[int], bool]:
    """Return all values of the masks, and whether these are classes instead of one lesion.

    Masks that cannot be read are reported by the export of their image.
    """
    values, of_lesion, is_ambiguous = set[int](), set[int](), False
    for image in run.track([image for image in images if image.mask is not None], "Reading masks"):
        try:
            assert image.mask is not None
            mask = read_mask_values(image.mask)
        except InputError:
            continue
        inside = set(np.unique(mask).tolist()) - {0}
        values |= {0, *inside}
        of_lesion |= inside if len(inside) < 2 else {255}  # soft edges
        is_ambiguous |= find_lesion(mask) is None
    return values, is_ambiguous or (len(of_lesion) > 1 and of_lesion != _LESION_VALUES)


def _name_classes(texts: Sequence[str], values: set[int], names: ClassValues) -> ClassValues:
    """Parse names of classes with their values; without them, use those of the data set, or number the others."""
    if not texts:
        if max(values) > _MAX_VALUE:
            raise DataSetError(
                f"the masks have values up to {max(values)}: expected at most {_MAX_VALUE}. Name the classes to export "
                "with their values, such as tumor=1; other values become background."
            )
        named = {value for of_class in names.values() for value in of_class}
        return {**names, **{f"class {value}": (value,) for value in sorted(values - named - {0})}}
    classes = {}
    for text in texts:
        name, _, listed = (part.strip() for part in text.rpartition("="))
        numbers = [part.strip() for part in listed.split(",")]
        if not (name and all(number.isdecimal() for number in numbers)):
            raise InputError(f"expected a class with its values, such as tumor=1 or whole=1,2, found '{text}'.")
        classes[name] = tuple(map(int, numbers))
        if name.lower() == BACKGROUND or not all(0 < value <= _MAX_VALUE for value in classes[name]):
            raise InputError(
                f"expected classes with values from 1 to {_MAX_VALUE}, found '{text}'. Values without a class are "
                f"exported as {BACKGROUND}; save masks with larger values again."
            )
    if missing := sorted({value for of_class in classes.values() for value in of_class} - values):
        found = ", ".join(map(str, sorted(values)))
        raise DataSetError(f"no mask has the value {format_names(missing)}: found {found}. Correct the classes.")
    return classes


def _note_unnamed(classes: ClassValues, values: set[int]) -> list[tuple[str, str]]:
    """Note values of the masks that are in no class."""
    unnamed = sorted(values - {0} - {value for of_class in classes.values() for value in of_class})
    if not unnamed:
        return []
    return [("classes", f"the values {format_names(unnamed)} have no class, and are exported as background")]
