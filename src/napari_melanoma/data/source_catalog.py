"""The catalog of what can be imported: public collections (``data.collections``) and formats (``data.formats``).

A set is read as downloaded, unpacked or not, in its own columns and words; ``data.dataset_import`` harmonizes it.
"""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.plugins import module_family
from napari_melanoma.data import formats
from napari_melanoma.data.dataset import IMAGE_SUFFIXES
from napari_melanoma.data.source_files import SourceFile, SourceTree, close_archives
from napari_melanoma.data.table_mapping import TableMapping

if TYPE_CHECKING:
    from napari_melanoma.data.mask_areas import MaskObject

NO_MAPPING = TableMapping()


@dataclass(frozen=True)
class SourceSpec:
    """Description of a set.

    ``layout`` describes the expected files; ``images`` is the number of images in the complete set, 0 if not fixed;
    ``ids`` is a pattern of ids that are unique to the set or its archive; ``folders`` is a pattern of folder names that
    suggest the set; ``public`` is False for the user's own files; ``lacks`` is what an experiment may need and the set
    does not have.
    """

    name: str
    title: str
    licence: str
    url: str
    modality: str
    reference: str
    layout: str
    images: int = 0
    ids: str = ""
    folders: str = ""
    public: bool = True
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One image or table row of a set: its files, and its values in the set's own columns and words.

    ``channels``: the files of red, green and blue, if images of the set are several files; ``image`` is the first.
    ``original``: the file that ``image_id`` is a pseudonym of, "" if it is none. ``objects``: annotated areas, which
    are drawn as the mask.
    """

    image_id: str
    image: SourceFile | None
    mask: SourceFile | None = None
    values: abc.Mapping[str, str] = field(default_factory=dict)
    channels: tuple[SourceFile, ...] = ()
    original: str = ""
    objects: tuple[MaskObject, ...] = ()

    @property
    def has_mask(self) -> bool:
        return self.mask is not None or bool(self.objects)

    @property
    def is_converted(self) -> bool:
        """Whether the image becomes a PNG: a DICOM file names its patient, and HEIC is no format of data sets."""
        return self.image is not None and (bool(self.channels) or self.image.suffix not in IMAGE_SUFFIXES)


@dataclass(frozen=True)
class SourceContents:
    """The content of a set's folder.

    ``notes``: topics and messages; ``faults``: images or masks that cannot be used, and why; ``unread``: names of
    tables that were not read.
    """

    records: list[SourceRecord]
    notes: list[tuple[str, str]]
    faults: list[tuple[str, str]]
    unread: list[str]

    @property
    def importable(self) -> list[SourceRecord]:
        """The records to import: those with an image; all rows if there is only a table."""
        return [record for record in self.records if record.image is not None] or self.records


@dataclass(frozen=True)
class DataSource:
    """A set that can be imported: its description, and the function that finds its records."""

    spec: SourceSpec
    find_records: Callable[[SourceTree], list[SourceRecord]]

    def read_folder(
        self, folder: Path, mapping: TableMapping = NO_MAPPING, masks: Path | None = None, table: Path | None = None
    ) -> SourceContents:
        """Read the images and table rows of the set from a folder; raises if there are none.

        ``masks``: another folder or file with the masks; ``table``: a file that is joined later.
        """
        tree = SourceTree.scan(folder, mapping, masks, table)
        try:
            records = self.find_records(tree)
        finally:
            close_archives(tree.files)
        if not records and masks is not None:
            raise DataSetError(
                f"{masks} has no mask in the format {self.spec.name} of a photograph in {folder}. Name the folder of "
                "the photographs with --images, and another format with --format (png for image files)."
            )
        if not records:
            raise DataSetError(
                f"{folder} does not contain {self.spec.title}. Expected:\n{indent(self.spec.layout, '  ')}\n"
                f"Found: {tree.describe_contents()}.\n{describe_access(self.spec)}"
            )
        return SourceContents(records, tree.notes, tree.faults, tree.unread)


def describe_access(spec: SourceSpec) -> str:
    """Describe where to get a set, its license, and what it does not have; or where a format is described."""
    if not spec.public and spec.url.startswith("https:"):
        return f"The format is described at {spec.url}"
    lacks = f" It has no {spec.lacks}." if spec.lacks else ""
    return f"Get {spec.title} from {spec.url} (license: {spec.licence}).{lacks}"


def list_sources() -> abc.Mapping[str, DataSource]:
    """List the sets that can be imported by name, in alphabetical order, then those of plug-ins."""
    return SOURCES.members


def _list_collections() -> tuple[DataSource, ...]:
    from napari_melanoma.data.clinical_collections import SLIDE_COLLECTIONS
    from napari_melanoma.data.collections import COLLECTIONS

    return COLLECTIONS + SLIDE_COLLECTIONS


SOURCES = module_family(
    "data_sources", formats.__name__, SourceSpec, "find", DataSource, "SOURCE", list_others=_list_collections
)


def guess_source(folder: str) -> str | None:
    """Guess a set from the name of a folder, or from its name in a paper; None if no set matches."""
    name, specs = folder.strip().lower(), [source.spec for source in list_sources().values()]
    return next((spec.name for spec in specs if spec.folders and re.match(rf"({spec.folders})(?![^\W_])", name)), None)


def find_source(name: str) -> DataSource:
    """Return a set by its name."""
    known = list_sources()
    if name not in known:
        reason = SOURCES.explain_unknown(name) or f"known: {', '.join(known)}"
        raise InputError(f"there is no source named '{name}' ({reason}).")
    return known[name]
