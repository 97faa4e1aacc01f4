"""What an analysis found, in the Slide dock: heatmap, tiles, answer and lesions, corrected, saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.io.results import read_slide_validity
from napari_melanoma.ui.slide.lesions import make_class_edit, make_merge_edit, make_remove_edit, make_split_edit
from napari_melanoma.ui.slide.result_view import SAVE_KEY
from napari_melanoma.ui.slide.run_status import describe_outcome, describe_prediction, needs_run_panel
from napari_melanoma.ui.viewer import slide_layers

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.slides.lesions import LesionConfig
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.heatmap import SlideHeatmapLayer
    from napari_melanoma.ui.slide.lesions import LesionFindings, SlideLesions
    from napari_melanoma.ui.slide.result_view import SlideResultView
    from napari_melanoma.ui.slide.run_status import SlideRunUpdate
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

FINAL_STATES = ("finished", "failed", "cancelled", "lost")


class SlideResultController(QObject):
    """Turns what is seen in the folder of a slide into layers and rows."""

    region_changed = Signal(object)
    options_restored = Signal(str, object)

    def __init__(
        self,
        context: SlideContext,
        view: SlideResultView,
        heatmap_layer: SlideHeatmapLayer,
        lesions: SlideLesions,
    ) -> None:
        super().__init__(context)
        self._context, self._viewer, self._view = context, context.viewer, view
        self._heatmap_layer, self._lesions = heatmap_layer, lesions
        self._slide: ViewerSlide | None = None
        self.content: Mapping[str, Any] = {}
        self._state = ""
        self._splitting = False
        context.run_updated.connect(self._on_run_update)
        view.heatmap_controls.target_changed.connect(self._find_lesions)
        view.heatmap_controls.threshold_changed.connect(self._on_threshold)
        lesions.changed.connect(self._on_lesions)
        lesions.saved.connect(self._on_saved)
        view.lesion_table.selection_changed.connect(self._update_buttons)
        view.lesion_table.remove_requested.connect(lambda: lesions.edit(make_remove_edit(view.lesion_table.selected)))
        view.save_button.clicked.connect(lesions.save)
        edits = {
            "merge": lambda: lesions.edit(make_merge_edit(view.lesion_table.selected)),
            "class": lambda: lesions.edit(make_class_edit(view.lesion_table.selected)),
            "remove": lambda: lesions.edit(make_remove_edit(view.lesion_table.selected)),
            "split": self._on_split,
            "undo": lesions.undo,
            "redo": lesions.redo,
        }
        for name, slot in edits.items():
            view.edit_buttons[name].clicked.connect(slot)
        self._callback = self._on_press
        callbacks, mine = self._viewer.mouse_drag_callbacks, self._callback
        callbacks.append(mine)
        context.dock.destroyed.connect(partial(_remove_callback, callbacks, mine))

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self.content, self._state = {}, ""
        self._splitting = False
        self._show_prediction()
        heat = self._heatmap_layer.heatmap
        self._view.tile_strip.show_tiles(slide, () if heat is None else heat.tiles)
        self._update_visible_parts()

    def reset(self) -> None:
        """Another analysis has begun: what the one before found goes, unless it goes on from there."""
        self.content, self._state = {}, ""
        if self._slide is not None:
            self._heatmap_layer.clear(self._slide.identity)
            self._lesions.clear(self._slide.identity)
            self._view.tile_strip.show_tiles(self._slide, ())
        self._show_prediction()
        self._update_visible_parts()

    def _on_run_update(self, sight: SlideRunUpdate) -> None:
        """Show what there is now."""
        run, place = sight.report.run, self._context.result_location
        if self._slide is None or place is None or sight.path != place.folder:
            return
        state = str(run.state)
        fresh = state != self._state or sight.content != self.content
        before, self._state = self._state, state
        # What was written by an analysis before is not what this one finds.
        self.content = {} if run.state.active else sight.content
        if sight.heatmap is not None:
            self._heatmap_layer.set_heatmap(sight.heatmap)
            self._view.tile_strip.show_tiles(self._slide, sight.heatmap.tiles)
            self._update_visible_parts()
        if fresh and state in FINAL_STATES:
            self._on_run_ended(sight, was_running=before not in ("", *FINAL_STATES))

    def _on_run_ended(self, sight: SlideRunUpdate, *, was_running: bool) -> None:
        """Show what an analysis came to, whether it ended now or long ago."""
        self._show_prediction()
        said = describe_outcome(sight.report.run, self.content)
        if not needs_run_panel(sight):  # else it is said there, above its buttons
            self._context.status.show_message(said if was_running or not self.content else f"Analysed before: {said}")
        elif was_running:
            self._context.status.show_message("")
        if self.content and not was_running:  # so that analysing again goes on from there
            model = str((self.content.get("model") or {}).get("name", ""))
            self.options_restored.emit(model, _read_options(sight))
        made = _read_options(sight)
        self.region_changed.emit(None if made is None else made.region)
        heat, place = self._heatmap_layer.heatmap, self._context.result_location
        if self.content and heat is not None and heat.is_probability and place is not None:
            config = _read_lesion_config(self.content)
            self._view.heatmap_controls.threshold = config.high
            self._lesions.read(place.folder, heat.target, config)

    def _on_threshold(self, threshold: float) -> None:
        heat = self._heatmap_layer.heatmap
        if heat is not None:
            self._find_lesions(heat.target)

    def _find_lesions(self, target: str) -> None:
        heat, place = self._heatmap_layer.heatmap, self._context.result_location
        if heat is not None and heat.is_probability and place is not None:
            self._lesions.find(place.folder, target, self._view.heatmap_controls.threshold)

    def _on_lesions(self, found: LesionFindings | None) -> None:
        """Show the lesions as rows."""
        view = self._view
        lesions = () if found is None else found.lesions
        view.lesion_table.table_model.target = "" if found is None else found.target
        view.lesion_table.show_lesions(lesions)
        self._update_visible_parts()
        if found is not None:
            told = Counter(lesion.label for lesion in lesions)
            said = f", {told['malignant']} malignant" if told["malignant"] + told["benign"] == len(lesions) else ""
            areas = [lesion.area_mm2 for lesion in lesions if lesion.area_mm2 is not None]
            area = f", {sum(areas):.3g} mm² in all" if areas else ""
            view.lesion_count_label.setText(
                f"{len(lesions)} found{said}{area}" if lesions else _describe_no_lesions(found)
            )
            if found.is_corrected and not found.saved:
                self._lesions.save()  # nobody's corrections are lost; a threshold that was moved is saved when asked
        self._update_buttons()

    def _on_saved(self, folder: Path) -> None:
        icons = self._context.icons
        self._context.status.show_message(f"Saved in {icons.link(folder.as_uri(), folder.name)}.")

    def _update_buttons(self) -> None:
        """Offer what can be done with the rows that are selected."""
        view, found = self._view, self._lesions.findings
        chosen = len(view.lesion_table.selected)
        able = {
            "draw": found is not None,
            "merge": chosen > 1,
            "split": chosen == 1,
            "class": chosen > 0,
            "remove": chosen > 0,
            "undo": found is not None and bool(found.history.past),
            "redo": found is not None and bool(found.history.undone),
        }
        for name, on in able.items():
            view.edit_buttons[name].setEnabled(on)
        unsaved = found is not None and not found.saved
        view.save_button.setEnabled(unsaved)
        why = "Analyse the slide first" if found is None else "Everything is saved"
        where = "" if found is None else f" into {found.folder}"
        view.save_button.setToolTip(f"Save the lesions as they are now{where} ({SAVE_KEY})" if unsaved else why)
        view.export_button.setEnabled(found is not None or bool(self.content))

    def _update_visible_parts(self) -> None:
        heat, found = self._heatmap_layer.heatmap, self._lesions.findings
        self._view.show_parts(has_heatmap=heat is not None, has_lesions=found is not None)

    def _show_prediction(self) -> None:
        """Show answer and cautions."""
        view = self._view
        said, cautions = describe_prediction(self.content), [str(one) for one in self.content.get("warnings", ())]
        validity = read_slide_validity(self.content) if self.content else None
        key = self._slide and self._slide.identity, self.content.get("seconds")
        view.validity.show_validity(validity, key)
        said = said if validity is None or not validity.valid else validity.headline(said)
        view.prediction_label.setText(said)
        view.prediction_label.setVisible(bool(said))
        view.warning_label.setText("\n".join(cautions))
        view.warning_label.setVisible(bool(cautions))

    def _on_split(self) -> None:
        """Let the user draw a line across the lesion that is selected."""
        slide = self._slide
        if slide is None or len(self._view.lesion_table.selected) != 1:
            return
        self._splitting = True
        self._context.status.show_message("Press the mouse on one side of the lesion, and let go on the other.")

    def _on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """A click on a lesion selects its row; a line that is drawn to split it cuts it."""
        slide = self._slide
        if slide is None or event.button != 1:
            return
        splitting, start = self._splitting, slide.to_slide(tuple(event.position[-2:]))
        line, moved = [start], False
        if splitting:
            event.handled = True
        yield
        while event.type == "mouse_move":
            moved = True
            line.append(slide.to_slide(tuple(event.position[-2:])))
            if splitting:
                event.handled = True
            yield
        if splitting and moved:
            self._split_lesion(line)
        elif not moved:
            index = self._lesions.lesion_at(start)
            layer = slide_layers.find_layer(self._viewer, slide, "lesions")
            if index is not None and layer is not None and layer.visible:
                self._view.lesion_table.select_lesion(index)

    def _split_lesion(self, line: list[tuple[float, float]]) -> None:
        import numpy as np

        self._splitting = False
        chosen = self._view.lesion_table.selected
        if len(chosen) == 1:
            self._lesions.edit(make_split_edit(chosen[0], np.array(line)))


def _describe_no_lesions(found: LesionFindings) -> str:
    """Say why there is no lesion: none was found, or somebody removed them."""
    gone = len(found.history.current.removed or ())
    said = "1 was" if gone == 1 else f"{gone} were"
    if found.is_corrected and gone:
        return f"None is left: {said} removed by hand."
    return f"No lesion at this threshold; {said} removed by hand." if gone else "No lesion at this threshold."


def _read_lesion_config(content: Mapping[str, Any]) -> LesionConfig:
    """The thresholds at which lesions were found; the usual ones where another version wrote them."""
    from napari_melanoma.slides.lesions import LesionConfig

    try:
        return LesionConfig.parse(dict((content.get("options") or {}).get("lesions") or {}), "result.json")
    except ConfigError:
        return LesionConfig()


def _read_options(sight: SlideRunUpdate) -> SlideOptions | None:
    """How results were made; None where another version made them."""
    from napari_melanoma.slides.options import SlideOptions

    if sight.report.run.options is not None:
        return sight.report.run.options
    try:
        return SlideOptions.parse(dict(sight.content.get("options") or {}), "result.json")
    except ConfigError:
        return None


def _remove_callback(callbacks: list[Any], mine: Any) -> None:  # noqa: ANN401 - napari's list of functions
    """Let the viewer call a dock no more that is gone."""
    if mine in callbacks:
        callbacks.remove(mine)
