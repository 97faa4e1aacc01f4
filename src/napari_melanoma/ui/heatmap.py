"""The heatmap of an answer as a layer: asked for when it is wanted, and again when the answer is another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui import layers, linked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.ui.answer.queue import AnswerQueue, Question
    from napari_melanoma.ui.asking_ahead import AskingAhead
    from napari_melanoma.ui.lesion.book import LesionBook
    from napari_melanoma.ui.lesion.controls import LesionControls

QUICK = ("grad_cam", "cam")


class Heatmap(QObject):
    """Keeps one layer a photograph in step with the answer about it."""

    failed = Signal(object)

    def __init__(
        self, controls: LesionControls, ahead: AskingAhead, queue: AnswerQueue, book: LesionBook, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._controls = controls.heatmap
        self._picker = controls.picker
        self._ahead = ahead
        self._book = book
        self._queue = queue
        self._shown: dict[str, Question] = {}
        self._refused: set[tuple[str, str]] = set()  # models and methods that failed are not asked again by themselves
        self._at: Question | None = None
        self._controls.wanted.connect(self._on_wanted)
        self._controls.faded.connect(self._on_faded)

    def follow(self, identity: str | None, asked: Question | None) -> None:
        """Show the heatmap of an answer, if one is wanted; one of another answer goes out of sight."""
        self._at = None
        if identity is None:
            return
        method = self._controls.method
        wanted = None if asked is None or not method else self._wanted(asked)
        self._at = asked
        if wanted is None or wanted != self._shown.get(identity):
            self._hide(identity, gone=asked is None)
            if wanted is not None and (wanted.picture.model, method) not in self._refused:
                self._queue.ask(wanted)
        else:
            self._see(identity)

    def take(self, question: Question, heat: object) -> None:
        """Show what the worker found, unless something else is wanted by now.

        ``heat``: float32 (row, column) in [0, 1].
        """
        import numpy as np

        image = self._book.image(question.identity)
        current = self._ahead.digest(question.identity) == question.picture.mask_digest
        if image is None or not current or question != self._wanted(question):
            return
        layers.show_heatmap(self._book.viewer, image, np.asarray(heat, np.float32), self._controls.opacity)
        self._shown[question.identity] = question

    def shown(self, identity: str, asked: Question | None) -> NDArray[np.float32] | None:
        """Give the heatmap of an answer that is in sight.

        Returns float32 (row, column) in [0, 1]; None where none is wanted, or another one is shown.
        """
        method, image = self._controls.method, self._book.image(identity)
        if asked is None or not method or image is None or self._shown.get(identity) != self._wanted(asked):
            return None
        layer = linked.part(self._book.viewer, image, "heatmap")
        return None if layer is None else layer.data

    def fail(self, question: Question, error: Exception) -> None:
        """Say that there is no heatmap."""
        self._refused.add((question.picture.model, question.method))
        self.failed.emit(error)

    def _wanted(self, asked: Question) -> Question:
        """What is to be asked of an answer's question, as the controls are now."""
        return replace(asked, method=self._controls.method, target=self._controls.target)

    def forget_all(self) -> None:
        """Take every heatmap for that of another model, as one may have changed under its name."""
        self._shown.clear()

    def forget(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._shown.pop(identity, None)

    def _hide(self, identity: str, *, gone: bool) -> None:
        """Take a heatmap out of sight where none is wanted, or another one is not found in a moment."""
        if gone or self._controls.method not in QUICK:
            image = self._book.image(identity)
            layer = None if image is None else linked.part(self._book.viewer, image, "heatmap")
            if layer is not None:
                layer.visible = False  # kept: whoever comes back to the same answer sees it at once

    def _see(self, identity: str) -> None:
        image = self._book.image(identity)
        layer = None if image is None else linked.part(self._book.viewer, image, "heatmap")
        if layer is None:
            wanted = self._shown.pop(identity, None)  # somebody removed the layer
            if wanted is not None:
                self._queue.ask(wanted)
        else:
            layer.visible = bool(image is not None and image.visible)

    def _on_wanted(self) -> None:
        self._refused.clear()
        if self._at is not None:
            self.follow(self._at.identity, self._at)

    def _on_faded(self, opacity: float) -> None:
        for image in linked.identify(self._book.viewer):
            layer = linked.part(self._book.viewer, image, "heatmap")
            if layer is not None:
                layer.opacity = opacity
