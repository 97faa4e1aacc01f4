"""The depth readings of the open slides: read from files, edited with undo, and saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument
from napari_melanoma.ui.widgets.latest_writer import Stamp

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.depth.readings import DepthReading, SlideDepthProposals, SlideDepthReadings
    from napari_melanoma.risk.slide_files import NetworkDepth
    from napari_melanoma.slides.depth_readings import StoredDepth
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

READING_NAMED = "The reading without a name is now the reading of {}."
READER_EXISTS = "{} has measured this slide before. The reading without a name is kept separately."


@dataclass(frozen=True, kw_only=True)
class DepthReadingState(DocumentState["SlideDepthReadings"]):
    """The readings of a slide with their history, the proposals of its analysis, and the prediction of a network."""

    proposed: SlideDepthProposals
    network: NetworkDepth | None = None  # predicted for the Risk section
    selected: int = 0  # index of the selected proposal


class DepthReadingStore(EditedDocument[DepthReadingState]):
    """The depth readings of the open slides; edits are those of the current reader."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent, _load_readings, _save_readings)
        self._size: PixelSize | None = None
        self.reader = ""  # empty if unknown
        # Returns why the reading must not be changed, such as a signed report that rests on it; empty if it may
        self.find_lock: Callable[[], str] = lambda: ""
        self.is_blind = False  # whether the results of the model are hidden until the reader has measured

    @property
    def size(self) -> PixelSize | None:
        """Pixel size of the slide."""
        return self._size

    @property
    def hides_model(self) -> bool:
        """Whether the results of the model are hidden, because the reader has not measured yet."""
        own = None if self.state is None else self.state.history.current.reading_by(self.reader)
        return self.is_blind and (own is None or not own.when or own.line is None)

    @property
    def proposed(self) -> SlideDepthProposals:
        """The proposals of the analysis; none while they are hidden."""
        from napari_melanoma.depth.readings import SlideDepthProposals

        return SlideDepthProposals() if self.state is None or self.hides_model else self.state.proposed

    @property
    def automatic_reading(self) -> DepthReading:
        """The selected proposal of the analysis as a reading."""
        from napari_melanoma.depth.readings import DepthReading, automatic_reading

        state = self.state
        return DepthReading() if state is None else automatic_reading(self.proposed, state.selected, self.size)

    @property
    def reading(self) -> DepthReading:
        """The current reading: the reader's own, or the automatic one if the reader has set no value."""
        from napari_melanoma.depth.readings import current_reading

        state = self.state
        return (
            self.automatic_reading
            if state is None
            else current_reading(state.history.current, self.automatic_reading, self.reader)
        )

    @property
    def risk_reading(self) -> DepthReading:
        """The reading that the Risk section uses: the reader's own, else the first proposal of the analysis."""
        from napari_melanoma.depth.readings import automatic_reading

        state, own = self.state, self.reading
        if state is None or (own.when and own.mm is not None):
            return own
        return automatic_reading(self.proposed, size=self.size).model_copy(update={"reader": self.reader})

    def set_reader(self, reader: str) -> None:
        """Switch to another reader, who cannot undo changes of the previous one.

        A reading that was made in this session without a name gets the reader's name and keeps its history.
        """
        previous, self.reader = self.reader, reader
        if reader == previous:
            return
        self.message.emit("")  # the message is about the previous reader
        for identity, state in self._states.items():
            if previous or not state.history.past:
                self._states[identity] = replace(state, history=History(state.history.current))
            else:
                self._assign_reader(state, reader)
        self.refresh()

    def _assign_reader(self, state: DepthReadingState, reader: str) -> None:
        """Assign the reading without a name to a reader, unless that reader already has a reading."""
        from napari_melanoma.depth.readings import rename_reader

        own = state.history.current.reading_by(reader)
        if own is not None and own.when:
            self.message.emit(READER_EXISTS.format(reader))
            self._states[state.identity] = replace(state, history=History(state.history.current))
            return
        named = state.history.map_values(lambda depth: rename_reader(depth, "", reader))
        self._save(replace(state, history=named))
        self.message.emit(READING_NAMED.format(reader))

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same one with another scale; readings are then converted to the new scale."""
        same = slide is not None and slide.identity == self._identity
        previous, self._size = self._size, None if slide is None else slide.info.pixel_size
        if same and self.size != previous:
            self.rescale()
        self.show(None if slide is None else slide.identity)

    def rescale(self) -> None:
        """Convert the readings to the scale of the slide."""
        from napari_melanoma.depth.readings import rescale_readings

        size = self.size
        if size is not None:
            self.apply_edit(lambda depth: rescale_readings(depth, size, self.reader, utc_time()))

    def reload_proposals(self, identity: str | None = None) -> None:
        """Read the proposals of the analysis and the prediction of a network again.

        ``identity``: the slide, by default the displayed one; without effect if the slide was not read before.
        """
        state = self.state if identity is None else self._states.get(identity)
        if state is not None:
            work = partial(_load_proposals, state.folder)
            self._submit(f"{state.identity} proposals", lambda: work, partial(self._on_proposals, state.identity))

    def select_proposal(self, index: int) -> None:
        """Select another proposal; the reader's own values are kept."""
        state = self.state
        if state is not None and state.selected != index:
            self.add(replace(state, selected=index))

    def set_values(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        """Set values of the reader as an undo step, and save them."""
        from napari_melanoma.depth.readings import set_values

        self.apply_edit(lambda depth: set_values(depth, self.reader, utc_time(), **values))

    def accept_proposal(self) -> None:
        """Accept the line of the selected proposal as that of the reader."""
        from napari_melanoma.depth.readings import LINE_FIELDS

        predicted = self.automatic_reading
        if predicted.line is not None:
            self.set_values(**{name: getattr(predicted, name) for name in LINE_FIELDS})

    def set_line(self, line: Any, *, drawn: bool = False) -> None:  # noqa: ANN401 - a Line
        """Set the line of the reading.

        ``line``: the points at the surface and at the deepest cell, each (row, column) in pixels of the finest level.
        ``drawn``: whether it is a new line, not the previous one with an end moved.
        """
        from napari_melanoma.depth.readings import set_values, values_for_line

        self.apply_edit(
            lambda depth: set_values(
                depth, self.reader, utc_time(), **values_for_line(self.reading, line, self.size, drawn=drawn)
            )
        )

    def _change(self, step: Callable[[DepthReadingState], DepthReadingState]) -> None:
        def change_unless_locked(state: DepthReadingState) -> DepthReadingState:
            changed, lock = step(state), self.find_lock()
            if changed is not state and lock:
                raise InputError(lock)
            return changed

        super()._change(change_unless_locked)

    def _restore(self, state: DepthReadingState, history: History[SlideDepthReadings]) -> DepthReadingState:
        """Restore the values of a step of the history; the readings record this as another change."""
        from napari_melanoma.depth.readings import restore_values

        depth = restore_values(state.history.current, history.current, self.reader, utc_time())
        return replace(state, history=replace(history, current=depth))

    def _on_proposals(self, identity: str, loaded: tuple[SlideDepthProposals, NetworkDepth | None]) -> None:
        state, (proposed, network) = self._states[identity], loaded
        selected = state.selected if proposed == state.proposed else 0
        self.add(replace(state, proposed=proposed, network=network, selected=selected))


def _load_readings(identity: str, folder: Path) -> tuple[DepthReadingState, StoredDepth]:
    from napari_melanoma.slides.depth_readings import load_depth

    stored = load_depth(folder)
    proposed, network = _read_proposals(folder)
    return DepthReadingState(identity, History(stored.depth), folder, proposed=proposed, network=network), stored


def _load_proposals(folder: Path, run: RunContext) -> tuple[SlideDepthProposals, NetworkDepth | None]:
    return _read_proposals(folder)


def _read_proposals(folder: Path) -> tuple[SlideDepthProposals, NetworkDepth | None]:
    """Read the proposals of the analysis, and the depth that a network predicted."""
    from napari_melanoma.risk.slide_files import read_network_depth
    from napari_melanoma.slides.depth_readings import read_proposals

    return read_proposals(folder), read_network_depth(folder)


def _save_readings(state: DepthReadingState, stamp: Stamp | None) -> StoredDepth:
    from napari_melanoma.slides.depth_readings import save_depth

    return save_depth(state.folder, Path(state.identity), state.history.current, stamp)
