"""The Review dock: review the photographs of a folder, the most uncertain predictions first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.lesion.corrections_store import CorrectionsStore, StoredCorrection
from napari_melanoma.ui.review.controls import ReviewControls
from napari_melanoma.ui.review.list_model import ReviewItems
from napari_melanoma.ui.review.mask_import import MaskImport, describe_import, show_report
from napari_melanoma.ui.review.opener import (
    MAX_TOOLTIP_PATHS,
    PhotographList,
    ReviewOpener,
    describe_selection,
    find_ratings,
    list_photographs,
)
from napari_melanoma.ui.review.rating import RatingQueue
from napari_melanoma.ui.shared_state import corrections_changed
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.mesa import reuse_shader_programs
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import remove_option_hints, show_failure
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.data.mask_import import MaskImportReport
    from napari_melanoma.lesion.review import CachedRating


class ReviewDock(ReviewControls):
    """Rate the photographs of a folder by uncertainty, and correct, accept or reject their masks."""

    def __init__(self, napari_viewer: Viewer, client: WorkerClient | None = None) -> None:
        super().__init__(napari_viewer)
        reuse_shader_programs()
        self._viewer = napari_viewer
        self._client = client or acquire_worker()
        self._chosen_paths: Sequence[Path] = ()
        self._fingerprint = ""
        self._positions: dict[Path, int] = {}
        self.corrections_store = CorrectionsStore(self.settings, self)
        self.rating = RatingQueue(self._client, self)
        self.opener = ReviewOpener(napari_viewer, self)
        self.mask_import = MaskImport(self, self.import_button)
        self._latest = LatestJobQueue(self)
        self.model.model = self.settings.options.model
        self.method_combo.setCurrentIndex(max(0, self.method_combo.findData(self.settings.rating_method)))
        self.list_model.rating_method = str(self.method_combo.currentData())
        self._connect()
        self._add_shortcuts()
        self._refresh()
        QTimer.singleShot(0, self._client.ensure_started)
        QTimer.singleShot(0, self.corrections_store.refresh)
        self.destroyed.connect(self.connections.close)
        if client is None:
            self.destroyed.connect(release_worker)

    def _connect(self) -> None:
        self.photographs_chosen.connect(self.open)
        self.welcome.link_activated.connect(self._on_link)
        self.status.link_activated.connect(self._on_link)
        self.status.cancelled.connect(self._on_cancelled)
        self.rate_button.clicked.connect(self._on_rate)
        self.model.changed.connect(self._on_model)
        self.method_combo.activated.connect(self._on_model)
        self.filter_combo.activated.connect(self._on_filter)
        self.list_view.item_selected.connect(self._open_item)
        self.next_button.clicked.connect(partial(self._step, 1))
        self.previous_button.clicked.connect(partial(self._step, -1))
        self.accept_button.clicked.connect(self.opener.accept)
        self.reject_button.clicked.connect(self.opener.reject)
        self.thumbnails.thumbnail_read.connect(self._on_thumbnail)
        self.list_model.counts_changed.connect(self.show_counts)
        self._latest.succeeded.connect(self._on_listed)
        self.rating.rated.connect(self._on_rated)
        self.rating.rating_failed.connect(self._on_unreadable)
        self.rating.progressed.connect(partial(self.status.progress, "rating"))
        self.rating.finished.connect(self._on_finished)
        self.opener.identified.connect(self._on_identified)
        self.opener.stored.connect(self._on_stored)
        self.opener.kept_open.connect(self._on_kept_open)
        self.opener.open_failed.connect(self._on_open_failed)
        self.opener.changed.connect(self._show_actions)
        self.corrections_store.changed.connect(self._on_corrections)
        self.mask_import.started.connect(partial(self.status.begin, "importing", "Importing masks ..."))
        self.mask_import.progressed.connect(partial(self.status.progress, "importing"))
        self.mask_import.imported.connect(self._on_imported)
        self.mask_import.finished.connect(partial(self.status.end, "importing"))
        for source in (self._latest, self.rating, self.corrections_store, self.model, self.mask_import):
            source.failed.connect(self._on_failed)

    def _add_shortcuts(self) -> None:
        slots: dict[str, Callable[[], None]] = {"next": partial(self._step, 1), "previous": partial(self._step, -1)}
        slots |= {"accept": self.opener.accept, "reject": self.opener.reject}
        for name, slot in slots.items():
            add_shortcut(self, f"review.{name}", slot)

    @property
    def busy(self) -> bool:
        """Whether a job is running or pending."""
        is_busy = self._latest.busy or self.rating.busy or self.corrections_store.busy or self.thumbnails.busy
        return is_busy or self.opener.busy or self.list_view.busy or self.mask_import.busy

    def open(self, paths: Sequence[Path]) -> None:
        """List and rate photographs and the photographs in folders."""
        self.rating.cancel()
        self.status.begin("opening", "Searching for photographs ...")
        model, method = self.model.model, str(self.method_combo.currentData())
        self._latest.submit("list", lambda: partial(list_photographs, paths, model, method))

    def _refresh(self) -> None:
        folder = self._chosen_paths[0] if len(self._chosen_paths) == 1 and self._chosen_paths[0].is_dir() else None
        self.mask_import.photographs, self.mask_import.corrections_folder = folder, self.corrections_store.folder
        self.mask_import.reviewer = self.settings.reviewer
        self.show_state(describe_selection(self._chosen_paths), self.rating.busy, len(self.list_model.items.unrated()))
        self.folder_label.setToolTip("\n".join(str(path) for path in self._chosen_paths[:MAX_TOOLTIP_PATHS]))
        self.show_counts()
        self._show_actions()

    def _show_actions(self) -> None:
        self.show_actions(self.opener.is_shown, self.opener.ready)

    def _on_link(self, link: str) -> None:
        if link == "choose":
            self.choose_folder()
        elif link == "import":
            self.mask_import.choose_masks()
        elif link == "train":
            show_dock(self._viewer, "Train")
        else:
            QDesktopServices.openUrl(QUrl(link))

    def _on_listed(self, listed: PhotographList) -> None:
        count = len(listed.paths)
        message = f"{count:,} photographs{', all rated already' if count == len(listed.ratings) else ''}."
        self.status.end("opening", message if count else None)
        self._fingerprint = listed.fingerprint
        if listed.chosen:
            self._chosen_paths = listed.chosen
            first = listed.chosen[0]
            self.settings.review_folder = first if first.is_dir() else first.parent
            self.list_view.set_item(None)
            items = ReviewItems(listed.paths)
            self._positions = {path: number for number, path in enumerate(listed.paths)}
        else:
            items = self.list_model.items
        for number, rating in listed.ratings.items():
            items.set_rating(number, rating)
        items.set_reviews(self._reviews())
        self.list_model.set_items(items)
        self._refresh()
        self._on_rate()

    def _reviews(self) -> dict[str, str]:
        return {digest: row.get("review", "") for digest, row in self.corrections_store.index.rows.items()}

    def _on_rate(self) -> None:
        items = self.list_model.items
        waiting = [(number, items.paths[number]) for number in items.unrated()]
        if waiting and not self.rating.busy:
            self.status.begin("rating", "Rating ...")
            self.rating.start(waiting, self.model.model, self._fingerprint, self.list_model.rating_method)
        self._refresh()

    def _on_model(self) -> None:
        self.rating.cancel()
        self.settings.rating_method = self.list_model.rating_method = str(self.method_combo.currentData())
        if self._chosen_paths:
            self.list_model.items.clear_ratings()
            self.list_view.update_order()
            paths, model, method = self.list_model.items.paths, self.model.model, self.list_model.rating_method
            self._latest.submit("list", lambda: partial(find_ratings, paths, model, method))

    def _on_filter(self, index: int) -> None:
        self.list_model.only_unreviewed = index == 0
        self.list_view.update_order()

    def _on_rated(self, item: int, rating: CachedRating) -> None:
        self.list_model.items.set_rating(item, rating)
        self.list_view.update_item(item)

    def _on_unreadable(self, item: int, reason: str) -> None:
        self.list_model.items.set_unreadable(item, remove_option_hints(reason))
        self.list_view.update_item(item)

    def _on_finished(self, done: int, seconds: float) -> None:
        left = len(self.list_model.items.unrated())
        message = f"{done:,} photographs rated in {seconds:.0f} s." if done != 1 else f"Rated in {seconds:.1f} s."
        self.status.end("rating", f"{message} {left:,} are not rated yet." if left else message)
        self._refresh()

    def _open_item(self, item: int) -> None:
        self.list_view.set_item(item)
        self.opener.open(self.list_model.items.paths[item])

    def _step(self, by: int) -> None:
        row = self.list_model.row(self.list_view.item)
        item = self.list_model.item(max(0, row + by) if row >= 0 else 0)
        if item is not None and item != self.list_view.item:
            self._open_item(item)

    def _on_thumbnail(self, path: Path) -> None:
        self.list_model.update_item(self._positions.get(path, -1))

    def _on_identified(self, path: Path, image_digest: str) -> None:
        item = self._positions.get(path)
        if item is not None:
            self.list_model.items.set_digest(item, image_digest)
            self.list_model.update_item(item)

    def _on_stored(self, path: Path, stored: StoredCorrection) -> None:
        item = self._positions.get(path)
        if item is None:
            return
        row = self.list_model.row(item)
        self.list_model.items.set_digest(item, stored.image_digest)
        self.corrections_store.set_stored(stored)
        total = stored.index.total
        train = f" {self.icons.link('train', 'Train on them')}." if total else ""
        self.status.show_message(
            f"{path.name}: {stored.review}. {format_count(total, 'image')} with masks in total.{train}"
        )
        if item == self.list_view.item:
            self._open_next(row)

    def _open_next(self, row: int) -> None:
        """Open the next unreviewed photograph in the list, or the first one."""
        item = self.list_model.next_unreviewed(row if self.list_model.only_unreviewed else row + 1)
        if item is not None:
            self._open_item(item)
        else:
            self.status.show_message("All photographs are reviewed.")
            self._show_actions()

    def _on_corrections(self) -> None:
        self.list_model.items.set_reviews(self._reviews())
        self.list_view.update_order()

    def _on_imported(self, report: MaskImportReport) -> None:
        corrections_changed().changed.emit(self.corrections_store.folder)
        message = describe_import(report)[0]
        train = f" {self.icons.link('train', 'Train on them')}." if report.added else ""
        self.status.end("importing", message + train)
        show_report(self, report)

    def _on_kept_open(self, name: str) -> None:
        self.status.show_message(f"{name} stays open because its corrections are not stored yet.")

    def _on_open_failed(self, path: Path, error: Exception) -> None:
        item = self._positions.get(path)
        if item is not None:
            self._on_unreadable(item, str(error))
        self.status.show_message(remove_option_hints(str(error)))

    def _on_cancelled(self, task: str) -> None:
        if task == "rating":
            self.rating.cancel()
        elif task == "importing":
            self.mask_import.cancel()

    def _on_failed(self, error: Exception) -> None:
        self.status.end("opening")
        show_failure(self.status, error)
