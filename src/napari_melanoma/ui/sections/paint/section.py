"""The Paint section of a slide: paint classes of tissue, and see the map that a classifier makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import cast, get_args
from uuid import uuid4

from qtpy.compat import isalive
from qtpy.QtCore import QSignalBlocker

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.formatting import capitalize, format_significant
from napari_melanoma.core.polygons import Point
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import list_bundles
from napari_melanoma.slides.plan import check_slide
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, CellGrid
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueFitOptions, guess_roles
from napari_melanoma.slides.tissue_classifier.start import can_start
from napari_melanoma.slides.tissue_classifier.strokes import Stroke, StrokeKind, cells_of_stroke
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.paint import saving
from napari_melanoma.ui.sections.paint.cell_lists import (
    CANDIDATES,
    SUGGESTED,
    SUGGESTION_HINT,
    CellStrip,
    ShownCell,
    SimilarMemory,
    SimilarPanel,
    find_suggestions,
    show_cell,
)
from napari_melanoma.ui.sections.paint.layers import ClassMap, ClassMapLayer, StrokesLayer
from napari_melanoma.ui.sections.paint.mapping import FeatureCache, MapPart, PaintLoop, list_paintable
from napari_melanoma.ui.sections.paint.stroke_tool import (
    NOT_IN_VIEW,
    DrawnPath,
    StrokeTool,
    StrokeToolName,
    simplify_path,
)
from napari_melanoma.ui.sections.paint.view import (
    APPLY_TIP,
    EDITS,
    SAVE_TIP,
    PaintView,
    advise,
    describe_choice,
    describe_confusions,
    describe_features,
    describe_progress,
    list_bars,
)
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
from napari_melanoma.ui.session.strokes import (
    DEFAULT_COLOR,
    STROKE_DOCUMENT,
    PaintState,
    add_class,
    add_stroke,
    edit_class,
    join_classes,
    remove_class,
    remove_stroke,
)
from napari_melanoma.ui.widgets.job import GuiTaskQueue, is_job_running, run_job
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import enable, problem_label, show_text

FEATURES_MPP = 1.0  # of the shipped features, by which the cells are placed
START_SETTING = "paint/start"
SAVING = "Saving the model ..."
SAVED = (
    "Saved as model '{}'. Apply it to this slide, or open another slide and apply it there. Save again after painting "
    "more."
)
FLUORESCENCE = (
    "Only brightfield slides are painted here. Classifiers of fluorescence slides are fitted with 'napari-melanoma "
    "tissue fit --channels'."
)
NO_SCALE = "The pixel size of this slide is unknown. Set it with Scale, the ruler above, to paint classes."


def _find_problem(info: SlideInfo) -> str:
    """Return why a slide cannot be painted; empty if it can."""
    if not info.is_rgb:
        return FLUORESCENCE
    if info.pixel_size is None:
        return NO_SCALE
    try:
        check_slide(info)
    except ScaleMissing as error:  # implausible, such as of a ruler of another length
        return f"{capitalize(str(error))}. Set it again with Scale, the ruler above, to paint classes."
    return ""


def list_start_classes() -> dict[str, tuple[RegionClass, ...]]:
    """List the installed models that a fit can start from, with their classes and colors."""
    return {
        bundle.name: tuple(
            RegionClass(name, bundle.config.tissue.colors.get(name, DEFAULT_COLOR)) for name in bundle.config.classes
        )
        for bundle in list_bundles()
        if bundle.config.tissue is not None and can_start(bundle)
    }


class PaintMemory:
    """What the sections of all open slides share: features, and what was found, selected and saved last.

    ``model``: name of the model that was saved last, to be applied to any slide; empty if there is none. ``starts``:
    the models to start from, with their classes; None until they are listed.
    """

    def __init__(self, sessions: SlideSessions) -> None:
        self.features, self.similar = FeatureCache(), SimilarMemory()
        self.class_name, self.model = "", Shared("")
        self.starts: dict[str, tuple[RegionClass, ...]] | None = None
        self._sessions = sessions
        sessions.changed.connect(self._on_sessions)
        self._on_sessions()

    def _on_sessions(self) -> None:
        self.features.set_open({session.identity: session.slide.slide for session in self._sessions})


class PaintSection(SlideSection):
    """Train a tissue classifier by painting on the slide."""

    documents = (STROKE_DOCUMENT,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        info = session.slide.info
        if problem := _find_problem(info):
            self.add(problem_label(problem))
            return
        services, viewer, slide = session.services, session.services.viewer, session.slide
        self._memory = memory = session.sessions.part(PaintMemory)
        self.loop = PaintLoop(session, memory.features, self)
        self.similar = SimilarPanel(session, memory.features, memory.similar, self.loop)
        self.suggestions = CellStrip("paint_suggestion", "Suggested cells", SUGGESTION_HINT, SUGGESTED)
        self.view = PaintView(services.settings, services.icons, self.similar, self.suggestions)
        self.add(self.view)
        self._tool_name = ""  # empty if no tool is active
        # By the user, since the slide is displayed: a stroke in this view is likely to follow
        self._is_class_selected = False
        cell_px = CELL_UM / min(slide.pixel_um)
        self.map = ClassMap(CellGrid.plan(info, FEATURES_MPP))
        self._map_layer = ClassMapLayer(viewer, slide, self.map)
        self._undo_keys = {"Control-Z": session.painted.undo, "Control-Shift-Z": session.painted.redo}
        self._strokes_layer = StrokesLayer(viewer, slide, self._undo_keys, cell_px)
        for layer in (self._strokes_layer.layer, self._map_layer.layer):
            if layer is not None:  # of a section with another scale or folder
                viewer.layers.remove(layer)
        self.tool = StrokeTool(viewer, self.view, cell_px)
        self.tool.set_size(self.view.size_slider.value())
        self._layer_queue = GuiTaskQueue(self)
        self._areas = ""  # of the classes, when the map was last updated
        palette = self.view.class_list.classes
        session.painted.complete(lambda state: replace(state, classes=join_classes(palette, state.classes)))
        self._connect()
        self._on_state(session.painted.value)
        self._on_displayed()
        self._list_starts()

    def _connect(self) -> None:
        view, session, services = self.view, self.session, self.session.services
        services.tool_buttons += view.tools.values()
        self.follow(session.painted.changed, self._on_state)
        self.follow(session.sessions.changed, self._update_texts)
        self.follow(session.displayed.changed, self._on_displayed)
        self.follow(self._memory.model.changed, self._update_texts)
        self.follow(services.class_key_pressed, self._on_class_key)
        view.tool_clicked.connect(lambda name: self._set_tool("" if name == self._tool_name else name))
        view.display_changed.connect(self._style_map)
        view.size_slider.valueChanged.connect(self.tool.set_size)
        view.pause_button.clicked.connect(lambda: self.loop.set_paused(not self.loop.is_paused))
        view.edit_buttons["undo"].clicked.connect(lambda: session.painted.undo())
        view.edit_buttons["redo"].clicked.connect(lambda: session.painted.redo())
        classes = view.class_list
        classes.class_selected.connect(self._on_class_selected)
        classes.class_added.connect(lambda added: session.sessions.apply(add_class(added)))
        classes.class_edited.connect(lambda before, edited: session.sessions.apply(edit_class(before, edited)))
        classes.class_removed.connect(lambda removed: session.sessions.apply(remove_class(removed.name)))
        self.tool.drawn.connect(self._on_drawn)
        self.tool.left.connect(partial(self._set_tool, ""))
        self.tool.size_changed.connect(view.show_size)
        self.tool.corners_changed.connect(self._update_texts)
        self.loop.fitted.connect(self._on_fitted)
        self.loop.map_changed.connect(self._on_map)
        self.loop.changed.connect(self._on_loop)
        self.loop.failed.connect(partial(show_failure, services.status))
        self.suggestions.cell_clicked.connect(lambda shown: show_cell(session, shown.center))
        self.suggestions.cell_assigned.connect(self._on_assigned)
        self.similar.changed.connect(self._on_similar)
        self.similar.cell_painted.connect(self._on_cell)
        self.similar.strip.cell_assigned.connect(self._on_similar_assigned)
        view.start_box.activated.connect(self._on_start)
        view.save_button.clicked.connect(self._on_save)
        view.apply_button.clicked.connect(lambda: services.analysis_requested.emit(self._memory.model.value))

    def _on_displayed(self) -> None:
        """Continue where the sections of other slides have ended, or stop tool and search of a hidden slide."""
        if self.session.displayed.value:
            with QSignalBlocker(self.view.class_list):  # not selected by the user
                self.view.class_list.select_named(self._memory.class_name)
            self.tool.set_color(self.view.class_list.current.color)
            self.similar.restore()
            self.loop.update()
            self._style_map()
        else:
            self._memory.class_name = self.view.class_list.current.name
            self._is_class_selected = False
            self._set_tool("")
            self._layer_queue.clear()
            self.similar.stop()
            self.tool.close(self.session.slide)

    def _list_starts(self) -> None:
        """List the models to start from; real skin starts from the selected one, phantoms from nothing."""
        run_job(self, "starts", lambda run: list_start_classes(), self._show_starts, self.loop.failed.emit)

    def _show_starts(self, starts: dict[str, tuple[RegionClass, ...]]) -> None:
        self._memory.starts = starts
        settings, location = self.session.services.settings, self.session.location
        selected = "" if location.is_phantom else settings.get(START_SETTING, DEFAULT_TILE_MODEL)
        self.view.show_starts(tuple(starts), selected)
        self._use_start()

    def _on_start(self, _: int) -> None:
        self.session.services.settings.set(START_SETTING, self.view.start_box.currentData())
        self._use_start()

    def _use_start(self) -> None:
        """Use the strokes of the selected model, and offer its classes."""
        name = self.view.start_box.currentData() or ""
        if classes := (self._memory.starts or {}).get(name, ()):
            self.session.painted.complete(lambda state: replace(state, classes=join_classes(state.classes, classes)))
            if not (self._is_class_selected or self._memory.class_name):
                with QSignalBlocker(self.view.class_list):  # what the model lacks, not selected by the user
                    self.view.class_list.select_named(guess_roles(self.session.painted.value.colors).get("tumor", ""))
            self._on_state(self.session.painted.value)
        self.loop.set_start(name)
        self._update_texts()

    def _on_state(self, state: PaintState) -> None:
        self.view.class_list.show_classes(state.classes)
        self._strokes_layer.show(state)
        self._map_layer.set_colors(state.colors)
        self.tool.set_color(self.view.class_list.current.color)
        self._update_texts()

    def _update_texts(self) -> None:
        """Show what was painted, and what to do next."""
        view, session, loop = self.view, self.session, self.loop
        if not session.displayed.value:
            return
        strokes = Counter(stroke.class_name for one in list_paintable(session) for stroke in one.painted.value.strokes)
        selected = view.class_list.current.name
        view.advice_label.setText(advise(tuple(strokes), loop, selected, self._tool_name, self.tool.corner_count))
        assessment = loop.assessment
        chosen = None if assessment is None else assessment.chosen
        notices = () if assessment is None else (assessment.notice, *assessment.chosen.warnings)
        warnings = "\n".join(filter(None, (*loop.notes, *notices)))
        confusions = "" if chosen is None else describe_confusions(chosen)
        view.show_results(list_bars(strokes, chosen), confusions, self._areas, warnings)
        view.show_results_area(bool(strokes))
        show_text(view.save_note, describe_features(loop))
        view.save_note.setToolTip("" if assessment is None else describe_choice(assessment))
        blocker = "" if len(strokes) > 1 or (strokes and loop.start) else "Paint at least two classes first."
        if is_job_running(self, SAVING):
            blocker = "A model is being saved."
        enable(view.save_button, SAVE_TIP, blocker)
        enable(view.apply_button, APPLY_TIP, "" if self._memory.model.value else "Save a model first.")
        enable(view.edit_buttons["undo"], EDITS["undo"][1], "" if session.painted.can_undo else "Nothing to undo.")
        enable(view.edit_buttons["redo"], EDITS["redo"][1], "" if session.painted.can_redo else "Nothing to redo.")

    def _set_tool(self, name: str) -> None:
        """Activate a tool, or none (empty)."""
        self.tool.finish()
        self._tool_name = ""
        if not name:
            self.tool.stop()
        elif name in get_args(StrokeToolName):
            self.tool.set_color(self.view.class_list.current.color)
            if self.tool.start(self.session.slide, cast("StrokeToolName", name), self._undo_keys):
                self._tool_name = name
                self._layer_queue.add(self._strokes_layer.prepare, self._prepare_map)
            else:
                self.session.services.status.show_briefly(NOT_IN_VIEW)
        self.view.show_tool(self._tool_name)
        self.similar.invite(self._tool_name == "similar")
        self._on_similar()
        self._update_texts()

    def _on_similar(self) -> None:
        """Show either similar or suggested cells, so that none of them move."""
        self._update_needs()
        if not self.similar.isHidden():
            self.suggestions.show_cells(())

    def _update_needs(self) -> None:
        """Compute the features of the view before its first stroke, while a class is chosen or a tool is active."""
        is_warm = self._is_class_selected or bool(self._tool_name)
        self.loop.set_needs(is_warm=is_warm, is_whole=self.similar.is_active)

    def _on_class_key(self, number: int) -> None:
        """Select a class, also before the brush is, unless a tool of another section is active."""
        buttons = filter(isalive, self.session.services.tool_buttons)  # without those of slides that were closed
        is_other_tool = any(button.isChecked() for button in buttons)
        if self.session.displayed.value and (self._tool_name or not is_other_tool):
            self.view.class_list.select_class(number)

    def _on_class_selected(self) -> None:
        self.tool.set_color(self.view.class_list.current.color)
        if self.session.displayed.value:
            self._is_class_selected = True
            self._update_needs()
        self._update_texts()

    def _on_drawn(self, drawn: DrawnPath) -> None:
        """Add the drawn stroke, remove the stroke that was clicked with the eraser, or search for similar cells."""
        if drawn.tool == "similar":
            row, column = drawn.points[0].tolist()
            self.similar.search((row, column))
        elif drawn.tool == "erase":
            stroke = self._find_stroke(drawn)
            if stroke is not None:
                self.session.painted.apply(remove_stroke(stroke.id))
            else:
                self.session.services.status.show_briefly("There is no stroke at this position.")
        else:
            self._add_stroke(self.view.class_list.current.name, *simplify_path(drawn, self.map.grid))

    def _add_stroke(self, class_name: str, kind: StrokeKind, points: Sequence[Point], radius_px: float = 0.0) -> None:
        rounded = tuple((round(row, 2), round(column, 2)) for row, column in points)
        date, reader = datetime.now(UTC).isoformat(timespec="seconds"), self.session.services.reader
        stroke = Stroke(uuid4().hex, class_name, kind, rounded, round(radius_px, 2), reader, date)
        self.session.painted.apply(add_stroke(stroke))

    def _find_stroke(self, drawn: DrawnPath) -> Stroke | None:
        """Return the latest stroke below the start of a path; None if there is none."""
        grid = self.map.grid
        cell = grid.cell_of(drawn.points[0])
        strokes = reversed(self.session.painted.value.strokes)
        return next((one for one in strokes if (cells_of_stroke(one, grid) == cell).all(axis=1).any()), None)

    def _on_assigned(self, shown: ShownCell, number: int) -> None:
        """Paint a suggested cell with its predicted class, or with that of a number."""
        if name := self._find_class(number, shown.class_name):
            self._on_cell(shown, name)

    def _on_cell(self, shown: ShownCell, name: str) -> None:
        self._add_stroke(name, "cells", [shown.center])

    def _find_class(self, number: int, default: str) -> str:
        """Return the name of a class by its number; ``default`` for 0, empty if there is none."""
        classes = self.view.class_list.classes
        if number > len(classes):
            self.session.services.status.show_briefly(f"There is no class {number}.")
            return ""
        return classes[number - 1].name if number else default

    def _on_similar_assigned(self, shown: ShownCell, number: int) -> None:
        """Paint a similar cell with the selected class, or with that of a number; its slide is displayed first."""
        if name := self._find_class(number, self.view.class_list.current.name):
            self.similar.assign(shown, name)

    def _on_fitted(self) -> None:
        """Remove the map and the suggestions if there is no classifier."""
        if self.loop.fit is None:
            self.suggestions.show_cells(())
            if self.map.labels.any():
                self.map.clear()
                self._show_map()

    def _on_map(self, parts: tuple[MapPart, ...]) -> None:
        if (fit := self.loop.fit) is not None:
            self.map.add(parts, fit.classifier.classes)
            self._show_map()

    def _show_map(self) -> None:
        is_new = self._map_layer.layer is None
        self._map_layer.show(self.session.painted.value.colors)
        if is_new:
            self._style_map()

    def _prepare_map(self) -> None:
        """Add the layer of the map ahead, while nothing is computed: napari takes 0.3 to 0.8 s for it."""
        if self._map_layer.layer is None:
            self._show_map()

    def _style_map(self) -> None:
        self._map_layer.style(visible=self.view.visible_check.isChecked(), opacity=self.view.opacity)

    def _on_loop(self) -> None:
        """Show the progress of the map; when it is complete, its areas and uncertain cells."""
        loop = self.loop
        share = None if loop.total is None or loop.is_complete else loop.done / loop.total
        self.view.show_progress(describe_progress(loop), share, is_paused=loop.is_paused)
        if not loop.is_running and self.map.remove_coarse():  # damaged, or the update has ended
            self._show_map()
        if not loop.is_running and self.session.displayed.value:
            areas = {} if loop.tissue is None else self.map.measure_areas(loop.tissue, self.session.slide.size)
            order = [one.name for one in self.session.painted.value.classes if one.name in areas]
            listed = ", ".join(f"{name} {format_significant(areas[name])} mm²" for name in order)
            self._areas = f"Areas of the tissue on the map: {listed}" if listed else ""
            self._suggest()
        self._update_texts()

    def _suggest(self) -> None:
        """Find uncertain cells of the map that are worth painting."""
        fit, slide = self.loop.fit, self.loop.make_request().slides[0]
        if fit is not None and self.similar.isHidden():
            cells = self.map.find_uncertain(CANDIDATES)
            work = partial(find_suggestions, fit, slide, cells, self._memory.features)
            run_job(self, "suggestions", work, self._show_suggestions, self.loop.failed.emit)

    def _show_suggestions(self, cells: tuple[ShownCell, ...]) -> None:
        if self.similar.isHidden() and self.loop.fit is not None:
            self.suggestions.show_cells(cells)

    def _on_save(self) -> None:
        slides, services = saving.list_painted_slides(self.session), self.session.services
        added = (self._memory.starts or {}).get(self.loop.start, ())
        dialog = saving.SaveModelDialog(self.window(), services.settings, slides, [one.name for one in added])
        dialog.confirmed.connect(partial(self._save, slides))
        dialog.open()

    def _save(self, slides: tuple[PaintedSlideFile, ...], name: str, roles: dict[str, str]) -> None:
        """Save a model with the features and the kind of classifier of the map that is shown."""
        choice = self.loop.choice if self.loop.fit is None else self.loop.fit.choice
        options = TissueFitOptions.model_validate(
            {"sources": (choice.source,), "kinds": (choice.kind,), "roles": roles, "start_from": self.loop.start}
        )
        work = partial(saving.save_model, slides, self.loop.assessment, name, options)
        self.session.services.status.run(self, SAVING, work, self._on_saved).finished.connect(self._update_texts)
        self._update_texts()

    def _on_saved(self, bundle: BundleInfo) -> None:
        self.session.services.status.show_message(SAVED.format(bundle.name))
        self._memory.model.set(bundle.name)
