"""Slides into the viewer, opened in a thread, so that the window lives meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog

from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.ui.opening import LayerData, Opener
from napari_melanoma.ui.photographs import KEY
from napari_melanoma.ui.slide.layers import open_slides

SUFFIXES = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".qptiff"),
    *(".tif", ".tiff", ".dcm", ".png", ".jpg", ".jpeg"),
)


class SlideOpener(Opener):
    """Opens slides and the sample slide, one wish after the other."""

    known = Signal(str)

    def open(self, paths: Sequence[Path]) -> None:
        """Open slides."""
        self._start(partial(_read, list(paths)))

    def sample(self) -> None:
        """Open a synthetic slide, which is drawn the first time."""
        self._start(_sample)

    def ask(self) -> None:
        """Let the user choose files."""
        dialog = QFileDialog(self.parent().window(), "Open slides")
        dialog.setObjectName("open_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        patterns = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        dialog.setNameFilters([f"Slides ({patterns})", "All files (*)"])
        dialog.filesSelected.connect(self._on_files)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_read(self, found: tuple[list[LayerData], list[Exception]]) -> None:
        """Add what is not open yet: the layers of a slide that is added twice would count as its channels."""
        layers, errors = found
        there = {slide.identity for slide in open_slides(self._viewer)}
        paths = [str(attributes["metadata"][KEY]["path"]) for _, attributes, _ in layers]
        new = [layer for layer, path in zip(layers, paths, strict=True) if path not in there]
        super()._on_read((new, errors))
        if paths and not new:
            self.known.emit(paths[-1])


def _read(paths: list[Path], run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    """Open what can be opened; what cannot is said, and the others are opened."""
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.io.slides.opening import find_slides, is_slide
    from napari_melanoma.ui.slide.layers import slide_layers_of

    layers: list[tuple[Any, dict[str, Any], str]] = []
    errors: list[Exception] = []
    named: list[Path] = []
    for path in paths:
        try:
            named += find_slides([path]) if path.is_dir() and not is_slide(path) else [path]
        except MelanomaError as error:
            errors.append(error)
    for path in run.track(named, "Opening"):
        try:
            layers += slide_layers_of(path)
        except MelanomaError as error:
            errors.append(error)
    return layers, errors


def _sample(run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    from napari_melanoma.data.samples import slide_sample

    run.report(Progress(0, None, "Drawing the sample slide, once"))
    return slide_sample(), []
