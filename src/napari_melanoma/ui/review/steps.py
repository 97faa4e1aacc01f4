"""What the Review dock does in a thread: find the photographs of a folder, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.workflows.rating_cache import Known


TOLD = 10  # folders and photographs that a tooltip names


@dataclass(frozen=True)
class Listed:
    """Photographs with the ratings that were kept, by their number; not chosen anew where only the model is another."""

    fingerprint: str
    chosen: Sequence[Path] = ()
    paths: Sequence[Path] = ()
    known: Mapping[int, Known] = field(default_factory=dict)


def list_photographs(chosen: Sequence[Path], model: str, how: str, run: RunContext) -> Listed:
    """Find the photographs of folders, and the ratings that were kept of them.

    In natural order of the paths.
    """
    from napari_melanoma.io.photographs import find_photographs

    paths = [path.absolute() for path in find_photographs(chosen)]
    found = look_up(paths, model, how, run)
    return Listed(found.fingerprint, chosen, paths, found.known)


def look_up(paths: Sequence[Path], model: str, how: str, run: RunContext) -> Listed:
    """Find the ratings that were kept of photographs."""
    from napari_melanoma.models.registry import find_bundle
    from napari_melanoma.workflows.rating_cache import RatingCache

    fingerprint = find_bundle(model).fingerprint
    return Listed(fingerprint, known=RatingCache().find_all(paths, fingerprint, how, run=run))


def in_short(chosen: Sequence[Path]) -> str:
    """Say what is reviewed.

    Such as ``clinic``, or ``3 photographs of clinic``; empty for nothing.
    """
    if len(chosen) <= 1:
        return chosen[0].name if chosen else ""
    what = "folders" if all(path.is_dir() for path in chosen) else "photographs"
    parents = {path.parent for path in chosen}
    return f"{len(chosen):,} {what}" + (f" of {chosen[0].parent.name}" if len(parents) == 1 else "")
