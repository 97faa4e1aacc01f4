"""The open case: create, open, edit with undo, save and close it; also the settings of the Case dock."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.case.model import Case, set_correction, set_image, set_lesion, set_paths
from napari_melanoma.case.store import CASE, CaseStore, locate_images
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import is_same_folder
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.paths import expand_user, real_path
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.widgets.dialogs import WindowGuard, create_question, exec_question
from napari_melanoma.ui.widgets.file_drop import RECENT_CASES, RecentPaths
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction, LatestJobQueue, tasks
from napari_melanoma.ui.widgets.latest_writer import LatestStateWriter
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import at_end

SAVE_DELAY_MS = 400  # after the last edit


class CaseController(QObject):
    """Opens, changes, saves and closes one case; ``slides``: those that are closed with it."""

    opened = Signal()
    changed = Signal()
    images_requested = Signal(object)  # list of ids
    located = Signal(str)  # how many missing images were found
    failed = Signal(object)  # Exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.store: CaseStore | None = None
        self.history: CaseHistory | None = None
        self._pending_store: CaseStore | None = None
        self._is_opening = False  # whether the case that a job opens is to be used
        self._requested_images: tuple[Path, list[str]] | None = None  # of a case that is being opened
        self.slides: list[Path] = []
        self.saver = CaseSaver(self, lambda: self.case)
        self.saver.save_failed.connect(self._discard_pending_store)
        self._open_jobs = LatestJobQueue(self)
        self._open_jobs.succeeded.connect(self._on_opened)
        self._open_jobs.failed.connect(self._on_open_failed)
        self._locate_jobs = LatestJobQueue(self)
        self._locate_jobs.succeeded.connect(self._on_located)
        self._locate_jobs.failed.connect(self.failed)

    @property
    def case(self) -> Case | None:
        """The current case."""
        return None if self.history is None else self.history.case

    @property
    def read_only(self) -> str:
        """Why the case is read-only; empty if it can be changed."""
        return "" if self.store is None else self.store.read_only

    @property
    def is_editable(self) -> bool:
        """Whether a case is open that can be changed."""
        return self.store is not None and not self.store.read_only

    def open(self, folder: Path) -> None:
        """Open a case, which replaces the current case."""
        self._replace_store(lambda: partial(_open_case, self.store, folder))

    def is_open(self, folder: Path) -> bool:
        """Return whether the case in a folder is open."""
        return self.store is not None and bool(real_path(self.store.folder) == real_path(folder))

    def show_images(self, folder: Path, ids: Sequence[str]) -> None:
        """Open images of a case, which is opened before if necessary; the last one is shown."""
        self._requested_images = folder, [*ids]
        if self.is_open(folder):
            self._request_images()
        else:
            self.open(folder)

    def _request_images(self) -> None:
        """Request the images that are to be shown, unless another case was opened."""
        requested, self._requested_images = self._requested_images, None
        if requested is not None and self.is_open(requested[0]):
            self.images_requested.emit(requested[1])

    def add_slide(self, folder: Path, slide: Path) -> None:
        """Close a slide with the case in a folder, if that is open."""
        if self.is_open(folder):
            self.slides.append(slide)

    def create(self, folder: Path, case: Case | None = None) -> None:
        """Create a case, which replaces the current case."""
        self._replace_store(lambda: lambda run: CaseStore.create(folder, case))

    def close(self) -> None:
        """Save and close the case; a case that is being opened is closed, too."""
        self.saver.run_when_saved(self._close_store)

    def locate_images(self, folder: Path) -> None:
        """Find the missing images in the folder where they are now."""
        store, case = self.store, self.case
        if store is not None and case is not None:
            self._locate_jobs.submit("locate", lambda: lambda run: (store, folder, locate_images(case, folder)))

    def _on_located(self, located: tuple[CaseStore, Path, dict[str, Path]]) -> None:
        store, folder, paths = located
        if store is not self.store or self.history is None:
            return
        store.missing = {name: text for name, text in store.missing.items() if name not in paths}
        self.history.amend(set_paths(self.history.case, paths))
        if self.is_editable:
            self.saver.schedule_save()
        self.changed.emit()
        self.saver.saved.emit()
        found, rest = format_count(len(paths), "image"), len(store.missing)
        self.located.emit(f"{found} found in {folder}.{f' {rest} still missing.' if rest else ''}")

    def edit(self, case: Case, description: str, key: str = "") -> bool:
        """Change the case as an undo step, and save it soon; return False if it is unchanged or read-only.

        Consecutive edits with the same ``key`` are one step, such as the letters typed in a field.
        """
        if not self.is_editable or self.history is None or not self.history.edit(case, description, key):
            return False
        self._on_edited()
        return True

    def revert(self, key: str) -> None:
        """Undo unfinished edits of a field."""
        if self.is_editable and self.history is not None and self.history.revert(key):
            self._on_edited()

    def amend(self, case: Case) -> None:
        """Change parts of the case that Undo does not change, such as a mask or a scale."""
        if self.is_editable and self.history is not None and case != self.history.case:
            self.history.amend(case)
            self._on_edited()

    def undo(self) -> str:
        """Undo the last step; return its description, or ""."""
        return self._step(self.history.undo) if self.is_editable and self.history is not None else ""

    def redo(self) -> str:
        """Redo a step; return its description, or ""."""
        return self._step(self.history.redo) if self.is_editable and self.history is not None else ""

    def _step(self, step: Callable[[], str]) -> str:
        description = step()
        if description:
            self._on_edited()
        return description

    def _on_edited(self) -> None:
        self.saver.schedule_save()
        self.changed.emit()

    def _replace_store(self, prepare: Callable[[], JobFunction | None]) -> None:
        """Run a job that opens a case, once the current one is saved."""
        self.saver.run_when_saved(partial(self._open_jobs.submit, "open", partial(self._start_opening, prepare)))

    def _start_opening(self, prepare: Callable[[], JobFunction | None]) -> JobFunction | None:
        self._is_opening = True
        return prepare()

    def _close_store(self) -> None:
        self._open_jobs.drop("open")
        self._is_opening = False
        self._discard_pending_store()
        self._set_store(None)

    def _on_opened(self, store: CaseStore) -> None:
        self._discard_pending_store()
        self._pending_store = store
        if self._is_opening:
            self._is_opening = False
            self.saver.run_when_saved(self._set_pending_store)
        else:
            self._discard_pending_store()

    def _on_open_failed(self, error: Exception) -> None:
        self._is_opening, self._requested_images = False, None
        self.failed.emit(error)

    def _discard_pending_store(self) -> None:
        """Close a case that was opened but is not used.

        For example, another case was opened in the meantime, or the current case cannot be saved.
        """
        store, self._pending_store = self._pending_store, None
        if store is not None and store is not self.store:
            BackgroundJob(lambda run: store.close()).start()

    def _set_pending_store(self) -> None:
        if self._pending_store is not None:
            self._set_store(self._pending_store)

    def _set_store(self, store: CaseStore | None) -> None:
        """Set the open case; close the previous one in a thread, because closing removes leftover files."""
        previous, self.store, self._pending_store = self.store, store, None
        if previous is not None and previous is not store:
            BackgroundJob(lambda run: previous.close()).start()
        self.history = None if store is None else CaseHistory(store.case)
        self.saver.set_store(store)
        self.opened.emit()
        self.saver.saved.emit()
        self._request_images()


def _open_case(current: CaseStore | None, folder: Path, run: RunContext) -> CaseStore:
    """Open a case; the current one is read again, and stays open if that fails."""
    if current is not None and is_same_folder(current.folder, expand_user(folder)):
        return current.open_again(folder)
    return CaseStore.open(folder)


class CaseStep(NamedTuple):
    """A case, and the description of the edit that has made it."""

    case: Case
    description: str = ""


class CaseHistory:
    """Undo history of a case; consecutive edits with the same key are one step."""

    def __init__(self, case: Case) -> None:
        self._history = History(CaseStep(case))
        self._key = ""

    @property
    def case(self) -> Case:
        """The current case."""
        return self._history.current.case

    @property
    def undo_text(self) -> str:
        """Description of the step to undo; empty without one."""
        return self._history.current.description if self._history.past else ""

    @property
    def redo_text(self) -> str:
        """Description of the step to redo; empty without one."""
        return self._history.undone[-1].description if self._history.undone else ""

    def edit(self, case: Case, description: str, key: str = "") -> bool:
        """Change the case as a step; return False if it is unchanged."""
        if case == self.case:
            return False
        history = self._history.undo() if key and key == self._key else self._history
        self._key, self._history = key, history.push(CaseStep(case, description))
        return True

    def revert(self, key: str) -> bool:
        """Undo unfinished edits of a field without a redo step; return False if there are none."""
        if not key or key != self._key:
            return False
        self._restore(self._history.undo())
        self._history = replace(self._history, undone=(), undone_steps=())
        return True

    def end_step(self) -> None:
        """Make the next edit a separate step."""
        self._key = ""

    def amend(self, case: Case) -> None:
        """Change the case without a step, for example a mask, whose changes are undone in the viewer."""
        self._history = replace(self._history, current=self._history.current._replace(case=case))

    def undo(self) -> str:
        """Undo the last step; return its description, or ""."""
        description = self.undo_text
        self._restore(self._history.undo())
        return description

    def redo(self) -> str:
        """Redo a step; return its description, or ""."""
        description = self.redo_text
        self._restore(self._history.redo())
        return description

    def _restore(self, history: History[CaseStep]) -> None:
        current = self.case
        self._history, self._key = history, ""
        if history.current.case is not current:
            self.amend(copy_kept_parts(history.current.case, current))


def copy_kept_parts(case: Case, source: Case) -> Case:
    """Return a case with the parts of ``source`` that Undo does not change.

    These are masks, signed synoptic reports with the findings of their slides, and the recorded changes of unsigned
    reports.
    """
    case = copy_masks(case, source)
    images = {image.id: image for _, image in source.iterate_images()}
    reports = {lesion.id: lesion.synoptic for lesion in source.lesions}
    for lesion in case.lesions:
        current = reports.get(lesion.id)
        if current is not None and current != lesion.synoptic:
            report, reader = current, current.history[-1].reader if current.history else ""
            if not current.is_signed:
                report = current.restore(lesion.synoptic or type(current)(), reader, utc_time())
            case = set_lesion(case, lesion.id, synoptic=report)
            kept = (images[image.id] for image in lesion.images if current.is_signed and image.id in images)
            for image in kept:
                case = set_image(case, image.id, findings=image.findings)
    return case


def copy_masks(case: Case, source: Case) -> Case:
    """Return a case with the paths, corrections, results and scales that its images have in ``source``."""
    current = {image.id: image for _, image in source.iterate_images()}
    for _, image in case.iterate_images():
        other = current.get(image.id)
        if other is not None and other != image:
            values = {name: getattr(other, name) for name in ("path", "results", "mpp_x", "mpp_y")}
            case = set_correction(set_image(case, image.id, **values), image.id, other.correction)
    return case


class PendingCorrections(Protocol):
    """Saver of mask corrections of the case."""

    @property
    def is_saved(self) -> bool:
        """Whether all corrections are in the case."""

    def flush(self) -> None:
        """Save at once, without delay."""


class SavedCase(NamedTuple):
    """A case to be written to its folder; ``overwrite``: also if another program has changed the file."""

    store: CaseStore
    case: Case
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the case."""
        return self.store.folder


