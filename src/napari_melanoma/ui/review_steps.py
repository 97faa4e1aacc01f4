"""What the Review dock does in a thread: find the photographs of a folder, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.workflows.rating_cache import Known


@dataclass(frozen=True)
class Listed:
    """Photographs with the ratings that were kept, by their number; no folder where only the model is another one."""

    fingerprint: str
    folder: Path | None = None
    paths: Sequence[Path] = ()
    known: Mapping[int, Known] = field(default_factory=dict)


def list_photographs(folder: Path, model: str, how: str, run: RunContext) -> Listed:
    """Find the photographs of a folder, and the ratings that were kept of them.

    Parameters
    ----------
    folder : pathlib.Path
        Searched with its subfolders.
    model : str
        Name or path of a bundle.
    how : str
        The way of rating.
    run : RunContext
        Asked now and then whether to go on.

    Returns
    -------
    Listed
        In natural order of the paths.

    Raises
    ------
    InputError
        Where there is no photograph in it, or it cannot be read.
    BundleError
        Where there is no such model.
    """
    from napari_melanoma.io.photographs import find_photographs

    paths = [path.absolute() for path in find_photographs([folder])]
    found = look_up(paths, model, how, run)
    return Listed(found.fingerprint, folder, paths, found.known)


def look_up(paths: Sequence[Path], model: str, how: str, run: RunContext) -> Listed:
    """Find the ratings that were kept of photographs.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The photographs.
    model : str
        Name or path of a bundle.
    how : str
        The way of rating.
    run : RunContext
        Asked now and then whether to go on.

    Returns
    -------
    Listed
        Without a folder.

    Raises
    ------
    BundleError
        Where there is no such model.
    """
    from napari_melanoma.models.registry import find_bundle
    from napari_melanoma.workflows.rating_cache import RatingCache

    fingerprint = find_bundle(model).fingerprint
    return Listed(fingerprint, known=RatingCache().find_all(paths, fingerprint, how, run=run))
