"""The catalog of formats that data sets can be exported to: one module of ``data.formats`` each.

A format is a function that writes the images of an ``ExportedData`` to a folder; ``data.dataset_export`` selects the
images, reads the meaning of their masks, and collects what cannot be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError, describe_error
from napari_melanoma.core.files import write_text
from napari_melanoma.core.plugins import module_family
from napari_melanoma.data import formats
from napari_melanoma.data.dataset import TRAINING_REVIEWS
from napari_melanoma.data.mask_values import ClassValues, find_lesion, read_mask_values
from napari_melanoma.data.table_schema import find_column
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
    not written.
    """

    name: str
    title: str
    needs_mask: bool = True
    has_table: bool = False
    names_classes: bool = False


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
    """Return a format by its name."""
    known = DATA_EXPORTS.members
    if name not in known:
        reason = DATA_EXPORTS.explain_unknown(name) or f"known: {', '.join(known)}"
        raise InputError(f"there is no format named '{name}' for data sets ({reason}).")
    return known[name]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file of lines."""
    write_text(path, "".join(f"{line}\n" for line in lines))
