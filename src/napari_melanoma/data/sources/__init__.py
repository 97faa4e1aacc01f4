"""The public sets: one file each, found by listing this folder; a file exports ``SPEC`` and ``find(tree)``.

A set is found as it was downloaded, unpacked or not, in its own columns and words; ``data.importing`` harmonises
what is found and makes it a data set.
"""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from napari_melanoma.core.config import import_submodules
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.source_files import SourceFile, SourceTree, close_archives
from napari_melanoma.data.table_mapping import TableMapping

NO_MAPPING = TableMapping()


@dataclass(frozen=True)
class SourceSpec:
    """What a set says of itself."""

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


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One image of a set: its files, and what the set says of it in its own columns and words."""

    image_id: str
    image: SourceFile | None
    mask: SourceFile | None = None
    values: abc.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceContents:
    """What a folder holds of a set."""

    records: list[SourceRecord]
    notes: list[tuple[str, str]]
    unread: list[str]

    @property
    def importable(self) -> list[SourceRecord]:
        """What an import takes: the images; all rows where a table is all there is."""
        return [record for record in self.records if record.image is not None] or self.records


@dataclass(frozen=True)
class DataSource:
    """A set that can be imported: what it says of itself and how its files are found."""

    spec: SourceSpec
    find_records: Callable[[SourceTree], list[SourceRecord]]

    def read_folder(self, folder: Path, mapping: TableMapping = NO_MAPPING) -> SourceContents:
        """Find the images of the set, and the rows of its tables.

        Each id once; records without an image are rows of a table.
        """
        tree = SourceTree.scan(folder, mapping)
        try:
            found = self.find_records(tree)
        finally:
            close_archives(tree.files)
        if not found:
            raise DataSetError(
                f"{folder} does not hold {self.spec.title}. Expected:\n{_indent(self.spec.layout)}\n"
                f"Found: {tree.describe_contents()}.\n{describe_access(self.spec)}"
            )
        return SourceContents(found, tree.notes, tree.unread)


def describe_access(spec: SourceSpec) -> str:
    """Say where a set comes from and what may be done with it.

    One or two sentences.
    """
    return f"Get {spec.title} from {spec.url} (licence: {spec.licence})."


@cache
def list_sources() -> dict[str, DataSource]:
    """List the sets that can be imported.

    By name, in alphabetical order.
    """
    modules = import_submodules(__name__, __path__, "SPEC", "find")
    found = {module.SPEC.name: DataSource(module.SPEC, module.find) for module in modules}
    return dict(sorted(found.items()))


def guess_source(folder: str) -> str | None:
    """Tell a set by the name of a folder, or as a paper writes it.

    Returns the name that ``sources`` has for it; None where the folder's name does not tell.
    """
    word, specs = folder.strip().lower(), [source.spec for source in list_sources().values()]
    return next((s.name for s in specs if s.folders and re.match(rf"({s.folders})(?![^\W_])", word)), None)


def find_source(name: str) -> DataSource:
    """Look a set up by its name."""
    known = list_sources()
    if name not in known:
        raise InputError(f"there is no source named '{name}' (known: {', '.join(known)}).")
    return known[name]


def _indent(text: str) -> str:
    """Set lines off from a sentence."""
    return "\n".join(f"  {line}" for line in text.splitlines())