class CaseSaver(QObject):
    """Saves the open case after each edit, and when the dock is deleted, which also releases it for other windows.

    ``saved_at``: Unix time of the last save; 0 for never. ``corrections``: saver of the mask corrections. ``saved``:
    emitted after the save state has changed. ``flush_requested``: emitted before the case is closed or its file is
    read, so that forms apply the text that is being typed.
    """

    flush_requested = Signal()
    saved = Signal()
    save_failed = Signal()

    def __init__(self, parent: QObject, case: Callable[[], Case | None]) -> None:
        super().__init__(parent)
        self.error: Exception | None = None
        self.saved_at = 0.0
        self.corrections: PendingCorrections | None = None
        self._case = case
        self._store: CaseStore | None = None
        self._saved_case: Case | None = None
        self._after_save: list[tuple[str, Callable[[], None]]] = []  # (name, function)
        tasks.idle.connect(self._advance)
        self._save_jobs = LatestJobQueue(self, SAVE_DELAY_MS)
        self._save_jobs.failed.connect(self._on_save_failed)
        self._writer = LatestStateWriter[SavedCase, SavedCase](
            self, self._save_jobs, _write_case, self._on_saved, self._on_save_failed
        )
        self._open_store = ExitStack()
        at_end(self, self._open_store.close)

    @property
    def has_unsaved_changes(self) -> bool:
        """Whether the case differs from its file."""
        return self._is_writable and self._case() != self._saved_case

    @property
    def _is_writable(self) -> bool:
        return self._store is not None and not self._store.read_only

    def set_store(self, store: CaseStore | None) -> None:
        """Set another case, which does not differ from its file."""
        self._store = store
        self._open_store.pop_all()  # closed by the controller
        if store is not None:
            self._open_store.callback(store.close)
        self.discard_changes()
        self.saved_at = 0.0

    def schedule_save(self) -> None:
        """Save after a short delay without further edits."""
        self._submit(overwrite=False)

    def save(self, *, overwrite: bool = False) -> None:
        """Save at once; ``overwrite``: also if another program has changed the file."""
        if overwrite or self.has_unsaved_changes:
            self._submit(overwrite=overwrite)
            self._save_jobs.hurry()

    def _submit(self, *, overwrite: bool) -> None:
        store, case = self._store, self._case()
        if store is not None and case is not None and not store.read_only:
            self._writer.save(SavedCase(store, case, overwrite))

    def run_when_saved(self, function: Callable[[], None], name: str = "") -> None:
        """Call a function once all edits are saved, in the order of the requests; it is dropped if saving fails.

        It replaces a pending function of the same ``name``, for example after a second click on a button.
        """
        self.flush_requested.emit()
        self._after_save = [pending for pending in self._after_save if not name or pending[0] != name]
        self._after_save.append((name, function))
        tasks.set_running(self, True)
        self._advance()

    def discard_changes(self) -> None:
        """Discard changes that could not be saved."""
        self._saved_case, self.error = self._case(), None
        self._writer.discard()

    def _advance(self) -> None:
        """Save the corrections, then the case, then make the pending calls."""
        if not self._after_save or self._save_jobs.is_running:
            return  # continued when the job has ended
        if self.corrections is not None and not self.corrections.is_saved and self._is_writable:
            self.corrections.flush()
        elif self.has_unsaved_changes:
            self.save()
        else:
            _, function = self._after_save.pop(0)
            tasks.set_running(self, bool(self._after_save))
            function()
            self._advance()

    def _on_saved(self, saved: SavedCase | None) -> None:
        if saved is not None and saved.store is self._store:
            self._saved_case, self.error, self.saved_at = saved.case, None, time.time()
        self.saved.emit()

    def _on_save_failed(self, error: Exception) -> None:
        self.error, self._after_save = error, []
        tasks.set_running(self, False)
        self.save_failed.emit()
        self.saved.emit()


