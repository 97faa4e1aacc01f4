"""The Paint section of a slide: paint classes of tissue, and see the map that a classifier makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, cast, get_args
from uuid import uuid4

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from napari_melanoma.slides.tissue_classifier.fitting import KINDS
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.paint.assessment import Assessment, Assessor
from napari_melanoma.ui.sections.paint.loop import LoopOptions, PaintLoop, list_paintable
from napari_melanoma.ui.sections.paint.map_layer import ClassMap, ClassMapLayer
from napari_melanoma.ui.sections.paint.mapping import FeatureCache, Fit, MapPart
from napari_melanoma.ui.sections.paint.resolve import (
    FLUORESCENCE,
    NO_SCALE,
    count_strokes,
    resolve_advice,
    resolve_apply_blocker,
    resolve_panel,
    resolve_progress,
    resolve_save_blocker,
    resolve_save_note,
)
from napari_melanoma.ui.sections.paint.saving import ModelSaver
from napari_melanoma.ui.sections.paint.similar import SimilarMemory, SimilarSearch, SimilarThumbnail
from napari_melanoma.ui.sections.paint.stroke_tool import (
    NOT_IN_VIEW,
    DrawnPath,
    StrokeShape,
    StrokeTool,
    StrokeToolName,
)
from napari_melanoma.ui.sections.paint.strokes_layer import StrokesLayer
from napari_melanoma.ui.sections.paint.suggestions import (
    CANDIDATES,
    SuggestedCell,
    SuggestionRequest,
    find_suggestions,
)
from napari_melanoma.ui.sections.paint.view import APPLY_TIP, EDITS, SAVE_TIP, PaintView
from napari_melanoma.ui.session.strokes import (
    STROKE_DOCUMENT,
    add_class,
    add_stroke,
    edit_class,
    join_classes,
    remove_class,
    remove_stroke,
)
from napari_melanoma.ui.viewer.shape_layers import bind_keys
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.job import GuiTaskQueue
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import enable, problem_label

if TYPE_CHECKING:
    from napari_melanoma.core.polygons import Point
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.slides.tissue_classifier.similar import SimilarCell
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke, StrokeKind
    from napari_melanoma.ui.sections.paint.saving import ShownModel
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.session.strokes import PaintState

SUGGESTION_CELLS = 40  # width of the view of a suggested cell
FEATURES_MPP = 1.0  # of the shipped features, by which the cells are placed


class PaintSection(Section):
    """Train a tissue classifier by painting on the slide."""

    documents = (STROKE_DOCUMENT,)

    def __init__(self) -> None:
        self._stores, self._similar = FeatureCache(), SimilarMemory()
        self._controller: PaintController | None = None
        self._model = ""  # that was saved last, to be applied to other slides
        self._class_name = ""  # that was selected last

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a slide, or why it cannot be painted."""
        info = session.slide.info
        if not info.is_rgb:
            return problem_label(FLUORESCENCE)
        if info.pixel_size is None:
            return problem_label(NO_SCALE)
        session.closed.connect(self._stores.release, unique=True)
        self._controller = PaintController(session, self._stores, self._similar, self._model)
        self._controller.view.class_list.select_named(self._class_name)
        return self._controller.view

    def close(self) -> None:
        """Disconnect all signals, stop all tasks and remove all layers."""
        controller, self._controller = self._controller, None
        if controller is not None:
            self._model = controller.model
            self._class_name = controller.view.class_list.current.name
            controller.close()


