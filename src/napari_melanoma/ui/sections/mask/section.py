"""The sections Mask and Region of interest of a photograph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.sections.mask.click_tool import HINT, LesionClickTool, PromptCanvasTool, PromptTool
from napari_melanoma.ui.sections.mask.resolve import resolve_mask, resolve_prompts
from napari_melanoma.ui.sections.mask.view import (
    CorrectionTools,
    LabelsTool,
    MaskControls,
    RoiControls,
)
from napari_melanoma.ui.session.prompted import FIND_ALL, PendingPrompt
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.shortcuts import CanvasKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels

    from napari_melanoma.imaging.prompts import PromptOptions
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph

CHOOSE_MESSAGE = "Click the lesion to select."


class PromptLayer:
    """Draws the clicks of the current mask, also of one that undo restored."""

    def __init__(self, session: HostedPhotograph) -> None:
        self._session = session
        session.follow(session.shown, self._draw)
        self._draw()

    def _draw(self) -> None:
        session = self._session
        view = resolve_prompts(session.lesion, session.prompted)
        is_drawn = session.is_open and photographs.find_layer(session.viewer, session.image, "prompts") is not None
        if is_drawn or (session.is_open and view.lesions):
            layers.show_prompts(session.viewer, session.image, view.lesions)


class MaskSection(PhotographSection):
    """Corrects the mask of a photograph: by options, brushes, strokes, clicks, or a Labels layer."""

    tools = ("click", "inside", "outside", "apply", "paint", "erase", "choose")
    parts = (PromptLayer,)

    def __init__(self, session: HostedPhotograph) -> None:
        super().__init__(session)
        self._services = session.services
        self._mask = MaskControls()
        self._corrections = CorrectionTools(session)
        self._clicks = PromptTool(self._services.icons)
        self._labels = LabelsTool(session.viewer, self._services.icons)
        self._canvas = PromptCanvasTool(session.viewer, self._on_prompt, self._switch_clicks_off)
        self._click_tool = LesionClickTool(session.viewer, self._on_chosen)
        self.column.setSpacing(5)
        self.add(self._mask, self._clicks, self._corrections, self._labels)
        keys: dict[str, Callable[[], object]] = {
            "lesion.next_mask": partial(self._clicks.step, 1),
            "lesion.previous_mask": partial(self._clicks.step, -1),
            "lesion.leave_clicks": self._switch_clicks_off,
        }
        self._keys = CanvasKeys(self, keys)
        self._connect(session)
        self._update()
        self._show_hypotheses()

    def toggle_tool(self, name: str) -> None:
        """Press the button of a tool."""
        button = self._clicks.button if name == "click" else self._corrections.buttons[name]
        button.click()

    def _on_displayed(self, is_displayed: bool) -> None:
        """Stop the tools before another photograph is displayed."""
        if not is_displayed:
            self._switch_clicks_off()
            self._corrections.buttons["choose"].setChecked(False)

    def _connect(self, session: HostedPhotograph) -> None:
        controller, services, mask = self._services.controller, self._services, self._mask
        mask.edited.connect(self._on_edited)
        mask.changing.connect(partial(self._change, controller.preview, uncorrected=True))
        mask.changed.connect(partial(self._change, controller.rederive, uncorrected=True))
        mask.revert_requested.connect(partial(self._change, controller.rederive))
        self._corrections.activated.connect(self._switch_clicks_off)
        self._corrections.scribbles_added.connect(controller.watcher.watch)
        self._corrections.apply_requested.connect(partial(self._change, controller.redraw))
        self._corrections.choose_toggled.connect(self._on_choose)
        self._clicks.button.toggled.connect(self._on_clicks)
        self._clicks.button.toggled.connect(self._keys.set_active)
        self._clicks.chosen.connect(partial(services.prompts.choose, session))
        self._clicks.find_button.clicked.connect(lambda: services.prompts.add(session, FIND_ALL))
        self._labels.chosen.connect(self._on_labels)
        connect, events = self.follow, session.events
        connect(session.commit_requested, mask.debounce.flush)
        connect(session.displayed.changed, self._on_displayed)
        connect(session.shown, self._show_hypotheses)
        for signal in (session.shown, events.pending_options, services.options.edited):
            connect(signal, self._update)
        connect(services.options.changed, self._on_options)
        connect(services.labels.adopted, self._on_adopted)
        for event in (session.viewer.layers.events.inserted, session.viewer.layers.events.removed):
            connect(event, self._labels.update_visibility)

    def _update(self) -> None:
        lesion, options = self.session.lesion, self._services.options
        if lesion is not None:
            options.default_threshold = lesion.result.model.threshold
        view = resolve_mask(lesion, options.get(self.session), options.default_threshold)
        self._mask.show_view(view)
        self._corrections.setEnabled(view.can_correct)

    def _on_edited(self) -> None:
        options = self._services.options
        changed = {"threshold": self._mask.threshold, "refinement": self._mask.refinement}
        options.edit(self.session, options.get(self.session).model_copy(update=changed))

    def _on_options(self) -> None:
        self._update()
        if self._clicks.button.isChecked():  # another model may have been selected
            self._services.prompts.encode(self.session)

    def _change(self, change: Callable[[HostedPhotograph], None], *, uncorrected: bool = False) -> None:
        """Change the mask if there is one; ``uncorrected``: only if it was not corrected."""
        lesion = self.session.masked_lesion
        if lesion is not None and not (uncorrected and lesion.corrected):
            change(self.session)

    def _on_choose(self, on: bool) -> None:
        status = self._services.status
        if on and self.session.masked_lesion is not None:
            status.show_message(CHOOSE_MESSAGE)
            self._click_tool.start(self.session.image)
        else:
            self._click_tool.stop()
            status.end_message(CHOOSE_MESSAGE)

    def _on_chosen(self, point: tuple[int, int]) -> None:
        self._corrections.buttons["choose"].setChecked(False)
        lesion, status = self.session.masked_lesion, self._services.status
        if lesion is None:
            return
        if not lesion.result.is_predicted:
            status.show_briefly("The mask was not predicted by a model. Analyze the photograph first.")
        elif lesion.corrected:
            status.show_briefly(
                "The mask was corrected manually. Reset to the predicted mask first, then select a lesion."
            )
        else:
            status.show_message("")
            self._services.controller.rederive(self.session, point)

    def _on_clicks(self, on: bool) -> None:
        status = self._services.status
        if on:
            self._corrections.stop()
            status.show_message(HINT)
            self._start_clicks()
            self._services.prompts.encode(self.session)
        else:
            self._canvas.stop()
            status.end_message(HINT)

    def _switch_clicks_off(self) -> None:
        self._clicks.button.setChecked(False)

    def _start_clicks(self) -> None:
        strokes = self._canvas.start(self.session.image)
        if strokes is not None:
            self._services.controller.watcher.watch(strokes)

    def _on_prompt(self, prompt: PromptOptions) -> None:
        self._services.prompts.add(self.session, PendingPrompt(prompt, self._clicks.new_button.isChecked()))
        self._clicks.new_button.setChecked(False)

    def _show_hypotheses(self) -> None:
        """List the hypotheses of the current mask."""
        self._clicks.show_hypotheses(resolve_prompts(self.session.lesion, self.session.prompted))
        if self._clicks.button.isChecked():
            self._start_clicks()

    def _on_labels(self, labels: Labels) -> None:
        self._switch_clicks_off()
        self._services.labels.adopt(self.session, labels)

    def _on_adopted(self, session: HostedPhotograph, message: str) -> None:
        """Report the new mask, and select it, so that Ctrl+Z undoes the step."""
        if session is self.session:
            session.viewer.layers.selection.active = session.mask
            self._services.status.show_message(message)


class RoiSection(PhotographSection):
    """Shows the region of interest of a photograph, and its options."""

    def __init__(self, session: HostedPhotograph) -> None:
        super().__init__(session)
        self._options = session.services.options
        self._roi = RoiControls(session.services.settings)
        self.add(self._roi)
        self._roi.edited.connect(self._on_edited)
        self._roi.changed.connect(self._on_changed)
        self.follow(session.commit_requested, self._roi.debounce.flush)
        self.follow(session.shown, self._show_picture)
        for signal in (session.shown, session.events.pending_options):
            self.follow(signal, self._update)
        for signal in (self._options.edited, self._options.changed):
            self.follow(signal, self._update)
        self._update()
        self._show_picture()

    def _update(self) -> None:
        self._roi.show_config(self._options.get(self.session).roi)

    def _show_picture(self) -> None:
        """Show the region of the current lesion; its options change at each step of a slider, the lesion later."""
        lesion = self.session.lesion
        self._roi.show_roi(None if lesion is None else lesion.result.roi)

    def _on_edited(self) -> None:
        options, session = self._options, self.session
        options.edit(session, options.get(session).model_copy(update={"roi": self._roi.config}))

    def _on_changed(self) -> None:
        if self.session.masked_lesion is not None:
            self.session.services.controller.remeasure(self.session)
