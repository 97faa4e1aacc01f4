"""The Lesion dock: pick a photograph, analyse it, correct the mask, measure, save."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices, QShowEvent

from napari_melanoma.ui.lesion import saving
from napari_melanoma.ui.lesion.analysis import Analysing
from napari_melanoma.ui.lesion.analysis_queue import preload
from napari_melanoma.ui.lesion.close_guard import CloseGuard
from napari_melanoma.ui.lesion.controls import LesionControls
from napari_melanoma.ui.lesion.corrections import Collecting
from napari_melanoma.ui.lesion.mask_controls import KEYS
from napari_melanoma.ui.lesion.mask_editing import COMMON, Correcting, OwnOptions, Sharing, with_fields
from napari_melanoma.ui.lesion.prediction import Answering
from napari_melanoma.ui.lesion.saving import Target, to_save
from napari_melanoma.ui.lesion.work import LesionWork
from napari_melanoma.ui.viewer import linked
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.mesa import keep_shaders
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.viewer.view_memory import Opener
from napari_melanoma.ui.widgets.job import Job
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.lesion.analysis import LesionOptions
    from napari_melanoma.ui.lesion.state import Recovered
    from napari_melanoma.ui.viewer.photographs import Source

PRELOAD_MS = 300  # when the dock is complete


class LesionDock(LesionControls):
    """Analyse the photograph in view: mask, region of interest and measurements, each of which can be corrected."""

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        keep_shaders()
        self._viewer = napari_viewer
        self._client = client or acquire_worker()
        self._looked: set[str] = set()
        self.own = OwnOptions(self.settings)
        self.work = LesionWork(napari_viewer, self.options_of, lambda: self.own.for_all, self)
        self.analysing = Analysing(self, self.work, self._client)
        self.correcting = Correcting(self, self.work, napari_viewer)
        self.sharing = Sharing(self, self.work, self.correcting, self.own)
        self.collecting = Collecting(self, self.work)
        self.classifier.model = self.settings.classifier
        self.answering = Answering(self, self.work, self._client)
        self.opener = Opener(napari_viewer, self)
        self.guard = CloseGuard(self, self.work.book)
        self.set_options(self.settings.options)
        self._connect()
        self._add_shortcuts()
        self.picker.refresh()
        self._on_photograph()
        self._preload = Job(preload)
        self.waiting.opened.connect(self._show_work)
        self.waiting.drawn.connect(self._client.warm)  # of a dock that is closed before nobody would end the worker
        self.waiting.begin()
        QTimer.singleShot(PRELOAD_MS, self._preload.start)
        QTimer.singleShot(PRELOAD_MS, self.collecting.desk.refresh)
        # Plain functions, not methods of the dock: when they are called there is no dock any more.
        for last in (self.connections.close, self.work.watcher.connections.close, self.work.book.forget_saved):
            self.destroyed.connect(last)
        if client is None:
            self.destroyed.connect(release_worker)

    def _connect(self) -> None:
        self.analysing.changed.connect(self._refresh)
        self.model.changed.connect(self._on_common)
        self.flips.toggled.connect(self._on_common)
        self.picker.changed.connect(self._on_photograph)
        self.picker.listed.connect(self._refresh)
        self.picker.seen.connect(self._refresh)
        self.picker.scaled.connect(self._on_scaled)
        self.picker.ruler.connect(self._on_ruler)
        self.ruler.said.connect(self.status.say)
        self.save_bar.wanted.connect(self._on_save)
        self.recovery.accepted.connect(self.work.keeper.adopt)
        self.recovery.accepted.connect(self.work.recovering.bring_back)
        self.recovery.discarded.connect(self._on_recovery_discarded)
        for area in (self.welcome, self.drops):
            area.dropped.connect(self.opener.open)
        self.welcome.followed.connect(self._on_link)
        self.hidden.linkActivated.connect(self._on_link)
        self.status.followed.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.opener.started.connect(partial(self.status.begin, "opening", "Opening ..."))
        self.opener.progressed.connect(partial(self.status.progress, "opening"))
        self.opener.finished.connect(self._on_opened)
        self.work.changed.connect(self._on_changed)
        self.work.restored.connect(self._on_restored)
        self.work.saved.connect(self._on_saved)
        self.work.dropped.connect(self._on_dropped)
        self.work.said.connect(self.status.say)
        self.work.keeper.found.connect(self.recovery.offer)
        self.work.failed.connect(self._on_not_saved)
        self.classifier.changed.connect(self._on_classifier)
        for source in (
            self.analysing,
            self.answering,
            self.classifier,
            self.work,
            self.work.keeper,
            self.guard,
            self.ruler,
            self.model,
            self.opener,
            self.collecting,
        ):
            source.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], object]] = {
            "analyse": self.analyse.click,
            "analyse_all": self.analyse_all.click,
            "next": partial(self.picker.step, 1),
            "previous": partial(self.picker.step, -1),
            "save": self.save_bar.save,
            "correct": self.collecting.add,
        }
        slots |= {name: self.correction.buttons[name].click for name in KEYS}
        for name, slot in slots.items():
            add_shortcut(self, f"lesion.{name}", slot)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in now."""
        super().showEvent(event)
        self.guard.watch()

    @property
    def busy(self) -> bool:
        """Whether anything is on its way: an analysis, a computation, a file."""
        parts = (self.analysing.queue, self.work, self.opener, self.collecting, self.answering)
        return any(part.busy for part in parts)

    def _refresh(self) -> None:
        self.show_state(self.picker.image, self.picker.combo.count(), self.analysing.queue.busy)
        self.welcome.set_hint(linked.why_none(self._viewer))
        self._show_target()

    def _on_photograph(self) -> None:
        """Show what is known of the photograph that the dock is about now."""
        identity = self.picker.identity
        if self.correcting.subject is not None and not self.opener.busy:
            self.status.clear()  # it was about the previous photograph
        self.correcting.turn_to(identity)
        self._show_options(identity)
        self.recovery.set_photograph(identity)
        self._on_changed(identity)
        self.answering.show()
        self._refresh()
        if identity is not None and identity not in self.work.book.lesions and identity not in self._looked:
            self._looked.add(identity)
            source = self.work.book.source(identity)
            if source is not None:
                others = {str(linked.identity(image)) for image in linked.identify(self._viewer)} - {identity}
                self.work.keeper.look_for(identity, source, others)
                self._look_for_saved(identity, source)

    def _look_for_saved(self, identity: str, source: Source) -> None:
        """Bring back what was said and filled in when a result of the photograph was saved."""
        folder, image = self.settings.folder, self.work.book.image(identity)
        if folder is not None and image is not None and identity not in self.work.book.lesions:
            self.answering.earlier.look_for(identity, source, saving.place(folder, image.name))

    def options_of(self, identity: str) -> LesionOptions:
        """Give the options of a photograph: as the controls show them, as it was analyzed, or as it will be."""
        shown = self.options()
        if identity == self.correcting.subject:
            return shown
        return with_fields(self._stored_options(identity), shown, COMMON)

    def _stored_options(self, identity: str | None) -> LesionOptions:
        """Return the options of a photograph that is not in view: wanted, of its result, or for its first analysis."""
        lesion = self.work.book.lesions.get(str(identity))
        if lesion is None:
            return self.own.of(identity)
        return self.work.wanted.get(str(identity), lesion.result.options)

    def _show_options(self, identity: str | None) -> None:
        """Show the options of the photograph that the dock is about now."""
        self.set_options(with_fields(self._stored_options(identity), self.options(), COMMON))
        self.sharing.show()

    def _on_restored(self, identity: str) -> None:
        if identity == self.picker.identity:
            self._show_options(identity)

    def _on_common(self) -> None:
        self.own.use_for_all(self.options(), COMMON)

    def _on_changed(self, identity: str | None) -> None:
        if identity == self.picker.identity:
            image = self.picker.image
            lesion = None if identity is None else self.work.book.lesions.get(identity)
            self.show_lesion(None if lesion is None else lesion.result)
            self.correction.set_image(None if lesion is None else image)
            self._show_target()
            self.collecting.show()

    def _show_target(self) -> None:
        """Say whose result Save would write, under the name that the photograph has now."""
        image, identity = self.picker.image, str(self.picker.identity)
        lesion = None if image is None else self.work.book.lesions.get(identity)
        known = image is not None and lesion is not None
        self.save_bar.set_target(Target(identity, lesion.image_digest, image.name) if known else None)

    def _on_classifier(self) -> None:
        self.settings.classifier = self.classifier.model

    def _on_scaled(self, identity: str) -> None:
        image = self.work.book.image(identity)
        if image is not None and identity in self.work.book.lesions:
            linked.follow_scale(self._viewer, image)
            self.work.measure_again(identity)

    def _on_ruler(self, on: bool) -> None:
        image = self.picker.image
        if on and image is not None:
            self.ruler.start(image)
        else:
            self.ruler.stop()

    def _on_link(self, link: str) -> None:
        if link == "sample":
            self.opener.sample()
        elif link == "open":
            self.opener.ask()
        elif link == "show":
            self.picker.show_picked()
        elif link == "train":
            show_dock(self._viewer, "Train")
        else:
            QDesktopServices.openUrl(QUrl(link))

    def _on_opened(self, count: int) -> None:
        self.status.end("opening")

    def _on_cancelled(self, task: str) -> None:
        if task == "opening":
            self.opener.cancel()

    def _on_save(self, target: Target, place: Path) -> None:
        self.correcting.settle()
        if target.identity in self.work.book.lesions:
            self.status.begin("saving", "Saving ...")
            self.answering.when_answered(target.identity, partial(self._save, target, place))

    def _save(self, target: Target, place: Path) -> None:
        told = partial(self.work.saved.emit, target)
        self.work.hand_over("save", target.identity, partial(to_save, target, place, self.answering.told), told)

    def _on_saved(self, target: Target, folder: Path) -> None:
        self.save_bar.remember(target, folder)
        self.status.end("saving", f"Saved in {self.icons.link(folder.as_uri(), str(folder))}.")

    def _on_not_saved(self, error: Exception) -> None:
        self.collecting.forget()
        self.status.end("storing")
        self.status.end("saving")  # where it was another computation, the bar ends a moment early

    def _on_dropped(self, identity: str) -> None:
        self._looked.discard(identity)
        self.own.forget(identity)
        self.recovery.withdraw(identity)

    def _on_recovery_discarded(self, identity: str, found: Recovered) -> None:
        self.work.keeper.discard(found)

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)
