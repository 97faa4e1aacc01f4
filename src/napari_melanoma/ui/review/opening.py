"""Open the photograph under review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import DamagedImage
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui.lesion.companion import BesideLesion, read
from napari_melanoma.ui.viewer import linked
from napari_melanoma.ui.viewer.view_memory import offer_damaged, turn_to
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.review import Known
    from napari_melanoma.ui.contributions import LayerData
    from napari_melanoma.ui.lesion.dock import LesionDock


class ReviewOpening(BesideLesion):
    """One photograph at a time in the viewer, with the Lesion dock beside it.

    ``found``: the photograph of this path has pixels of this fingerprint.
    """

    shown = Signal(object)
    found = Signal(object, str)
    stored = Signal(object, object)
    kept = Signal(str)
    refused = Signal(object, object)

    def __init__(self, viewer: Viewer, dock: QWidget) -> None:
        super().__init__(viewer, dock)
        self._wanted: Path | None = None
        self._being_read = Path()
        self._accepted: set[Path] = set()  # damaged photographs that the user opens nevertheless
        self._ours: dict[str, Path] = {}
        self._tried: set[str] = set()  # what fails once is analysed again when the user says so
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_read)
        self._latest.failed.connect(self._on_failed)

    @property
    def busy(self) -> bool:
        """Whether a photograph is being opened or analysed."""
        return self._latest.busy or (self.lesion is not None and self.lesion.busy)

    @property
    def ready(self) -> bool:
        """Whether the photograph under review is in view with a mask that can be accepted."""
        dock = self.lesion
        return dock is not None and self.is_shown and dock.corrections.add.isEnabled()

    @property
    def is_shown(self) -> bool:
        """Whether the photograph under review is the one that the Lesion dock is about."""
        dock = self.lesion
        identity = None if dock is None else dock.picker.identity
        return identity is not None and self._wanted is not None and self.path(identity) == self._wanted

    def open(self, path: Path) -> None:
        """Show a photograph; of several wishes in a row the last is fulfilled."""
        self._wanted = path
        self.lesion_dock()
        there = self.image(path)
        if there is not None:
            self._latest.submit("open", lambda: None)
            self._show(there, path)
        else:
            self._latest.submit("open", partial(self._begin, path))

    def accept(self) -> None:
        """Store the photograph in view with its mask."""
        if self.lesion is not None and self.ready:
            self.lesion.collecting.add()

    def reject(self) -> None:
        """Store that the photograph in view is of no use."""
        if self.lesion is not None and self.is_shown:
            self.lesion.collecting.reject()

    def join(self, lesion: LesionDock) -> None:
        """Listen to a Lesion dock; called once for each."""
        lesion.collecting.stored.connect(self._on_stored)
        lesion.work.changed.connect(self._on_analysed)
        lesion.analysing.changed.connect(self._analyse)
        lesion.picker.changed.connect(self.changed)

    def _on_read(self, read: tuple[Path, list[LayerData]] | None) -> None:
        from napari.layers import Layer

        if read is None or read[0] != self._wanted:
            return
        path, layers = read
        for data, attributes, kind in layers:
            self.viewer.add_layer(Layer.create(data, attributes, kind))
        image = self.image(path)
        if image is not None:
            linked.identify(self.viewer)
            self._ours[str(linked.identity(image))] = path
            self._show(image, path)

    def _begin(self, path: Path) -> Callable[[RunContext], tuple[Path, list[LayerData]]]:
        """Read a photograph, now that its turn has come."""
        self._being_read = path
        return partial(read, path, accept_damaged=True if path in self._accepted else None)

    def _on_failed(self, error: Exception) -> None:
        path = self._being_read
        if path != self._wanted:
            return
        if isinstance(error, DamagedImage):
            decline = partial(self.refused.emit, path, error)
            offer_damaged(self._dock, path, error.damage, partial(self._open_damaged, path), decline)
        else:
            self.refused.emit(path, error)

    def _open_damaged(self, path: Path) -> None:
        """Show a photograph although a part of it is missing."""
        self._accepted.add(path)
        self.open(path)

    def _show(self, image: Image, path: Path) -> None:
        identity = str(linked.identity(image))
        turn_to(self.viewer, image)
        active = self.viewer.layers.selection.active
        if active is None or linked.identity(active) != identity:
            self.viewer.layers.selection.active = image  # the Lesion dock goes by what is selected
        for other in [known for known in self._ours if known != identity]:
            self._close(other)
        self.shown.emit(path)
        self._analyse()
        self.changed.emit()

    def _close(self, identity: str) -> None:
        """Close a photograph, unless something is on it that is stored nowhere."""
        image = next((i for i in linked.identify(self.viewer) if linked.identity(i) == identity), None)
        if image is not None and self._holds_work(identity):
            self.kept.emit(image.name)
            return
        self._ours.pop(identity)
        if image is not None:
            for layer in reversed(linked.parts(self.viewer, image)):
                self.viewer.layers.remove(layer)

    def _holds_work(self, identity: str) -> bool:
        """Whether a person drew on a photograph and nobody has kept it, also a moment ago."""
        if self.lesion is None:
            return True
        book = self.lesion.work.book
        known, labels = book.lesions.get(identity), book.mask(identity)
        if known is None or labels is None:
            return book.is_corrected(identity)
        return known.unsaved or book.strokes(identity) is not None or fingerprint(labels.data != 0) != known.digest

    def _analyse(self) -> None:
        """Analyse the photograph in view, when the Lesion dock has nothing else to do."""
        dock = self.lesion
        if dock is None or not self.is_shown or dock.analysing.queue.busy:
            return
        identity = str(dock.picker.identity)
        known = dock.work.book.lesions.get(identity)
        if known is None and identity not in self._tried:
            self._tried.add(identity)
            dock.analyse.click()

    def _on_analysed(self, identity: str) -> None:
        path, dock = self.path(identity), self.lesion
        if path is not None and dock is not None and identity in dock.work.book.lesions:
            self.found.emit(path, dock.work.book.lesions[identity].image_digest)
        self.changed.emit()

    def _on_stored(self, identity: str, stored: object) -> None:
        path = self.path(identity)
        if path is not None:
            self.stored.emit(path, stored)


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
    from napari_melanoma.io.finding import find_photographs

    paths = [path.absolute() for path in find_photographs(chosen)]
    found = look_up(paths, model, how, run)
    return Listed(found.fingerprint, chosen, paths, found.known)


def look_up(paths: Sequence[Path], model: str, how: str, run: RunContext) -> Listed:
    """Find the ratings that were kept of photographs."""
    from napari_melanoma.lesion.review import RatingCache
    from napari_melanoma.models.registry import find_bundle

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
