"""The readings of depth of each slide in a window: read, changed with undo, written at once, in threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.slide.drawn_layers import LastWrites, Stamp, Written
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.depth.readings import Proposed, Reading, SlideDepth
    from napari_melanoma.slides.depth_readings import FoundDepth
    from napari_melanoma.slides.lesion_edits import History
    from napari_melanoma.ui.slide.controller import Place
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

NAMED = "What was measured without a name is now the reading of {}."
HAS_OWN = "{} has measured this slide before. The reading without a name is kept beside it."


@dataclass(frozen=True)
class Measured:
    """The readings of a slide with what was undone, what an analysis says, and where all is kept."""

    identity: str
    folder: Path
    history: History[SlideDepth]
    found: Proposed
    chosen: int = 0  # of the lines that the analysis found
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """What was measured of a slide before, and the stamp of the file."""

    measured: Measured
    stamp: Stamp | None


@dataclass(frozen=True)
class Looked:
    """What an analysis says of a slide now."""

    identity: str
    found: Proposed


class DepthKeeper(QObject):
    """Knows the readings of slides, and keeps each change."""

    changed = Signal()
    said = Signal(str)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._slide: OpenSlide | None = None
        self._size: PixelSize | None = None
        self._known: dict[str, Measured] = {}
        self.reader = ""
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)
        self.files: LastWrites[Measured] = LastWrites(self._latest, _keep)

    @property
    def busy(self) -> bool:
        """Whether readings are being read or written."""
        return self._latest.busy

    @property
    def now(self) -> Measured | None:
        """Those of the slide that it is about; None until they were read."""
        return None if self._slide is None else self._known.get(self._slide.identity)

    @property
    def size(self) -> PixelSize | None:
        """Of the slide's pixels, as it is now."""
        return self._size

    @property
    def base(self) -> Reading:
        """What the analysis says, as a reading."""
        from napari_melanoma.depth.readings import Reading, automatic_reading

        now = self.now
        return Reading() if now is None else automatic_reading(now.found, now.chosen, self.size)

    @property
    def reading(self) -> Reading:
        """What counts for the reader: the own values, else the analysis's."""
        from napari_melanoma.depth.readings import current

        now = self.now
        return self.base if now is None else current(now.history.now, self.base, self.reader)

    def be(self, reader: str) -> None:
        """Go by another reader, who cannot take back what the one before has set.

        What was measured in this window before a name was given is that reader's: it gets the name, and its undo stays.
        """
        before, self.reader = self.reader, reader
        if reader == before:
            return
        self.said.emit("")  # what was said of the reader before
        for identity, one in self._known.items():
            if before or not one.history.past:
                self._known[identity] = replace(one, history=replace(one.history, past=(), undone=()))
            else:
                self._name(one, reader)
        self.changed.emit()

    def _name(self, measured: Measured, reader: str) -> None:
        """Give the reading without a name to a reader, unless that reader has one of their own."""
        from napari_melanoma.depth.readings import renamed

        own = measured.history.now.of(reader)
        if own is not None and own.when:
            self.said.emit(HAS_OWN.format(reader))
            self._known[measured.identity] = replace(measured, history=replace(measured.history, past=(), undone=()))
            return
        named = measured.history.mapped(lambda depth: renamed(depth, "", reader))
        self._known[measured.identity] = replace(measured, history=named)
        self.files.keep(measured.folder, self._known[measured.identity])
        self.said.emit(NAMED.format(reader))

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale, to which what was measured is brought."""
        same = slide is not None and self._slide is not None and slide.identity == self._slide.identity
        before, self._slide, self._size = self._size, slide, None if slide is None else slide.info.pixel_size
        if same and self.size is not None and self.size != before:
            from napari_melanoma.depth.readings import rescaled

            size = self.size
            self._edit(lambda depth: rescaled(depth, size, self.reader, _time()))
        self.changed.emit()

    def look(self, place: Place) -> None:
        """Read what was measured before, now that it is known where that is."""
        now, folder = self.now, place.own or place.folder
        if self._slide is None or self._slide.identity != place.identity:
            return
        if now is None or now.folder != folder:
            self._latest.submit(f"{place.identity} load", lambda: partial(_load, place.identity, folder))

    def look_again(self) -> None:
        """Read anew what an analysis says."""
        now = self.now
        if now is not None:
            work = partial(_look, now.identity, now.folder)
            self._latest.submit(f"{now.identity} look", lambda: work)

    def choose(self, index: int) -> None:
        """Turn to another line of the analysis; what a reader has set stays."""
        now = self.now
        if now is not None and now.chosen != index:
            self._known[now.identity] = replace(now, chosen=index)
            self.changed.emit()

    def change(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        """Set values of the reader: a step that can be undone, recorded, kept at once."""
        from napari_melanoma.depth.readings import overridden

        self._edit(lambda depth: overridden(depth, self.base, self.reader, _time(), **values))

    def take(self) -> None:
        """Take the line that is chosen as the reader's own, in place of what counted before."""
        names = ("line", "mm", "interval_mm", "at_least", "method", "um_per_px")
        values = {name: getattr(self.base, name) for name in names}
        self.change(**(values if self.reading.when else {}))

    def draw(self, line: Any) -> None:  # noqa: ANN401 - a Line
        """Take a line that was drawn or moved by hand.

        ``line``: surface and deepest, in pixels of the finest level.
        """
        from napari_melanoma.depth.readings import drawn_line

        try:
            self.change(**drawn_line(self.reading, line, self.size))
        except MelanomaError as error:
            self.failed.emit(error)
            self.changed.emit()

    def step(self, way: str) -> None:
        """Take back the last change, or do it again."""
        from napari_melanoma.depth.readings import restated

        now = self.now
        if now is None:
            return
        history = getattr(now.history, way)()
        if history is not now.history:
            told = restated(now.history.now, history.now, self.reader, _time())
            self._take(replace(now, history=replace(history, now=told)))

    def flush(self) -> None:
        """Write at once what waits for its turn: the window may be about to close."""
        self.files.flush()

    def _edit(self, edit: Callable[[SlideDepth], SlideDepth]) -> None:
        now = self.now
        if now is None:
            return
        depth = edit(now.history.now)
        if depth is not now.history.now:
            self._take(replace(now, history=now.history.then(depth)))

    def _take(self, measured: Measured) -> None:
        """Let values count from now on: known, told, kept."""
        self._known[measured.identity] = measured
        self.files.keep(measured.folder, measured)
        self.changed.emit()

    def _on_done(self, done: Loaded | Looked | Written | None) -> None:
        if isinstance(done, Loaded):
            self._known[done.measured.identity] = done.measured
            self.files.know(done.measured.folder, done.stamp)
            if done.measured.notes:
                self.said.emit(" ".join(done.measured.notes))
        elif isinstance(done, Looked):
            known = self._known[done.identity]
            self._known[done.identity] = replace(known, found=done.found, chosen=0)
        else:
            if done is not None and done.notes:
                self.said.emit("; ".join(done.notes))
            return
        self.changed.emit()


def _time() -> str:
    """Now, as readings keep it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _load(identity: str, folder: Path, run: RunContext) -> Loaded:
    """Read what was measured before."""
    from napari_melanoma.slides.depth_readings import load_depth, proposed_in
    from napari_melanoma.slides.lesion_edits import History

    found = load_depth(folder)
    measured = Measured(identity, folder, History(found.depth), proposed_in(folder), notes=found.notes)
    return Loaded(measured, found.stamp)


def _look(identity: str, folder: Path, run: RunContext) -> Looked:
    """Read what an analysis says now."""
    from napari_melanoma.slides.depth_readings import proposed_in

    return Looked(identity, proposed_in(folder))


def _keep(folder: Path, measured: Measured, stamp: Stamp | None) -> FoundDepth:
    """Write what is measured now."""
    from napari_melanoma.slides.depth_readings import keep_depth

    return keep_depth(folder, Path(measured.identity), measured.history.now, stamp)
