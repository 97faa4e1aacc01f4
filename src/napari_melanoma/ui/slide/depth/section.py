"""The Depth section: readings of depth made, changed and handed on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QLineEdit, QListWidget

from napari_melanoma.core.errors import InputError, MelanomaError, ScaleMissing
from napari_melanoma.ui.slide.depth.layers import DepthLine, MitosisLayers, compared_lines, show_compared
from napari_melanoma.ui.slide.depth.store import DepthKeeper
from napari_melanoma.ui.slide.drawn_layers import is_open
from napari_melanoma.ui.slide.regions.section import READER
from napari_melanoma.ui.slide.side_by_side import NO_CASE, case_beside
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.depth.readings import Line, Reading, SlideDepth
    from napari_melanoma.slides.reading.slide import SlideInfo
    from napari_melanoma.ui.slide.controller import Place
    from napari_melanoma.ui.slide.depth.automatic import DepthAnalysis
    from napari_melanoma.ui.slide.depth.view import DepthView
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

FOUND = "The model has measured: look at its line, and take it, move it or draw your own."
NOT_FOUND = "The model found nothing to measure: the fold Depth says why. Measure by hand."
NOT_VALID = "The model has ended, and its result is not valid: the fold Depth says why. Measure by hand."


class SlideDepths(QObject):
    """Keeps layers, fold and file of the depth in step; what is in the fold is made when it is first opened."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer, self._fold = dock, viewer, dock.depth_fold
        self._slide: OpenSlide | None = None
        self._view: DepthView | None = None
        self.analysis: DepthAnalysis | None = None
        self._ended: Any = None  # of the slide's own analysis, when it was looked at last
        self.keeper = DepthKeeper(self)
        keys = {"Control-Z": partial(self.keeper.step, "undo"), "Control-Shift-Z": partial(self.keeper.step, "redo")}
        self.line = DepthLine(viewer, self, keys)
        self.mitoses = MitosisLayers(viewer, self, keys)
        self._said = ""  # the last sentence about readings in the status line
        self.keeper.reader = dock.settings.kept(READER, "")
        self.keeper.changed.connect(self._on_changed)
        self.keeper.said.connect(self._on_said)
        self.keeper.failed.connect(self.failed)
        self.acts = DepthActs(self, dock)
        self.handing = DepthHanding(dock, self.keeper)
        self.handing.failed.connect(self.failed)
        dock.run_panel.seen.connect(self._on_seen)
        dock.left.connect(self._on_left)
        dock.destroyed.connect(self.keeper.files.flush)
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether something is read, written or started; an analysis at work is not meant."""
        return self.keeper.busy or self.handing.busy or (self.analysis is not None and self.analysis.busy)

    @property
    def view(self) -> DepthView:
        """The fold's content, made when it is first needed."""
        if self._view is None:
            from napari_melanoma.ui.slide.depth.automatic import DepthAnalysis
            from napari_melanoma.ui.slide.depth.view import DepthView

            made = self._view = DepthView(self._dock.settings, self._dock.icons)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(made)
            self.analysis = DepthAnalysis(self._dock, made.run)
            self._connect(made, self.analysis)
            now = self.keeper.now
            self.analysis.turn_to(None if now is None else now.folder)
        return self._view

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        other = slide is None or self._slide is None or slide.identity != self._slide.identity
        if self._view is not None and other:
            self._view.fields.typed.now()  # what was typed is of the slide before
        self.line.turn_to(slide)
        self.mitoses.turn_to(slide)
        self._slide = slide
        if other:
            self._ended = None
            if self.analysis is not None:
                self.analysis.turn_to(None)
        self.keeper.turn_to(slide)
        if other:
            self._know_reader()

    def _know_reader(self) -> None:
        """Go by the name that was given last, also where that was in the fold of the regions."""
        name = self._dock.settings.kept(READER, "")
        if name != self.keeper.reader and name.lower() != "model":
            if self._view is not None:
                self._view.reader.setText(name)
            self.keeper.be(name)

    def _on_said(self, text: str) -> None:
        """Show a sentence, or take back the last one unless another part of the dock has replaced it."""
        status = self._dock.status
        if text or status.text == self._said:
            status.say(text)
        self._said = text

    @property
    def viewer(self) -> Viewer:
        """Where the layers are."""
        return self._viewer

    @property
    def slide(self) -> OpenSlide | None:
        """The slide that it is about."""
        return self._slide

    @property
    def seen(self) -> DepthView | None:
        """The fold's content, where it was made."""
        return self._view

    def _connect(self, view: DepthView, analysis: DepthAnalysis) -> None:
        self.acts.hear(view)
        self.handing.hear(view)
        view.automatic_wanted.connect(analysis.start)
        analysis.ended.connect(self._on_ended)
        analysis.changed.connect(self._tell)
        analysis.failed.connect(self.failed)

    def _on_fold(self, is_open: bool) -> None:
        if is_open:
            self._tell()

    def look(self, place: Place) -> None:
        """Look at what was measured before, now that it is known where that is."""
        self.keeper.look(place)
        if self.analysis is not None and self._slide is not None and self._slide.identity == place.identity:
            self.analysis.turn_to(place.own or place.folder)

    def _on_left(self) -> None:
        """Keep what is not written yet: the window may be about to close."""
        if self._view is not None:
            self._view.fields.typed.now()
        self.keeper.flush()

    def _on_seen(self, sight: Any) -> None:  # noqa: ANN401 - a SlideSight
        """Look anew when the slide's own analysis has come to its end."""
        now, ended = self.keeper.now, sight.content.get("seconds")
        if now is not None and sight.path == now.folder and str(sight.report.state) == "finished":
            before, self._ended = self._ended, ended
            if before != ended:
                self.keeper.look_again()

    def _on_ended(self, found: bool, valid: bool) -> None:
        """Show what the analysis for the depth has come to."""
        self._dock.status.say(NOT_VALID if not valid else FOUND if found else NOT_FOUND)
        self.keeper.look_again()

    def _on_changed(self) -> None:
        """Draw and say what counts now."""
        slide, now = self._slide, self.keeper.now
        if slide is not None and now is not None and is_open(self._viewer, slide):
            reading = self.keeper.reading
            is_number = reading.mm is not None and (reading.when or now.found.validity.valid)
            self.line.show(reading.line, f"{reading.mm:.2f} mm" if is_number else "")
            self.mitoses.show(reading.mitoses)
            show_compared(
                self._viewer, slide, compared_lines(now.history.now, self.keeper.reader, now.found, reading.line)
            )
        self._tell()

    def _tell(self) -> None:
        """Say what there is, where somebody looks."""
        if self._view is None and not self._fold.isExpanded():
            return
        from napari_melanoma.depth import wording as words
        from napari_melanoma.depth.readings import Reading

        view, now, reading = self.view, self.keeper.now, self.keeper.reading
        view.setEnabled(now is not None)
        self._say(reading)
        valid = now is None or now.found.validity.valid
        unread = reading.model_copy(update={"clark": None, "clark_by": "", "ulcerated": None})
        view.fields.show_reading(reading if valid or reading.when else unread)
        if now is not None:
            depth, found = now.history.now, now.found
            tips = ["; ".join(one.notes) for one in found.proposals]
            said = words.said_found(found, reading, now.chosen)
            view.show_lines(words.numbered(found.proposals), tips, now.chosen, said)
            view.validity.show_validity(found.validity, self._slide and self._slide.identity)
            rows = words.reader_rows(depth, self.keeper.reader, self.keeper.base if valid else Reading())
            view.show_readers(rows, words.said_others(depth, self.keeper.reader))
            for way, able in (("undo", now.history.past), ("redo", now.history.undone)):
                view.steps[way].setEnabled(bool(able))
        view.show_hint(self.line.tool, has_line=reading.line is not None)
        for button in (view.report, view.to_case):
            button.setEnabled(bool(reading.when))
        if self.analysis is not None:
            view.show_automatic(self.analysis.models, self._why_not())

    def _say(self, reading: Reading) -> None:
        """Say thickness, category and warnings; the number of a model that is not valid stands in its own part."""
        from napari_melanoma.depth import wording as words

        view, slide = self.view, self._slide
        now = self.keeper.now
        if now is not None and not now.found.validity.valid and not reading.when:
            reading = reading.model_copy(update={"mm": None})
        view.head.setText(words.said_head(reading))
        view.origin.setText(words.said_origin(reading))
        view.origin.setVisible(bool(view.origin.text()))
        said = list(words.warnings(reading, self.keeper.size))
        if slide is not None and slide.info.pixel_size is None:
            said.insert(0, f"No scale: a depth needs one. {self._dock.icons.link('scale', 'Set the scale')}.")
        view.warning.setText("<br>".join(said))
        view.warning.setVisible(bool(said))

    def _why_not(self) -> str:
        """Why no model can be started now; empty where one can."""
        slide = self._slide
        if slide is None or slide.info.pixel_size is None:
            return "A depth needs a scale: set it first, with the ruler beside the slide's name."
        if slide.info.kind != "brightfield":
            return "The models have learnt from brightfield stains: measure by hand."
        return "It is at work." if self.analysis is not None and self.analysis.active else ""


