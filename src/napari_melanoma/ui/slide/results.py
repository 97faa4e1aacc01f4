"""What an analysis found, in the Slide dock: heatmap, tiles, answer and lesions, corrected, saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.io.results import validity_in
from napari_melanoma.ui.slide.controls import SAVE_KEY
from napari_melanoma.ui.slide.lesions import merged, of_other_class, removed, split
from napari_melanoma.ui.slide.watch import said_answer, said_end
from napari_melanoma.ui.viewer import slide_layers

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.slides.lesions import LesionConfig
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.lesions import Findings
    from napari_melanoma.ui.slide.watch import SlideSight
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

ENDED = ("finished", "failed", "cancelled", "lost")


class SlideResults(QObject):
    """Turns what is seen in the folder of a slide into layers and rows."""

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._slide: OpenSlide | None = None
        self.content: Mapping[str, Any] = {}
        self._state = ""
        self._splitting = False
        dock.run_panel.seen.connect(self._on_seen)
        dock.heat.target_changed.connect(self._on_target)
        dock.heat.threshold_changed.connect(self._on_threshold)
        dock.lesions.changed.connect(self._on_lesions)
        dock.lesions.saved.connect(self._on_saved)
        dock.table.picked.connect(self._enable)
        dock.table.removing.connect(lambda: dock.lesions.edit(removed(dock.table.selected)))
        dock.save.clicked.connect(dock.lesions.save)
        edits = {
            "merge": lambda: dock.lesions.edit(merged(dock.table.selected)),
            "class": lambda: dock.lesions.edit(of_other_class(dock.table.selected)),
            "remove": lambda: dock.lesions.edit(removed(dock.table.selected)),
            "split": self._on_split,
            "undo": dock.lesions.undo,
            "redo": dock.lesions.redo,
        }
        for name, slot in edits.items():
            dock.edits[name].clicked.connect(slot)
        self._callback = self._on_press
        viewer.mouse_drag_callbacks.append(self._callback)
        callbacks, mine = viewer.mouse_drag_callbacks, self._callback
        dock.destroyed.connect(partial(_forget, callbacks, mine))

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        self._dock.advanced.show()
        self.content, self._state = {}, ""
        self._splitting = False
        self._show_content()
        heat = self._dock.heatmap.heat
        self._dock.strip.show_tiles(slide, () if heat is None else heat.tiles)
        self._show_parts()

    def begin(self) -> None:
        """Another analysis has begun: what the one before found goes, unless it goes on from there."""
        self.content, self._state = {}, ""
        if self._slide is not None:
            self._dock.heatmap.forget(self._slide.identity)
            self._dock.lesions.forget(self._slide.identity)
            self._dock.strip.show_tiles(self._slide, ())
        self._show_content()
        self._show_parts()

    def _on_seen(self, sight: SlideSight) -> None:
        """Show what there is now."""
        run, place = sight.report.run, self._dock.place
        if self._slide is None or place is None or sight.path != place.folder:
            return
        state = str(run.state)
        fresh = state != self._state or sight.content != self.content
        before, self._state = self._state, state
        # What was written by an analysis before is not what this one finds.
        self.content = {} if run.state.active else sight.content
        if sight.heat is not None:
            self._dock.heatmap.take(sight.heat)
            self._dock.strip.show_tiles(self._slide, sight.heat.tiles)
            self._show_parts()
        if fresh and state in ENDED:
            self._on_ended(sight, at_work=before not in ("", *ENDED))

    def _on_ended(self, sight: SlideSight, *, at_work: bool) -> None:
        """Show what an analysis came to, whether it ended now or long ago."""
        self._show_content()
        said = said_end(sight.report.run, self.content)
        if self._dock.run_panel.isHidden():  # else it is said there, above its buttons
            self._dock.status.say(said if at_work or not self.content else f"Analysed before: {said}")
        elif at_work:
            self._dock.status.say("")
        if self.content and not at_work:  # so that analysing again goes on from there
            self._dock.model.model = str((self.content.get("model") or {}).get("name", ""))
            self._dock.advanced.show(_options(sight))
        made = _options(sight)
        self._dock.scope.frame(None if made is None else made.region)
        heat, place = self._dock.heatmap.heat, self._dock.place
        if self.content and heat is not None and heat.is_probability and place is not None:
            config = _config(self.content)
            self._dock.heat.threshold = config.high
            self._dock.lesions.read(place.folder, heat.target, config)

    def _on_target(self, target: str) -> None:
        """Show another class, and find its lesions."""
        self._dock.run_panel.set_target(target)
        self._find(target)

    def _on_threshold(self, threshold: float) -> None:
        heat = self._dock.heatmap.heat
        if heat is not None:
            self._find(heat.target)

    def _find(self, target: str) -> None:
        heat, place = self._dock.heatmap.heat, self._dock.place
        if heat is not None and heat.is_probability and place is not None:
            self._dock.lesions.find(place.folder, target, self._dock.heat.threshold)

    def _on_lesions(self, found: Findings | None) -> None:
        """Show the lesions as rows."""
        dock = self._dock
        lesions = () if found is None else found.lesions
        dock.table.rows.target = "" if found is None else found.target
        dock.table.show_lesions(lesions)
        self._show_parts()
        if found is not None:
            told = Counter(lesion.label for lesion in lesions)
            said = f", {told['malignant']} malignant" if told["malignant"] + told["benign"] == len(lesions) else ""
            areas = [lesion.area_mm2 for lesion in lesions if lesion.area_mm2 is not None]
            area = f", {sum(areas):.3g} mm² in all" if areas else ""
            dock.count.setText(f"{len(lesions)} found{said}{area}" if lesions else _said_none(found))
            if found.corrected and not found.saved:
                dock.lesions.save()  # nobody's corrections are lost; a threshold that was moved is saved when asked
        self._enable()

    def _on_saved(self, folder: Path) -> None:
        icons = self._dock.icons
        self._dock.status.say(f"Saved in {icons.link(folder.as_uri(), folder.name)}.")

    def _enable(self) -> None:
        """Offer what can be done with the rows that are selected."""
        dock, found = self._dock, self._dock.lesions.findings
        chosen = len(dock.table.selected)
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
            dock.edits[name].setEnabled(on)
        unsaved = found is not None and not found.saved
        dock.save.setEnabled(unsaved)
        why = "Analyse the slide first" if found is None else "Everything is saved"
        where = "" if found is None else f" into {found.folder}"
        dock.save.setToolTip(f"Save the lesions as they are now{where} ({SAVE_KEY})" if unsaved else why)
        dock.export.setEnabled(found is not None or bool(self.content))

    def _show_parts(self) -> None:
        heat, found = self._dock.heatmap.heat, self._dock.lesions.findings
        self._dock.show_found(heat is not None, found is not None)

    def _show_content(self) -> None:
        """Show answer and cautions."""
        dock = self._dock
        said, cautions = said_answer(self.content), [str(one) for one in self.content.get("warnings", ())]
        validity = validity_in(self.content) if self.content else None
        key = self._slide and self._slide.identity, self.content.get("seconds")
        dock.validity.show_validity(validity, key)
        said = said if validity is None or not validity.valid else validity.headline(said)
        dock.answer.setText(said)
        dock.answer.setVisible(bool(said))
        dock.cautions.setText("\n".join(cautions))
        dock.cautions.setVisible(bool(cautions))

    def _on_split(self) -> None:
        """Let the user draw a line across the lesion that is selected."""
        slide = self._slide
        if slide is None or len(self._dock.table.selected) != 1:
            return
        self._splitting = True
        self._dock.status.say("Press the mouse on one side of the lesion, and let go on the other.")

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
            self._cut(line)
        elif not moved:
            index = self._dock.lesions.at(start)
            layer = slide_layers.part(self._viewer, slide, "lesions")
            if index is not None and layer is not None and layer.visible:
                self._dock.table.pick(index)

    def _cut(self, line: list[tuple[float, float]]) -> None:
        import numpy as np

        self._splitting = False
        chosen = self._dock.table.selected
        if len(chosen) == 1:
            self._dock.lesions.edit(split(chosen[0], np.array(line)))


def _said_none(found: Findings) -> str:
    """Say why there is no lesion: none was found, or somebody removed them."""
    gone = len(found.history.now.gone or ())
    said = "1 was" if gone == 1 else f"{gone} were"
    if found.corrected and gone:
        return f"None is left: {said} removed by hand."
    return f"No lesion at this threshold; {said} removed by hand." if gone else "No lesion at this threshold."


def _config(content: Mapping[str, Any]) -> LesionConfig:
    """The thresholds at which lesions were found; the usual ones where another version wrote them."""
    from napari_melanoma.slides.lesions import LesionConfig

    try:
        return LesionConfig.parse(dict((content.get("options") or {}).get("lesions") or {}), "result.json")
    except ConfigError:
        return LesionConfig()


def _options(sight: SlideSight) -> SlideOptions | None:
    """How results were made; None where another version made them."""
    from napari_melanoma.slides.options import SlideOptions

    if sight.report.run.options is not None:
        return sight.report.run.options
    try:
        return SlideOptions.parse(dict(sight.content.get("options") or {}), "result.json")
    except ConfigError:
        return None


def _forget(callbacks: list[Any], mine: Any) -> None:  # noqa: ANN401 - napari's list of functions
    """Let the viewer call a dock no more that is gone."""
    if mine in callbacks:
        callbacks.remove(mine)
