"""Export data sets to the formats of other programs: one module of ``data.formats`` each.

A format is a function that writes the images of an ``ExportedData`` to a folder; ``export_dataset`` selects the images,
reads the meaning of their masks, and collects what cannot be written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError, describe_error
from napari_melanoma.core.files import atomic_folder, write_text
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.paths import ids_to_file_names, real_path
from napari_melanoma.core.plugins import module_family
from napari_melanoma.data import formats
from napari_melanoma.data.dataset import (
    TRAINING_REVIEWS,
    DatasetEntry,
    iter_entries,
    read_class_names,
    read_groups,
    require_outside_datasets,
    write_class_names,
    write_dataset_table,
)
from napari_melanoma.data.mask_values import ClassValues, find_lesion, read_mask_values
from napari_melanoma.data.table_schema import FILE_COLUMNS, SPLIT_WORDS, find_column
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.io.formats import Format
from napari_melanoma.io.photographs import Photograph, read_photograph
from napari_melanoma.io.results import encode_png

Written = TypeVar("Written")
LESION = "lesion"
TEST = "test"
PLAIN_FORMATS: dict[str, Format] = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}  # that all programs read


class DataExportOptions(Config):
    """How a data set is exported."""

    classes: tuple[str, ...] = Field(
        (), description="name of a class in label images with its values, such as tumor=1 or whole=1,2 (a region)"
    )
    areas: Literal["polygons", "pixels"] = Field(
        "polygons",
        description="areas in coco, labelme and label-studio: polygons, which can be edited, or pixels, which are "
        "exact; areas with holes are always pixels",
    )
    unreviewed: bool = Field(False, description="also export masks that were not reviewed")
    mask_suffix: str = Field("", description="text after the image's name in the names of masks (masks)")
    mask_value: int = Field(255, ge=1, le=255, description="value of the lesion in masks (masks)")
    mask_type: Literal["png", "tif"] = Field("png", description="format of masks (masks)")


class DataExportSpec(NamedTuple):
    """A format: its name, and its title for users.

    ``needs_mask``: images without a mask are left out. ``has_table``: the format has a table of the images, so that
    ``metadata.csv`` is not written. ``names_classes``: it names the values of label images, so that ``classes.json`` is
    not written. ``has_parts``: it has a part for training, to which images without a split belong, and one for the test
    set; images of other splits than train, val and test are left out.
    """

    name: str
    title: str
    needs_mask: bool = True
    has_table: bool = False
    names_classes: bool = False
    has_parts: bool = False


class MaskArea(NamedTuple):
    """One connected area of a class: bool (row, column) of the image."""

    class_name: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class ExportedImage:
    """One image of a data set, with its mask.

    ``row``: its values in the table, without those of files. ``split``: train, val, test, or "". ``group``: images of a
    group, such as a patient, must stay in one split. ``classes``: name to the values in a label image, 1 for a lesion.
    """

    image_id: str
    path: Path
    mask: Path | None
    row: Mapping[str, str]
    split: str
    group: str
    classes: ClassValues
    is_label_image: bool

    @property
    def is_reviewed(self) -> bool:
        """Whether the mask may be used as truth: accepted, corrected, or of a set without reviews."""
        return (self.row.get("review") or TRAINING_REVIEWS[0]).strip().lower() in TRAINING_REVIEWS

    def read(self) -> Photograph:
        """Read the image, upright."""
        return read_photograph(self.path)

    def encode(self) -> tuple[bytes, str, tuple[int, int]]:
        """Return the content of the file, its suffix, and the numbers of rows and columns.

        An image that is not upright, not in plain color, or neither JPEG nor PNG becomes a PNG.
        """
        from napari_melanoma.io.pillow_images import is_plain

        rgb, suffix = self.read().rgb, self.path.suffix.lower()
        shape = rgb.shape[0], rgb.shape[1]
        if suffix in PLAIN_FORMATS and is_plain(content := self.path.read_bytes(), PLAIN_FORMATS[suffix]):
            return content, suffix, shape
        return encode_png(rgb), ".png", shape

    def copy_image(self, folder: Path) -> tuple[Path, tuple[int, int]]:
        """Write the content of ``encode`` to a folder; returns the file, and the numbers of rows and columns."""
        content, suffix, shape = self.encode()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.image_id}{suffix}"
        path.write_bytes(content)
        return path, shape

    def read_labels(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Read the mask: uint8 (row, column) of ``shape``.

        It is 1 in a lesion; a label image has the values that belong to a class, and 0 for others.
        """
        assert self.mask is not None
        values = read_mask_values(self.mask)
        if values.shape != shape:
            raise DataSetError(
                f"has {shape[1]} x {shape[0]} pixels, its mask {values.shape[1]} x {values.shape[0]}: expected the same"
            )
        if self.is_label_image:
            of_classes = [value for of_class in self.classes.values() for value in of_class]
            return np.where(np.isin(values, of_classes), values, 0).astype(np.uint8)
        lesion = find_lesion(values)
        assert lesion is not None  # otherwise the masks are label images
        return lesion.astype(np.uint8)

    def read_areas(self, shape: tuple[int, int]) -> Iterator[MaskArea]:
        """Yield the connected areas of all classes, also connected at corners; none without a mask."""
        from napari_melanoma.imaging.masks import separate_components

        labels = self.read_labels(shape) if self.mask is not None else np.zeros(shape, np.uint8)
        for name, values in self.classes.items():
            yield from (MaskArea(name, part) for part in separate_components(np.isin(labels, values)))