def _write_case(saved: SavedCase) -> SavedCase:
    saved.store.save(saved.case, overwrite=saved.overwrite)
    return saved


class CaseCloseGuard(WindowGuard):
    """Saves the case before the main window of its dock is closed."""

    def __init__(self, dock: QWidget, controller: CaseController, corrections: PendingCorrections) -> None:
        super().__init__(dock)
        self._controller = controller
        self._corrections = corrections
        self._closing = self._is_waiting = False
        tasks.idle.connect(self._on_idle)

    def move_to_front(self) -> None:
        """Filter events before other guards, because this guard saves without asking."""
        window = self.window
        if window is not None:
            window.removeEventFilter(self)
            window.installEventFilter(self)

    def may_close(self) -> bool:
        """Return whether everything is saved; otherwise save, then close the window."""
        self._controller.saver.flush_requested.emit()
        if self._closing or not self._has_unsaved_changes():
            return True
        self._corrections.flush()
        if self._controller.saver.has_unsaved_changes:
            self._controller.saver.save()
        self._is_waiting = True
        return False

    def _has_unsaved_changes(self) -> bool:
        return self._controller.is_editable and (self._controller.saver.has_unsaved_changes or not self._is_idle())

    def _is_idle(self) -> bool:
        return self._corrections.is_saved and tasks.is_idle(self._controller)

    def _on_idle(self) -> None:
        if not self._is_waiting or not self._is_idle():
            return
        self._is_waiting = False
        if self._controller.saver.error is not None:
            self._confirm_close()
        elif self._controller.saver.has_unsaved_changes:
            self._controller.saver.save()
            self._is_waiting = True
        else:
            self._close_window()

    def _confirm_close(self) -> None:
        box = create_question(
            self._dock, "case_not_saved", "The case cannot be saved.", str(self._controller.saver.error), "Case"
        )
        close = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton("Stay in napari", QMessageBox.ButtonRole.RejectRole))
        if exec_question(box) is close:
            self._controller.saver.discard_changes()
            self._close_window()

    def _close_window(self) -> None:
        window = self.window
        if window is not None and window.isVisible():  # it may have been closed while the case was being saved
            self._closing = True
            self.close_again()
            self._closing = False


class CaseSettings(DockSettings):
    """Settings of all docks, and those of the Case dock."""

    @property
    def recent(self) -> list[Path]:
        """Folders of recent cases, the latest first, without missing folders."""
        return [path for path in RecentPaths(self, RECENT_CASES).paths if (path / CASE).is_file()]

    def add_recent(self, folder: Path) -> None:
        """Add a case to the recent ones."""
        RecentPaths(self, RECENT_CASES).add(folder)

    @property
    def default_folder(self) -> Path:
        """Initial folder of dialogs."""
        recent = self.recent
        return recent[0].parent if recent else expand_user("~")

    def get_open_images(self, folder: Path) -> list[str]:
        """Return the ids of the images of a case that were open; the last image was in view."""
        return self.get(_open_images_key(folder), [])

    def set_open_images(self, folder: Path, images: list[str]) -> None:
        """Store which images of a case are open."""
        self.set(_open_images_key(folder), images)


def _open_images_key(folder: Path) -> str:
    """Return the settings key of a case; the path is hashed, because it may contain a person's name."""
    return f"case/shown/{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