NO_SCALE = "{} has no scale, and a depth is in mm. Set it: the ruler beside the slide's name takes a number, or a line."
NO_RULER = "there is no line to take: open Measure, draw one from the melanoma to the edge, then press ruler again."
NO_READER = "'model' stands for what the analysis says: choose another name."
CLICKED = "That was a click: press the mouse at one end of the line, and let go at the other."
GONE: dict[str, Any] = {"line": None, "mm": None, "interval_mm": None, "at_least": False, "method": "hand"}


class DepthActs(QObject):
    """Takes what the user does to the keeper."""

    def __init__(self, page: SlideDepths, dock: SlideDock) -> None:
        super().__init__(page)
        self._page, self._dock = page, dock
        page.line.drawn.connect(self._on_drawn)
        page.line.clicked.connect(self._on_clicked)
        page.line.moving.connect(self._on_moving)
        page.line.tool_changed.connect(self._on_tools)
        page.mitoses.changed.connect(self._on_mitoses)
        page.mitoses.tool_changed.connect(self._on_tools)
        add_shortcut(dock, "slide.depth", self._on_key)

    def hear(self, view: DepthView) -> None:
        """Hear what the user does in the fold."""
        keeper = self._page.keeper
        view.tool_wanted.connect(self._on_tool)
        view.taking.connect(keeper.take)
        view.chosen.connect(self._on_chosen)
        view.stepped.connect(keeper.step)
        view.reader_changed.connect(self._on_reader)
        view.fields.edited.connect(self._on_edited)
        view.fields.refused.connect(self._on_refused)
        view.fields.ruler_wanted.connect(self._on_ruler)
        view.fields.tool_wanted.connect(self._on_mitosis_tool)
        view.warning.linkActivated.connect(lambda _: self._dock.picker.ruler.setChecked(True))

    def _on_key(self) -> None:
        fold = self._dock.depth_fold
        if not fold.isExpanded():
            fold.expand()
        self._on_tool("" if self._page.line.tool == "draw" else "draw")

    def _on_tool(self, tool: str) -> None:
        """Take the line in hand; not without a scale."""
        page, slide = self._page, self._page.slide
        if tool and slide is not None and slide.info.pixel_size is None:
            self._on_tools()
            page.failed.emit(ScaleMissing(NO_SCALE.format(slide.info.name)))
            return
        page.mitoses.take("")
        page.line.take(tool)
        self._on_tools()

    def _on_tools(self) -> None:
        """Show which tool is in hand."""
        view = self._page.seen
        if view is not None:
            view.show_hint(self._page.line.tool, has_line=self._page.keeper.reading.line is not None)
            view.fields.show_tool(self._page.mitoses.tool)

    def _on_drawn(self, line: Line | None) -> None:
        """A line is there, or is gone, now that the user has let go."""
        page = self._page
        if line is None:
            page.keeper.change(**GONE)
        else:
            page.keeper.draw(line)
            if page.line.tool == "draw":  # so that its ends can be dragged at once
                page.line.take("move")

    def _on_clicked(self) -> None:
        self._dock.status.say(CLICKED)
        self._page.keeper.changed.emit()

    def _on_moving(self, line: Line) -> None:
        """Say at once what the line measures while it moves."""
        from napari_melanoma.depth.readings import drawn_line

        page, view = self._page, self._page.seen
        try:
            moved = page.keeper.reading.model_copy(update=drawn_line(page.keeper.reading, line, page.keeper.size))
        except MelanomaError:
            return
        page.line.say(f"{moved.mm:.2f} mm")
        if view is not None and moved.mm:
            from napari_melanoma.depth.wording import said_head

            view.head.setText(said_head(moved))

    def _on_chosen(self, index: int) -> None:
        """Fly to a line of the model; it becomes the one that counts where the reader has set nothing."""
        page, now = self._page, self._page.keeper.now
        if now is None or page.slide is None or not 0 <= index < len(now.found.proposals):
            return
        page.keeper.choose(index)
        (top, left), (bottom, right) = now.found.proposals[index].line
        box = slide_camera.View(min(top, bottom), min(left, right), abs(bottom - top), abs(right - left))
        slide_camera.fly_to_box(page.viewer, page.slide, box)

    def _on_reader(self, name: str) -> None:
        """Somebody else measures from now on."""
        from napari_melanoma.depth.readings import MODEL

        page = self._page
        if name.lower() == MODEL:
            self._dock.status.say(NO_READER)
        elif name != page.keeper.reader:
            drawn = self._dock.findChild(QLineEdit, "region_reader")  # the same person, in the fold of the regions
            if drawn is not None:
                drawn.setText(name)
            page.keeper.be(name)

    def _on_edited(self, field: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """A field has another value."""
        keeper = self._page.keeper
        if field == "clark":
            keeper.change(clark=value, clark_by="" if value is None else "hand")
        elif field in ("lateral_mm", "deep_mm"):
            keeper.change(margins=keeper.reading.margins.model_copy(update={field: value}))
        else:
            keeper.change(**{field: value})

    def _on_refused(self, said: str) -> None:
        self._dock.status.say(said)
        self._page.keeper.changed.emit()

    def _on_ruler(self, field: str) -> None:
        """Take a margin from a line that was measured: the one that is chosen in the list, or the last."""
        from napari_melanoma.slides.notes import measured

        page, measuring = self._page, self._dock.around.measuring
        lines = [one for one in measuring.measures if one.kind == "line"]
        if page.keeper.size is None:
            page.failed.emit(ScaleMissing(NO_SCALE.format("This slide")))
        elif not lines:
            page.failed.emit(InputError(NO_RULER))
        else:
            listed = self._dock.findChild(QListWidget, "measures")
            at = -1 if listed is None else listed.currentRow()
            chosen = measuring.measures[at] if 0 <= at < len(measuring.measures) else lines[-1]
            one = chosen if chosen.kind == "line" else lines[-1]
            self._on_edited(field, round(measured(one, page.keeper.size), 4))

    def _on_mitosis_tool(self, tool: str) -> None:
        page = self._page
        if tool == "hotspot":
            self._on_hotspot()
        else:
            page.line.take("")
            page.mitoses.take(tool)
        self._on_tools()

    def _on_hotspot(self) -> None:
        """A circle of a square millimetre takes a scale."""
        page = self._page
        if page.keeper.size is None:
            page.failed.emit(ScaleMissing(NO_SCALE.format("This slide")))
        else:
            page.mitoses.add_hotspot()

    def _on_mitoses(self, points: Any, areas: Any) -> None:  # noqa: ANN401 - tuples of points
        from napari_melanoma.depth.readings import counted_mitoses

        keeper = self._page.keeper
        if (points, areas) != (keeper.reading.mitoses.points, keeper.reading.mitoses.areas):
            keeper.change(mitoses=counted_mitoses(points, areas, keeper.size))


class DepthHanding(QObject):
    """Writes the page, and hands values to the Case dock."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, keeper: DepthKeeper) -> None:
        super().__init__(keeper)
        self._dock, self._keeper = dock, keeper
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_written)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._latest.busy

    def hear(self, view: DepthView) -> None:
        """Hear what the user does in the fold."""
        view.report.clicked.connect(self._on_report)
        view.to_case.clicked.connect(self._on_case)

    def _on_report(self) -> None:
        slide = self._dock.slide
        if slide is None:
            return
        dialog = QFileDialog(self._dock.window(), "Write the reading as a page", "", "Page (*.html)")
        dialog.setObjectName("depth_report_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(f"{slide.info.name}-depth.html")
        dialog.fileSelected.connect(partial(self._write, slide.info))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _write(self, info: SlideInfo, name: str) -> None:
        now, keeper = self._keeper.now, self._keeper
        if now is not None:
            path = Path(name).with_suffix(".html")
            work = partial(_report, path, info, (now.history.now, keeper.reading, keeper.base), now.folder)
            self._latest.submit(f"report {path}", lambda: work)

    def _on_written(self, path: Path) -> None:
        self._dock.status.say(f"Written: {self._dock.icons.link(path.as_uri(), path.name)}.")

    def _on_case(self) -> None:
        """Set depth, ulceration, Clark level and mitoses of the slide's lesion in the case that is open."""
        try:
            said = self._hand_over()
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._dock.status.say(said)

    def _hand_over(self) -> str:
        from napari_melanoma.depth.category import contradicts
        from napari_melanoma.reports.slide import keep_in_case, with_reading

        now = self._keeper.now
        if now is None:
            raise InputError(NO_CASE)
        reading = self._keeper.reading
        if contradiction := contradicts(reading.mm, reading.clark):
            raise InputError(f"the reading was not added to the case. {contradiction}")
        desk, image = case_beside(self._dock)
        changed = with_reading(desk.case, image.id, self._keeper.reading)
        keep_in_case(desk.store.folder, image.id, now.history.now)
        desk.edit(changed, "what was read from the slide")
        return f"Taken into the case, with {image.id}: depth, ulceration, Clark level and mitoses, as far as known."


def _report(
    path: Path, info: SlideInfo, read: tuple[SlideDepth, Reading, Reading], folder: Path, run: RunContext
) -> Path:
    """Write the page; what was told of the risk stands on it too."""
    from napari_melanoma.reports.slide import write_depth_report

    return write_depth_report(path, info, *read, folder)