@dataclass
class ExportedData:
    """The images to export.

    ``name``: of the data set; ``folder_name``: of the exported folder. ``classes``: name to the values in label images,
    1 for a lesion.

    ``faults``: image and reason for images that could not be exported; ``notes``: topics and messages.
    """

    name: str
    folder_name: str
    images: Sequence[ExportedImage]
    classes: ClassValues
    options: DataExportOptions
    run: RunContext
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def write_each(
        self, write: Callable[[ExportedImage], Written], images: Sequence[ExportedImage] | None = None
    ) -> Iterator[tuple[ExportedImage, Written]]:
        """Write each image, in the given order; yields those that could be written, the others are faults."""
        for image in self.run.track(self.images if images is None else images, "Exporting images"):
            try:
                yield image, write(image)
            except InputError as error:
                self.faults.append((image.image_id, describe_error(error)))

    @property
    def has_regions(self) -> bool:
        """Whether a class has several values, as the regions of nnU-Net that overlap."""
        return any(len(values) > 1 for values in self.classes.values())

    def make_rows(self, images: Iterable[ExportedImage], own: re.Pattern[str]) -> list[dict[str, object]]:
        """Return the values of images in the table; a column of numbers without other text has numbers, and None.

        ``own``: names of the columns of the format; columns of the table with such a name are renamed, with a note.
        """
        chosen = list(images)
        columns = [name for name in dict.fromkeys(name for image in chosen for name in image.row) if name != "image_id"]
        cells = {name: _convert_cells([image.row.get(name, "") for image in chosen], name) for name in columns}
        renamed = _rename_columns(columns, own)
        self.notes += [
            ("columns", f"{name} is exported as {new}, because the format has a column of that name")
            for name, new in renamed.items()
            if new != name
        ]
        return [
            {"image_id": image.image_id, **{renamed[name]: cells[name][number] for name in columns}}
            for number, image in enumerate(chosen)
        ]


def _rename_columns(columns: Sequence[str], own: re.Pattern[str]) -> dict[str, str]:
    renamed = {}
    for name in columns:
        new = name
        while own.fullmatch(new) or (new != name and new in columns):
            new = f"{new}_in_table"
        renamed[name] = new
    return renamed


def _convert_cells(texts: Sequence[str], name: str) -> Sequence[object]:
    column = find_column(name)
    if column is None or column.kind not in ("number", "yes_no"):
        return texts
    try:
        return [None if text in ("", UNKNOWN) else float(text) for text in texts]
    except ValueError:
        return texts


@dataclass(frozen=True)
class DataExport:
    """A format: its description, and the function that writes the images to a folder."""

    spec: DataExportSpec
    write: Callable[[ExportedData, Path], None]


DATA_EXPORTS = module_family("data_exports", formats.__name__, DataExportSpec, "write", DataExport, "EXPORT")


def find_data_export(name: str) -> DataExport:
    known = DATA_EXPORTS.members
    if name not in known:
        reason = DATA_EXPORTS.explain_unknown(name) or f"known: {', '.join(known)}"
        raise InputError(f"there is no format named '{name}' for data sets ({reason}).")
    return known[name]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


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
    ids = ids_to_file_names(image.image_id for image in images)
    images = [
        replace(image, image_id=ids[image.image_id], classes=classes, is_label_image=is_label_image) for image in images
    ]
    data = ExportedData(real_path(dataset).name, real_path(out).name, images, classes, options, run, faults)
    if renamed := [f"{name} as {new}" for name, new in ids.items() if new != name]:
        note = f"not all ids are file names on every system; exported: {format_names(renamed)}"
        data.notes.append(("image ids", note))
    unnamed = sorted(values - {0} - {value for of_class in classes.values() for value in of_class})
    if unnamed and is_label_image:
        note = f"the values {format_names(unnamed)} have no class, and are exported as background"
        data.notes.append(("classes", note))
    data.notes += _note_divided(images) if format_.spec.has_parts else []
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
    groups = read_groups(dataset)
    for entry in iter_entries(dataset):
        if not isinstance(entry, DatasetEntry):
            faults.append((dataset.name, str(entry)))
        elif entry.image is None:
            left_out["rows without an image"] += 1
        else:
            image = ExportedImage(
                entry.image_id,
                entry.image,
                entry.mask,
                {name: text for name, text in entry.row.items() if name not in FILE_COLUMNS},
                (entry.row.get("split") or "").strip(),
                groups.find_of_row(entry.row).name,
                classes={},
                is_label_image=False,
            )
            if (image.row.get("review") or "").strip().lower() == "rejected":
                left_out["rejected images"] += 1
                continue
            if format_.spec.has_parts and image.split not in ("", *SPLIT_WORDS):
                left_out[f"images of other splits than {', '.join(SPLIT_WORDS)}"] += 1
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


def _note_divided(images: Sequence[ExportedImage]) -> list[tuple[str, str]]:
    """Return a note on images for training whose group has images in the test set; empty without such images."""
    tested = {image.group for image in images if image.split == TEST}
    divided = [image.image_id for image in images if image.split != TEST and image.group in tested]
    if not divided:
        return []
    note = (
        f"{format_count(len(divided), 'image')} for training or validation ({format_names(divided)}) of patients, "
        "lesions or pictures that are in the test set: assign splits with napari-melanoma data split, and export again"
    )
    return [("split", note)]


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