class PaintController(QObject):
    """Connect the widgets and layers of the section with a session and with the loop that computes the map.

    ``model``: the name of the model that was saved last; empty if there is none.
    """

    def __init__(self, session: SlideSession, stores: FeatureCache, similar: SimilarMemory, model: str = "") -> None:
        from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, CellGrid

        services = session.services
        self.view = view = PaintView(services.settings, services.icons)
        super().__init__(view)
        self._session, self._services, self._stores = session, services, stores
        self._tool_name = ""  # empty if no tool is active
        self._grid = CellGrid.plan(session.slide.info, FEATURES_MPP)
        self._cell_px = CELL_UM / min(session.slide.pixel_um)
        self._map = ClassMap(self._grid.shape)
        self._map_layer = ClassMapLayer(services.viewer, session.slide)
        self._strokes_layer = StrokesLayer(services.viewer, session.slide)
        self._tool = StrokeTool(services.viewer, view, self._cell_px)
        self._tool.set_size(view.size_slider.value())
        self._layer_queue = GuiTaskQueue(self)
        sources = view.options.fit.sources
        self._loop = PaintLoop(session, self, stores, LoopOptions(sources[0], KINDS[0]))
        self._assessor = Assessor(self, stores, sources)
        self._saver = ModelSaver(services.status, self)
        self._similar = SimilarSearch(session, view.similar, stores, similar)
        self.model = model
        self._areas_mm2: dict[str, float] = {}  # of the classes, when the map was last complete
        self._undo_keys = {"Control-Z": session.painted.undo, "Control-Shift-Z": session.painted.redo}
        self._connect()
        palette = view.class_list.classes
        session.painted.complete(lambda state: replace(state, classes=join_classes(palette, state.classes)))
        self._on_state(session.painted.value)
        self._similar.restore()
        self._loop.start()

    def _connect(self) -> None:
        view, session, services = self.view, self._session, self._services
        session.painted.changed.connect(self._on_state)
        session.sessions.changed.connect(self._update_texts)
        services.class_key_pressed.connect(self._on_class_key)
        services.tool_buttons += view.tools.values()
        view.tool_clicked.connect(self._on_tool)
        view.display_changed.connect(self._style_map)
        view.size_slider.valueChanged.connect(self._tool.set_size)
        view.pause_button.clicked.connect(lambda: self._on_pause())
        view.edit_buttons["undo"].clicked.connect(lambda: session.painted.undo())
        view.edit_buttons["redo"].clicked.connect(lambda: session.painted.redo())
        classes = view.class_list
        classes.class_selected.connect(self._on_class_selected)
        classes.class_added.connect(lambda added: session.sessions.apply(add_class(added)))
        classes.class_edited.connect(self._on_class_edited)
        classes.class_removed.connect(lambda removed: session.sessions.apply(remove_class(removed.name)))
        self._tool.drawn.connect(self._on_drawn)
        self._tool.left.connect(partial(self._set_tool, ""))
        self._tool.size_changed.connect(view.show_size)
        self._tool.corners_changed.connect(self._update_texts)
        self._loop.fitted.connect(self._on_fitted)
        self._loop.map_changed.connect(self._on_map)
        self._loop.state_changed.connect(self._on_loop)
        self._assessor.assessed.connect(self._on_assessed)
        self._assessor.failed.connect(self._update_texts)
        self._saver.saved.connect(self._on_saved)
        self._saver.changed.connect(self._update_texts)
        view.suggestions.cell_clicked.connect(self._on_suggestion)
        view.suggestions.cell_assigned.connect(self._on_assigned)
        view.save_button.clicked.connect(self._on_save)
        view.apply_button.clicked.connect(lambda: services.analysis_requested.emit(self.model))
        self._similar.changed.connect(self._on_similar)
        self._similar.cell_painted.connect(self._on_similar_painted)
        self._similar.message.connect(services.status.show_message)
        self._similar.view.strip.cell_assigned.connect(self._on_similar_assigned)
        view.options.changed.connect(self._on_options)
        for source in (self._loop, self._assessor, self._saver, view.suggestions, self._similar):
            source.failed.connect(partial(show_failure, services.status))

    def close(self) -> None:
        """Disconnect all signals, stop all tasks and remove all layers."""
        self._set_tool("")
        self._loop.close()
        self._assessor.close()
        self._saver.close()
        self._similar.close()
        self.view.suggestions.clear()
        self._session.painted.changed.disconnect(self._on_state)
        self._session.sessions.changed.disconnect(self._update_texts)
        self._services.class_key_pressed.disconnect(self._on_class_key)
        for button in self.view.tools.values():
            self._services.tool_buttons.remove(button)
        self._layer_queue.clear()
        self._tool.close(self._session.slide)
        self._map_layer.remove()
        self._strokes_layer.remove()

    def _on_state(self, state: PaintState) -> None:
        """Show another state of the session."""
        self.view.class_list.show_classes(state.classes)
        self._strokes_layer.show(state.strokes, state.colors, self._cell_px)
        layer = self._strokes_layer.layer
        if layer is not None:
            bind_keys(layer, self._undo_keys)
        self._map_layer.set_colors(self._map, state.colors)
        self._tool.set_color(self.view.class_list.current.color)
        self._update_texts()

    def _update_texts(self, _: object = None) -> None:
        """Show what was painted, and what to do next."""
        view, session = self.view, self._session
        painted = count_strokes([one.painted.value.strokes for one in list_paintable(session)])
        selected = view.class_list.current.name
        assessment = self._assessor.latest
        validation = None if assessment is None else assessment.chosen
        best = "" if validation is None else validation.advice
        corners = self._tool.corner_count
        advice = resolve_advice(painted, self._loop.state, selected, self._tool_name, best, corners)
        view.advice_label.setText(advice)
        shown = resolve_panel(painted, assessment, self._areas_mm2, self._loop.notes)
        view.panel.show_view(shown)
        view.show_results(bool(painted.classes))
        view.options.choice_label.setText(shown.choice)
        source, is_assessing = self._loop.options.source, self._assessor.is_running
        view.save_note.setText(resolve_save_note(self._loop.state, source, assessment, is_assessing=is_assessing))
        enable(view.save_button, SAVE_TIP, resolve_save_blocker(painted, is_saving=self._saver.is_running))
        enable(view.apply_button, APPLY_TIP, resolve_apply_blocker(self.model))
        enable(view.edit_buttons["undo"], EDITS["undo"][1], "" if session.painted.can_undo else "Nothing to undo.")
        enable(view.edit_buttons["redo"], EDITS["redo"][1], "" if session.painted.can_redo else "Nothing to redo.")

    def _on_tool(self, name: str) -> None:
        """Activate a tool, or deactivate it if it is active."""
        self._set_tool("" if name == self._tool_name else name)

    def _set_tool(self, name: str) -> None:
        session, tool = self._session, self._tool
        tool.finish()
        self._tool_name = ""
        if not name:
            tool.stop()
        elif name in get_args(StrokeToolName):
            tool.set_color(self.view.class_list.current.color)
            if tool.start(session.slide, cast("StrokeToolName", name), self._undo_keys):
                self._tool_name = name
                self._layer_queue.add(self._strokes_layer.prepare, self._prepare_map)
            else:
                self._services.status.show_briefly(NOT_IN_VIEW)
        self.view.show_tool(self._tool_name)
        if name == "similar":
            self._similar.invite()
        else:
            self._similar.withdraw()
        self._on_similar()
        self._update_texts()

    def _on_similar(self) -> None:
        """Show either similar or suggested cells, so that none of them move."""
        self._update_loop()
        if not self.view.similar.isHidden():
            self.view.suggestions.clear()

    def _update_loop(self) -> None:
        """Compute features ahead for tools, and those of the whole slide for a search."""
        options = replace(self._loop.options, is_warm=bool(self._tool_name), is_whole=self._similar.is_active)
        self._loop.set_options(options)

    def _on_options(self) -> None:
        """Compute the map with the features that the user has selected."""
        sources = self.view.options.fit.sources
        self._assessor.set_sources(sources)
        self.view.suggestions.clear()
        self._loop.use_features(LoopOptions(sources[0], KINDS[0]))
        self._update_loop()

    def _on_class_key(self, number: int) -> None:
        """Select a class, also before the brush is, unless a tool of another section is active."""
        if self._tool_name or not any(button.isChecked() for button in self._services.tool_buttons):
            self.view.class_list.select_class(number)

    def _on_class_edited(self, previous: RegionClass, edited: RegionClass) -> None:
        """Give the strokes of all slides, and the map, the new name and color of a class."""
        self._map.rename_class(previous.name, edited.name)  # until the map is computed again
        self._session.sessions.apply(edit_class(previous, edited))

    def _on_class_selected(self) -> None:
        self._tool.set_color(self.view.class_list.current.color)
        self._update_texts()

    def _on_drawn(self, drawn: DrawnPath) -> None:
        """Add the drawn stroke, remove the stroke that was clicked with the eraser, or search for similar cells."""
        if drawn.tool == "similar":
            row, column = drawn.points[0].tolist()
            self._similar.search(self._loop.make_request().slides[0], (row, column), self._loop.options.source)
        elif drawn.tool == "erase":
            stroke = self._find_stroke(drawn)
            if stroke is not None:
                self._session.painted.apply(remove_stroke(stroke.id))
            else:
                self._services.status.show_briefly("There is no stroke at this position.")
        else:
            shape = StrokeShape.of_path(drawn, self._grid)
            self._session.painted.apply(add_stroke(self._new_stroke(shape.kind, shape.points, shape.radius_px)))

    def _new_stroke(
        self, kind: StrokeKind, points: tuple[Point, ...], radius_px: float = 0.0, class_name: str = ""
    ) -> Stroke:
        """Return a stroke with the name of the reader and the time; by default of the selected class."""
        from napari_melanoma.slides.tissue_classifier.strokes import Stroke

        name = class_name or self.view.class_list.current.name
        rounded = tuple((round(row, 2), round(column, 2)) for row, column in points)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return Stroke(uuid4().hex, name, kind, rounded, round(radius_px, 2), self._services.reader, date)

    def _find_stroke(self, drawn: DrawnPath) -> Stroke | None:
        """Return the latest stroke below the start of a path; None if there is none."""
        from napari_melanoma.slides.tissue_classifier.strokes import cells_of_stroke

        cell = self._grid.cell_of(drawn.points[0])
        strokes = reversed(self._session.painted.value.strokes)
        return next((one for one in strokes if (cells_of_stroke(one, self._grid) == cell).all(axis=1).any()), None)

    def _on_pause(self) -> None:
        if self._loop.state.is_paused:
            self._loop.resume()
        else:
            self._loop.pause()

    def _on_fitted(self, fit: Fit | None) -> None:
        """Assess a new classifier; without one, remove the map."""
        self._assessor.update(fit, self._loop.make_request())
        if fit is None:
            self.view.suggestions.clear()
            if self._map.labels.any():
                self._map.clear()
                self._map_layer.show(self._map, self._grid, self._session.painted.value.colors)
        self._update_texts()

    def _on_assessed(self, assessment: Assessment) -> None:
        """Show an assessment, and use the chosen features and classifier."""
        chosen = assessment.chosen
        options = replace(self._loop.options, source=chosen.source, kind=chosen.kind)
        self._loop.set_options(replace(options, temperature=chosen.temperature))
        self._update_texts()

    def _suggest(self) -> None:
        """Find uncertain cells of the map."""
        fit, request = self._loop.fit, self._loop.make_request()
        if fit is not None and self.view.similar.isHidden():
            cells = self._map.find_uncertain(CANDIDATES)
            wanted = SuggestionRequest(fit, request.slides[0], request.source, cells)
            self.view.suggestions.update_cells(partial(find_suggestions, wanted, self._stores))

    def _on_suggestion(self, suggestion: SuggestedCell) -> None:
        """Show a suggested cell in its surroundings."""
        center = self._grid.center_of(suggestion.cell).tolist()
        width = SUGGESTION_CELLS * self._cell_px
        center_view(self._services.viewer, self._session.slide, (center[0], center[1]), width)

    def _on_assigned(self, suggestion: SuggestedCell, number: int) -> None:
        """Paint a suggested cell with its predicted class, or with that of a number."""
        if name := self._find_class(number, suggestion.class_name):
            center = tuple(self._grid.center_of(suggestion.cell).tolist())
            self._session.painted.apply(add_stroke(self._new_stroke("cells", (center,), class_name=name)))

    def _find_class(self, number: int, default: str) -> str:
        """Return the name of a class by its number; ``default`` for 0, empty if there is none."""
        classes = self.view.class_list.classes
        if number > len(classes):
            self._services.status.show_briefly(f"There is no class {number}.")
            return ""
        return classes[number - 1].name if number else default

    def _on_similar_assigned(self, thumbnail: SimilarThumbnail, number: int) -> None:
        """Paint a similar cell with the selected class, or with that of a number; its slide is displayed first."""
        if name := self._find_class(number, self.view.class_list.current.name):
            self._similar.assign(thumbnail, name)

    def _on_similar_painted(self, cell: SimilarCell, name: str) -> None:
        self._session.painted.apply(add_stroke(self._new_stroke("cells", (cell.center,), class_name=name)))

    def _on_save(self) -> None:
        self._saver.ask(self.view.window(), self._session, self._find_shown)

    def _find_shown(self) -> ShownModel:
        """Return the assessment and the options of the map that is shown, of which the saved model is made."""
        shown, latest = self._loop.options, self._assessor.latest
        options = self.view.options.fit.model_copy(update={"sources": (shown.source,), "kinds": (shown.kind,)})
        is_shown = latest is not None and (latest.chosen.source, latest.chosen.kind) == (shown.source, shown.kind)
        return latest if is_shown else None, options

    def _on_saved(self, model: str) -> None:
        self.model = model

    def _on_map(self, parts: tuple[MapPart, ...]) -> None:
        fit = self._loop.fit
        if fit is None:
            return
        is_new = self._map_layer.layer is None
        self._map.add(parts, fit.classifier.classes)
        self._map_layer.show(self._map, self._grid, self._session.painted.value.colors)
        if is_new:
            self._style_map()

    def _prepare_map(self) -> None:
        """Add the layer of the map ahead, while nothing is computed: napari takes 0.3 to 0.8 s for it."""
        if self._map_layer.layer is None:
            self._map_layer.show(self._map, self._grid, self._session.painted.value.colors)
            self._style_map()

    def _style_map(self) -> None:
        self._map_layer.style(visible=self.view.visible_check.isChecked(), opacity=self.view.opacity)

    def _on_loop(self) -> None:
        """Show the progress of the map."""
        state = self._loop.state
        self._similar.update_progress(state)
        is_done = state.total is None or state.done >= state.total
        share = None if is_done or state.total is None else state.done / state.total
        self.view.show_progress(resolve_progress(state), share, is_paused=state.is_paused)
        if not state.is_running:
            cell_mm2 = self._grid.placement.cell_area_mm2 or 0.0
            tissue = self._loop.tissue
            counts = {} if tissue is None else self._map.count(tissue)
            names = [one.name for one in self._session.painted.value.classes if one.name in counts]
            self._areas_mm2 = {name: counts[name] * cell_mm2 for name in names}
            self._suggest()
        self._update_texts()
