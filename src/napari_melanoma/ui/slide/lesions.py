"""The lesions of a slide: found in a thread at a threshold, corrected by hand with undo, drawn, saved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.job import Latest, Work
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide import lesion_work as slide_lesion_work
from napari_melanoma.ui.slide.lesion_work import Edit, Findings, config_at, lesion_at
from napari_melanoma.ui.slide.line_width import LineWidths, line_width
from napari_melanoma.ui.slide.table import BENIGN, MALIGNANT

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.analysis.slide_lesions import LesionConfig
    from napari_melanoma.ui.slide.layers import OpenSlide

MOST_DRAWN = 400  # outlines; more of them would make napari slow


class SlideLesions(QObject):
    """Keeps lesions, table and layer in step; the work is done in a thread."""

    changed = Signal(object)
    saved = Signal(object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._known: dict[str, Findings] = {}
        self._slide: OpenSlide | None = None
        self._aside: dict[tuple[str, Path, str], Findings] = {}  # corrected, of classes that were looked at before
        self._folders: dict[str, Path] = {}  # whose lesions are wanted, of each slide
        self._changes = 0
        LineWidths(viewer, self)
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether lesions are being found, changed or saved."""
        return self._latest.busy

    @property
    def findings(self) -> Findings | None:
        """Of the slide that the dock is about."""
        return None if self._slide is None else self._known.get(self._slide.identity)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self.changed.emit(self.findings)

    def find(self, folder: Path, target: str, threshold: float) -> None:
        """Find the lesions at a threshold; corrections by hand are kept, and undo leads back to what was there."""
        slide = self._slide
        if slide is not None:
            self._folders[slide.identity] = folder
            config = config_at(threshold)

            def prepare() -> Work:
                before = self._known.get(slide.identity)
                if before is not None and before.target != target:
                    if before.history.past or before.by_hand:
                        self._aside[slide.identity, before.folder, before.target] = before
                    before = self._aside.pop((slide.identity, folder, target), None)
                return partial(slide_lesion_work.found_again, slide, folder, target, config, before)

            self._latest.submit(slide.identity, prepare)

    def read(self, folder: Path, target: str, config: LesionConfig) -> None:
        """Show the lesions that were saved, with all corrections; found anew where none were."""
        slide = self._slide
        if slide is not None:
            self._folders[slide.identity] = folder
            work = partial(slide_lesion_work.read, slide, folder, target, config)
            self._latest.submit(slide.identity, lambda: work)

    def edit(self, change: Edit) -> None:
        """Change the lesions by hand."""
        self._queue(lambda slide, now: partial(slide_lesion_work.edited, slide, now, change))

    def undo(self) -> None:
        """Take back the last change."""
        self._step("undo")

    def redo(self) -> None:
        """Do again what was taken back."""
        self._step("redo")

    def forget(self, identity: str) -> None:
        """Forget a slide that was closed, or is analysed anew."""
        self._known.pop(identity, None)
        self._aside = {key: found for key, found in self._aside.items() if key[0] != identity}
        self._folders.pop(identity, None)  # what is still on its way is of results that are no longer shown
        if self._slide is not None and self._slide.identity == identity:
            layer = slide_layers.part(self._viewer, self._slide, "lesions")
            if layer is not None:
                self._viewer.layers.remove(layer)
            self.changed.emit(None)

    def at(self, point: tuple[float, float]) -> int | None:
        """Number of the lesion at a point.

        ``point``: (row, column) in pixels of the finest level. None where there is none.
        """
        now = self.findings
        return None if now is None else lesion_at(now.lesions, point)

    def save(self) -> None:
        """Write the lesions as they are into the slide's folder."""
        slide = self._slide
        if slide is None or self.findings is None:
            return

        def prepare() -> Work | None:
            now = self._known.get(slide.identity)
            return None if now is None else partial(slide_lesion_work.save, now)

        self._latest.submit(f"{slide.identity} save", prepare)

    def _step(self, way: str) -> None:
        def work(slide: OpenSlide, now: Findings) -> Work | None:
            history = getattr(now.history, way)()
            return None if history is now.history else partial(slide_lesion_work.changed, slide, now, history)

        self._queue(work)

    def _queue(self, work: Callable[[OpenSlide, Findings], Work | None]) -> None:
        """Do one change after the other, each on what the one before has left."""
        slide = self._slide
        if slide is None or self.findings is None:
            return
        self._changes += 1

        def prepare() -> Work | None:
            now = self._known.get(slide.identity)
            return None if now is None else work(slide, now)

        self._latest.submit(f"change {self._changes}", prepare)

    def _on_done(self, found: Findings) -> None:
        if self._folders.get(found.identity) != found.folder:
            return
        before = self._known.get(found.identity)
        self._known[found.identity] = found
        slide = self._slide
        if slide is None or slide.identity != found.identity:
            return
        if before is None or before.rings is not found.rings:
            _draw(self._viewer, slide, found)
        self.changed.emit(found)
        if found.saved and before is not None and not before.saved:
            self.saved.emit(found.folder)


def _draw(viewer: Viewer, slide: OpenSlide, found: Findings) -> None:
    """Draw the outlines anew."""
    layer = slide_layers.part(viewer, slide, "lesions")
    if layer is not None:
        layer.data = []
    if not found.rings:
        return
    layer = slide_layers.put(viewer, slide, "lesions", _shapes)
    drawn = found.rings[:MOST_DRAWN]
    layer.add_polygons(
        [ring for _, _, ring in drawn],
        edge_width=line_width(viewer, slide, "lesions"),
        edge_color=[(BENIGN if label == "benign" else MALIGNANT).name() for _, label, _ in drawn],
        face_color="transparent",
    )


def _shapes() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)
