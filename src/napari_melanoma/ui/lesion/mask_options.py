"""Apply the mask controls to the photograph in view, and share their options with other photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.analyzed_lesion import MASK_OPTIONS, ROI_OPTIONS, have_equal_fields
from napari_melanoma.ui.viewer.photographs import get_shape

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.result_updates import LesionController
    from napari_melanoma.ui.session.photograph import PhotographSession


CHOOSE_MESSAGE = "Click the lesion to select."
DOCK_OPTIONS = ("model", "flips")  # fields of LesionOptions that apply to all photographs


class MaskEditingController(QObject):
    """Applies threshold, refinement, strokes, selected lesion and ROI options to the photograph in view."""

    def __init__(self, controls: LesionControls, controller: LesionController, viewer: Viewer) -> None:
        super().__init__(controls)
        self._controls = controls
        self._controller = controller
        self.session: PhotographSession | None = None  # the photograph whose options are shown
        self._click_tool = LesionClickTool(viewer, self._on_chosen)
        self.destroyed.connect(self._click_tool.stop)
        controls.mask_controls.changing.connect(partial(self._run, controller.preview, uncorrected=True))
        controls.mask_controls.changed.connect(partial(self._run, controller.rederive, uncorrected=True))
        controls.mask_controls.revert_requested.connect(partial(self._run, controller.rederive))
        controls.roi.changed.connect(partial(self._run, controller.remeasure))
        controls.correction_tools.scribbles_added.connect(controller.watcher.watch)
        controls.correction_tools.apply_requested.connect(partial(self._run, controller.redraw))
        controls.correction_tools.choose_toggled.connect(self._on_choose)

    def set_session(self, session: PhotographSession | None) -> None:
        """Set the photograph; pending changes are first applied to the previous one."""
        self.stop_choosing()
        self.flush()
        self.session = session

    def flush(self) -> None:
        """Apply pending changes at once."""
        self._controls.mask_controls.debounce.flush()
        self._controls.roi.debounce.flush()

    def stop_choosing(self) -> None:
        """Stop waiting for the click that selects a lesion; the selected lesion is kept."""
        self._controls.correction_tools.buttons["choose"].setChecked(False)
        self._click_tool.stop()

    def _run(self, change: Callable[[PhotographSession], None], *, uncorrected: bool = False) -> None:
        """Change the mask of the photograph if there is one; ``uncorrected``: only if it was not corrected."""
        session = self.session
        lesion = None if session is None else session.masked_lesion
        if session is not None and lesion is not None and not (uncorrected and lesion.corrected):
            change(session)

    def _on_choose(self, on: bool) -> None:
        session = self.session
        if on and session is not None and session.masked_lesion is not None:
            self._controls.status.show_message(CHOOSE_MESSAGE)
            self._click_tool.start(session.image)
        else:
            self._click_tool.stop()
            if self._controls.status.text == CHOOSE_MESSAGE:
                self._controls.status.show_message("")

    def _on_chosen(self, point: tuple[int, int]) -> None:
        self.stop_choosing()
        self._run(partial(self._choose, point))

    def _choose(self, point: tuple[int, int], session: PhotographSession) -> None:
        lesion = session.lesion
        if lesion is None or not lesion.result.is_predicted:
            self._controls.status.show_message("The mask was not predicted by a model. Analyze the photograph first.")
        elif lesion.corrected:
            self._controls.status.show_message(
                "The mask was corrected manually. Reset to the predicted mask first, then select a lesion."
            )
        else:
            self._controls.status.show_message("")
            self._controller.rederive(session, point)


class LesionClickTool:
    """Calls ``callback`` with (row, column) of a click on a photograph."""

    def __init__(self, viewer: Viewer, callback: Callable[[tuple[int, int]], None]) -> None:
        self._viewer = viewer
        self._callback = callback
        self._image: Image | None = None

    def start(self, image: Image) -> None:
        """Start waiting for a click."""
        self.stop()
        self._image = image
        active = self._viewer.layers.selection.active
        if active is not None and hasattr(active, "mode"):
            active.mode = "pan_zoom"  # so that the click does not paint
        self._viewer.mouse_drag_callbacks.append(self._on_click)

    def stop(self) -> None:
        """Stop waiting for a click."""
        callbacks = self._viewer.mouse_drag_callbacks
        if self._on_click in callbacks:
            callbacks.remove(self._on_click)
        self._image = None

    def _on_click(self, viewer: Any, event: Any) -> None:  # noqa: ANN401 - napari's, called by it
        image = self._image
        if image is None:
            return
        row, column = (round(float(value)) for value in image.world_to_data(event.position)[-2:])
        rows, columns = get_shape(image)
        if 0 <= row < rows and 0 <= column < columns:
            self._callback((row, column))


class SharedOptionsController(QObject):
    """Stores options per photograph, and on request shares those of one with all that have no options of their own."""

    def __init__(
        self, controls: LesionControls, controller: LesionController, mask_controller: MaskEditingController
    ) -> None:
        super().__init__(controls)
        self._controls, self._controller, self._mask_controller = controls, controller, mask_controller
        for bar, names in ((controls.mask_controls.share_bar, MASK_OPTIONS), (controls.roi.share_bar, ROI_OPTIONS)):
            bar.share_requested.connect(partial(self._on_share, names))
            bar.reset_requested.connect(partial(self._share, names, LesionOptions()))
        for signal in (controls.mask_controls.changing, controls.mask_controls.changed, controls.roi.changed):
            signal.connect(self._on_changed)

    @property
    def shared(self) -> LesionOptions:
        """The options of photographs without their own."""
        return self._controls.settings.options

    def get(self, session: PhotographSession | None) -> LesionOptions:
        """Return the options of a photograph that are not in the controls: pending, of its result, or for the first."""
        if session is None:
            return self.shared
        if session.lesion is None:
            return session.own_options or self.shared
        return session.pending_options or session.lesion.result.options

    def set_shared(self, options: LesionOptions, names: tuple[str, ...]) -> None:
        """Set some fields of the shared options, also for photographs that had the previous shared values."""
        before = self.shared
        self._controls.settings.options = after = copy_fields(before, options, names)
        for session in self._controls.sessions:
            own = session.own_options
            if own is not None and have_equal_fields(own, before, names):
                session.own_options = copy_fields(own, after, names)

    def update_view(self) -> None:
        """Show whether the options of the photograph in view apply to it only or to all."""
        shown, shared, default = self._controls.options(), self.shared, LesionOptions()
        for bar, names, describe in (
            (self._controls.mask_controls.share_bar, MASK_OPTIONS, describe_mask_options),
            (self._controls.roi.share_bar, ROI_OPTIONS, describe_roi_options),
        ):
            is_own = not have_equal_fields(shown, shared, names)
            is_shared = not have_equal_fields(shared, default, names)
            own = describe(shown)
            text = f"{own[:1].upper()}{own[1:]}: for {'this photograph only' if is_own else 'all photographs'}."
            if is_own and is_shared:
                text += f" All others: {describe(shared)}."
            bar.show_state(text, is_own=is_own, is_shared=is_shared)

    def _on_changed(self) -> None:
        session = self._mask_controller.session
        if session is not None:
            session.own_options = self._controls.options()
            if session.lesion is not None:
                session.pending_options = session.own_options
        self.update_view()

    def _on_share(self, names: tuple[str, ...]) -> None:
        self._mask_controller.flush()
        self._share(names, self._controls.options())

    def _share(self, names: tuple[str, ...], options: LesionOptions) -> None:
        """Use the fields ``names`` of these options for all photographs that have no values of their own.

        Corrected masks are kept; only their measurements follow the ROI options.
        """
        self._mask_controller.flush()
        before, shown = self.shared, self._controls.options()
        self.set_shared(options, names)
        after = self.shared
        if have_equal_fields(shown, before, names):
            self._controls.set_options(copy_fields(shown, after, names))
        for session in self._controls.sessions:
            lesion, current = session.lesion, self.get(session)
            is_own = not have_equal_fields(current, before, names)
            if lesion is None or is_own or have_equal_fields(current, after, names):
                continue
            if names == ROI_OPTIONS:
                self._controller.remeasure(session, copy_fields(current, after, names))
            elif not lesion.corrected:
                session.lesion = replace(lesion, default_options=after)
                self._controller.rederive(session, options=copy_fields(current, after, names))
        self.update_view()


def describe_mask_options(options: LesionOptions) -> str:
    """Describe threshold and refinement, such as ``threshold 0.90, all lesions``."""
    refinement = options.refinement
    parts = ["default threshold" if options.threshold is None else f"threshold {options.threshold:.2f}"]
    parts += [] if refinement.largest_only else ["all lesions"]
    parts += [] if refinement.fill_holes else ["holes not filled"]
    parts += [] if refinement.smoothing else ["not smoothed"]
    return ", ".join(parts)


def describe_roi_options(options: LesionOptions) -> str:
    """Describe the options of the ROI, such as ``margin 10 %, black background, 299 px``."""
    roi = options.roi
    background = "black background" if roi.background == "zero" else "skin kept"
    return f"margin {100 * roi.margin:.3g} %, {background}, {roi.side_px} px"


def copy_fields(options: LesionOptions, source: LesionOptions, names: tuple[str, ...]) -> LesionOptions:
    """Return options with some fields copied from others."""
    return options.model_copy(update={name: getattr(source, name) for name in names})
