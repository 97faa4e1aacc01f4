"""Public data sets that can be imported: one module each with ``SPEC`` and ``find(tree)``.

A set is read as downloaded, unpacked or not, in its own columns and words; ``data.dataset_import`` harmonizes it.
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
    """Description of a set."""

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
    lacks: str = ""  # what an experiment may need and the set does not have


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One image of a set: its files, and its values in the set's own columns and words."""

    image_id: str
    image: SourceFile | None
    mask: SourceFile | None = None
    values: abc.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceContents:
    """The content of a folder of a set."""

    records: list[SourceRecord]
    notes: list[tuple[str, str]]
    unread: list[str]

    @property
    def importable(self) -> list[SourceRecord]:
        """The records to import: those with an image; all rows if there is only a table."""
        return [record for record in self.records if record.image is not None] or self.records


@dataclass(frozen=True)
class DataSource:
    """A set that can be imported: its description, and how its files are found."""

    spec: SourceSpec
    find_records: Callable[[SourceTree], list[SourceRecord]]

    def read_folder(self, folder: Path, mapping: TableMapping = NO_MAPPING) -> SourceContents:
        """Find the images of the set and the rows of its tables, each id once; ``image`` may be None."""
        tree = SourceTree.scan(folder, mapping)
        try:
            found = self.find_records(tree)
        finally:
            close_archives(tree.files)
        if not found:
            raise DataSetError(
                f"{folder} does not contain {self.spec.title}. Expected:\n{_indent(self.spec.layout)}\n"
                f"Found: {tree.describe_contents()}.\n{describe_access(self.spec)}"
            )
        return SourceContents(found, tree.notes, tree.unread)


def describe_access(spec: SourceSpec) -> str:
    """Describe where to get a set, its licence, and what it does not have."""
    lacks = f" It has no {spec.lacks}." if spec.lacks else ""
    return f"Get {spec.title} from {spec.url} (licence: {spec.licence}).{lacks}"


@cache
def list_sources() -> dict[str, DataSource]:
    """List the sets that can be imported by name, in alphabetical order."""
    modules = import_submodules(__name__, __path__, "SPEC", "find")
    found = {module.SPEC.name: DataSource(module.SPEC, module.find) for module in modules}
    return dict(sorted(found.items()))


def guess_source(folder: str) -> str | None:
    """Guess a set from the name of a folder, or as a paper writes it; None if no set matches."""
    word, specs = folder.strip().lower(), [source.spec for source in list_sources().values()]
    return next((s.name for s in specs if s.folders and re.match(rf"({s.folders})(?![^\W_])", word)), None)


def find_source(name: str) -> DataSource:
    """Return a set by its name."""
    known = list_sources()
    if name not in known:
        raise InputError(f"there is no source named '{name}' (known: {', '.join(known)}).")
    return known[name]


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
