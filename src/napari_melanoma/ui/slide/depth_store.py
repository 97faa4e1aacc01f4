"""Depth readings of the open slides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.core.provenance import utc_time
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument, EditHistory, Stamp

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
    """The readings of a slide with their history, the proposals of the analysis, and the prediction of a network."""

    proposed: SlideDepthProposals
    network: NetworkDepth | None = None  # predicted for the Risk section
    selected: int = 0  # index of the selected proposal


class DepthReadingStore(EditedDocument[DepthReadingState]):
    """The readings of slides, by one reader at a time."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent, _load_readings, _save_readings)
        self._size: PixelSize | None = None
        self.reader = ""

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

    @property
    def risk_reading(self) -> DepthReading:
        """The reading with the line that the Risk section uses: the own one, else the first of the analysis."""
        from napari_melanoma.depth.readings import automatic_reading

        now, own = self.state, self.reading
        if now is None or (own.when and own.mm is not None):
            return own
        return automatic_reading(now.proposed, size=self.size).model_copy(update={"reader": self.reader})

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
                self._states[identity] = replace(one, history=EditHistory(one.history.current))
            else:
                self._assign_reader(one, reader)
        self.refresh()

    def _assign_reader(self, state: DepthReadingState, reader: str) -> None:
        """Assign the reading without a name to a reader, unless that reader has a reading."""
        from napari_melanoma.depth.readings import rename_reader

        own = state.history.current.reading_by(reader)
        if own is not None and own.when:
            self.message.emit(READER_EXISTS.format(reader))
            self._states[state.identity] = replace(state, history=EditHistory(state.history.current))
            return
        named = state.history.map_values(lambda depth: rename_reader(depth, "", reader))
        self._save(replace(state, history=named))
        self.message.emit(READING_NAMED.format(reader))

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same with another scale, to which its readings are converted."""
        same = slide is not None and slide.identity == self._identity
        previous, self._size = self._size, None if slide is None else slide.info.pixel_size
        if same and self.size is not None and self.size != previous:
            from napari_melanoma.depth.readings import rescale_readings

            size = self.size
            self.apply_edit(lambda depth: rescale_readings(depth, size, self.reader, utc_time()))
        self.show(None if slide is None else slide.identity)

    def reload_proposals(self, identity: str | None = None) -> None:
        """Read the proposals of the analysis and the prediction of a network again, by default for the displayed slide.

        A slide that is not displayed is read again if it was read before.
        """
        now = self.state if identity is None else self._states.get(identity)
        if now is not None:
            work = partial(_load_proposals, now.folder)
            self._submit(f"{now.identity} look", lambda: work, partial(self._on_proposals, now.identity))

    def select_proposal(self, index: int) -> None:
        """Select another proposal; values of the reader stay."""
        now = self.state
        if now is not None and now.selected != index:
            self.add(replace(now, selected=index))

    def set_values(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        """Set values of the reader as an undo step, and save them."""
        from napari_melanoma.depth.readings import set_values

        self.apply_edit(lambda depth: set_values(depth, self.automatic_reading, self.reader, utc_time(), **values))

    def accept_proposal(self) -> None:
        """Accept the selected proposal as the reader's own reading."""
        names = ("line", "mm", "interval_mm", "at_least", "method", "um_per_px")
        values = {name: getattr(self.automatic_reading, name) for name in names}
        self.set_values(**(values if self.reading.when else {}))

    def set_line(self, line: Any, *, drawn: bool = False) -> None:  # noqa: ANN401 - a Line
        """Set the line that was moved, or drawn instead: surface and deepest point, in pixels of the finest level."""
        from napari_melanoma.depth.readings import set_values, values_for_line

        self.apply_edit(
            lambda depth: set_values(
                depth,
                self.automatic_reading,
                self.reader,
                utc_time(),
                **values_for_line(self.reading, line, self.size, drawn=drawn),
            )
        )

    def _restore(self, now: DepthReadingState, history: EditHistory[SlideDepthReadings]) -> DepthReadingState:
        """Restore the values, and record the change in the readings."""
        from napari_melanoma.depth.readings import restore_values

        depth = restore_values(now.history.current, history.current, self.reader, utc_time())
        return replace(now, history=replace(history, current=depth))

    def _on_proposals(self, identity: str, found: tuple[SlideDepthProposals, NetworkDepth | None]) -> None:
        now, (proposed, network) = self._states[identity], found
        selected = now.selected if proposed == now.proposed else 0
        self.add(replace(now, proposed=proposed, network=network, selected=selected))


def _load_readings(identity: str, folder: Path) -> tuple[DepthReadingState, StoredDepth]:
    from napari_melanoma.slides.depth_readings import load_depth

    found = load_depth(folder)
    proposed, network = _read_proposals(folder)
    return DepthReadingState(identity, EditHistory(found.depth), folder, proposed=proposed, network=network), found


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
