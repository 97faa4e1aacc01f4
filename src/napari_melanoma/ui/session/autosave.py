"""Reading and saving the state of sessions: one writer follows all of them, off the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.session.slide import SlideState
from napari_melanoma.ui.widgets.edited_document import LatestStateWriter, Stamp
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.geojson import Color, Origin
    from napari_melanoma.ui.session.slide import SlideSession
DEFAULT_COLOR: Color = (255, 255, 0)  # of classes without a color in the file


@dataclass(frozen=True)
class SavedState:
    """The state of a slide and the folder of its file; ``origin``: corner of the scanned area."""

    slide: Path
    folder: Path
    origin: Origin
    state: SlideState


@dataclass(frozen=True)
class _KnownFile:
    """The version of a file that was last read or written, and its features that are no strokes."""

    stamp: Stamp | None = None
    unread: tuple[Any, ...] = ()


class Autosave(QObject):
    """Read the stored state of slides, and save it after each change of a session.

    ``message``: such as the name of a backup, if another program has changed the file.
    """

    failed = Signal(object)  # Exception
    message = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._files: dict[Path, _KnownFile] = {}  # by folder
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(lambda done: done())
        self._queue.failed.connect(self.failed)
        self._writer = LatestStateWriter(self, self._queue, self._write, self._on_written, self.failed.emit)

    def read(self, folder: Path, origin: Origin, on_read: Callable[[SlideState], object]) -> None:
        """Read the stored state of a slide in the background; an empty state if there is none."""
        self._queue.submit(f"read {folder}", lambda: partial(self._read, folder, origin, on_read))

    def follow(self, session: SlideSession) -> None:
        """Save the state of a session after each change."""
        info, folder = session.slide.info, session.folder

        def save(state: SlideState) -> None:
            self._writer.save(SavedState(info.path, folder, info.origin, state))

        session.changed.connect(save)

    def flush(self) -> None:
        """Write pending changes now: the window may be about to close."""
        self._writer.flush()

    def _read(
        self, folder: Path, origin: Origin, on_read: Callable[[SlideState], object], run: RunContext
    ) -> Callable[[], object]:
        from napari_melanoma.core.files import file_stamp
        from napari_melanoma.slides.regions import RegionClass
        from napari_melanoma.slides.tissue_classifier.strokes import STROKES, read_stroke_file

        path = folder / STROKES
        if not path.is_file():
            return partial(on_read, SlideState())
        stamp, content = file_stamp(path), read_stroke_file(path, origin)
        self._files[folder] = _KnownFile(stamp, content.unread)
        classes = tuple(RegionClass(name, color or DEFAULT_COLOR) for name, color in content.classes.items())
        return partial(on_read, SlideState(content.strokes, classes, content.channels))

    def _write(self, saved: SavedState) -> tuple[str, ...]:
        """Write a state; return messages for the user. Called in a thread, or when the window closes."""
        from napari_melanoma.core.files import back_up_if_changed, file_stamp
        from napari_melanoma.slides.result_folder import record_slide, recorded_slide
        from napari_melanoma.slides.tissue_classifier.strokes import STROKES, write_strokes

        path, known = saved.folder / STROKES, self._files.get(saved.folder, _KnownFile())
        if recorded_slide(saved.folder) is None:
            record_slide(saved.folder, saved.slide, record_name=True)
        notes = back_up_if_changed(path, known.stamp)
        state = saved.state
        write_strokes(
            path, state.strokes, state.colors, origin=saved.origin, unread=known.unread, channels=state.channels
        )
        self._files[saved.folder] = replace(known, stamp=file_stamp(path))
        return notes

    def _on_written(self, notes: tuple[str, ...] | None) -> None:
        if notes:
            self.message.emit("; ".join(notes))
