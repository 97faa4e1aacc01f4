"""Depth readings of the open slides: read, edited with undo, and saved in background threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.slide.shape_layers import LatestValueWriter, Stamp, WriteResult
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.depth.readings import DepthReading, SlideDepthProposals, SlideDepthReadings
    from napari_melanoma.slides.depth_readings import StoredDepth
    from napari_melanoma.slides.lesion_edits import EditHistory
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

READING_NAMED = "The reading without a name is now the reading of {}."
READER_EXISTS = "{} has measured this slide before. The reading without a name is kept separately."


@dataclass(frozen=True)
class DepthReadingState:
    """The readings of a slide with their history, the proposals of the analysis, and the folder."""

    identity: str
    folder: Path
    history: EditHistory[SlideDepthReadings]
    proposed: SlideDepthProposals
    selected: int = 0  # index of the selected proposal
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedDepthReadings:
    """Readings that were loaded, and the stamp of the file."""

    state: DepthReadingState
    stamp: Stamp | None


@dataclass(frozen=True)
class ProposedDepths:
    """Proposals of the analysis of a slide."""

    identity: str
    proposed: SlideDepthProposals


class DepthReadingStore(QObject):
    """Hold the readings of slides, and save each change."""

    changed = Signal()
    message = Signal(str)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: ViewerSlide | None = None
        self._size: PixelSize | None = None
        self._states: dict[str, DepthReadingState] = {}
        self.reader = ""
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)
        self.writer: LatestValueWriter[DepthReadingState] = LatestValueWriter(self._latest, _save_readings)

    @property
    def busy(self) -> bool:
        """Whether readings are being read or written."""
        return self._latest.busy

    @property
    def state(self) -> DepthReadingState | None:
        """Readings of the displayed slide; None until they were read."""
        return None if self._slide is None else self._states.get(self._slide.identity)

    @property
    def size(self) -> PixelSize | None:
        """Pixel size of the slide."""
        return self._size

    @property
    def automatic_reading(self) -> DepthReading:
        """The selected proposal of the analysis as a reading."""
        from napari_melanoma.depth.readings import DepthReading, automatic_reading

        now = self.state
        return DepthReading() if now is None else automatic_reading(now.proposed, now.selected, self.size)

    @property
    def reading(self) -> DepthReading:
        """The reading that counts: the reader's own values, else those of the analysis."""
        from napari_melanoma.depth.readings import current_reading

        now = self.state
        return (
            self.automatic_reading
            if now is None
            else current_reading(now.history.current, self.automatic_reading, self.reader)
        )

    def set_reader(self, reader: str) -> None:
        """Switch to another reader, who cannot undo changes of the previous one.

        A reading that was made in this session without a name gets the reader's name and keeps its history.
        """
        previous, self.reader = self.reader, reader
        if reader == previous:
            return
        self.message.emit("")  # the message is about the previous reader
        for identity, one in self._states.items():
            if previous or not one.history.past:
                self._states[identity] = replace(one, history=replace(one.history, past=(), undone=()))
            else:
                self._assign_reader(one, reader)
        self.changed.emit()

    def _assign_reader(self, state: DepthReadingState, reader: str) -> None:
        """Assign the reading without a name to a reader, unless that reader has a reading."""
        from napari_melanoma.depth.readings import rename_reader

        own = state.history.current.reading_by(reader)
        if own is not None and own.when:
            self.message.emit(READER_EXISTS.format(reader))
            self._states[state.identity] = replace(state, history=replace(state.history, past=(), undone=()))
            return
        named = state.history.map_values(lambda depth: rename_reader(depth, "", reader))
        self._states[state.identity] = replace(state, history=named)
        self.writer.save(state.folder, self._states[state.identity])
        self.message.emit(READING_NAMED.format(reader))

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same with another scale, to which its readings are converted."""
        same = slide is not None and self._slide is not None and slide.identity == self._slide.identity
        previous, self._slide, self._size = self._size, slide, None if slide is None else slide.info.pixel_size
        if same and self.size is not None and self.size != previous:
            from napari_melanoma.depth.readings import rescale_readings

            size = self.size
            self._edit(lambda depth: rescale_readings(depth, size, self.reader, _time()))
        self.changed.emit()

    def load(self, location: SlideResultLocation) -> None:
        """Read the stored readings."""
        now, folder = self.state, location.slide_folder or location.folder
        if self._slide is None or self._slide.identity != location.identity:
            return
        if now is None or now.folder != folder:
            self._latest.submit(f"{location.identity} load", lambda: partial(_load_readings, location.identity, folder))

    def reload_proposals(self) -> None:
        """Read the proposals of the analysis again."""
        now = self.state
        if now is not None:
            work = partial(_load_proposals, now.identity, now.folder)
            self._latest.submit(f"{now.identity} look", lambda: work)

    def select_proposal(self, index: int) -> None:
        """Select another proposal; values of the reader stay."""
        now = self.state
        if now is not None and now.selected != index:
            self._states[now.identity] = replace(now, selected=index)
            self.changed.emit()

    def set_values(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        """Set values of the reader as an undo step, and save them."""
        from napari_melanoma.depth.readings import set_values

        self._edit(lambda depth: set_values(depth, self.automatic_reading, self.reader, _time(), **values))

    def accept_proposal(self) -> None:
        """Accept the selected proposal as the reader's own reading."""
        names = ("line", "mm", "interval_mm", "at_least", "method", "um_per_px")
        values = {name: getattr(self.automatic_reading, name) for name in names}
        self.set_values(**(values if self.reading.when else {}))

    def set_line(self, line: Any) -> None:  # noqa: ANN401 - a Line
        """Set the line that was drawn or moved; ``line``: surface and deepest point in pixels of the finest level."""
        from napari_melanoma.depth.readings import values_for_line

        try:
            self.set_values(**values_for_line(self.reading, line, self.size))
        except MelanomaError as error:
            self.failed.emit(error)
            self.changed.emit()

    def step_history(self, way: str) -> None:
        """Undo or redo the last change."""
        from napari_melanoma.depth.readings import restore_values

        now = self.state
        if now is None:
            return
        history = getattr(now.history, way)()
        if history is not now.history:
            depth = restore_values(now.history.current, history.current, self.reader, _time())
            self._set_state(replace(now, history=replace(history, current=depth)))

    def flush(self) -> None:
        """Write pending changes now: the window may be about to close."""
        self.writer.flush()

    def _edit(self, edit: Callable[[SlideDepthReadings], SlideDepthReadings]) -> None:
        now = self.state
        if now is None:
            return
        depth = edit(now.history.current)
        if depth is not now.history.current:
            self._set_state(replace(now, history=now.history.push(depth)))

    def _set_state(self, state: DepthReadingState) -> None:
        """Set, save and emit a state."""
        self._states[state.identity] = state
        self.writer.save(state.folder, state)
        self.changed.emit()

    def _on_done(self, done: LoadedDepthReadings | ProposedDepths | WriteResult | None) -> None:
        if isinstance(done, LoadedDepthReadings):
            self._states[done.state.identity] = done.state
            self.writer.set_stamp(done.state.folder, done.stamp)
            if done.state.notes:
                self.message.emit(" ".join(done.state.notes))
        elif isinstance(done, ProposedDepths):
            known = self._states[done.identity]
            self._states[done.identity] = replace(known, proposed=done.proposed, selected=0)
        else:
            if done is not None and done.notes:
                self.message.emit("; ".join(done.notes))
            return
        self.changed.emit()


def _time() -> str:
    """Return the current time as readings store it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _load_readings(identity: str, folder: Path, run: RunContext) -> LoadedDepthReadings:
    """Read the stored readings."""
    from napari_melanoma.slides.depth_readings import load_depth, read_proposals
    from napari_melanoma.slides.lesion_edits import EditHistory

    found = load_depth(folder)
    measured = DepthReadingState(identity, folder, EditHistory(found.depth), read_proposals(folder), notes=found.notes)
    return LoadedDepthReadings(measured, found.stamp)


def _load_proposals(identity: str, folder: Path, run: RunContext) -> ProposedDepths:
    """Read the proposals of the analysis."""
    from napari_melanoma.slides.depth_readings import read_proposals

    return ProposedDepths(identity, read_proposals(folder))


def _save_readings(folder: Path, state: DepthReadingState, stamp: Stamp | None) -> StoredDepth:
    """Write the readings."""
    from napari_melanoma.slides.depth_readings import save_depth

    return save_depth(folder, Path(state.identity), state.history.current, stamp)
