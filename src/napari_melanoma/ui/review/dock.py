"""The Review dock: the photographs of a folder, the ones first that the model is least sure of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices

from napari_melanoma.core.wording import counted
from napari_melanoma.ui.lesion.corrections_store import CorrectionsDesk, Stored
from napari_melanoma.ui.review.controls import ReviewControls
from napari_melanoma.ui.review.importing import MaskImport, in_words, show_report
from napari_melanoma.ui.review.list import ReviewItems
from napari_melanoma.ui.review.opening import TOLD, Listed, ReviewOpening, in_short, list_photographs, look_up
from napari_melanoma.ui.review.rating import ReviewRating
from napari_melanoma.ui.shared_state import corrections_changed
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.mesa import keep_shaders
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.status_line import show_failure, without_options
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.data.mask_import import ImportReport
    from napari_melanoma.lesion.review import Known


class ReviewDock(ReviewControls):
    """Go through a folder where it helps most: rate, look, correct, accept or reject, and on to the next."""

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        keep_shaders()
        self._viewer = napari_viewer
        self._client = client or acquire_worker()
        self._chosen: Sequence[Path] = ()
        self._fingerprint = ""
        self._positions: dict[Path, int] = {}
        self.desk = CorrectionsDesk(self.settings, self)
        self.rating = ReviewRating(self._client, self)
        self.opening = ReviewOpening(napari_viewer, self)
        self.importing = MaskImport(self, self.masks)
        self._latest = Latest(self)
        self.model.model = self.settings.options.model
        self.how.setCurrentIndex(max(0, self.how.findData(self.settings.how)))
        self.list.how = str(self.how.currentData())
        self._connect()
        self._add_shortcuts()
        self._refresh()
        QTimer.singleShot(0, self._client.warm)
        QTimer.singleShot(0, self.desk.refresh)
        self.destroyed.connect(self.connections.close)
        if client is None:
            self.destroyed.connect(release_worker)

    def _connect(self) -> None:
        self.chosen.connect(self.open)
        self.welcome.followed.connect(self._on_link)
        self.status.followed.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.rate.clicked.connect(self._on_rate)
        self.model.changed.connect(self._on_model)
        self.how.activated.connect(self._on_model)
        self.filter.activated.connect(self._on_filter)
        self.view.chosen.connect(self._turn_to)
        self.next.clicked.connect(partial(self._step, 1))
        self.previous.clicked.connect(partial(self._step, -1))
        self.accept.clicked.connect(self.opening.accept)
        self.reject.clicked.connect(self.opening.reject)
        self.pictures.read.connect(self._on_picture)
        self.list.counted.connect(self.show_counts)
        self._latest.succeeded.connect(self._on_listed)
        self.rating.rated.connect(self._on_rated)
        self.rating.refused.connect(self._on_refused)
        self.rating.progressed.connect(partial(self.status.progress, "rating"))
        self.rating.finished.connect(self._on_finished)
        self.opening.found.connect(self._on_found)
        self.opening.stored.connect(self._on_stored)
        self.opening.kept.connect(self._on_kept)
        self.opening.refused.connect(self._on_cannot_open)
        self.opening.changed.connect(self._show_actions)
        self.desk.changed.connect(self._on_corrections)
        self.importing.started.connect(partial(self.status.begin, "importing", "Importing masks ..."))
        self.importing.progressed.connect(partial(self.status.progress, "importing"))
        self.importing.imported.connect(self._on_imported)
        self.importing.finished.connect(partial(self.status.end, "importing"))
        for source in (self._latest, self.rating, self.desk, self.model, self.importing):
            source.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], None]] = {"next": partial(self._step, 1), "previous": partial(self._step, -1)}
        slots |= {"accept": self.opening.accept, "reject": self.opening.reject}
        for name, slot in slots.items():
            add_shortcut(self, f"review.{name}", slot)

    @property
    def busy(self) -> bool:
        """Whether anything is on its way."""
        mine = self._latest.busy or self.rating.busy or self.desk.busy or self.pictures.busy
        return mine or self.opening.busy or self.view.busy or self.importing.busy

    def open(self, chosen: Sequence[Path]) -> None:
        """Review photographs."""
        self.rating.cancel()
        self.status.begin("opening", "Looking for photographs ...")
        model, how = self.model.model, str(self.how.currentData())
        self._latest.submit("list", lambda: partial(list_photographs, chosen, model, how))

    def _refresh(self) -> None:
        only = self._chosen[0] if len(self._chosen) == 1 and self._chosen[0].is_dir() else None
        self.importing.photographs, self.importing.out = only, self.desk.folder
        self.importing.reviewer = self.settings.reviewer
        self.show_state(in_short(self._chosen), self.rating.busy, len(self.list.items.unrated()))
        self.folder.setToolTip("\n".join(str(path) for path in self._chosen[:TOLD]))
        self.show_counts()
        self._show_actions()

    def _show_actions(self) -> None:
        self.show_actions(self.opening.is_shown, self.opening.ready)

    def _on_link(self, link: str) -> None:
        if link == "choose":
            self.ask_folder()
        elif link == "import":
            self.importing.ask()
        elif link == "train":
            show_dock(self._viewer, "Train")
        else:
            QDesktopServices.openUrl(QUrl(link))

    def _on_listed(self, listed: Listed) -> None:
        count = len(listed.paths)
        said = f"{count:,} photographs{', all rated before' if count == len(listed.known) else ''}."
        self.status.end("opening", said if count else None)
        self._fingerprint = listed.fingerprint
        if listed.chosen:
            self._chosen = listed.chosen
            first = listed.chosen[0]
            self.settings.review_folder = first if first.is_dir() else first.parent
            self.view.turn_to(None)
            items = ReviewItems(listed.paths)
            self._positions = {path: number for number, path in enumerate(listed.paths)}
        else:
            items = self.list.items
        for number, known in listed.known.items():
            items.rate(number, known)
        items.review(self._reviews())
        self.list.set_items(items)
        self._refresh()
        self._on_rate()

    def _reviews(self) -> dict[str, str]:
        return {digest: row.get("review", "") for digest, row in self.desk.standing.rows.items()}

    def _on_rate(self) -> None:
        items = self.list.items
        waiting = [(number, items.paths[number]) for number in items.unrated()]
        if waiting and not self.rating.busy:
            self.status.begin("rating", "Rating ...")
            self.rating.start(waiting, self.model.model, self._fingerprint, self.list.how)
        self._refresh()

    def _on_model(self) -> None:
        self.rating.cancel()
        self.settings.how = self.list.how = str(self.how.currentData())
        if self._chosen:
            self.list.items.unrate()
            self.view.arrange()
            paths, model, how = self.list.items.paths, self.model.model, self.list.how
            self._latest.submit("list", lambda: partial(look_up, paths, model, how))

    def _on_filter(self, index: int) -> None:
        self.list.to_do = index == 0
        self.view.arrange()

    def _on_rated(self, item: int, known: Known) -> None:
        self.list.items.rate(item, known)
        self.view.change(item)

    def _on_refused(self, item: int, why: str) -> None:
        self.list.items.refuse(item, without_options(why))
        self.view.change(item)

    def _on_finished(self, done: int, seconds: float) -> None:
        left = len(self.list.items.unrated())
        said = f"{done:,} photographs rated in {seconds:.0f} s." if done != 1 else f"Rated in {seconds:.1f} s."
        self.status.end("rating", f"{said} {left:,} are still to be rated." if left else said)
        self._refresh()

    def _turn_to(self, item: int) -> None:
        self.view.turn_to(item)
        self.opening.open(self.list.items.paths[item])

    def _step(self, by: int) -> None:
        row = self.list.row(self.view.item)
        item = self.list.item(max(0, row + by) if row >= 0 else 0)
        if item is not None and item != self.view.item:
            self._turn_to(item)

    def _on_picture(self, path: Path) -> None:
        self.list.refresh(self._positions.get(path, -1))

    def _on_found(self, path: Path, image_digest: str) -> None:
        item = self._positions.get(path)
        if item is not None:
            self.list.items.know(item, image_digest)
            self.list.refresh(item)

    def _on_stored(self, path: Path, stored: Stored) -> None:
        item = self._positions.get(path)
        if item is None:
            return
        row = self.list.row(item)
        self.list.items.know(item, stored.image_digest)
        self.desk.take(stored)
        total = stored.standing.total
        train = f" {self.icons.link('train', 'Train on them')}." if total else ""
        self.status.say(f"{path.name}: {stored.review}. {counted(total, 'image')} with masks in all.{train}")
        if item == self.view.item:
            self._go_on(row)

    def _go_on(self, row: int) -> None:
        """Go to the next one that is to do: the one that is less unsure than this one, or the first of all."""
        item = self.list.next_to_do(row if self.list.to_do else row + 1)
        if item is not None:
            self._turn_to(item)
        else:
            self.status.say("Every photograph here is reviewed.")
            self._show_actions()

    def _on_corrections(self) -> None:
        self.list.items.review(self._reviews())
        self.view.arrange()

    def _on_imported(self, report: ImportReport) -> None:
        corrections_changed().changed.emit(self.desk.folder)
        sentence = in_words(report)[0]
        train = f" {self.icons.link('train', 'Train on them')}." if report.added else ""
        self.status.end("importing", sentence + train)
        show_report(self, report)

    def _on_kept(self, name: str) -> None:
        self.status.say(f"{name} stays open: what you drew on it is stored nowhere yet.")

    def _on_cannot_open(self, path: Path, error: Exception) -> None:
        item = self._positions.get(path)
        if item is not None:
            self._on_refused(item, str(error))
        self.status.say(without_options(str(error)))

    def _on_cancelled(self, task: str) -> None:
        if task == "rating":
            self.rating.cancel()
        elif task == "importing":
            self.importing.cancel()

    def _on_failed(self, error: Exception) -> None:
        self.status.end("opening")
        show_failure(self.status, error)
