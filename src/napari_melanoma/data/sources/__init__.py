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

from napari_melanoma.core.config import listed
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.mapping import TableMapping
from napari_melanoma.data.source_files import SourceFile, SourceTree, close_archives

AS_IT_IS = TableMapping()


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
class Record:
    """One image of a set: its files, and what the set says of it in its own columns and words."""

    image_id: str
    image: SourceFile | None
    mask: SourceFile | None = None
    values: abc.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What a folder holds of a set."""

    records: list[Record]
    notes: list[tuple[str, str]]
    unread: list[str]

    @property
    def taken(self) -> list[Record]:
        """What an import takes: the images; all rows where a table is all there is."""
        return [record for record in self.records if record.image is not None] or self.records


@dataclass(frozen=True)
class Source:
    """A set that can be imported: what it says of itself and how its files are found."""

    spec: SourceSpec
    finder: Callable[[SourceTree], list[Record]]

    def find(self, folder: Path, mapping: TableMapping = AS_IT_IS) -> Found:
        """Find the images of the set, and the rows of its tables.

        Each id once; records without an image are rows of a table.
        """
        tree = SourceTree.scan(folder, mapping)
        try:
            found = self.finder(tree)
        finally:
            close_archives(tree.files)
        if not found:
            raise DataSetError(
                f"{folder} does not hold {self.spec.title}. Expected:\n{_indented(self.spec.layout)}\n"
                f"Found: {tree.seen()}.\n{where_to_get(self.spec)}"
            )
        return Found(found, tree.notes, tree.unread)


def where_to_get(spec: SourceSpec) -> str:
    """Say where a set comes from and what may be done with it.

    One or two sentences.
    """
    return f"Get {spec.title} from {spec.url} (licence: {spec.licence})."


@cache
def sources() -> dict[str, Source]:
    """List the sets that can be imported.

    By name, in alphabetical order.
    """
    modules = listed(__name__, __path__, "SPEC", "find")
    found = {module.SPEC.name: Source(module.SPEC, module.find) for module in modules}
    return dict(sorted(found.items()))


def source_of(folder: str) -> str | None:
    """Tell a set by the name of a folder, or as a paper writes it.

    Returns the name that ``sources`` has for it; None where the folder's name does not tell.
    """
    word, specs = folder.strip().lower(), [source.spec for source in sources().values()]
    return next((s.name for s in specs if s.folders and re.match(rf"({s.folders})(?![^\W_])", word)), None)


def find_source(name: str) -> Source:
    """Look a set up by its name."""
    known = sources()
    if name not in known:
        raise InputError(f"there is no source named '{name}' (known: {', '.join(known)}).")
    return known[name]


def _indented(text: str) -> str:
    """Set lines off from a sentence."""
    return "\n".join(f"  {line}" for line in text.splitlines())
