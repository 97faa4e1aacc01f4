"""The public sets: one file each, found by listing this folder; a file exports ``SPEC`` and ``find(tree)``.

A set is found as it was downloaded, unpacked or not, and its words are translated to ours (``data.vocabulary``);
``workflows.data_import`` turns what is found into a data set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.listing import listed
from napari_melanoma.data.source_files import SourceFile, SourceTree, close_archives


@dataclass(frozen=True)
class SourceSpec:
    """What a set says of itself.

    Parameters
    ----------
    name : str
        As users type it.
    title : str
        Its own name.
    licence : str
        Under which its images may be used.
    url : str
        Where it is downloaded or asked for.
    modality : {"dermoscopic", "macroscopic", "tbp_tile", ""}
        Of its images; "" where the table says so for each, or nobody does.
    reference : str
        What to cite.
    layout : str
        What the folder holds once it is downloaded, one line a part.
    images : int
        How many the complete set has; 0 where that is not fixed.
    """

    name: str
    title: str
    licence: str
    url: str
    modality: str
    reference: str
    layout: str
    images: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a set: its files, and what the set knows of it in our columns.

    Parameters
    ----------
    image_id : str
        Its name in the set.
    image : SourceFile
        The photograph.
    mask : SourceFile or None
        The drawn lesion, where there is one.
    values : dict
        Column to text; columns that are not there are empty.
    """

    image_id: str
    image: SourceFile
    mask: SourceFile | None = None
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A set that can be imported: what it says of itself and how its files are found."""

    spec: SourceSpec
    finder: Callable[[SourceTree], list[Record]]

    def find(self, folder: Path) -> list[Record]:
        """Find the images of the set.

        Parameters
        ----------
        folder : pathlib.Path
            That it was downloaded or unpacked into.

        Returns
        -------
        list of Record
            In order of their ids, each id once.

        Raises
        ------
        InputError
            Where there is no such folder, or an archive in it cannot be read.
        DataSetError
            Where the folder does not hold the set: what was expected, what was found, where to get it and under which
            licence.
        """
        tree = SourceTree.scan(folder)
        try:
            found = self.finder(tree)
        finally:
            close_archives(tree.files)
        if not found:
            raise DataSetError(
                f"{folder} does not hold {self.spec.title}. Expected:\n{_indented(self.spec.layout)}\n"
                f"Found: {tree.seen()}.\n{where_to_get(self.spec)}"
            )
        return found


def where_to_get(spec: SourceSpec) -> str:
    """Say where a set comes from and what may be done with it.

    Parameters
    ----------
    spec : SourceSpec
        Of the set.

    Returns
    -------
    str
        One or two sentences.
    """
    return f"Get {spec.title} from {spec.url} (licence: {spec.licence})."


@cache
def sources() -> dict[str, Source]:
    """List the sets that can be imported.

    Returns
    -------
    dict of str to Source
        By name, in alphabetical order.
    """
    modules = listed(__name__, __path__, "SPEC", "find")
    found = {module.SPEC.name: Source(module.SPEC, module.find) for module in modules}
    return dict(sorted(found.items()))


def find_source(name: str) -> Source:
    """Look a set up by its name.

    Parameters
    ----------
    name : str
        As ``sources`` lists it.

    Returns
    -------
    Source
        The set.

    Raises
    ------
    InputError
        Where there is none of that name, with those that there are.
    """
    known = sources()
    if name not in known:
        raise InputError(f"there is no source named '{name}' (known: {', '.join(known)}).")
    return known[name]


def _indented(text: str) -> str:
    """Set lines off from a sentence."""
    return "\n".join(f"  {line}" for line in text.splitlines())
