"""Regions from and to files: what a thread reads and writes, and the dialogs that ask which file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

if TYPE_CHECKING:
    from napari_melanoma.analysis.lesion_edits import History
    from napari_melanoma.analysis.regions import Regions
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.ui.slide.desk import Place
    from napari_melanoma.ui.slide.last_writes import Stamp
    from napari_melanoma.workflows.slide_regions import FoundRegions

PATTERN = "GeoJSON (*.geojson *.json)"


@dataclass(frozen=True)
class Drawn:
    """The regions of a slide with what was undone, and where they are kept."""

    identity: str
    folder: Path
    history: History[Regions]


@dataclass(frozen=True)
class Loaded:
    """The regions of a slide as they were read, and the stamp of the file."""

    drawn: Drawn
    stamp: Stamp | None


@dataclass(frozen=True)
class Imported:
    """What a file held for a slide."""

    identity: str
    found: FoundRegions


def load(place: Place, run: RunContext) -> Loaded:
    """Read what was drawn before.

    Nothing of it undone.
    """
    from napari_melanoma.analysis.lesion_edits import History
    from napari_melanoma.workflows.slide_regions import load_regions

    found = load_regions(place.folder)
    return Loaded(Drawn(place.identity, place.folder, History(found.regions)), found.stamp)


def keep(folder: Path, drawn: Drawn, stamp: Stamp | None) -> FoundRegions:
    """Write what is drawn now."""
    from napari_melanoma.workflows.slide_regions import keep_regions

    return keep_regions(folder, Path(drawn.identity), drawn.history.now, stamp)


def import_from(identity: str, known: Regions, size: tuple[int, int], path: Path, run: RunContext) -> Imported:
    """Read regions of a file.

    ``size``: height and width in pixels of its finest level.
    """
    from napari_melanoma.workflows.slide_regions import import_regions

    return Imported(identity, import_regions(path, size, known))


def export_to(regions: Regions, path: Path, run: RunContext) -> str:
    """Write regions somewhere else."""
    from napari_melanoma.io.geojson import write_geojson

    write_geojson(path, regions)
    return f"Written: {path}"


def ask_import(window: QWidget, folder: Path, chosen: Callable[[str], None]) -> None:
    """Let the user choose a file to read."""
    _open(QFileDialog(window, "Regions of this slide", str(folder), PATTERN), "region_import_dialog", chosen)


def ask_export(window: QWidget, slide: str, chosen: Callable[[str], None]) -> None:
    """Let the user choose a file to write."""
    dialog = QFileDialog(window, "Write the regions as GeoJSON")
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(PATTERN)
    dialog.setDefaultSuffix("geojson")  # where none is typed
    dialog.selectFile(f"{slide}-regions.geojson")
    _open(dialog, "region_export_dialog", chosen)


def _open(dialog: QFileDialog, name: str, chosen: Callable[[str], None]) -> None:
    dialog.setObjectName(name)
    dialog.fileSelected.connect(chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
