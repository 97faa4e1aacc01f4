"""What a user does with the depth of a slide: drawn, moved, typed, clicked; each becomes a change of the reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QLineEdit, QListWidget

from napari_melanoma.core.errors import InputError, MelanomaError, ScaleMissing
from napari_melanoma.ui.shortcuts import add_shortcut
from napari_melanoma.ui.slide import camera as slide_camera

if TYPE_CHECKING:
    from napari_melanoma.io.slide_depth import Line
    from napari_melanoma.ui.slide.depth import SlideDepths
    from napari_melanoma.ui.slide.depth_view import DepthView
    from napari_melanoma.ui.slide.dock import SlideDock

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
        from napari_melanoma.analysis.depth_edits import drawn_line

        page, view = self._page, self._page.seen
        try:
            moved = page.keeper.reading.model_copy(update=drawn_line(page.keeper.reading, line, page.keeper.size))
        except MelanomaError:
            return
        page.line.say(f"{moved.mm:.2f} mm")
        if view is not None and moved.mm:
            from napari_melanoma.report.depth_words import said_head

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
        from napari_melanoma.analysis.depth_edits import MODEL

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
        from napari_melanoma.analysis.slide_measures import measured

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
        from napari_melanoma.analysis.depth_edits import counted_mitoses

        keeper = self._page.keeper
        if (points, areas) != (keeper.reading.mitoses.points, keeper.reading.mitoses.areas):
            keeper.change(mitoses=counted_mitoses(points, areas, keeper.size))
